//! What the host is told of the guest beside what init says: X_SYSTEMD_* of sd_notify(3), as systemd's PID 1 has them. At the
//! boot who it is; at the end how it ends (systemd(1), $NOTIFY_SOCKET), which init's exit can't say where reboot(2) isn't permitted.
//!
//! Sent in init's name: some hosts hear only their guest's PID 1 (systemd-nspawn's credentials check). Where the kernel
//! doesn't let us speak for it, in ours, which is enough for the others; nothing depends on it.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::path::Path;

use hostel_contract::ShutdownKind;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, UCred, sendmsg_addr, socket_with,
};
use rustix::process::{Pid, getgid, getuid};

/// Signals that init understands: those of systemd up to RTMIN+17, which it calls level 2.
const SIGNALS_LEVEL: u32 = 2;

/// Tells a host that listens who the guest is.
pub fn tell(root: &Path) {
    say(&message(root));
}

/// Tells it how the guest ends.
pub fn tell_end(kind: ShutdownKind) {
    say(&end(kind));
}

fn say(text: &str) {
    if let Some(address) = std::env::var_os("NOTIFY_SOCKET") {
        // What can't be said is lost: it is information only.
        let _ = send(&address.to_string_lossy(), text);
    }
}

fn end(kind: ShutdownKind) -> String {
    // Only the end that is an exit has a status, and it is this one.
    let status = if kind == ShutdownKind::Exit { "EXIT_STATUS=0\n" } else { "" };
    format!("X_SYSTEMD_SHUTDOWN={}\n{status}", kind.name())
}

fn message(root: &Path) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = fs::read_to_string(root.join("etc/machine-id")).unwrap_or_default();
    format!(
        "X_SYSTEMD_HOSTNAME={host}\nX_SYSTEMD_MACHINE_ID={}\nX_SYSTEMD_SIGNALS_LEVEL={SIGNALS_LEVEL}\n",
        id.trim()
    )
}

fn send(address: &str, text: &str) -> rustix::io::Result<()> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(address)?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let init = UCred { pid: Pid::INIT, uid: getuid(), gid: getgid() };
    control.push(SendAncillaryMessage::ScmCredentials(init));
    let text = [IoSlice::new(text.as_bytes())];
    match sendmsg_addr(&socket, &address, &text, &mut control, SendFlags::NOSIGNAL) {
        Err(Errno::PERM) => {
            let mut none = SendAncillaryBuffer::default();
            sendmsg_addr(&socket, &address, &text, &mut none, SendFlags::NOSIGNAL).map(drop)
        }
        sent => sent.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_end_when_told_then_it_is_in_systemds_words() {
        assert_eq!(end(ShutdownKind::PowerOff), "X_SYSTEMD_SHUTDOWN=poweroff\n");
        assert_eq!(end(ShutdownKind::Exit), "X_SYSTEMD_SHUTDOWN=exit\nEXIT_STATUS=0\n");
    }
}
