//! Handing over (Linux-VServer's style "plain"): the guest's own `/sbin/init` is PID 1, in the place of ours.
//!
//! Asked for by `init = "plain"`, and never chosen by itself. The context is the same, and so is what systemd's Container
//! Interface asks for; what differs is how such a guest is asked to stop, which is told by what its PID 1 *is*: the kernel
//! knows which program that process runs. Of what the guest says nothing is believed.

use crate::command::enter::{executed, inside_environment};
use crate::error::{Doing, Error, Result};
use crate::join;
use crate::outputs::Outputs;
use crate::places::Places;
use crate::record::Record;
use crate::sys::signal;
use rustix::process::{WaitOptions, waitpid};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Value of the key `init` that asks for it.
pub const PLAIN: &str = "plain";

/// Where a guest's init may be, in the order in which kernels and other hosts look.
pub const PROGRAMS: &[&str] = &[
    "/sbin/init",
    "/usr/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/etc/init",
    "/bin/init",
];

/// How long the command of a stop may take until it has asked.
const COMMAND_PATIENCE: Duration = Duration::from_secs(20);

/// How an init is asked to power off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// A signal.
    Signal(i32),
    /// A signal, counted from SIGRTMIN.
    RealTime(i32),
    /// A command, inside the guest.
    Command(&'static [&'static str]),
}

/// What an init understands.
struct Language {
    /// The last name of its program's file.
    program: &'static str,
    stop: Stop,
    /// It says READY=1 to NOTIFY_SOCKET.
    notifies: bool,
    /// It brings the loopback up itself, and its services wait until it sees that happen.
    awaits_loopback: bool,
}

const fn says(program: &'static str, stop: Stop) -> Language {
    Language { program, stop, notifies: false, awaits_loopback: false }
}

/// All that are known. The source of each is its own manual.
const LANGUAGES: &[Language] = &[
    // systemd(1), SIGNALS: SIGRTMIN+4 starts poweroff.target.
    Language { notifies: true, ..says("systemd", Stop::RealTime(4)) },
    // sysvinit's init(8): only its control channel says 0; what SIGPWR does is in its inittab.
    says("init", Stop::Command(&["init", "0"])),
    // runit-init(8) executes runit(8); its 0 marks stopit.
    says("runit", Stop::Command(&["init", "0"])),
    says("runit-init", Stop::Command(&["init", "0"])),
    // BusyBox, init/init.c: USR2 powers off.
    says("busybox", Stop::Signal(libc::SIGUSR2)),
    // openrc-init(8) listens at its FIFO.
    says("openrc-init", Stop::Command(&["openrc-shutdown", "--poweroff", "now"])),
    // finit(8): USR2 powers off. Its netlink plugin (4.2) asks nobody what is up already, it hears of what changes: where a
    // host has brought the loopback up, all that waits for <net/lo/up>, sshd for one, never starts.
    Language { awaits_loopback: true, ..says("finit", Stop::Signal(libc::SIGUSR2)) },
    // dinit(8), SIGNALS: TERM shuts down and, as the system's manager, powers off.
    says("dinit", Stop::Signal(libc::SIGTERM)),
    // s6-linux-init-shutdown(8).
    says("s6-svscan", Stop::Command(&["s6-linux-init-shutdown", "-p", "now"])),
];

/// Of an init that isn't known: what LXC sends, and most take as a power failure.
const UNKNOWN: Stop = Stop::Signal(libc::SIGPWR);

/// The last name of the program that a guest's PID 1 runs; `None` while that is still this tool, or when it is gone.
fn program(record: &Record) -> Option<String> {
    let pid = record.init.filter(crate::process::ProcessId::lives)?.pid;
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    if std::fs::read_link("/proc/self/exe").is_ok_and(|own| own == link) {
        return None;
    }
    let name = link.file_name()?.to_str()?;
    // Since it was replaced on disk.
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

fn language(record: &Record) -> Option<&'static Language> {
    let program = program(record)?;
    LANGUAGES.iter().find(|language| language.program == program)
}

/// Does the init that this root has want the loopback as a machine's kernel leaves it? Asked in the guest's root, before its
/// init runs; a wrong answer costs that guest its loopback, and nobody else anything.
pub fn awaits_loopback() -> bool {
    let file = PROGRAMS.iter().find_map(|path| std::fs::canonicalize(path).ok());
    let name = file.as_deref().and_then(std::path::Path::file_name);
    LANGUAGES
        .iter()
        .any(|language| language.awaits_loopback && name.is_some_and(|name| name == language.program))
}

/// Will this guest never say that it is ready? Known as soon as its init runs.
pub fn is_silent(record: &Record) -> bool {
    match program(record) {
        None => false,
        Some(_) => !language(record).is_some_and(|language| language.notifies),
    }
}

/// Asks a guest with an init of its own to power off.
pub fn ask_to_stop(places: &Places, record: &Record, pidfd: &OwnedFd) -> Result<()> {
    let name = &record.guest.name;
    let doing = || format!("asking guest {name} to stop");
    let send = |number| match signal::send(pidfd.as_fd(), number) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(e).doing(doing),
        _ => Ok(()),
    };
    match language(record).map_or(UNKNOWN, |language| language.stop) {
        Stop::Signal(number) => send(number),
        Stop::RealTime(offset) => send(libc::SIGRTMIN() + offset),
        Stop::Command(command) => match run_inside(places, record, command) {
            // It may have been so fast that the command went with it.
            _ if !record.init.is_some_and(|init| init.lives()) => Ok(()),
            other => other,
        },
    }
}

/// Runs the command of a stop inside, and waits until it has asked.
fn run_inside(places: &Places, record: &Record, command: &[&str]) -> Result<()> {
    let guest = join::Guest::running(places, &record.guest.name)?;
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let outputs = Outputs::new()?;
    let inside = guest.fork_inside(&outputs.kept(), || match outputs.take_without_input() {
        Ok(()) => executed(&command, &inside_environment(&[])),
        Err(_) => 125,
    })?;
    if !crate::process::wait_end(inside.pidfd.as_fd(), COMMAND_PATIENCE) {
        let _ = signal::send(inside.pidfd.as_fd(), libc::SIGKILL);
    }
    let ended =
        waitpid(Some(inside.pid), WaitOptions::empty()).doing(|| "waiting for the command of the stop")?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        _ => Err(Error::Invalid(format!(
            "guest {} was not asked to stop: {:?} failed inside it; `hostel stop --timeout 0` kills it",
            record.guest.name,
            command.join(std::ffi::OsStr::new(" "))
        ))),
    }
}

/// Becomes the guest's own init. Returns only on failure.
pub fn become_init(environment: &[CString]) -> Error {
    let _ = signal::unblock_all();
    let arguments = [c"/sbin/init".to_owned()];
    let mut last = std::io::Error::from_raw_os_error(libc::ENOENT);
    for path in PROGRAMS {
        let Ok(program) = CString::new(*path) else { continue };
        let error = crate::sys::process::execute(&program, &arguments, environment);
        if error.raw_os_error() != Some(libc::ENOENT) {
            last = error;
        }
    }
    Error::call("executing the guest's own /sbin/init, which init=plain asks for", last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_table_when_read_then_each_program_stands_once_and_only_systemd_says_that_it_is_ready() {
        for language in LANGUAGES {
            assert_eq!(LANGUAGES.iter().filter(|other| other.program == language.program).count(), 1);
            assert_eq!(language.notifies, language.program == "systemd");
        }
    }
}
