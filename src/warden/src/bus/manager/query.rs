//! Methods that only tell: units, jobs, processes.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::jobs::{Job, JobKind, Jobs};
use super::super::path;
use super::super::property;
use super::super::server::Server;
use super::super::value::{Value, structure};
use super::super::world::Subject;
use super::units::{full_name, loadable_name, unit_name};
use glob::Pattern;
use hostel_plan::{EdgeKind, UnitId};

/// `GetUnit`: a unit that is loaded.
pub fn get_unit(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = unit_name(call.text(0))?;
    let found = server.world.find(&unit).and_then(|id| server.world.known(id));
    let found = found.filter(|subject| server.world.is_loaded(&subject.name));
    let subject = found.ok_or_else(|| not_loaded(&unit))?;
    Ok(Answer::Now(vec![Value::path(path::of_unit(&subject.name))]))
}

/// `LoadUnit`: any unit.
pub fn load_unit(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = loadable_name(call.text(0))?;
    let name = server.world.subject(&unit).name.clone();
    Ok(Answer::Now(vec![Value::path(path::of_unit(&name))]))
}

/// What is said of a unit that is not loaded.
pub fn not_loaded(unit: &str) -> Failure {
    Failure::new(name::NO_SUCH_UNIT, format!("Unit {unit} not loaded."))
}

/// `GetUnitByPID`; 0 is the caller's.
pub fn get_unit_by_pid(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let pid = call.number(0);
    let none =
        || Failure::new(name::NO_UNIT_FOR_PID, format!("PID {pid} does not belong to any loaded unit."));
    if pid == 1 {
        return Ok(Answer::Now(vec![Value::path(path::of_unit("init.scope"))]));
    }
    let unit = unit_of_process(server, pid as u32).ok_or_else(none)?;
    Ok(Answer::Now(vec![Value::path(path::of_unit(&unit))]))
}

/// The unit that a process belongs to: by its cgroup, or as a main process.
pub fn unit_of_process(server: &Server, pid: u32) -> Option<String> {
    let plan = server.world.plan()?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
    let by_group = plan.units().find(|unit| {
        let of_unit = unit.cgroup();
        !of_unit.is_empty()
            && (group == of_unit || group.strip_prefix(of_unit).is_some_and(|r| r.starts_with('/')))
            && !unit.name().ends_with(".slice")
    });
    let by_main = || plan.units().find(|unit| server.world.row(unit.id()).main_pid == pid);
    by_group.or_else(by_main).map(|unit| unit.name().to_owned())
}

/// `GetUnitByControlGroup`.
pub fn get_unit_by_control_group(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let group = call.text(0).trim_start_matches('/');
    let plan = server.world.plan();
    let found = plan.iter().flat_map(|plan| plan.units()).find(|unit| unit.cgroup() == group);
    let unit = found.ok_or_else(|| {
        let text = format!("Control group '{}' is not valid or not managed by this instance", call.text(0));
        Failure::new(name::NO_SUCH_UNIT, text)
    })?;
    Ok(Answer::Now(vec![Value::path(path::of_unit(unit.name()))]))
}

/// `GetUnitByInvocationID`.
pub fn get_unit_by_invocation(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let id: Vec<u8> = call.argument(0).items().iter().filter_map(|b| b.number().map(|b| b as u8)).collect();
    let plan = server.world.plan();
    let mut subjects =
        plan.iter().flat_map(|plan| plan.units()).filter_map(|unit| server.world.known(unit.id()));
    let found = subjects.find(|subject| property::invocation(subject).is_some_and(|own| own[..] == id[..]));
    let unit = found
        .ok_or_else(|| Failure::new(name::NO_SUCH_UNIT, "No unit with the specified invocation ID known."))?;
    Ok(Answer::Now(vec![Value::path(path::of_unit(&unit.name))]))
}

