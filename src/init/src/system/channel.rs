//! `hostel-warden serve` and the channel to it (`contract::channel`). Init holds the descriptors; the warden may die at
//! any point, and its successor gets them all. Init never waits for it.

use super::poll::Source;
use super::tables;
use super::{NEVER, System, run_warden};
use crate::sys;
use crate::sys::call::{Done, Errno};
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::process::kill;
use crate::sys::socket::{Calls, pair, send};
use crate::sys::wait::event;
use hostel_contract::channel::{ChannelMessage, ChannelOp, FD_CHANNEL, FD_PLAN, NO_UNIT};
use hostel_contract::request::Sender;
use hostel_contract::status::ActiveState;
use hostel_contract::{ShutdownKind, Text, fakes, paths};
use hostel_init::signals;
use hostel_plan::UnitId;
use hostel_supervisor::{Event, NOBODY, Notification};

/// Descriptors that a warden may give to hold.
pub const HELD_MAX: usize = 32;
/// Messages sent or taken in one round.
const MESSAGES_MAX: usize = 64;
/// Back-off of restarts: nothing after a life of [`LONG_LIFE_MS`], then doubling up to the longest.
const BACK_OFF_MS: core::ops::RangeInclusive<u64> = 1..=100;
const LONG_LIFE_MS: u64 = 1000;
/// When sending failed for want of something other than room in the channel.
const RETRY_MS: u64 = 10;

/// A descriptor that outlives the warden that gave it.
pub struct HeldItem {
    fd: Option<OwnedFd>,
    name: Text<32>,
}

/// What a new warden is sent, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greeting {
    OwnLog,
    Pipes,
    Held(usize),
    Welcome,
    Done,
}

/// The warden that runs, and what it is to know.
pub struct Warden {
    pid: Option<u32>,
    channel: Option<OwnedFd>,
    greeting: Greeting,
    /// Answer that waits for room; nothing is read from the warden before it is gone.
    answer: Option<ChannelMessage>,
    stopping: Option<ShutdownKind>,
    /// Signals that it is to be told of, a bit each: from outside, from inside.
    signals: [u64; 2],
    /// There's a plan that it doesn't know of.
    new_plan: bool,
    waits_for_room: bool,
    born_ms: u64,
    back_off_ms: u64,
    /// When it is to be started again, or sending to be tried again; or [`NEVER`].
    due: u64,
    count: u32,
    held: &'static mut [HeldItem; HELD_MAX],
}

impl Warden {
    /// None yet. What the spawner gave for it is held already.
    pub fn new(held: &'static mut [HeldItem; HELD_MAX]) -> Self {
        let [fakes, ..] = &mut *held;
        *fakes = HeldItem { fd: super::given(paths::ENV_FAKES_FD), name: Text::new(fakes::HELD.as_bytes()) };
        Warden {
            pid: None,
            channel: None,
            greeting: Greeting::Done,
            answer: None,
            stopping: None,
            signals: [0; 2],
            new_plan: false,
            waits_for_room: false,
            born_ms: 0,
            back_off_ms: 0,
            due: NEVER,
            count: 0,
            held,
        }
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// It is to be told of this signal.
    pub fn signal(&mut self, signal: u8, from: Sender) {
        let [outside, inside] = &mut self.signals;
        *(if from == Sender::Inside { inside } else { outside }) |= 1 << (signal & 63);
    }

    /// When [`System::warden_is_due`] is to be called.
    pub fn deadline(&self) -> u64 {
        self.due
    }
}

impl System {
    /// Starts a warden, or tries to send again.
    pub(super) fn warden_is_due(&mut self) {
        self.warden.due = NEVER;
        if self.warden.pid.is_none()
            && self.guest.has_plan()
            && let Err(errno) = self.start_warden()
        {
            self.log.say("the warden can't be started: {}", &[super::messages::reason(errno)]);
            self.warden.due = sys::now_ms() + LONG_LIFE_MS;
        }
        self.pump_channel();
    }

    /// Starts the first warden, as soon as there is a plan.
    pub(super) fn start_warden(&mut self) -> Result<(), Errno> {
        let guest = &mut self.guest;
        let plan = guest.plan_file()?;
        let (ours, theirs) = pair(Calls::NeverWait)?;
        self.poll.add(ours.as_fd(), Source::Channel, event::IN)?;
        let fixed = [(theirs.as_fd(), FD_CHANNEL as u32), (plan, FD_PLAN as u32)];
        let pid = run_warden(&self.warden_file, &[c"hostel-warden", c"serve"], &fixed)?;
        for slot in guest.slots.iter_mut() {
            slot.flags &= !tables::ANNOUNCED;
        }
        let warden = &mut self.warden;
        warden.pid = Some(pid);
        warden.channel = Some(ours);
        warden.greeting = Greeting::OwnLog;
        warden.answer = None;
        warden.new_plan = false;
        warden.waits_for_room = false;
        warden.born_ms = sys::now_ms();
        warden.count = warden.count.saturating_add(1);
        self.page.header.wardens = warden.count;
        self.page.touch();
        self.pump_channel();
        Ok(())
    }

