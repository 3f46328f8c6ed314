//! From a call to what it means: D-Bus's own interfaces, ours, and what is answered where there is no such thing.

use super::error::{Failure, name};
use super::interface;
use super::manager;
use super::message::{Kind, Message};
use super::path::{self, Object};
use super::property::{self, Around, SystemView};
use super::server::Server;
use super::value::{Value, signature_of, structure};

/// Where a call came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of the private socket, by its token.
    Peer(u64),
    /// A client of the bus, by its unique name.
    Bus(String),
}

/// Who calls, as far as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Process, by the guest's number; 0: unknown.
    pub pid: u32,
}

impl Caller {
    /// Nobody has asked.
    pub const UNKNOWN: Caller = Caller { uid: u32::MAX, pid: 0 };

    /// May it do everything? That is root, and whoever the whole guest runs as where that isn't root.
    pub fn is_manager(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    /// The process.
    pub fn process(self) -> Option<u32> {
        Some(self.pid).filter(|pid| *pid != 0)
    }
}

/// A call, or a signal that is treated as one.
pub struct Call {
    /// The message.
    pub message: Message,
    /// From whom.
    pub origin: Origin,
    /// It may do what it asks for.
    pub authorized: bool,
    /// Who calls.
    pub caller: Caller,
    /// A plan was made for it already.
    pub reloaded: bool,
}

impl Call {
    /// An argument. The types are those of the method's table: this is checked before.
    pub fn argument(&self, index: usize) -> &Value {
        const NOTHING: Value = Value::Bool(false);
        self.message.body.get(index).unwrap_or(const { &NOTHING })
    }

    /// A text.
    pub fn text(&self, index: usize) -> &str {
        self.argument(index).text().unwrap_or("")
    }

