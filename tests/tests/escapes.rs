//! Published escapes, each tried in a default guest: what other tools were open to, a guest of ours must not be.
//!
//! An attempt is a program of `tests/escapes`, named for what it tries. It says `held` when all that it tried was refused
//! in the way that it expects, and else what it has reached. Each is also made where that one defence is missing
//! (`escapes/controls.rs`), and must get through there; but for numbers that are taken for root's, which a parser refuses.

#[path = "escapes/controls.rs"]
mod controls;

use hostel_tests::Guest;
use hostel_tests::cli;
use hostel_tests::run::{Outcome, run, run_with_input};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is tried inside, without help from outside.
struct Attempt {
    name: &'static str,
    program: &'static str,
    /// A shell's line that runs the same on the host, in a mount namespace that nothing else confines; `$ROOT`: a guest's root.
    control: &'static str,
    /// Among what it says there.
    reaches: &'static str,
}

const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "chroot",
        program: include_str!("../escapes/chroot.pl"),
        control: "mount -t tmpfs tmp \"$ROOT/tmp\" && exec chroot \"$ROOT\" perl -",
        reaches: "the root is",
    },
    Attempt {
        name: "release_agent (CVE-2022-0492)",
        program: include_str!("../escapes/release-agent.pl"),
        control: "mount -t tmpfs tmp /tmp && exec perl - none,name=hostel-test",
        reaches: "/release_agent",
    },
    Attempt {
        name: "core_pattern (CVE-2022-0811)",
        program: include_str!("../escapes/core-pattern.pl"),
        control: "mount -t tmpfs tmp /tmp && exec perl -",
        reaches: "/core_pattern",
    },
    Attempt {
        name: "programs of the host (CVE-2019-5736)",
        program: include_str!("../escapes/programs.pl"),
        // Its process 1 is a copy, which it may spoil.
        control: "mount -t tmpfs tmp /run && mkdir -p /run/hostel/bin && cp /bin/sh /bin/true /run/hostel/bin && \
                  exec unshare --pid --fork --mount-proc /run/hostel/bin/sh -c 'perl -; true'",
        reaches: "/proc/1/exe",
    },
    Attempt {
        name: "device nodes",
        program: include_str!("../escapes/devices.pl"),
        control: "mount -t tmpfs tmp /tmp && exec perl -",
        reaches: "mknod b mknod c",
    },
    Attempt {
        name: "a device node in its root",
        program: include_str!("../escapes/devices.pl"),
        control: "mount -t tmpfs tmp /tmp && mkdir -p /tmp/root/tmp && mount --rbind \"$ROOT\" /tmp/root && \
                  mount -t tmpfs tmp /tmp/root/mnt && mknod -m 666 /tmp/root/mnt/node c 10 229 && \
                  mount -t tmpfs tmp /tmp/root/tmp && sed s#/node-fuse#/mnt/node# | exec chroot /tmp/root perl -",
        reaches: "a node of the root",
    },
    Attempt {
        name: "file handles",
        program: include_str!("../escapes/handles.pl"),
        control: "exec perl -",
        reaches: "inodes",
    },
    Attempt {
        name: "its own cgroup",
        program: include_str!("../escapes/cgroup.pl"),
        control: "mount -t tmpfs tmp /tmp && exec perl -",
        reaches: "/cgroup.max.depth",
    },
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
    for Attempt { name, program, control, reaches } in ATTEMPTS {
        assert_eq!(attempt(&guest, program, &[]), "held\n", "{name}");
        let without = controls::unconfined(control, program);
        assert!(
            without.contains("escaped: ") && without.contains(reaches),
            "{name}, without its defence: {without}"
        );
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
    nobody_waits_for_whom_it_traces(&guest);
}

/// Who is run by `hostel exec` may make that its tracer, alone or by a thread, and must not stand still for it.
fn nobody_waits_for_whom_it_traces(guest: &Guest) {
    let number = if cfg!(target_arch = "x86_64") { 101 } else { 117 };
    for (what, script) in [
        ("a process", format!("syscall({number}, 0, 0, 0, 0) == 0 or die; exec 'echo', 'went on'")),
        (
            "a thread",
            format!(
                "use threads; threads->create(sub {{ syscall({number}, 0, 0, 0, 0) == 0 or die }})->join; \
                 print \"went on\\n\""
            ),
        ),
    ] {
        assert_eq!(attempt(guest, &script, &[]), "went on\n", "{what}");
    }
}

