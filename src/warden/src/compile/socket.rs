//! Section [Socket]: systemd.socket(5).

use super::directive::{Directive, normal_path};
use super::draft::Draft;
use super::name::UnitName;
use super::notes::Notes;
use super::settings::{Form, Slot, Table, store_by};
use hostel_plan::{EdgeKind, Phase, SettingKey, unit_flags};

/// What listens, and how the plan calls it.
const LISTENERS: &[(&str, &str)] = &[
    ("ListenStream", "stream"),
    ("ListenDatagram", "datagram"),
    ("ListenSequentialPacket", "sequential"),
    ("ListenFIFO", "fifo"),
    ("ListenSpecial", "special"),
    ("ListenNetlink", "netlink"),
    ("ListenMessageQueue", "message-queue"),
];

/// Connections of a socket with Accept=yes that are served at a time, where MaxConnections= allows as many. Each is a unit
/// of the plan.
const POOL: usize = 16;

const COMMANDS: &[(&str, Phase)] = &[
    ("ExecStartPre", Phase::StartPre),
    ("ExecStartPost", Phase::StartPost),
    ("ExecStopPre", Phase::Stop),
    ("ExecStopPost", Phase::StopPost),
];

const SETTINGS: &Table = &[
    ("SocketMode", SettingKey::SocketMode, Form::Mode),
    ("SocketUser", SettingKey::SocketUser, Form::Text),
    ("SocketGroup", SettingKey::SocketGroup, Form::Text),
    ("Backlog", SettingKey::Backlog, Form::Number),
    ("DirectoryMode", SettingKey::DirectoryMode, Form::Mode),
    ("RemoveOnStop", SettingKey::RemoveOnStop, Form::On),
    ("Symlinks", SettingKey::Symlinks, Form::List),
    ("FileDescriptorName", SettingKey::FileDescriptorName, Form::Text),
];

/// Takes a directive. False where it is none of this section alone.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if let Some((_, kind)) = LISTENERS.iter().find(|(key, _)| *key == d.key) {
        listen(draft, d, kind);
        return true;
    }
    if draft.commands_by(COMMANDS, d) || store_by(SETTINGS, d, draft.settings()) {
        return true;
    }
    match d.key {
        "Accept" => {
            let on = d.boolean();
            draft.flag(unit_flags::ACCEPT, on);
        }
        "FlushPending" => {
            let on = d.boolean();
            draft.flag(unit_flags::FLUSH_PENDING, on);
        }
        "BindIPv6Only" => {
            let known =
                |text: &str| ["default", "both", "ipv6-only"].contains(&text).then(|| text.to_owned());
            if let Some(text) = d.choice(known, "write default, both or ipv6-only") {
                Slot::own(SettingKey::BindIpv6Only).set(draft.settings(), &text);
            }
        }
        "Service" => match d.unit_name(d.value) {
            Some(name) if name.suffix() == "service" => draft.triggers = Some(name),
            Some(_) => d.invalid("write the name of a service"),
            None => {}
        },
        "TimeoutSec" => {
            if let Some(timeout) = d.timeout() {
                draft.model.start_timeout_ms = timeout;
                draft.model.stop_timeout_ms = timeout;
            }
        }
        _ => return false,
    }
    true
}

fn listen(draft: &mut Draft, d: &mut Directive<'_>, kind: &str) {
    let slot = Slot::own(SettingKey::Listen);
    if d.is_reset() {
        // An empty one takes back all that listens, of whatever kind.
        return slot.clear(draft.settings());
    }
    let Some(address) = d.text() else { return };
    let address = match address.starts_with('/') {
        true => {
            let path = normal_path(&address);
            // The name of a queue is no path of a file system.
            if kind != "message-queue" {
                draft.mounts_for.push(path.clone());
            }
            path
        }
        false => address,
    };
    if matches!(kind, "fifo" | "special" | "message-queue") && !address.starts_with('/') {
        return d.invalid("write an absolute path");
    }
    let is_network = matches!(kind, "stream" | "datagram" | "sequential");
    if is_network && !is_address(&address) {
        return d.invalid("write a path, @NAME, a port, or ADDRESS:PORT");
    }
    slot.push(draft.settings(), &format!("{kind}:{address}"));
}

/// Is this what a stream or datagram socket can be bound to (systemd.socket(5), ListenStream=)?
fn is_address(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match inner {
            Some(address) => {
                let plain = address.split('%').next().unwrap_or(address);
                plain.parse::<std::net::Ipv6Addr>().is_ok()
            }
            None => host.parse::<std::net::Ipv4Addr>().is_ok(),
        }
    };
    // A scope may stand behind the brackets, too: [fe80::1]:80%eth0.
    let unscoped = |text: &str| {
        text.split_once("]:").is_some_and(|(_, port)| is_port(port.split('%').next().unwrap_or(port)))
    };
    text.starts_with(['/', '@'])
        || text.starts_with("vsock")
        || is_port(text)
        || text
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host) && (is_port(port) || unscoped(text)))
}

/// Which service it starts, and what systemd refuses.
pub fn finish(draft: &mut Draft, notes: &mut Notes) {
    if draft.bad {
        return;
    }
    if !draft.model.settings.iter().any(|(key, _)| *key == SettingKey::Listen) {
        return draft.refuse(
            "Unit has no Listen setting (ListenStream=, ListenDatagram=, ...)",
            "add one",
            notes,
        );
    }
    let accept = draft.model.flags & unit_flags::ACCEPT != 0;
    if accept && draft.triggers.is_some() {
        return draft.refuse(
            "Explicit service configuration for accepting socket units isn't supported",
            "remove Service=, or Accept=yes",
            notes,
        );
    }
    // Each connection is an instance of the template of the same name: the plan has a pool of them.
    let services: Vec<UnitName> = match (accept, &draft.triggers) {
        (false, Some(service)) => vec![service.clone()],
        (false, None) => draft.name.with_suffix("service").into_iter().collect(),
        (true, _) => {
            let most = last(&draft.model.settings, SettingKey::SocketOption, "MaxConnections=");
            let most = most.and_then(|text| text.parse().ok()).unwrap_or(POOL);
            let instance = |number| UnitName::parse(&format!("{}@{number}.service", draft.name.prefix()));
            (0..POOL.min(most)).filter_map(instance).collect()
        }
    };
    for service in services {
        draft.edge(EdgeKind::Triggers, &service);
        draft.edge(EdgeKind::Before, &service);
    }
}

/// What a setting with a label says last.
fn last<'a>(settings: &'a [(SettingKey, String)], key: SettingKey, label: &str) -> Option<&'a str> {
    settings.iter().rev().find_map(|(k, value)| value.strip_prefix(label).filter(|_| *k == key))
}
