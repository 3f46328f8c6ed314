//! What is looked at before a plan is read, in two depths. [`open`] is init's: a file as it was written, sealed since then,
//! of this version. [`validate`] distrusts everything, and is the warden's, which gives out no plan that does not pass: PID 1 need
//! not carry it, since `reader` stays bounded, and gives harmless values, whatever stands behind a right checksum.
//!
//! It allocates nothing, and its work is bounded (`layout::WALK_MAX`), however the blocks overlap.

use crate::layout::{self, PlanHeader, PolicyRecord, UnitRecord};
use crate::reader::{Plan, PlanError, Unit};
use crate::types::*;

/// Where something is out of bounds.
struct Malformed(usize);

type Checked<T = ()> = Result<T, Malformed>;

fn ensure(holds: bool, at: usize) -> Checked {
    if holds { Ok(()) } else { Err(Malformed(at)) }
}

/// The whole of `Plan::open`. (The fields are read one by one: PID 1 decodes no header for it.)
pub(crate) fn open(bytes: &[u8]) -> Result<Plan<'_>, PlanError> {
    let number = |at| layout::u32_at(bytes, at);
    if number(const { PlanHeader::offset("magic") }) != layout::MAGIC {
        return Err(PlanError::Magic);
    }
    let version = layout::u16_at(bytes, const { PlanHeader::offset("version") });
    if version != layout::VERSION {
        return Err(PlanError::Version(version));
    }
    let length = number(const { PlanHeader::offset("length") }) as usize;
    match bytes.get(..length).map(Plan::of) {
        Some(plan) if length >= PlanHeader::SIZE && plan.len() <= layout::UNITS_MAX => Ok(plan),
        _ => Err(PlanError::Truncated),
    }
}

/// The whole of `Plan::parse`.
pub(crate) fn validate(bytes: &[u8]) -> Result<Plan<'_>, PlanError> {
    if bytes.len() < PlanHeader::SIZE {
        return Err(PlanError::Truncated);
    }
    let plan = open(bytes)?;
    let header = PlanHeader::decode(plan.bytes()).ok_or(PlanError::Truncated)?;
    if layout::checksum(plan.bytes()) != header.checksum {
        return Err(PlanError::Checksum);
    }
    tables(plan.bytes(), &header).map_err(PlanError::from)?;
    contents(plan.bytes(), &header).map_err(PlanError::from)?;
    Ok(plan)
}

impl From<Malformed> for PlanError {
    fn from(Malformed(at): Malformed) -> Self {
        PlanError::Malformed(u32::try_from(at).unwrap_or(u32::MAX))
    }
}

/// Are the tables in the file, one after the other?
fn tables(bytes: &[u8], header: &PlanHeader) -> Checked {
    let blocks_at = layout::unit_at(usize::from(header.units));
    let policies_at = header.policies_at as usize;
    let text_at = header.text_at as usize;
    let policies_end = policies_at.saturating_add(usize::from(header.policies) * PolicyRecord::SIZE);
    ensure(blocks_at <= policies_at && policies_end <= text_at && text_at < bytes.len(), 16)
}

/// What stands behind the checksum.
fn contents(bytes: &[u8], header: &PlanHeader) -> Checked {
    let blocks_at = layout::unit_at(usize::from(header.units));
    let policies_at = header.policies_at as usize;
    let text_at = header.text_at as usize;
    ensure(header.default_target == layout::NO_UNIT || header.default_target < header.units, 30)?;

    let pool = bytes.get(text_at..).unwrap_or(&[]);
    if let Err(error) = core::str::from_utf8(pool) {
        return Err(Malformed(text_at + error.valid_up_to()));
    }
    ensure(pool.last() == Some(&0), bytes.len())?;

    let mut walk = Walk { bytes, pool, header, blocks: blocks_at..policies_at, walked: 0 };
    walk.policies()?;
    walk.units()
}

struct Walk<'a> {
    bytes: &'a [u8],
    pool: &'a [u8],
    header: &'a PlanHeader,
    blocks: core::ops::Range<usize>,
    walked: usize,
}

