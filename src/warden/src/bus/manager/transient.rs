//! Transient units: `StartTransientUnit`, and their end. systemd-run, logind and others make services, scopes, timers
//! and slices by it.
//!
//! The unit becomes a file in [`FOLDER`], a reload without generators takes it in, then it is started; what no file
//! can say is in a record beside it (`crate::transient`). The life of one, as this process sees it:
//! - *asked*: its file is there, and a plan with it is being made. Where that fails, the file goes again.
//! - *made*: its start job is made, or it belongs to a unit whose is. When nothing of it is left (it is inactive, has no
//!   job, is named by nothing that is there, and nobody holds a reference), its files go, and `UnitRemoved` is sent. A
//!   failed one stays until somebody resets it, unless `CollectMode=inactive-or-failed`.
//!
//! A successor of this process finds the files and takes all of them for made. Descriptors that came with a request
//! are held here until the unit has ended; a service whose streams they were can't be restarted by a successor.

use super::super::dispatch::{Answer, Call, Origin};
use super::super::error::{Failure, name};
use super::super::init;
use super::super::message::Message;
use super::super::path;
use super::super::server::Server;
use super::super::value::Value;
use super::assign::{self, Line, Unfit};
use super::units::{full_name, unit_name};
use super::work::{self, Made, Verb};
use crate::compile::lookup::{UnitName, complaints};
use crate::transient::{self, FOLDER, Record, STREAMS};
use hostel_contract::control::ControlOp;
use hostel_contract::paths;
use hostel_contract::status::ActiveState;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

/// First line of each file, systemd's own.
const HEADER: &str =
    "# This is a transient unit file, created programmatically via the systemd API. Do not edit.\n";
