//! Requests (`contract::control`): connections to the control socket, each with at most one request under way.

use super::System;
use super::log::Log;
use super::poll::{Poll, Source};
use super::reserve::is_limit;
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::socket::{Calls, Kind, accept, at_path, listen, send};
use crate::sys::wait::event;
use hostel_contract::control::{
    ControlOp, ControlReply, ControlRequest, ControlResult, KILL_CONTROL, KILL_MAIN, NO_WAIT, Why,
};
use hostel_contract::{ShutdownKind, paths};
use hostel_plan::UnitId;
use hostel_supervisor::{Event, JobMode, Operation, Recipient, RequestId};

/// Connections at a time; further ones are told that init is busy.
pub const CONNECTIONS_MAX: usize = 32;
/// Of these, for users other than root: who must not be able to keep root out.
const OTHERS_MAX: usize = 8;
/// Connections accepted in one round.
const ACCEPTED_MAX: usize = 8;
const BACKLOG: u32 = 64;
/// Waits for the reload that runs; for the one behind it.
const RELOAD: u16 = u16::MAX;
const NEXT_RELOAD: u16 = u16::MAX - 1;
/// Index of a unit that has left the plan while a request about it was under way.
const NO_UNIT: u16 = NEXT_RELOAD - 2;

/// One connection.
pub struct Connection {
    fd: Option<OwnedFd>,
    uid: u32,
    /// Tells this connection's requests from those of earlier ones at the same index.
    generation: u16,
    /// The request under way is about this unit, plus one; or [`RELOAD`] and the like; 0: none is.
    waiting: u16,
}

/// The socket and its connections.
pub struct Control {
    listener: Option<OwnedFd>,
    connections: &'static mut [Connection; CONNECTIONS_MAX],
}

impl Control {
    /// Opens the socket. Where it can't be, signals still stop the guest.
    pub fn open(connections: &'static mut [Connection; CONNECTIONS_MAX], poll: &Poll, log: &mut Log) -> Self {
        let listener = open().and_then(|fd| poll.add(fd.as_fd(), Source::Listener, event::IN).map(|()| fd));
        if let Err(errno) = &listener {
            log.say(
                "{}: requests can't be taken: {}",
                &[paths::CONTROL.into(), super::messages::reason(*errno)],
            );
        }
        Control { listener: listener.ok(), connections }
    }

    /// Units have other indices from now on.
    pub fn renumber(&mut self, place: &dyn Fn(UnitId) -> UnitId) {
        for connection in self.connections.iter_mut() {
            if let waiting @ 1..NEXT_RELOAD = connection.waiting {
                connection.waiting = place(UnitId(waiting - 1)).0.min(NO_UNIT) + 1;
            }
        }
    }

    fn vacant(&self, uid: u32) -> Option<usize> {
        let others = self.connections.iter().filter(|c| c.fd.is_some() && c.uid != 0).count();
        if uid != 0 && others >= OTHERS_MAX {
            return None;
        }
        self.connections.iter().position(|c| c.fd.is_none())
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let socket = at_path(c"/run/hostel/control", Kind::Packet)?;
    listen(socket.as_fd(), BACKLOG)?;
    Ok(socket)
}

/// Index and generation in one handle.
fn request_id(index: usize, generation: u16) -> RequestId {
    RequestId(generation.wrapping_mul(CONNECTIONS_MAX as u16) | index as u16)
}

/// An answer that is about no unit's processes.
fn reply_of(result: ControlResult, why: Why) -> ControlReply {
    ControlReply { result: result.code(), why: why.code(), how: 0, reserved: 0, main_pid: 0 }
}

/// False where nobody is there to hear it, or where it would have to wait.
#[inline(never)]
fn answer(fd: BorrowedFd<'_>, reply: ControlReply) -> bool {
    send(fd, &reply.encode(), None).is_ok()
}

impl System {
    /// Somebody connects.
    #[inline(never)]
    pub(super) fn accept_connections(&mut self) {
        for _ in 0..ACCEPTED_MAX {
            let Some(listener) = &self.control.listener else { return };
            let mut accepted = accept(listener.as_fd(), Calls::NeverWait);
            if accepted.as_ref().is_err_and(|e| is_limit(*e)) {
                // Accepted in any case: one that waits at the socket would wake us for ever.
                self.reserve.release();
                accepted = accept(listener.as_fd(), Calls::NeverWait);
            }
            let Ok(fd) = accepted else { break };
            let uid = sys::socket::peer(fd.as_fd()).map_or(u32::MAX, |p| p.uid);
            let Some(index) = self.control.vacant(uid) else {
                answer(fd.as_fd(), reply_of(ControlResult::Busy, Why::TooMany));
                continue;
            };
            if self.poll.add(fd.as_fd(), Source::Connection(index), event::IN).is_ok()
                && let Some(connection) = self.control.connections.get_mut(index)
            {
                connection.fd = Some(fd);
                connection.uid = uid;
                connection.generation = connection.generation.wrapping_add(1);
                connection.waiting = 0;
            }
        }
        self.reserve.take_back(&self.signals);
    }

