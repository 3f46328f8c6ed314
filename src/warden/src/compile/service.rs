//! Section [Service]: systemd.service(5).

use super::directive::Directive;
use super::draft::Draft;
use super::notes::Notes;
use super::settings::{Form, Slot, Table, last, store_by};
use super::value;
use hostel_plan::model::ExitSet;
use hostel_plan::{
    EdgeKind, INFINITE, NotifyAccess, Phase, Restart, ServiceType, SettingKey, UnitKind, unit_flags,
};

/// Directives that are commands; their D-Bus properties have the same names.
pub const COMMANDS: &[(&str, Phase)] = &[
    ("ExecCondition", Phase::Condition),
    ("ExecStartPre", Phase::StartPre),
    ("ExecStart", Phase::Start),
    ("ExecStartPost", Phase::StartPost),
    ("ExecReload", Phase::Reload),
    ("ExecStop", Phase::Stop),
    ("ExecStopPost", Phase::StopPost),
];

const SETTINGS: &Table = &[
    ("PermissionsStartOnly", SettingKey::PermissionsStartOnly, Form::On),
    ("NonBlocking", SettingKey::NonBlocking, Form::On),
];

/// Takes a directive. False where it is none of this section alone.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if draft.commands_by(COMMANDS, d) || store_by(SETTINGS, d, draft.settings()) {
        return true;
    }
    match d.key {
        "Type" => {
            let remedy = "write simple, exec, forking, oneshot, notify, notify-reload, dbus or idle";
            draft.service_type = d.choice(ServiceType::from_name, remedy).or(draft.service_type);
        }
        "Restart" => {
            let remedy = "write no, always, on-success, on-failure, on-abnormal, on-abort or on-watchdog";
            draft.model.restart = d.choice(Restart::from_name, remedy).unwrap_or(draft.model.restart);
        }
        "BusName" => bus_name(draft, d),
        "PIDFile" => pid_file(draft, d),
        "RemainAfterExit" => {
            let on = d.boolean();
            draft.flag(unit_flags::REMAIN_AFTER_EXIT, on);
        }
        "GuessMainPID" => {
            let on = d.boolean();
            draft.flag(unit_flags::GUESS_MAIN_PID, on);
        }
        "NotifyAccess" => {
            let remedy = "write none, main, exec or all";
            draft.notify_access = d.choice(NotifyAccess::from_name, remedy).or(draft.notify_access);
        }
        "FileDescriptorStoreMax" => draft.model.fdstore_max = d.number().unwrap_or(draft.model.fdstore_max),
        "Sockets" => {
            for socket in d.units() {
                if socket.kind() != UnitKind::Socket {
                    d.warn(format!("Unit '{}' is no socket, ignoring", socket.full()), "name a socket unit");
                    continue;
                }
                draft.edge(EdgeKind::Wants, &socket);
                draft.edge(EdgeKind::After, &socket);
                draft.edge(EdgeKind::TriggeredBy, &socket);
            }
        }
        "SuccessExitStatus" => exit_set(&mut draft.model.success, d),
        "RestartPreventExitStatus" => exit_set(&mut draft.model.restart_prevent, d),
        "RestartForceExitStatus" => exit_set(&mut draft.model.restart_force, d),
        "RestartSteps" => draft.model.restart_steps = d.number().unwrap_or(draft.model.restart_steps),
        "ReloadSignal" => draft.model.reload_signal = d.signal().unwrap_or(draft.model.reload_signal),
        "ExitType" => {
            let by_group = |text: &str| match text {
                "main" => Some(false),
                "cgroup" => Some(true),
                _ => None,
            };
            let on = d.choice(by_group, "write main or cgroup");
            draft.flag(unit_flags::EXIT_GROUP, on);
        }
        "TimeoutStartFailureMode" => failure_mode(draft, d, unit_flags::START_FAILURE),
        "TimeoutStopFailureMode" => failure_mode(draft, d, unit_flags::STOP_FAILURE),
        _ => return times(draft, d) || super::unit::start_limit(draft, d),
    }
    true
}

