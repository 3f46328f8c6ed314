use super::*;
use std::path::{Path, PathBuf};
use std::process::Command;

const IDENTITY: Identity = Identity { machine: [7; 16], boot: [9; 16] };

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("hostel-journal-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Place(path)
    }
    fn path(&self) -> PathBuf {
        self.0.join("system.journal")
    }
    fn file(&self) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(self.path()).unwrap()
    }
    fn create(&self, form: Form) -> JournalFile {
        JournalFile::create(self.file(), form, 1 << 20, [3; 16], IDENTITY, None).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(journal: &mut JournalFile, number: u64) {
    let boot: String = journal.identity.boot.iter().map(|byte| format!("{byte:02x}")).collect();
    let fields = [
        format!("_BOOT_ID={boot}"),
        format!("MESSAGE=message {number}"),
        "_SYSTEMD_UNIT=a.service".into(),
        format!("PRIORITY={}", number % 8),
        format!("_PID={}", number % 100),
    ];
    let moment = Moment { realtime: 1_700_000_000_000_000 + number, monotonic: 1000 + number };
    journal.append(moment, fields.iter().map(String::as_bytes)).unwrap();
}

/// What the machine's own journalctl prints; `None` where there is none.
fn journalctl(path: &Path, arguments: &[&str]) -> Option<(bool, String)> {
    let output = match Command::new("journalctl").arg("--file").arg(path).args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        other => other.unwrap(),
    };
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), text))
}

fn assert_verified(path: &Path) {
    if let Some((passed, text)) = journalctl(path, &["--verify"]) {
        assert!(passed && text.contains("PASS"), "{text}");
    }
}

/// Runs a test with an empty place for each form. The machine's own journalctl reads both, since 252.
fn each_form(name: &str, test: impl Fn(&Place, Form)) {
    for form in [Form::Regular, Form::Compact] {
        test(&Place::new(&format!("{name}-{form:?}")), form);
    }
}

#[test]
fn given_entries_when_written_then_journalctl_verifies_and_finds_them() {
    each_form("verify", |place, form| {
        let mut journal = place.create(form);
        journal.write().unwrap();
        for batch in 0..20 {
            for number in 0..50 {
                put(&mut journal, batch * 50 + number);
            }
            if batch % 3 == 0 {
                // In the middle of a batch nothing is lost by it either.
                journal.rest();
            }
            journal.write().unwrap();
            if batch % 2 == 0 {
                journal.rest();
            }
        }
        assert_verified(&place.path());
        let Some((_, text)) = journalctl(&place.path(), &["-o", "cat"]) else { return };
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[999]), (1000, "message 0", "message 999"));
        let (_, text) = journalctl(&place.path(), &["-o", "cat", "_PID=42"]).unwrap();
        assert_eq!(text.lines().count(), 10, "{text}");
        let (_, text) =
            journalctl(&place.path(), &["-o", "cat", "-u", "a.service", "-p", "0", "-n", "3"]).unwrap();
        assert_eq!(text, "message 976\nmessage 984\nmessage 992\n");
    });
}

#[test]
fn given_a_batch_that_was_cut_anywhere_when_undone_then_the_file_is_as_before() {
    each_form("undo", |place, form| {
        let mut journal = place.create(form);
        (0..100).for_each(|number| put(&mut journal, number));
        journal.write().unwrap();
        let before = std::fs::read(place.path()).unwrap();
        (100..150).for_each(|number| put(&mut journal, number));
        let undo = journal.undo().unwrap();
        journal.write().unwrap();
        let after = std::fs::read(place.path()).unwrap();
        for cut in (0..after.len()).step_by(997) {
            // The pages up to the cut have come, those behind it have not.
            let mut torn = after.clone();
            let old = cut.min(before.len())..before.len();
            torn[old.clone()].copy_from_slice(&before[old]);
            std::fs::write(place.path(), &torn).unwrap();
            JournalFile::undone(&place.file(), &undo).unwrap();
            assert!(std::fs::read(place.path()).unwrap() == before, "cut at {cut}");
        }
        let mut journal = JournalFile::open(place.file(), IDENTITY).unwrap();
        put(&mut journal, 100);
        journal.write().unwrap();
        assert_verified(&place.path());
    });
}

#[test]
fn given_a_batch_when_taken_back_then_it_is_as_if_it_had_never_been() {
    each_form("back", |place, form| {
        let mut journal = place.create(form);
        put(&mut journal, 1);
        journal.write().unwrap();
        put(&mut journal, 2);
        journal.take_back().unwrap();
        put(&mut journal, 3);
        journal.write().unwrap();
        assert_eq!(journal.entries().unwrap(), 2);
        assert_verified(&place.path());
    });
}

