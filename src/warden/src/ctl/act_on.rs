//! `act-on UNIT [--success=KIND] [--failure=KIND] [--start-limit=KIND] [--restart=POLICY]`: ends the guest if the end of a
//! unit is one that asks for it. `compile::action` says who runs this, and why.

use super::{Arguments, Refusal, page, shutdown_kind};
use hostel_contract::ShutdownKind;
use hostel_contract::status::{ActiveState, StatusRow, UnitResult};
use hostel_plan::Restart;
use std::time::Duration;

/// Looks at the page, and the pause between two: init writes it behind the start that this is part of.
const LOOKS: (u32, Duration) = (50, Duration::from_millis(2));

/// What a unit's end brings about, as the command line has it.
#[derive(Default)]
struct Actions {
    success: Option<ShutdownKind>,
    failure: Option<ShutdownKind>,
    start_limit: Option<ShutdownKind>,
    restart: Option<Restart>,
}

/// Runs the applet.
pub fn run(arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    let [unit] = arguments.rest.as_slice() else { return Err(Refusal::usage("name one unit")) };
    let actions = read(&arguments.options)?;
    let (looks, pause) = LOOKS;
    for _ in 0..looks {
        let page = page::read()?;
        let row = page.units.iter().find(|known| known.name.lossy() == *unit).map(|known| known.row);
        let Some(row) = row else { return Err(Refusal::failed(format!("{unit}: no such unit"))) };
        if row.active == ActiveState::Inactive.code() || row.active == ActiveState::Failed.code() {
            return match choose(&actions, &row) {
                Some(kind) => {
                    println!("{unit} has ended: the guest is to follow ({})", kind.name());
                    super::end(kind)
                }
                None => Ok(0),
            };
        }
        std::thread::sleep(pause);
    }
    // It runs again.
    Ok(0)
}

fn read(options: &[&str]) -> Result<Actions, Refusal> {
    let mut actions = Actions::default();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "--success" => actions.success = Some(shutdown_kind(value)?),
            "--failure" => actions.failure = Some(shutdown_kind(value)?),
            "--start-limit" => actions.start_limit = Some(shutdown_kind(value)?),
            "--restart" => actions.restart = Restart::from_name(value),
            _ => return Err(Refusal::usage(format!("unknown option `{option}`"))),
        }
    }
    Ok(actions)
}

/// The action that fits how the unit ended. One that is to be started again, and was not, was started too often: its
/// result is still that of its last life.
fn choose(actions: &Actions, row: &StatusRow) -> Option<ShutdownKind> {
    let result = UnitResult::from_code(row.result)?;
    if row.active != ActiveState::Failed.code() {
        return actions.success.filter(|_| result == UnitResult::Success);
    }
    let again = match actions.restart {
        None | Some(Restart::No | Restart::OnSuccess) => false,
        Some(Restart::Always | Restart::OnFailure) => true,
        Some(Restart::OnAbnormal) => result != UnitResult::ExitCode,
        Some(Restart::OnAbort) => matches!(result, UnitResult::Signal | UnitResult::CoreDump),
        Some(Restart::OnWatchdog) => result == UnitResult::Watchdog,
    };
    let too_often = again || result == UnitResult::StartLimit;
    actions.start_limit.filter(|_| too_often).or(actions.failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::page::no_row;

    fn row(active: ActiveState, result: UnitResult) -> StatusRow {
        StatusRow { active: active.code(), result: result.code(), ..no_row() }
    }

    #[test]
    fn given_how_a_unit_ended_then_the_action_that_fits_is_chosen() {
        let options = ["--success=poweroff", "--failure=reboot", "--start-limit=halt", "--restart=on-abort"];
        let actions = read(&options).unwrap_or_default();
        let chosen = |active, result| choose(&actions, &row(active, result));
        assert_eq!(chosen(ActiveState::Inactive, UnitResult::Success), Some(ShutdownKind::PowerOff));
        assert_eq!(chosen(ActiveState::Inactive, UnitResult::ConditionFalse), None);
        assert_eq!(chosen(ActiveState::Failed, UnitResult::ExitCode), Some(ShutdownKind::Reboot));
        assert_eq!(chosen(ActiveState::Failed, UnitResult::Signal), Some(ShutdownKind::Halt));
        assert_eq!(chosen(ActiveState::Failed, UnitResult::StartLimit), Some(ShutdownKind::Halt));
    }

    #[test]
    fn given_no_action_for_an_end_then_the_guest_goes_on() {
        let actions = read(&["--success=poweroff"]).unwrap_or_default();
        assert_eq!(choose(&actions, &row(ActiveState::Failed, UnitResult::ExitCode)), None);
    }
}