    /// Was it the warden that was reaped? Then the next one is on its way.
    pub(super) fn warden_ended(&mut self, pid: u32) -> bool {
        let warden = &mut self.warden;
        if warden.pid != Some(pid) {
            return false;
        }
        warden.pid = None;
        if let Some(channel) = warden.channel.take() {
            self.poll.remove(channel.as_fd());
        }
        let now = sys::now_ms();
        let longest = *BACK_OFF_MS.end();
        warden.back_off_ms = match now.saturating_sub(warden.born_ms) >= LONG_LIFE_MS {
            true => 0,
            false => (warden.back_off_ms * 2).clamp(*BACK_OFF_MS.start(), longest),
        };
        warden.due = if self.ending.is_none() { now + warden.back_off_ms } else { NEVER };
        true
    }

    /// The channel can be read, or written again.
    #[inline(never)]
    pub(super) fn channel_ready(&mut self, events: u32) {
        if events & event::OUT != 0 {
            self.warden.waits_for_room = false;
        }
        for _ in 0..MESSAGES_MAX {
            if self.warden.answer.is_some() {
                break;
            }
            let Some(channel) = &self.warden.channel else { return };
            let mut bytes = [0u8; ChannelMessage::SIZE];
            match sys::socket::receive(channel.as_fd(), &mut bytes) {
                Err(Errno::AGAIN) => break,
                Ok(mut received) if received.size == bytes.len() => {
                    if let Some(message) = ChannelMessage::decode(&bytes) {
                        let [first, ..] = &mut received.descriptors;
                        self.warden_says(&message, first.take());
                    }
                }
                // Closed: the warden is going, or has gone. Without its channel it is of no use.
                Ok(received) if received.size == 0 => return self.drop_channel(),
                Ok(_) => {}
                Err(_) => return self.drop_channel(),
            }
        }
        self.pump_channel();
    }

    fn drop_channel(&mut self) {
        if let Some(channel) = self.warden.channel.take() {
            self.poll.remove(channel.as_fd());
        }
        if let Some(pid) = self.warden.pid.filter(|_| self.ending.is_none()) {
            let _ = kill(pid as i32, signals::KILL);
        }
    }

    #[inline(never)]
    fn warden_says(&mut self, message: &ChannelMessage, fd: Option<OwnedFd>) {
        let held = &mut self.warden.held;
        let same = held.iter().position(|item| item.fd.is_some() && item.name == message.name);
        match ChannelOp::from_code(message.op) {
            Some(ChannelOp::Hold) => {
                let at = same.or_else(|| held.iter().position(|item| item.fd.is_none()));
                let item = at.and_then(|at| held.get_mut(at));
                let op = match (item, fd) {
                    (Some(item), Some(fd)) => {
                        item.fd = Some(fd);
                        item.name = message.name;
                        ChannelOp::Held
                    }
                    _ => ChannelOp::Refused,
                };
                self.warden.answer = Some(ChannelMessage { op: op.code(), ..*message });
            }
            Some(ChannelOp::Release) => {
                if let Some(item) = same.and_then(|at| held.get_mut(at)) {
                    drop(item.fd.take());
                }
            }
            // One that names another plan crossed a reload: the warden looks anew when it has heard of that.
            Some(op @ (ChannelOp::Trigger | ChannelOp::MainPid))
                if message.name.0.starts_with(&self.guest.plan.checksum().to_le_bytes()) =>
            {
                if op == ChannelOp::MainPid {
                    return self.pid_file_names(UnitId(message.unit), message.argument);
                }
                let unit = u16::try_from(message.argument).ok().map(UnitId);
                if let Some(unit) = unit.and_then(|unit| self.guest.plan.unit(unit)) {
                    self.feed(Event::Triggered(unit.id()));
                }
            }
            // What only init says, or what a newer warden knows.
            _ => {}
        }
    }

    /// A service that is up may have another main process than before. While it starts, its own helper reads the file.
    fn pid_file_names(&mut self, unit: UnitId, pid: u32) {
        let is_up = self.guest.supervisor.row(unit).active == ActiveState::Active.code();
        if is_up && self.guest.plan.unit(unit).is_some() && self.belongs(unit, pid) {
            let notification = Notification::MainPid(pid);
            self.feed(Event::Notified { unit, sender: NOBODY, notification });
        }
    }

    /// Tells the warden of another plan. One that has heard half of what there was by the old indices makes way for its
    /// successor.
    pub(super) fn tell_plan(&mut self) {
        match self.warden.greeting {
            Greeting::Done => self.warden.new_plan = true,
            _ => self.drop_channel(),
        }
    }