    /// A connection has a request, or is closed.
    #[inline(never)]
    pub(super) fn connection_ready(&mut self, index: usize, events: u32) {
        let Some(connection) = self.control.connections.get(index) else { return };
        let Some(fd) = connection.fd.as_ref().map(OwnedFd::as_fd) else { return };
        if connection.waiting != 0 {
            if events & (event::HANG_UP | event::ERROR) != 0 {
                self.close_connection(index);
            }
            return;
        }
        let mut bytes = [0u8; ControlRequest::SIZE];
        match sys::socket::receive(fd, &mut bytes) {
            Err(Errno::AGAIN) => {}
            Err(_) => self.close_connection(index),
            Ok(received) if received.size == 0 => self.close_connection(index),
            Ok(received) => {
                let whole = received.size == bytes.len() && !received.truncated;
                match ControlRequest::decode(&bytes).filter(|_| whole) {
                    Some(request) => self.requested(index, &request),
                    None => self.reply_now(index, ControlResult::Refused, Why::NotUnderstood),
                }
            }
        }
    }

    fn close_connection(&mut self, index: usize) {
        let Some(connection) = self.control.connections.get_mut(index) else { return };
        let id = request_id(index, connection.generation);
        if let Some(fd) = connection.fd.take() {
            self.poll.remove(fd.as_fd());
        }
        if core::mem::take(&mut connection.waiting) != 0 {
            self.feed(Event::RequestDropped(id));
        }
    }

    /// Answers what is not about a unit's job.
    fn reply_now(&mut self, index: usize, result: ControlResult, why: Why) {
        self.send_reply(index, reply_of(result, why));
    }

    #[inline(never)]
    fn send_reply(&mut self, index: usize, reply: ControlReply) {
        let sent = self
            .control
            .connections
            .get(index)
            .and_then(|c| c.fd.as_ref())
            .is_some_and(|fd| answer(fd.as_fd(), reply));
        if !sent {
            self.close_connection(index);
        }
    }

    /// The supervisor's answer.
    pub(super) fn reply(&mut self, id: RequestId, result: ControlResult) {
        let index = usize::from(id.0) % CONNECTIONS_MAX;
        let Some(connection) = self.control.connections.get_mut(index) else { return };
        if request_id(index, connection.generation) != id {
            return;
        }
        let Some(unit) = core::mem::take(&mut connection.waiting).checked_sub(1).map(UnitId) else { return };
        if let Some(fd) = connection.fd.as_ref().map(OwnedFd::as_fd) {
            let _ = self.poll.change(fd, Source::Connection(index), event::IN);
        }
        self.page.mark_all();
        self.flush_page();
        let row = self.guest.supervisor.row(unit);
        let how = if result == ControlResult::Failed { row.result } else { 0 };
        let reply = ControlReply { how, main_pid: row.main_pid, ..reply_of(result, Why::Nothing) };
        self.send_reply(index, reply);
    }

