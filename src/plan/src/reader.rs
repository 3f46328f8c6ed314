//! Reading a plan: looked at once ([`Plan::open`], [`Plan::parse`]), then infallible.
//!
//! Every accessor gives a harmless value (nothing, zero, the default) where the bytes are not as the format says, in a
//! bounded time, and no unit that isn't there; after [`Plan::parse`] there's no such place. Nothing is copied: strings and lists are read in the plan's bytes.

use crate::layout::{self, PlanHeader, PolicyRecord, UnitRecord};
use crate::types::*;

/// Why bytes are no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Shorter than a header or than the header says, or with more units than there may be.
    Truncated,
    /// Not a plan.
    Magic,
    /// Of another version.
    Version(u16),
    /// Not what its checksum says.
    Checksum,
    /// An offset, count, code or string at this byte is out of bounds.
    Malformed(u32),
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PlanError::Truncated => f.write_str("the plan is cut short"),
            PlanError::Magic => f.write_str("this is no plan"),
            PlanError::Version(found) => {
                write!(f, "the plan has version {found}, this program reads version {}", layout::VERSION)
            }
            PlanError::Checksum => f.write_str("the plan does not match its checksum"),
            PlanError::Malformed(at) => write!(f, "the plan is malformed at byte {at}"),
        }
    }
}

impl core::error::Error for PlanError {}

/// A plan.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    bytes: &'a [u8],
}

/// One unit of a plan.
#[derive(Clone, Copy)]
pub struct Unit<'a> {
    plan: Plan<'a>,
    id: UnitId,
}

/// One command line of a unit. Strings are UTF-8 without NUL; the stored form is NUL-terminated.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    plan: Plan<'a>,
    offset: usize,
}

impl<'a> Plan<'a> {
    /// A plan without units.
    pub const EMPTY: Plan<'static> = Plan { bytes: &[] };

    /// Takes a plan from who has validated it: looks at its magic, version, length, and how many units it has.
    /// What is wrong behind them reads as harmless values. Bytes behind the length that its header gives are ignored.
    pub fn open(bytes: &'a [u8]) -> Result<Plan<'a>, PlanError> {
        crate::validate::open(bytes)
    }

    /// Validates a plan entirely. Bytes behind the length that its header gives are ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Plan<'a>, PlanError> {
        crate::validate::validate(bytes)
    }

    /// The plan of [`Plan::bytes`] that were taken before: they are not looked at again. Of others, reads give harmless
    /// values.
    pub const fn of(bytes: &'a [u8]) -> Plan<'a> {
        Plan { bytes }
    }

    /// The plan's own bytes, without what may follow them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Identifies the plan (`plan_checksum` of the status page).
    pub fn checksum(&self) -> u64 {
        layout::u64_at(self.bytes, const { PlanHeader::offset("checksum") })
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        usize::from(layout::u16_at(self.bytes, const { PlanHeader::offset("units") }))
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// None where the index is out of range.
    #[inline(never)]
    pub fn unit(&self, id: UnitId) -> Option<Unit<'a>> {
        (id.index() < self.len()).then_some(Unit { plan: *self, id })
    }

    /// The same for who never asks for one that isn't there, and is spared the question: an index out of range gives a
    /// target without a name, of which nothing is known.
    #[inline(never)]
    pub fn definition(&self, id: UnitId) -> Unit<'a> {
        let bytes: &[u8] = if id.index() < self.len() { self.bytes } else { &[] };
        Unit { plan: Plan { bytes }, id }
    }

    /// All units, ordered by name.
    pub fn units(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> {
        let plan = *self;
        (0..self.len()).map(move |index| Unit { plan, id: UnitId(index as u16) })
    }

    /// By full name (binary search).
    pub fn find(&self, name: &str) -> Option<Unit<'a>> {
        self.find_bytes(name.as_bytes())
    }

    /// The same for who has bytes that may be no text.
    #[inline(never)]
    pub fn find_bytes(&self, name: &[u8]) -> Option<Unit<'a>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let unit = Unit { plan: *self, id: UnitId(middle as u16) };
            match unit.name_bytes().cmp(name) {
                core::cmp::Ordering::Equal => return Some(unit),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// What is started at boot; None where the model named none that exists.
    pub fn default_target(&self) -> Option<UnitId> {
        let target = UnitId(layout::u16_at(self.bytes, const { PlanHeader::offset("default_target") }));
        (target.index() < self.len()).then_some(target)
    }

    /// Where a string of the text pool begins.
    fn text_at(&self, offset: usize) -> usize {
        layout::u32_at(self.bytes, const { PlanHeader::offset("text_at") }) as usize + offset
    }

    /// The string at an offset of the text pool, without its NUL.
    pub(crate) fn text(&self, offset: usize) -> &'a str {
        core::str::from_utf8(self.text_bytes(offset)).unwrap_or("")
    }

