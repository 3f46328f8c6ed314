//! Reading a plan: validated once (`validate`), then infallible.
//!
//! Every accessor would give a harmless value (nothing, zero, the default) where the bytes are not as the format says;
//! after [`Plan::parse`] there's no such place. Nothing is copied: strings and lists are read in the plan's bytes.

use crate::layout::{self, PlanHeader, PolicyRecord, Reference, UnitRecord};
use crate::types::*;

/// Why bytes are no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Shorter than a header, or than the header says.
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

/// A validated plan.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    bytes: &'a [u8],
    text: &'a str,
    header: PlanHeader,
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
    offset: u32,
}

impl<'a> Plan<'a> {
    /// Validates a plan entirely. Bytes behind the length that its header gives are ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Plan<'a>, PlanError> {
        crate::validate::validate(bytes)
    }

    /// What `validate` makes of validated parts.
    pub(crate) const fn from_parts(bytes: &'a [u8], text: &'a str, header: PlanHeader) -> Plan<'a> {
        Plan { bytes, text, header }
    }

    /// The plan's own bytes, without what may follow them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Identifies the plan (`plan_checksum` of the status page).
    pub fn checksum(&self) -> u64 {
        self.header.checksum
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        usize::from(self.header.units)
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// None where the index is out of range.
    pub fn unit(&self, id: UnitId) -> Option<Unit<'a>> {
        (id.index() < self.len()).then_some(Unit { plan: *self, id })
    }

    /// All units, ordered by name.
    pub fn units(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> {
        let plan = *self;
        (0..self.header.units).map(move |index| Unit { plan, id: UnitId(index) })
    }

    /// By full name (binary search).
    pub fn find(&self, name: &str) -> Option<Unit<'a>> {
        let (mut low, mut high) = (0, self.header.units);
        while low < high {
            let middle = low + (high - low) / 2;
            let unit = Unit { plan: *self, id: UnitId(middle) };
            match unit.name().cmp(name) {
                core::cmp::Ordering::Equal => return Some(unit),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// What is started at boot; None where the model named none that exists.
    pub fn default_target(&self) -> Option<UnitId> {
        self.unit(UnitId(self.header.default_target)).map(|unit| unit.id)
    }

    /// The string at an offset of the text pool, without its NUL.
    pub(crate) fn text(&self, offset: usize) -> &'a str {
        let tail = self.text.get(offset..).unwrap_or("");
        let end = tail.bytes().position(|byte| byte == 0).unwrap_or(tail.len());
        tail.get(..end).unwrap_or("")
    }

    /// What stands from a block on; nothing for no block.
    fn block(&self, block: Reference) -> &'a [u8] {
        match block.0 {
            0 => &[],
            at => self.bytes.get(at as usize..).unwrap_or(&[]),
        }
    }

    fn exit_set_has(&self, block: Reference, bit: usize) -> bool {
        layout::u8_at(self.block(block), bit / 8) & (1 << (bit % 8)) != 0
    }
}

/// Signal `n` is bit `n - 1` behind the 256 statuses. 0 and what is above 64 are no signals.
fn signal_bit(signal: u8) -> Option<usize> {
    (1..=64).contains(&signal).then(|| 255 + usize::from(signal))
}

impl<'a> Unit<'a> {
    fn record(&self) -> UnitRecord {
        let bytes = self.plan.bytes.get(layout::unit_at(self.id.index())..).unwrap_or(&[]);
        UnitRecord::decode(bytes).unwrap_or(NO_RECORD)
    }

    fn policy(&self) -> PolicyRecord {
        let at =
            self.plan.header.policies_at as usize + usize::from(self.record().policy) * PolicyRecord::SIZE;
        PolicyRecord::decode(self.plan.bytes.get(at..).unwrap_or(&[])).unwrap_or(NO_POLICY)
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
        self.plan.text(self.record().name.0 as usize)
    }

    /// Kind.
    pub fn kind(&self) -> UnitKind {
        UnitKind::from_code(self.record().kind).unwrap_or(UnitKind::Target)
    }

    /// [`unit_flags`].
    pub fn flags(&self) -> u32 {
        self.record().flags
    }

