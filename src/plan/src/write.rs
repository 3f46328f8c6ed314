//! Lays out a checked model in the format of `layout`.

use crate::build::{BuildError, Edges};
use crate::layout::{self, PlanHeader, PolicyRecord, Reference, UnitRecord};
use crate::model::{CommandModel, ExitSet, UnitModel};
use crate::types::*;
use hostel_contract::Field;
use std::collections::{BTreeSet, HashMap};
use std::format;
use std::vec::Vec;

/// Every string of a unit that goes into the plan, but those of its edges, which are names of units.
pub(crate) fn texts(unit: &UnitModel) -> impl Iterator<Item = &str> {
    let commands = unit.commands.iter().flat_map(|(_, c)| std::iter::once(&c.path).chain(&c.argv));
    let settings = unit.settings.iter().map(|(_, value)| value);
    [&unit.name, &unit.cgroup].into_iter().chain(commands).chain(settings).map(|text| text.as_str())
}

/// Lays out units that are sorted by name, with their edges and ranks.
pub(crate) fn write(
    units: &[&UnitModel],
    edges: &Edges,
    ranks: &[u16],
    default_target: Option<u16>,
) -> Result<Vec<u8>, BuildError> {
    let pool = TextPool::new(units.iter().flat_map(|unit| texts(unit)))?;
    let mut blocks = Blocks::new(layout::unit_at(units.len()));
    let mut policies = Policies::default();
    let mut records = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        let record = UnitRecord {
            name: pool.find(&unit.name),
            cgroup: pool.find(&unit.cgroup),
            flags: unit.flags,
            kind: unit.kind.code(),
            policy: policies.intern(&policy(unit, &mut blocks)?),
            rank: ranks[index],
            edges: blocks.intern(edge_block(unit, &edges[index])?)?,
            commands: blocks.intern(command_block(&unit.commands, &pool))?,
            settings: blocks.intern(setting_block(&unit.settings, &pool))?,
        };
        records.extend_from_slice(&record.encode());
    }

    let policies_at = blocks.base + blocks.bytes.len();
    let text_at = policies_at + policies.bytes.len();
    let length = text_at + pool.bytes.len();
    let mut header = PlanHeader {
        magic: layout::MAGIC,
        version: layout::VERSION,
        units: units.len() as u16,
        checksum: 0,
        // Blocks and text are below 16 MiB each, policies are fewer than units.
        length: length as u32,
        policies_at: policies_at as u32,
        text_at: text_at as u32,
        policies: policies.seen.len() as u16,
        default_target: default_target.unwrap_or(layout::NO_UNIT),
    };
    let parts = [&header.encode()[..], &records, &blocks.bytes, &policies.bytes, &pool.bytes];
    let mut plan = parts.concat();
    header.checksum = layout::checksum(&plan);
    plan[..PlanHeader::SIZE].copy_from_slice(&header.encode());
    Ok(plan)
}

/// The string pool: each string once, tails of others not at all.
struct TextPool<'a> {
    bytes: Vec<u8>,
    offsets: HashMap<&'a str, u32>,
}

impl<'a> TextPool<'a> {
    fn new(texts: impl Iterator<Item = &'a str>) -> Result<Self, BuildError> {
        // Ordered by their bytes read backwards, a string stands right before those that end with it.
        let mut strings: Vec<&str> = texts.chain([""]).collect::<BTreeSet<_>>().into_iter().collect();
        strings.sort_by(|a, b| a.bytes().rev().cmp(b.bytes().rev()));
        let mut bytes = Vec::new();
        let mut offsets = HashMap::new();
        let mut holder: (&str, usize) = ("", 0);
        for text in strings.into_iter().rev() {
            if bytes.is_empty() || !holder.0.ends_with(text) {
                holder = (text, bytes.len());
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
            }
            offsets.insert(text, (holder.1 + holder.0.len() - text.len()) as u32);
        }
        if bytes.len() > layout::OFFSET_MAX {
            return Err(BuildError(format!(
                "{} bytes of text are more than the 16 MiB of a plan",
                bytes.len()
            )));
        }
        Ok(TextPool { bytes, offsets })
    }

    fn find(&self, text: &str) -> Reference {
        // Every text of every unit was put in by `new`.
        Reference(self.offsets.get(text).copied().unwrap_or(0))
    }
}

/// Blocks, equal ones once.
struct Blocks {
    base: usize,
    bytes: Vec<u8>,
    seen: HashMap<Vec<u8>, Reference>,
}

impl Blocks {
    fn new(base: usize) -> Self {
        Blocks { base, bytes: Vec::new(), seen: HashMap::new() }
    }

    fn intern(&mut self, block: Vec<u8>) -> Result<Reference, BuildError> {
        if block.is_empty() {
            return Ok(Reference(0));
        }
        if let Some(reference) = self.seen.get(&block) {
            return Ok(*reference);
        }
        let at = self.base + self.bytes.len();
        if at + block.len() > layout::OFFSET_MAX {
            return Err(BuildError(format!("{at} bytes of units are more than the 16 MiB of a plan")));
        }
        self.bytes.extend_from_slice(&block);
        self.seen.insert(block, Reference(at as u32));
        Ok(Reference(at as u32))
    }
}

