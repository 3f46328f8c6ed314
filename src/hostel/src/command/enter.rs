//! `exec`, `suexec` and `enter`: a command, or a login shell, in a running guest.
//!
//! Where the caller has a terminal, the command gets one of the guest's own, and the two are joined byte by byte:
//! nothing inside can type into the caller's. Otherwise it gets the caller's descriptors as they are.

use crate::cli::{EnterArgs, ExecArgs, SuexecArgs};
use crate::context::caps;
use crate::context::open_terminal;
use crate::error::{Doing, Error, Result, exit};
use crate::guest_user::{self, GuestUser};
use crate::join::{self, Inside};
use crate::launch::PATH;
use crate::name::GuestName;
use crate::outputs::Outputs;
use crate::places::Places;
use crate::programs::c_string;
use crate::sys::fds::{receive_with, send_with};
use crate::sys::{self, signal};
use crate::terminal::{Input, Relay, RelayEvent, stdin_is_terminal};
use hostel_contract::paths;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitOptions, WaitStatus, waitpid};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Signals of this process that are heard: those that are passed on to a command, and what becomes of it.
const SIGNALS: &[i32] =
    &[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGWINCH, libc::SIGCHLD];
/// Shells for a user whose own isn't there.
const SHELLS: &[&str] = &["/bin/bash", "/bin/sh"];

/// What is to be run inside.
struct Task<'a> {
    user: Option<&'a str>,
    /// None: the user's login shell.
    command: Option<&'a [OsString]>,
    variables: &'a [String],
    directory: Directory<'a>,
    /// None: the user's own.
    groups: Option<&'a [String]>,
    /// Capabilities that it goes without.
    dropped: &'a [String],
    no_new_privileges: bool,
}

/// Where a command begins.
enum Directory<'a> {
    /// At the guest's root.
    Root,
    /// In the user's home, where there is one.
    Home,
    /// There.
    At(&'a Path),
}

impl<'a> Task<'a> {
    fn of_user(user: Option<&'a str>, command: Option<&'a [OsString]>) -> Task<'a> {
        Task {
            user,
            command,
            variables: &[],
            directory: Directory::Home,
            groups: None,
            dropped: &[],
            no_new_privileges: false,
        }
    }

    fn run(&self, places: &Places, guest: &GuestName) -> Result<u8> {
        let guest = join::Guest::running(places, guest)?;
        if stdin_is_terminal() { on_terminal(&guest, self) } else { on_descriptors(&guest, self) }
    }
}

/// `hostel exec`.
pub fn exec(places: &Places, args: &ExecArgs) -> Result<u8> {
    if let Some(bad) = args.env.iter().find(|variable| !variable.contains('=')) {
        return Err(Error::Invalid(format!("--env {bad:?} isn't of the form NAME=VALUE")));
    }
    let task = Task {
        variables: &args.env,
        directory: args.directory.as_deref().map_or(Directory::Root, Directory::At),
        groups: args.groups.as_deref(),
        dropped: &args.dropped,
        no_new_privileges: args.no_new_privileges,
        ..Task::of_user(args.user.as_deref(), Some(&args.command))
    };
    task.run(places, &args.guest)
}

/// `hostel suexec`.
pub fn suexec(places: &Places, args: &SuexecArgs) -> Result<u8> {
    Task::of_user(Some(&args.user), Some(&args.command)).run(places, &args.guest)
}

/// `hostel enter`.
pub fn enter(places: &Places, args: &EnterArgs) -> Result<u8> {
    Task::of_user(args.user.as_deref(), None).run(places, &args.guest)
}

fn on_descriptors(guest: &join::Guest, task: &Task<'_>) -> Result<u8> {
    let signals = signal::signal_descriptor(SIGNALS).doing(|| "preparing for signals")?;
    let outputs = Outputs::new()?;
    let inside = guest.fork_inside(&outputs.kept(), || match outputs.take() {
        Ok(()) => become_task(guest, task),
        Err(_) => exit::HOSTEL_FAILED.into(),
    })?;
    outputs.copy_until_end(&inside.pidfd, &signals, |number| inside.signalled(number))?;
    status_of(&inside)
}

fn on_terminal(guest: &join::Guest, task: &Task<'_>) -> Result<u8> {
    let signals = signal::signal_descriptor(SIGNALS).doing(|| "preparing for signals")?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .doing(|| "making a socket pair")?;
    let inside = guest.fork_inside(&[theirs.as_fd()], || match take_terminal(&theirs) {
        Ok(()) => become_task(guest, task),
        Err(error) => {
            crate::print_error(&error);
            exit::HOSTEL_FAILED.into()
        }
    })?;
    drop(theirs);
    let (_, descriptors) = receive_with(&ours, &mut [0]).doing(|| "receiving a terminal of the guest")?;
    let Some(master) = descriptors.into_iter().next() else { return status_of(&inside) };
    let relay = Relay {
        master: &master,
        process: &inside.pidfd,
        signals: &signals,
        side: None,
        input: Input::Terminal,
    };
    let relayed = relay.run(|event| match event {
        RelayEvent::Signal(number) => inside.signalled(number),
        RelayEvent::Escape | RelayEvent::Hangup => drop(signal::send(inside.pidfd.as_fd(), libc::SIGHUP)),
        RelayEvent::Side => {}
    });
    drop(master);
    relayed?;
    status_of(&inside)
}

