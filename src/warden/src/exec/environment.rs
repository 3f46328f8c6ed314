//! The environment of a command: what systemd.exec(5) says, in its order of precedence.

use super::failure::{At, Failure};
use super::job::Job;
use super::launch::Launch;
use super::{cgroup, credentials, env_file, monitor, safe_path, users};
use crate::compile::name::simplify_path;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hostel_contract::exec::ExecStep;
use hostel_contract::paths;
use hostel_contract::status::UnitResult;
use hostel_plan::{NotifyAccess, Phase, SettingKey};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Search path of services, and of programs that are named without a directory.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files that the locale of services comes from; the first that exists counts (locale.conf(5); Debian's own).
const LOCALE_FILES: [&str; 2] = ["/etc/locale.conf", "/etc/default/locale"];

/// The locale where none is configured: what systemd is built with since version 249.
const DEFAULT_LOCALE: &str = "C.UTF-8";

/// Variables that are taken from a locale file.
const LOCALE_NAMES: [&str; 14] = [
    "LANG",
    "LANGUAGE",
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
];

/// What stands in the place of a shell for users that don't log in.
const NO_SHELLS: [&str; 8] = [
    "/bin/nologin",
    "/sbin/nologin",
    "/usr/bin/nologin",
    "/usr/sbin/nologin",
    "/bin/false",
    "/usr/bin/false",
    "/bin/true",
    "/usr/bin/true",
];

/// The message bus itself, which nss-systemd(8) must not ask for users while it is being started.
const BUS_SERVICES: [&str; 2] = ["dbus.service", "dbus-broker.service"];

/// Where the journal's native socket would be: $JOURNAL_STREAM makes programs write there.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Variables in the order in which they were first set; a later value replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(Vec<u8>, Vec<u8>)>);

impl Environment {
    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// What `systemctl set-environment` has set: assignments with a NUL behind each.
    pub fn read_set() -> Environment {
        let mut environment = Environment::default();
        for assignment in std::fs::read(paths::ENVIRONMENT).unwrap_or_default().split(|byte| *byte == 0) {
            if let Some(at) = assignment.iter().position(|byte| *byte == b'=') {
                environment.set(&assignment[..at], &assignment[at + 1..]);
            }
        }
        environment
    }

    /// Sets all variables of another one.
    pub fn merge(&mut self, other: Environment) {
        for (name, value) in other.0 {
            self.set(name, value);
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Removes what `UnsetEnvironment=` names: a variable, or a variable only where it has this value.
    pub fn unset(&mut self, name_or_assignment: &str) {
        let (name, wanted) = match name_or_assignment.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name_or_assignment, None),
        };
        self.0.retain(|(known, value)| {
            known != name.as_bytes() || wanted.is_some_and(|wanted| value != wanted.as_bytes())
        });
    }

    /// As execve(2) wants it. What has a NUL byte inside can't be passed, and is left out.
    pub fn to_strings(&self) -> Vec<CString> {
        self.0
            .iter()
            .filter_map(|(name, value)| CString::new([name, b"=".as_slice(), value].concat()).ok())
            .collect()
    }
}

/// Whether this may be the name of a variable: what a shell takes for one.
pub fn is_name(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'_'))
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// The whole environment of a command that is about to run.
pub fn build(job: &Job<'_>, launch: &Launch<'_>) -> Result<Environment, Failure> {
    let mut environment = Environment::default();
    manager(&mut environment, &search_path(job));
    environment.merge(Environment::read_set());
    identity(&mut environment, job, launch);
    invocation(&mut environment, job);
    if rustix::process::getppid().is_some_and(|init| !init.is_init()) {
        // Debian's scripts tell by their parent, which is to be 1, that they needn't ask systemctl to start them.
        environment.set("SYSTEMCTL_SKIP_REDIRECT", "true");
    }
    if BUS_SERVICES.contains(&job.unit.name()) {
        environment.set("SYSTEMD_NSS_DYNAMIC_BYPASS", "1");
    }
    monitor::tell(&mut environment, job);
    descriptors(&mut environment, launch);
    peer(&mut environment, job);
    directories(&mut environment, launch);
    if let Some(path) = credentials::directory(job) {
        environment.set("CREDENTIALS_DIRECTORY", path);
    }
    ending(&mut environment, job);
    memory_pressure(&mut environment, job);
    if launch.streams_to_log && std::fs::exists(JOURNAL_SOCKET).unwrap_or(false) {
        journal_stream(&mut environment, job);
    }
    if launch.has_terminal {
        environment.set("TERM", terminal_type(job));
    }
    for name in job.words(SettingKey::PassEnvironment) {
        if let Some(value) = std::env::var_os(name) {
            environment.set(name, value.into_vec());
        }
    }
    for assignment in job.unit.settings_of(SettingKey::Environment) {
        if let Some((name, value)) = assignment.split_once('=') {
            environment.set(name, value);
        }
    }
    for file in job.unit.settings_of(SettingKey::EnvironmentFile) {
        read_files(&mut environment, job, file)?;
    }
    for name in job.unit.settings_of(SettingKey::UnsetEnvironment) {
        environment.unset(name);
    }
    Ok(environment)
}