/// Policies, equal ones once; there are never more than units.
#[derive(Default)]
struct Policies {
    bytes: Vec<u8>,
    seen: HashMap<[u8; PolicyRecord::SIZE], u16>,
}

impl Policies {
    fn intern(&mut self, policy: &PolicyRecord) -> u16 {
        let bytes = policy.encode();
        let next = self.seen.len() as u16;
        *self.seen.entry(bytes).or_insert_with(|| {
            self.bytes.extend_from_slice(&bytes);
            next
        })
    }
}

fn policy(unit: &UnitModel, blocks: &mut Blocks) -> Result<PolicyRecord, BuildError> {
    Ok(PolicyRecord {
        service_type: unit.service_type.code(),
        restart: unit.restart.code(),
        kill_mode: unit.kill_mode.code(),
        notify_access: unit.notify_access.code(),
        kill_signal: unit.kill_signal,
        final_kill_signal: unit.final_kill_signal,
        restart_kill_signal: unit.restart_kill_signal,
        watchdog_signal: unit.watchdog_signal,
        reload_signal: unit.reload_signal,
        start_limit_burst: unit.start_limit_burst,
        fdstore_max: unit.fdstore_max,
        restart_steps: unit.restart_steps,
        restart_ms: unit.restart_ms,
        start_timeout_ms: unit.start_timeout_ms,
        stop_timeout_ms: unit.stop_timeout_ms,
        watchdog_ms: unit.watchdog_ms,
        runtime_max_ms: unit.runtime_max_ms,
        job_timeout_ms: unit.job_timeout_ms,
        start_limit_interval_ms: unit.start_limit_interval_ms,
        abort_timeout_ms: unit.abort_timeout_ms,
        restart_growth: unit.restart_growth,
        success: blocks.intern(exit_set_block(&unit.success))?,
        restart_prevent: blocks.intern(exit_set_block(&unit.restart_prevent))?,
        restart_force: blocks.intern(exit_set_block(&unit.restart_force))?,
    })
}

fn exit_set_block(set: &ExitSet) -> Vec<u8> {
    if set.statuses.is_empty() && set.signals.is_empty() {
        return Vec::new();
    }
    let mut bits = std::vec![0; layout::EXIT_SET_SIZE];
    let statuses = set.statuses.iter().map(|status| usize::from(*status));
    let signals = set.signals.iter().map(|signal| 255 + usize::from(*signal));
    for bit in statuses.chain(signals) {
        bits[bit / 8] |= 1 << (bit % 8);
    }
    bits
}

fn edge_block(unit: &UnitModel, edges: &BTreeSet<(EdgeKind, u16)>) -> Result<Vec<u8>, BuildError> {
    let mut words: Vec<u16> = Vec::new();
    for kind in EdgeKind::ALL {
        let targets: Vec<u16> =
            edges.range((*kind, 0)..=(*kind, u16::MAX)).map(|(_, target)| *target).collect();
        for run in targets.chunks(layout::RUN_MAX) {
            words.push(u16::from(kind.code()) << 11 | run.len() as u16);
            words.extend_from_slice(run);
        }
    }
    let Ok(count) = u16::try_from(words.len()) else {
        return Err(BuildError(format!(
            "{}: {} edges are more than a plan can have",
            unit.name,
            edges.len()
        )));
    };
    Ok(match count {
        0 => Vec::new(),
        _ => std::iter::once(count).chain(words).flat_map(u16::to_le_bytes).collect(),
    })
}

fn push_text(block: &mut Vec<u8>, pool: &TextPool<'_>, text: &str) {
    let mut bytes = [0; layout::REFERENCE_SIZE];
    pool.find(text).put(&mut bytes);
    block.extend_from_slice(&bytes);
}

fn command_block(commands: &[(Phase, CommandModel)], pool: &TextPool<'_>) -> Vec<u8> {
    if commands.is_empty() {
        return Vec::new();
    }
    let mut sorted: Vec<_> = commands.iter().collect();
    sorted.sort_by_key(|(phase, _)| *phase);
    let mut block = (sorted.len() as u16).to_le_bytes().to_vec();
    for (phase, command) in sorted {
        block.extend_from_slice(&[phase.code(), command.flags]);
        block.extend_from_slice(&(command.argv.len() as u16).to_le_bytes());
        push_text(&mut block, pool, &command.path);
        command.argv.iter().for_each(|text| push_text(&mut block, pool, text));
    }
    block
}

fn setting_block(settings: &[(SettingKey, std::string::String)], pool: &TextPool<'_>) -> Vec<u8> {
    if settings.is_empty() {
        return Vec::new();
    }
    let mut block = (settings.len() as u16).to_le_bytes().to_vec();
    for (key, value) in settings {
        block.push(key.code());
        push_text(&mut block, pool, value);
    }
    block
}
