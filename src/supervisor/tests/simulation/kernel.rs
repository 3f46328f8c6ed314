//! The fake kernel: processes, their groups, and what they will do.
//!
//! Each process is given a script when it is made: whether its exec works, what it says, whom it forks, when and
//! how it ends, what it makes of signals. The kernel tells about processes exactly what a real one tells PID 1:
//! the end of its own children and of orphans, nothing else.

use crate::reload::renumbered;
use crate::rng::Rng;
use hostel_plan::{NotifyAccess, Phase, Plan, ServiceType, UnitId, UnitKind, unit_flags};
use hostel_supervisor::{
    Event, ExitKind, ExitStatus, Millis, Notification, Pid, Recipient, Report, RequestId, Spawn,
};
use std::collections::{BTreeMap, BinaryHeap};

/// PID 1: whose children are told of.
const INIT: Pid = 1;

/// What will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A child says something over its status pair.
    Report(Pid, Report),
    /// A process ends.
    Exit(Pid, ExitStatus),
    /// A process forks one that stays.
    Fork(Pid, Temper),
    /// A process says something to its NOTIFY_SOCKET.
    Notify(Pid, Notification),
    /// A socket gets a connection, a timer or path fires.
    Fire(UnitId),
    /// Somebody asks something.
    Ask,
    /// The definitions of units have changed, and a reload is asked for.
    Reload,
    /// Whoever asked hangs up.
    HangUp(RequestId),
    /// An event that is late, wrong or about nobody.
    Stray(Event),
    /// The guest is to end.
    Shutdown(hostel_contract::ShutdownKind),
    /// The machine sleeps for so long.
    Sleep(Millis),
}

/// What a process makes of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temper {
    /// TERM, HUP and the like do nothing.
    pub deaf: bool,
    /// It takes so long to end when told to.
    pub slow: Millis,
    /// Told to end, it exits with this; None: it is killed by the signal.
    pub parting: Option<u8>,
    /// Not even SIGKILL ends it soon: it hangs in the kernel.
    pub stuck: bool,
    /// SIGHUP is a reload.
    pub reloads: bool,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    pub unit: UnitId,
    pub parent: Pid,
    pub temper: Temper,
    /// What it was spawned for; None for what was forked by others.
    pub phase: Option<Phase>,
    /// SIGKILL is on its way to it.
    pub doomed: bool,
}

/// One entry of the timeline; ordered by time, then by when it was put in.
struct Entry(Millis, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

/// How often things go wrong, in percent; each seed has its own weather.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub spawn_fails: u64,
    pub exec_fails: u64,
    pub condition_false: u64,
    pub command_fails: u64,
    pub hangs: u64,
    pub deaf: u64,
    pub stuck: u64,
    pub dies: u64,
    pub never_ready: u64,
    pub leaves_children: u64,
    pub gossip: u64,
}

impl Weather {
    pub fn of(rng: &mut Rng) -> Self {
        let storm = *rng.pick(&[0, 1, 3, 10]);
        Weather {
            spawn_fails: storm,
            exec_fails: storm,
            condition_false: 20,
            command_fails: storm * 3,
            hangs: storm,
            deaf: storm * 4,
            stuck: if storm == 10 { 3 } else { 0 },
            dies: 10 + storm * 5,
            never_ready: storm * 2,
            leaves_children: 10 + storm * 3,
            gossip: 5 + storm * 3,
        }
    }
}

/// The kernel.
pub struct Kernel {
    pub processes: BTreeMap<Pid, Process>,
    /// Processes of each unit that are alive, without helpers.
    pub groups: Vec<u32>,
    pub weather: Weather,
    timeline: BinaryHeap<Entry>,
    sequence: u64,
    next_pid: Pid,
}

impl Kernel {
    pub fn new(units: usize, weather: Weather) -> Self {
        Kernel {
            processes: BTreeMap::new(),
            groups: vec![0; units],
            weather,
            timeline: BinaryHeap::new(),
            sequence: 0,
            next_pid: 100,
        }
    }

    pub fn at(&mut self, time: Millis, happening: Happening) {
        self.sequence += 1;
        self.timeline.push(Entry(time, self.sequence, happening));
    }

