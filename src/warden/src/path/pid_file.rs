//! PIDFile= of services that are up: a daemon may put another process in its place, as nginx does at an upgrade of its
//! program. It writes its successor's number into the file before it ends, and by that the service lives on.
//!
//! Whether the service is up and the process is its own, init sees itself. So nothing is kept here: a warden that is
//! started anew, or has another plan, says once what all files name.

use super::spec::{Happened, Spec};
use crate::exec::pid_file;
use hostel_plan::{Plan, SettingKey, UnitId};
use rustix::event::epoll;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The files of all services of a plan.
pub struct PidFiles {
    files: Vec<(UnitId, Spec)>,
    set: OwnedFd,
}

impl PidFiles {
    /// Of a plan. An error says what the kernel refused.
    pub fn new(plan: &Plan<'_>) -> io::Result<PidFiles> {
        let file = |unit: hostel_plan::Unit<'_>| {
            let path = pid_file::absolute(unit.setting(SettingKey::PidFile)?);
            Some((unit.id(), Spec::new("PathModified", path.to_str()?)?))
        };
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(PidFiles { files: plan.units().filter_map(file).collect(), set })
    }

    /// Readable when it's time for a turn.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// To be called at each wake-up: which services' files were written, and what process they name.
    pub fn turn(&mut self, complain: &mut dyn FnMut(String)) -> Vec<(UnitId, u32)> {
        let mut named = Vec::new();
        for (unit, spec) in &mut self.files {
            if spec.happened() == Happened::Nothing {
                continue;
            }
            // Watched first, read then: what comes in between is seen by the one or the other.
            if let Err(error) = spec.watch(&self.set) {
                complain(format!("PIDFile={} can't be watched: {error}", spec.path()));
            }
            // None yet, none any more, or a link that another user placed: no process in any case.
            let pid = pid_file::read(Path::new(spec.path())).ok().flatten();
            named.extend(pid.map(|pid| (*unit, pid)));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use hostel_plan::UnitKind;
    use hostel_plan::build::build;
    use hostel_plan::model::{Model, UnitModel};

    #[test]
    fn given_a_pid_file_when_it_names_another_process_then_that_is_said_once() {
        let folder = TempDir::new();
        let file = folder.path().join("daemon.pid");
        let mut unit = UnitModel::new("daemon.service", UnitKind::Service);
        unit.settings.push((SettingKey::PidFile, file.to_str().unwrap().into()));
        let units = vec![unit, UnitModel::new("other.service", UnitKind::Service)];
        let plan = build(&Model { units, default_target: "daemon.service".into() }).unwrap().bytes;
        let plan = Plan::parse(&plan).unwrap();
        let daemon = plan.find("daemon.service").unwrap().id();
        let mut files = PidFiles::new(&plan).unwrap();
        let mut turn = || files.turn(&mut |line| panic!("{line}"));
        assert_eq!(turn(), []);

        let mut processes: Vec<std::process::Child> =
            (0..2).map(|_| std::process::Command::new("sleep").arg("60").spawn().unwrap()).collect();
        for process in &processes {
            // As nginx does it: the old one is moved out of the way.
            let _ = std::fs::rename(&file, folder.path().join("daemon.pid.old"));
            std::fs::write(&file, process.id().to_string()).unwrap();
            assert_eq!(turn().last(), Some(&(daemon, process.id())));
            assert_eq!(turn(), []);
        }
        processes.iter_mut().for_each(|process| {
            process.kill().and_then(|()| process.wait()).unwrap();
        });
        std::fs::write(&file, processes[0].id().to_string()).unwrap();
        assert_eq!(turn(), []);
    }
}
