//! Spawns: one child of `hostel-warden exec` for each `Action::Spawn`, and what it says before its exec (`contract::exec`).

use super::cgroup::parent_of;
use super::poll::Source;
use super::tables::{self, Purpose};
use super::{Guest, System, reserve};
use crate::sys;
use crate::sys::call::{Done, Errno};
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::file;
use crate::sys::process::{PLACED_MAX, Program, random};
use crate::sys::socket::{Calls, DESCRIPTORS_MAX, pair, send};
use crate::sys::wait::event;
use hostel_contract::exec::{
    ENV_FD_NAMES, EVALUATE_CONDITIONS, ExecOutcome, ExecRecord, ExecRequest, ExecStep, FD_FIRST, FD_LOG,
    FD_PLAN, FD_STATUS, MAKE_DIRECTORIES,
};
use hostel_contract::said::{Said, pack};
use hostel_init::text::Text;
use hostel_plan::{EdgeKind, INFINITE, NotifyAccess, Phase, Unit, UnitId, UnitKind, unit_flags};
use hostel_supervisor::{Event, ExitKind, Report, Spawn};

/// Most descriptors that one child is given for its unit.
const GIVEN_MAX: usize = 128;
/// Longest list of their names; where it is longer, all are named as where there's none.
const NAMES_MAX: usize = 4096;
/// Ancestors looked at to tell whose a process is.
const ANCESTORS_MAX: usize = 32;

/// Phases that only look or prepare, and have no process of the unit's own: outside its cgroup.
fn is_outside(phase: Phase) -> bool {
    matches!(phase, Phase::Check | Phase::OpenSockets | Phase::CleanUp)
}

/// Phases that always answer with a record: to end without one is to have failed.
fn answers(phase: Phase) -> bool {
    is_outside(phase) || matches!(phase, Phase::ReadPidFile | Phase::WaitBusName)
}

impl System {
    /// Carries out a spawn, and tells the supervisor how it went.
    #[inline(never)]
    pub(super) fn spawn(&mut self, spawn: Spawn) {
        let Spawn { unit, phase, .. } = spawn;
        let mut result = self.try_spawn(&spawn);
        if result.is_err_and(reserve::is_limit) && self.may_use_reserve(phase) {
            self.reserve.release();
            result = self.try_spawn(&spawn);
            self.reserve.take_back(&self.signals);
        }
        let event = match result {
            Ok(pid) => Event::Spawned { unit, phase, pid },
            Err(errno) => Event::SpawnFailed { unit, phase, errno: errno.raw_os_error() },
        };
        self.guest.supervisor.handle(sys::now_ms(), event);
    }

    /// A stop must always be possible; a start at the limit is refused.
    fn may_use_reserve(&self, phase: Phase) -> bool {
        let stopping = self.guest.supervisor.shutting_down().is_some();
        stopping || matches!(phase, Phase::Stop | Phase::StopPost | Phase::CleanUp)
    }