    pub fn next_time(&self) -> Option<Millis> {
        self.timeline.peek().map(|entry| entry.0)
    }

    pub fn next(&mut self) -> Option<Happening> {
        self.timeline.pop().map(|entry| entry.2)
    }

    fn temper(&self, rng: &mut Rng) -> Temper {
        Temper {
            deaf: rng.percent(self.weather.deaf),
            slow: if rng.percent(80) { rng.between(0, 50) } else { rng.between(0, 5_000) },
            parting: match rng.below(10) {
                0 => Some(1),
                1..5 => Some(0),
                _ => None,
            },
            stuck: rng.percent(self.weather.stuck),
            reloads: false,
        }
    }

    fn make(&mut self, unit: UnitId, parent: Pid, phase: Option<Phase>, temper: Temper) -> Pid {
        self.next_pid += 1;
        let pid = self.next_pid;
        self.processes.insert(pid, Process { unit, parent, temper, phase, doomed: false });
        if !is_helper(phase) {
            self.count(unit, 1);
        }
        pid
    }

    /// What a unit that left the plan has left behind is counted nowhere.
    fn count(&mut self, unit: UnitId, by: i32) {
        if let Some(group) = self.groups.get_mut(unit.index()) {
            *group = group.saturating_add_signed(by);
        }
    }

    /// Units have other indices from now on.
    pub fn renumber(&mut self, units: usize, place: &dyn Fn(UnitId) -> UnitId) {
        self.groups = vec![0; units];
        let mut members = Vec::new();
        for process in self.processes.values_mut() {
            process.unit = place(process.unit);
            members.extend((!is_helper(process.phase)).then_some(process.unit));
        }
        for unit in members {
            self.count(unit, 1);
        }
        let entries = std::mem::take(&mut self.timeline).into_iter();
        self.timeline =
            entries.filter_map(|entry| Some(Entry(entry.0, entry.1, renumbered(entry.2, place)?))).collect();
    }

    /// fork(2) for the supervisor: a process with a script, or an errno.
    pub fn spawn(&mut self, now: Millis, plan: &Plan<'_>, rng: &mut Rng, spawn: &Spawn) -> Result<Pid, i32> {
        if rng.percent(self.weather.spawn_fails) {
            return Err(*rng.pick(&[11, 12, 24]));
        }
        let unit = plan.unit(spawn.unit).expect("the supervisor knows the plan");
        let mut temper = self.temper(rng);
        temper.reloads = unit.service_type() == ServiceType::NotifyReload;
        let pid = self.make(spawn.unit, INIT, Some(spawn.phase), temper);
        let mut time = now + rng.between(0, 20);
        if spawn.first && unit.has(unit_flags::CONDITIONS) && rng.percent(self.weather.condition_false) {
            let report = *rng.pick(&[Report::ConditionFalse, Report::ConditionFalse, Report::AssertFailed]);
            self.at(time, Happening::Report(pid, report));
            self.exit(time + rng.between(0, 5), pid, 0);
        } else if is_helper(Some(spawn.phase)) {
            self.script_helper(time, rng, pid, spawn);
        } else if rng.percent(self.weather.exec_fails) {
            self.at(time, Happening::Report(pid, Report::Failed { step: 203, errno: 2 }));
            self.exit(time, pid, 203);
        } else {
            self.at(time, Happening::Report(pid, Report::Running));
            time += rng.between(0, 5);
            let is_daemon = spawn.phase == Phase::Start
                && unit.kind() == UnitKind::Service
                && unit.service_type() != ServiceType::Oneshot;
            if is_daemon && unit.service_type() == ServiceType::Forking {
                self.script_forking(time, rng, pid);
            } else if is_daemon {
                self.script_daemon(time, rng, plan, pid);
            } else {
                self.script_command(time, rng, pid);
            }
        }
        Ok(pid)
    }

    fn exit(&mut self, time: Millis, pid: Pid, code: u8) {
        self.at(time, Happening::Exit(pid, ExitStatus { kind: ExitKind::Exited, code }));
    }