/// Units that may be there at a time: each is a part of PID 1's plan.
const UNITS_MAX: usize = 1024;
/// Suffixes of units that can be made so.
const KINDS: &[&str] = &["service", "scope", "timer", "path", "socket", "slice", "mount"];
/// Properties that are descriptors, in the order of [`STREAMS`], with the directive that each stands for.
const DESCRIPTORS: [(&str, &str); 3] = [
    ("StandardInputFileDescriptor", "StandardInput"),
    ("StandardOutputFileDescriptor", "StandardOutput"),
    ("StandardErrorFileDescriptor", "StandardError"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    Made,
}

struct Transient {
    stage: Stage,
    /// What came with the request: open as long as the unit may start.
    descriptors: Vec<Rc<OwnedFd>>,
}

/// The transient units, and who holds references to units.
pub struct Transients {
    units: BTreeMap<String, Transient>,
    references: BTreeMap<String, Vec<Origin>>,
}

impl Transients {
    /// Those that are there.
    pub fn found() -> Transients {
        let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let units = names
            .filter(|name| UnitName::parse(name).is_some())
            .map(|name| (name, Transient { stage: Stage::Made, descriptors: Vec::new() }));
        Transients { units: units.collect(), references: BTreeMap::new() }
    }

    /// Whether a unit may need a descriptor that is open here.
    pub fn hold_descriptors(&self) -> bool {
        self.units.values().any(|unit| !unit.descriptors.is_empty())
    }

    fn refer(&mut self, unit: &str, origin: &Origin) {
        self.references.entry(unit.to_owned()).or_default().push(origin.clone());
    }

    fn is_referred(&self, unit: &str) -> bool {
        self.references.get(unit).is_some_and(|origins| !origins.is_empty())
    }

    /// Forgets the references of those who are gone. True: there were some.
    pub fn forget(&mut self, is_gone: impl Fn(&Origin) -> bool) -> bool {
        let before: usize = self.references.values().map(Vec::len).sum();
        self.references.values_mut().for_each(|origins| origins.retain(|origin| !is_gone(origin)));
        self.references.retain(|_, origins| !origins.is_empty());
        self.references.values().map(Vec::len).sum::<usize>() < before
    }
}

/// `StartTransientUnit`: name, job mode, properties, and further units with theirs.
pub fn start(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = valid_name(call.text(0))?;
    let mode = call.text(1).to_owned();
    if call.reloaded {
        let made = started(server, call, &unit, &mode);
        if made.is_err() {
            give_up(server, call);
        }
        return made;
    }
    if work::check_mode(&mode).is_err() {
        return Err(Failure::invalid(format!("Job mode {mode} is invalid.")));
    }
    let wanted = wishes(call, &unit)?;
    for wish in &wanted {
        admit(server, &wish.name)?;
    }
    if server.transients.units.len() + wanted.len() > UNITS_MAX {
        return Err(Failure::new(name::LIMITS, "Too many transient units"));
    }
    for wish in wanted {
        if let Err(error) = wish.write() {
            give_up(server, call);
            return Err(error.into());
        }
        let unit = Transient { stage: Stage::Asked, descriptors: wish.descriptors };
        server.transients.units.insert(wish.name, unit);
    }
    Ok(Answer::AfterReload)
}

/// The plan with the unit is in force.
fn started(server: &mut Server, call: &Call, unit: &str, mode: &str) -> Result<Answer, Failure> {
    for name in names(call) {
        let new = vec![name.as_str().into(), Value::path(path::of_unit(&name))];
        server.signals.push(manager_signal("UnitNew", new));
    }
    server.tell_of_jobs(&call.origin);
    let job = match work::enqueue(server, unit, Verb::Start, mode)? {
        Made::Job(id) => id,
        Made::NeedsPlan => return Err(work::not_in_plan(unit)),
    };
    let wants_reference =
        properties(call.argument(2)).any(|(name, value)| name == "AddRef" && value.is_true());
    if wants_reference {
        add_reference(server, &call.origin, unit);
    }
    for name in names(call) {
        if let Some(unit) = server.transients.units.get_mut(&name) {
            unit.stage = Stage::Made;
        }
    }
    Ok(Answer::Now(vec![Value::path(path::of_job(job))]))
}

/// Names of all units of a call.
fn names(call: &Call) -> Vec<String> {
    let further = call.argument(3).items().iter().filter_map(|entry| entry.items().first()?.text());
    further.chain([call.text(0)]).map(str::to_owned).collect()
}

/// The units of a call that came to nothing leave nothing. Of a call that never came so far there is nothing.
pub fn give_up(server: &mut Server, call: &Call) {
    for name in names(call) {
        if server.transients.units.get(&name).is_some_and(|unit| unit.stage == Stage::Asked) {
            server.transients.units.remove(&name);
            remove_files(&name);
        }
    }
}

fn valid_name(text: &str) -> Result<String, Failure> {
    unit_name(text).map_err(|_| Failure::invalid("Invalid unit name or type."))
}

/// What is refused before anything is written.
fn admit(server: &mut Server, unit: &str) -> Result<(), Failure> {
    let kind = unit.rsplit('.').next().unwrap_or("");
    if !KINDS.contains(&kind) {
        return Err(Failure::invalid(format!("Unit type {kind} does not support transient units.")));
    }
    let subject = server.world.subject(unit);
    let without_file = kind == "slice" && subject.is_down() && subject.files().fragment.is_empty();
    if subject.load_state() != "not-found" && !without_file {
        let text = format!("Unit {unit} was already loaded or has a fragment file.");
        return Err(Failure::new(name::UNIT_EXISTS, text));
    }
    Ok(())
}

/// A unit that is to be made.
struct Wish {
    name: String,
    text: String,
    record: Record,
    descriptors: Vec<Rc<OwnedFd>>,
}

impl Wish {
    fn write(&self) -> std::io::Result<()> {
        fs::create_dir_all(FOLDER)?;
        self.record.write(&self.name)?;
        // So that the plan has it whatever its kind.
        fs::create_dir_all(paths::WANTED)?;
        fs::write(Path::new(paths::WANTED).join(&self.name), "")?;
        let (part, file) = (Path::new(FOLDER).join(".part"), Path::new(FOLDER).join(&self.name));
        fs::write(&part, &self.text)?;
        fs::rename(part, file)
    }
}

/// All units that a call asks for, checked.
fn wishes(call: &Call, unit: &str) -> Result<Vec<Wish>, Failure> {
    let mut wishes = Vec::new();
    for entry in call.argument(3).items() {
        let [name, list] = entry.items() else { continue };
        wishes.push(wish(call, &valid_name(name.text().unwrap_or(""))?, list)?);
    }
    wishes.push(wish(call, unit, call.argument(2))?);
    Ok(wishes)
}

fn properties(list: &Value) -> impl Iterator<Item = (&str, &Value)> {
    list.items().iter().filter_map(|entry| match entry.items() {
        [name, value] => Some((name.text()?, value.unboxed())),
        _ => None,
    })
}

fn wish(call: &Call, unit: &str, list: &Value) -> Result<Wish, Failure> {
    let mut record = Record::default();
    let mut descriptors = Vec::new();
    let mut streams = Vec::new();
    let mut rest = Vec::new();
    let is_scope = UnitName::parse(unit).is_some_and(|name| name.is_scope());
    for (property, value) in properties(list) {
        let stream = DESCRIPTORS.iter().position(|(name, _)| *name == property);
        match (property, stream) {
            (_, Some(at)) => {
                let fd = call.message.descriptor(value).ok_or_else(|| unknown(property))?;
                record.streams[at] = Some((std::process::id(), fd.as_raw_fd()));
                streams.push((DESCRIPTORS[at].1, Value::from(format!("fd:{}", STREAMS[at]))));
                descriptors.push(Rc::clone(fd));
            }
            ("PIDs", _) if is_scope => {
                record
                    .adopt
                    .extend(value.items().iter().filter_map(|pid| pid.number()).map(|pid| pid as u32));
            }
            ("PIDFDs", _) if is_scope => {
                let pidfds = value.items().iter().filter_map(|value| call.message.descriptor(value));
                record.adopt.extend(pidfds.filter_map(|pidfd| transient::pid_of(pidfd)));
            }
            // Who stops the scope is asked by nobody; a reference is made when the unit is.
            ("Controller" | "AddRef", _) => {}
            _ => rest.push((property, value)),
        }
    }
    rest.extend(streams.iter().map(|(name, value)| (*name, value)));
    if is_scope && (record.adopt.is_empty() || record.adopt.contains(&0)) {
        return Err(Failure::invalid("A scope is made of processes: PIDs= names none"));
    }
    let text = text_of(unit, &rest)?;
    Ok(Wish { name: unit.to_owned(), text, record, descriptors })
}

/// What is said of a property that can't be set.
pub fn unknown(property: &str) -> Failure {
    Failure::new(name::READ_ONLY, format!("Cannot set property {property}, or unknown property."))
}

/// The unit file of these properties.
fn text_of(unit: &str, list: &[(&str, &Value)]) -> Result<String, Failure> {
    let lines = assign::lines(list).map_err(|Unfit(property)| unknown(&property))?;
    let mut text = HEADER.to_owned();
    let mut section = String::new();
    for line in &lines {
        let own = section_of(unit, line);
        if section != own {
            let gap = if section.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{own}]\n"));
            section = own;
        }
        text.push_str(&format!("{}={}\n", line.key, line.value));
    }
    check(unit, &text)?;
    Ok(text)
}