    fn try_spawn(&mut self, spawn: &Spawn) -> Result<u32, Errno> {
        let guest = &mut self.guest;
        let unit = guest.plan.unit(spawn.unit).ok_or(Errno::INVAL)?;
        let warden = self.warden_file.as_ref().ok_or(Errno::NOENT)?;
        let vacant = guest.flights.vacant().ok_or(Errno::AGAIN)?;
        prepare(guest, &self.poll, unit, spawn)?;
        let group = if is_outside(spawn.phase) || unit.cgroup_bytes().is_empty() || !self.cgroups.exists() {
            None
        } else {
            // Kernels from 6.14 on kill what is cloned into a group that was ever killed as a whole: another takes its
            // place, if nobody lives in it.
            if spawn.first || spawn.phase == Phase::StopPost {
                self.cgroups.remove(unit.cgroup_bytes());
            }
            // Where it can't be made (a limit of groups, a read-only tree), the unit runs without.
            self.cgroups.make(unit.cgroup_bytes())
        };
        let shared: &Guest = guest;
        let given = Given::of(shared, unit, spawn.phase);
        let (ours, theirs) = pair(Calls::Wait)?;
        let request = request(shared, unit, spawn, &given);
        send(ours.as_fd(), &request.encode(), None)?;

        let log = shared
            .slots
            .get(unit.id())
            .and_then(|slot| slot.log_write.as_ref())
            .map(OwnedFd::as_fd)
            .or(self.log.write_end());
        let log = log.ok_or(Errno::BADF)?;
        let fixed =
            [(theirs.as_fd(), FD_STATUS as u32), (shared.plan_file()?, FD_PLAN as u32), (log, FD_LOG as u32)];
        let child = || become_exec(shared, warden.as_fd(), &fixed, &given);
        let mut within = group.is_some();
        let pid = match sys::process::fork(group.as_ref().map(OwnedFd::as_fd), &child) {
            Err(errno) if within && errno != Errno::AGAIN && errno != Errno::NOMEM => {
                within = false;
                sys::process::fork(None, &child)?
            }
            other => other?,
        };
        drop(theirs);
        self.poll.add(ours.as_fd(), Source::Flight(vacant), event::IN)?;
        guest.flights.begin(vacant, ours, pid, unit.id(), spawn.phase);
        if spawn.phase == Phase::Start {
            // Its connection is its own now: who is at the other end sees it closed when the service closes it.
            guest.kept.close_all(unit.id(), Purpose::Socket, None);
        }
        if let Some(slot) = guest.slots.of(unit.id()) {
            if within {
                slot.flags |= tables::IN_CGROUP;
            }
            let [main, control] = &mut slot.groups;
            *(if spawn.phase == Phase::Start { main } else { control }) = pid;
        }
        Ok(pid)
    }

    /// The status pair of a spawn can be read.
    pub(super) fn flight_ready(&mut self, index: usize) {
        let guest = &mut self.guest;
        let Some(flight) = guest.flights.at(index) else { return };
        let (unit, pid) = (UnitId(flight.unit), flight.pid);
        let (Some(status), Some(phase)) = (flight.status.as_ref(), flight.phase()) else { return };
        let mut record = [0u8; ExecRecord::SIZE];
        let report = match sys::socket::receive(status.as_fd(), &mut record) {
            Err(Errno::AGAIN) => return,
            Ok(mut received) if received.size == record.len() => match ExecRecord::decode(&record) {
                Some(record) => self.report(unit, phase, &record, &mut received.descriptors),
                None => self.no_record(phase),
            },
            // Closed by the exec, or by the child's end (which is reaped next).
            Ok(_) | Err(_) => self.no_record(phase),
        };
        self.guest.flights.finish(index);
        self.feed(Event::Reported { unit, pid, report });
    }

    /// The child of a spawn was reaped: if its pair is still open, a process that it left has it, and nothing more
    /// will come that counts.
    pub(super) fn flight_is_over(&mut self, index: usize) {
        let guest = &mut self.guest;
        let Some(flight) = guest.flights.at(index) else { return };
        let (unit, pid, phase) = (UnitId(flight.unit), flight.pid, flight.phase());
        guest.flights.finish(index);
        let report = self.no_record(phase.unwrap_or(Phase::Start));
        self.feed(Event::Reported { unit, pid, report });
    }

    fn no_record(&self, phase: Phase) -> Report {
        if answers(phase) {
            Report::Failed { step: ExecStep::Protocol.code(), errno: 0 }
        } else {
            Report::Running
        }
    }

