//! From a request to the daemon's own exec: every step that systemd.exec(5) has in between, in systemd's order.
//!
//! Steps that need root come first (directories, streams, scheduling, sandbox), then the change of user, then what
//! must be judged with the user's own rights (the working directory, the program). A step that fails ends the
//! start with a record; what a guest merely may not have costs a line in the unit's log.

use super::capabilities;
use super::environment::{self, Environment};
use super::expand;
use super::failure::{At, Failure};
use super::job::Job;
use super::users::{self, Identity, User};
use super::{
    attributes, cgroup, credentials, directories, limits, open_file, pam, sandbox, seccomp, streams, utmp,
};
use crate::sys;
use hostel_contract::exec::{ENV_FD_NAMES, ExecStep};
use hostel_plan::{Command, Phase, SettingKey, UnitKind, command_flags};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// First descriptor of sd_listen_fds(3).
const LISTEN_FDS_START: i32 = 3;

/// How much of the unit's confinement a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confinement {
    /// All of it.
    Full,
    /// All but the change of user (`!`).
    KeepsUser,
    /// None (`+`, and PermissionsStartOnly= for all but the main process).
    None,
}

/// What is known of a command once its unit has been looked at.
pub struct Launch<'a> {
    /// The user to become.
    pub user: Option<&'a User>,
    /// Variables and paths of the unit's directories.
    pub directories: Vec<(&'static str, String)>,
    /// Names of the unit's descriptors.
    pub descriptor_names: Vec<String>,
    /// Whether output or error goes to the unit's log.
    pub streams_to_log: bool,
    /// Whether a stream is a terminal.
    pub has_terminal: bool,
}

/// Why the daemon does not run.
pub enum Stopped {
    /// A step failed.
    Failed(Failure),
    /// The program is missing, and `-` says that it may be.
    Skipped(String),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Stopped::Failed(failure)
    }
}

/// Becomes the command that the request names. Comes back only with the reason why not.
pub fn run(job: &Job<'_>) -> Stopped {
    match prepare(job) {
        Ok(never) => match never {},
        Err(stopped) => stopped,
    }
}

fn prepare(job: &Job<'_>) -> Result<std::convert::Infallible, Stopped> {
    let command = job.unit.command(job.phase, job.request.command).ok_or_else(|| {
        let text =
            format!("{} has no command {} for {}", job.unit.name(), job.request.command, job.phase.name());
        Failure::new(ExecStep::Protocol, text)
    })?;
    let confinement = confinement(job, &command);
    let identity = match confinement {
        Confinement::Full => users::identity(job)?,
        Confinement::KeepsUser | Confinement::None => Identity::default(),
    };
    say_only_user(job);
    // Fails only where this is a session's leader already.
    let _ = rustix::process::setsid();
    if job.makes_directories() {
        // They are the service's also where this command keeps root's user.
        let owner = if confinement == Confinement::Full { identity.clone() } else { users::identity(job)? };
        directories::make(job, &owner)?;
        credentials::make(job, &owner)?;
        cgroup::apply(job);
        make_mount_point(job)?;
    }
    let mut descriptor_names = job.descriptor_names(std::env::var(ENV_FD_NAMES).ok().as_deref());
    let mut opened: Vec<OwnedFd> = Vec::new();
    for (file, name) in open_file::open(job)? {
        opened.push(file);
        descriptor_names.push(name);
    }
    let streams = streams::open(job, &descriptor_names, identity.user.as_ref().map(|user| user.uid))?;
    if streams.socket {
        // It is the streams, and not passed once more.
        descriptor_names.clear();
    }
    limits::set_scheduling(job);
    attributes::set(job);
    utmp::begin(job, identity.user.as_ref().map_or("root", |user| user.name.as_str()));
    let uid = identity.user.as_ref().map_or(0, |user| user.uid);
    cgroup::delegate(job, uid, identity.gid.unwrap_or(0));
    rustix::process::umask(Mode::from_raw_mode(job.mode(SettingKey::UMask, 0o022)));
    let launch = Launch {
        user: identity.user.as_ref(),
        directories: directories::variables(job),
        descriptor_names,
        streams_to_log: streams.to_log,
        has_terminal: streams.terminal,
    };
    let mut environment = environment::build(job, &launch)?;
    pam::stand_in(job, uid, &mut environment);
    let argv = arguments(job, &command, &environment)?;
    limits::set_limits(job, uid);
    let filters = match confinement {
        Confinement::None => seccomp::Filters::default(),
        Confinement::Full | Confinement::KeepsUser => seccomp::wanted(job),
    };
    confine(job, confinement, &identity, &filters)?;
    change_directory(job, &identity)?;
    let program = find_program(&command, environment::search_path(job))?;
    place_streams(&streams)?;
    if !streams.socket {
        place_descriptors(job, &opened)?;
    }
    let sigpipe = match job.setting(SettingKey::IgnoreSigpipe).is_none_or(super::job::is_yes) {
        true => sys::Sigpipe::Ignored,
        false => sys::Sigpipe::Default,
    };
    sys::reset_signals(sigpipe);
    filters.install(job);
    let errno = sys::execve(&program, &argv, &environment.to_strings());
    Err(exec_failure(&program, errno))
}

