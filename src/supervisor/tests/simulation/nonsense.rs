//! Plans that nobody has validated: bytes changed at random behind a right checksum, as init would take them. The
//! supervisor may do nonsense with them, but never panics, never goes on for ever, and names no unit that isn't there.

use crate::plans;
use crate::rng::Rng;
use hostel_contract::ShutdownKind;
use hostel_plan::build::build;
use hostel_plan::{Plan, layout};
use hostel_supervisor::*;

const SEEDS: u64 = 3_000;
/// Events a run, and actions taken behind each.
const EVENTS: u32 = 60;
const ACTIONS_MAX: u32 = 100_000;

/// Changes a few bytes behind the header, and makes the checksum right.
fn spoil(bytes: &mut [u8], rng: &mut Rng) {
    let behind = bytes.len() - layout::PlanHeader::SIZE;
    for _ in 0..1 + rng.below(6) {
        let at = layout::PlanHeader::SIZE + rng.below(behind as u64) as usize;
        bytes[at] = rng.below(256) as u8;
    }
    let sum = layout::checksum(bytes);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
}

/// What happens next: to whom the supervisor thinks it may, and to others.
fn happening(
    rng: &mut Rng,
    plan: &Plan<'_>,
    pids: &mut Vec<(hostel_plan::UnitId, hostel_plan::Phase, Pid)>,
) -> Event {
    let status = ExitStatus { kind: ExitKind::Exited, code: rng.below(3) as u8 };
    let unit = hostel_plan::UnitId(rng.below(plan.len().max(1) as u64) as u16);
    match rng.below(6) {
        0 | 1 if !pids.is_empty() => {
            let (_, _, pid) = pids.swap_remove(rng.below(pids.len() as u64) as usize);
            Event::Exited { pid, status }
        }
        2 => Event::GroupEmpty(unit),
        3 => Event::Triggered(unit),
        _ => Event::Deadline,
    }
}

fn run(bytes: &[u8], rng: &mut Rng) -> u64 {
    let Ok(plan) = Plan::open(bytes) else { return 0 };
    let (mut header, mut units) = (Header::default(), vec![UnitState::default(); plan.len()]);
    let mut supervisor = Supervisor::new(plan, &mut header, &mut units);
    let (mut now, mut next_pid, mut pids, mut done) = (1_000, 100, Vec::new(), 0);
    let mut event = plan.default_target().map_or(Event::Deadline, Event::Boot);
    for number in 0..EVENTS {
        supervisor.handle(now, event);
        let mut taken = 0;
        while let Some(action) = supervisor.next_action(now) {
            taken += 1;
            assert!(taken < ACTIONS_MAX, "actions without an end");
            if let Action::Spawn(spawn) = action {
                assert!(plan.unit(spawn.unit).is_some(), "a unit that isn't there");
                next_pid += 1;
                let spawned = (spawn.unit, spawn.phase, next_pid);
                pids.push(spawned);
                let (unit, phase, pid) = spawned;
                supervisor.handle(now, Event::Spawned { unit, phase, pid });
            }
        }
        done += u64::from(taken);
        now += if supervisor.defers() { 1 } else { rng.below(20_000) };
        event = match number {
            40 => Event::Shutdown(ShutdownKind::PowerOff),
            _ => happening(rng, &plan, &mut pids),
        };
    }
    done
}

#[test]
fn given_plans_of_nonsense_when_run_then_the_supervisor_neither_panics_nor_goes_on_for_ever() {
    let mut done = 0;
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let mut bytes = build(&plans::generate(&mut rng)).expect("generated models can be built").bytes;
        spoil(&mut bytes, &mut rng);
        done += run(&bytes, &mut rng);
    }
    assert!(done > SEEDS * 10, "{done} actions: the test tests nothing");
}