/// The section that a line stands in.
pub fn section_of(unit: &str, line: &Line) -> String {
    let kind = unit.rsplit('.').next().unwrap_or("");
    match (line.of_unit, kind.split_at_checked(1)) {
        (false, Some((first, rest))) => first.to_ascii_uppercase() + rest,
        _ => "Unit".to_owned(),
    }
}

/// What the compiler warns of in a file, a program hears at once.
pub fn check(unit: &str, text: &str) -> Result<(), Failure> {
    let found = complaints(unit, &format!("{FOLDER}/{unit}"), text.as_bytes());
    if let Some(complaint) = found.warnings.first() {
        let words: Vec<&str> = complaint.split('\'').collect();
        return Err(match words.as_slice() {
            ["Unknown key ", key, ..] => unknown(key),
            [parsed, value, ..] => {
                match parsed.strip_prefix("Failed to parse ").and_then(|p| p.split_once('=')) {
                    Some((key, _)) => Failure::invalid(format!("Invalid {key} setting: {value}")),
                    None => Failure::invalid(complaint.clone()),
                }
            }
            _ => Failure::invalid(complaint.clone()),
        });
    }
    if found.unusable {
        let text = format!("Unit {unit} has a bad unit file setting.");
        return Err(Failure::new(name::BAD_UNIT_SETTING, text));
    }
    Ok(())
}

fn manager_signal(member: &str, body: Vec<Value>) -> Message {
    Message::signal(path::MANAGER, "org.freedesktop.systemd1.Manager", member, body)
}

/// Removes what is over. To be called whenever the states of units were looked at.
pub fn sweep(server: &mut Server) {
    let made = server.transients.units.iter().filter(|(_, unit)| unit.stage == Stage::Made);
    let names: Vec<String> = made.map(|(name, _)| name.clone()).collect();
    for unit in names {
        release_descriptors(server, &unit);
        if server.transients.is_referred(&unit) {
            continue;
        }
        if server.world.is_held(&unit) {
            collect_failed(server, &unit);
            continue;
        }
        server.transients.units.remove(&unit);
        remove_files(&unit);
        let gone = vec![unit.as_str().into(), Value::path(path::of_unit(&unit))];
        server.signals.push(manager_signal("UnitRemoved", gone));
    }
}

/// A unit that has ended needs its descriptors no longer, and others may wait for their end.
fn release_descriptors(server: &mut Server, unit: &str) {
    let row = server.world.find(unit).map(|id| server.world.row(id));
    let is_down = |active: u8| [ActiveState::Inactive.code(), ActiveState::Failed.code()].contains(&active);
    if row.is_none_or(|row| row.job == 0 && is_down(row.active))
        && let Some(unit) = server.transients.units.get_mut(unit)
    {
        unit.descriptors.clear();
    }
}

