//! The terminal of a unit: TTYPath=, who controls it, and how it is set up.

use super::failure::{At, Failure};
use super::job::Job;
use crate::sys::{self, Steal};
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, OwnedFd};

/// How a terminal becomes the controlling one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Once it is nobody's: `tty`.
    Wait,
    /// Where it is nobody's: `tty-fail`.
    Ask,
    /// Also where it is another session's: `tty-force`.
    Force,
}

/// Opens it for standard output or error.
pub fn open(job: &Job<'_>, step: ExecStep) -> Result<OwnedFd, Failure> {
    let path = path(job);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let tty = rustix::fs::open(path, flags, Mode::empty()).at(step, || format!("TTYPath={path}"))?;
    set_up(job, &tty);
    Ok(tty)
}

/// Opens it for standard input, where it also becomes the controlling one of the session and the user's own.
pub fn take(job: &Job<'_>, control: Control, owner: Option<u32>, step: ExecStep) -> Result<OwnedFd, Failure> {
    let path = path(job);
    let text = || format!("TTYPath={path}");
    if job.is_on(SettingKey::TtyVHangup) {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // Not permitted to a guest's root on every kernel: the terminal is then as its last user left it.
        let _ = rustix::fs::open(path, flags, Mode::empty()).map(|tty| sys::hang_up(tty.as_fd()));
    }
    // Watched before it is asked for, so that no end of its session is missed.
    let closes = inotify::init(inotify::CreateFlags::CLOEXEC).at(step, text)?;
    inotify::add_watch(&closes, path, inotify::WatchFlags::CLOSE).at(step, text)?;
    loop {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = rustix::fs::open(path, flags, Mode::empty()).at(step, text)?;
        let steal = if control == Control::Force { Steal::Yes } else { Steal::No };
        match sys::take_terminal(tty.as_fd(), steal) {
            Err(Errno::PERM) if control == Control::Wait => {
                drop(tty);
                wait_for_close(&closes).at(step, text)?;
            }
            other => {
                other.at(step, || format!("{}: it is the terminal of another session", text()))?;
                if let Some(uid) = owner {
                    let _ = rustix::fs::fchown(&tty, Some(rustix::fs::Uid::from_raw(uid)), None);
                }
                set_up(job, &tty);
                return Ok(tty);
            }
        }
    }
}

/// Waits until somebody closes it. Our own closing is one event, so two are awaited.
fn wait_for_close(closes: &OwnedFd) -> Result<(), Errno> {
    // An event without a name is 16 bytes.
    const EVENT: usize = 16;
    let mut buffer = [0; EVENT * 16];
    let mut events = 0;
    while events < 2 {
        events += rustix::io::read(closes, &mut buffer)? / EVENT;
    }
    Ok(())
}

fn path<'a>(job: &Job<'a>) -> &'a str {
    job.setting(SettingKey::TtyPath).unwrap_or("/dev/console")
}

/// TTYReset=, TTYRows= and TTYColumns=.
fn set_up(job: &Job<'_>, tty: &OwnedFd) {
    if job.is_on(SettingKey::TtyReset) {
        reset(tty);
    }
    let size = |name| job.directive(SettingKey::Scheduling, name).and_then(|text| text.parse::<u16>().ok());
    let (rows, columns) = (size("TTYRows"), size("TTYColumns"));
    if (rows.is_some() || columns.is_some())
        && let Ok(now) = rustix::termios::tcgetwinsize(tty)
    {
        let wanted =
            Winsize { ws_row: rows.unwrap_or(now.ws_row), ws_col: columns.unwrap_or(now.ws_col), ..now };
        let _ = rustix::termios::tcsetwinsize(tty, wanted);
    }
}

/// Line mode with echo, as a login expects it.
fn reset(tty: &OwnedFd) {
    use rustix::termios::{ControlModes, InputModes, LocalModes, OptionalActions, OutputModes};
    let Ok(mut modes) = rustix::termios::tcgetattr(tty) else { return };
    modes.input_modes -= InputModes::IGNBRK | InputModes::BRKINT | InputModes::ISTRIP | InputModes::INLCR;
    modes.input_modes -= InputModes::IGNCR | InputModes::IUCLC;
    modes.input_modes |= InputModes::ICRNL | InputModes::IMAXBEL | InputModes::IUTF8;
    modes.output_modes |= OutputModes::ONLCR | OutputModes::OPOST;
    modes.control_modes |= ControlModes::CREAD;
    modes.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::IEXTEN
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE;
    let _ = rustix::termios::tcsetattr(tty, OptionalActions::Now, &modes);
    let _ = rustix::termios::tcflush(tty, rustix::termios::QueueSelector::IOFlush);
}
