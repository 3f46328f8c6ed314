//! What init tells its host (sd_notify(3), systemd's Container Interface): READY=1, STATUS=, STOPPING=1.

use crate::sys;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};

/// Tells the host, where there's one that listens. Never blocks; what can't be said is lost.
pub fn tell(message: &[u8]) {
    let Some(path) = sys::start::variable("NOTIFY_SOCKET") else { return };
    let address = match path.to_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        [b'/', ..] => SocketAddrUnix::new(path),
        // vsock: of hosts that are virtual machine monitors.
        _ => return,
    };
    let Ok(address) = address else { return };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    if let Ok(socket) = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None) {
        let _ = sendto(&socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &address);
    }
}