    /// Tells the warden that the guest stops, and to write out what there is. False where there is none to tell.
    pub(super) fn tell_stopping(&mut self, kind: ShutdownKind) -> bool {
        self.warden.stopping = Some(kind);
        self.pump_channel();
        self.warden.channel.is_some()
    }

    /// Sends what the warden is to know, as far as there's room. Bounded; the rest comes in the next round.
    pub(super) fn pump_channel(&mut self) {
        if self.warden.waits_for_room || self.warden.due != NEVER {
            return;
        }
        for _ in 0..MESSAGES_MAX {
            match self.send_next() {
                Ok(true) => {}
                Ok(false) => return self.wait_for_channel(event::IN),
                Err(Errno::AGAIN) => {
                    self.warden.waits_for_room = true;
                    return self.wait_for_channel(event::IN | event::OUT);
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return,
                Err(_) => {
                    self.warden.due = sys::now_ms() + RETRY_MS;
                    return;
                }
            }
        }
        self.more = true;
    }

    fn wait_for_channel(&self, events: u32) {
        if let Some(channel) = &self.warden.channel {
            // While an answer waits, nothing is read.
            let events = if self.warden.answer.is_some() { events & !event::IN } else { events };
            let _ = self.poll.change(channel.as_fd(), Source::Channel, events);
        }
    }

    /// Sends one message; false where there's nothing to send.
    #[inline(never)]
    fn send_next(&mut self) -> Result<bool, Errno> {
        let guest = &mut self.guest;
        let warden = &mut self.warden;
        let Some(channel) = &warden.channel else { return Ok(false) };
        loop {
            match warden.greeting {
                Greeting::OwnLog => {
                    if let Some(fd) = self.log.read_end() {
                        transmit(channel, message(ChannelOp::LogPipe, NO_UNIT, 0), Some(fd))?;
                    }
                    warden.greeting = Greeting::Pipes;
                }
                Greeting::Pipes => {
                    if announce_pipe(&mut guest.slots, channel)? {
                        return Ok(true);
                    }
                    warden.greeting = Greeting::Held(0);
                }
                Greeting::Held(at) => {
                    let Some(item) = warden.held.get(at) else {
                        warden.greeting = Greeting::Welcome;
                        continue;
                    };
                    if let Some(fd) = item.fd.as_ref().map(OwnedFd::as_fd) {
                        let record =
                            ChannelMessage { name: item.name, ..message(ChannelOp::Held, NO_UNIT, 0) };
                        transmit(channel, record, Some(fd))?;
                    }
                    warden.greeting = Greeting::Held(at + 1);
                }
                Greeting::Welcome => {
                    let before = warden.count.saturating_sub(1);
                    transmit(channel, message(ChannelOp::Welcome, NO_UNIT, before), None)?;
                    warden.greeting = Greeting::Done;
                }
                Greeting::Done => break,
            }
        }
        if warden.new_plan {
            // Before all that has its indices.
            transmit(channel, message(ChannelOp::Plan, NO_UNIT, 0), Some(guest.plan_file()?))?;
            warden.new_plan = false;
            return Ok(true);
        }
        if let Some(answer) = warden.answer {
            transmit(channel, answer, None)?;
            warden.answer = None;
            return Ok(true);
        }
        if announce_pipe(&mut guest.slots, channel)? {
            return Ok(true);
        }
        for (from, signals) in warden.signals.iter_mut().enumerate() {
            if *signals != 0 {
                let signal = signals.trailing_zeros() as u16;
                transmit(channel, message(ChannelOp::Signal, signal, from as u32), None)?;
                *signals &= *signals - 1;
                return Ok(true);
            }
        }
        if let Some(kind) = warden.stopping {
            transmit(channel, message(ChannelOp::Stopping, NO_UNIT, u32::from(kind.code())), None)?;
            warden.stopping = None;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Sends the next log pipe that this warden doesn't have; false where it has all.
fn announce_pipe(slots: &mut tables::RunSlots, channel: &OwnedFd) -> Result<bool, Errno> {
    for slot in slots.iter_mut() {
        let (Some(unit), Some(pipe)) = (slot.unit(), slot.log_read.as_ref()) else { continue };
        if slot.flags & tables::ANNOUNCED == 0 {
            transmit(channel, message(ChannelOp::LogPipe, unit.0, 0), Some(pipe.as_fd()))?;
            slot.flags |= tables::ANNOUNCED;
            return Ok(true);
        }
    }
    Ok(false)
}

fn message(op: ChannelOp, unit: u16, argument: u32) -> ChannelMessage {
    ChannelMessage { op: op.code(), reserved: 0, unit, argument, name: Text::EMPTY }
}

#[inline(never)]
fn transmit(channel: &OwnedFd, message: ChannelMessage, fd: Option<BorrowedFd<'_>>) -> Done {
    send(channel.as_fd(), &message.encode(), fd)
}
