//! NOTIFY_SOCKET: one datagram socket a unit, so that a sender that has already exited is still known by its unit.

use super::System;
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::OwnedFd;
use crate::sys::file;
use crate::sys::socket::{Kind, Received, at_path, tell_senders};
use hostel_contract::paths::NOTIFY_DIR;
use hostel_contract::said::Said;
use hostel_init::notification::{Assignment, SIZE_MAX, assignments, store};
use hostel_plan::{NotifyAccess, UnitId};
use hostel_supervisor::{Event, Notification};

/// Datagrams taken from one socket in one round.
const DATAGRAMS_MAX: usize = 16;

/// Makes the socket of a unit. Fails with NAMETOOLONG for a name of more than 88 bytes: the address has no more.
#[inline(never)]
pub fn open(unit: &[u8]) -> Result<OwnedFd, Errno> {
    let mut room = [0u8; 108];
    let path = file::path(&mut room, "{}/{}", &[NOTIFY_DIR.into(), unit.into()]);
    let socket = at_path(path.ok_or(Errno::NAMETOOLONG)?, Kind::Datagram)?;
    tell_senders(socket.as_fd())?;
    Ok(socket)
}

impl System {
    /// A unit's socket can be read. Out of line: its buffer would be part of the loop's stack for ever.
    #[inline(never)]
    pub(super) fn notifications(&mut self, slot: usize) {
        let mut message = [0u8; SIZE_MAX];
        for _ in 0..DATAGRAMS_MAX {
            let guest = &mut self.guest;
            let Some(slot) = guest.slots.at(slot) else { return };
            let (Some(unit), Some(socket)) = (slot.unit(), slot.notify.as_ref()) else { return };
            match sys::socket::receive(socket.as_fd(), &mut message) {
                Ok(received) if received.truncated => {}
                Ok(mut received) => {
                    let text = message.get(..received.size).unwrap_or(&[]);
                    self.notified(unit, text, &mut received);
                }
                Err(_) => return,
            }
        }
    }

    /// What comes along with `received` and isn't kept is closed behind this: that is all that BARRIER=1 wants.
    #[inline(never)]
    fn notified(&mut self, unit: UnitId, text: &[u8], received: &mut Received) {
        let Some(sender) = received.sender.map(|s| s.pid).filter(|pid| *pid > 1) else { return };
        let admitted = self.admits(unit, sender);
        for assignment in assignments(text) {
            let notification = match assignment {
                Assignment::Status(status) => {
                    if let Some(slot) = self.guest.slots.number(unit).filter(|_| admitted) {
                        self.page.set_text(slot, status);
                    }
                    continue;
                }
                Assignment::Event(Notification::MainPid(pid)) if !self.belongs(unit, pid) => {
                    self.tell(Said::MainPidAlien, unit, u64::from(pid));
                    continue;
                }
                Assignment::Event(event) => event,
            };
            // The supervisor looks at NotifyAccess= itself, and says so where it refuses.
            self.feed(Event::Notified { unit, sender, notification });
        }
        if admitted {
            self.keep_or_drop(unit, text, received);
        }
    }

    #[inline(never)]
    fn keep_or_drop(&mut self, unit: UnitId, text: &[u8], received: &mut Received) {
        let asked = store(text);
        if asked.remove {
            if let Some(name) = asked.name {
                self.unstore(unit, name);
            }
        } else if asked.keep {
            for fd in received.descriptors.iter_mut().filter_map(Option::take) {
                self.store(unit, asked.name.unwrap_or(b"stored"), fd, asked.keep_dead);
            }
        } else {
            return;
        }
        self.page.mark(unit);
    }

    /// NotifyAccess=.
    fn admits(&mut self, unit: UnitId, sender: u32) -> bool {
        let guest = &self.guest;
        let described = guest.plan.definition(unit);
        match described.notify_access() {
            NotifyAccess::None => false,
            NotifyAccess::Main => guest.supervisor.row(unit).main_pid == sender,
            NotifyAccess::Exec => guest.supervisor.unit_of(sender) == Some(unit),
            NotifyAccess::All => true,
        }
    }
}