    /// A number.
    pub fn number(&self, index: usize) -> u64 {
        self.argument(index).number().unwrap_or(0)
    }
}

/// What a method gives.
pub enum Answer {
    /// This.
    Now(Vec<Value>),
    /// Nothing yet: the call is dealt with again when init has taken a new plan.
    AfterReload,
}

/// Deals with a call, and answers it.
pub fn call(server: &mut Server, call: Call) {
    if call.message.kind == Kind::Signal {
        return manager::activation::requested(server, call);
    }
    server.world.look_at_files();
    let answer = match outcome(server, &call) {
        Ok(Answer::Now(body)) => call.message.reply(body),
        Ok(Answer::AfterReload) => return server.reload_for(call),
        Err(failure) => call.message.failure(failure.name, &failure.text),
    };
    if call.message.wants_reply() {
        server.answer(&call.origin, answer);
    }
    manager::ending::answered(server, &call.origin);
}

fn outcome(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let message = &call.message;
    let object = match path::object(&message.path) {
        Object::Unit(unit) if unit == path::SELF => own_unit(server, call),
        other => other,
    };
    let member = message.member.as_str();
    match (message.interface.as_str(), member) {
        ("org.freedesktop.DBus.Peer" | "", "Ping") => return Ok(Answer::Now(vec![])),
        ("org.freedesktop.DBus.Peer" | "", "GetMachineId") => {
            let id = std::fs::read_to_string("/etc/machine-id")?;
            return Ok(Answer::Now(vec![id.trim().into()]));
        }
        _ => {}
    }
    if object == Object::Unknown {
        return Err(Failure::new(name::UNKNOWN_OBJECT, format!("Unknown object '{}'.", message.path)));
    }
    match (message.interface.as_str(), member) {
        ("org.freedesktop.DBus.Introspectable" | "", "Introspect") => {
            server.look();
            let children = children(server, &message.path);
            return Ok(Answer::Now(vec![interface::introspect(&object, &children).into()]));
        }
        ("org.freedesktop.DBus.Properties", _) => return properties(server, &object, call),
        _ => {}
    }
    let Some(method) = interface::method(&object, message) else { return Err(unknown(&object, message)) };
    let given = signature_of(&message.body);
    if given != method.input {
        let text = format!("Invalid arguments '{given}' to call {member}(), expecting '{}'.", method.input);
        return Err(Failure::invalid(text));
    }
    if method.action.is_some() && !call.authorized {
        return Err(Failure::denied());
    }
    server.look();
    (method.run)(server, call)
}

/// The unit that the caller is a process of.
fn own_unit(server: &mut Server, call: &Call) -> Object {
    server.look();
    let unit = call.caller.process().and_then(|pid| manager::unit_of_process(server, pid));
    unit.map_or(Object::Unknown, Object::Unit)
}

fn unknown(object: &Object, message: &Message) -> Failure {
    let (interface, member) = (&message.interface, &message.member);
    let known = interface.is_empty() || interface::of_object(object).iter().any(|name| name == interface);
    if known {
        let text = format!("Unknown method {member} or interface {interface}.");
        Failure::new(name::UNKNOWN_METHOD, text)
    } else {
        Failure::new(name::UNKNOWN_INTERFACE, format!("Unknown interface {interface}."))
    }
}

/// Names of the nodes right below a path.
fn children(server: &Server, path: &str) -> Vec<String> {
    match path {
        "/" => vec!["org".into()],
        "/org" => vec!["freedesktop".into()],
        "/org/freedesktop" => vec!["systemd1".into()],
        path::MANAGER => vec!["unit".into(), "job".into()],
        "/org/freedesktop/systemd1/unit" => {
            let plan = server.world.plan();
            let last = |name: &str| path::of_unit(name).rsplit('/').next().unwrap_or("").to_owned();
            plan.iter().flat_map(|plan| plan.units()).map(|unit| last(unit.name())).collect()
        }
        "/org/freedesktop/systemd1/job" => server.jobs.iter().map(|(id, _)| id.to_string()).collect(),
        _ => vec![],
    }
}

fn properties(server: &mut Server, object: &Object, call: &Call) -> Result<Answer, Failure> {
    let body = &call.message.body;
    let given = signature_of(body);
    server.look();
    match (call.message.member.as_str(), given.as_str()) {
        ("Get", "ss") => {
            let (interface, wanted) = (call.text(0), call.text(1));
            let list = values(server, object, interface, &|name| name == wanted)?;
            let (_, value) = list.into_iter().next().ok_or_else(|| {
                Failure::new(
                    name::UNKNOWN_PROPERTY,
                    format!("Unknown interface {interface} or property {wanted}."),
                )
            })?;
            Ok(Answer::Now(vec![value.boxed()]))
        }
        ("GetAll", "s") => {
            let list = values(server, object, call.text(0), &|_| true)?;
            Ok(Answer::Now(vec![Value::dictionary(list)]))
        }
        ("Set", "ssv") => {
            let text = format!("Property '{}' is not writable.", call.text(1));
            Err(Failure::new(name::READ_ONLY, text))
        }
        ("Get" | "GetAll" | "Set", _) => Err(Failure::invalid(format!("Invalid arguments '{given}'."))),
        _ => Err(unknown(object, &call.message)),
    }
}

/// Properties of an object that are wanted: of an interface, or of all (an empty name).
pub fn values(
    server: &mut Server,
    object: &Object,
    interface: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<(&'static str, Value)>, Failure> {
    let own = interface::of_object(object);
    let common = interface.starts_with("org.freedesktop.DBus.");
    if !interface.is_empty() && !common && !own.iter().any(|name| name == interface) {
        return Err(Failure::new(name::UNKNOWN_INTERFACE, format!("Unknown interface {interface}.")));
    }
    let kinds: Vec<&str> = own
        .iter()
        .filter(|name| interface.is_empty() || **name == interface)
        .filter_map(|name| name.strip_prefix(property::PREFIX))
        .collect();
    let rows = |kind: &str| {
        let asked = |row: &&property::Row| row.is_of(kind) && wanted(row.name);
        property::rows().iter().filter(asked).collect::<Vec<_>>()
    };
    Ok(match object {
        Object::Manager => {
            let environment = manager::environment::list();
            let view = SystemView {
                world: &server.world,
                environment: &environment,
                jobs: server.jobs.iter().count() as u32,
                installed_jobs: server.jobs.last(),
            };
            rows("Manager").into_iter().map(|row| (row.name, view.value(row))).collect()
        }
        Object::Unit(unit) => {
            let install = server.install();
            let state = |name: &str| install.states(name);
            let canonical = server.world.subject(unit).name.clone();
            let job = server.jobs.of_unit(&canonical).map(|(id, _)| id);
            let subject = server.world.subject(unit);
            let around = Around { job, file_state: &state };
            let of_kind = |kind: &&str| {
                let value = |row: &property::Row| (row.name, property::of_unit(&subject, kind, row, &around));
                rows(kind).into_iter().map(value).collect::<Vec<_>>()
            };
            kinds.iter().flat_map(of_kind).collect()
        }
        Object::Job(id) => {
            let list = job_values(server, *id)?;
            list.into_iter().filter(|(name, _)| wanted(name)).collect()
        }
        Object::Node | Object::Unknown => vec![],
    })
}

fn job_values(server: &Server, id: u32) -> Result<Vec<(&'static str, Value)>, Failure> {
    let job = server.jobs.get(id).ok_or_else(|| {
        Failure::new(name::UNKNOWN_OBJECT, format!("Unknown object '{}'.", path::of_job(id)))
    })?;
    Ok(vec![
        ("Id", id.into()),
        ("Unit", structure![job.unit.as_str(), Value::path(path::of_unit(&job.unit))]),
        ("JobType", job.kind.word().into()),
        ("State", if job.running { "running" } else { "waiting" }.into()),
        ("ActivationDetails", Value::array("(ss)", [])),
    ])
}

/// Properties that change with a unit's state.
const CHANGING_UNIT: &[&str] = &[
    "ActiveState",
    "SubState",
    "StateChangeTimestamp",
    "StateChangeTimestampMonotonic",
    "InactiveExitTimestamp",
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "ActiveExitTimestamp",
    "ActiveExitTimestampMonotonic",
    "InactiveEnterTimestamp",
    "InactiveEnterTimestampMonotonic",
    "Job",
    "InvocationID",
    "ConditionResult",
    "AssertResult",
    "ConditionTimestamp",
    "ConditionTimestampMonotonic",
];
/// The same of its kind.
const CHANGING_KIND: &[&str] = &[
    "MainPID",
    "ControlPID",
    "StatusText",
    "Result",
    "NRestarts",
    "ExecMainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestamp",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestamp",
    "ExecMainExitTimestampMonotonic",
];

/// The signals that a unit has changed: of its kind first, as systemd sends them.
pub fn changed(server: &mut Server, unit: &str) -> Vec<Message> {
    let object = Object::Unit(unit.to_owned());
    let mut signals = Vec::new();
    let own = interface::of_object(&object);
    for interface in &own {
        let names = if interface.ends_with(".Unit") { CHANGING_UNIT } else { CHANGING_KIND };
        let changed = values(server, &object, interface, &|name| names.contains(&name)).unwrap_or_default();
        if !changed.is_empty() {
            let body = vec![
                interface.as_str().into(),
                Value::dictionary(changed),
                Value::strings(Vec::<String>::new()),
            ];
            let interface = "org.freedesktop.DBus.Properties";
            signals.push(Message::signal(&path::of_unit(unit), interface, "PropertiesChanged", body));
        }
    }
    signals
}