/// Once for each start: who it runs as, where that isn't what the unit says.
fn say_only_user(job: &Job<'_>) {
    let named = [SettingKey::User, SettingKey::Group, SettingKey::SupplementaryGroups];
    if job.phase != Phase::Start || !named.iter().any(|key| job.setting(*key).is_some()) {
        return;
    }
    if let Some(uid) = users::only_user() {
        job.log.line(&format!("User= and Group=: there is one user here, {uid}, and the unit runs as that"));
    }
}

/// How much of the confinement the prefixes of a command leave.
fn confinement(job: &Job<'_>, command: &Command<'_>) -> Confinement {
    let is_main = job.phase == Phase::Start;
    if command.flags() & command_flags::FULL_PRIVILEGES != 0
        || (job.is_on(SettingKey::PermissionsStartOnly) && !is_main)
    {
        Confinement::None
    } else if command.flags() & command_flags::NO_SETUID != 0 {
        Confinement::KeepsUser
    } else {
        Confinement::Full
    }
}

/// Where a mount unit mounts must be there.
fn make_mount_point(job: &Job<'_>) -> Result<(), Failure> {
    let Some(place) = job.setting(SettingKey::MountWhere).filter(|_| job.unit.kind() == UnitKind::Mount)
    else {
        return Ok(());
    };
    let mode = job.mode(SettingKey::DirectoryMode, 0o755);
    super::safe_path::open_directory(Path::new(place), super::safe_path::Missing::Make(mode))
        .map(drop)
        // A file can be a mount point, too.
        .or_else(|errno| if Path::new(place).exists() { Ok(()) } else { Err(errno) })
        .at(ExecStep::Namespace, || format!("mount point {place}"))
}

/// The arguments, with variables expanded unless `:` forbids it.
fn arguments(
    job: &Job<'_>,
    command: &Command<'_>,
    environment: &Environment,
) -> Result<Vec<CString>, Failure> {
    let argv = if command.flags() & command_flags::NO_EXPAND != 0 {
        command.argv().map(|word| word.as_bytes().to_vec()).collect()
    } else {
        let expanded = expand::expand(command.argv(), environment);
        for name in expanded.unset {
            job.log.line(&format!("{}: ${{{name}}} is not set and counts as empty", command.path()));
        }
        expanded.argv
    };
    let text = |_| Failure::with(ExecStep::Exec, Errno::INVAL, "an argument with a NUL byte".to_string());
    let mut argv = argv.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map_err(text)?;
    if argv.is_empty() {
        argv.push(CString::new(command.path()).map_err(text)?);
    }
    Ok(argv)
}

