//! Methods by interface, with their types and what polkit is asked for; and how an object describes itself.

use super::dispatch::{Answer, Call};
use super::error::Failure;
use super::manager;
use super::message::Message;
use super::path::{self, Object};
use super::property;
use super::server::Server;
use super::wire::first_type;

/// In the place of a polkit action: the method itself decides by the caller's user.
pub const BY_USER: &str = "(the caller's user)";

/// A method.
pub struct Method {
    /// Name.
    pub name: &'static str,
    /// Types of its arguments.
    pub input: &'static str,
    /// Types of what it returns.
    pub output: &'static str,
    /// The polkit action that it needs of users other than root.
    pub action: Option<&'static str>,
    /// What it does.
    pub run: fn(&mut Server, &Call) -> Result<Answer, Failure>,
}

/// A signal.
pub struct Signal {
    /// Name.
    pub name: &'static str,
    /// Types of what it tells.
    pub body: &'static str,
}

const SIGNALS: &[Signal] = &[
    Signal { name: "UnitNew", body: "so" },
    Signal { name: "UnitRemoved", body: "so" },
    Signal { name: "JobNew", body: "uos" },
    Signal { name: "JobRemoved", body: "uoss" },
    Signal { name: "StartupFinished", body: "tttttt" },
    Signal { name: "UnitFilesChanged", body: "" },
    Signal { name: "Reloading", body: "b" },
];

/// Interfaces of an object that are ours.
pub fn of_object(object: &Object) -> Vec<String> {
    let ours = |kind: &str| format!("{}{kind}", property::PREFIX);
    match object {
        Object::Manager => vec![ours("Manager")],
        // Of its kind first, as systemd has them.
        Object::Unit(name) => vec![ours(property::unit_interface(name)), ours("Unit")],
        Object::Job(_) => vec![ours("Job")],
        Object::Node | Object::Unknown => vec![],
    }
}

/// Methods of an interface.
pub fn methods(interface: &str) -> &'static [Method] {
    match interface.strip_prefix(property::PREFIX) {
        Some("Manager") => manager::MANAGER,
        Some("Unit") => manager::UNIT,
        Some("Scope") => manager::SCOPE,
        Some("Service" | "Socket" | "Mount" | "Slice") => manager::PROCESSES,
        Some("Job") => manager::JOB,
        _ => &[],
    }
}

/// The method that a call means.
pub fn method(object: &Object, message: &Message) -> Option<&'static Method> {
    let interfaces = of_object(object);
    let asked = interfaces.iter().filter(|name| message.interface.is_empty() || message.interface == **name);
    asked.flat_map(|name| methods(name)).find(|method| method.name == message.member)
}

/// The polkit action that a call needs.
pub fn privilege(message: &Message) -> Option<&'static str> {
    method(&path::object(&message.path), message).and_then(|method| method.action)
}

/// The interfaces that all objects have.
const COMMON: &str = concat!(
    "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n",
    "\"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    " <interface name=\"org.freedesktop.DBus.Peer\">\n  <method name=\"Ping\"/>\n",
    "  <method name=\"GetMachineId\"><arg type=\"s\" name=\"machine_uuid\" direction=\"out\"/></method>\n",
    " </interface>\n <interface name=\"org.freedesktop.DBus.Introspectable\">\n",
    "  <method name=\"Introspect\"><arg name=\"xml_data\" type=\"s\" direction=\"out\"/></method>\n",
    " </interface>\n <interface name=\"org.freedesktop.DBus.Properties\">\n",
    "  <method name=\"Get\"><arg name=\"interface_name\" direction=\"in\" type=\"s\"/>",
    "<arg name=\"property_name\" direction=\"in\" type=\"s\"/><arg name=\"value\" direction=\"out\" type=\"v\"/></method>\n",
    "  <method name=\"GetAll\"><arg name=\"interface_name\" direction=\"in\" type=\"s\"/>",
    "<arg name=\"props\" direction=\"out\" type=\"a{sv}\"/></method>\n",
    "  <method name=\"Set\"><arg name=\"interface_name\" direction=\"in\" type=\"s\"/>",
    "<arg name=\"property_name\" direction=\"in\" type=\"s\"/><arg name=\"value\" direction=\"in\" type=\"v\"/></method>\n",
    "  <signal name=\"PropertiesChanged\"><arg type=\"s\" name=\"interface_name\"/>",
    "<arg type=\"a{sv}\" name=\"changed_properties\"/><arg type=\"as\" name=\"invalidated_properties\"/></signal>\n",
    " </interface>\n",
);

/// What an object says of itself. `children` are the nodes right below it.
pub fn introspect(object: &Object, children: &[String]) -> String {
    let mut xml = COMMON.to_owned();
    for interface in of_object(object) {
        xml.push_str(&format!(" <interface name=\"{interface}\">\n"));
        for method in methods(&interface) {
            xml.push_str(&format!("  <method name=\"{}\">", method.name));
            arguments(method.input, " direction=\"in\"", &mut xml);
            arguments(method.output, " direction=\"out\"", &mut xml);
            xml.push_str("</method>\n");
        }
        if *object == Object::Manager {
            for signal in SIGNALS {
                xml.push_str(&format!("  <signal name=\"{}\">", signal.name));
                arguments(signal.body, "", &mut xml);
                xml.push_str("</signal>\n");
            }
        }
        let kind = property::kind_of(&interface).unwrap_or("");
        for row in property::rows().iter().filter(|row| row.is_of(kind)) {
            let (name, signature) = (row.name, row.signature);
            xml.push_str(&format!("  <property name=\"{name}\" type=\"{signature}\" access=\"read\"/>\n"));
        }
        xml.push_str(" </interface>\n");
    }
    for child in children {
        xml.push_str(&format!(" <node name=\"{child}\"/>\n"));
    }
    xml.push_str("</node>\n");
    xml
}

fn arguments(mut signature: &str, direction: &str, xml: &mut String) {
    while let Ok(length @ 1..) = first_type(signature) {
        xml.push_str(&format!("<arg type=\"{}\"{direction}/>", &signature[..length]));
        signature = &signature[length..];
    }
}
