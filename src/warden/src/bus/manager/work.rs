//! Jobs: start, stop and the like.
//!
//! What systemd refuses is refused here, in its words, from what the plan and the files say; the rest is init's.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::init::{self, Asked};
use super::super::jobs::{JobKind, result_word};
use super::super::path;
use super::super::property;
use super::super::server::Server;
use super::super::value::Value;
use super::super::world::Subject;
use super::units::{first, full_name, plan_name, unit_name};
use super::{ending, isolate};
use crate::requests::utmp;
use hostel_contract::control::{ControlOp, ControlReply, ControlResult};
use hostel_contract::paths::WANTED;
use hostel_contract::status::ActiveState;
use hostel_plan::{EdgeKind, UnitId, unit_flags};
use std::collections::BTreeSet;
use std::path::Path;

/// Modes of jobs: systemctl(1), `--job-mode=`.
const MODES: &[&str] = &[
    "fail",
    "replace",
    "replace-irreversibly",
    "isolate",
    "flush",
    "ignore-dependencies",
    "ignore-requirements",
    "triggering",
    "restart-dependencies",
];

/// What is asked of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Reload it.
    Reload,
    /// Restart it.
    Restart,
    /// Restart it if it runs.
    TryRestart,
    /// Reload it if it can, else restart it.
    ReloadOrRestart,
    /// The same if it runs.
    ReloadOrTryRestart,
}

impl Verb {
    fn of(word: &str) -> Option<Verb> {
        Some(match word {
            "start" => Verb::Start,
            "stop" => Verb::Stop,
            "reload" => Verb::Reload,
            "restart" => Verb::Restart,
            "try-restart" => Verb::TryRestart,
            "reload-or-start" => Verb::ReloadOrRestart,
            _ => return None,
        })
    }

    /// What it comes to for a unit as it is.
    fn resolve(self, subject: &Subject<'_>) -> Verb {
        let can_reload = property::can_reload(subject) && !subject.is_down();
        match self {
            Verb::ReloadOrRestart | Verb::ReloadOrTryRestart if can_reload => Verb::Reload,
            Verb::ReloadOrRestart => Verb::Restart,
            Verb::ReloadOrTryRestart => Verb::TryRestart,
            other => other,
        }
    }

    fn op(self) -> ControlOp {
        match self {
            Verb::Start => ControlOp::Start,
            Verb::Stop => ControlOp::Stop,
            Verb::Reload => ControlOp::Reload,
            Verb::Restart | Verb::ReloadOrRestart => ControlOp::Restart,
            Verb::TryRestart | Verb::ReloadOrTryRestart => ControlOp::TryRestart,
        }
    }

    fn kind(self) -> JobKind {
        match self {
            Verb::Start => JobKind::Start,
            Verb::Stop => JobKind::Stop,
            Verb::Reload => JobKind::Reload,
            _ => JobKind::Restart,
        }
    }
}

/// The answer to a method that makes a job.
fn made(server: &mut Server, call: &Call, verb: Verb) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    server.tell_of_jobs(&call.origin);
    answered(enqueue(server, &unit, verb, call.text(first(call)))?, call, &unit)
}

/// The answer with a job's path.
fn answered(made: Made, call: &Call, unit: &str) -> Result<Answer, Failure> {
    match made {
        Made::Job(id) => Ok(Answer::Now(vec![Value::path(path::of_job(id))])),
        Made::NeedsPlan if call.reloaded => Err(not_in_plan(unit)),
        Made::NeedsPlan => Ok(Answer::AfterReload),
    }
}

/// What becomes of a wish for a job.
pub enum Made {
    /// There is one, of this number.
    Job(u32),
    /// The unit has files, but is not in the plan in force.
    NeedsPlan,
}

/// A unit that no new plan has either.
pub fn not_in_plan(unit: &str) -> Failure {
    let text =
        format!("Unit {unit} can't be made part of the plan: see {}", hostel_contract::paths::COMPILE_LOG);
    Failure::new(name::NO_SUCH_UNIT, text)
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $method:ident => $verb:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $method(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
            made(server, call, Verb::$verb)
        }
    )*};
}
verbs! {
    /// `StartUnit`.
    start => Start,
    /// `StopUnit`.
    stop => Stop,
    /// `ReloadUnit`.
    reload => Reload,
    /// `RestartUnit`.
    restart => Restart,
    /// `TryRestartUnit`.
    try_restart => TryRestart,
    /// `ReloadOrRestartUnit`.
    reload_or_restart => ReloadOrRestart,
    /// `ReloadOrTryRestartUnit`.
    reload_or_try_restart => ReloadOrTryRestart,
}

/// `StartUnitReplace`: of a job that waits for one unit, a job for another is made.
pub fn start_replace(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let old = unit_name(call.text(0))?;
    if server.jobs.of_unit(&old).is_none_or(|(_, job)| job.kind != JobKind::Start) {
        return Err(Failure::new(name::NO_SUCH_JOB, format!("No job queued for unit {old}")));
    }
    let unit = unit_name(call.text(1))?;
    server.tell_of_jobs(&call.origin);
    answered(enqueue(server, &unit, Verb::Start, call.text(2))?, call, &unit)
}