/// Sandbox, groups, capabilities, user: in this order, for each needs what the next takes away.
fn confine(
    job: &Job<'_>,
    confinement: Confinement,
    identity: &Identity,
    filters: &seccomp::Filters,
) -> Result<(), Failure> {
    if confinement == Confinement::None {
        return Ok(());
    }
    sandbox::enter(job)?;
    let no_new_privileges = job.is_on(SettingKey::NoNewPrivileges) || job.is_on(SettingKey::DynamicUser);
    // A filter is installed with no_new_privs or with this; it comes last, and setuid programs go on working.
    let keep = if filters.has_programs() && !no_new_privileges {
        CapabilitySet::SYS_ADMIN
    } else {
        CapabilitySet::empty()
    };
    let capabilities = capabilities::wanted(job, keep.bits());
    set_groups(job, identity)?;
    sandbox::enter_users(job, identity.user.as_ref().map_or(0, |user| user.uid), identity.gid.unwrap_or(0))?;
    capabilities::drop_bounding(&capabilities)?;
    if let Some(user) = identity.user.as_ref().filter(|user| user.uid != 0) {
        capabilities::keep_over_user_change(&capabilities)?;
        let uid = Uid::from_raw(user.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .at(ExecStep::User, || format!("User={} ({}): not mapped in this guest?", user.name, user.uid))?;
    }
    let is_root = identity.user.as_ref().is_none_or(|user| user.uid == 0);
    capabilities::settle(job, &capabilities, is_root)?;
    if no_new_privileges {
        rustix::thread::set_no_new_privs(true)
            .at(ExecStep::NoNewPrivileges, || "NoNewPrivileges=".to_string())?;
    }
    Ok(())
}

fn set_groups(job: &Job<'_>, identity: &Identity) -> Result<(), Failure> {
    if let Some(groups) = &identity.groups {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        match rustix::thread::set_thread_groups(&groups) {
            // A user namespace with one user forbids it, and then there are no groups to be had.
            Err(Errno::PERM) if is_denied() => {
                job.log.line("supplementary groups: this guest has none (setgroups is denied), runs without");
            }
            other => other.at(ExecStep::Group, || format!("supplementary groups {groups:?}"))?,
        }
    }
    if let Some(gid) = identity.gid {
        let raw = Gid::from_raw(gid);
        rustix::thread::set_thread_res_gid(raw, raw, raw)
            .at(ExecStep::Group, || format!("group {gid}: not mapped in this guest?"))?;
    }
    Ok(())
}

fn is_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// WorkingDirectory=: with the user's own rights, for it may lie on a file system where root has none.
fn change_directory(job: &Job<'_>, identity: &Identity) -> Result<(), Failure> {
    let setting = job.setting(SettingKey::WorkingDirectory).unwrap_or("/");
    let (optional, path) = match setting.strip_prefix('-') {
        Some(path) => (true, path),
        None => (false, setting),
    };
    let path = match (path, &identity.user) {
        ("~", Some(user)) if !user.home.is_empty() => user.home.as_str(),
        ("~", _) => "/root",
        (path, _) => path,
    };
    match rustix::process::chdir(path) {
        Err(_) if optional => rustix::process::chdir("/"),
        other => other,
    }
    .at(ExecStep::Chdir, || format!("WorkingDirectory={path}"))
}

/// The program: as it is named, or from the search path.
fn find_program(command: &Command<'_>, search_path: String) -> Result<CString, Stopped> {
    let name = command.path();
    let string = |path: String| {
        CString::new(path)
            .map_err(|_| Failure::with(ExecStep::Exec, Errno::INVAL, "a NUL byte in the program's name"))
    };
    let can_run = |path: &str| rustix::fs::access(path, rustix::fs::Access::EXEC_OK);
    let found = if name.contains('/') {
        can_run(name).map(|()| name.to_string())
    } else {
        let mut tried = search_path.split(':').map(|folder| format!("{folder}/{name}"));
        tried.find(|path| can_run(path).is_ok()).ok_or(Errno::NOENT)
    };
    match found {
        Ok(path) => Ok(string(path)?),
        Err(errno) if command.flags() & command_flags::IGNORE_FAILURE != 0 => {
            Err(Stopped::Skipped(format!("{name}: {}", super::failure::reason(errno.raw_os_error()))))
        }
        Err(errno) => Err(exec_failure(&string(name.to_string())?, errno)),
    }
}

/// Says what is the matter with a program.
fn exec_failure(program: &CString, errno: Errno) -> Stopped {
    let program = program.to_string_lossy();
    let remedy = match errno {
        Errno::NOENT if Path::new(&*program).exists() => " (its interpreter is missing)",
        Errno::NOENT => " (install it, or correct ExecStart= and the like)",
        Errno::ACCESS => " (not executable, or not for this user)",
        Errno::NOEXEC => " (no program: a script needs #! in its first line)",
        _ => "",
    };
    Stopped::Failed(Failure::with(ExecStep::Exec, errno, format!("{program}{remedy}")))
}

/// Puts streams where the program looks for them.
fn place_streams(streams: &streams::Streams) -> Result<(), Failure> {
    let parts = [
        (&streams.input, 0, ExecStep::Stdin),
        (&streams.output, 1, ExecStep::Stdout),
        (&streams.error, 2, ExecStep::Stderr),
    ];
    for (fd, number, step) in parts {
        sys::place_fd(fd.as_fd(), number).at(step, || "placing a stream".to_string())?;
    }
    Ok(())
}

/// Puts the unit's sockets and what it stored, then the files that were opened for it, where sd_listen_fds(3) looks.
/// Everything else goes with the exec.
fn place_descriptors(job: &Job<'_>, opened: &[OwnedFd]) -> Result<(), Failure> {
    // Files that were opened just now may stand where they all go.
    let above = LISTEN_FDS_START + i32::try_from(job.descriptors.len() + opened.len()).unwrap_or(i32::MAX);
    let opened = opened
        .iter()
        .map(|file| rustix::io::fcntl_dupfd_cloexec(file, above))
        .collect::<Result<Vec<_>, _>>()
        .at(ExecStep::Fds, || "files of OpenFile=".to_string())?;
    // Ours don't block, a service's do unless it says otherwise.
    let non_blocking = job.is_on(SettingKey::NonBlocking);
    for (number, fd) in (LISTEN_FDS_START..).zip(job.descriptors.iter().chain(&opened)) {
        let text = || format!("descriptor {number} of the unit");
        rustix::io::ioctl_fionbio(fd, non_blocking).at(ExecStep::Fds, text)?;
        sys::place_fd(fd.as_fd(), number).at(ExecStep::Fds, text)?;
    }
    Ok(())
}
