//! Published escapes, each tried in a default guest: what other tools were open to, a guest of ours must not be.
//!
//! An attempt is a program of `tests/escapes`, named for what it tries. It says `held` when all that it tried was refused
//! in the way that it expects, and else what it has reached. Seen to succeed without their defence were the home of
//! CVE-2024-21626 and the keyring; of device nodes, that the second defence holds where the first is gone.

use hostel_tests::Guest;
use hostel_tests::cli;
use hostel_tests::run::{Outcome, run, run_with_input};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is tried inside, without help from outside.
const ATTEMPTS: &[(&str, &str)] = &[
    ("chroot", include_str!("../escapes/chroot.pl")),
    ("release_agent (CVE-2022-0492)", include_str!("../escapes/release-agent.pl")),
    ("core_pattern (CVE-2022-0811)", include_str!("../escapes/core-pattern.pl")),
    ("programs of the host (CVE-2019-5736)", include_str!("../escapes/programs.pl")),
    ("device nodes", include_str!("../escapes/devices.pl")),
    ("file handles", include_str!("../escapes/handles.pl")),
    ("its own cgroup", include_str!("../escapes/cgroup.pl")),
];
const OTHERS: &str = include_str!("../escapes/others.pl");
const ABSTRACT: &str = include_str!("../escapes/abstract.pl");
const KEYRING: &str = include_str!("../escapes/keyring.pl");
const WITH_KEY: &str = include_str!("../escapes/with-key.pl");
const FAKE_PROC: &str = include_str!("../escapes/fake-proc.pl");
const FILE_CAPABILITIES: &str = include_str!("../escapes/file-capabilities.pl");
const READ_CAPABILITIES: &str = include_str!("../escapes/read-capabilities.pl");
const WATCH: &str = include_str!("../escapes/watch.pl");
const LIMIT: Duration = Duration::from_secs(60);

/// A guest whose root has a device node, as an archive or another tool may have put it there: /dev/fuse, which is for
/// everybody.
fn guest() -> Guest {
    let with_node = |root: &Path| {
        let mut make = Command::new("sh");
        make.args(["-c", "mknod -m 666 \"$1/node-fuse\" c 10 229 && chown 0:0 \"$1/node-fuse\"", "sh"]);
        run(make.arg(root), LIMIT).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"));
    };
    Guest::debian12("escapes").file("etc/made-for-this-test", "").prepare(with_node).start()
}

/// A program of the tests', inside.
fn attempt(guest: &Guest, script: &str, arguments: &[&str]) -> String {
    let command = [&["perl", "-"], arguments].concat();
    let outcome =
        cli::exec(&guest.name, &command, script.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    outcome.said()
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_default_guest_when_published_escapes_are_tried_in_it_then_each_is_held() {
    let guest = guest();
    for (name, script) in ATTEMPTS {
        assert_eq!(attempt(&guest, script, &[]), "held\n", "{name}");
    }
    others_are_out_of_reach(&guest);
    abstract_sockets_are_the_hosts(&guest);
    keys_stay_with_the_caller(&guest);
    terminals_are_the_guests(&guest);
    nobody_is_taken_for_root(&guest);
    who_comes_in_trusts_no_proc(&guest);
    capabilities_of_files_are_the_guests(&guest);
    who_comes_in_cannot_be_looked_into(&guest);
    homes_lead_nowhere(&guest);
}

/// Signals, ptrace, pidfds and /proc of the host's processes, the test's own and the other guest's keeper among them.
fn others_are_out_of_reach(guest: &Guest) {
    let mut pids: Vec<String> = vec![std::process::id().to_string(), guest.init.to_string()];
    pids.extend(guest.keepers().iter().map(u32::to_string));
    let pids: Vec<&str> = pids.iter().map(String::as_str).collect();
    assert_eq!(attempt(guest, OTHERS, &pids), "held\n", "other processes");
}

fn abstract_sockets_are_the_hosts(guest: &Guest) {
    let name = format!("hostel-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(attempt(guest, ABSTRACT, &[&name]), "held\n", "abstract sockets");
}

/// A session keyring is inherited by whoever is started: a command in a guest gets one of its own.
fn keys_stay_with_the_caller(guest: &Guest) {
    let key = format!("hostel-test-{}", std::process::id());
    let mut call = Command::new("perl");
    let hostel = cli::hostel(&["exec", &guest.name, "--", "perl", "-e", KEYRING, &key]);
    call.args(["-e", WITH_KEY, &key]).arg(hostel.get_program()).args(hostel.get_args());
    let outcome = run_with_input(&mut call, b"", LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome.said(), "held\n", "keys");
    // The check itself: outside of a guest such a command does find it.
    let mut call = Command::new("perl");
    call.args(["-e", WITH_KEY, &key, "perl", "-e", KEYRING, &key]);
    let outcome = run_with_input(&mut call, b"", LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.said().starts_with("escaped"), "{}", outcome.said());
}

/// TIOCSTI and its kin need the caller's terminal: inside there is one of the guest's, or none.
fn terminals_are_the_guests(guest: &Guest) {
    let on_terminal = |inside: &str, redirected: &str| {
        let hostel = cli::hostel(&["exec", &guest.name, "--"]);
        let line = format!(
            "{} {} sh -c '{inside}' {redirected}",
            hostel.get_program().display(),
            hostel.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" "),
        );
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]);
        let outcome = run_with_input(&mut script, b"", LIMIT).unwrap_or_else(|error| panic!("{error}"));
        // What the terminal shows of the end of its input is no part of it.
        outcome.stdout.replace('\r', "").replace("^@", "")
    };
    // On the same file system as the guest's other terminals.
    let own =
        on_terminal("stat -L -c %d /proc/self/fd/0 /proc/self/fd/2 /dev/pts/ptmx | sort -u | wc -l", "");
    assert_eq!(own.trim(), "1", "the terminal of a command is the guest's");
    let none = on_terminal("for n in 0 1 2; do test -t $n && echo escaped; done; echo looked", "</dev/null");
    assert_eq!(none.trim(), "looked", "without a terminal as its input a command gets none at all");
}