    #[inline(never)]
    fn report(
        &mut self,
        unit: UnitId,
        phase: Phase,
        record: &ExecRecord,
        descriptors: &mut [Option<OwnedFd>; DESCRIPTORS_MAX],
    ) -> Report {
        let (name, text) = (self.guest.name(unit), record.text.bytes());
        match ExecOutcome::from_code(record.outcome) {
            Some(ExecOutcome::Done) if phase == Phase::OpenSockets => self.take_sockets(unit, descriptors),
            Some(ExecOutcome::Done) => {
                let pid = Some(record.pid).filter(|pid| *pid > 1 && self.belongs(unit, *pid));
                // 0: nothing was guessed, and that's well.
                if phase == Phase::ReadPidFile && pid.is_none() && record.pid != 0 {
                    self.log.tell(Said::PidFileAlien, name, u64::from(record.pid), text);
                }
                Report::Done { pid }
            }
            Some(ExecOutcome::ConditionFalse) => {
                self.log.tell(Said::NotMet, name, 0, text);
                Report::ConditionFalse
            }
            Some(ExecOutcome::AssertFailed) => {
                self.log.tell(Said::NotAsserted, name, 0, text);
                Report::AssertFailed
            }
            Some(ExecOutcome::Skipped) => Report::Skipped,
            Some(ExecOutcome::Failed) => {
                let number = pack([record.step.into(), record.errno as u16, 0]);
                self.log.tell(Said::StepFailed, name, number, text);
                Report::Failed { step: record.step, errno: record.errno }
            }
            None => Report::Failed { step: ExecStep::Protocol.code(), errno: 0 },
        }
    }

    /// Is the process one of the unit's? By cgroup; where there's none, one whose ancestors are not another unit's.
    pub(super) fn belongs(&mut self, unit: UnitId, pid: u32) -> bool {
        let guest = &mut self.guest;
        let described = guest.plan.definition(unit);
        let in_cgroup = guest.slots.of(unit).is_some_and(|slot| slot.flags & tables::IN_CGROUP != 0);
        if in_cgroup {
            return self.cgroups.contains(described.cgroup_bytes(), pid);
        }
        let mut ancestor = pid;
        for _ in 0..ANCESTORS_MAX {
            match guest.supervisor.unit_of(ancestor) {
                Some(owner) => return owner == unit,
                None if Some(ancestor) == self.warden.pid() => return false,
                None => {}
            }
            match parent_of(ancestor) {
                Some(parent) if parent == sys::process::own_pid() => return true,
                Some(parent @ 2..) => ancestor = parent,
                _ => return false,
            }
        }
        false
    }
}

/// Makes what the unit's first process needs, and names a new life of the unit.
#[inline(never)]
fn prepare(guest: &mut Guest, poll: &super::poll::Poll, unit: Unit<'static>, spawn: &Spawn) -> Done {
    let slot = guest.slots.make(unit.id()).ok_or(Errno::INVAL)?;
    if spawn.first || slot.invocation == [0; 16] {
        random(&mut slot.invocation)?;
    }
    if is_outside(spawn.phase) {
        return Ok(());
    }
    if slot.log_write.is_none() {
        let (read, write) = file::pipe()?;
        slot.log_read = Some(read);
        slot.log_write = Some(write);
    }
    if unit.kind() == UnitKind::Service && unit.notify_access() != NotifyAccess::None && slot.notify.is_none()
    {
        let socket = super::notify::open(unit.name_bytes())?;
        slot.notify = Some(socket);
        if let (Some(number), Some(slot)) = (guest.slots.number(unit.id()), guest.slots.of(unit.id()))
            && let Some(socket) = slot.notify.as_ref().map(OwnedFd::as_fd)
        {
            poll.add(socket, Source::Notify(number), event::IN)?;
        }
    }
    Ok(())
}