    /// A helper says "done", or fails, or hangs.
    fn script_helper(&mut self, time: Millis, rng: &mut Rng, pid: Pid, spawn: &Spawn) {
        if rng.percent(self.weather.hangs) {
            return;
        }
        let time = time + rng.between(0, 100);
        if rng.percent(self.weather.command_fails) {
            if rng.percent(50) {
                self.at(time, Happening::Report(pid, Report::Failed { step: 246, errno: 98 }));
            }
            return self.exit(time, pid, 246);
        }
        // The main process of the pid file is looked up when the report is due.
        let found = (spawn.phase == Phase::ReadPidFile).then_some(0);
        self.at(time, Happening::Report(pid, Report::Done { pid: found }));
        self.exit(time + rng.between(0, 3), pid, 0);
    }

    fn script_command(&mut self, time: Millis, rng: &mut Rng, pid: Pid) {
        if rng.percent(self.weather.leaves_children / 2) {
            let temper = self.temper(rng);
            self.at(time, Happening::Fork(pid, temper));
        }
        if rng.percent(self.weather.hangs) {
            return;
        }
        let end = time + if rng.percent(80) { rng.between(0, 100) } else { rng.between(0, 5_000) };
        if rng.percent(self.weather.command_fails) {
            let status = *rng.pick(&[
                ExitStatus { kind: ExitKind::Exited, code: 1 },
                ExitStatus { kind: ExitKind::Exited, code: 255 },
                ExitStatus { kind: ExitKind::Killed, code: 15 },
                ExitStatus { kind: ExitKind::Dumped, code: 11 },
            ]);
            return self.at(end, Happening::Exit(pid, status));
        }
        self.exit(end, pid, 0);
    }

    /// Forks the daemon, and exits.
    fn script_forking(&mut self, time: Millis, rng: &mut Rng, pid: Pid) {
        if !rng.percent(self.weather.command_fails) {
            let temper = self.temper(rng);
            self.at(time, Happening::Fork(pid, temper));
        }
        self.script_command(time + 1, rng, pid);
    }

    fn script_daemon(&mut self, time: Millis, rng: &mut Rng, plan: &Plan<'_>, pid: Pid) {
        let unit = plan.unit(self.processes[&pid].unit).expect("it was spawned for one");
        if rng.percent(self.weather.leaves_children) {
            let temper = self.temper(rng);
            self.at(time, Happening::Fork(pid, temper));
        }
        if unit.notify_access() != NotifyAccess::None {
            if !rng.percent(self.weather.never_ready) {
                let ready = time + rng.between(0, 1_000);
                self.at(ready, Happening::Notify(pid, Notification::Ready));
            }
            if unit.watchdog_ms() != hostel_plan::INFINITE {
                for round in 0..rng.between(1, 20) {
                    let beat = time + round * u64::from(unit.watchdog_ms()) * 2 / 3;
                    self.at(beat, Happening::Notify(pid, Notification::Watchdog));
                }
            }
            if rng.percent(self.weather.gossip * 2) {
                self.script_gossip(time, rng, pid);
            }
        }
        if rng.percent(self.weather.dies) {
            let end = time + rng.between(0, 8_000);
            let status = *rng.pick(&[
                ExitStatus { kind: ExitKind::Exited, code: 0 },
                ExitStatus { kind: ExitKind::Exited, code: 1 },
                ExitStatus { kind: ExitKind::Exited, code: 7 },
                ExitStatus { kind: ExitKind::Killed, code: 15 },
                ExitStatus { kind: ExitKind::Killed, code: 9 },
                ExitStatus { kind: ExitKind::Dumped, code: 11 },
            ]);
            self.at(end, Happening::Exit(pid, status));
        }
    }

    fn script_gossip(&mut self, time: Millis, rng: &mut Rng, pid: Pid) {
        for _ in 0..rng.between(1, 4) {
            let when = time + rng.between(0, 5_000);
            let what = *rng.pick(&[
                Notification::Reloading,
                Notification::Stopping,
                Notification::Ready,
                Notification::ExtendTimeoutMillis(500),
                Notification::ExtendTimeoutMillis(u32::MAX),
                Notification::WatchdogMillis(300),
                Notification::WatchdogMillis(0),
                Notification::WatchdogTrigger,
                Notification::Errno(5),
                // Whom it means is looked up when it is due.
                Notification::MainPid(0),
            ]);
            self.at(when, Happening::Notify(pid, what));
            if what == Notification::Reloading && rng.percent(70) {
                self.at(when + rng.between(0, 1_000), Happening::Notify(pid, Notification::Ready));
            }
        }
    }

