//! The table of a unit's life, as a whole.

use hostel_supervisor::State;
use hostel_supervisor::life::{Cause, Step, decide};

#[test]
fn given_any_state_that_waits_when_its_time_is_over_then_it_is_left_or_its_wait_is_cut() {
    for &state in State::ALL {
        let step = decide(Cause::TimedOut, state);
        match state {
            // These have no time: nothing is waited for in them.
            State::Exited | State::Active => assert_eq!(step, Step::Impossible),
            _ => assert!(!matches!(step, Step::Stay | Step::Impossible | Step::Later), "{state:?}"),
        }
    }
}

#[test]
fn given_any_state_when_a_stop_comes_then_it_is_obeyed_joined_or_already_done() {
    for &state in State::ALL {
        let step = decide(Cause::Stop, state);
        let obeyed = matches!(
            step,
            Step::Already | Step::Join | Step::CancelRestart | Step::DownByCommands | Step::DownBySignal
        );
        assert!(obeyed, "{state:?}: {step:?}");
        assert_eq!(step == Step::Already, state.is_settled(), "{state:?}");
        assert_eq!(step == Step::Join, state.is_stopping() && state != State::Abort, "{state:?}");
    }
}

#[test]
fn given_a_state_on_the_way_down_when_anything_happens_then_nothing_leads_up_again() {
    for &state in State::ALL.iter().filter(|state| state.is_stopping()) {
        for cause in Cause::ALL {
            let step = decide(cause, state);
            let up = matches!(
                step,
                Step::Begin
                    | Step::NextUp
                    | Step::Launched
                    | Step::Executed
                    | Step::StartControlDone
                    | Step::ReadyAtStart
                    | Step::BeginReload
                    | Step::ReloadByItself
                    | Step::ReloadReady
            );
            assert!(!up, "{state:?}, {cause:?}: {step:?}");
        }
    }
}

#[test]
fn given_the_states_when_sorted_then_each_is_in_exactly_one_group() {
    for &state in State::ALL {
        let groups = [
            state.is_settled(),
            state.is_starting(),
            state.is_up(),
            state.is_stopping(),
            state == State::AutoRestart,
        ];
        assert_eq!(groups.iter().filter(|group| **group).count(), 1, "{state:?}");
    }
}
