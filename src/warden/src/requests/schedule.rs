//! A shutdown at a time: `shutdown +5`. Its whole state is a file, `/run/systemd/shutdown/scheduled`, in the form that
//! systemd's own tools write and read, so that whoever wrote it may end, and a killed warden's successor goes on.
//!
//! From its last hour on everybody who is logged in is told, more often as the time comes near; from five minutes before,
//! `/run/nologin` keeps ordinary users out (nologin(5)). Taking the file away is taking the shutdown back.

use super::wall;
use hostel_contract::ShutdownKind;
use rustix::fs::inotify;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FOLDER: &str = "run/systemd/shutdown";
const FILE: &str = "scheduled";
const NOLOGIN: &str = "run/nologin";
/// How systemd-logind's words there begin.
const OF_LOGIN1: &str = "System is going down.";
/// From how long before the end on nobody may log in.
const NOLOGIN_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Minutes before the end at which everybody is told, as systemd does it.
const TOLD_AT: [u64; 25] =
    [180, 150, 120, 90, 60, 50, 40, 30, 20, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: ShutdownKind,
    /// Whether people are told.
    pub tells: bool,
    /// What they are told besides.
    pub message: String,
}

impl Plan {
    fn to_text(&self) -> String {
        let usec = self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let message = match self.message.as_str() {
            "" => String::new(),
            text => format!("WALL_MESSAGE={}\n", text.replace(['\n', '\r'], " ")),
        };
        format!("USEC={usec}\nWARN_WALL={}\nMODE={}\n{message}", u8::from(self.tells), self.kind.name())
    }

