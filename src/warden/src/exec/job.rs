//! One request of init: the unit, what is to be done for it, and what came with it.

use super::failure::Failure;
use hostel_contract::exec::{self, ExecRequest, ExecStep};
use hostel_plan::{EdgeKind, Phase, Plan, SettingKey, Unit, UnitId, UnitKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, OwnedFd};

/// A request, understood.
pub struct Job<'a> {
    /// The plan in force.
    pub plan: Plan<'a>,
    /// The unit.
    pub unit: Unit<'a>,
    /// What is to be done.
    pub phase: Phase,
    /// The rest of what init said.
    pub request: ExecRequest,
    /// The unit's log.
    pub log: UnitLog,
    /// Descriptors for the unit: its sockets, then what it stored.
    pub descriptors: Vec<OwnedFd>,
}

impl<'a> Job<'a> {
    /// Understands a request. The plan has been validated; the request comes from init, which may be of another version.
    pub fn new(
        plan: Plan<'a>,
        request: ExecRequest,
        log: UnitLog,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Self, Failure> {
        let unit = plan.unit(UnitId(request.unit)).ok_or_else(|| {
            Failure::new(ExecStep::Protocol, format!("unit {} is not in the plan", request.unit))
        })?;
        let phase = Phase::from_code(request.phase)
            .ok_or_else(|| Failure::new(ExecStep::Protocol, format!("phase {} is unknown", request.phase)))?;
        Ok(Job { plan, unit, phase, request, log, descriptors })
    }

    /// The last value of a setting; an empty one counts as none.
    pub fn setting(&self, key: SettingKey) -> Option<&'a str> {
        self.unit.setting(key).filter(|value| !value.is_empty())
    }

    /// All values of a setting that is a list of words.
    pub fn words(&self, key: SettingKey) -> impl Iterator<Item = &'a str> {
        self.unit.settings_of(key).flat_map(str::split_whitespace)
    }

    /// Whether a yes-or-no setting is on.
    pub fn is_on(&self, key: SettingKey) -> bool {
        self.setting(key).is_some_and(is_yes)
    }

    /// An octal file mode.
    pub fn mode(&self, key: SettingKey, default: u32) -> u32 {
        self.setting(key).and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(default)
    }

    /// The last value of a directive that the plan keeps as `Directive=value` under `key`.
    pub fn directive(&self, key: SettingKey, name: &str) -> Option<&'a str> {
        self.directives(key, name).last()
    }

    /// All values of such a directive, in order.
    pub fn directives(&self, key: SettingKey, name: &str) -> impl Iterator<Item = &'a str> {
        self.unit.settings_of(key).filter_map(move |text| match text.split_once('=') {
            Some((directive, value)) if directive == name => Some(value),
            _ => None,
        })
    }

    /// Names for $LISTEN_FDNAMES, one for each of `descriptors`.
    pub fn descriptor_names(&self, given: Option<&str>) -> Vec<String> {
        let mut names: Vec<String> = match given {
            Some(given) => given.split(':').map(|entry| self.descriptor_name(entry)).collect(),
            None => self.socket_names(),
        };
        names.resize(self.descriptors.len(), "stored".to_string());
        names
    }

    /// What a descriptor is called of which init says this ([`exec::ENV_FD_NAMES`]).
    fn descriptor_name(&self, entry: &str) -> String {
        let (unit, name) = entry.split_once('/').unwrap_or(("", entry));
        let keeper = unit.parse().ok().and_then(|index| self.plan.unit(UnitId(index)));
        match keeper.filter(|_| name.is_empty()) {
            Some(service) if service.kind() == UnitKind::Service => CONNECTION.into(),
            Some(socket) => socket_name(&socket).into(),
            None => name.into(),
        }
    }

    /// One name for each listening socket of the socket units that start this one, in the order of the plan.
    fn socket_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for socket in self.unit.edges(EdgeKind::TriggeredBy).filter_map(|id| self.plan.unit(id)) {
            let name = socket_name(&socket);
            names.extend(socket.settings_of(SettingKey::Listen).map(|_| name.to_string()));
        }
        names.truncate(usize::from(self.request.sockets));
        names
    }

    /// Whether a flag of the request is set ([`exec::EVALUATE_CONDITIONS`] and the like).
    pub fn asked(&self, flag: u32) -> bool {
        self.request.flags & flag != 0
    }

    /// Whether the directories of the unit are to be made.
    pub fn makes_directories(&self) -> bool {
        self.asked(exec::MAKE_DIRECTORIES)
            || matches!(self.phase, Phase::Condition | Phase::StartPre | Phase::Start)
    }
}

/// systemd's words for yes (parse_boolean of its sources).
pub fn is_yes(text: &str) -> bool {
    matches!(text, "1" | "yes" | "y" | "true" | "t" | "on")
}

/// What systemd calls the descriptor of a service that serves one connection.
const CONNECTION: &str = "connection";

/// What a listening socket is called.
fn socket_name<'a>(socket: &Unit<'a>) -> &'a str {
    socket.setting(SettingKey::FileDescriptorName).unwrap_or(socket.name())
}

/// The write end of the unit's log pipe.
pub struct UnitLog(Option<OwnedFd>);

impl UnitLog {
    /// A log on this pipe; without one, lines go nowhere.
    pub fn new(pipe: Option<OwnedFd>) -> Self {
        UnitLog(pipe)
    }

    /// The pipe, for standard output and error.
    pub fn pipe(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }

    /// Writes one line. Where the pipe is full the line is lost: a start never waits for the log.
    pub fn line(&self, text: &str) {
        let Some(pipe) = &self.0 else { return };
        let mut ready = [PollFd::new(pipe, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A writable pipe has room for PIPE_BUF bytes, so a line that is cut to it can't block.
        if poll(&mut ready, Some(&now)) == Ok(1) {
            let mut line: Vec<u8> =
                text.bytes().map(|b| if b == b'\n' { b' ' } else { b }).take(4000).collect();
            line.push(b'\n');
            let _ = rustix::io::write(pipe.as_fd(), &line);
        }
    }
}
