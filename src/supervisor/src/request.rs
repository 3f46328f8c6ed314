//! Requests and their answers: each gets exactly one, unless whoever asked is gone.
//!
//! A request waits in a table of the region for the job of its unit. What ends the job marks the request as
//! answered; the answers are given one by one afterwards.

use crate::action::{Action, Recipient};
use crate::event::{JobMode, Operation, RequestId};
use crate::state::{Job, PendingRequest, State, work};
use crate::{Supervisor, UnitId};
use hostel_contract::control::ControlResult;
use hostel_contract::status::UnitResult;
use hostel_plan::unit_flags;

impl Supervisor<'_> {
    /// Somebody asks.
    pub(crate) fn request(&mut self, id: RequestId, unit: UnitId, operation: Operation, mode: JobMode) {
        if let Err(result) = self.try_request(id, unit, operation, mode) {
            self.out.push(Action::Reply { id, result });
        }
    }

    /// `Err` is the answer; `Ok` says that it will come.
    fn try_request(
        &mut self,
        id: RequestId,
        unit: UnitId,
        operation: Operation,
        mode: JobMode,
    ) -> Result<(), ControlResult> {
        self.plan.unit(unit).ok_or(ControlResult::NoSuchUnit)?;
        let job = match operation {
            Operation::Kill { recipient, signal } => return Err(self.kill(unit, recipient, signal)),
            Operation::ResetFailed => return Err(self.reset_failed(unit)),
            Operation::Start => Job::Start,
            Operation::Stop => Job::Stop,
            Operation::Restart | Operation::TryRestart => Job::Restart,
            Operation::Reload => Job::Reload,
        };
        self.admits_request(unit, operation, job)?;
        let slot = self.free_slot().ok_or(ControlResult::Busy)?;
        self.transact(unit, job, mode, None)?;
        if let Some(entry) = self.header.requests.get_mut(slot) {
            *entry = PendingRequest { id: id.0, unit: unit.0, state: PendingRequest::WAITING, result: 0 };
        }
        Ok(())
    }

    /// What can be said of a request before any job is thought of.
    fn admits_request(&self, unit: UnitId, operation: Operation, job: Job) -> Result<(), ControlResult> {
        let state = self.get(unit).state();
        if self.header.shutdown != 0 && job != Job::Stop {
            return Err(ControlResult::Refused);
        }
        if self.is(unit, unit_flags::NOT_FOUND) && (job != Job::Stop || state.is_settled()) {
            return Err(ControlResult::NoSuchUnit);
        }
        // RefuseManualStart= and RefuseManualStop= bind people, whom the warden asks for: not what it does by itself.
        let refused = (self.is(unit, unit_flags::MASKED) && job != Job::Stop)
            || (job == Job::Reload && !self.can_reload(unit));
        if refused {
            return Err(ControlResult::Refused);
        }
        if operation == Operation::TryRestart && !state.restarts_along() {
            return Err(ControlResult::Done);
        }
        Ok(())
    }

    fn free_slot(&self) -> Option<usize> {
        self.header.requests.iter().position(|entry| entry.state == PendingRequest::FREE)
    }

    /// Signals processes of a unit.
    fn kill(&mut self, unit: UnitId, recipient: Recipient, signal: u8) -> ControlResult {
        if !(1..=64).contains(&signal) {
            return ControlResult::Refused;
        }
        let state = self.get(unit);
        let pid = match recipient {
            Recipient::Main => state.main(),
            Recipient::Control => state.control(),
            Recipient::All | Recipient::Rest => None,
        };
        let nobody = match recipient {
            Recipient::Main | Recipient::Control => pid.is_none(),
            Recipient::All | Recipient::Rest => state.state().is_settled(),
        };
        if nobody {
            return ControlResult::Failed;
        }
        self.out.push(Action::Signal { unit, recipient, pid, signal });
        ControlResult::Done
    }

    /// Forgets a failure and its counters.
    fn reset_failed(&mut self, unit: UnitId) -> ControlResult {
        let state = self.at(unit);
        state.limit_count = 0;
        state.limit_began = 0;
        state.restarts = 0;
        if state.state() == State::Failed {
            state.set_result(UnitResult::Success);
            self.enter(unit, State::Dead);
        }
        self.visit_later(unit, work::ROW);
        ControlResult::Done
    }

    /// Whoever asked is gone.
    pub(crate) fn request_dropped(&mut self, id: RequestId) {
        let mut told = 0;
        for entry in self.header.requests.iter_mut().filter(|entry| entry.id == id.0) {
            told += u16::from(entry.state == PendingRequest::ANSWERED);
            entry.state = PendingRequest::FREE;
        }
        self.header.answers = self.header.answers.saturating_sub(told);
    }

    /// The job of the unit ended: so did the requests for it.
    pub(crate) fn answer(&mut self, unit: UnitId, result: ControlResult) {
        let mut answers = 0;
        for entry in &mut self.header.requests {
            if entry.state == PendingRequest::WAITING && entry.unit == unit.0 {
                entry.state = PendingRequest::ANSWERED;
                entry.result = result.code();
                answers += 1;
            }
        }
        self.header.answers = self.header.answers.saturating_add(answers);
    }

    /// Gives one answer.
    pub(crate) fn give_answer(&mut self) -> bool {
        if self.header.answers == 0 {
            return false;
        }
        self.header.answers -= 1;
        let answered = |entry: &&mut PendingRequest| entry.state == PendingRequest::ANSWERED;
        let Some(entry) = self.header.requests.iter_mut().find(answered) else { return false };
        entry.state = PendingRequest::FREE;
        let result = ControlResult::from_code(entry.result).unwrap_or(ControlResult::Failed);
        self.out.push(Action::Reply { id: RequestId(entry.id), result });
        true
    }
}
