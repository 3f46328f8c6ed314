//! What the supervisor wants done, other than spawns.

use super::messages;
use super::tables::Purpose;
use super::{System, tables, upward};
use crate::sys;
use crate::sys::process::kill;
use hostel_contract::said::Said;
use hostel_contract::status::{ActiveState, StatusRow};
use hostel_init::signals;
use hostel_plan::{Phase, UnitId, UnitKind};
use hostel_supervisor::{Action, Message, Pid, Recipient, State};

impl System {
    /// Carries out one action.
    #[inline(never)]
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn(spawn) => self.spawn(spawn),
            Action::Signal { unit, recipient, pid, signal } => self.signal(unit, recipient, pid, signal),
            Action::WatchSockets(unit) => self.watch_sockets(unit),
            Action::UnwatchSockets(unit) => self.unwatch_sockets(unit),
            Action::Accept { socket, service } => self.accept_for(socket, service),
            Action::CloseDescriptors(unit) => self.close_descriptors(unit),
            Action::Reply { id, result } => self.reply(id, result),
            Action::Log { unit, message } => self.say_of(unit, message),
            Action::Changed(unit) => self.changed(unit),
            Action::Booted => self.booted(),
            Action::Finish(kind) => self.begin_ending(kind),
        }
        // What was called comes back here: each jump to it would repeat the way out of this function.
        core::hint::black_box(());
    }

    /// Says something about a unit.
    #[inline(never)]
    pub(super) fn tell(&mut self, said: Said, unit: UnitId, number: u64) {
        self.log.tell(said, self.guest.name(unit), number, b"");
    }

    #[inline(never)]
    fn say_of(&mut self, unit: UnitId, message: Message) {
        let (said, number) = messages::coded(message);
        self.tell(said, unit, number);
    }

    #[inline(never)]
    fn changed(&mut self, unit: UnitId) {
        self.page.mark(unit);
        let guest = &mut self.guest;
        let described = guest.plan.definition(unit);
        let StatusRow { active, job, .. } = guest.supervisor.row(unit);
        let is_over = active == ActiveState::Inactive.code() || active == ActiveState::Failed.code();
        if let Some(slot) = guest.slots.of(unit).filter(|slot| is_over && slot.flags & tables::IN_CGROUP != 0)
        {
            slot.flags &= !tables::IN_CGROUP;
            self.cgroups.remove(described.cgroup_bytes());
        }
        if is_over && job == 0 && described.kind() == UnitKind::Service {
            // A connection that its start did not come to.
            guest.kept.close_all(unit, Purpose::Socket, None);
        }
    }

    fn booted(&mut self) {
        self.page.header.ready_usec = sys::now_usec();
        self.page.touch();
        let failed = self.guest.supervisor.counts().0;
        let milliseconds = (self.page.header.ready_usec - self.page.header.began_usec) / 1000;
        self.log.tell(Said::Booted, b"", u64::from(failed) | milliseconds << 32, b"");
        // READY=1 also then: the guest is there, and its host asks the status page what isn't.
        let status: &[u8] =
            if failed == 0 { b"READY=1\nSTATUS=running" } else { b"READY=1\nSTATUS=degraded" };
        // Who is told looks there at once.
        self.update_page();
        // Also where services have all other descriptors.
        self.reserve.release();
        upward::tell(status);
        self.reserve.take_back(&self.signals);
    }

    /// SIGCONT goes behind a TERM or HUP: a stopped process could not act on it.
    fn signal(&mut self, unit: UnitId, recipient: Recipient, pid: Option<Pid>, signal: u8) {
        let also = matches!(signal, signals::TERM | signals::HUP).then_some(signals::CONT);
        for signal in [Some(signal), also].into_iter().flatten() {
            match (recipient, pid) {
                (Recipient::Main | Recipient::Control, Some(pid)) => send(pid as i32, signal),
                (Recipient::Main | Recipient::Control, None) => {}
                (Recipient::All, _) => self.signal_all(unit, signal),
                (Recipient::Rest, _) => self.signal_rest(unit, signal),
            }
        }
    }

    #[inline(never)]
    fn signal_all(&mut self, unit: UnitId, signal: u8) {
        let guest = &mut self.guest;
        let described = guest.plan.definition(unit);
        // Children that look or prepare are outside the group, and children just made may not lead a process group
        // yet: those are known one by one.
        for pid in guest.flights.of(unit) {
            send(pid as i32, signal);
        }
        let Some(slot) = guest.slots.of(unit) else { return };
        if slot.flags & tables::IN_CGROUP == 0 {
            signal_groups(slot, signal);
            return;
        }
        // A command that follows could be cloned into the group before all in it are gone: see `try_spawn`.
        let ends_it = described.command_count(Phase::StopPost) == 0
            || guest.supervisor.state(unit) == State::FinalSigkill;
        if signal == signals::KILL && ends_it && self.cgroups.kill(described.cgroup_bytes()) {
            return;
        }
        self.cgroups.for_each_process(described.cgroup_bytes(), &mut |pid| send(pid as i32, signal));
    }

    #[inline(never)]
    fn signal_rest(&mut self, unit: UnitId, signal: u8) {
        let guest = &mut self.guest;
        let described = guest.plan.definition(unit);
        let in_cgroup = guest.slots.of(unit).is_some_and(|slot| slot.flags & tables::IN_CGROUP != 0);
        if in_cgroup {
            let supervisor = &guest.supervisor;
            self.cgroups.for_each_process(described.cgroup_bytes(), &mut |pid| {
                if supervisor.unit_of(pid) != Some(unit) {
                    send(pid as i32, signal);
                }
            });
            return;
        }
        // A group whose leader is gone has only leftovers; one whose leader is there can't be told apart from it.
        let supervisor = &guest.supervisor;
        if let Some(slot) = guest.slots.of(unit) {
            for group in slot.groups.iter().filter(|g| **g > 1 && supervisor.unit_of(**g) != Some(unit)) {
                send(-(*group as i32), signal);
            }
        }
    }

    /// Has the unit no process left, as far as can be told?
    pub(super) fn group_is_empty(&mut self, unit: UnitId) -> bool {
        let guest = &mut self.guest;
        let described = guest.plan.definition(unit);
        let supervisor = &guest.supervisor;
        let Some(slot) = guest.slots.of(unit) else { return true };
        if slot.flags & tables::IN_CGROUP != 0 {
            return self.cgroups.is_empty(described.cgroup_bytes());
        }
        for group in &mut slot.groups {
            if *group > 1 && supervisor.unit_of(*group).is_none() && kill(-(*group as i32), 0).is_err() {
                // Forgotten, since its number may be given to others from now on.
                *group = 0;
            }
        }
        slot.groups == [0; 2]
    }
}

fn send(pid: i32, signal: u8) {
    // Gone already: then it needs no signal. Anything else can't be had either: all of the guest is ours.
    let _ = kill(pid, signal);
}

fn signal_groups(slot: &tables::RunSlot, signal: u8) {
    for group in slot.groups.iter().filter(|g| **g > 1) {
        send(-(*group as i32), signal);
    }
}