impl Walk<'_> {
    fn byte(&self, at: usize) -> u8 {
        layout::u8_at(self.bytes, at)
    }

    /// The reference at `at` is of a text that begins inside the pool, between two characters. (Every string ends: the
    /// pool's last byte is NUL.)
    #[inline(never)]
    fn text(&self, at: usize) -> Checked {
        let first = self.pool.get(layout::reference_at(self.bytes, at));
        // In UTF-8 the bytes 0x80 to 0xbf go on with a character.
        ensure(first.is_some_and(|byte| byte & 0xc0 != 0x80), at)
    }

    /// `size` bytes from `at` are all in blocks, and there's work left to do on them.
    #[inline(never)]
    fn extent(&mut self, at: usize, size: usize) -> Checked {
        self.walked = self.walked.saturating_add(size);
        let inside = at >= self.blocks.start && at.saturating_add(size) <= self.blocks.end;
        ensure(inside && self.walked <= layout::WALK_MAX, at)
    }

    fn word(&mut self, at: usize) -> Checked<usize> {
        self.extent(at, 2)?;
        Ok(usize::from(layout::u16_at(self.bytes, at)))
    }

    fn policies(&mut self) -> Checked {
        for index in 0..usize::from(self.header.policies) {
            let at = self.header.policies_at as usize + index * PolicyRecord::SIZE;
            for (offset, is_code) in POLICY_CODES {
                ensure(is_code(self.byte(at + offset)), at)?;
            }
            for offset in EXIT_SETS {
                let set = layout::reference_at(self.bytes, at + offset);
                if set != 0 {
                    self.extent(set, layout::EXIT_SET_SIZE)?;
                }
            }
        }
        Ok(())
    }

    fn units(&mut self) -> Checked {
        let plan = Plan::of(self.bytes);
        let mut last_name = "";
        for unit in plan.units() {
            let at = layout::unit_at(unit.id().index());
            self.text(at + const { UnitRecord::offset("name") })?;
            self.text(at + const { UnitRecord::offset("cgroup") })?;
            let policy = layout::u16_at(self.bytes, at + const { UnitRecord::offset("policy") });
            let kind = self.byte(at + const { UnitRecord::offset("kind") });
            ensure(UnitKind::from_code(kind).is_some() && policy < self.header.policies, at)?;
            let name = unit.name();
            ensure(name > last_name, at)?;
            last_name = name;
            let block = |offset| layout::reference_at(self.bytes, at + offset);
            let edges = block(const { UnitRecord::offset("edges") });
            let commands = block(const { UnitRecord::offset("commands") });
            let settings = block(const { UnitRecord::offset("settings") });
            if edges != 0 {
                self.edges(plan, unit, edges)?;
            }
            if commands != 0 {
                self.commands(commands)?;
            }
            if settings != 0 {
                self.settings(settings)?;
            }
        }
        Ok(())
    }

    fn edges(&mut self, plan: Plan<'_>, unit: Unit<'_>, block: usize) -> Checked {
        let mut at = block + 2;
        let end = at + self.word(block)? * 2;
        self.extent(at, end - at)?;
        // Kind and target of the last edge, in one number.
        let mut last = 0;
        while at < end {
            let (code, count) = layout::split_run(layout::u16_at(self.bytes, at));
            let run_end = at + 2 + count * 2;
            let kind = EdgeKind::from_code(code).ok_or(Malformed(at))?;
            ensure(count > 0 && run_end <= end, at)?;
            at += 2;
            while at < run_end {
                let target = UnitId(layout::u16_at(self.bytes, at));
                let edge = u32::from(code) << 16 | u32::from(target.0);
                let other = plan.unit(target).ok_or(Malformed(at))?;
                // The order rules out that units wait for each other in a circle.
                let keeps_order = match kind {
                    EdgeKind::After => other.rank() < unit.rank(),
                    EdgeKind::Before => other.rank() > unit.rank(),
                    _ => true,
                };
                ensure(target != unit.id() && last < edge && keeps_order, at)?;
                last = edge;
                at += 2;
            }
        }
        Ok(())
    }

    fn commands(&mut self, block: usize) -> Checked {
        let mut at = block + 2;
        let (mut in_phase, mut count) = (0, 0);
        for _ in 0..self.word(block)? {
            self.extent(at, layout::COMMAND_HEAD)?;
            let argc = usize::from(layout::u16_at(self.bytes, at + 2));
            let phase = self.byte(at);
            if phase != in_phase {
                count = 0;
            }
            ensure(Phase::from_code(phase).is_some() && phase >= in_phase && count < u8::MAX, at)?;
            (in_phase, count) = (phase, count + 1);
            let argv = at + layout::COMMAND_HEAD;
            self.extent(argv, argc * layout::REFERENCE_SIZE)?;
            for text in 0..=argc {
                self.text(at + 4 + text * layout::REFERENCE_SIZE)?;
            }
            at = argv + argc * layout::REFERENCE_SIZE;
        }
        Ok(())
    }

    fn settings(&mut self, block: usize) -> Checked {
        let count = self.word(block)?;
        self.extent(block + 2, count * layout::SETTING_SIZE)?;
        for index in 0..count {
            let at = block + 2 + index * layout::SETTING_SIZE;
            ensure(SettingKey::from_code(self.byte(at)).is_some(), at)?;
            self.text(at + 1)?;
        }
        Ok(())
    }
}

fn is_signal(code: u8) -> bool {
    (1..=64).contains(&code)
}

/// Says whether a code may stand in its field.
type IsCode = fn(u8) -> bool;

/// Fields of a policy, and what may stand in them.
const POLICY_CODES: [(usize, IsCode); 9] = [
    (PolicyRecord::offset("service_type"), |code| ServiceType::from_code(code).is_some()),
    (PolicyRecord::offset("restart"), |code| Restart::from_code(code).is_some()),
    (PolicyRecord::offset("kill_mode"), |code| KillMode::from_code(code).is_some()),
    (PolicyRecord::offset("notify_access"), |code| NotifyAccess::from_code(code).is_some()),
    (PolicyRecord::offset("kill_signal"), is_signal),
    (PolicyRecord::offset("final_kill_signal"), is_signal),
    (PolicyRecord::offset("watchdog_signal"), is_signal),
    (PolicyRecord::offset("reload_signal"), is_signal),
    (PolicyRecord::offset("restart_kill_signal"), |code| code == 0 || is_signal(code)),
];

/// Fields of a policy that lead to exit sets.
const EXIT_SETS: [usize; 3] = [
    PolicyRecord::offset("success"),
    PolicyRecord::offset("restart_prevent"),
    PolicyRecord::offset("restart_force"),
];