    /// The same for PID 1, which only passes it on.
    #[inline(never)]
    fn text_bytes(&self, offset: usize) -> &'a [u8] {
        let tail = self.bytes.get(self.text_at(offset)..).unwrap_or(&[]);
        let end = tail.iter().position(|byte| *byte == 0).unwrap_or(0);
        tail.get(..end).unwrap_or(&[])
    }

    /// What stands from a block on; nothing for no block.
    fn block(&self, block: usize) -> &'a [u8] {
        match block {
            0 => &[],
            at => self.bytes.get(at..).unwrap_or(&[]),
        }
    }
}

/// The lists of exit statuses and signals that a unit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitList {
    /// SuccessExitStatus=.
    Success,
    /// RestartPreventExitStatus=.
    RestartPrevent,
    /// RestartForceExitStatus=.
    RestartForce,
}

/// How a process ended, to be looked for in an [`ExitList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(u8),
    /// By this signal. 0 and what is above 64 are no signals.
    Signal(u8),
}

impl<'a> Unit<'a> {
    /// Where a field of its record is.
    fn record(&self, offset: usize) -> usize {
        layout::unit_at(self.id.index()) + offset
    }

    /// Where a field of its policy is.
    fn policy(&self, offset: usize) -> usize {
        let policy = layout::u16_at(self.plan.bytes, self.record(const { UnitRecord::offset("policy") }));
        let policies = layout::u32_at(self.plan.bytes, const { PlanHeader::offset("policies_at") });
        policies as usize + usize::from(policy) * PolicyRecord::SIZE + offset
    }

    #[inline(never)]
    fn reference(&self, offset: usize) -> usize {
        layout::reference_at(self.plan.bytes, self.record(offset))
    }

    #[inline(never)]
    fn policy_code(&self, offset: usize) -> u8 {
        layout::u8_at(self.plan.bytes, self.policy(offset))
    }

    #[inline(never)]
    fn policy_number(&self, offset: usize) -> u32 {
        layout::u32_at(self.plan.bytes, self.policy(offset))
    }

