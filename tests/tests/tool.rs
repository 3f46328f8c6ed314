//! The host's tool: each command does what it says, with exit codes and facts that a script can use.

use std::fs;
use std::os::unix::fs::lchown;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hostel_tests::cache::DEBIAN12;
use hostel_tests::cli::{self, Status};
use hostel_tests::host::Watch;
use hostel_tests::run::{Outcome, run, run_with_input, until};
use hostel_tests::{Guest, paths, small};

fn attempt(arguments: &[&str]) -> Outcome {
    cli::attempt(arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn source() -> String {
    format!("dir:{}", DEBIAN12.root().display())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn given_a_one_shot_command_when_run_then_its_output_and_exit_code_are_the_tools_own() {
    let source = source();
    let outcome = attempt(&[
        "run",
        "--rm",
        "--volatile",
        &source,
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; id -u; exit 7",
    ]);
    assert_eq!(outcome.status.code(), Some(7), "{}", outcome.said());
    assert!(outcome.stdout.contains("out"), "{outcome:?}");
    assert!(outcome.said().contains("err"), "{outcome:?}");
    assert!(outcome.stdout.lines().any(|line| line.trim() == "0"), "root inside: {outcome:?}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn given_a_command_that_is_missing_when_run_then_the_exit_code_is_127_and_it_is_named() {
    let outcome = attempt(&["run", "--rm", "--volatile", &source(), "--", "/not/there"]);
    assert_eq!(outcome.status.code(), Some(127), "{}", outcome.said());
    assert!(outcome.said().contains("/not/there"), "{}", outcome.said());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn given_a_command_that_leaves_orphans_when_run_then_it_ends_with_its_main_process_and_nothing_is_left() {
    let began = Instant::now();
    let outcome = attempt(&[
        "run",
        "--rm",
        "--volatile",
        &source(),
        "--",
        "sh",
        "-c",
        "sleep 1000 & setsid sleep 1000 & exit 3",
    ]);
    assert_eq!(outcome.status.code(), Some(3), "{}", outcome.said());
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_running_guest_when_commands_are_executed_in_it_then_input_output_and_codes_pass_through() {
    let guest = Guest::debian12("exec").start();
    let outcome =
        cli::exec(&guest.name, &["sh", "-c", "cat; echo err >&2; exit 42"], b"in").expect("an answer");
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(42), "in"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr, "err\n");
    let killed = guest.try_exec(&["sh", "-c", "kill -TERM $$"]);
    let code = killed.status.code().or(killed.status.signal().map(|signal| 128 + signal));
    assert_eq!(code, Some(143), "{}", killed.said());
    assert_eq!(guest.try_exec(&["/not/there"]).status.code(), Some(127));
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_terminal_when_a_guest_is_entered_then_the_shell_has_a_terminal_of_its_own() {
    let guest = Guest::debian12("enter").start();
    // script(1) gives the tool a terminal, and types into it.
    let tool = paths::program("hostel");
    let line = format!("{} enter {}", tool.display(), guest.name);
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    let typed = b"stty -echo; tty; test -t 0 && echo is-a-terminal; hostname; exit 9\n";
    let outcome = run_with_input(&mut script, typed, Duration::from_secs(30)).expect("an end");
    assert_eq!(outcome.status.code(), Some(9), "{}", outcome.said());
    for word in ["/dev/pts/", "is-a-terminal", &guest.name] {
        assert!(outcome.stdout.contains(word), "{word} is not in {:?}", outcome.stdout);
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_guest_when_listed_and_asked_for_then_its_life_shows_in_the_facts() {
    let mut guest = Guest::debian12("facts").own_root().create();
    let listed = |guest: &Guest| cli::facts(&["list"]).unwrap_or_default().to_string().contains(&guest.name);
    assert!(listed(&guest));
    assert_eq!(cli::status(&guest.name).unwrap_or_default().init, 0);
    guest.start();
    let Status { state, units, .. } = cli::status(&guest.name).expect("facts");
    assert!(state == "running" || state == "degraded", "{state}");
    assert!(units.len() > 20, "{units:?}");
    assert!(guest.logs("ssh.service").contains("Server listening"), "{}", guest.logs("ssh.service"));
    guest.stop();
    assert_eq!(cli::status(&guest.name).unwrap_or_default().init, 0);
    let last = guest.logs("hostel-init");
    assert!(last.contains("All units and processes have ended"), "{last}");
    assert!(!attempt(&["stop", "no-such-guest"]).status.success());
    let name = guest.name.clone();
    drop(guest);
    assert!(!attempt(&["status", &name]).status.success(), "it was removed");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_somebody_who_waits_for_a_guest_when_it_powers_itself_off_then_the_wait_ends() {
    let guest = Guest::debian12("wait").start();
    let name = guest.name.clone();
    let waiter = std::thread::spawn(move || cli::attempt(&["wait", &name]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiter.is_finished(), "it waited for nothing");
    // SIGRTMIN+4 from inside is what systemd's poweroff sends as a last resort.
    guest.try_exec(&["sh", "-c", "kill -38 1"]);
    let ended = until(Duration::from_secs(60), || waiter.is_finished().then_some(()));
    assert!(ended.is_some(), "the guest did not power off");
    assert!(waiter.join().expect("the thread that waits").is_ok());
    let clean = until(Duration::from_secs(5), || guest.leftovers().is_empty().then_some(()));
    assert!(clean.is_some(), "left on the host:\n{}", guest.leftovers().join("\n"));
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_unit_whose_end_is_that_of_the_guest_when_it_was_started_too_often_then_the_guest_powers_off() {
    let unit = "[Unit]\nStartLimitBurst=2\nStartLimitAction=poweroff\nFailureAction=none\n\
        [Service]\nRestart=on-failure\nExecStart=/bin/false\n";
    let guest = Guest::debian12("action").unit("crashing.service", unit).start();
    let name = guest.name.clone();
    let waiter = std::thread::spawn(move || cli::attempt(&["wait", &name]));
    guest.try_exec(&["systemctl", "start", "--no-block", "crashing.service"]);
    let ended = until(Duration::from_secs(60), || waiter.is_finished().then_some(()));
    assert!(ended.is_some(), "the guest goes on: {}", guest.logs("crashing.service"));
    let waited = waiter.join().expect("the waiting thread").expect("hostel wait");
    assert!(waited.status.success(), "it was to power off: {}", waited.said());
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_guest_that_asks_for_a_reboot_when_it_is_down_then_it_is_started_again() {
    let mut guest = Guest::debian12("reboot").start();
    let before = guest.init;
    guest.try_exec(&["sh", "-c", "kill -39 1"]);
    let again = until(Duration::from_secs(60), || {
        let status = cli::status(&guest.name)?;
        (status.init != 0 && status.init != before && status.state != "booting").then_some(status)
    });
    let status = again.unwrap_or_else(|| panic!("not back: {:?}", cli::status(&guest.name)));
    assert!(matches!(status.state.as_str(), "running" | "degraded" | "starting"), "{}", status.state);
    guest.find_init();
    guest.wait_for("ssh.service", Duration::from_secs(20), |unit| unit.active == "active");
    let before = guest.init;
    assert!(attempt(&["restart", &guest.name]).status.success());
    guest.find_init();
    assert_ne!(guest.init, before);
    assert_eq!(guest.stop().leftovers, Vec::<String>::new());
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_an_ordinary_user_when_a_command_is_run_then_it_is_root_inside_and_nobody_else_outside() {
    let name = format!("test-user-{}", std::process::id());
    let watch = Watch::new(&name);
    // The programs and the cache lie where an ordinary user may not look: copies that it may.
    let folder = PathBuf::from("/var/tmp").join(&name);
    prepare_for_nobody(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut tool = Command::new("setpriv");
    tool.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    tool.arg(folder.join("hostel")).args(["run", "--rm"]);
    tool.arg(format!("dir:{}/root", folder.display())).args(["--", "sh", "-c", "id -u; exit 5"]);
    tool.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    for variable in ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"] {
        tool.env(variable, folder.join("home"));
    }
    let outcome = run(&mut tool, Duration::from_secs(30));
    let removed = fs::remove_dir_all(&folder);
    let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((outcome.status.code(), outcome.stdout.trim()), (Some(5), "0"), "{}", outcome.said());
    removed.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert_eq!(watch.leftovers(), Vec::<String>::new());
}

/// The programs, a small root and a home, all of the user nobody.
fn prepare_for_nobody(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("home"))?;
    for name in paths::PROGRAMS {
        fs::copy(paths::program(name), folder.join(name))?;
    }
    small::make(&folder.join("root"))?;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        lchown(&folder, Some(65534), Some(65534))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                lchown(entry.path(), Some(65534), Some(65534))?;
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_booted_guest_when_its_boot_is_asked_for_then_chain_sums_picture_and_systemds_own_tool_agree() {
    let guest = Guest::debian12("boot")
        .wanted_unit(
            "first.service",
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 0.2\n",
        )
        .wanted_unit("second.service", "[Unit]\nAfter=first.service\n[Service]\nExecStart=/bin/sleep 1000\n")
        .start();
    let facts = cli::facts(&["boot", &guest.name, "--unit", "second"]).expect("JSON");
    let path = facts["critical_path"].as_array().expect("a path");
    let last = path.last().expect("a step");
    assert_eq!(last["unit"], facts["default_target"], "{facts:#}");
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let sum: u64 = path.iter().map(|step| number(&step["waited_usec"]) + number(&step["cost_usec"])).sum();
    // The clock of units counts milliseconds, the plan's microseconds.
    let gone = number(&last["done_usec"]).saturating_sub(number(&facts["plan_usec"]));
    assert!(sum.abs_diff(gone) < 2000, "{sum} of {gone}: {facts:#}");
    assert!(number(&last["done_usec"]) <= number(&facts["ready_usec"]), "{facts:#}");
    let second = facts["chain"].as_array().and_then(|chain| chain.last()).expect("a chain");
    assert_eq!(second["unit"], "second.service");
    let units = facts["units"].as_array().expect("units");
    let named = |name: &str| units.iter().find(|unit| unit["unit"] == name).expect("the unit");
    assert_eq!(named("second.service")["waited_for"], "first.service");
    assert!(number(&named("first.service")["cost_usec"]) >= 200_000, "{facts:#}");

    let picture = attempt(&["boot", &guest.name, "--svg", "-"]).stdout;
    let tree = roxmltree::Document::parse(&picture).expect("well-formed XML");
    let critical = tree.descendants().filter(|node| node.attribute("class") == Some("unit critical"));
    assert_eq!(critical.count(), path.len());
    assert!(attempt(&["boot", &guest.name]).stdout.contains("The critical path:"));

    for tool in [&["systemd-analyze"][..], &["/run/hostel/bin/hostel-warden", "analyze"][..]] {
        let ask = |rest: &[&str]| guest.try_exec(&[tool, rest].concat());
        assert!(ask(&["time"]).stdout.contains("(userspace)"), "{}", ask(&["time"]).said());
        let blamed = ask(&["blame"]);
        assert!(blamed.stdout.contains("first.service"), "{}", blamed.said());
        let chain = ask(&["critical-chain", "second.service"]);
        let lines: Vec<&str> = chain.stdout.lines().collect();
        assert!(lines.iter().any(|line| line.starts_with("second.service")), "{}", chain.said());
        assert!(lines.iter().any(|line| line.starts_with("└─first.service")), "{}", chain.said());
    }

    let wrong = |arguments: &[&str]| {
        let outcome = attempt(arguments);
        (outcome.status.code(), outcome.said())
    };
    let (code, said) = wrong(&["boot", &guest.name, "--unit", "no-such"]);
    assert!(code == Some(2) && said.contains("no-such"), "{said}");
    let (code, said) = wrong(&["boot", &guest.name, "--svg", "/not/there/x.svg"]);
    assert!(code == Some(1) && said.contains("/not/there/x.svg"), "{said}");
    attempt(&["stop", &guest.name]);
    let (code, said) = wrong(&["boot", &guest.name]);
    assert!(code == Some(3) && said.contains("doesn't run"), "{said}");
}

mod long {
    use super::*;

    /// Packages are fetched and unpacked meanwhile.
    const CREATE_LIMIT: Duration = Duration::from_secs(600);

    #[test]
    #[ignore = "makes a Debian by mmdebstrap: cargo xtask test --all"]
    fn given_a_suite_when_a_guest_is_made_from_it_then_it_boots_and_stops() {
        let name = format!("test-suite-{}", std::process::id());
        let mut watch = Watch::new(&name);
        let mut create = cli::hostel(&["create", &name, "--from", "debian:bookworm"]);
        let created = run(&mut create, CREATE_LIMIT).and_then(|outcome| outcome.success());
        let started = created.and_then(|_| cli::call(&["start", &name]));
        let status = cli::status(&name).unwrap_or_default();
        watch.remember(status.init);
        let release = cli::exec(&name, &["cat", "/etc/os-release"], b"").map(|outcome| outcome.stdout);
        let stopped = started.and_then(|_| cli::call(&["stop", &name]));
        let left = watch.leftovers();
        let removed = cli::call(&["rm", "--force", &name]);
        stopped.and(removed).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(status.state, "running", "{:?}", status.units);
        assert!(release.is_ok_and(|text| text.contains("VERSION_CODENAME=bookworm")));
        assert_eq!(left, Vec::<String>::new());
    }
}