    /// Is any of these flags set?
    pub fn has(&self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    /// Depth in the order of starts: higher than that of everything that it is after. 0: after nothing.
    pub fn rank(&self) -> u16 {
        self.record().rank
    }

    /// Type= of a service.
    pub fn service_type(&self) -> ServiceType {
        ServiceType::from_code(self.policy().service_type).unwrap_or(ServiceType::Simple)
    }

    /// Restart=.
    pub fn restart(&self) -> Restart {
        Restart::from_code(self.policy().restart).unwrap_or(Restart::No)
    }

    /// RestartSec=.
    pub fn restart_ms(&self) -> Millis32 {
        self.policy().restart_ms
    }

    /// TimeoutStartSec=.
    pub fn start_timeout_ms(&self) -> Millis32 {
        self.policy().start_timeout_ms
    }

    /// TimeoutStopSec=.
    pub fn stop_timeout_ms(&self) -> Millis32 {
        self.policy().stop_timeout_ms
    }

    /// WatchdogSec=; [`INFINITE`] for none.
    pub fn watchdog_ms(&self) -> Millis32 {
        self.policy().watchdog_ms
    }

    /// RuntimeMaxSec=.
    pub fn runtime_max_ms(&self) -> Millis32 {
        self.policy().runtime_max_ms
    }

    /// JobTimeoutSec=.
    pub fn job_timeout_ms(&self) -> Millis32 {
        self.policy().job_timeout_ms
    }

    /// StartLimitIntervalSec=; 0 switches the limit off.
    pub fn start_limit_interval_ms(&self) -> Millis32 {
        self.policy().start_limit_interval_ms
    }

    /// StartLimitBurst=.
    pub fn start_limit_burst(&self) -> u16 {
        self.policy().start_limit_burst
    }

    /// KillMode=.
    pub fn kill_mode(&self) -> KillMode {
        KillMode::from_code(self.policy().kill_mode).unwrap_or(KillMode::ControlGroup)
    }

    /// KillSignal=, 1 to 64.
    pub fn kill_signal(&self) -> u8 {
        self.policy().kill_signal
    }

    /// FinalKillSignal=, 1 to 64.
    pub fn final_kill_signal(&self) -> u8 {
        self.policy().final_kill_signal
    }

    /// RestartKillSignal=, 1 to 64; 0: as KillSignal=.
    pub fn restart_kill_signal(&self) -> u8 {
        self.policy().restart_kill_signal
    }

    /// NotifyAccess=.
    pub fn notify_access(&self) -> NotifyAccess {
        NotifyAccess::from_code(self.policy().notify_access).unwrap_or(NotifyAccess::None)
    }

    /// FileDescriptorStoreMax=.
    pub fn fdstore_max(&self) -> u16 {
        self.policy().fdstore_max
    }

    /// Path below the root of the guest's cgroup. Empty for none.
    pub fn cgroup(&self) -> &'a str {
        self.plan.text(self.record().cgroup.0 as usize)
    }

    /// Is the status in SuccessExitStatus=?
    pub fn success_has(&self, status: u8) -> bool {
        self.plan.exit_set_has(self.policy().success, usize::from(status))
    }

    /// Is the signal in SuccessExitStatus=?
    pub fn success_has_signal(&self, signal: u8) -> bool {
        signal_bit(signal).is_some_and(|bit| self.plan.exit_set_has(self.policy().success, bit))
    }

    /// Is the status in RestartPreventExitStatus=?
    pub fn restart_prevent_has(&self, status: u8) -> bool {
        self.plan.exit_set_has(self.policy().restart_prevent, usize::from(status))
    }

    /// Is the signal in RestartPreventExitStatus=?
    pub fn restart_prevent_has_signal(&self, signal: u8) -> bool {
        signal_bit(signal).is_some_and(|bit| self.plan.exit_set_has(self.policy().restart_prevent, bit))
    }

    /// Is the status in RestartForceExitStatus=?
    pub fn restart_force_has(&self, status: u8) -> bool {
        self.plan.exit_set_has(self.policy().restart_force, usize::from(status))
    }

    /// Is the signal in RestartForceExitStatus=?
    pub fn restart_force_has_signal(&self, signal: u8) -> bool {
        signal_bit(signal).is_some_and(|bit| self.plan.exit_set_has(self.policy().restart_force, bit))
    }

