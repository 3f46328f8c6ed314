//! What the sink must know of units: their names, their processes, and which of them a process belongs to.
//!
//! Reads the plan once, and then only the status page and /proc/PID/cgroup.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hostel_contract::channel::NO_UNIT;
use hostel_contract::status::{GuestState, MAGIC, StatusHeader, StatusRow, row_offset};
use hostel_plan::{Phase, Plan, SettingKey, Unit};

use super::record::{INIT, JOURNAL, SYSLOG, WARDEN};
use super::rules::{PLAIN, Rules};
use crate::page::read_plan;

/// How long a sender counts as what it was: journald's own.
const SENDER_AGE: Duration = Duration::from_secs(1);
/// Senders that are remembered.
const SENDERS_MAX: usize = 256;

struct Named {
    name: Box<str>,
    /// What a syslogd is told as the sender of the unit's output.
    identifier: Box<str>,
    /// What becomes of its messages, where it is not what becomes of all.
    rules: Option<Box<Rules>>,
}

/// The units of one plan.
pub struct Units {
    checksum: u64,
    /// In the order of the plan, which is that of the names.
    units: Vec<Named>,
    /// Units that left the plan while their output was on its way: their indices are behind those of the plan.
    gone: Vec<Box<str>>,
    status_path: PathBuf,
    /// Opened when first needed: init makes it, and may do so after our start.
    status: Option<File>,
    /// Units of processes that sent something of late, and when they were looked up.
    senders: HashMap<u32, (u16, Instant)>,
}

impl Units {
    /// Of no plan: every unit is unknown.
    pub fn none(status_path: PathBuf) -> Units {
        Units {
            checksum: 0,
            units: Vec::new(),
            gone: Vec::new(),
            status_path,
            status: None,
            senders: HashMap::new(),
        }
    }

    /// Of the plan in this file. An error says why it is none.
    pub fn read(plan: BorrowedFd<'_>, status_path: PathBuf) -> io::Result<Units> {
        let bytes = read_plan(plan)?;
        let plan =
            Plan::parse(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        let units = plan
            .units()
            .map(|unit| Named {
                name: unit.name().into(),
                identifier: identifier(&unit).into(),
                rules: Rules::of(&unit),
            })
            .collect();
        Ok(Units {
            checksum: plan.checksum(),
            units,
            gone: Vec::new(),
            status_path,
            status: None,
            senders: HashMap::new(),
        })
    }

    /// Of the plan, as the status page has it too.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// Name of a unit; of init for its own messages.
    pub fn name(&self, unit: u16) -> &str {
        let index = usize::from(unit);
        match (self.units.get(index), self.gone.get(index.wrapping_sub(self.units.len()))) {
            (Some(named), _) => &named.name,
            (None, Some(name)) => name,
            (None, None) if unit == NO_UNIT => INIT,
            // One that had left the plan before this warden came.
            (None, None) => "unknown",
        }
    }

    /// Index of a unit, by its name; one of its own for what is not in the plan.
    pub fn index_or_gone(&mut self, name: &str) -> u16 {
        if let Some(index) = self.index(name) {
            return index;
        }
        let at = self.gone.iter().position(|gone| **gone == *name).unwrap_or(self.gone.len());
        if at == self.gone.len() {
            self.gone.push(name.into());
        }
        u16::try_from(self.units.len() + at).unwrap_or(NO_UNIT - 1)
    }

    /// Index of a unit, by its name.
    pub fn index(&self, name: &str) -> Option<u16> {
        let at = self.units.binary_search_by(|named| (*named.name).cmp(name)).ok()?;
        u16::try_from(at).ok()
    }

    /// What a syslogd is told as the sender of a unit's output, and what becomes of its messages.
    pub fn identifier_and_rules<'a>(&'a self, name: &'a str) -> (&'a str, &'a Rules) {
        match self.index(name).and_then(|at| self.units.get(usize::from(at))) {
            Some(named) => (&named.identifier, named.rules.as_deref().unwrap_or(&PLAIN)),
            None => (name, &PLAIN),
        }
    }

    /// Whether a record's name is a unit's, not one of those that stand in its place.
    pub fn is_unit(name: &str) -> bool {
        ![INIT, WARDEN, SYSLOG, JOURNAL].contains(&name)
    }

    /// Main process of a unit as init's status page has it now; 0 for none, 1 for init itself.
    pub fn main_pid(&mut self, unit: u16) -> u32 {
        if unit == NO_UNIT {
            return 1;
        }
        if usize::from(unit) >= self.units.len() {
            return 0;
        }
        let Some(status) = self.status() else { return 0 };
        let mut head = [0; StatusHeader::SIZE];
        let mut row = [0; StatusRow::SIZE];
        let read = |bytes: &mut [u8], at: usize| status.read_exact_at(bytes, at as u64).is_ok();
        if !read(&mut head, 0) || !read(&mut row, row_offset(usize::from(unit))) {
            return 0;
        }
        match (StatusHeader::decode(&head), StatusRow::decode(&row)) {
            // The rows are of the plan that the page names: during a reload that may not be ours yet. One aligned
            // number needs no seqlock.
            (Some(head), Some(row)) if head.magic == MAGIC && head.plan_checksum == self.checksum => {
                row.main_pid
            }
            _ => 0,
        }
    }