/// Number and word of a unit's job; 0 and nothing where it has none.
fn job_of(jobs: &Jobs, unit: &str) -> (u32, &'static str) {
    jobs.of_unit(unit).map_or((0, ""), |(id, job)| (id, job.kind.word()))
}

/// A row of `ListUnits`.
fn listed((id, word): (u32, &str), subject: &Subject<'_>) -> Value {
    structure![
        subject.name.as_str(),
        subject.description(),
        subject.load_state(),
        subject.active().name(),
        subject.sub().name(),
        "",
        Value::path(path::of_unit(&subject.name)),
        id,
        word,
        Value::path(if id == 0 { "/".into() } else { path::of_job(id) }),
    ]
}

const LISTED: &str = "(ssssssouso)";

/// Units of the plan that a filter takes.
fn list(server: &Server, takes: impl Fn(&Subject<'_>) -> bool) -> Answer {
    let count = server.world.plan().map_or(0, |plan| plan.len());
    let subjects = (0..count as u16).filter_map(|id| server.world.known(UnitId(id)));
    let loaded = subjects.filter(|subject| server.world.is_loaded(&subject.name));
    let taken = loaded.filter(|subject| takes(subject));
    let rows = taken.map(|subject| listed(job_of(&server.jobs, &subject.name), &subject));
    Answer::Now(vec![Value::array(LISTED, rows)])
}

/// Is one of these its load state, active state or substate? No state at all takes every unit.
fn in_states(subject: &Subject<'_>, states: &[&str]) -> bool {
    let own = [subject.load_state(), subject.active().name(), subject.sub().name()];
    states.is_empty() || states.iter().any(|state| own.contains(state))
}

/// `ListUnits`.
pub fn list_units(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(list(server, |_| true))
}

/// `ListUnitsFiltered`.
pub fn list_units_filtered(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let states = call.argument(0).texts();
    Ok(list(server, |subject| in_states(subject, &states)))
}

/// `ListUnitsByPatterns`.
pub fn list_units_by_patterns(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let states = call.argument(0).texts();
    let patterns: Vec<Pattern> =
        call.argument(1).texts().iter().filter_map(|text| Pattern::new(text).ok()).collect();
    let named = |subject: &Subject<'_>| {
        patterns.is_empty()
            || patterns.iter().any(|pattern| {
                pattern.matches(&subject.name)
                    || subject.unit.iter().any(|unit| {
                        unit.settings_of(hostel_plan::SettingKey::Alias).any(|alias| pattern.matches(alias))
                    })
            })
    };
    Ok(list(server, |subject| in_states(subject, &states) && named(subject)))
}

/// `ListUnitsByNames`.
pub fn list_units_by_names(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let names: Vec<String> =
        call.argument(0).texts().iter().filter_map(|text| unit_name(text).ok()).collect();
    let mut rows = Vec::new();
    for unit in names {
        let subject = server.world.subject(&unit);
        rows.push(listed(job_of(&server.jobs, &subject.name), &subject));
    }
    Ok(Answer::Now(vec![Value::array(LISTED, rows)]))
}

/// `ListJobs`.
pub fn list_jobs(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    let rows = server.jobs.iter().map(|(id, job)| listed_job(id, job));
    Ok(Answer::Now(vec![Value::array("(usssoo)", rows)]))
}

fn listed_job(id: u32, job: &Job) -> Value {
    let state = if job.running { "running" } else { "waiting" };
    let (job_path, unit_path) = (path::of_job(id), path::of_unit(&job.unit));
    structure![id, job.unit.as_str(), job.kind.word(), state, Value::path(job_path), Value::path(unit_path)]
}