/// `EnqueueUnitJob`, and `EnqueueJob` of a unit: with what the job is, and, unknown to us, what it pulled in.
pub fn enqueue_job(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let at = first(call);
    let word = call.text(at);
    let verb = Verb::of(word).ok_or_else(|| Failure::invalid(format!("Job type {word} invalid")))?;
    server.tell_of_jobs(&call.origin);
    let id = match enqueue(server, &unit, verb, call.text(at + 1))? {
        Made::Job(id) => id,
        Made::NeedsPlan if call.reloaded => return Err(not_in_plan(&unit)),
        Made::NeedsPlan => return Ok(Answer::AfterReload),
    };
    let unit = server.world.subject(&unit).name.clone();
    Ok(Answer::Now(vec![
        id.into(),
        Value::path(path::of_job(id)),
        Value::from(unit.as_str()),
        Value::path(path::of_unit(&unit)),
        verb.kind().word().into(),
        Value::array("(uosos)", []),
    ]))
}

/// Is this a mode that jobs have?
pub fn check_mode(mode: &str) -> Result<(), Failure> {
    let known = MODES.contains(&mode);
    if known { Ok(()) } else { Err(Failure::invalid(format!("Job mode {mode} invalid"))) }
}

/// Makes a job, and gives its number.
pub fn enqueue(server: &mut Server, unit: &str, verb: Verb, mode: &str) -> Result<Made, Failure> {
    check_mode(mode)?;
    if verb == Verb::Start
        && let Some(kind) = ending::kind_of_target(unit)
    {
        return Ok(Made::Job(ending::by_target(server, unit, kind)));
    }
    let subject = server.world.subject(unit);
    let verb = verb.resolve(&subject);
    admit(&subject, unit, verb, mode)?;
    let (in_plan, was_up) = (subject.id.is_some(), !subject.is_down());
    let unit = subject.name.clone();
    if !in_plan && matches!(verb, Verb::TryRestart | Verb::Stop) {
        return Ok(Made::Job(server.jobs.over(&unit, "done", &mut server.events)));
    }
    let Some(id) = server.world.find(&unit) else {
        want(&unit)?;
        return Ok(Made::NeedsPlan);
    };
    let unit = plan_name(server, id);
    if mode == "fail" {
        replaces_nothing(server, &unit, verb)?;
    }
    if mode == "isolate" {
        if let Some(failure) = lacking(server, &unit) {
            return Err(failure);
        }
        isolate::stop_others(&server.world, id)?;
        utmp::changed(Path::new("/"), utmp::level_of_target(&unit));
    }
    forget_starts(server, id, &unit, verb)?;
    let id = match init::ask(verb.op(), 0, 0, &unit)? {
        Asked::Waits(client) => {
            let id = server.wait_for_job(&unit, verb.kind(), client);
            server.observe();
            id
        }
        Asked::Ended(reply) => ended(server, &unit, verb, was_up, &reply)?,
    };
    Ok(Made::Job(id))
}

/// systemd forgets a unit that is down and that nothing names, and with it how often it was started: a start by hand then
/// counts as its first. Init keeps all units.
fn forget_starts(server: &Server, id: UnitId, unit: &str, verb: Verb) -> Result<(), Failure> {
    let starts = matches!(verb, Verb::Start | Verb::Restart);
    if starts && server.world.row(id).started_ms != 0 && !server.world.is_loaded(unit) {
        init::ask(ControlOp::ResetFailed, 0, 0, unit)?;
    }
    Ok(())
}

/// Job mode `fail`: a job that is there is not to be replaced by another one.
fn replaces_nothing(server: &Server, unit: &str, verb: Verb) -> Result<(), Failure> {
    let kind = verb.kind();
    let there = server.jobs.of_unit(unit).map(|(_, job)| job.kind).filter(|there| *there != kind);
    there.map_or(Ok(()), |there| {
        let (word, there) = (kind.word(), there.word());
        let text = format!(
            "Transaction for {unit}/{word} is destructive ({unit} has '{there}' job queued, but '{word}' is included in \
             transaction)."
        );
        Err(Failure::new("org.freedesktop.systemd1.TransactionIsDestructive", text))
    })
}

/// Has the next plan take a unit in, also if nothing else names it.
fn want(unit: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(WANTED)?;
    Ok(std::fs::write(Path::new(WANTED).join(unit), "")?)
}

