//! Plans: those that `serve` sends, and a new one that somebody's call wants from init first.

use super::dispatch::{self, Call};
use super::error::{self, Failure};
use super::init::{self, Asked};
use super::manager::transient;
use super::message::Message;
use super::path;
use super::server::{RELOAD, Server};
use crate::ctl::client::Client;
use crate::ctl::reload;
use hostel_contract::control::{ControlOp, ControlReply, ControlResult, UNITS_ONLY};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

/// A new plan that init was asked for.
pub struct Reload {
    client: Client,
    /// Calls that wait for it.
    calls: Vec<Call>,
}

/// What is known of plans that are to come.
#[derive(Default)]
pub struct Wanted {
    reload: Option<Reload>,
    /// Calls that came while a reload was under way, and so want another one.
    calls: Vec<Call>,
}

impl Wanted {
    /// Is init making one?
    pub fn is_under_way(&self) -> bool {
        self.reload.is_some()
    }
}

impl Server {
    /// Takes the plans that `serve` sent.
    pub(super) fn take_plans(&mut self) {
        while self.take_plan() {}
    }

    /// Takes one. False: there is none at the moment.
    fn take_plan(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(&self.link, &mut [IoSliceMut::new(&mut [0; 8])], &mut control, flags) {
            Ok(received) if received.bytes == 0 => {
                self.orphaned = true;
                false
            }
            Ok(_) => {
                let fd = control.drain().find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                    _ => None,
                });
                if let Some(plan) = fd.and_then(|fd| crate::page::read_plan(fd.as_fd()).ok()) {
                    self.world.set_plan(plan);
                    self.rows.clear();
                }
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            Err(_) => {
                self.orphaned = true;
                false
            }
        }
    }

    /// Has init take a new plan, and deals with the call again after that.
    pub fn reload_for(&mut self, call: Call) {
        self.wanted.calls.push(call);
        if self.wanted.reload.is_none() {
            self.begin_reload();
        }
    }

    /// Calls that wait have come before this moment: one plan is for all of them.
    fn begin_reload(&mut self) {
        let calls = std::mem::take(&mut self.wanted.calls);
        if calls.is_empty() {
            return;
        }
        self.signals.push(reloading(true));
        // Whoever only wants to start a unit that is in no plan yet needs no generators for it.
        let whole = calls.iter().any(|call| matches!(call.message.member.as_str(), "Reload" | "Reexecute"));
        match init::ask(ControlOp::ReloadPlan, 0, if whole { 0 } else { UNITS_ONLY }, "") {
            Ok(Asked::Waits(client)) => {
                let data = epoll::EventData::new_u64(RELOAD);
                match epoll::add(&self.set, client.fd(), data, epoll::EventFlags::IN) {
                    Ok(()) => self.wanted.reload = Some(Reload { client, calls }),
                    Err(error) => self.reload_is_over(calls, Err(Failure::from(io::Error::from(error)))),
                }
            }
            Ok(Asked::Ended(reply)) => self.reload_is_over(calls, verdict(&reply)),
            Err(failure) => self.reload_is_over(calls, Err(failure)),
        }
    }

    pub(super) fn reload_ended(&mut self) {
        let Some(reload) = &mut self.wanted.reload else { return };
        let result = match reload.client.try_receive() {
            Ok(None) => return,
            Ok(Some(reply)) => verdict(&reply),
            Err(error) => Err(error.into()),
        };
        let calls = self.wanted.reload.take().map(|reload| reload.calls).unwrap_or_default();
        self.reload_is_over(calls, result);
    }

    /// Calls wait no longer: they are dealt with, or told why not.
    fn reload_is_over(&mut self, calls: Vec<Call>, result: Result<(), Failure>) {
        self.world.forget_files();
        self.observe();
        self.signals.push(reloading(false));
        for call in calls {
            match &result {
                Ok(()) => dispatch::call(self, Call { reloaded: true, ..call }),
                Err(failure) if call.message.wants_reply() => {
                    transient::give_up(self, &call);
                    let answer = call.message.failure(failure.name, &failure.text);
                    self.answer(&call.origin, answer);
                }
                Err(_) => transient::give_up(self, &call),
            }
        }
        self.begin_reload();
    }
}

/// What init's answer to the wish for a new plan comes to.
fn verdict(reply: &ControlReply) -> Result<(), Failure> {
    if reply.result == ControlResult::Done.code() {
        return Ok(());
    }
    let said = reply.words();
    let text = if said.is_empty() { reload::reason() } else { said.to_owned() };
    Err(Failure::new(error::name::FAILED, format!("The units can't be taken in: {text}")))
}

/// The signal that units are read anew, or have been.
fn reloading(active: bool) -> Message {
    Message::signal(path::MANAGER, "org.freedesktop.systemd1.Manager", "Reloading", vec![active.into()])
}
