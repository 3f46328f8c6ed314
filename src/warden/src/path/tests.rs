//! Path units over a status page of the test's own.

use super::*;
use crate::testing::TempDir;
use hostel_contract::status::{MAGIC, StatusHeader, row_offset};
use hostel_plan::build::build;
use hostel_plan::model::{Model, UnitModel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

const PATH: usize = 0;
const SERVICE: usize = 1;

/// A status page with a path unit and its service.
struct Page {
    folder: TempDir,
    bytes: Vec<u8>,
    plan: Vec<u8>,
}

impl Page {
    fn new(settings: &[(&str, &str)]) -> Page {
        let folder = TempDir::new();
        let mut path = UnitModel::new("job.path", UnitKind::Path);
        path.edges.push((EdgeKind::Triggers, "job.service".into()));
        for (kind, value) in settings {
            let value = match value.starts_with("DIR") {
                true => value.replace("DIR", folder.path().to_str().unwrap()),
                false => value.to_string(),
            };
            path.settings.push((SettingKey::PathWatch, format!("{kind}={value}")));
        }
        let units = vec![path, UnitModel::new("job.service", UnitKind::Service)];
        let plan = build(&Model { units, default_target: "job.path".into() }).unwrap().bytes;
        let mut bytes = vec![0; row_offset(2)];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        let mut header = StatusHeader::decode(&bytes).unwrap();
        header.plan_checksum = Plan::parse(&plan).unwrap().checksum();
        bytes[..StatusHeader::SIZE].copy_from_slice(&header.encode());
        let page = Page { folder, bytes, plan };
        page.write();
        page
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("status")
    }

    fn write(&self) {
        use std::io::{Seek, Write};
        let mut file =
            std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(self.file()).unwrap();
        file.rewind().unwrap();
        file.write_all(&self.bytes).unwrap();
    }

    fn set(&mut self, unit: usize, state: ActiveState, started: bool) {
        let now = Now::read().monotonic / 1000;
        let at = row_offset(unit);
        let mut row = StatusRow::decode(&self.bytes[at..]).unwrap();
        (row.active, row.since_ms) = (state.code(), now);
        row.started_ms = if started { now } else { row.started_ms };
        self.bytes[at..at + StatusRow::SIZE].copy_from_slice(&row.encode());
        self.write();
    }

    /// The service runs, and has ended.
    fn run_service(&mut self, paths: &mut Paths) {
        self.set(SERVICE, ActiveState::Active, true);
        assert!(!is_due(paths, Duration::ZERO));
        self.set(SERVICE, ActiveState::Inactive, false);
    }

    fn paths(&self) -> Paths {
        Paths::new(&Plan::parse(&self.plan).unwrap(), self.file()).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Turns until something is due, or the time is over.
fn is_due(paths: &mut Paths, most: Duration) -> bool {
    let began = Instant::now();
    loop {
        if !paths.turn(&mut |line| panic!("{line}")).is_empty() {
            return true;
        }
        let left = most.saturating_sub(began.elapsed());
        if left.is_zero() {
            return false;
        }
        let fd = paths.fd();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::try_from(left).unwrap())).unwrap();
    }
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn given_path_exists_when_it_comes_where_even_its_folder_was_missing_then_it_triggers_and_again_while_it_stays()
 {
    let mut page = Page::new(&[("PathExists", "DIR/a/b")]);
    let mut paths = page.paths();
    page.set(PATH, ActiveState::Active, true);
    assert!(!is_due(&mut paths, Duration::ZERO), "there's nothing yet");
    std::fs::create_dir(page.at("a")).unwrap();
    assert!(!is_due(&mut paths, Duration::ZERO));
    std::fs::write(page.at("a/b"), "").unwrap();
    assert!(is_due(&mut paths, SOON));
    assert!(!is_due(&mut paths, Duration::ZERO), "once, until the service has ended");
    page.run_service(&mut paths);
    assert!(is_due(&mut paths, SOON), "it still exists");
    std::fs::remove_file(page.at("a/b")).unwrap();
    page.run_service(&mut paths);
    assert!(!is_due(&mut paths, Duration::ZERO));
}

#[test]
fn given_a_path_that_is_off_when_it_exists_then_nothing_is_due_until_it_is_on() {
    let mut page = Page::new(&[("DirectoryNotEmpty", "DIR")]);
    let mut paths = page.paths();
    assert!(!is_due(&mut paths, Duration::ZERO));
    page.set(PATH, ActiveState::Active, true);
    assert!(is_due(&mut paths, SOON), "the page lies in it");
}

#[test]
fn given_path_changed_when_its_file_is_written_to_closed_replaced_or_removed_then_each_triggers() {
    let mut page = Page::new(&[("PathChanged", "DIR/file")]);
    std::fs::write(page.at("file"), "one").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut paths = page.paths();
    page.set(PATH, ActiveState::Active, true);
    assert!(!is_due(&mut paths, Duration::ZERO), "that it exists is no change");
    let changes: [&dyn Fn(&Page); 3] = [
        &|page| std::fs::write(page.at("file"), "two").unwrap(),
        &|page| {
            std::fs::write(page.at("new"), "three").unwrap();
            std::fs::rename(page.at("new"), page.at("file")).unwrap();
        },
        &|page| std::fs::remove_file(page.at("file")).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        change(&page);
        assert!(is_due(&mut paths, SOON), "change {number}");
        page.run_service(&mut paths);
        assert!(!is_due(&mut paths, Duration::ZERO), "once, change {number}");
    }
}

#[test]
fn given_path_modified_when_its_open_file_is_written_to_then_it_triggers_and_path_changed_waits_for_the_close()
 {
    use std::io::Write;
    for (kind, at_write) in [("PathModified", true), ("PathChanged", false)] {
        let mut page = Page::new(&[(kind, "DIR/file")]);
        let mut file = std::fs::File::create(page.at("file")).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let mut paths = page.paths();
        page.set(PATH, ActiveState::Active, true);
        assert!(!is_due(&mut paths, Duration::ZERO));
        file.write_all(b"x").unwrap();
        assert_eq!(is_due(&mut paths, Duration::ZERO), at_write, "{kind}");
        drop(file);
        assert!(at_write || is_due(&mut paths, SOON), "{kind}");
    }
}

#[test]
fn given_a_change_while_no_warden_watched_when_one_takes_over_then_it_triggers() {
    let mut page = Page::new(&[("PathChanged", "DIR/file")]);
    std::fs::write(page.at("file"), "one").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    page.set(PATH, ActiveState::Active, true);
    assert!(!is_due(&mut page.paths(), Duration::ZERO));
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(page.at("file"), "two").unwrap();
    assert!(is_due(&mut page.paths(), Duration::ZERO));
    std::thread::sleep(Duration::from_millis(20));
    page.set(SERVICE, ActiveState::Active, true);
    page.set(SERVICE, ActiveState::Inactive, false);
    assert!(!is_due(&mut page.paths(), Duration::ZERO), "it was served");
}

#[test]
fn given_a_pattern_and_make_directory_when_the_path_is_on_then_matches_trigger_and_the_folder_is_there() {
    let mut page = Page::new(&[("PathExistsGlob", "DIR/*.job")]);
    let mut paths = page.paths();
    page.set(PATH, ActiveState::Active, true);
    assert!(!is_due(&mut paths, Duration::ZERO));
    std::fs::write(page.at("one.job"), "").unwrap();
    assert!(is_due(&mut paths, SOON));

    let mut page = Page::new(&[("DirectoryNotEmpty", "DIR/a/b"), ("MakeDirectory", "1")]);
    let mut paths = page.paths();
    page.set(PATH, ActiveState::Active, true);
    assert!(!is_due(&mut paths, Duration::ZERO));
    std::fs::write(page.at("a/b/file"), "").unwrap();
    assert!(is_due(&mut paths, SOON));
}