fn request(guest: &Guest, unit: Unit<'static>, spawn: &Spawn, given: &Given) -> ExecRequest {
    let conditions = if spawn.first && unit.has(unit_flags::CONDITIONS) { EVALUATE_CONDITIONS } else { 0 };
    let directories = if spawn.first { MAKE_DIRECTORIES } else { 0 };
    let watchdog = guest.supervisor.watchdog_ms(unit.id());
    ExecRequest {
        unit: unit.id().0,
        phase: spawn.phase.code(),
        command: spawn.command,
        flags: conditions | directories,
        main_pid: spawn.main_pid.unwrap_or(0),
        result: spawn.result.code(),
        exit_kind: spawn.exit.map_or(0, |e| exit_kind_code(e.kind)),
        sockets: given.sockets,
        stored: given.kept.len() as u8 - given.sockets,
        exit_status: spawn.exit.map_or(0, |e| u32::from(e.code)),
        watchdog_usec: if watchdog == INFINITE { 0 } else { u64::from(watchdog) * 1000 },
        invocation: guest.slots.get(unit.id()).map_or([0; 16], |slot| slot.invocation),
    }
}

/// `exit_kind` of `contract`: 1 exited, 2 killed, 3 dumped.
fn exit_kind_code(kind: ExitKind) -> u8 {
    match kind {
        ExitKind::Exited => 1,
        ExitKind::Killed => 2,
        ExitKind::Dumped => 3,
    }
}

/// What a child is given for its unit: the sockets of the socket units that trigger it, then what it stored.
struct Given {
    /// Indices of kept descriptors.
    kept: heapless::Vec<u16, GIVEN_MAX>,
    sockets: u8,
}

impl Given {
    /// Only the start command gets them.
    fn of(guest: &Guest, unit: Unit<'static>, phase: Phase) -> Given {
        let mut given = Given { kept: heapless::Vec::new(), sockets: 0 };
        if phase != Phase::Start || unit.kind() != UnitKind::Service {
            return given;
        }
        for socket in unit.edges(EdgeKind::TriggeredBy) {
            if guest.plan.unit(socket).is_some_and(|s| !s.has(unit_flags::ACCEPT)) {
                given.add(guest, socket, Purpose::Socket);
            }
        }
        // Its own is a connection.
        given.add(guest, unit.id(), Purpose::Socket);
        given.sockets = given.kept.len() as u8;
        given.add(guest, unit.id(), Purpose::Stored);
        given
    }

    fn add(&mut self, guest: &Guest, unit: UnitId, purpose: Purpose) {
        for (index, _) in guest.kept.of(unit, purpose) {
            // What is beyond the most that a child is given stays with init.
            let _ = self.kept.push(index as u16);
        }
    }
}

/// In the child: descriptors in their places, then the warden's exec. Returns the exit status where that fails.
#[inline(never)]
fn become_exec(
    guest: &Guest,
    warden: BorrowedFd<'_>,
    fixed: &[(BorrowedFd<'_>, u32); 3],
    given: &Given,
) -> i32 {
    let mut room = [0u8; NAMES_MAX];
    let mut names = Text::new(&mut room);
    let mut descriptors = heapless::Vec::<(BorrowedFd<'_>, u32), PLACED_MAX>::new();
    let _ = descriptors.extend_from_slice(fixed);
    let mut number = FD_FIRST as u32;
    let mut template = "={}/{}";
    names.push(ENV_FD_NAMES.as_bytes());
    for kept in given.kept.iter().filter_map(|index| guest.kept.at(usize::from(*index))) {
        names.verbatim(template, &[kept.unit.into(), kept.name().into()]);
        template = ":{}/{}";
        if let Some(fd) = kept.fd() {
            let _ = descriptors.push((fd, number));
            number += 1;
        }
    }
    let names = if given.kept.is_empty() { None } else { file::text_path(&mut names) };
    let program = Program {
        file: warden,
        arguments: &[c"hostel-warden", c"exec"],
        variable: names,
        descriptors: &descriptors,
    };
    let errno = program.become_it();
    let record = ExecRecord {
        outcome: ExecOutcome::Failed.code(),
        step: ExecStep::Exec.code(),
        command: 0,
        descriptors: 0,
        errno: errno.raw_os_error(),
        pid: 0,
        text: hostel_contract::Text::new(b"hostel-warden"),
    };
    let [(status, _), ..] = fixed;
    let _ = send(*status, &record.encode(), None);
    i32::from(ExecStep::Exec.code())
}
