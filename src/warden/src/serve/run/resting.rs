//! What a serving warden does when nothing has happened for a while: it gives back what memory it can. A guest in which
//! nobody does anything is to cost little, and most guests are such, most of the time.

use std::time::Duration;

use super::Serve;

/// How long nothing has to happen before: what comes every second is no pause.
pub(super) const AFTER: Duration = Duration::from_secs(10);

impl Serve<'_> {
    /// Once in each pause.
    pub(super) fn rest_if_quiet(&mut self) {
        if self.quiet_since.is_none_or(|since| since.elapsed() < AFTER) {
            return;
        }
        self.quiet_since = None;
        self.sink.rest();
        for socket in &mut self.datagrams {
            socket.rest();
        }
        crate::sys::give_back_memory();
    }
}
