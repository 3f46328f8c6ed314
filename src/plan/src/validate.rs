//! Validation: the one place that distrusts a plan. What it lets pass, `reader` reads without a check of its own.
//!
//! It allocates nothing, and its work is bounded (`layout::WALK_MAX`), however the blocks overlap.

use crate::layout::{self, PlanHeader, PolicyRecord, Reference, UnitRecord};
use crate::reader::{Plan, PlanError};
use crate::types::*;

type Checked<T = ()> = Result<T, PlanError>;

fn malformed<T>(at: usize) -> Checked<T> {
    Err(PlanError::Malformed(u32::try_from(at).unwrap_or(u32::MAX)))
}

fn ensure(holds: bool, at: usize) -> Checked {
    if holds { Ok(()) } else { malformed(at) }
}

/// The whole of `Plan::parse`.
pub(crate) fn validate(bytes: &[u8]) -> Checked<Plan<'_>> {
    let header = PlanHeader::decode(bytes).ok_or(PlanError::Truncated)?;
    if header.magic != layout::MAGIC {
        return Err(PlanError::Magic);
    }
    if header.version != layout::VERSION {
        return Err(PlanError::Version(header.version));
    }
    let bytes = bytes.get(..header.length as usize).ok_or(PlanError::Truncated)?;
    if bytes.len() < PlanHeader::SIZE {
        return Err(PlanError::Truncated);
    }
    if layout::checksum(bytes) != header.checksum {
        return Err(PlanError::Checksum);
    }

    let blocks_at = layout::unit_at(usize::from(header.units));
    let policies_at = header.policies_at as usize;
    let text_at = header.text_at as usize;
    let policies_end = policies_at.saturating_add(usize::from(header.policies) * PolicyRecord::SIZE);
    ensure(usize::from(header.units) <= layout::UNITS_MAX, 6)?;
    ensure(blocks_at <= policies_at && policies_end <= text_at && text_at < bytes.len(), 16)?;
    ensure(header.default_target == layout::NO_UNIT || header.default_target < header.units, 30)?;

    let pool = bytes.get(text_at..).unwrap_or(&[]);
    let text = match core::str::from_utf8(pool) {
        Ok(text) => text,
        Err(error) => return malformed(text_at + error.valid_up_to()),
    };
    ensure(pool.last() == Some(&0), bytes.len())?;

    let plan = Plan::from_parts(bytes, text, header);
    let mut walk = Walk { bytes, text, header, blocks: blocks_at..policies_at, walked: 0 };
    walk.policies()?;
    walk.units(&plan)?;
    Ok(plan)
}

struct Walk<'a> {
    bytes: &'a [u8],
    text: &'a str,
    header: PlanHeader,
    blocks: core::ops::Range<usize>,
    walked: usize,
}

impl Walk<'_> {
    /// A text at `at` begins inside the pool, between two characters. (Every string ends: the pool's last byte is NUL.)
    fn text(&self, text: usize, at: usize) -> Checked {
        ensure(text < self.text.len() && self.text.is_char_boundary(text), at)
    }

    /// `size` bytes from `at` are all in blocks, and there's work left to do on them.
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
            let Some(policy) = self.bytes.get(at..).and_then(PolicyRecord::decode) else {
                return malformed(at);
            };
            let codes = ServiceType::from_code(policy.service_type).is_some()
                && Restart::from_code(policy.restart).is_some()
                && KillMode::from_code(policy.kill_mode).is_some()
                && NotifyAccess::from_code(policy.notify_access).is_some();
            let signals = (1..=64).contains(&policy.kill_signal)
                && (1..=64).contains(&policy.final_kill_signal)
                && policy.restart_kill_signal <= 64;
            ensure(codes && signals, at)?;
            for Reference(set) in [policy.success, policy.restart_prevent, policy.restart_force] {
                if set != 0 {
                    self.extent(set as usize, layout::EXIT_SET_SIZE)?;
                }
            }
        }
        Ok(())
    }

    fn units(&mut self, plan: &Plan<'_>) -> Checked {
        let mut last_name = "";
        for index in 0..self.header.units {
            let at = layout::unit_at(usize::from(index));
            let Some(unit) = self.bytes.get(at..).and_then(UnitRecord::decode) else {
                return malformed(at);
            };
            self.text(unit.name.0 as usize, at)?;
            self.text(unit.cgroup.0 as usize, at)?;
            ensure(UnitKind::from_code(unit.kind).is_some() && unit.policy < self.header.policies, at)?;
            let name = plan.text(unit.name.0 as usize);
            ensure(name > last_name, at)?;
            last_name = name;
            if unit.edges.0 != 0 {
                self.edges(UnitId(index), unit.rank, unit.edges.0 as usize)?;
            }
            if unit.commands.0 != 0 {
                self.commands(unit.commands.0 as usize)?;
            }
            if unit.settings.0 != 0 {
                self.settings(unit.settings.0 as usize)?;
            }
        }
        Ok(())
    }

    fn edges(&mut self, unit: UnitId, rank: u16, block: usize) -> Checked {
        let mut at = block + 2;
        let end = at + self.word(block)? * 2;
        self.extent(at, end - at)?;
        let mut last = None;
        while at < end {
            let (code, count) = layout::split_run(layout::u16_at(self.bytes, at));
            let run_end = at + 2 + count * 2;
            let Some(kind) = EdgeKind::from_code(code) else { return malformed(at) };
            ensure(count > 0 && run_end <= end, at)?;
            at += 2;
            while at < run_end {
                let target = UnitId(layout::u16_at(self.bytes, at));
                ensure(target.0 < self.header.units && target != unit, at)?;
                ensure(last < Some((kind, target)) && self.keeps_order(rank, kind, target), at)?;
                last = Some((kind, target));
                at += 2;
            }
        }
        Ok(())
    }

    /// What rules out that units wait for each other in a circle.
    fn keeps_order(&self, rank: u16, kind: EdgeKind, target: UnitId) -> bool {
        let other = self.bytes.get(layout::unit_at(target.index())..).and_then(UnitRecord::decode);
        match (kind, other) {
            (EdgeKind::After, Some(other)) => other.rank < rank,
            (EdgeKind::Before, Some(other)) => other.rank > rank,
            (_, other) => other.is_some(),
        }
    }

    fn commands(&mut self, block: usize) -> Checked {
        let mut at = block + 2;
        let mut in_phase = (Phase::Check, 0u8);
        for _ in 0..self.word(block)? {
            self.extent(at, layout::COMMAND_HEAD)?;
            let argc = usize::from(layout::u16_at(self.bytes, at + 2));
            let Some(phase) = Phase::from_code(layout::u8_at(self.bytes, at)) else { return malformed(at) };
            in_phase = match phase.cmp(&in_phase.0) {
                core::cmp::Ordering::Less => return malformed(at),
                core::cmp::Ordering::Equal if in_phase.1 == u8::MAX => return malformed(at),
                core::cmp::Ordering::Equal => (phase, in_phase.1 + 1),
                core::cmp::Ordering::Greater => (phase, 1),
            };
            let argv = at + layout::COMMAND_HEAD;
            self.extent(argv, argc * layout::REFERENCE_SIZE)?;
            for text in 0..=argc {
                let text_at = at + 4 + text * layout::REFERENCE_SIZE;
                self.text(layout::reference_at(self.bytes, text_at), text_at)?;
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
            ensure(SettingKey::from_code(layout::u8_at(self.bytes, at)).is_some(), at)?;
            self.text(layout::reference_at(self.bytes, at + 1), at)?;
        }
        Ok(())
    }
}