fn times(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    match d.key {
        "RestartSec" => draft.model.restart_ms = d.millis().unwrap_or(draft.model.restart_ms),
        "TimeoutSec" => {
            if let Some(timeout) = d.timeout() {
                draft.start_timeout = Some(timeout);
                draft.model.stop_timeout_ms = timeout;
            }
        }
        "TimeoutStartSec" => draft.start_timeout = d.timeout().or(draft.start_timeout),
        "TimeoutStopSec" => draft.model.stop_timeout_ms = d.timeout().unwrap_or(draft.model.stop_timeout_ms),
        "RuntimeMaxSec" => {
            // Not a time-out: 0 is over as soon as it begins.
            draft.model.runtime_max_ms = d.millis().map_or(draft.model.runtime_max_ms, |ms| ms.max(1));
        }
        "RuntimeRandomizedExtraSec" => {
            let most = d.millis().unwrap_or(0);
            let extra = spread(&d.facts.machine_id, d.unit.full()) % (u64::from(most) + 1);
            draft.runtime_extra = extra as u32;
        }
        "RestartMaxDelaySec" => draft.restart_max_delay = d.timeout().or(draft.restart_max_delay),
        "TimeoutAbortSec" => draft.abort_timeout = d.timeout().or(draft.abort_timeout),
        "WatchdogSec" => draft.model.watchdog_ms = d.timeout().unwrap_or(draft.model.watchdog_ms),
        _ => return false,
    }
    true
}

/// What a time-out leads to: two bits of the unit's flags.
fn failure_mode(draft: &mut Draft, d: &mut Directive<'_>, shift: u32) {
    let mode = |text: &str| match text {
        "terminate" => Some(0),
        "abort" => Some(unit_flags::FAILURE_ABORT),
        "kill" => Some(unit_flags::FAILURE_KILL),
        _ => None,
    };
    if let Some(mode) = d.choice(mode, "write terminate, abort or kill") {
        draft.model.flags = draft.model.flags & !(3 << shift) | mode << shift;
    }
}