/// CVE-2026-30892: -u 1 was taken for root; CVE-2026-46680: a number that is too large was taken for a name.
fn nobody_is_taken_for_root(guest: &Guest) {
    let id = |user: &str| guest_call(guest, &["exec", &guest.name, "--user", user, "--", "id", "-u"]);
    assert_eq!(id("1").stdout, "1\n");
    guest.shell("echo 4294967296:x:0:0::/:/bin/sh >> /etc/passwd");
    for user in ["4294967296", "4294967295", "-1", "0x0"] {
        let outcome = id(user);
        assert!(!outcome.status.success(), "{user}: {}", outcome.said());
    }
}

fn guest_call(guest: &Guest, arguments: &[&str]) -> Outcome {
    cli::attempt(arguments).unwrap_or_else(|error| panic!("in {}: {error}", guest.name))
}

/// CVE-2015-1334: who joins is as confined where the guest's /proc is a fake, and writes nothing into it.
fn who_comes_in_trusts_no_proc(guest: &Guest) {
    let confined = || attempt(guest, FAKE_PROC, &["confined"]);
    let before = confined();
    assert!(before.contains("Seccomp:") && before.contains("user user:["), "{before}");
    assert_eq!(attempt(guest, FAKE_PROC, &["cover"]), "covered\n");
    let after = confined();
    let entered = run_with_input(&mut cli::hostel(&["enter", &guest.name]), b"echo inside\n", LIMIT).unwrap();
    assert_eq!(attempt(guest, FAKE_PROC, &["uncover"]), "held\n", "a fake /proc");
    assert_eq!(after, before, "as with a /proc of the kernel's");
    assert_eq!(entered.stdout, "inside\n", "{}", entered.said());
}

/// What the guest's root gives to a file is good for its own users alone: the kernel keeps the root's id with it.
fn capabilities_of_files_are_the_guests(guest: &Guest) {
    assert_eq!(attempt(guest, FILE_CAPABILITIES, &[]), "set\n");
    let file = format!("/proc/{}/root/tmp/capable", guest.init);
    let mut read = Command::new("perl");
    let said = run(read.args(["-e", READ_CAPABILITIES, &file]), LIMIT).unwrap().said();
    let root: u32 =
        said.trim().strip_prefix("version 3 root ").and_then(|root| root.parse().ok()).unwrap_or(0);
    assert!(root >= 65536, "capabilities for a root of the host's: {said}");
}

