//! What polkit is told of a call beside the action: the unit and the verb, by which an administrator's rules decide
//! (`action.lookup("unit")`), and the sentence that an agent shows. As systemd's bus_verify_manage_units_async_full.

use super::super::message::Message;
use super::super::path::{self, Object};
use super::super::value::Value;
use super::super::world::World;

/// Methods of a unit (those of the manager have `Unit` behind their names), the verb, and what it is required for.
const TOLD: &[(&str, &str, &str)] = &[
    ("Start", "start", "start '$(unit)'"),
    ("Stop", "stop", "stop '$(unit)'"),
    ("Reload", "reload", "reload '$(unit)'"),
    ("Restart", "restart", "restart '$(unit)'"),
    ("TryRestart", "try-restart", "restart '$(unit)'"),
    ("ReloadOrRestart", "reload-or-restart", "restart '$(unit)'"),
    ("ReloadOrTryRestart", "reload-or-try-restart", "restart '$(unit)'"),
    ("Kill", "kill", "send a UNIX signal to the processes of '$(unit)'"),
    ("ResetFailed", "reset-failed", "reset the \"failed\" state of '$(unit)'"),
    ("SetProperties", "set-property", "set properties on '$(unit)'"),
    ("Clean", "clean", "delete files and directories associated with '$(unit)'"),
    ("Freeze", "freeze", "freeze the processes of '$(unit)' unit"),
    ("Thaw", "thaw", "thaw the processes of '$(unit)' unit"),
];

/// The details of a call, for `CheckAuthorization`; none where it is about no unit.
pub fn details(world: &mut World, message: &Message) -> Vec<(&'static str, String)> {
    let Some((unit, verb, purpose)) = told(message) else { return Vec::new() };
    world.look();
    vec![
        ("unit", world.subject(&unit).name),
        ("verb", verb.to_owned()),
        ("polkit.message", format!("Authentication is required to {purpose}.")),
        ("polkit.gettext_domain", "systemd".to_owned()),
    ]
}

/// The unit as the caller names it, the verb, and what permission is required for.
fn told(message: &Message) -> Option<(String, &'static str, &'static str)> {
    let argument = |at: usize| message.body.get(at).and_then(Value::text);
    let member = message.member.strip_suffix("WithFlags").unwrap_or(&message.member);
    let (unit, method, next) = match path::object(&message.path) {
        Object::Manager => (argument(0)?.to_owned(), member.replacen("Unit", "", 1), 1),
        Object::Unit(unit) => (unit, member.to_owned(), 0),
        _ => return None,
    };
    let row = match method.as_str() {
        // The verb is an argument.
        "EnqueueJob" => TOLD.iter().find(|(_, verb, _)| Some(*verb) == argument(next))?,
        method => TOLD.iter().find(|(name, _, _)| *name == method)?,
    };
    Some((unit, row.1, row.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(path: &str, member: &str, body: &[&str]) -> Option<(String, &'static str)> {
        let body = body.iter().map(|text| Value::from(*text)).collect();
        let message = Message::call("", path, "", member, body);
        told(&message).map(|(unit, verb, _)| (unit, verb))
    }

    #[test]
    fn given_calls_about_a_unit_when_polkit_is_asked_then_it_is_told_the_unit_and_the_verb() {
        let of_unit = path::of_unit("a.service");
        let cases: &[(&str, &str, &[&str], &str)] = &[
            (path::MANAGER, "StartUnit", &["a.service", "replace"], "start"),
            (path::MANAGER, "StartUnitWithFlags", &["a.service", "replace"], "start"),
            (path::MANAGER, "ReloadOrTryRestartUnit", &["a.service", "replace"], "reload-or-try-restart"),
            (path::MANAGER, "EnqueueUnitJob", &["a.service", "stop", "replace"], "stop"),
            (path::MANAGER, "SetUnitProperties", &["a.service"], "set-property"),
            (path::MANAGER, "ResetFailedUnit", &["a.service"], "reset-failed"),
            (&of_unit, "Restart", &["replace"], "restart"),
            (&of_unit, "EnqueueJob", &["reload", "replace"], "reload"),
        ];
        for (path, member, body, verb) in cases {
            assert_eq!(told_of(path, member, body), Some(("a.service".into(), *verb)), "{member}");
        }
    }

    #[test]
    fn given_calls_about_no_unit_when_polkit_is_asked_then_there_is_nothing_to_tell() {
        for (member, body) in
            [("ResetFailed", &[][..]), ("Reload", &[]), ("StartTransientUnit", &["a.service"])]
        {
            assert_eq!(told_of(path::MANAGER, member, body), None, "{member}");
        }
    }
}