/// A number of this machine and unit, for what is to be different on each: 64-bit FNV-1a.
fn spread(machine: &str, unit: &str) -> u64 {
    machine.bytes().chain(unit.bytes()).fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// By what the pause before a restart grows, so that it is the longest after the last step; systemd's
/// service_restart_usec_next.
fn grow(draft: &mut Draft) {
    let (least, most) = (draft.model.restart_ms, draft.restart_max_delay.unwrap_or(INFINITE));
    if draft.model.restart_steps == 0 || least == 0 || most == INFINITE || least >= most {
        draft.model.restart_steps = 0;
        return;
    }
    let growth = (f64::from(most) / f64::from(least)).powf(1.0 / f64::from(draft.model.restart_steps));
    draft.model.restart_growth = (growth * 65536.0).round() as u32;
}

fn bus_name(draft: &mut Draft, d: &mut Directive<'_>) {
    let slot = Slot::own(SettingKey::BusName);
    let Some(text) = d.text() else { return };
    let part = |part: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            && !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    if text.contains('.') && text.len() <= 255 && text.split('.').all(part) {
        slot.set(draft.settings(), &text);
    } else {
        d.invalid("write a well-known name of the bus, as in org.example.Name");
    }
}

fn pid_file(draft: &mut Draft, d: &mut Directive<'_>) {
    let slot = Slot::own(SettingKey::PidFile);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    let Some(text) = d.text() else { return };
    let path = if text.starts_with('/') { text } else { format!("/run/{text}") };
    slot.set(draft.settings(), &super::directive::normal_path(&path));
}

fn exit_set(set: &mut ExitSet, d: &mut Directive<'_>) {
    if d.is_reset() {
        *set = ExitSet::default();
        return;
    }
    for word in d.words() {
        // A bare number is an exit status, so signals are tried by name only.
        let signal = || if word.parse::<u32>().is_ok() { None } else { value::parse_signal(&word) };
        if let Some(status) = value::parse_status(&word) {
            set.statuses.push(status);
        } else if let Some(signal) = signal() {
            set.signals.push(signal);
        } else {
            let text = format!("Failed to parse exit status '{word}' in {}=, ignoring", d.key);
            d.warn(text, "write 0 to 255, a name of systemd.exec(5), or a signal");
        }
    }
}

/// What systemd concludes when all of a service is read, and what it refuses.
pub fn finish(draft: &mut Draft, notes: &mut Notes) {
    let has_start = draft.command_count(Phase::Start) > 0;
    let has_stop = draft.command_count(Phase::Stop) > 0;
    let bus_name = last(&draft.model.settings, SettingKey::BusName).is_some();
    let service_type = draft.service_type.unwrap_or(match (bus_name, has_start) {
        (true, _) => ServiceType::Dbus,
        (false, true) => ServiceType::Simple,
        (false, false) => ServiceType::Oneshot,
    });
    draft.model.service_type = service_type;
    // A oneshot may take as long as it likes, unless it says how long.
    let default_timeout =
        if service_type == ServiceType::Oneshot { INFINITE } else { draft.model.start_timeout_ms };
    draft.model.start_timeout_ms = draft.start_timeout.unwrap_or(default_timeout);
    draft.model.abort_timeout_ms = draft.abort_timeout.unwrap_or(draft.model.stop_timeout_ms);
    if draft.model.runtime_max_ms != INFINITE {
        draft.model.runtime_max_ms = draft.model.runtime_max_ms.saturating_add(draft.runtime_extra);
    }
    if draft.model.flags & unit_flags::SEND_SIGKILL == 0 {
        // Nothing is killed: what a time-out would lead to is left out.
        let kills = unit_flags::FAILURE_KILL << unit_flags::START_FAILURE
            | unit_flags::FAILURE_KILL << unit_flags::STOP_FAILURE;
        draft.model.flags &= !kills;
    }
    grow(draft);
    let notifies = matches!(service_type, ServiceType::Notify | ServiceType::NotifyReload)
        || draft.model.watchdog_ms != INFINITE
        || draft.model.fdstore_max > 0;
    draft.model.notify_access = match draft.notify_access {
        None | Some(NotifyAccess::None) if notifies => NotifyAccess::Main,
        Some(access) => access,
        None => NotifyAccess::None,
    };
    if last(&draft.model.settings, SettingKey::PidFile).is_some() {
        draft.model.flags |= unit_flags::PID_FILE;
    }
    if bus_name && service_type == ServiceType::Dbus {
        draft.edge_to(EdgeKind::Requires, "dbus.socket");
        draft.edge_to(EdgeKind::After, "dbus.socket");
    }
    if !draft.bad {
        let remains = draft.model.flags & unit_flags::REMAIN_AFTER_EXIT != 0;
        if let Some((text, remedy)) = refusal(draft, has_start, has_stop, remains, bus_name) {
            draft.refuse(text, remedy, notes);
        }
    }
}

/// systemd's service_verify().
fn refusal(
    draft: &Draft,
    has_start: bool,
    has_stop: bool,
    remains: bool,
    bus_name: bool,
) -> Option<(&'static str, &'static str)> {
    let oneshot = draft.model.service_type == ServiceType::Oneshot;
    if !has_start && !has_stop {
        Some(("Service has no ExecStart= and no ExecStop=", "add ExecStart="))
    } else if !oneshot && !has_start {
        Some(("Service has no ExecStart=, which only Type=oneshot allows", "add ExecStart="))
    } else if !has_start && !remains {
        Some(("Service has no ExecStart= and not RemainAfterExit=yes", "add ExecStart="))
    } else if !oneshot && draft.command_count(Phase::Start) > 1 {
        Some((
            "Service has more than one ExecStart=, which only Type=oneshot allows",
            "empty ExecStart= before setting it anew",
        ))
    } else if oneshot && matches!(draft.model.restart, Restart::Always | Restart::OnSuccess) {
        Some(("Service has Restart=always or on-success, which Type=oneshot doesn't allow", "use on-failure"))
    } else if oneshot && draft.model.restart_force != Default::default() {
        Some(("Service has RestartForceExitStatus=, which Type=oneshot doesn't allow", "remove it"))
    } else if draft.model.service_type == ServiceType::Dbus && !bus_name {
        Some(("Service is of Type=dbus and has no BusName=", "add BusName="))
    } else {
        None
    }
}
