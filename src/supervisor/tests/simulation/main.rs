//! The simulation: the code that runs as PID 1, under a fake kernel with faults.
//!
//! A seed is a generated plan, a weather (how often what goes wrong) and a run. After each step the rules of
//! `invariants` are checked. A seed that breaks one is run again, and tells its story:
//! `HOSTEL_SIM_SEED=n cargo test -p hostel-supervisor --test simulation`.
//! `HOSTEL_SIM_SEEDS=n` runs so many; `HOSTEL_SIM_PLANS` names files with plans, one a line or with colons between.

mod invariants;
mod kernel;
mod nonsense;
mod plans;
mod reload;
mod rng;
mod sabotage;
#[path = "../words/mod.rs"]
mod words;
mod world;

use sabotage::Sabotage;
use world::{Failure, Stats, Story, simulate, simulate_plan};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 20_000;
/// Seeds in which a planted bug has to show.
const SEEDS_OF_A_BUG: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Stops with the story of a seed that broke a rule.
fn tell(seed: u64, story: Result<Stats, Failure>) -> ! {
    match story {
        Err(Failure { violation, story }) => panic!(
            "{story}\nseed {seed} breaks `{}`: {}\n(again: HOSTEL_SIM_SEED={seed})",
            violation.invariant, violation.detail
        ),
        Ok(_) => {
            panic!("seed {seed} broke a rule, and did not when told: the simulation is not deterministic")
        }
    }
}

#[test]
fn given_any_plan_and_faults_when_run_then_no_rule_is_broken() {
    if let Some(seed) = number("HOSTEL_SIM_SEED") {
        match simulate(seed, Sabotage::None, Story::Told) {
            Ok(stats) => return eprintln!("seed {seed} breaks no rule: {stats:?}"),
            failure => tell(seed, failure),
        }
    }
    let mut sum = Stats::default();
    for seed in 0..number("HOSTEL_SIM_SEEDS").unwrap_or(SEEDS) {
        match simulate(seed, Sabotage::None, Story::Silent) {
            Ok(stats) => sum.add(stats),
            Err(_) => tell(seed, simulate(seed, Sabotage::None, Story::Told)),
        }
    }
    eprintln!("{sum:?}");
    // A simulation in which nothing happens would break no rule either.
    assert!(sum.spawns > 1_000 && sum.restarts > 50 && sum.failures > 100 && sum.booted > 100, "{sum:?}");
    assert!(sum.reloads > 1_000, "{sum:?}");
}

#[test]
fn given_the_plans_of_real_guests_when_run_then_no_rule_is_broken() {
    let Ok(list) = std::env::var("HOSTEL_SIM_PLANS") else { return };
    for file in list.split([':', '\n']).filter(|file| !file.is_empty()) {
        let plan = std::fs::read(file).unwrap_or_else(|error| panic!("HOSTEL_SIM_PLANS: {file}: {error}"));
        for seed in 0..number("HOSTEL_SIM_SEEDS").unwrap_or(30) {
            if simulate_plan(&plan, seed, Story::Silent).is_err() {
                eprintln!("{file}:");
                tell(seed, simulate_plan(&plan, seed, Story::Told));
            }
        }
    }
}

#[test]
fn given_a_seed_when_run_twice_then_it_is_the_same_run() {
    for seed in 0..50 {
        let runs = [0, 1].map(|_| simulate(seed, Sabotage::None, Story::Silent).map(|stats| stats.events));
        assert_eq!(runs[0].as_ref().ok(), runs[1].as_ref().ok(), "seed {seed}");
    }
}

/// Finds a seed in which the planted bug is caught by the rule.
fn assert_caught(bug: Sabotage, rule: &str) {
    let mut others = std::collections::BTreeMap::new();
    for seed in 0..SEEDS_OF_A_BUG {
        if let Err(failure) = simulate(seed, bug, Story::Silent) {
            if failure.violation.invariant == rule {
                return;
            }
            *others.entry(failure.violation.invariant).or_insert(0) += 1;
        }
    }
    panic!("{bug:?} breaks `{rule}` in no seed; caught by others: {others:?}");
}

macro_rules! caught {
    ($($test:ident: $bug:ident breaks $rule:literal;)*) => {$(
        #[test]
        fn $test() {
            assert_caught(Sabotage::$bug, $rule);
        }
    )*};
}