    fn of_text(text: &str) -> Option<Plan> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let usec = field("USEC")?.parse().ok()?;
        let kind = match field("MODE")? {
            // Ways to begin anew that a guest has no other of.
            "kexec" | "soft-reboot" => ShutdownKind::Reboot,
            mode => ShutdownKind::from_name(mode)?,
        };
        Some(Plan {
            at: UNIX_EPOCH.checked_add(Duration::from_micros(usec))?,
            kind,
            tells: field("WARN_WALL") != Some("0"),
            message: field("WALL_MESSAGE").unwrap_or_default().to_owned(),
        })
    }

    /// The plan in force in the guest with this root.
    pub fn read(root: &Path) -> Option<Plan> {
        Plan::of_text(&fs::read_to_string(root.join(FOLDER).join(FILE)).ok()?)
    }

    /// Puts it into force, in place of the one before.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let new = folder.join(format!(".{FILE}"));
        fs::write(&new, self.to_text())?;
        fs::rename(new, folder.join(FILE))
    }

    /// Takes back the one in force; false where there is none.
    pub fn cancel(root: &Path) -> io::Result<bool> {
        match fs::remove_file(root.join(FOLDER).join(FILE)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How people are told.
    pub fn words(&self, now: SystemTime) -> String {
        let left = self.at.duration_since(now).unwrap_or_default();
        let when = match (left.as_secs() + 30) / 60 {
            0 => "now".into(),
            1 => "in 1 minute".into(),
            minutes => format!("in {minutes} minutes"),
        };
        let verb = match self.kind {
            ShutdownKind::Reboot => "reboots",
            ShutdownKind::Halt => "halts",
            ShutdownKind::PowerOff | ShutdownKind::Exit => "powers off",
        };
        let more = if self.message.is_empty() { String::new() } else { format!("{}\n", self.message) };
        format!("{more}The system {verb} {when}!")
    }

    /// The next moment behind `now` at which there's something to do.
    fn next(&self, now: SystemTime) -> SystemTime {
        let before = |minutes: &u64| self.at.checked_sub(Duration::from_secs(60 * minutes));
        TOLD_AT.iter().filter_map(before).find(|moment| *moment > now).unwrap_or(self.at)
    }
}

/// Something is due.
pub struct Due {
    /// The end itself.
    pub kind: Option<ShutdownKind>,
    /// For the log.
    pub message: String,
}

/// The file, watched.
pub struct Schedule {
    root: PathBuf,
    inotify: Option<OwnedFd>,
    plan: Option<Plan>,
    next: Option<SystemTime>,
}

impl Schedule {
    /// Of the guest with this root. Where its folder can't be made there will be no such shutdown either.
    pub fn watch(root: &Path) -> Schedule {
        let folder = root.join(FOLDER);
        let inotify = fs::create_dir_all(&folder).ok().and_then(|()| {
            let inotify =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
            let events = inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::CLOSE_WRITE
                | inotify::WatchFlags::DELETE;
            inotify::add_watch(&inotify, &folder, events).ok()?;
            Some(inotify)
        });
        let mut schedule = Schedule { root: root.to_owned(), inotify, plan: None, next: None };
        // What was told before is not told again: a successor goes on with the next moment.
        schedule.plan = Plan::read(root);
        schedule.next = schedule.plan.as_ref().map(|plan| plan.next(SystemTime::now()));
        schedule
    }

    /// To be waited for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// When a turn is due, by the clock on the wall, which may be set.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.next
    }

    /// What is to be done at `now`.
    pub fn turn(&mut self, now: SystemTime) -> Option<Due> {
        if self.has_changed() {
            let plan = Plan::read(&self.root);
            if plan != self.plan {
                let before = std::mem::replace(&mut self.plan, plan);
                return self.began(before, now);
            }
        }
        let plan = self.plan.as_ref().filter(|_| self.next.is_some_and(|next| next <= now))?;
        let is_end = plan.at <= now;
        let due = Due { kind: is_end.then_some(plan.kind), message: plan.words(now) };
        if plan.tells {
            wall::tell(&self.root, &due.message);
        }
        self.keep_out(now);
        if is_end {
            self.plan = None;
            let _ = Plan::cancel(&self.root);
        }
        self.next = self.plan.as_ref().map(|plan| plan.next(now));
        Some(due)
    }

    fn has_changed(&self) -> bool {
        let mut buffer = [0; 4096];
        let mut changed = false;
        while let Some(Ok(1..)) = self.inotify.as_ref().map(|inotify| rustix::io::read(inotify, &mut buffer))
        {
            changed = true;
        }
        changed
    }

    /// Another plan is there, or none any more.
    fn began(&mut self, before: Option<Plan>, now: SystemTime) -> Option<Due> {
        self.next = self.plan.as_ref().map(|plan| plan.next(now));
        let (plan, message) = match (&self.plan, before) {
            (Some(plan), _) => (plan.clone(), plan.words(now)),
            (None, Some(before)) => (before, "The system shutdown has been cancelled".to_owned()),
            (None, None) => return None,
        };
        if plan.tells {
            wall::tell(&self.root, &message);
        }
        self.keep_out(now);
        Some(Due { kind: None, message })
    }

    /// Keeps ordinary users out near the end, and lets them in again where it was taken back.
    fn keep_out(&self, now: SystemTime) {
        let path = self.root.join(NOLOGIN);
        let near = |plan: &&Plan| plan.at.duration_since(now).unwrap_or_default() <= NOLOGIN_BEFORE;
        // login1's own, where it has taken the shutdown, says more to those who are kept out.
        let is_login1s = || fs::read_to_string(&path).is_ok_and(|text| text.starts_with(OF_LOGIN1));
        let _ = match self.plan.as_ref().filter(near) {
            Some(_) if is_login1s() => Ok(()),
            Some(plan) => fs::write(&path, format!("{}\n", plan.words(now))),
            None => fs::remove_file(&path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Duration = Duration::from_secs(1_700_000_000);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + BEGIN + Duration::from_secs(seconds)
    }

    fn plan(seconds: u64) -> Plan {
        Plan { at: at(seconds), kind: ShutdownKind::Reboot, tells: false, message: "new kernel".into() }
    }

    #[test]
    fn given_a_plan_when_written_then_systemds_form_of_it_is_read_back() {
        let text = "USEC=1700000600000000\nWARN_WALL=0\nMODE=reboot\nWALL_MESSAGE=new kernel\n";
        assert_eq!(plan(600).to_text(), text);
        assert_eq!(Plan::of_text(text), Some(plan(600)));
        for bad in [
            "",
            "USEC=x\nMODE=reboot\n",
            "USEC=5\n",
            "USEC=5\nMODE=dance\n",
            "USEC=99999999999999999999\nMODE=halt",
        ] {
            assert_eq!(Plan::of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn given_a_plan_when_time_goes_on_then_people_are_told_and_kept_out_and_the_end_comes_once() {
        let base = crate::testing::TempDir::new();
        let mut schedule = Schedule::watch(base.path());
        plan(600).write(base.path()).unwrap();
        let first = schedule.turn(at(0)).unwrap();
        assert_eq!(
            (first.kind, first.message.as_str()),
            (None, "new kernel\nThe system reboots in 10 minutes!")
        );
        assert_eq!(schedule.deadline(), Some(at(60)));
        assert!(schedule.turn(at(59)).is_none());
        let nologin = base.path().join(NOLOGIN);
        assert!(!nologin.exists());
        assert!(schedule.turn(at(300)).is_some_and(|due| due.kind.is_none()));
        assert!(nologin.exists());
        assert_eq!(schedule.turn(at(600)).and_then(|due| due.kind), Some(ShutdownKind::Reboot));
        assert!(schedule.turn(at(700)).is_none() && schedule.deadline().is_none());
    }

    #[test]
    fn given_a_plan_when_taken_back_then_nothing_comes_and_people_may_log_in_again() {
        let base = crate::testing::TempDir::new();
        plan(120).write(base.path()).unwrap();
        // A successor takes up what it finds.
        let mut schedule = Schedule::watch(base.path());
        schedule.next = Some(at(60));
        assert!(schedule.turn(at(60)).is_some());
        assert!(base.path().join(NOLOGIN).exists());
        assert!(Plan::cancel(base.path()).unwrap());
        assert_eq!(schedule.turn(at(61)).unwrap().message, "The system shutdown has been cancelled");
        assert!(!base.path().join(NOLOGIN).exists());
        assert!(schedule.turn(at(500)).is_none());
        assert!(!Plan::cancel(base.path()).unwrap());
    }
}
