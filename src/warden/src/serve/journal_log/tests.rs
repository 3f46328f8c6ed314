use super::super::record::{DEFAULT_PRIORITY, INIT, Origin};
use super::place::folder_below;
use super::*;
use std::process::Command;

const MACHINE: &str = "0123456789abcdef0123456789abcdef";

struct Guest(PathBuf);

impl Guest {
    fn new(name: &str) -> Guest {
        let root = std::env::temp_dir().join(format!("hostel-journal-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["etc", PERSISTENT] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("etc/machine-id"), MACHINE).unwrap();
        Guest(root)
    }
    fn log(&self, limits: Limits, undo: &OwnedFd) -> JournalLog {
        JournalLog::new(self.0.clone(), JournaldConf::read(&self.0), limits, undo.try_clone().unwrap())
    }
    fn folder(&self) -> PathBuf {
        folder(&self.0).unwrap()
    }
    /// Messages of the current file.
    fn messages(&self) -> Vec<String> {
        let mut reader = Reader::new(File::open(self.folder().join(CURRENT)).unwrap()).unwrap();
        let count = reader.count().unwrap();
        let entries = reader.entries(0, count).unwrap();
        entries.into_iter().map(|entry| text(&reader.entry(entry).unwrap().1, "MESSAGE")).collect()
    }
    /// What the machine's journalctl says; `None` where there is none.
    fn journalctl(&self, arguments: &[&str]) -> Option<String> {
        let command =
            Command::new("journalctl").arg("--directory").arg(self.folder()).args(arguments).output();
        match command {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            output => {
                let output = output.unwrap();
                assert!(output.status.success(), "{output:?}");
                Some(String::from_utf8_lossy(&output.stdout).into_owned())
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(fields: &[Vec<u8>], name: &str) -> String {
    let value = fields.iter().find_map(|field| field.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

fn record<'a>(name: &'a str, text: &'a str) -> Record<'a> {
    let time_ns = realtime() * 1000;
    Record {
        time_ns,
        name,
        pid: 0,
        priority: DEFAULT_PRIORITY,
        origin: Origin::Output,
        text: text.as_bytes(),
    }
}

fn put(log: &mut JournalLog, text: &str) -> Mark {
    let mark = log.mark().unwrap();
    log.add(&record("a.service", text), "a", &[]);
    log.write().unwrap();
    mark
}

#[test]
fn given_records_when_written_then_journalctl_finds_them_by_unit_as_journald_s_own() {
    let guest = Guest::new("fields");
    let undo = make_undo().unwrap();
    let mut log = guest.log(Limits::default(), &undo);
    log.mark().unwrap();
    log.add(&record("a.service", "said by it"), "the-a", &[]);
    log.add(&Record { pid: 1, ..record(INIT, "a.service: failed: exit-code") }, INIT, &[]);
    log.add(&Record { pid: 1, ..record(INIT, "Started b.service.") }, INIT, &[]);
    log.add(&Record { origin: Origin::Syslog, ..record("b.service", "sshd[7]: hi: you") }, "b", &[]);
    log.write().unwrap();
    drop(log);
    let Some(lines) = guest.journalctl(&["-u", "a.service", "-o", "cat"]) else { return };
    assert_eq!(lines, "said by it\na.service: failed: exit-code\n");
    let lines = guest.journalctl(&["-u", "b.service", "-o", "json"]).unwrap();
    let of_syslog: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    for (field, value) in
        [("SYSLOG_IDENTIFIER", "sshd"), ("SYSLOG_PID", "7"), ("MESSAGE", "hi: you"), ("_TRANSPORT", "syslog")]
    {
        assert_eq!(of_syslog[field], value, "{of_syslog}");
    }
    assert_eq!(guest.journalctl(&["-t", "the-a", "-p", "info", "-o", "cat", "-b"]).unwrap(), "said by it\n");
    guest.journalctl(&["--verify"]);
}

#[test]
fn given_a_batch_that_was_written_and_not_committed_when_a_successor_rolls_back_then_it_can_be_written_again()
{
    let guest = Guest::new("redo");
    let undo = make_undo().unwrap();
    let mut log = guest.log(Limits::default(), &undo);
    put(&mut log, "one");
    let mark = put(&mut log, "two");
    // Killed: nothing is closed in order.
    std::mem::forget(log);
    let mut next = guest.log(Limits::default(), &undo);
    assert!(next.roll_back(mark).unwrap());
    assert_eq!(guest.messages(), ["one"]);
    put(&mut next, "two");
    put(&mut next, "three");
    drop(next);
    assert_eq!(guest.messages(), ["one", "two", "three"]);
    guest.journalctl(&["--verify"]);
}

#[test]
fn given_a_batch_that_was_marked_only_when_a_successor_rolls_back_then_nothing_is_undone() {
    let guest = Guest::new("marked");
    let undo = make_undo().unwrap();
    let mut log = guest.log(Limits::default(), &undo);
    put(&mut log, "one");
    let mark = log.mark().unwrap();
    log.add(&record("a.service", "two"), "a", &[]);
    std::mem::forget(log);
    let mut next = guest.log(Limits::default(), &undo);
    assert!(next.roll_back(mark).unwrap());
    assert_eq!(guest.messages(), ["one"]);
    let mark = put(&mut next, "two");
    std::mem::forget(next);
    assert!(guest.log(Limits::default(), &undo).roll_back(mark).unwrap());
    assert_eq!(guest.messages(), ["one"]);
}

#[test]
fn given_a_limit_when_files_are_full_then_the_oldest_go_and_sequence_numbers_go_on() {
    let guest = Guest::new("rotate");
    let undo = make_undo().unwrap();
    let mut log = guest.log(Limits { file: 60_000, total: 200_000 }, &undo);
    for number in 0..400 {
        put(&mut log, &format!("{number}: {}", "x".repeat(700)));
    }
    drop(log);
    let files = archived(&guest.folder());
    let total: u64 = files.iter().map(|(_, _, length)| length).sum();
    assert!((2..=3).contains(&files.len()) && total <= 200_000, "{files:?}");
    let Some(lines) = guest.journalctl(&["-o", "cat"]) else { return };
    let numbers: Vec<u32> =
        lines.lines().map(|line| line.split_once(':').unwrap().0.parse().unwrap()).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) && numbers.last() == Some(&399),
        "{numbers:?}"
    );
    guest.journalctl(&["--verify"]);
}

#[test]
fn given_a_file_that_is_no_journal_when_written_then_it_is_kept_aside() {
    let guest = Guest::new("aside");
    fs::create_dir_all(guest.folder()).unwrap();
    fs::write(guest.folder().join(CURRENT), "something else").unwrap();
    let undo = make_undo().unwrap();
    put(&mut guest.log(Limits::default(), &undo), "one");
    assert_eq!(guest.messages(), ["one"]);
    let kept = fs::read_dir(guest.folder()).unwrap().flatten().map(|entry| entry.path());
    let kept = kept.filter(|path| path.to_str().unwrap().ends_with(".journal~")).collect::<Vec<_>>();
    assert_eq!(
        kept.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>(),
        ["something else"]
    );
}

#[test]
fn given_a_journal_that_was_removed_when_written_then_there_is_a_new_one() {
    let guest = Guest::new("removed");
    let undo = make_undo().unwrap();
    let mut log = guest.log(Limits::default(), &undo);
    put(&mut log, "one");
    fs::remove_file(guest.folder().join(CURRENT)).unwrap();
    put(&mut log, "two");
    assert_eq!(guest.messages(), ["two"]);
}

/// The names of all journal files below a folder of the guest, by their number.
fn count(guest: &Guest, parent: &str) -> (usize, bool) {
    let Ok(entries) = fs::read_dir(folder_below(&guest.0, parent).unwrap()) else { return (0, false) };
    let names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let archived = names.iter().filter(|name| name.starts_with("system@")).count();
    (archived, names.iter().any(|name| name == CURRENT))
}

#[test]
fn given_a_journalctl_when_a_file_is_made_then_it_has_the_form_that_this_one_reads() {
    const COMPACT: u8 = 1 << 4;
    let guest = Guest::new("form");
    fs::create_dir_all(guest.0.join("usr/bin")).unwrap();
    let programs = [
        ("\0libsystemd-shared-247.so\0", 0),
        ("\0libsystemd-shared-252.so\0", COMPACT),
        ("\0libsystemd-shared-257.9-1.fc42.so\0", COMPACT),
        ("\0libsystemd-shared-.so\0", 0),
        ("a program without it", 0),
    ];
    for (program, compact) in programs {
        fs::write(guest.0.join("usr/bin/journalctl"), program).unwrap();
        let mut log = guest.log(Limits::default(), &make_undo().unwrap());
        put(&mut log, "one");
        drop(log);
        let file = guest.folder().join(CURRENT);
        assert_eq!(fs::read(&file).unwrap()[12] & COMPACT, compact, "{program:?}");
        assert_eq!(guest.messages(), ["one"]);
        guest.journalctl(&["--verify"]);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn given_a_wish_to_rotate_when_fulfilled_then_the_next_entry_is_in_another_file() {
    let guest = Guest::new("rotate-asked");
    let mut log = guest.log(Limits::default(), &make_undo().unwrap());
    put(&mut log, "one");
    log.fulfil(Wish::Rotate).unwrap();
    put(&mut log, "two");
    log.fulfil(Wish::Sync).unwrap();
    assert_eq!((count(&guest, PERSISTENT), guest.messages()), ((1, true), vec!["two".to_string()]));
}

#[test]
fn given_a_journal_on_run_when_flushed_then_it_is_on_disk_and_all_of_it_is_read() {
    let guest = Guest::new("flush");
    fs::remove_dir(guest.0.join(PERSISTENT)).unwrap();
    fs::create_dir_all(guest.0.join("run/systemd/journal")).unwrap();
    let mut log = guest.log(Limits::default(), &make_undo().unwrap());
    put(&mut log, "one");
    log.fulfil(Wish::Flush).unwrap();
    assert_eq!(count(&guest, VOLATILE), (0, true), "there is no place on disk");
    fs::create_dir(guest.0.join(PERSISTENT)).unwrap();
    log.fulfil(Wish::Flush).unwrap();
    put(&mut log, "two");
    assert_eq!((count(&guest, VOLATILE), count(&guest, PERSISTENT)), ((0, false), (1, true)));
    if let Some(output) = guest.journalctl(&["-o", "cat"]) {
        assert_eq!(output, "one\ntwo\n");
    }
    log.fulfil(Wish::Relinquish).unwrap();
    put(&mut log, "three");
    assert_eq!(count(&guest, VOLATILE), (0, true));
}

#[test]
fn given_limits_in_journald_conf_when_rotated_then_they_hold() {
    let guest = Guest::new("conf");
    fs::create_dir_all(guest.0.join("etc/systemd")).unwrap();
    fs::write(guest.0.join("etc/systemd/journald.conf"), "[Journal]\nSystemMaxFiles=2\nSystemMaxUse=8M\n")
        .unwrap();
    let mut log = guest.log(Limits::default(), &make_undo().unwrap());
    for number in 0..6 {
        put(&mut log, &format!("{number}"));
        log.fulfil(Wish::Rotate).unwrap();
    }
    assert_eq!(log.limits().file, 1 << 20);
    assert_eq!(count(&guest, PERSISTENT).0, 1, "there is room for one beside the next");
}
