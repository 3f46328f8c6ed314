//! What starts other units: sockets, timers, paths; and what stops or starts a unit for another's sake.
//!
//! A listening socket is init's to watch while what it triggers is down. When it fires, it is left alone, and the
//! service is started; when the service is down again, init watches again. One with Accept=yes stays init's to watch:
//! each connection is given to one of the instances that the plan has for it, whose number is what bounds them. A service that hits its start limit
//! takes its socket with it, and so does a socket that fires too often: a client must not make PID 1 spin.

use crate::action::Action;
use crate::descend::is_failure;
use crate::exits::admits;
use crate::policy;
use crate::state::{Job, State, Watching, flag, work};
use crate::{Supervisor, UnitId};
use hostel_contract::status::UnitResult;
use hostel_plan::{EdgeKind, UnitKind, unit_flags};

/// Who has a unit's sockets, as far as the units go that they trigger.
enum Holder {
    Nobody,
    Service,
    StartLimit,
}

impl Supervisor<'_> {
    /// A socket, timer or path fired.
    pub(crate) fn triggered(&mut self, unit: UnitId) {
        let active = self.state(unit) == State::Active;
        if self.header.shutdown != 0 || !(active || self.kind(unit) == UnitKind::Service) {
            return self.unwatch(unit);
        }
        match self.kind(unit) {
            UnitKind::Socket => self.socket_triggered(unit),
            UnitKind::Timer => {
                self.at(unit).set(flag::FIRED);
                self.visit_later(unit, work::ROW);
                self.start_triggered(unit);
            }
            UnitKind::Path => self.start_triggered(unit),
            // It has its connection.
            UnitKind::Service => self.visit_later(unit, work::START),
            // Somebody unmounted it.
            UnitKind::Mount => self.descend(unit, State::StopPost),
            UnitKind::Target | UnitKind::Slice | UnitKind::Swap | UnitKind::Device => {}
        }
    }

    fn socket_triggered(&mut self, unit: UnitId) {
        let now = self.now;
        if !self.get(unit).has(flag::WATCHING) {
            return;
        }
        self.unwatch(unit);
        if self.job(unit) == Some(Job::Stop) {
            return;
        }
        let burst = if self.is(unit, unit_flags::ACCEPT) {
            policy::TRIGGER_BURST_ACCEPT
        } else {
            policy::TRIGGER_BURST
        };
        if admits(self.at(unit), now, policy::TRIGGER_INTERVAL_MS, burst) {
            if self.is(unit, unit_flags::ACCEPT) {
                let free = |other: &UnitId| {
                    let asked = self.get(*other).work & work::START != 0;
                    self.state(*other).is_settled() && self.job(*other).is_none() && !asked
                };
                let service = self.edges(unit, const { EdgeKind::set(&[EdgeKind::Triggers]) }).find(free);
                self.out.push(Action::Accept { socket: unit, service });
                return self.watch(unit);
            }
            self.start_triggered(unit);
        } else {
            self.at(unit).blame(UnitResult::TriggerLimit);
            self.descend(unit, State::Stop);
        }
    }

    fn start_triggered(&mut self, unit: UnitId) {
        self.tell(unit, const { EdgeKind::set(&[EdgeKind::Triggers]) }, work::START, |_| true);
    }

    /// A service changed: its sockets look again whose they are, and its timers and paths are *running* or *waiting*.
    pub(crate) fn sockets_look(&mut self, unit: UnitId) {
        let mut n = 0;
        while let Some(other) = self.edge(unit, const { EdgeKind::set(&[EdgeKind::TriggeredBy]) }, n) {
            n += 1;
            let work = match self.kind(other) {
                UnitKind::Socket | UnitKind::Timer => work::SOCKET,
                UnitKind::Path => work::ROW,
                _ => continue,
            };
            if self.state(other) == State::Active {
                self.visit_later(other, work);
            }
        }
    }

    /// Watches a listening socket, or leaves it to its service.
    pub(crate) fn socket_looks(&mut self, unit: UnitId) {
        let is_timer = self.kind(unit) == UnitKind::Timer;
        if !(is_timer || self.kind(unit) == UnitKind::Socket) || self.state(unit) != State::Active {
            return;
        }
        match self.holder(unit) {
            Holder::Service if is_timer => {}
            Holder::Service => self.unwatch(unit),
            _ if is_timer => {
                self.at(unit).clear(flag::FIRED);
                self.visit_later(unit, work::ROW);
            }
            Holder::Nobody if self.header.shutdown != 0 => {}
            Holder::Nobody => self.watch(unit),
            Holder::StartLimit => {
                self.at(unit).blame(UnitResult::ServiceStartLimit);
                self.descend(unit, State::Stop);
            }
        }
    }

    fn holder(&self, unit: UnitId) -> Holder {
        let mut holder = Holder::Nobody;
        if self.is(unit, unit_flags::ACCEPT) {
            return holder;
        }
        for other in self.edges(unit, const { EdgeKind::set(&[EdgeKind::Triggers]) }) {
            let state = self.get(other);
            let asleep = state.state().is_settled() || state.state() == State::AutoRestart;
            if !asleep || matches!(state.job(), Some(Job::Start | Job::Restart)) {
                return Holder::Service;
            }
            if state.state() == State::Failed && state.has(flag::LIMIT_HIT) {
                holder = Holder::StartLimit;
            }
        }
        holder
    }

    /// Whether what an active unit triggers is left to itself for now: a socket that its service has, a path whose
    /// service is up, a timer that has started its service (systemd's *running*).
    pub(crate) fn watching(&self, unit: UnitId) -> Watching {
        let watches = match self.kind(unit) {
            UnitKind::Path => !matches!(self.holder(unit), Holder::Service),
            UnitKind::Timer => !self.get(unit).has(flag::FIRED),
            _ => self.get(unit).has(flag::WATCHING),
        };
        if watches { Watching::Init } else { Watching::Service }
    }

    fn watch(&mut self, unit: UnitId) {
        if !self.get(unit).has(flag::WATCHING) {
            self.at(unit).set(flag::WATCHING);
            self.out.push(Action::WatchSockets(unit));
            self.visit_later(unit, work::ROW);
        }
    }

    pub(crate) fn unwatch(&mut self, unit: UnitId) {
        if self.get(unit).has(flag::WATCHING) {
            self.at(unit).clear(flag::WATCHING);
            self.out.push(Action::UnwatchSockets(unit));
            self.visit_later(unit, work::ROW);
        }
    }

    /// A socket can't be opened while its service runs without it (as systemd has it).
    pub(crate) fn socket_is_taken(&self, unit: UnitId) -> bool {
        // Instances have their own connections.
        if self.is(unit, unit_flags::ACCEPT) {
            return false;
        }
        let mut services = self.edges(unit, const { EdgeKind::set(&[EdgeKind::Triggers]) }).peekable();
        services.peek().is_none()
            || services.any(|other| {
                let state = self.state(other);
                !state.is_settled() && state != State::AutoRestart
            })
    }

    /// Upholds=: a unit that went down is started again while one that upholds it is up; not where it was started too
    /// often, nor where it came to no life, for that would have no end.
    pub(crate) fn hold_up(&mut self, unit: UnitId) {
        let state = self.get(unit);
        let lived = state.result() == UnitResult::Success || is_failure(state.result());
        let is_down = state.state().is_settled() && state.job().is_none() && !state.has(flag::LIMIT_HIT);
        let upheld = || {
            self.edges(unit, const { EdgeKind::set(&[EdgeKind::UpheldBy]) })
                .any(|other| self.state(other).is_up())
        };
        if is_down && lived && upheld() {
            self.visit_later(unit, work::START);
        }
    }

    /// What is bound to a unit that went down without a job stops.
    pub(crate) fn stop_bound(&mut self, unit: UnitId) {
        self.tell(unit, const { EdgeKind::set(&[EdgeKind::BoundBy]) }, work::STOP, |other| {
            !other.state().is_settled() || other.job() == Some(Job::Start)
        });
    }

    /// Came up, or its job ended: what it is bound to may have gone down in the meantime.
    pub(crate) fn check_bound(&mut self, unit: UnitId) {
        if self.job(unit).is_none()
            && self.state(unit).is_up()
            && self
                .edges(unit, const { EdgeKind::set(&[EdgeKind::BindsTo]) })
                .any(|other| self.is_missing_for_bound(other))
        {
            self.visit_later(unit, work::STOP);
        }
    }

    /// A unit did not come up: what is bound to it, and did not wait, may be up.
    pub(crate) fn recheck_bound(&mut self, unit: UnitId) {
        self.tell(unit, const { EdgeKind::set(&[EdgeKind::BoundBy]) }, work::CAME_UP, |other| {
            other.state().is_up()
        });
    }

    /// OnFailure=, unless units fail by each other's OnFailure= without end.
    pub(crate) fn start_on_failure(&mut self, unit: UnitId) {
        let now = self.now;
        if self.edge(unit, const { EdgeKind::set(&[EdgeKind::OnFailure]) }, 0).is_none() {
            return;
        }
        let units = u32::try_from(self.plan.len()).unwrap_or(u32::MAX);
        let header = &mut self.header;
        if now.saturating_sub(header.on_failure_began) > policy::ON_FAILURE_INTERVAL_MS {
            header.on_failure_began = now;
            header.on_failure_count = 0;
        }
        header.on_failure_count = header.on_failure_count.saturating_add(1);
        if header.on_failure_count <= units.saturating_mul(policy::ON_FAILURE_BURST) {
            self.tell(unit, const { EdgeKind::set(&[EdgeKind::OnFailure]) }, work::START, |_| true);
        }
    }

    /// A unit is down: what it needed may be needed no longer (StopWhenUnneeded=).
    pub(crate) fn look_for_unneeded(&mut self, unit: UnitId) {
        self.tell(unit, const { EdgeKind::set(&[EdgeKind::Requires, EdgeKind::Wants, EdgeKind::BindsTo, EdgeKind::Requisite]) }, work::UNNEEDED, |other| {
            other.facts & unit_flags::STOP_WHEN_UNNEEDED != 0
        });
    }

    /// StopWhenUnneeded=: is anybody left who needs it?
    pub(crate) fn is_unneeded(&self, unit: UnitId) -> bool {
        let state = self.get(unit);
        let pins = const {
            EdgeKind::set(&[
                EdgeKind::RequiredBy,
                EdgeKind::WantedBy,
                EdgeKind::BoundBy,
                EdgeKind::RequisiteOf,
            ])
        };
        let pinned = |other| !self.state(other).is_settled() || self.job(other).is_some();
        self.is(unit, unit_flags::STOP_WHEN_UNNEEDED)
            && state.state().is_up()
            && state.job().is_none()
            && !self.edges(unit, pins).any(pinned)
    }
}