/// In the guest: a new terminal of the guest's becomes the standard descriptors; the master side goes out.
fn take_terminal(socket: &OwnedFd) -> Result<()> {
    let (master, slave) = open_terminal()?;
    send_with(socket, b"T", &[master.as_fd()]).doing(|| "handing out the terminal")?;
    for number in 0..3 {
        sys::fds::put_at_standard(slave.as_fd(), number).doing(|| "taking the terminal")?;
    }
    sys::terminal::make_controlling(slave.as_fd()).doing(|| "taking the terminal")
}

/// The status to exit with, from the command's.
fn status_of(inside: &Inside) -> Result<u8> {
    let waited = waitpid(Some(inside.pid), WaitOptions::empty()).doing(|| "waiting for the command")?;
    Ok(waited.map_or(exit::HOSTEL_FAILED, |(_, status)| exit_status(status)))
}

/// A command's status as a shell tells it.
pub fn exit_status(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::HOSTEL_FAILED)
}

/// In the guest: the user, the environment, the program.
fn become_task(guest: &join::Guest, task: &Task<'_>) -> i32 {
    let prepared = (|| {
        let mut user = guest_user::find(task.user.unwrap_or("0"))?;
        if let Some(groups) = task.groups {
            user.groups = guest_user::groups(groups)?;
        }
        // Only the guest's root may.
        if !task.dropped.is_empty() {
            caps::limit(caps::granted(task.dropped))?;
        }
        let groups = guest.permits_groups().then_some(&user.groups[..]);
        if user.id != 0 || user.group != 0 || groups.is_some() {
            sys::process::become_user(user.id, user.group, groups)
                .doing(|| format!("becoming user {} of the guest", user.name))?;
        }
        sys::fds::close_on_exec_from(3).doing(|| "marking descriptors")?;
        match task.directory {
            Directory::Root => {}
            // As login(1): without a home one begins at the root.
            Directory::Home => drop(rustix::process::chdir(&*user.home)),
            Directory::At(path) => {
                rustix::process::chdir(path).on("in the guest: entering", path)?;
            }
        }
        if task.no_new_privileges {
            rustix::thread::set_no_new_privs(true).doing(|| "forbidding new privileges")?;
        }
        let command = task.command.map_or_else(|| login_shell(&user), <[OsString]>::to_vec);
        Ok::<_, Error>((command, variables(&user, task.variables)))
    })();
    match prepared {
        Ok((command, variables)) => {
            executed_as(&command, task.command.is_none(), &inside_environment(&variables))
        }
        Err(error) => {
            crate::print_error(&error);
            exit::HOSTEL_FAILED.into()
        }
    }
}

fn login_shell(user: &GuestUser) -> Vec<OsString> {
    let there = |shell: &&str| std::path::Path::new(shell).exists();
    let shell =
        std::iter::once(user.shell.as_str()).chain(SHELLS.iter().copied()).find(there).unwrap_or("/bin/sh");
    vec![shell.into()]
}

fn variables(user: &GuestUser, wished: &[String]) -> Vec<(String, String)> {
    let mut variables = vec![
        ("HOME".to_owned(), user.home.clone()),
        ("USER".to_owned(), user.name.clone()),
        ("LOGNAME".to_owned(), user.name.clone()),
        ("SHELL".to_owned(), user.shell.clone()),
    ];
    variables.extend(wished.iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    }));
    variables
}

/// The environment of what is run inside: nothing of the caller's but its terminal's kind.
pub fn inside_environment(more: &[(String, String)]) -> Vec<CString> {
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
    // A guest that has no systemctl has ours there: see the warden's module `applets`.
    let path = format!("{PATH}:{}", paths::APPLETS);
    let base = [
        ("PATH", path.as_str()),
        ("TERM", terminal.as_str()),
        (paths::ENV_CONTAINER, paths::CONTAINER_VALUE),
    ];
    let all = base.into_iter().chain(more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    all.filter_map(|(name, value)| c_string(format!("{name}={value}")).ok()).collect()
}

/// Executes a command, found as a shell finds it. Returns only on failure, with the status that says so.
pub fn executed(command: &[OsString], environment: &[CString]) -> i32 {
    executed_as(command, false, environment)
}

fn executed_as(command: &[OsString], login: bool, environment: &[CString]) -> i32 {
    let Some(program) = command.first() else { return exit::HOSTEL_FAILED.into() };
    let arguments: Result<Vec<CString>> = command
        .iter()
        .enumerate()
        .map(|(index, argument)| {
            let bytes = argument.as_bytes();
            // A login shell knows itself by a dash.
            let base = bytes.rsplit(|&b| b == b'/').next().unwrap_or(bytes);
            c_string(if login && index == 0 { [b"-", base].concat() } else { bytes.to_vec() })
        })
        .collect();
    let failed = (|| -> Result<std::io::Error> {
        let arguments = arguments?;
        let mut last = std::io::Error::from_raw_os_error(libc::ENOENT);
        for path in candidates(program, environment) {
            let error = sys::process::execute(&c_string(path.into_vec())?, &arguments, environment);
            // A later folder may have one that can be executed.
            if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
                last = error;
            }
        }
        Ok(last)
    })();
    match failed {
        Ok(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            crate::print_error(&Error::call(
                format!("executing {:?} in the guest", program.to_string_lossy()),
                error,
            ));
            i32::from(if missing { exit::NOT_FOUND } else { exit::CANNOT_EXECUTE })
        }
        Err(error) => {
            crate::print_error(&error);
            exit::HOSTEL_FAILED.into()
        }
    }
}

fn candidates(program: &OsStr, environment: &[CString]) -> Vec<OsString> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = environment.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    std::env::split_paths(OsStr::from_bytes(path.unwrap_or_default()))
        .map(|folder| folder.join(program).into())
        .collect()
}