#[test]
fn given_a_file_when_continued_in_another_boot_then_it_verifies() {
    each_form("boot", |place, form| {
        let mut journal = place.create(form);
        (0..10).for_each(|number| put(&mut journal, number));
        journal.set_state(State::Offline).unwrap();
        journal.write().unwrap();
        let mut journal = JournalFile::open(place.file(), Identity { boot: [10; 16], ..IDENTITY }).unwrap();
        (0..10).for_each(|number| put(&mut journal, number));
        journal.write().unwrap();
        assert_verified(&place.path());
        let Some((_, text)) = journalctl(&place.path(), &["--list-boots", "-q"]) else { return };
        assert_eq!(text.lines().count(), 2, "{text}");
    });
}

#[test]
fn given_what_is_no_journal_when_opened_then_it_is_refused() {
    each_form("refuse", |place, form| {
        std::fs::write(place.path(), [b'x'; 4096]).unwrap();
        assert!(JournalFile::open(place.file(), IDENTITY).is_err());
        std::fs::remove_file(place.path()).unwrap();
        let mut journal = place.create(form);
        put(&mut journal, 1);
        journal.write().unwrap();
        assert!(JournalFile::open(place.file(), Identity { machine: [8; 16], ..IDENTITY }).is_err());
        journal.file().set_len(journal.length() - 8).unwrap();
        assert!(JournalFile::open(place.file(), IDENTITY).is_err());
    });
}

#[test]
fn given_a_full_file_when_followed_then_sequence_numbers_go_on() {
    each_form("follow", |place, form| {
        let mut journal = place.create(form);
        let mut number = 0;
        while !journal.is_full(1 << 20).unwrap() {
            put(&mut journal, number);
            number += 1;
        }
        journal.set_state(State::Archived).unwrap();
        journal.write().unwrap();
        assert_verified(&place.path());
        let archived = place.0.join(format!("system@{}.journal", journal.archived_name().unwrap()));
        std::fs::rename(place.path(), &archived).unwrap();
        let last = super::super::Reader::new(File::open(&archived).unwrap()).unwrap().last_number().unwrap();
        let mut next =
            JournalFile::create(place.file(), form, 1 << 20, [4; 16], IDENTITY, Some(last)).unwrap();
        put(&mut next, number);
        next.write().unwrap();
        assert_verified(&place.path());
        let Some((_, text)) = journalctl(&place.0.join("*.journal"), &["-o", "cat", "-n", "2"]) else {
            return;
        };
        assert_eq!(text, format!("message {}\nmessage {number}\n", number - 1));
    });
}

#[test]
fn given_a_file_when_read_then_entries_come_in_order_with_all_their_fields() {
    each_form("read", |place, form| {
        let mut journal = place.create(form);
        (0..100).for_each(|number| put(&mut journal, number));
        journal.write().unwrap();
        let mut reader = super::super::Reader::new(File::open(place.path()).unwrap()).unwrap();
        let count = reader.count().unwrap();
        assert_eq!(reader.entries(0, count).unwrap().len(), 100);
        let last = reader.entries(99, count).unwrap();
        let (realtime, fields) = reader.entry(last[0]).unwrap();
        assert_eq!((last.len(), realtime), (1, 1_700_000_000_000_099));
        assert!(fields.contains(&b"MESSAGE=message 99".to_vec()) && fields.len() == 5, "{fields:?}");
        put(&mut journal, 100);
        journal.write().unwrap();
        assert_eq!(reader.count().unwrap(), 101);
    });
}

#[test]
fn given_any_changed_byte_when_read_then_it_is_an_error_at_worst() {
    each_form("garbage", |place, form| {
        let mut journal = place.create(form);
        (0..10).for_each(|number| put(&mut journal, number));
        journal.write().unwrap();
        let whole = std::fs::read(place.path()).unwrap();
        let mut tried = 0;
        for at in (0..whole.len()).filter(|&at| at < 256 || at > whole.len() - 8000).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            std::fs::write(place.path(), &changed).unwrap();
            let Ok(mut reader) = super::super::Reader::new(File::open(place.path()).unwrap()) else {
                continue;
            };
            let Ok(count) = reader.count() else { continue };
            for entry in reader.entries(0, count.min(1000)).unwrap_or_default() {
                let _ = reader.entry(entry);
            }
            tried += 1;
        }
        assert!(tried > 1000, "{tried}");
    });
}