/// What every service is started with, unless its unit says otherwise.
pub fn of_manager() -> Environment {
    let mut environment = Environment::default();
    manager(&mut environment, &own_search_path());
    environment.merge(Environment::read_set());
    environment
}

/// ExecSearchPath=, or what every service has.
pub fn search_path(job: &Job<'_>) -> String {
    let own: Vec<&str> = job.directives(SettingKey::Scheduling, "ExecSearchPath").collect();
    if own.is_empty() { own_search_path() } else { own.join(":") }
}

/// What every service has: in a root that has no systemctl, with our own as the last resort.
fn own_search_path() -> String {
    match Path::new(paths::APPLETS).is_dir() {
        true => format!("{SEARCH_PATH}:{}", paths::APPLETS),
        false => SEARCH_PATH.to_string(),
    }
}

/// What every service has: the search path and the machine's locale.
fn manager(environment: &mut Environment, search_path: &str) {
    environment.set("PATH", search_path);
    let text = LOCALE_FILES.iter().find_map(|file| safe_path::read_small(file).ok()).unwrap_or_default();
    let configured = locale(&text);
    if configured.is_empty() {
        environment.set("LANG", DEFAULT_LOCALE);
    }
    for (name, value) in configured {
        environment.set(name, value);
    }
}

/// The variables of a locale file that count.
fn locale(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let is_known = |name: &[u8]| LOCALE_NAMES.iter().any(|known| known.as_bytes() == name);
    let mut assignments = env_file::parse(text);
    assignments.retain(|(name, value)| is_known(name) && !value.is_empty());
    assignments
}

/// HOME and the like, where User= is set; SetLoginEnvironment= has the last word. A home or a shell that is none is not
/// told (systemd's get_user_creds with USER_CREDS_CLEAN): a program that finds no $SHELL takes a working one.
fn identity(environment: &mut Environment, job: &Job<'_>, launch: &Launch<'_>) {
    let wanted = job.directive(SettingKey::Scheduling, "SetLoginEnvironment").map(super::job::is_yes);
    let root;
    let user = match (launch.user, wanted) {
        (_, Some(false)) | (None, None) => return,
        (Some(user), _) => user,
        (None, Some(true)) => match users::user("root") {
            Ok(user) => {
                root = user;
                &root
            }
            Err(_) => return,
        },
    };
    if user.home.len() > 1 && user.home.starts_with('/') && user.uid != users::NOBODY {
        environment.set("HOME", simplify_path(&user.home));
    }
    environment.set("LOGNAME", user.name.as_str());
    environment.set("USER", user.name.as_str());
    if user.shell.starts_with('/') && !NO_SHELLS.contains(&user.shell.as_str()) {
        environment.set("SHELL", simplify_path(&user.shell));
    }
}

/// Which life of the unit this is, who its main process is, and where it talks to init.
fn invocation(environment: &mut Environment, job: &Job<'_>) {
    let hexadecimal: String = job.request.invocation.iter().map(|byte| format!("{byte:02x}")).collect();
    environment.set("INVOCATION_ID", hexadecimal);
    environment.set("SYSTEMD_EXEC_PID", std::process::id().to_string());
    if let Some(file) = job.setting(SettingKey::PidFile) {
        environment.set("PIDFILE", file);
    }
    if job.request.main_pid != 0 {
        environment.set("MAINPID", job.request.main_pid.to_string());
    }
    if job.unit.fdstore_max() != 0 {
        environment.set("FDSTORE", job.unit.fdstore_max().to_string());
    }
    let notifies = match job.unit.notify_access() {
        NotifyAccess::None => false,
        NotifyAccess::Main => job.phase == Phase::Start,
        NotifyAccess::Exec | NotifyAccess::All => true,
    };
    if notifies {
        environment.set("NOTIFY_SOCKET", format!("{}/{}", paths::NOTIFY_DIR, job.unit.name()));
    }
    if job.request.watchdog_usec != 0 && job.phase == Phase::Start {
        environment.set("WATCHDOG_PID", std::process::id().to_string());
        environment.set("WATCHDOG_USEC", job.request.watchdog_usec.to_string());
    }
}

/// sd_listen_fds(3).
fn descriptors(environment: &mut Environment, launch: &Launch<'_>) {
    let count = launch.descriptor_names.len();
    if count == 0 {
        return;
    }
    environment.set("LISTEN_PID", std::process::id().to_string());
    environment.set("LISTEN_FDS", count.to_string());
    environment.set("LISTEN_FDNAMES", launch.descriptor_names.join(":"));
}

