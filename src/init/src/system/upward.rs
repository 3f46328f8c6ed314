//! What init tells its host (sd_notify(3), systemd's Container Interface): READY=1, STATUS=, STOPPING=1.

use crate::sys;

/// Tells the host, where there's one that listens. Never blocks; what can't be said is lost.
pub fn tell(message: &[u8]) {
    if let Some(name) = sys::start::variable("NOTIFY_SOCKET") {
        sys::socket::tell(name.to_bytes(), message);
    }
}
