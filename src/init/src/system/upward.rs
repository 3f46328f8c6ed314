//! What init tells its host (sd_notify(3), systemd's Container Interface): READY=1, STATUS=, STOPPING=1, and
//! of a command its exit status. What else a host may want to know (X_SYSTEMD_HOSTNAME= and its kin), the warden tells.

use crate::sys;
use hostel_init::text::{Part, Text};

/// Tells the host, where there's one that listens. Never blocks; what can't be said is lost.
pub fn tell(message: &[u8]) {
    if let Some(name) = sys::start::variable("NOTIFY_SOCKET") {
        sys::socket::tell(name.to_bytes(), message);
    }
}

/// Tells it something with one part.
pub fn tell_of(template: &str, part: Part<'_>) {
    let mut room = [0; 96];
    tell(Text::new(&mut room).message(template, &[part]).bytes());
}