    fn status(&mut self) -> Option<&File> {
        if self.status.is_none() {
            self.status = File::open(&self.status_path).ok();
        }
        self.status.as_ref()
    }

    /// Whether the guest is on its way down, as the status page has it.
    pub fn is_guest_stopping(&mut self) -> bool {
        let mut head = [0; StatusHeader::SIZE];
        let read = self.status().is_some_and(|status| status.read_exact_at(&mut head, 0).is_ok());
        let header = StatusHeader::decode(&head).filter(|header| read && header.magic == MAGIC);
        let state = header.and_then(|header| GuestState::from_code(header.state));
        matches!(state, Some(GuestState::Stopping | GuestState::Ended))
    }

    /// The unit that a process belongs to by its cgroup; `NO_UNIT` for none.
    pub fn of_process(&mut self, pid: u32) -> u16 {
        if pid == 0 || self.units.is_empty() {
            return NO_UNIT;
        }
        let now = Instant::now();
        if let Some((unit, looked)) = self.senders.get(&pid)
            && now.duration_since(*looked) < SENDER_AGE
        {
            return *unit;
        }
        let unit = match std::fs::read(format!("/proc/{pid}/cgroup")) {
            Ok(text) => self.of_cgroups(&text),
            Err(_) => NO_UNIT,
        };
        if self.senders.len() >= SENDERS_MAX {
            self.senders.clear();
        }
        self.senders.insert(pid, (unit, now));
        unit
    }

    /// The innermost folder of the unified hierarchy's line that is named like a unit.
    fn of_cgroups(&self, text: &[u8]) -> u16 {
        let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::"));
        let Some(Ok(path)) = line.map(std::str::from_utf8) else { return NO_UNIT };
        path.rsplit('/').find_map(|part| self.index(part)).unwrap_or(NO_UNIT)
    }
}

/// SyslogIdentifier=, else the program's own name, else the unit's.
fn identifier<'a>(unit: &Unit<'a>) -> &'a str {
    if let Some(set) = unit.setting(SettingKey::SyslogIdentifier).filter(|set| !set.is_empty()) {
        return set;
    }
    let program = unit.command(Phase::Start, 0).map(|command| command.path()).unwrap_or_default();
    match program.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => unit.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostel_plan::UnitKind;
    use hostel_plan::build::build;
    use hostel_plan::model::{CommandModel, Model, UnitModel};
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::os::fd::AsFd;

    fn units() -> Units {
        let mut cron = UnitModel::new("cron.service", UnitKind::Service);
        let command = CommandModel { path: "/usr/sbin/cron".into(), argv: vec!["cron".into()], flags: 0 };
        cron.commands.push((Phase::Start, command));
        let mut ssh = UnitModel::new("ssh.service", UnitKind::Service);
        ssh.settings.push((SettingKey::SyslogIdentifier, "the-ssh".into()));
        let target = UnitModel::new("multi-user.target", UnitKind::Target);
        let model = Model { units: vec![ssh, cron, target], default_target: "multi-user.target".into() };
        let file = memfd_create("plan", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&file, &build(&model).unwrap().bytes).unwrap();
        Units::read(file.as_fd(), PathBuf::from("/nonexistent")).unwrap()
    }

    #[test]
    fn given_a_plan_when_read_then_units_are_known_by_index_and_name() {
        let units = units();
        let at = units.index("ssh.service").unwrap();
        assert_eq!(units.name(at), "ssh.service");
        assert_eq!(units.identifier_and_rules("ssh.service").0, "the-ssh");
        assert_eq!(units.identifier_and_rules("cron.service").0, "cron");
        assert_eq!(units.identifier_and_rules("gone.service").0, "gone.service");
        assert_eq!((units.name(NO_UNIT), units.name(77)), (INIT, "unknown"));
    }

    #[test]
    fn given_a_unit_that_left_the_plan_when_its_output_is_named_then_it_has_its_name_still() {
        let mut units = units();
        let gone = units.index_or_gone("gone.service");
        assert_eq!(units.index_or_gone("gone.service"), gone);
        assert_eq!(units.name(gone), "gone.service");
        assert_eq!((units.index("gone.service"), units.main_pid(gone)), (None, 0));
        let cron = units.index("cron.service").unwrap();
        assert_eq!(units.index_or_gone("cron.service"), cron);
    }

    #[test]
    fn given_cgroup_lines_when_looked_up_then_the_innermost_unit_counts() {
        let units = units();
        let of = |text: &str| units.of_cgroups(text.as_bytes());
        assert_eq!(of("1:cpu:/a\n0::/system.slice/ssh.service/inner\n"), units.index("ssh.service").unwrap());
        assert_eq!(of("0::/ssh.service/cron.service\n"), units.index("cron.service").unwrap());
        assert_eq!((of("0::/init.scope\n"), of("1:cpu:/ssh.service\n"), of("")), (NO_UNIT, NO_UNIT, NO_UNIT));
    }

    #[test]
    fn given_bytes_that_are_no_plan_when_read_then_it_is_an_error() {
        let file = memfd_create("plan", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&file, b"something else").unwrap();
        assert!(Units::read(file.as_fd(), PathBuf::new()).is_err());
    }
}