/// `GetJobBefore` and `GetBefore` of a job: jobs that have to end before it begins; `GetJobAfter` and `GetAfter`: those
/// that wait for it. By the order of their units, as systemd's job_compare() has it.
pub fn job_neighbours(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let id = match path::object(&call.message.path) {
        path::Object::Job(id) => id,
        _ => call.number(0) as u32,
    };
    let missing = || Failure::new(name::NO_SUCH_JOB, format!("Job {id} does not exist."));
    let own = server.jobs.get(id).ok_or_else(missing)?;
    let wants_before = call.message.member.ends_with("Before");
    let plan = server.world.plan();
    let is_after = |first: &Job, second: &Job| {
        let plan = plan.as_ref()?;
        let (unit, other) = (plan.find(&first.unit)?, plan.find(&second.unit)?);
        Some(unit.edges(EdgeKind::After).any(|id| id == other.id()))
    };
    let goes_before = |other: &Job| match (is_after(own, other), is_after(other, own)) {
        (Some(true), _) => Some(first_of(own.kind)),
        (_, Some(true)) => Some(!first_of(other.kind)),
        _ => None,
    };
    let rows = server.jobs.iter().filter(|(other, _)| *other != id);
    let rows = rows.filter(|(_, job)| goes_before(job) == Some(wants_before));
    Ok(Answer::Now(vec![Value::array("(usssoo)", rows.map(|(id, job)| listed_job(id, job)))]))
}

/// Of jobs of two units in their order, by the second's: does the first go first? A stop of the second comes before all.
fn first_of(second: JobKind) -> bool {
    !matches!(second, JobKind::Stop | JobKind::Restart)
}

/// `GetJob`.
pub fn get_job(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let id = call.number(0) as u32;
    match server.jobs.get(id) {
        Some(_) => Ok(Answer::Now(vec![Value::path(path::of_job(id))])),
        None => Err(Failure::new(name::NO_SUCH_JOB, format!("Job {id} does not exist."))),
    }
}

/// `GetUnitProcesses`, and `GetProcesses` of a unit: cgroup, pid and command line of each.
pub fn get_processes(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let found = server.world.find(&unit).and_then(|id| server.world.known(id));
    let subject = found.ok_or_else(|| not_loaded(&unit))?;
    let group = subject.unit.as_ref().map_or("", |unit| unit.cgroup()).to_owned();
    let main = subject.row.main_pid;
    let mut rows = Vec::new();
    match super::units::cgroup_folder(&group) {
        Some(folder) => super::units::walk(&folder, &format!("/{group}"), &mut |group, pid| {
            rows.push(structure![group, pid, command_line(pid)]);
        }),
        // Without cgroups only the main process is known.
        None if main != 0 => rows.push(structure![format!("/{group}"), main, command_line(main)]),
        None => {}
    }
    Ok(Answer::Now(vec![Value::array("(sus)", rows)]))
}

fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> =
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let line = words.join(" ").trim_end().to_owned();
    if !line.is_empty() {
        return line;
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("[{}]", name.trim())
}

/// `Dump` and its kin: a text for people, which has no form to keep.
pub fn dump(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    let plan = server.world.plan();
    let line = |unit: hostel_plan::Unit<'_>| {
        server.world.known(unit.id()).map(|subject| {
            let (load, active, sub) = (subject.load_state(), subject.active().name(), subject.sub().name());
            format!(
                "-> Unit {}:\n\tLoad State: {load}\n\tUnit Active State: {active} ({sub})\n",
                subject.name
            )
        })
    };
    let text: String = plan.iter().flat_map(|plan| plan.units()).filter_map(line).collect();
    Ok(Answer::Now(vec![text.into()]))
}

/// `GetDynamicUsers`.
pub fn dynamic_users(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(Answer::Now(vec![Value::array("(us)", [])]))
}

/// `LookupDynamicUserByName` and `...ByUID`.
pub fn lookup_dynamic_user(_: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let text = match call.argument(0).text() {
        Some(user) => format!("Dynamic user {user} does not exist."),
        None => format!("Dynamic user ID {} does not exist.", call.number(0)),
    };
    Err(Failure::new("org.freedesktop.systemd1.NoSuchDynamicUser", text))
}
