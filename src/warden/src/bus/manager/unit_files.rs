//! Unit files: what there is and what is enabled; reading them anew.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::init::{self, Asked};
use super::super::server::Server;
use super::super::value::{Value, structure};
use super::units::unit_name;
use glob::Pattern;
use hostel_contract::control::{ControlOp, ControlResult};

/// What is said where a unit can't be started before the plan has it.
pub const HINT: &str = "run systemctl daemon-reload";

/// Has init take a new plan.
pub fn reload_plan(server: &mut Server) -> Result<(), Failure> {
    match init::ask(ControlOp::ReloadPlan, 0, 0, "")? {
        Asked::Ended(reply) if reply.result == ControlResult::Done.code() => {}
        Asked::Ended(reply) => return Err(Failure::new(name::FAILED, reply.text.lossy())),
        Asked::Waits(mut client) => {
            let reply = client.receive_end()?;
            if reply.result != ControlResult::Done.code() {
                return Err(Failure::new(name::FAILED, reply.text.lossy()));
            }
        }
    }
    server.world.forget_files();
    server.look();
    Ok(())
}

/// `Reload`.
pub fn reload(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    reload_plan(server)?;
    Ok(Answer::Now(vec![]))
}

/// `Reexecute`: init needs none of it; its tools are content when the connection lives.
pub fn reexecute(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    reload(server, call)
}

/// `GetUnitFileState`.
pub fn get_state(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = unit_name(call.text(0))?;
    match server.install().state(&unit) {
        Some(state) => Ok(Answer::Now(vec![state.into()])),
        None => Err(Failure::new(name::FILE_NOT_FOUND, "No such file or directory")),
    }
}

/// `GetDefaultTarget`.
pub fn get_default(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(Answer::Now(vec![server.world.files().canonical("default.target").into()]))
}

fn list(server: &Server, takes: impl Fn(&str, &str) -> bool) -> Answer {
    let install = server.install();
    let lookup = server.world.files();
    let mut names: Vec<&str> = lookup.names().collect();
    names.sort_unstable();
    let rows = names.into_iter().filter_map(|unit| {
        let state = install.state(unit).filter(|state| takes(unit, state))?;
        Some(structure![install.path(unit), state])
    });
    Answer::Now(vec![Value::array("(ss)", rows)])
}

/// `ListUnitFiles`.
pub fn list_files(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(list(server, |_, _| true))
}

/// `ListUnitFilesByPatterns`.
pub fn list_files_by_patterns(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let states = call.argument(0).texts();
    let patterns: Vec<Pattern> =
        call.argument(1).texts().iter().filter_map(|text| Pattern::new(text).ok()).collect();
    Ok(list(server, |unit, state| {
        (states.is_empty() || states.contains(&state))
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(unit)))
    }))
}
