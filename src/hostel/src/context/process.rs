//! What process 1 of a guest is and has beside its mounts: session, names, keys, capabilities, the socket to its host.

use crate::context::caps;
use crate::context::spawn::Inside;
use crate::error::{Doing, Result};
use crate::sys;
use hostel_contract::paths;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

pub(super) fn new_session(_: &mut Inside) -> Result<()> {
    rustix::process::setsid().doing(|| "making a session").map(drop)
}

/// The socket that init says READY=1 to. The host reads it as what a stranger wrote.
pub(super) fn notify_socket(inside: &mut Inside) -> Result<()> {
    let doing = || format!("making {}", paths::HOST_NOTIFY);
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).doing(doing)?;
    let address = SocketAddrUnix::new(paths::HOST_NOTIFY).doing(doing)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let bound = rustix::net::bind(&socket, &address);
    rustix::process::umask(Mode::empty());
    bound.doing(doing)?;
    inside.notify = Some(socket);
    Ok(())
}

pub(super) fn host_name(inside: &mut Inside) -> Result<()> {
    let config = &inside.plan.config;
    let name = config.text("context", "hostname").unwrap_or(inside.plan.guest.name.as_str());
    rustix::system::sethostname(name.as_bytes()).doing(|| "setting the host name")?;
    match config.text("context", "domain") {
        Some(domain) => rustix::system::setdomainname(domain.as_bytes()).doing(|| "setting the domain name"),
        None => Ok(()),
    }
}

/// In a stack that is shared with the host, abstract sockets are too: those of others can't be connected to.
pub(super) fn hide_abstract_sockets(inside: &mut Inside) -> Result<()> {
    match inside.plan.shares_network().then(sys::landlock::hide_abstract_sockets) {
        Some(Err(error)) => inside.note(&format!(
            "abstract sockets of the host can be reached from the guest, which shares its stack: before Linux 6.12, or \
             without Landlock, nothing prevents that ({error})"
        )),
        _ => Ok(()),
    }
}

pub(super) fn loopback(inside: &mut Inside) -> Result<()> {
    if inside.plan.shares_network() || (inside.plan.handed_over && crate::handover::awaits_loopback()) {
        return Ok(());
    }
    sys::network::loopback_up().doing(|| "bringing up the loopback interface")
}

pub(super) fn keyring(_: &mut Inside) -> Result<()> {
    leave_keyring()
}

/// Leaves the caller's keys behind. A kernel without keyrings has none.
pub fn leave_keyring() -> Result<()> {
    match sys::process::new_session_keyring() {
        Err(e) if e.raw_os_error() != Some(libc::ENOSYS) => Err(e).doing(|| "leaving the host's keyring"),
        _ => Ok(()),
    }
}

/// linux/personality.h: PER_LINUX32.
const PERSONALITY_32: u32 = 8;

pub(super) fn limit_capabilities(inside: &mut Inside) -> Result<()> {
    let config = &inside.plan.config;
    caps::limit(caps::granted(config.list("context", "drop-capabilities")))?;
    if config.text("context", "personality") == Some("32-bit") {
        sys::process::set_personality(PERSONALITY_32).doing(|| "setting the personality")?;
    }
    if config.text("context", "no-new-privileges") == Some("true") {
        rustix::thread::set_no_new_privs(true).doing(|| "forbidding new privileges")?;
    }
    Ok(())
}