/// $REMOTE_ADDR and $REMOTE_PORT, where the unit was started for one connection.
fn peer(environment: &mut Environment, job: &Job<'_>) {
    let [connection] = job.descriptors.as_slice() else { return };
    let Ok(Some(address)) = rustix::net::getpeername(connection) else { return };
    if let Ok(address) = std::net::SocketAddr::try_from(address.clone()) {
        environment.set("REMOTE_ADDR", address.ip().to_canonical().to_string());
        environment.set("REMOTE_PORT", address.port().to_string());
    } else if let Ok(address) = rustix::net::SocketAddrUnix::try_from(address) {
        if let Some(path) = address.path_bytes() {
            environment.set("REMOTE_ADDR", path);
        } else if let Some(name) = address.abstract_name() {
            environment.set("REMOTE_ADDR", [b"@", name].concat());
        }
    }
}

/// Where the service is told of memory becoming scarce: its cgroup's own file, where memory is accounted for. Where it
/// is not wanted, /dev/null says so to libraries.
fn memory_pressure(environment: &mut Environment, job: &Job<'_>) {
    let get = |name| job.directive(SettingKey::Scheduling, name);
    let wanted = get("MemoryPressureWatch").unwrap_or("auto");
    if matches!(wanted, "off" | "no" | "0" | "false") {
        return environment.set("MEMORY_PRESSURE_WATCH", "/dev/null");
    }
    let Some(own) = cgroup::own() else { return };
    let file = own.join("memory.pressure");
    if !own.join("memory.current").exists()
        || rustix::fs::access(&file, rustix::fs::Access::WRITE_OK).is_err()
    {
        return;
    }
    let threshold = get("MemoryPressureThresholdSec").and_then(crate::compile::parse_microseconds);
    let what = format!("some {} 2000000\0", threshold.unwrap_or(200_000));
    environment.set("MEMORY_PRESSURE_WATCH", file.into_os_string().into_vec());
    environment.set("MEMORY_PRESSURE_WRITE", BASE64_STANDARD.encode(what));
}

/// $RUNTIME_DIRECTORY and its kin.
fn directories(environment: &mut Environment, launch: &Launch<'_>) {
    for (name, value) in &launch.directories {
        environment.set(*name, value.as_str());
    }
}

/// What the stop phases are told of how the service ended.
fn ending(environment: &mut Environment, job: &Job<'_>) {
    if !matches!(job.phase, Phase::Stop | Phase::StopPost) {
        return;
    }
    let result = UnitResult::from_code(job.request.result).unwrap_or(UnitResult::Success);
    environment.set("SERVICE_RESULT", result.name());
    if let Some((code, status)) = ending_of(job.request.exit_kind, job.request.exit_status) {
        environment.set("EXIT_CODE", code);
        environment.set("EXIT_STATUS", status);
    }
}

/// How a main process ended, as `$EXIT_CODE` and `$EXIT_STATUS` say it; `None` where it didn't.
pub fn ending_of(kind: u8, status: u32) -> Option<(&'static str, String)> {
    match kind {
        1 => Some(("exited", status.to_string())),
        2 => Some(("killed", crate::signals::name(status))),
        3 => Some(("dumped", crate::signals::name(status))),
        _ => None,
    }
}

/// $TERM of a unit that has a terminal: on the console what init was told, and otherwise systemd's defaults.
fn terminal_type(job: &Job<'_>) -> Vec<u8> {
    let path = job.setting(SettingKey::TtyPath).unwrap_or("/dev/console");
    let is_virtual =
        path.strip_prefix("/dev/tty").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    match std::env::var_os("TERM") {
        Some(told) if path == "/dev/console" && !told.is_empty() => told.into_vec(),
        _ if is_virtual => b"linux".to_vec(),
        _ => b"vt220".to_vec(),
    }
}

/// Tells a program that its standard error is the log already.
fn journal_stream(environment: &mut Environment, job: &Job<'_>) {
    if let Some(stat) = job.log.pipe().and_then(|pipe| rustix::fs::fstat(pipe).ok()) {
        environment.set("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    }
}

/// One EnvironmentFile=: `-` in front where it may be missing; wildcards are allowed.
fn read_files(environment: &mut Environment, job: &Job<'_>, setting: &str) -> Result<(), Failure> {
    let (optional, path) = match setting.strip_prefix('-') {
        Some(path) => (true, path),
        None => (false, setting),
    };
    let mut paths = safe_path::expand_wildcards(path);
    if paths.is_empty() {
        paths.push(path.into());
    }
    for path in paths {
        match safe_path::read_small(&path) {
            Ok(text) => {
                for (name, value) in env_file::parse(&text) {
                    if is_name(&name) {
                        environment.set(name, value);
                    } else {
                        let name = String::from_utf8_lossy(&name);
                        job.log.line(&format!(
                            "{}: `{name}` is no name for a variable: ignored",
                            path.display()
                        ));
                    }
                }
            }
            Err(_) if optional => {}
            Err(error) => {
                return Err(error).at(ExecStep::Resources, || format!("EnvironmentFile={}", path.display()));
            }
        }
    }
    Ok(())
}