/// Signals, ptrace, pidfds and /proc of the host's processes, the test's own and the other guest's keeper among them.
fn others_are_out_of_reach(guest: &Guest) {
    let mut pids: Vec<String> = vec![std::process::id().to_string(), guest.init.to_string()];
    pids.extend(guest.keepers().iter().map(u32::to_string));
    let pids: Vec<&str> = pids.iter().map(String::as_str).collect();
    assert_eq!(attempt(guest, OTHERS, &pids), "held\n", "other processes");
    controls::processes_of_its_own_namespace(OTHERS);
}

fn abstract_sockets_are_the_hosts(guest: &Guest) {
    let name = format!("hostel-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(attempt(guest, ABSTRACT, &[&name]), "held\n", "abstract sockets");
    let without = controls::unconfined(&format!("exec perl - {name}"), ABSTRACT);
    assert_eq!(without, "escaped: connected\n", "in the host's network namespace");
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
    let on_terminal = |by: &str, inside: &str, redirected: &str| {
        let line = format!("{by} sh -c '{inside}' {redirected}");
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]);
        let outcome = run_with_input(&mut script, b"", LIMIT).unwrap_or_else(|error| panic!("{error}"));
        // What the terminal shows of the end of its input is no part of it.
        outcome.stdout.replace('\r', "").replace("^@", "")
    };
    let hostel = cli::hostel(&["exec", &guest.name, "--"]);
    let arguments: Vec<_> = hostel.get_args().map(|argument| argument.to_string_lossy()).collect();
    let hostel = format!("{} {}", hostel.get_program().display(), arguments.join(" "));
    // On the same file system as the guest's other terminals.
    let file_systems = "stat -L -c %d /proc/self/fd/0 /proc/self/fd/2 /dev/pts/ptmx | sort -u | wc -l";
    let own = on_terminal(&hostel, file_systems, "");
    assert_eq!(own.trim(), "1", "the terminal of a command is the guest's");
    let passed_on = format!("mount -t devpts -o newinstance none /dev/pts; {file_systems}");
    let host = on_terminal("unshare --mount --propagation private", &passed_on, "");
    assert_eq!(host.trim(), "2", "one that is passed on is the host's");
    let looked = "for n in 0 1 2; do test -t $n && echo escaped; done; echo looked";
    let none = on_terminal(&hostel, looked, "</dev/null");
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
    assert_eq!(attempt(guest, FAKE_PROC, &["cover"]), "covered\n");
    controls::join_trusting(guest, "echo label >/proc/self/attr/exec");
    let fooled = attempt(guest, FAKE_PROC, &["uncover"]);
    assert!(fooled.starts_with("escaped: written to"), "by who trusts the guest's /proc: {fooled}");
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
    let look = READ_CAPABILITIES.replace('\'', "'\\''");
    let read = format!("mount -t tmpfs tmp /tmp && perl - && exec perl -e '{look}' /tmp/capable");
    let without = controls::unconfined(&read, FILE_CAPABILITIES);
    assert_eq!(without, "set\nversion 2 root 0\n", "of the host's root, they are the host's");
}

/// CVE-2016-9962, CVE-2019-5736: whoever joins is hidden until it is the guest's own; and the program that the host ran is
/// as it was, also where the guest has it executed once more.
fn who_comes_in_cannot_be_looked_into(guest: &Guest) {
    let program = cli::hostel(&[]).get_program().to_owned();
    let before = fs::metadata(&program).unwrap();
    guest.shell("printf '#!/proc/self/exe\\n' > /tmp/own && chmod +x /tmp/own");
    let watch = watch(guest);
    let deadline = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < deadline {
        guest.exec(&["true"]);
        guest_call(guest, &["status", &guest.name]);
        // What is executed is ours once more, as a program of the guest's.
        guest.try_exec(&["/tmp/own", "list"]);
    }
    assert_eq!(watched(guest, watch), "held\n");
    let after = fs::metadata(&program).unwrap();
    assert_eq!((before.len(), before.mtime(), before.mode()), (after.len(), after.mtime(), after.mode()));
    let watch = self::watch(guest);
    controls::join_with_a_folder(guest, "sleep 1");
    let seen = watched(guest, watch);
    assert!(seen.starts_with("escaped: fd/9"), "of who comes in with a folder of the host's: {seen}");
}