caught! {
    given_exits_that_are_missed_when_run_then_it_is_caught: DropExits breaks "every_process_is_accounted_for";
    given_groups_that_are_not_empty_when_run_then_it_is_caught: LieAboutGroups breaks "nothing_is_left_when_down";
    given_children_made_twice_when_run_then_it_is_caught: SpawnTwice breaks "one_process_a_role";
    given_a_kill_mode_forgotten_when_run_then_it_is_caught: ForgetKillMode breaks "kill_mode_is_respected";
    given_an_order_forgotten_when_run_then_starts_are_caught: ForgetOrder breaks "starts_follow_their_order";
    given_an_order_forgotten_when_run_then_stops_are_caught: ForgetOrder breaks "stops_reverse_their_order";
    given_an_order_invented_when_run_then_it_is_caught: InventOrder breaks "nothing_waits_without_reason";
    given_requirements_forgotten_when_run_then_it_is_caught: ForgetRequires breaks "requirements_hold";
    given_conflicts_forgotten_when_run_then_it_is_caught:
        ForgetConflicts breaks "conflicting_units_are_not_up_together";
    given_bindings_forgotten_when_run_then_it_is_caught: ForgetBindsTo breaks "bound_units_go_together";
    given_readiness_forgotten_when_run_then_it_is_caught: ForgetReadiness breaks "started_means_ready";
    given_a_start_limit_forgotten_when_run_then_it_is_caught: ForgetStartLimit breaks "start_limit_holds";
    given_triggers_forgotten_when_run_then_readers_are_caught: ForgetTriggers breaks "a_socket_has_one_reader";
    given_watches_lost_when_run_then_it_is_caught: LoseWatches breaks "a_listening_socket_is_watched";
    given_an_answer_doubled_when_run_then_it_is_caught: ReplyTwice breaks "each_request_has_one_answer";
    given_an_answer_lost_when_run_then_it_is_caught: LoseReplies breaks "every_request_was_answered";
    given_a_wrong_answer_when_run_then_it_is_caught: LieInReplies breaks "answers_tell_the_truth";
    given_a_boot_done_twice_when_run_then_it_is_caught: BootTwice breaks "booted_once";
    given_a_boot_never_done_when_run_then_it_is_caught: NeverBoot breaks "the_boot_ends";
    given_a_shutdown_missed_when_run_then_it_is_caught: MissShutdown breaks "nothing_starts_in_a_shutdown";
    given_an_early_end_when_run_then_it_is_caught: FinishEarly breaks "finish_means_finished";
    given_an_end_that_is_none_when_run_then_it_is_caught: FinishTwice breaks "finish_is_the_last_word";
    given_a_clock_that_stands_when_run_then_it_is_caught: StopTheClock breaks "a_stop_always_ends";
    given_deadlines_in_the_past_when_run_then_it_is_caught: Hurry breaks "time_moves_on";
    given_changes_hidden_when_run_then_it_is_caught: HideChanges breaks "rows_are_told";
    given_miscounts_when_run_then_it_is_caught: Miscount breaks "counters_are_right";
    given_a_server_with_two_connections_when_run_then_it_is_caught:
        AcceptForAnyone breaks "a_connection_has_one_server";
    given_a_reload_that_forgets_when_run_then_it_is_caught: ReloadByForgetting breaks "a_reload_touches_nothing";
    given_a_reload_by_index_when_run_then_it_is_caught: ReloadByIndex breaks "a_reload_touches_nothing";
    given_no_time_for_actions_when_run_then_it_is_caught: FloodOfEvents breaks "no_action_is_lost";
}

#[test]
fn given_the_rules_when_listed_then_each_has_a_planted_bug() {
    let (rules, bugs) = (include_str!("invariants/mod.rs"), include_str!("main.rs"));
    let names = rules.split("hold!(self.").skip(1).filter_map(|rest| rest.split('(').next());
    let lacking: Vec<&str> = names.filter(|name| !bugs.contains(&format!("breaks \"{name}\""))).collect();
    assert!(lacking.is_empty(), "no planted bug for {lacking:?}");
}

impl Stats {
    fn add(&mut self, other: Stats) {
        self.events += other.events;
        self.spawns += other.spawns;
        self.restarts += other.restarts;
        self.failures += other.failures;
        self.booted += other.booted;
        self.reloads += other.reloads;
    }
}
