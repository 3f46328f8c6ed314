//! Descriptors kept for units: listening sockets (opened by a child in the phase open-sockets) and FDSTORE.

use super::System;
use super::poll::Source;
use super::tables::Purpose;
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::OwnedFd;
use crate::sys::socket::{Calls, DESCRIPTORS_MAX, accept};
use crate::sys::wait::event;
use hostel_contract::exec::ExecStep;
use hostel_contract::said::Said;
use hostel_plan::UnitId;
use hostel_supervisor::{Event, Report};

impl System {
    /// The sockets that a child opened for a socket unit. All, or none.
    #[inline(never)]
    pub(super) fn take_sockets(
        &mut self,
        unit: UnitId,
        descriptors: &mut [Option<OwnedFd>; DESCRIPTORS_MAX],
    ) -> Report {
        let failed =
            |errno: Errno| Report::Failed { step: ExecStep::Fds.code(), errno: errno.raw_os_error() };
        let guest = &mut self.guest;
        guest.kept.close_all(unit, Purpose::Socket, None);
        for fd in descriptors.iter_mut().filter_map(Option::take) {
            if guest.kept.keep(unit, Purpose::Socket, &[], fd).is_none() {
                guest.kept.close_all(unit, Purpose::Socket, None);
                self.tell(Said::SocketsFull, unit, 0);
                return failed(Errno::NFILE);
            }
        }
        Report::Done { pid: None }
    }

    /// The next connection or datagram wakes us, once.
    #[inline(never)]
    pub(super) fn watch_sockets(&mut self, unit: UnitId) {
        let guest = &self.guest;
        for (index, kept) in guest.kept.of(unit, Purpose::Socket) {
            let Some(fd) = kept.fd() else { continue };
            let events = event::IN | event::ONCE;
            if self.poll.change(fd, Source::Socket(index), events) == Err(Errno::NOENT) {
                // Fails for what can't be waited for (a special file); then nothing ever comes from there.
                let _ = self.poll.add(fd, Source::Socket(index), events);
            }
        }
    }

    /// The service has them now.
    pub(super) fn unwatch_sockets(&mut self, unit: UnitId) {
        let guest = &self.guest;
        for (_, kept) in guest.kept.of(unit, Purpose::Socket) {
            if let Some(fd) = kept.fd() {
                self.poll.remove(fd);
            }
        }
    }

    /// Closes the sockets of a socket unit, and what a service stored.
    pub(super) fn close_descriptors(&mut self, unit: UnitId) {
        self.unwatch_sockets(unit);
        self.unwatch_stored(unit, None);
        let guest = &mut self.guest;
        guest.kept.close_all(unit, Purpose::Socket, None);
        guest.kept.close_all(unit, Purpose::Stored, None);
    }

    /// A connection of a socket unit, for one of its services; where there's none free, it ends at once.
    pub(super) fn accept_for(&mut self, socket: UnitId, service: Option<UnitId>) {
        let guest = &mut self.guest;
        let accepted = guest.kept.of(socket, Purpose::Socket).filter_map(|(_, kept)| kept.fd());
        let Some(connection) = accepted.filter_map(|fd| accept(fd, Calls::Wait).ok()).next() else { return };
        let Some(service) = service else {
            return self.tell(Said::ConnectionsFull, socket, 0);
        };
        if guest.kept.keep(service, Purpose::Socket, &[], connection).is_some() {
            guest.supervisor.handle(sys::now_ms(), Event::Triggered(service));
        }
    }

    /// A watched socket can be read.
    pub(super) fn socket_ready(&mut self, index: usize) {
        let unit = self.guest.kept.at(index).map(|k| UnitId(k.unit));
        if let Some(unit) = unit {
            // Watched once: but all sockets of the unit, and one is enough.
            self.unwatch_sockets(unit);
            self.feed(Event::Triggered(unit));
        }
    }

    /// Keeps a descriptor for a service, as FDSTORE=1 asks.
    #[inline(never)]
    pub(super) fn store(&mut self, unit: UnitId, name: &[u8], fd: OwnedFd, keep_dead: bool) {
        let guest = &mut self.guest;
        let described = guest.plan.definition(unit);
        let stored = guest.kept.of(unit, Purpose::Stored);
        let mut count = 0usize;
        for (_, kept) in stored {
            if kept.fd().is_some_and(|k| sys::process::same_file(k, fd.as_fd())) {
                return;
            }
            count += 1;
        }
        if count >= usize::from(described.fdstore_max()) {
            return self.tell(Said::StoreFull, unit, count as u64);
        }
        match guest.kept.keep(unit, Purpose::Stored, name, fd) {
            Some(index) if !keep_dead => {
                // Hang-ups are always told. What can't be waited for, a file, can't die either.
                if let Some(fd) = guest.kept.at(index).and_then(|k| k.fd()) {
                    let _ = self.poll.add(fd, Source::Stored(index), 0);
                }
            }
            Some(_) => {}
            None => self.tell(Said::NoRoom, unit, 0),
        }
    }

    /// Drops what a service stored under a name.
    pub(super) fn unstore(&mut self, unit: UnitId, name: &[u8]) {
        self.unwatch_stored(unit, Some(name));
        self.guest.kept.close_all(unit, Purpose::Stored, Some(name));
    }

    fn unwatch_stored(&mut self, unit: UnitId, name: Option<&[u8]>) {
        let guest = &self.guest;
        let stored = guest.kept.of(unit, Purpose::Stored).filter(|(_, k)| name.is_none_or(|n| n == k.name()));
        for fd in stored.filter_map(|(_, k)| k.fd()) {
            // Before the close: the service may have it open still, and then epoll would keep telling of it.
            self.poll.remove(fd);
        }
    }

    /// The peer of a stored descriptor is gone.
    pub(super) fn stored_is_dead(&mut self, index: usize) {
        let guest = &mut self.guest;
        let Some(kept) = guest.kept.at(index) else { return };
        let unit = UnitId(kept.unit);
        if let Some(fd) = kept.fd() {
            self.poll.remove(fd);
        }
        guest.kept.close(index);
        self.page.mark(unit);
    }
}