/// Looks for who comes in, until [`watched`].
fn watch(guest: &Guest) -> Child {
    guest.shell("rm -f /tmp/watch-ends");
    let mut watch = cli::hostel(&["exec", &guest.name, "--", "perl", "-e", WATCH]);
    watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What was found.
fn watched(guest: &Guest, watch: Child) -> String {
    guest.shell("touch /tmp/watch-ends");
    let said = watch.wait_with_output().unwrap();
    [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
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
    let outside = controls::join_with_a_folder(guest, "cd /proc/self/fd/9/../../.. && stat -c %d:%i .");
    assert_ne!(outside, root, "who keeps a folder of the host's open leads out by it");
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
            controls::who_goes_by_paths_is_led(&root.join(place), &outside);
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

/// Public programs that look for a way out. None is part of a distribution: they are put into the cache by hand. cdk isn't
/// among them, whose sources come in modules of a registry of their own.
mod long {
    use super::*;
    use hostel_tests::paths;

    const KNOWN: &str = include_str!("../escapes/checkers.tsv");
    /// A checker, its file, and the command that runs it; one walks through all files in the end, which is cut short.
    const CHECKERS: &[(&str, &str, &str)] = &[
        ("amicontained", "amicontained", "timeout -s KILL 20 /checkers/amicontained"),
        ("deepce", "deepce.sh", "timeout -s KILL 100 sh /checkers/deepce.sh --no-network --no-colors"),
    ];
    /// What would reach the machine, if root's were the host's: capabilities(7).
    const OF_THE_MACHINE: [&str; 9] = [
        "sys_module",
        "sys_rawio",
        "sys_time",
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "perfmon",
        "bpf",
    ];

    fn put(root: &Path) {
        let folder = paths::cache().join("checkers");
        fs::create_dir(root.join("checkers")).unwrap();
        for (name, file, _) in CHECKERS {
            let to = root.join("checkers").join(file);
            fs::copy(folder.join(file), to).unwrap_or_else(|error| {
                panic!(
                    "{error}: {name} is wanted as {}, a static program or a script",
                    folder.join(file).display()
                )
            });
        }
    }

    /// A line of a report: what it is about, and what it says of that.
    fn parts(line: &str) -> (&str, &str) {
        let line = line.trim().trim_start_matches("[+] ");
        let at = [": ", " ..", " -> "].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        (name.trim_end_matches(':'), value.trim_start_matches([':', ' ', '.', '-', '>']).trim())
    }

    fn is_known(checker: &str, name: &str, value: &str) -> bool {
        KNOWN.lines().filter(|line| !line.starts_with('#')).any(|line| {
            match line.split('\t').collect::<Vec<_>>()[..] {
                [of, about, says, why] => {
                    let said =
                        says == "*" || (value.starts_with(says) && says.is_empty() == value.is_empty());
                    of == checker && name.starts_with(about) && said && !why.is_empty()
                }
                _ => panic!("four columns: {line}"),
            }
        })
    }

    #[test]
    #[ignore = "needs checkers in the cache: cargo xtask test --all"]
    fn given_a_default_guest_when_public_checkers_look_at_it_then_all_that_they_report_is_known_and_harmless()
    {
        let guest = Guest::debian12("checkers").file("etc/made-for-this-test", "").prepare(put).start();
        for (checker, _, command) in CHECKERS {
            let report = guest.try_exec(&["sh", "-c", command]).stdout;
            let findings: Vec<(&str, &str)> = match *checker {
                "deepce" => report.lines().filter(|line| line.starts_with("[+] ")).map(parts).collect(),
                // The names of system calls are no finding of their own.
                _ => report.lines().filter(|line| !line.contains("SETSID")).map(parts).collect(),
            };
            assert!(findings.len() > 8, "{checker}: {report}");
            for (name, value) in &findings {
                assert!(is_known(checker, name, value), "{checker} reports `{name}`: `{value}`");
            }
            let value =
                |of: &str| findings.iter().find(|(name, _)| *name == of).map_or("", |(_, value)| value);
            if *checker == "amicontained" {
                let host = value("Container").split_whitespace().skip_while(|word| *word != "->").nth(1);
                let host: u32 = host.and_then(|host| host.parse().ok()).unwrap_or(0);
                assert!(host >= 65536, "root is the host's {host}: {report}");
                let held: Vec<&str> = value("BOUNDING").split(' ').collect();
                assert!(OF_THE_MACHINE.iter().all(|one| !held.contains(one)), "{held:?}");
            }
        }
    }
}
