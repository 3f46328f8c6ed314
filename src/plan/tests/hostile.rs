//! Whatever the bytes are: `Plan::parse` says no, or all of the plan can be read; and what is only opened is read without
//! a panic, too, and leads to no unit that isn't there.

mod common;

use common::*;
use hostel_plan::build::build;
use hostel_plan::layout;
use hostel_plan::print::print;
use hostel_plan::*;

/// Reads everything that a plan has, as init, the supervisor and the warden would. Gives the number of items.
fn read_all(plan: &Plan<'_>) -> usize {
    let mut items = 1;
    // The printer asks for everything else there is, but takes its time: for some of the plans.
    if plan.checksum().is_multiple_of(16) {
        items += print(plan).len();
    }
    for unit in plan.units() {
        assert_eq!(plan.find(unit.name()).map(|found| found.id()), Some(unit.id()));
        for (kind, other) in unit.all_edges() {
            let other = plan.unit(other).expect("an edge in range");
            assert!(other.id() != unit.id());
            assert!(kind != EdgeKind::After || other.rank() < unit.rank());
            items += 1;
        }
        items += unit.cgroup().len() + unit.kind().name().len() + unit.service_type().name().len();
        items += usize::from(unit.lists(ExitList::Success, Exit::Status(7)))
            + usize::from(unit.lists(ExitList::RestartForce, Exit::Signal(64)));
        for phase in Phase::ALL {
            for index in 0..unit.command_count(*phase) {
                items += unit.command(*phase, index).expect("a command in range").argv().count();
            }
        }
        items += unit.settings().map(|(_, value)| value.len()).sum::<usize>();
    }
    items
}