/// CollectMode=inactive-or-failed: a failure is no reason to stay. It goes with the next look.
fn collect_failed(server: &mut Server, unit: &str) {
    let row = server.world.find(unit).map(|id| server.world.row(id));
    if row.is_none_or(|row| row.active != ActiveState::Failed.code() || row.job != 0) {
        return;
    }
    let files = server.world.files().files(unit);
    let mode = files.unit.iter().rev().find(|(key, _)| key == "CollectMode");
    if mode.is_some_and(|(_, mode)| mode == "inactive-or-failed") {
        // Where init can't be asked, the next look tries again.
        let _ = init::ask(ControlOp::ResetFailed, 0, 0, unit);
        server.look_again();
    }
}

fn remove_files(unit: &str) {
    // Some of these there never were.
    let _ = fs::remove_file(Path::new(FOLDER).join(unit));
    let _ = fs::remove_dir_all(Path::new(FOLDER).join(format!("{unit}.d")));
    let _ = fs::remove_file(Path::new(paths::WANTED).join(unit));
    let _ = fs::remove_file(Path::new(paths::INVOCATIONS).join(format!("invocation:{unit}")));
    transient::forget(unit);
}

fn add_reference(server: &mut Server, origin: &Origin, unit: &str) {
    if let Origin::Bus(sender) = origin {
        server.broker.track(sender);
    }
    server.transients.refer(unit, origin);
}

/// `RefUnit`, and `Ref` of a unit: while the caller is there, what the unit was can be asked.
pub fn reference(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    super::units::known(server, &unit)?;
    add_reference(server, &call.origin, &unit);
    Ok(Answer::Now(vec![]))
}

/// `UnrefUnit`, and `Unref` of a unit.
pub fn unreference(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let held = server.transients.references.get_mut(&unit);
    let at = held.as_ref().and_then(|held| held.iter().position(|origin| *origin == call.origin));
    match (held, at) {
        (Some(held), Some(at)) => drop(held.remove(at)),
        _ => {
            let text = format!("Unit {unit} has not been referenced yet.");
            return Err(Failure::new("org.freedesktop.systemd1.NotReferenced", text));
        }
    }
    server.look_again();
    Ok(Answer::Now(vec![]))
}

/// `AbandonScope`, and `Abandon` of a scope: nobody holds it any more. It lives by its processes in any case.
pub fn abandon(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let id = super::units::known(server, &unit)?;
    if server.world.row(id).active != ActiveState::Active.code() || !unit.ends_with(".scope") {
        let text = format!("Scope {unit} is not running, cannot abandon.");
        return Err(Failure::new("org.freedesktop.systemd1.ScopeNotRunning", text));
    }
    Ok(Answer::Now(vec![]))
}

/// `AttachProcessesToUnit`: moves processes into a delegated unit's cgroup, or one below it. Beside root, the user whom
/// the cgroup is delegated to may do so with processes of that user: so a user's own manager makes scopes.
pub fn attach(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    // An empty name is the caller's own unit.
    let own = || call.caller.process().and_then(|pid| super::unit_of_process(server, pid));
    let unit = match call.text(0) {
        "" => own().ok_or_else(|| Failure::new(name::NO_SUCH_UNIT, "Client not member of any unit."))?,
        named => unit_name(named)?,
    };
    let below = call.text(1).trim_matches('/');
    let id = super::units::known(server, &unit)?;
    let group = server.world.known(id).and_then(|subject| Some(subject.unit?.cgroup().to_owned()));
    let folder = group.and_then(|group| super::units::cgroup_folder(&group));
    let folder = folder.ok_or_else(|| {
        Failure::new(name::UNIT_INACTIVE, format!("Unit {unit} is not active: it has no cgroup"))
    })?;
    let inside = below.split('/').all(|part| part != "..");
    if !inside {
        return Err(Failure::invalid(format!("Control group path {below} leads out of the unit's")));
    }
    let pids: Vec<u64> = call.argument(2).items().iter().filter_map(Value::number).collect();
    let is_own = |path: &Path| fs::metadata(path).is_ok_and(|found| found.uid() == call.caller.uid);
    let may = |pid: &u64| is_own(&Path::new("/proc").join(pid.to_string()));
    if !(call.caller.is_manager() || is_own(&folder) && pids.iter().all(may)) {
        let text = format!("Only root, or the user whom {unit} is delegated to, may move processes into it");
        return Err(Failure::new(name::ACCESS_DENIED, text));
    }
    let folder = folder.join(below);
    fs::create_dir_all(&folder)?;
    for pid in pids {
        fs::write(folder.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(Answer::Now(vec![]))
}