/// CVE-2016-9962, CVE-2019-5736: whoever joins is hidden until it is the guest's own; and the program that the host ran is
/// as it was, also where the guest has it executed once more.
fn who_comes_in_cannot_be_looked_into(guest: &Guest) {
    let program = cli::hostel(&[]).get_program().to_owned();
    let before = fs::metadata(&program).unwrap();
    guest.shell("printf '#!/proc/self/exe\\n' > /tmp/own && chmod +x /tmp/own");
    let mut watch = cli::hostel(&["exec", &guest.name, "--", "perl", "-e", WATCH]);
    let watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < deadline {
        guest.exec(&["true"]);
        guest_call(guest, &["status", &guest.name]);
        // What is executed is ours once more, as a program of the guest's.
        guest.try_exec(&["/tmp/own", "list"]);
    }
    guest.shell("touch /tmp/watch-ends");
    let said = watch.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "held\n", "{}", String::from_utf8_lossy(&said.stderr));
    let after = fs::metadata(&program).unwrap();
    assert_eq!((before.len(), before.mtime(), before.mode()), (after.len(), after.mtime(), after.mode()));
}

/// CVE-2024-21626: a working directory by way of /proc/self/fd, here the home of the user who enters.
fn homes_lead_nowhere(guest: &Guest) {
    let root = guest.shell("stat -c %d:%i /");
    for number in 3..12 {
        let home = format!("/proc/self/fd/{number}/../../../../../../../..");
        guest.shell(&format!("sed -i 's#^root:.*#root:x:0:0::{home}:/bin/sh#' /etc/passwd"));
        let mut enter = cli::hostel(&["enter", &guest.name]);
        let entered = run_with_input(&mut enter, b"stat -c %d:%i .\n", LIMIT).unwrap();
        assert_eq!(entered.stdout, root, "by descriptor {number}: {}", entered.said());
    }
}

/// CVE-2021-30465 and CVE-2025-31133, -52565, -52881: what is mounted on is swapped for a link while the guest is made.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_mount_points_that_are_swapped_for_links_while_a_guest_is_made_then_nothing_outside_is_mounted_on() {
    let guest = Guest::small("races").create();
    let root = guest.shared_root();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let source = format!("dir:{}", root.display());
    let settings = ["bind=/usr/share/doc /data/bound ro", "tmpfs=/data/memory", "devices=/dev/net/tun"];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let call: Vec<&str> =
        ["run"].into_iter().chain(settings).chain([source.as_str(), "--", "true"]).collect();
    fs::create_dir_all(root.join("data/bound")).unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    let swapper = std::thread::spawn(move || {
        while Instant::now() < until {
            ["dev", "proc", "data", "data/bound", "run", "sys"]
                .iter()
                .for_each(|place| swap(&root.join(place)));
        }
    });
    let mut made = 0;
    while Instant::now() < until {
        let outcome = cli::attempt(&call).unwrap_or_else(|error| panic!("{error}"));
        made += u32::from(outcome.status.success());
        let refused = outcome.said().contains("making the context, step");
        assert!(outcome.status.success() || refused, "{}", outcome.said());
    }
    swapper.join().unwrap();
    assert!(made > 0, "some were made between two swaps");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(), mounts.lines().count());
}

/// CVE-2026-41579: an image whose /dev is a link; and the other folders that something is made in or mounted on.
#[test]
#[ignore = "makes guests: cargo xtask test"]
fn given_a_root_whose_folders_are_links_when_a_guest_is_made_then_it_is_refused_and_nothing_is_written_there()
{
    let guest = Guest::small("links").create();
    let root = guest.shared_root();
    let outside = root.with_extension("outside");
    fs::create_dir(&outside).unwrap();
    let source = format!("dir:{}", root.display());
    let relative = Path::new("../../../../../../../../..").join(outside.strip_prefix("/").unwrap());
    for place in ["dev", "proc", "run", "sys"] {
        for target in [&outside, &relative] {
            let aside = root.join("aside");
            fs::rename(root.join(place), &aside).unwrap();
            std::os::unix::fs::symlink(target, root.join(place)).unwrap();
            let outcome = cli::attempt(&["run", &source, "--", "true"]);
            fs::remove_file(root.join(place)).unwrap();
            fs::rename(&aside, root.join(place)).unwrap();
            let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
            let said = outcome.said();
            assert!(!outcome.status.success() && said.contains("is a link"), "/{place}: {said}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "/{place} led outside");
        }
    }
    fs::remove_dir(&outside).unwrap();
}

/// For a moment a folder is a link to one of the host's.
fn swap(place: &Path) {
    let aside = place.with_extension("aside");
    let _ = fs::rename(place, &aside);
    let _ = std::os::unix::fs::symlink("/etc", place);
    std::thread::sleep(Duration::from_micros(300));
    let _ = fs::remove_file(place);
    let _ = fs::rename(&aside, place);
    std::thread::sleep(Duration::from_millis(3));
}
