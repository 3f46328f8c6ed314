//! The guest's own systemctl, deb-systemd-invoke, busctl and service(8) say and do under Hostel what they say and do
//! under systemd.
//!
//! `tests/systemctl/commands.txt` lists commands, `units/` the units that they are about. What real systemd answers is
//! kept beside them (`*.answers`), so that the short test boots no systemd; a long test takes the answers anew (and
//! with RECORD_SYSTEMCTL=1 keeps them). Every difference has a row, with its reason, in `differences.tsv`, and a row
//! without a difference is wrong, too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use hostel_tests::cache::{DEBIAN_TESTING, DEBIAN11, DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::guest::Builder;
use hostel_tests::oracle::Nspawn;
use hostel_tests::{Guest, cli, paths};

/// How long all commands together may take.
const LIMIT: Duration = Duration::from_secs(180);
/// Begins a command's answer, and ends it with the exit status.
const BEGIN: &str = "@@ ";
const END: &str = "@@= ";

fn folder() -> PathBuf {
    paths::repository().join("tests/systemctl")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn commands() -> Vec<String> {
    let text = read("commands.txt");
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

/// A guest with the units of the test.
fn builder(distribution: Distribution, purpose: &str) -> Builder {
    let entries = fs::read_dir(folder().join("units")).expect("the folder of units").flatten();
    let mut builder = Guest::of(distribution, purpose)
        .link("etc/systemd/system/hs-masked.service", "/dev/null")
        .file("root/hs-linked.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        builder = builder.unit(&name, &read(&format!("units/{name}")));
    }
    builder
}

/// A script that runs the commands one after the other.
fn script() -> String {
    let quoted = |command: &String| command.replace('\'', "'\\''");
    let one = |command: &String| {
        let command = quoted(command);
        format!("echo '{BEGIN}{command}'; timeout 30 sh -c '{command}' 2>&1 </dev/null; echo \"{END}$?\"\n")
    };
    let environment = "export SYSTEMD_PAGER= SYSTEMD_COLORS=0 COLUMNS=120 TZ=UTC LC_ALL=C.UTF-8\n";
    environment.to_owned() + &commands().iter().map(one).collect::<String>()
}

/// What the script printed, by command: its lines as they can be compared, the exit status last.
fn answers(printed: &str) -> BTreeMap<String, Vec<String>> {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut command = String::new();
    for line in printed.lines() {
        if let Some(begun) = line.strip_prefix(BEGIN) {
            command = begun.to_owned();
            // The same command may come more than once.
            while answers.contains_key(&command) {
                command.push_str(" (again)");
            }
            answers.insert(command.clone(), Vec::new());
        } else if let Some(list) = answers.get_mut(&command) {
            list.extend(comparable(line));
        }
    }
    // In the order in which a folder happens to list them; in that of the tables of this release's systemd.
    const UNORDERED: [&str; 2] = ["systemctl disable", "systemctl show -p"];
    let unordered = |command: &str| UNORDERED.iter().any(|start| command.starts_with(start));
    for (_, lines) in answers.iter_mut().filter(|(command, _)| unordered(command)) {
        lines.sort();
    }
    answers
}

/// A line without what differs from one run to the next; nothing where all of it does.
fn comparable(line: &str) -> Option<String> {
    let trimmed = line.trim_start();
    // Of what resources are used, and what was logged, other tests speak.
    const LEFT_OUT: [&str; 8] =
        ["Tasks:", "Memory:", "CPU:", "Invocation:", "Mem peak:", "Process:", "Warning: some journal", "IO:"];
    const MONTHS: [&str; 12] =
        ["Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ", "Aug ", "Sep ", "Oct ", "Nov ", "Dec "];
    let is_log = MONTHS.iter().any(|month| line.starts_with(month));
    if is_log || trimmed.is_empty() || LEFT_OUT.iter().any(|start| trimmed.starts_with(start)) {
        return None;
    }
    let line = match line.split_once(" since ") {
        Some((state, _)) if trimmed.starts_with("Active:") => state,
        _ => line,
    };
    // Debian 12's systemd says /lib where both are one.
    let line = line.replace("/usr/lib/systemd", "/lib/systemd");
    Some(without_pids(&in_order(&line)))
}

/// A list of units is a set: systemd gives it in the order of a hash table.
fn in_order(line: &str) -> String {
    const LISTS: [&str; 7] = ["After", "Before", "Requires", "RequiredBy", "WantedBy", "Conflicts", "Names"];
    match line.split_once('=') {
        Some((name, value)) if LISTS.contains(&name) => {
            let mut words: Vec<&str> = value.split_whitespace().collect();
            words.sort_unstable();
            format!("{name}={}", words.join(" "))
        }
        _ => line.to_owned(),
    }
}

/// Numbers behind `PID: ` and in a tree of processes.
fn without_pids(line: &str) -> String {
    for mark in ["PID: ", "└─", "├─", "PID "] {
        if let Some((before, rest)) = line.split_once(mark) {
            let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if behind.len() < rest.len() {
                return format!("{before}{mark}N{behind}");
            }
        }
    }
    line.to_owned()
}

fn text_of(answers: &BTreeMap<String, Vec<String>>) -> String {
    let mut order = BTreeMap::new();
    let mut text = String::new();
    for command in commands() {
        let count: &mut usize = order.entry(command.clone()).or_default();
        let key = command.clone() + &" (again)".repeat(*count);
        *count += 1;
        let lines = answers.get(&key).map(Vec::as_slice).unwrap_or(&[]);
        text.push_str(&format!("{BEGIN}{command}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    }
    text
}

/// Commands that may differ on a release, with the reason.
fn reasons(release: &str) -> BTreeMap<String, String> {
    let text = read("differences.tsv");
    let row = |line: &str| {
        let mut columns = line.split('\t');
        let (releases, command, reason) = (columns.next()?, columns.next()?, columns.next()?);
        assert!(reason.len() > 10, "differences.tsv: no reason for {command}");
        releases.split(',').any(|of| of == release).then(|| (command.to_owned(), reason.to_owned()))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

fn under_hostel(distribution: Distribution) -> BTreeMap<String, Vec<String>> {
    let guest = builder(distribution, "systemctl").start();
    let outcome = cli::exec(&guest.name, &["sh", "-s"], script().as_bytes());
    answers(&outcome.unwrap_or_else(|error| panic!("{error}")).stdout)
}

fn says_the_same(distribution: Distribution) {
    let release = distribution.release();
    let real = answers(&read(&format!("{}.answers", distribution.name)));
    let ours = under_hostel(distribution);
    let reasons = reasons(release);
    let mut wrong = String::new();
    for (command, real) in &real {
        let ours = ours.get(command).cloned().unwrap_or_default();
        match (ours == *real, reasons.contains_key(command)) {
            (false, false) => {
                wrong.push_str(&format!(
                    "{command}\n  systemd:\n    {}\n  Hostel:\n    {}\n",
                    real.join("\n    "),
                    ours.join("\n    ")
                ));
            }
            (true, true) => wrong.push_str(&format!("{command}\n  does not differ: take its row away\n")),
            _ => {}
        }
    }
    for command in reasons.keys().filter(|command| !real.contains_key(*command)) {
        wrong.push_str(&format!("{command}\n  is in differences.tsv, but no command of the test\n"));
    }
    assert!(wrong.is_empty(), "Debian {release}:\n{wrong}");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12s_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
    says_the_same(DEBIAN12);
}

/// The wardens' clients that do harm run inside, beside one that is what it should be.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_clients_that_send_garbage_flood_or_never_read_when_systemctl_asks_then_it_is_answered_and_the_log_is_whole()
 {
    let guest = builder(DEBIAN12, "hostile").program("root/hostile.pl", &read("hostile.pl")).start();
    strangers_are_not_answered(&guest);
    let wardens = hostel_tests::host::wardens(&guest.name);
    let script = "perl /root/hostile.pl > /run/hostile 2>&1 < /dev/null & hostile=$!; for i in $(seq 200); do grep -q ready /run/hostile && break; \
                  sleep 0.1; done; cat /run/hostile; for i in 1 2 3; do timeout 10 systemctl is-active cron; done; \
                  timeout 20 systemctl start hs-once && systemctl is-active hs-once; logger -t hostile kept; kill $hostile";
    let said = guest.shell(script);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["ready", "active", "active", "active", "active"], "{said}");
    assert_eq!(hostel_tests::host::wardens(&guest.name), wardens, "the warden was replaced");
    let log = cli::call(&["logs", &guest.name]).unwrap_or_else(|error| panic!("{error}")).stdout;
    assert!(log.contains("hostile") && log.contains("kept"), "{log}");
}

/// Root of the host is not root of the guest: its connection is closed, unanswered.
fn strangers_are_not_answered(guest: &Guest) {
    let tried = guest.try_exec(&["su", "nobody", "-s", "/bin/sh", "-c", "test -w /run/systemd/private"]);
    assert!(!tried.status.success(), "{}", tried.said());
    let socket = format!("/proc/{}/root/run/systemd/private", guest.init);
    let mut stream = UnixStream::connect(socket).expect("the socket is there");
    // It may be closed already.
    let _ = stream.write_all(b"\0AUTH EXTERNAL 30\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    let read = stream.read_to_string(&mut answer);
    assert!(answer.is_empty(), "{read:?}: {answer}");
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13s_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
        says_the_same(DEBIAN13);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_11s_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
        says_the_same(DEBIAN11);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_testings_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
        says_the_same(DEBIAN_TESTING);
    }

    /// The answers that are kept are those of real systemd.
    fn are_systemds(distribution: Distribution) {
        let guest = builder(distribution, "systemctl-real").create();
        let mut nspawn = Nspawn::start(&guest.shared_root(), &format!("{}-nspawn", guest.name))
            .unwrap_or_else(|error| panic!("{error}"));
        nspawn.wait_until_up().unwrap_or_else(|error| panic!("{error}"));
        let printed =
            nspawn.ask_for(&["sh", "-c", &script()], LIMIT).unwrap_or_else(|error| panic!("{error}"));
        nspawn.stop().unwrap_or_else(|error| panic!("{error}"));
        let text = text_of(&answers(&printed));
        let file = format!("{}.answers", distribution.name);
        if std::env::var_os("RECORD_SYSTEMCTL").is_some() {
            fs::write(folder().join(&file), &text).expect("the answers are kept");
        }
        assert!(
            text_of(&answers(&read(&file))) == text,
            "{file} is not what systemd answers: run with RECORD_SYSTEMCTL=1"
        );
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_12s_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        are_systemds(DEBIAN12);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_13s_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        are_systemds(DEBIAN13);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_11s_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        are_systemds(DEBIAN11);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_testings_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        are_systemds(DEBIAN_TESTING);
    }
}
