//! The loop: one wait, and what woke it. Everything in a round is bounded; what is left over is for the next round,
//! so that no flood of one kind keeps the others waiting.

use super::poll::{EVENTS_MAX, Source};
use super::tables::Purpose;
use super::{NEVER, System};
use crate::sys;
use crate::sys::wait::Event;
use hostel_contract::status::{GuestState, StatusRow};
use hostel_init::signals::{Meaning, meaning};
use hostel_supervisor::Event as Happened;

/// Signals taken in one round.
const SIGNALS_MAX: usize = 64;
/// Actions carried out in one go. More would be a defect of the supervisor; the loop stays able to stop even then.
const ACTIONS_MAX: usize = 4096;
/// How often groups that are to become empty are looked at when nothing else happens.
const LOOK_MS: u64 = 1000;

impl System {
    /// For ever.
    pub fn run(&mut self) -> ! {
        loop {
            let timeout = self.timeout();
            self.more = false;
            let mut events = [Event::default(); EVENTS_MAX];
            let count = self.poll.wait(&mut events, timeout);
            for event in events.iter().take(count) {
                if let Some(source) = Source::decode(event.data) {
                    self.woken(source, event.events);
                }
            }
            if self.children {
                self.reap();
            }
            self.tick();
            self.settle();
            self.pump_channel();
            self.update_page();
        }
    }

    /// How long the wait may take, in milliseconds; or [`NEVER`]: until something happens.
    fn timeout(&self) -> u64 {
        if self.more {
            return 0;
        }
        let supervisor = &self.guest.supervisor;
        let ending = self.ending.as_ref().map_or(NEVER, |e| e.deadline());
        let look = if supervisor.any_awaits_empty() { self.next_look } else { NEVER };
        let next = supervisor.next_deadline().unwrap_or(NEVER).min(look).min(ending);
        match next.min(self.compilation_deadline()).min(self.warden.deadline()) {
            NEVER => NEVER,
            next => next.saturating_sub(sys::now_ms()),
        }
    }

    fn woken(&mut self, source: Source, events: u32) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Listener => self.accept_connections(),
            Source::Connection(index) => self.connection_ready(index, events),
            Source::Notify(slot) => self.notifications(slot),
            Source::Flight(index) => self.flight_ready(index),
            Source::Socket(index) => self.socket_ready(index),
            Source::Stored(index) => self.stored_is_dead(index),
            Source::Channel => self.channel_ready(events),
        }
    }

    #[inline(never)]
    fn take_signals(&mut self) {
        for _ in 0..SIGNALS_MAX {
            let Some(arrived) = sys::signal::next(self.signals.as_fd()) else { return };
            match meaning(arrived.signal, arrived.sender) {
                Meaning::Children => self.children = true,
                Meaning::Shutdown(kind) => self.shut_down(kind),
                Meaning::AtOnce(kind) => {
                    self.shut_down(kind);
                    self.begin_ending(kind);
                }
                Meaning::Told => self.warden.signal(arrived.signal, arrived.sender),
                Meaning::Nothing => {}
            }
        }
    }

    /// What is due.
    #[inline(never)]
    fn tick(&mut self) {
        let now = sys::now_ms();
        if self.compilation_deadline() <= now {
            self.compilation_is_late();
        }
        if self.warden.deadline() <= now {
            self.warden_is_due();
        }
        if self.guest.supervisor.any_awaits_empty() && self.next_look <= now {
            self.look_for_empty_groups();
        }
        if self.guest.supervisor.next_deadline().is_some_and(|at| at <= now) {
            self.feed(Happened::Deadline);
        }
        if self.ending.as_ref().is_some_and(|e| e.deadline() <= now) {
            self.ending_goes_on();
        }
    }

    /// Tells the supervisor, and does what it wants.
    pub(super) fn feed(&mut self, event: Happened) {
        self.guest.supervisor.handle(sys::now_ms(), event);
        self.settle();
    }

    /// Does all that the supervisor wants.
    pub(super) fn settle(&mut self) {
        for _ in 0..ACTIONS_MAX {
            let Some(action) = self.guest.supervisor.next_action(sys::now_ms()) else { return };
            // A unit that has begun to wait may have nothing left already, and then nothing would wake us.
            self.next_look = 0;
            self.perform(action);
        }
        self.more = true;
    }

    /// The groups that the supervisor waits for: are they empty?
    pub(super) fn look_for_empty_groups(&mut self) {
        self.next_look = sys::now_ms() + LOOK_MS;
        let slots = self.guest.slots.len();
        for number in 0..slots {
            let guest = &mut self.guest;
            let Some(unit) = guest.slots.at(number).and_then(|slot| slot.unit()) else { continue };
            if guest.supervisor.awaits_empty(unit) && self.group_is_empty(unit) {
                self.feed(Happened::GroupEmpty(unit));
            }
        }
    }

    /// Brings the status page up to date.
    #[inline(never)]
    pub(super) fn update_page(&mut self) {
        if self.guest.has_plan() {
            let (failed, jobs) = self.guest.supervisor.counts();
            let header = &mut self.page.header;
            if (header.failed, header.jobs) != (failed, jobs) {
                header.failed = failed;
                header.jobs = jobs;
                self.page.touch();
            }
            let booted = self.page.header.ready_usec != 0;
            let state = match () {
                () if self.ending.is_some() || self.guest.supervisor.shutting_down().is_some() => {
                    GuestState::Stopping
                }
                () if !booted => GuestState::Booting,
                () if failed > 0 => GuestState::Degraded,
                () => GuestState::Running,
            };
            self.page.set_state(state);
        } else if self.ending.is_some() {
            self.page.set_state(GuestState::Stopping);
        } else if self.compilation.is_none() {
            self.page.set_state(GuestState::NoPlan);
        }
        self.flush_page();
    }

    /// Writes what changed of the status page.
    pub(super) fn flush_page(&mut self) {
        let guest = &self.guest;
        self.page.flush(&|unit| {
            let stored = guest.kept.of(unit, Purpose::Stored).count() as u16;
            let text = guest.slots.number(unit).map_or(0, |slot| slot as u16 + 1);
            StatusRow { stored, text, ..guest.supervisor.row(unit) }
        });
    }
}