    /// Forks a process that stays.
    pub fn fork(&mut self, parent: Pid, temper: Temper) -> Option<Pid> {
        // What cgroup.kill has killed forks no more.
        let unit = self.processes.get(&parent).filter(|process| !process.doomed)?.unit;
        Some(self.make(unit, parent, None, temper))
    }

    /// Ends a process. Some if init is told.
    pub fn end(&mut self, pid: Pid) -> Option<Process> {
        let process = self.processes.remove(&pid)?;
        if !is_helper(process.phase) {
            self.count(process.unit, -1);
        }
        for child in self.processes.values_mut().filter(|child| child.parent == pid) {
            child.parent = INIT;
        }
        (process.parent == INIT).then_some(process)
    }

    /// How many of a unit's processes SIGKILL has still to end.
    pub fn doomed_of(&self, unit: UnitId) -> u32 {
        self.processes.values().filter(|p| p.unit == unit && p.doomed && !is_helper(p.phase)).count() as u32
    }

    /// A process of the unit that could be its main process: the last one forked.
    pub fn daemon_of(&self, unit: UnitId) -> Option<Pid> {
        let daemons = self.processes.iter().filter(|(_, p)| p.unit == unit && p.phase.is_none());
        daemons.map(|(pid, _)| *pid).next_back()
    }

    /// kill(2), cgroup.kill: to the process, or to those of the unit but the known ones where they are left out.
    pub fn signal(&mut self, now: Millis, rng: &mut Rng, recipients: &[Pid], signal: u8) {
        for pid in recipients {
            self.signal_one(now, rng, *pid, signal);
        }
    }

    /// Whom a signal is for; `known` are the unit's main and control process.
    pub fn recipients(
        &self,
        unit: UnitId,
        recipient: Recipient,
        pid: Option<Pid>,
        known: [Option<Pid>; 2],
    ) -> Vec<Pid> {
        match recipient {
            Recipient::Main | Recipient::Control => pid.into_iter().collect(),
            Recipient::All => self.members(unit),
            Recipient::Rest => {
                self.members(unit).into_iter().filter(|pid| !known.contains(&Some(*pid))).collect()
            }
        }
    }

    fn members(&self, unit: UnitId) -> Vec<Pid> {
        self.processes.iter().filter(|(_, p)| p.unit == unit).map(|(pid, _)| *pid).collect()
    }

    fn signal_one(&mut self, now: Millis, rng: &mut Rng, pid: Pid, signal: u8) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.doomed |= signal == 9;
        let temper = process.temper;
        let killed = ExitStatus { kind: ExitKind::Killed, code: signal };
        match signal {
            9 if temper.stuck => self.at(now + 500_000, Happening::Exit(pid, killed)),
            9 => self.at(now + rng.between(0, 2), Happening::Exit(pid, killed)),
            6 => self.at(
                now + temper.slow,
                Happening::Exit(pid, ExitStatus { kind: ExitKind::Dumped, code: signal }),
            ),
            1 if temper.reloads => {
                self.at(now + 1, Happening::Notify(pid, Notification::Reloading));
                if rng.percent(80) {
                    self.at(now + temper.slow + 1, Happening::Notify(pid, Notification::Ready));
                }
            }
            _ if temper.deaf => {}
            _ => {
                let status = match temper.parting {
                    Some(code) => ExitStatus { kind: ExitKind::Exited, code },
                    None => killed,
                };
                self.at(now + temper.slow, Happening::Exit(pid, status));
            }
        }
    }
}

/// Is it a helper of ours rather than a command of the unit?
pub fn is_helper(phase: Option<Phase>) -> bool {
    matches!(
        phase,
        Some(Phase::Check | Phase::OpenSockets | Phase::ReadPidFile | Phase::WaitBusName | Phase::CleanUp)
    )
}