    #[inline(never)]
    fn requested(&mut self, index: usize, request: &ControlRequest) {
        let uid = self.control.connections.get(index).map_or(u32::MAX, |c| c.uid);
        let Some(op) = ControlOp::from_code(request.op) else {
            return self.reply_now(index, ControlResult::Refused, Why::NoSuchOperation);
        };
        if op == ControlOp::Ping {
            return self.reply_now(index, ControlResult::Done, Why::Nothing);
        }
        // In a container without a root user, init's own user is who may.
        if uid != 0 && uid != sys::process::own_user() {
            return self.reply_now(index, ControlResult::Denied, Why::NotRoot);
        }
        let kill_recipient = match request.flags & (KILL_MAIN | KILL_CONTROL) {
            KILL_MAIN => Recipient::Main,
            KILL_CONTROL => Recipient::Control,
            _ => Recipient::All,
        };
        let operation = match op {
            ControlOp::Start => Operation::Start,
            ControlOp::Stop => Operation::Stop,
            ControlOp::Restart => Operation::Restart,
            ControlOp::TryRestart => Operation::TryRestart,
            ControlOp::Reload => Operation::Reload,
            ControlOp::ResetFailed => Operation::ResetFailed,
            ControlOp::Kill => match request.argument {
                signal @ 1..=64 => Operation::Kill { recipient: kill_recipient, signal: signal as u8 },
                _ => return self.reply_now(index, ControlResult::Refused, Why::NoSuchSignal),
            },
            ControlOp::Trigger => return self.trigger_requested(index, request),
            ControlOp::Shutdown => return self.shutdown_requested(index, request.argument),
            ControlOp::ReloadPlan => return self.reload_requested(index, request),
            // Answered above.
            ControlOp::Ping => return,
        };
        let Some(unit) = self.requested_unit(index, request) else { return };
        self.ask(index, unit, operation, request.flags & NO_WAIT != 0);
    }

    /// The unit that a request names; where there's none, it has been answered.
    fn requested_unit(&mut self, index: usize, request: &ControlRequest) -> Option<UnitId> {
        if !self.guest.has_plan() {
            self.reply_now(index, ControlResult::Refused, Why::NoPlan);
            return None;
        }
        let name = request.unit.bytes();
        let unit = self.guest.plan.find_bytes(name).map(|u| u.id());
        if unit.is_none() {
            self.reply_now(index, ControlResult::NoSuchUnit, Why::Nothing);
        }
        unit
    }

    fn ask(&mut self, index: usize, unit: UnitId, operation: Operation, at_once: bool) {
        let Some(connection) = self.control.connections.get(index) else { return };
        let id = request_id(index, connection.generation);
        self.wait(index, unit.0 + 1);
        self.feed(Event::Request { id, unit, operation, mode: JobMode::Replace });
        let waits = self.control.connections.get(index).is_some_and(|c| c.waiting != 0);
        if at_once && waits {
            self.reply(id, ControlResult::Done);
            self.feed(Event::RequestDropped(id));
        }
    }

    fn trigger_requested(&mut self, index: usize, request: &ControlRequest) {
        if let Some(unit) = self.requested_unit(index, request) {
            self.feed(Event::Triggered(unit));
            self.reply_now(index, ControlResult::Done, Why::Nothing);
        }
    }

    fn shutdown_requested(&mut self, index: usize, kind: u32) {
        match u8::try_from(kind).ok().and_then(ShutdownKind::from_code) {
            Some(kind) => {
                self.reply_now(index, ControlResult::Done, Why::Nothing);
                self.shut_down(kind);
            }
            None => self.reply_now(index, ControlResult::Refused, Why::NoSuchShutdown),
        }
    }

    fn reload_requested(&mut self, index: usize, request: &ControlRequest) {
        if !self.may_reload() {
            return self.reply_now(index, ControlResult::Refused, Why::Stopping);
        }
        if request.flags & NO_WAIT != 0 {
            self.reply_now(index, ControlResult::Done, Why::Compiling);
        } else {
            // What runs may have read the files before they were changed: who comes then waits for the next one.
            self.wait(index, if self.compilation.is_some() { NEXT_RELOAD } else { RELOAD });
        }
        self.begin_compilation(System::depth_of(request.argument));
    }

    /// The connection's request is under way. What follows stays in the socket; a hang-up is told in any case.
    fn wait(&mut self, index: usize, waiting: u16) {
        let Some(connection) = self.control.connections.get_mut(index) else { return };
        connection.waiting = waiting;
        if let Some(fd) = connection.fd.as_ref().map(OwnedFd::as_fd) {
            let _ = self.poll.change(fd, Source::Connection(index), 0);
        }
    }

    /// Answers who waited for this reload; who came meanwhile waits for the one that follows.
    pub(super) fn reply_to_reloads(&mut self, result: ControlResult, why: Why) {
        for index in 0..self.control.connections.len() {
            let Some(connection) = self.control.connections.get_mut(index) else { return };
            match connection.waiting {
                RELOAD => {
                    connection.waiting = 0;
                    if let Some(fd) = connection.fd.as_ref().map(OwnedFd::as_fd) {
                        let _ = self.poll.change(fd, Source::Connection(index), event::IN);
                    }
                    self.reply_now(index, result, why);
                }
                NEXT_RELOAD => connection.waiting = RELOAD,
                _ => {}
            }
        }
    }
}