/// What systemd refuses before any job is thought of: manager_add_job and unit_load's errors.
fn admit(subject: &Subject<'_>, asked: &str, verb: Verb, mode: &str) -> Result<(), Failure> {
    let unit = &subject.name;
    let load = subject.load_state();
    if verb == Verb::Stop && load == "not-found" && subject.is_down() {
        return Err(super::query::not_loaded(asked));
    }
    if mode == "isolate" && verb != Verb::Start {
        return Err(Failure::invalid("Isolate is only valid for start."));
    }
    if mode == "isolate" && !property::allows_isolate(subject) {
        let text = "Operation refused, unit may not be isolated.";
        return Err(Failure::new(name::NO_ISOLATION, text));
    }
    let stops = matches!(verb, Verb::Stop | Verb::Restart | Verb::TryRestart);
    let starts = matches!(verb, Verb::Start | Verb::Restart | Verb::TryRestart);
    if verb != Verb::Stop {
        match load {
            "masked" => return Err(Failure::new(name::UNIT_MASKED, format!("Unit {unit} is masked."))),
            "not-found" => {
                return Err(Failure::new(name::NO_SUCH_UNIT, format!("Unit {unit} not found.")));
            }
            "bad-setting" => {
                let text = format!("Unit {unit} has a bad unit file setting.");
                return Err(Failure::new(name::BAD_UNIT_SETTING, text));
            }
            _ => {}
        }
    }
    if (starts && subject.has(unit_flags::REFUSE_MANUAL_START))
        || (stops && subject.has(unit_flags::REFUSE_MANUAL_STOP))
    {
        let text = format!(
            "Operation refused, unit {unit} may be requested by dependency only (it is configured to refuse manual \
             start/stop)."
        );
        return Err(Failure::new(name::ONLY_BY_DEPENDENCY, text));
    }
    if verb == Verb::Reload && !property::can_reload(subject) {
        let text = format!("Job type reload is not applicable for unit {unit}.");
        return Err(Failure::new(name::NOT_APPLICABLE, text));
    }
    Ok(())
}

/// A job that was over at once, or none that could be made.
fn ended(
    server: &mut Server,
    unit: &str,
    verb: Verb,
    was_up: bool,
    reply: &ControlReply,
) -> Result<u32, Failure> {
    let result = ControlResult::from_code(reply.result).unwrap_or(ControlResult::Failed);
    let word = match (result, verb) {
        (ControlResult::NoSuchUnit, _) => {
            return Err(Failure::new(name::NO_SUCH_UNIT, format!("Unit {unit} not found.")));
        }
        (ControlResult::Denied, _) => return Err(Failure::denied()),
        (ControlResult::Busy, _) => return Err(Failure::new(name::LIMITS, "Too many requests at once.")),
        (ControlResult::Refused, _) => {
            let text = reply.words();
            let text = if text.is_empty() { "Operation refused by init" } else { text };
            return Err(Failure::new(name::SHUTTING_DOWN, text));
        }
        // systemctl has words of its own for this one.
        (ControlResult::Failed, Verb::Reload) if !was_up => "invalid",
        (ControlResult::Dependency, _) => match lacking(server, unit) {
            Some(failure) => return Err(failure),
            None => result_word(result),
        },
        (result, _) => server.end_word(unit, result),
    };
    server.observe();
    Ok(server.jobs.over(unit, word, &mut server.events))
}

/// Why what a unit requires can't be had at all.
fn lacking(server: &Server, unit: &str) -> Option<Failure> {
    let plan = server.world.plan()?;
    let mut seen = BTreeSet::new();
    let mut asked = vec![plan.find(unit)?.id()];
    while let Some(unit) = asked.pop().and_then(|id| plan.unit(id)) {
        for kind in [EdgeKind::Requires, EdgeKind::BindsTo, EdgeKind::Requisite] {
            for other in unit.edges(kind).filter_map(|id| plan.unit(id)) {
                let name = other.name();
                if other.has(unit_flags::NOT_FOUND) {
                    return Some(Failure::new(name::NO_SUCH_UNIT, format!("Unit {name} not found.")));
                }
                if other.has(unit_flags::MASKED) {
                    return Some(Failure::new(name::UNIT_MASKED, format!("Unit {name} is masked.")));
                }
                if seen.insert(other.id()) {
                    asked.push(other.id());
                }
            }
        }
    }
    None
}

/// `CancelJob`, and `Cancel` of a job: init's own jobs can't be taken back, but by another job in their place.
pub fn cancel(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let id = match path::object(&call.message.path) {
        path::Object::Job(id) => id,
        _ => call.number(0) as u32,
    };
    take_back(server, id)?;
    Ok(Answer::Now(vec![]))
}

fn take_back(server: &mut Server, id: u32) -> Result<(), Failure> {
    let missing = || Failure::new(name::NO_SUCH_JOB, format!("Job {id} does not exist."));
    let job = server.jobs.get(id).ok_or_else(missing)?;
    let (unit, kind) = (job.unit.clone(), job.kind);
    let up = server.world.find(&unit).map(|id| server.world.row(id).active);
    // A start that has not begun is called off by a stop of what does not run.
    if kind == JobKind::Start && up == Some(ActiveState::Inactive.code()) {
        return enqueue(server, &unit, Verb::Stop, "replace").map(drop);
    }
    Err(Failure::unsupported("cancelling a job that has begun"))
}

/// `ClearJobs`.
pub fn clear_jobs(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    let all: Vec<u32> = server.jobs.iter().map(|(id, _)| id).collect();
    for id in all {
        // One may have gone with another.
        if server.jobs.get(id).is_some() {
            take_back(server, id)?;
        }
    }
    Ok(Answer::Now(vec![]))
}

/// `EnqueueMarkedJobs`: units can't be marked.
pub fn enqueue_marked(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(Answer::Now(vec![Value::array("o", [])]))
}