    /// The plan that it is of.
    pub fn plan(&self) -> Plan<'a> {
        self.plan
    }

    /// Its index.
    pub fn id(&self) -> UnitId {
        self.id
    }

    /// Full name with suffix.
    pub fn name(&self) -> &'a str {
        self.plan.text(self.reference(const { UnitRecord::offset("name") }))
    }

    /// The same as bytes.
    #[inline(never)]
    pub fn name_bytes(&self) -> &'a [u8] {
        self.plan.text_bytes(self.reference(const { UnitRecord::offset("name") }))
    }

    /// Kind.
    #[inline(never)]
    pub fn kind(&self) -> UnitKind {
        let code = layout::u8_at(self.plan.bytes, self.record(const { UnitRecord::offset("kind") }));
        UnitKind::from_code(code).unwrap_or(UnitKind::Target)
    }

    /// [`unit_flags`].
    pub fn flags(&self) -> u32 {
        layout::u32_at(self.plan.bytes, self.record(const { UnitRecord::offset("flags") }))
    }

    /// Is any of these flags set?
    #[inline(never)]
    pub fn has(&self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    /// Depth in the order of starts: higher than that of everything that it is after. 0: after nothing.
    pub fn rank(&self) -> u16 {
        layout::u16_at(self.plan.bytes, self.record(const { UnitRecord::offset("rank") }))
    }

    /// Type= of a service.
    #[inline(never)]
    pub fn service_type(&self) -> ServiceType {
        let code = self.policy_code(const { PolicyRecord::offset("service_type") });
        ServiceType::from_code(code).unwrap_or(ServiceType::Simple)
    }

    /// Restart=.
    pub fn restart(&self) -> Restart {
        let code = self.policy_code(const { PolicyRecord::offset("restart") });
        Restart::from_code(code).unwrap_or(Restart::No)
    }

    /// RestartSec=.
    pub fn restart_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("restart_ms") })
    }

    /// TimeoutStartSec=.
    pub fn start_timeout_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("start_timeout_ms") })
    }

    /// TimeoutStopSec=.
    pub fn stop_timeout_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("stop_timeout_ms") })
    }

    /// WatchdogSec=; [`INFINITE`] for none.
    pub fn watchdog_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("watchdog_ms") })
    }

    /// RuntimeMaxSec=.
    pub fn runtime_max_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("runtime_max_ms") })
    }

    /// JobTimeoutSec=.
    pub fn job_timeout_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("job_timeout_ms") })
    }

    /// StartLimitIntervalSec=; 0 switches the limit off.
    pub fn start_limit_interval_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("start_limit_interval_ms") })
    }

    /// StartLimitBurst=.
    pub fn start_limit_burst(&self) -> u16 {
        self.policy_number(const { PolicyRecord::offset("start_limit_burst") }) as u16
    }

    /// KillMode=.
    #[inline(never)]
    pub fn kill_mode(&self) -> KillMode {
        let code = self.policy_code(const { PolicyRecord::offset("kill_mode") });
        KillMode::from_code(code).unwrap_or(KillMode::ControlGroup)
    }

    /// KillSignal=, 1 to 64.
    pub fn kill_signal(&self) -> u8 {
        self.policy_code(const { PolicyRecord::offset("kill_signal") })
    }

    /// FinalKillSignal=, 1 to 64.
    pub fn final_kill_signal(&self) -> u8 {
        self.policy_code(const { PolicyRecord::offset("final_kill_signal") })
    }

    /// RestartKillSignal=, 1 to 64; 0: as KillSignal=.
    pub fn restart_kill_signal(&self) -> u8 {
        self.policy_code(const { PolicyRecord::offset("restart_kill_signal") })
    }

    /// WatchdogSignal=, 1 to 64.
    pub fn watchdog_signal(&self) -> u8 {
        self.policy_code(const { PolicyRecord::offset("watchdog_signal") })
    }

    /// ReloadSignal=, 1 to 64.
    pub fn reload_signal(&self) -> u8 {
        self.policy_code(const { PolicyRecord::offset("reload_signal") })
    }

    /// TimeoutAbortSec=.
    pub fn abort_timeout_ms(&self) -> Millis32 {
        self.policy_number(const { PolicyRecord::offset("abort_timeout_ms") })
    }

    /// RestartSteps=.
    pub fn restart_steps(&self) -> u16 {
        self.policy_number(const { PolicyRecord::offset("restart_steps") }) as u16
    }

    /// By what the pause before a restart grows with each of the steps, in 65536ths.
    pub fn restart_growth(&self) -> u32 {
        self.policy_number(const { PolicyRecord::offset("restart_growth") })
    }

    /// NotifyAccess=.
    #[inline(never)]
    pub fn notify_access(&self) -> NotifyAccess {
        let code = self.policy_code(const { PolicyRecord::offset("notify_access") });
        NotifyAccess::from_code(code).unwrap_or(NotifyAccess::None)
    }

    /// FileDescriptorStoreMax=.
    pub fn fdstore_max(&self) -> u16 {
        self.policy_number(const { PolicyRecord::offset("fdstore_max") }) as u16
    }

    /// Path below the root of the guest's cgroup. Empty for none.
    pub fn cgroup(&self) -> &'a str {
        self.plan.text(self.reference(const { UnitRecord::offset("cgroup") }))
    }

    /// The same as bytes.
    #[inline(never)]
    pub fn cgroup_bytes(&self) -> &'a [u8] {
        self.plan.text_bytes(self.reference(const { UnitRecord::offset("cgroup") }))
    }

    /// Is the end of a process in the list?
    #[inline(never)]
    pub fn lists(&self, list: ExitList, exit: Exit) -> bool {
        let field = match list {
            ExitList::Success => const { PolicyRecord::offset("success") },
            ExitList::RestartPrevent => const { PolicyRecord::offset("restart_prevent") },
            ExitList::RestartForce => const { PolicyRecord::offset("restart_force") },
        };
        // Signal `n` is bit `n - 1` behind the 256 statuses.
        let bit = match exit {
            Exit::Status(status) => usize::from(status),
            Exit::Signal(signal @ 1..=64) => 255 + usize::from(signal),
            Exit::Signal(_) => return false,
        };
        let block = layout::reference_at(self.plan.bytes, self.policy(field));
        block != 0 && layout::u8_at(self.plan.bytes, block + bit / 8) & (1 << (bit % 8)) != 0
    }

    /// The run of its edges that begins at `at`: kind, number, and where the next one begins.
    fn run(&self, at: usize) -> (u8, usize, usize) {
        let (kind, count) = layout::split_run(layout::u16_at(self.plan.bytes, at));
        (kind, count, at + 2 + count * 2)
    }

    /// Where its runs of edges begin and end.
    fn runs(&self) -> core::ops::Range<usize> {
        let block = self.reference(const { UnitRecord::offset("edges") });
        let words = if block == 0 { 0 } else { usize::from(layout::u16_at(self.plan.bytes, block)) };
        block + 2..block + 2 + words * 2
    }

    /// Target number `n` of the edges whose kinds are in the set ([`EdgeKind::set`]), kind by kind in the order of their
    /// codes, ascending in each. Looks at the heads of the runs before it only.
    #[inline(never)]
    pub fn edge(&self, kinds: u32, mut n: usize) -> Option<UnitId> {
        let core::ops::Range { start: mut at, end } = self.runs();
        while at < end {
            let (kind, count, next) = self.run(at);
            if kinds & 1 << kind != 0 {
                if n < count {
                    let id = UnitId(layout::u16_at(self.plan.bytes, at + 2 + n * 2));
                    return (id.index() < self.plan.len()).then_some(id);
                }
                n -= count;
            }
            at = next;
        }
        None
    }

    /// Targets of the edges of one kind, ascending.
    pub fn edges(&self, kind: EdgeKind) -> impl Iterator<Item = UnitId> + use<'a> {
        let unit = *self;
        (0..).map_while(move |n| unit.edge(1 << kind.code(), n))
    }

    /// Targets of the edges of these kinds, kind by kind in the order of their codes, ascending in each.
    pub fn edges_of(&self, kinds: &[EdgeKind]) -> impl Iterator<Item = UnitId> + use<'a> {
        let (unit, kinds) = (*self, EdgeKind::set(kinds));
        (0..).map_while(move |n| unit.edge(kinds, n))
    }

    /// All edges, by kind.
    pub fn all_edges(&self) -> impl Iterator<Item = (EdgeKind, UnitId)> + use<'a> {
        let unit = *self;
        EdgeKind::ALL.iter().flat_map(move |&kind| {
            (0..).map_while(move |n| Some((kind, unit.edge(EdgeKind::set(&[kind]), n)?)))
        })
    }

    /// All commands, by phase.
    pub fn commands(&self) -> impl Iterator<Item = (Phase, Command<'a>)> + use<'a> {
        let unit = *self;
        Phase::ALL.iter().flat_map(move |&phase| {
            (0..=u8::MAX)
                .map_while(move |index| unit.command(phase, index))
                .map(move |command| (phase, command))
        })
    }

    /// A command, counted from 0 in its phase; where there's none, how many the phase has.
    #[inline(never)]
    fn look_up(&self, phase: Phase, index: u8) -> Result<Command<'a>, u8> {
        let plan = self.plan;
        let block = self.reference(const { UnitRecord::offset("commands") });
        let left = if block == 0 { 0 } else { layout::u16_at(plan.bytes, block) };
        let (mut offset, mut count) = (block + 2, 0);
        for _ in 0..left {
            let command = Command { plan, offset };
            if layout::u8_at(plan.bytes, offset) == phase.code() {
                if count == index {
                    return Ok(command);
                }
                count += 1;
            }
            offset += layout::COMMAND_HEAD + command.argc() * layout::REFERENCE_SIZE;
        }
        Err(count)
    }

    /// Number of commands in a phase: at most 255.
    pub fn command_count(&self, phase: Phase) -> u8 {
        self.look_up(phase, u8::MAX).err().unwrap_or(0)
    }

    /// A command, counted from 0 in its phase.
    pub fn command(&self, phase: Phase, index: u8) -> Option<Command<'a>> {
        self.look_up(phase, index).ok()
    }

    /// All settings, in the order of the model.
    pub fn settings(&self) -> impl Iterator<Item = (SettingKey, &'a str)> + use<'a> {
        let plan = self.plan;
        let block = plan.block(self.reference(const { UnitRecord::offset("settings") }));
        let size = usize::from(layout::u16_at(block, 0)) * layout::SETTING_SIZE;
        let list = block.get(2..2 + size).unwrap_or(&[]);
        list.chunks_exact(layout::SETTING_SIZE).filter_map(move |setting| {
            let key = SettingKey::from_code(layout::u8_at(setting, 0))?;
            Some((key, plan.text(layout::reference_at(setting, 1))))
        })
    }

    /// Every value of a setting, in order.
    pub fn settings_of(&self, key: SettingKey) -> impl Iterator<Item = &'a str> + use<'a> {
        self.settings().filter(move |(found, _)| *found == key).map(|(_, value)| value)
    }

    /// The last value of a setting.
    pub fn setting(&self, key: SettingKey) -> Option<&'a str> {
        self.settings_of(key).last()
    }
}

impl<'a> Command<'a> {
    /// [`command_flags`].
    pub fn flags(&self) -> u8 {
        layout::u8_at(self.plan.bytes, self.offset + 1)
    }

    /// Number of arguments, argv[0] included.
    pub fn argc(&self) -> usize {
        usize::from(layout::u16_at(self.plan.bytes, self.offset + 2))
    }

    /// The program: absolute, or a name to be looked for.
    pub fn path(&self) -> &'a str {
        self.plan.text(layout::reference_at(self.plan.bytes, self.offset + 4))
    }

    /// The arguments, argv[0] first.
    pub fn argv(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let plan = self.plan;
        let at = self.offset + layout::COMMAND_HEAD;
        let list = plan.bytes.get(at..at + self.argc() * layout::REFERENCE_SIZE).unwrap_or(&[]);
        list.chunks_exact(layout::REFERENCE_SIZE).map(move |text| plan.text(layout::reference_at(text, 0)))
    }
}
