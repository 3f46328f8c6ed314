//! The same image under every host: an ordinary Debian in which the package for guests was installed, booted by Hostel,
//! podman (as it treats systemd, as a plain container, and the way Kubernetes restricts one), LXC, systemd-nspawn,
//! bubblewrap, and as a virtual machine with a stock kernel.
//!
//! Each is started, heard to be ready, entered, rebooted and stopped by its own means. What is asked of this machine (cgroup
//! v2 alone, without controllers) is made in a cgroup and a mount namespace of the test's own.

#[path = "hosts/programs.rs"]
mod programs;
#[path = "hosts/setup.rs"]
mod setup;
#[path = "hosts/table.rs"]
mod table;

mod long {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use hostel_tests::run::{run, until, wait};

    use super::programs::{one_command, podman};
    use super::setup::{Image, Life};
    use super::table::{HOSTS, Row, try_host};

    /// How long a container of one command may take.
    const LIMIT: Duration = Duration::from_secs(60);

    /// What tini's suite for Docker holds: orphans are reaped, a signal to the container ends it with 128 and its number,
    /// a command that isn't there with 127, and a terminal is the command's.
    #[test]
    #[ignore = "installs podman: cargo xtask test --all"]
    fn given_our_init_in_the_place_of_podmans_when_containers_run_then_they_end_as_with_tini() {
        let image = Image::make();
        let life = Life::new("init", &image);
        let ended = |mut command: Command| {
            let outcome = run(&mut command, LIMIT).unwrap_or_else(|error| panic!("{error}"));
            (outcome.status.code(), outcome.stdout)
        };
        let alone = |options: &str, words: &str| life.command_alone(&one_command(&life, options, words));
        let orphans = "sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.2 &); done; sleep 1; \
            grep -l State:.Z /proc/[0-9]*/status | wc -l'";
        assert_eq!(ended(alone("", orphans)), (Some(0), "0\n".into()));
        assert_eq!(ended(alone("", "sh -c 'exit 3'")).0, Some(3));
        assert_eq!(ended(alone("", "zzzz")).0, Some(127));
        for (signal, number) in [("TERM", 15), ("USR1", 10), ("USR2", 12)] {
            let mut child =
                alone("", "sh -c 'echo runs; exec sleep 100'").stdout(Stdio::null()).spawn().expect("podman");
            let kill = podman(&life, &format!("kill -s {signal} {}", life.name));
            let there = format!("{} && {kill}", podman(&life, &format!("exec {} pidof sleep", life.name)));
            let sent = until(LIMIT, || run(&mut life.command_alone(&there), LIMIT).ok()?.success().ok());
            assert!(sent.is_some(), "the container doesn't run");
            let status = wait(&mut child, Instant::now() + LIMIT).and_then(|status| status.code());
            assert_eq!(status, Some(128 + number), "{signal}");
        }
        // Typed at a terminal: a line for the shell, and Ctrl-C.
        let typed = |keys: &str, words: &str| {
            let inner = one_command(&life, "--tty --interactive", words).replace('"', "\\\"");
            let script = format!("(sleep 5; printf '{keys}'; sleep 2) | script -qec \"{inner}\" /dev/null");
            ended(life.command_alone(&script)).0
        };
        assert_eq!(typed("exit 4\\n", "sh"), Some(4));
        assert_eq!(typed("\\003", "sleep 100"), Some(130));
    }

    #[test]
    #[ignore = "installs podman, LXC, bubblewrap and QEMU, and boots a guest in each: cargo xtask test --all"]
    fn given_one_image_when_booted_under_each_host_then_it_is_ready_entered_rebooted_and_stopped_as_that_host_expects()
     {
        let image = Image::make();
        let only = std::env::var("HOSTEL_HOSTS").unwrap_or_default();
        let chosen =
            HOSTS.iter().filter(|host| only.is_empty() || only.split(',').any(|name| name == host.name));
        let rows: Vec<Row> =
            chosen.map(|host| try_host(host, &image)).inspect(|row| println!("{row}")).collect();
        println!("{}", Row::HEADER);
        rows.iter().for_each(|row| println!("{row}"));
        let wrong: Vec<String> = rows.iter().flat_map(|row| row.wrong()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