/// Reads everything of a plan that nobody has validated.
fn read_opened(bytes: &[u8]) -> bool {
    let Ok(plan) = Plan::open(bytes) else { return false };
    assert!(plan.len() <= layout::UNITS_MAX);
    assert!(plan.default_target().is_none_or(|target| plan.unit(target).is_some()));
    for unit in plan.units() {
        let _ = plan.find(unit.name());
        for (_, other) in unit.all_edges() {
            assert!(plan.unit(other).is_some(), "an edge to a unit that isn't there");
        }
        for list in [ExitList::Success, ExitList::RestartPrevent, ExitList::RestartForce] {
            let _ = (unit.lists(list, Exit::Status(255)), unit.lists(list, Exit::Signal(64)));
        }
        for phase in Phase::ALL {
            let count = unit.command_count(*phase);
            for index in 0..count.min(8) {
                let command = unit.command(*phase, index).expect("a command in range");
                let _ = (command.path(), command.argv().take(64).count());
            }
            assert!(unit.command(*phase, count).is_none() || count == 0);
        }
        let _ = (unit.cgroup(), unit.settings().take(64).count(), unit.kill_mode(), unit.service_type());
        let _ = (unit.restart(), unit.notify_access(), unit.fdstore_max(), unit.start_timeout_ms());
    }
    true
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = layout::PlanHeader::decode(&bytes).map_or(0, |header| header.length as usize);
    if let Some(plan) = bytes.get(..length).filter(|plan| plan.len() >= layout::PlanHeader::SIZE) {
        let sum = layout::checksum(plan);
        bytes[8..16].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

#[test]
fn given_any_byte_changed_when_parsed_then_it_is_refused() {
    let bytes = build(&rich()).unwrap().bytes;
    for at in 0..bytes.len() {
        for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            assert!(Plan::parse(&changed).is_err(), "byte {at} ^ {change}");
        }
    }
}

#[test]
fn given_a_plan_cut_anywhere_when_parsed_then_it_is_refused_with_a_right_checksum_too() {
    let bytes = build(&rich()).unwrap().bytes;
    for length in 0..bytes.len() {
        assert_eq!(Plan::parse(&bytes[..length]).err(), Some(PlanError::Truncated), "{length}");
        let mut cut = bytes[..length].to_vec();
        if length >= layout::PlanHeader::SIZE {
            cut[16..20].copy_from_slice(&(length as u32).to_le_bytes());
            if let Ok(plan) = Plan::parse(&with_checksum(cut)) {
                read_all(&plan);
            }
        }
    }
}

#[test]
fn given_bytes_behind_the_plan_when_parsed_then_they_do_not_count() {
    let mut bytes = build(&rich()).unwrap().bytes;
    let length = bytes.len();
    bytes.extend_from_slice(&[0xff; 100]);
    let plan = Plan::parse(&bytes).unwrap();
    assert_eq!(plan.bytes().len(), length);
}

#[test]
fn given_another_magic_or_version_when_parsed_then_the_error_says_which() {
    let bytes = build(&rich()).unwrap().bytes;
    let mut changed = bytes.clone();
    changed[0] = b'X';
    assert_eq!(Plan::parse(&changed).err(), Some(PlanError::Magic));
    let mut changed = bytes.clone();
    changed[4] = 9;
    assert_eq!(Plan::parse(&changed).err(), Some(PlanError::Version(9)));
    let mut changed = bytes;
    changed[100] ^= 1;
    assert_eq!(Plan::parse(&changed).err(), Some(PlanError::Checksum));
}

#[test]
fn given_any_byte_changed_and_a_right_checksum_when_parsed_then_no_reading_fails() {
    let bytes = build(&rich()).unwrap().bytes;
    let (mut refused, mut read) = (0, 0);
    for at in 0..bytes.len() {
        for change in [0x01, 0x04, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let changed = with_checksum(changed);
            read_opened(&changed);
            match Plan::parse(&changed) {
                Ok(plan) => read += (read_all(&plan) > 0) as usize,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 1000 && read > 1000, "{refused} refused, {read} read: the test tests nothing");
}

#[test]
fn given_many_random_changes_and_a_right_checksum_when_parsed_then_no_reading_fails() {
    let bytes = build(&rich()).unwrap().bytes;
    let mut random = Random(1);
    let (mut refused, mut read, mut opened) = (0, 0, 0);
    for _ in 0..60_000 {
        let mut changed = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(changed.len());
            match random.below(4) {
                0 => changed[at] = random.next() as u8,
                1 => changed[at] = [0, 1, 0x7f, 0xff][random.below(4)],
                2 => changed[at] = changed[at].wrapping_add(1),
                _ => {
                    let from = random.below(changed.len());
                    let length = random.below(16).min(changed.len() - at.max(from));
                    changed.copy_within(from..from + length, at);
                }
            }
        }
        let changed = with_checksum(changed);
        opened += usize::from(read_opened(&changed));
        match Plan::parse(&changed) {
            Ok(plan) => read += (read_all(&plan) > 0) as usize,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000 && read > 1000, "{refused} refused, {read} read: the test tests nothing");
    assert!(opened > read + 1000, "{opened} opened, {read} valid: the test tests nothing");
}

#[test]
fn given_random_bytes_behind_a_right_header_when_parsed_then_no_reading_fails() {
    let mut random = Random(2);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..32 + random.below(200)).map(|_| random.next() as u8).collect();
        let last = bytes.len() - 1;
        bytes[last] = 0;
        let header = layout::PlanHeader {
            magic: layout::MAGIC,
            version: layout::VERSION,
            units: random.below(4) as u16,
            checksum: 0,
            length: bytes.len() as u32,
            policies_at: random.below(bytes.len()) as u32,
            text_at: random.below(bytes.len()) as u32,
            policies: random.below(3) as u16,
            default_target: layout::NO_UNIT,
        };
        bytes[..32].copy_from_slice(&header.encode());
        let bytes = with_checksum(bytes);
        read_opened(&bytes);
        if let Ok(plan) = Plan::parse(&bytes) {
            read_all(&plan);
        }
    }
}

#[test]
fn given_blocks_that_overlap_to_waste_time_when_parsed_then_it_is_refused_soon() {
    let mut model = model((0..4096).map(|i| unit(&format!("u{i}.service"))).collect());
    let arguments = vec!["x"; 60_000];
    for (i, unit) in model.units.iter_mut().enumerate() {
        unit.commands = vec![(Phase::Start, command((i == 0) as u8, &["/bin/true"]))];
    }
    model.units[7].commands = vec![(Phase::Start, command(0, &arguments))];
    let mut bytes = build(&model).unwrap().bytes;
    // All units get the long command of one of them.
    let commands_at = layout::UnitRecord::SIZE - 6;
    let long = (0..4096).map(|i| layout::unit_at(i) + commands_at).map(|at| bytes[at..at + 3].to_vec());
    let long = long.max_by_key(|block| {
        let at = layout::reference_at(block, 0);
        layout::u16_at(&bytes, at + 4)
    });
    for i in 0..4096 {
        let at = layout::unit_at(i) + commands_at;
        bytes[at..at + 3].copy_from_slice(long.as_ref().unwrap());
    }
    let started = std::time::Instant::now();
    assert!(matches!(Plan::parse(&with_checksum(bytes)), Err(PlanError::Malformed(_))));
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}
