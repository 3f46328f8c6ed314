//! Rules about starts, their limits, and what starts by itself.

use super::{Ledger, Verdict, View};
use hostel_plan::*;
use hostel_supervisor::*;

impl Ledger {
    /// A service counts as started when its type says so, and not before.
    pub(super) fn started_means_ready(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        let memory = self.of(unit);
        if def.kind() != UnitKind::Service || memory.began.is_none() {
            return Ok(());
        }
        let ready = match def.service_type() {
            ServiceType::Notify | ServiceType::NotifyReload => memory.ready,
            ServiceType::Exec => memory.executed,
            ServiceType::Dbus => memory.name_owned,
            ServiceType::Forking => memory.control_done,
            ServiceType::Simple | ServiceType::Oneshot | ServiceType::Idle => true,
        };
        if ready || memory.outlived_a_plan {
            Ok(())
        } else {
            Err(format!("{} is started, and is not ready as {}", def.name(), def.service_type().name()))
        }
    }

    /// StartLimitBurst= in StartLimitIntervalSec=.
    pub(super) fn start_limit_holds(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        let limited = matches!(def.kind(), UnitKind::Service | UnitKind::Mount);
        let (interval, burst) = (u64::from(def.start_limit_interval_ms()), def.start_limit_burst());
        if !limited || interval == 0 || burst == 0 {
            return Ok(());
        }
        let memory = self.of(unit);
        if memory.starts == 0 || view.now - memory.window > interval {
            memory.window = view.now;
            memory.starts = 0;
        }
        memory.starts += 1;
        if memory.starts > burst {
            return Err(format!("{}: start {} of {burst} in {interval} ms", def.name(), memory.starts));
        }
        Ok(())
    }

    /// A connection is given to a service that is down.
    pub(super) fn a_connection_has_one_server(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let state = view.supervisor.state(unit);
        match (state.is_settled(), view.supervisor.job(unit)) {
            (true, None) => Ok(()),
            (_, job) => {
                Err(format!("{} gets a connection, it is {}, {job:?}", view.name(unit), state.name()))
            }
        }
    }

    /// Init watches a socket only while its service is down.
    pub(super) fn a_socket_has_one_reader(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        for other in def.edges(EdgeKind::Triggers).filter(|_| !def.has(unit_flags::ACCEPT)) {
            let state = view.supervisor.state(other);
            if state.is_up() || state.is_starting() || state.is_stopping() {
                return Err(format!(
                    "{} is watched while {} is {}",
                    def.name(),
                    view.name(other),
                    state.name()
                ));
            }
        }
        Ok(())
    }

    /// A listening socket whose service is down is watched: a connection is never left waiting for ever.
    pub(super) fn a_listening_socket_is_watched(&mut self, view: &View<'_, '_>) -> Verdict {
        if self.shutdown.is_some() {
            return Ok(());
        }
        for def in view.plan.units().filter(|def| def.kind() == UnitKind::Socket) {
            let listens = view.supervisor.state(def.id()) == State::Active
                && view.supervisor.job(def.id()).is_none()
                && def.edges(EdgeKind::Triggers).next().is_some();
            let asleep = |other: UnitId| {
                let state = view.supervisor.state(other);
                let starts = matches!(view.supervisor.job(other), Some(Job::Start | Job::Restart));
                (state.is_settled() || state == State::AutoRestart) && !starts
            };
            let watched = self.of(def.id()).watched;
            if listens && def.edges(EdgeKind::Triggers).all(asleep) && !watched {
                return Err(format!("{} listens, and nobody looks", def.name()));
            }
        }
        Ok(())
    }
}