    /// The runs of its edges, as kind and words.
    fn runs(&self) -> impl Iterator<Item = (EdgeKind, &'a [u8])> + use<'a> {
        let block = self.plan.block(self.record().edges);
        let words = usize::from(layout::u16_at(block, 0));
        let mut left = block.get(2..2 + words * 2).unwrap_or(&[]);
        core::iter::from_fn(move || {
            let (kind, count) = layout::split_run(layout::u16_at(left, 0));
            let run = left.get(2..2 + count * 2)?;
            left = left.get(2 + count * 2..)?;
            EdgeKind::from_code(kind).map(|kind| (kind, run))
        })
    }

    /// Targets of the edges of one kind, ascending.
    pub fn edges(&self, kind: EdgeKind) -> impl Iterator<Item = UnitId> + use<'a> {
        self.runs().filter(move |(found, _)| *found == kind).flat_map(|(_, run)| unit_ids(run))
    }

    /// All edges, by kind.
    pub fn all_edges(&self) -> impl Iterator<Item = (EdgeKind, UnitId)> + use<'a> {
        self.runs().flat_map(|(kind, run)| unit_ids(run).map(move |id| (kind, id)))
    }

    /// All commands, by phase.
    pub fn commands(&self) -> impl Iterator<Item = (Phase, Command<'a>)> + use<'a> {
        let plan = self.plan;
        let block = self.record().commands;
        let mut left = layout::u16_at(plan.block(block), 0);
        let mut at = block.0 as usize + 2;
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let command = Command { plan, offset: at as u32 };
            let phase = Phase::from_code(layout::u8_at(plan.bytes, at))?;
            at += layout::COMMAND_HEAD + command.argc() * layout::REFERENCE_SIZE;
            Some((phase, command))
        })
    }

    /// Number of commands in a phase.
    pub fn command_count(&self, phase: Phase) -> u8 {
        self.commands().filter(|(found, _)| *found == phase).fold(0, |count: u8, _| count.saturating_add(1))
    }

    /// A command, counted from 0 in its phase.
    pub fn command(&self, phase: Phase, index: u8) -> Option<Command<'a>> {
        self.commands()
            .filter(|(found, _)| *found == phase)
            .nth(usize::from(index))
            .map(|(_, command)| command)
    }

    /// All settings, in the order of the model.
    pub fn settings(&self) -> impl Iterator<Item = (SettingKey, &'a str)> + use<'a> {
        let plan = self.plan;
        let block = plan.block(self.record().settings);
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

fn unit_ids(run: &[u8]) -> impl Iterator<Item = UnitId> + use<'_> {
    run.chunks_exact(2).map(|word| UnitId(layout::u16_at(word, 0)))
}

impl<'a> Command<'a> {
    /// [`command_flags`].
    pub fn flags(&self) -> u8 {
        layout::u8_at(self.plan.bytes, self.offset as usize + 1)
    }

    /// Number of arguments, argv[0] included.
    pub fn argc(&self) -> usize {
        usize::from(layout::u16_at(self.plan.bytes, self.offset as usize + 2))
    }

    /// The program: absolute, or a name to be looked for.
    pub fn path(&self) -> &'a str {
        self.plan.text(layout::reference_at(self.plan.bytes, self.offset as usize + 4))
    }

    /// The arguments, argv[0] first.
    pub fn argv(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let plan = self.plan;
        let at = self.offset as usize + layout::COMMAND_HEAD;
        let list = plan.bytes.get(at..at + self.argc() * layout::REFERENCE_SIZE).unwrap_or(&[]);
        list.chunks_exact(layout::REFERENCE_SIZE).map(move |text| plan.text(layout::reference_at(text, 0)))
    }
}

const NONE: Reference = Reference(0);

/// Stands for a record that isn't there, which no validated plan leads to.
const NO_RECORD: UnitRecord = UnitRecord {
    name: NONE,
    cgroup: NONE,
    flags: 0,
    kind: UnitKind::Target as u8,
    policy: 0,
    rank: 0,
    edges: NONE,
    commands: NONE,
    settings: NONE,
};

/// As [`NO_RECORD`].
const NO_POLICY: PolicyRecord = PolicyRecord {
    service_type: ServiceType::Simple as u8,
    restart: Restart::No as u8,
    kill_mode: KillMode::ControlGroup as u8,
    notify_access: NotifyAccess::None as u8,
    kill_signal: 15,
    final_kill_signal: 9,
    restart_kill_signal: 0,
    start_limit_burst: 0,
    fdstore_max: 0,
    restart_ms: 0,
    start_timeout_ms: 0,
    stop_timeout_ms: 0,
    watchdog_ms: INFINITE,
    runtime_max_ms: INFINITE,
    job_timeout_ms: INFINITE,
    start_limit_interval_ms: 0,
    success: NONE,
    restart_prevent: NONE,
    restart_force: NONE,
};
