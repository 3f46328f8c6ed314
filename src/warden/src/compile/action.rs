//! SuccessAction=, FailureAction= and StartLimitAction= of [Unit]: the end of a unit is the end of the guest.
//!
//! Init knows none of them. A unit that has one gets a companion, `hostel-action@UNIT.service`, which its end starts as
//! OnSuccess= and OnFailure= would; it runs `hostel-warden act-on`, which looks at how the unit ended and has init end the
//! guest. All is done in order: services are stopped also where `-force` and `-immediate` say that they need not be.
//!
//! Pure.

use super::directive::Directive;
use super::draft::Draft;
use super::name::{UnitName, escape};
use hostel_contract::{ShutdownKind, paths};
use hostel_plan::model::CommandModel;
use hostel_plan::{EdgeKind, Phase, ServiceType, SettingKey, command_flags};

/// What the end of a unit brings about; none: nothing.
#[derive(Debug, Default)]
pub struct Actions {
    success: Option<ShutdownKind>,
    failure: Option<ShutdownKind>,
    start_limit: Option<ShutdownKind>,
}

/// Takes a directive. False where it is none of these.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    let action = match d.key {
        "SuccessAction" => &mut draft.actions.success,
        "FailureAction" => &mut draft.actions.failure,
        "StartLimitAction" => &mut draft.actions.start_limit,
        _ => return false,
    };
    if d.is_reset() {
        *action = None;
    } else if let Some(kind) = d.choice(parse, "write none, exit, poweroff, reboot or halt") {
        *action = kind;
    }
    true
}

/// Actions of systemd.unit(5). What a guest has no second kernel or root for is a reboot. Its exit status is init's.
fn parse(text: &str) -> Option<Option<ShutdownKind>> {
    let plain = text.strip_suffix("-force").or_else(|| text.strip_suffix("-immediate")).unwrap_or(text);
    Some(match plain {
        "none" => None,
        "exit" | "poweroff" => Some(ShutdownKind::PowerOff),
        "reboot" | "soft-reboot" | "kexec" => Some(ShutdownKind::Reboot),
        "halt" => Some(ShutdownKind::Halt),
        _ => return None,
    })
}

/// The companion of a unit that needs one, which is named by the unit from now on.
pub fn companion(draft: &mut Draft) -> Option<Draft> {
    let Actions { success, failure, start_limit } = draft.actions;
    let by_failure = failure.is_some() || start_limit.is_some();
    if success.is_none() && !by_failure {
        return None;
    }
    let unit = draft.name.full();
    let name = UnitName::parse(&format!("hostel-action@{}.service", escape(unit)))?;
    let mut argv = vec!["hostel-warden".to_owned(), "act-on".to_owned(), unit.to_owned()];
    for (option, action) in [("success", success), ("failure", failure), ("start-limit", start_limit)] {
        argv.extend(action.map(|kind| format!("--{option}={}", kind.name())));
    }
    argv.push(format!("--restart={}", draft.model.restart.name()));
    let mut companion = Draft::new(&name);
    companion.default_dependencies = false;
    companion.model.service_type = ServiceType::Oneshot;
    companion.settings().push((SettingKey::Description, format!("Action at the end of {unit}")));
    let path = format!("{}/hostel-warden", paths::BIN);
    let command = CommandModel { flags: command_flags::NO_EXPAND, path, argv };
    companion.model.commands.push((Phase::Start, command));
    if success.is_some() {
        draft.edge(EdgeKind::OnSuccess, &name);
    }
    if by_failure {
        draft.edge(EdgeKind::OnFailure, &name);
    }
    Some(companion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_actions_of_systemd_when_read_then_each_is_an_end_or_none() {
        let ends = [
            ("none", None),
            ("exit-force", Some(ShutdownKind::PowerOff)),
            ("poweroff-immediate", Some(ShutdownKind::PowerOff)),
            ("soft-reboot", Some(ShutdownKind::Reboot)),
            ("halt", Some(ShutdownKind::Halt)),
        ];
        for (text, end) in ends {
            assert_eq!(parse(text), Some(end), "{text}");
        }
        assert_eq!(parse("explode"), None);
    }

    #[test]
    fn given_a_unit_with_an_action_when_its_companion_is_made_then_its_end_starts_it() {
        let mut draft = Draft::new(&UnitName::parse("a-b.service").unwrap());
        assert!(companion(&mut draft).is_none());
        draft.actions.failure = Some(ShutdownKind::Reboot);
        let companion = companion(&mut draft).unwrap();
        let name = "hostel-action@a\\x2db.service.service";
        assert_eq!(companion.name.full(), name);
        assert_eq!(draft.model.edges, [(EdgeKind::OnFailure, name.to_owned())]);
        let argv = &companion.model.commands[0].1.argv;
        assert_eq!(argv[1..], ["act-on", "a-b.service", "--failure=reboot", "--restart=no"]);
    }
}
