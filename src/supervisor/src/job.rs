//! The transaction: which jobs a request pulls in, and how they are joined with those that are there.
//!
//! As systemd does it: the jobs are found from the anchor along the dependencies; where one unit is to be started
//! and stopped at once, the one that nobody insists on is dropped, with all that insists on it; then the jobs are
//! merged into what is queued, or take its place. Nothing is changed before all of it is known to be possible.
//!
//! It touches the region only, and gives no action. There is no recursion: a list of members and a list of those
//! to look at are links in the region, and bits only ever come up, so it ends.

use crate::event::JobMode;
use crate::order::JobEnd;
use crate::policy;
use crate::queue::{link, linked};
use crate::state::{Boot, Job, flag, work};
use crate::{Supervisor, UnitId};
use hostel_contract::control::ControlResult;
use hostel_plan::{EdgeKind, unit_flags};

/// Bits of `UnitState::txn`.
const START: u16 = 1 << 0;
const VERIFY: u16 = 1 << 1;
const STOP: u16 = 1 << 2;
const RESTART: u16 = 1 << 3;
const RELOAD: u16 = 1 << 4;
const UPWARD: u16 = START | VERIFY | RESTART | RELOAD;
const TYPES: u16 = UPWARD | STOP;
/// The anchor insists on the jobs upward; on the stop.
const UP_MATTERS: u16 = 1 << 5;
const STOP_MATTERS: u16 = 1 << 6;
/// The stop is because another that conflicts is to be started.
const CONFLICTED: u16 = 1 << 7;
/// Is in the list of those to look at.
const QUEUED: u16 = 1 << 8;
/// Is in the list of members.
const MEMBER: u16 = 1 << 9;
/// No job upward can be; no stop can be.
const NO_UP: u16 = 1 << 10;
const NO_STOP: u16 = 1 << 11;
/// What it requires can't be had: said in the log if the rest goes on without it.
const LACKS: u16 = 1 << 12;
/// What one round finds out; the rest stays for the next.
const OF_A_ROUND: u16 = TYPES | UP_MATTERS | STOP_MATTERS | CONFLICTED;

/// What is inverse to "insists on": who fails with a job upward, and with a stop.
const REQUIRERS: u32 = EdgeKind::set(&[EdgeKind::RequiredBy, EdgeKind::BoundBy, EdgeKind::RequisiteOf]);
const STOPPED_WITH: u32 =
    EdgeKind::set(&[EdgeKind::RequiredBy, EdgeKind::RequisiteOf, EdgeKind::BoundBy, EdgeKind::ConsistsOf]);
/// Who a stop comes from: what the unit insists on, and what conflicts with it.
const NEED_THE_STOP: u32 = EdgeKind::set(&[
    EdgeKind::Requires,
    EdgeKind::Requisite,
    EdgeKind::BindsTo,
    EdgeKind::PartOf,
    EdgeKind::Conflicts,
    EdgeKind::ConflictedBy,
]);

/// Heads and tails of the lists, as links.
#[derive(Default)]
struct Lists {
    members: u16,
    last_member: u16,
    todo: u16,
    last_todo: u16,
    /// Something was refused in this round: what hangs on it has to go.
    again: u8,
}

/// Does the anchor insist on it?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Insists,
    Wishes,
}

const fn bit_of(job: Job) -> u16 {
    match job {
        Job::Start => START,
        Job::Stop => STOP,
        Job::Restart => RESTART,
        Job::Reload => RELOAD,
        Job::Verify => VERIFY,
    }
}

/// Two jobs of one unit as one; None where one is a stop and the other is not.
fn merge(a: Job, b: Job, is_up: impl Fn() -> bool) -> Option<Job> {
    Some(match (a, b) {
        (Job::Stop, Job::Stop) => Job::Stop,
        (Job::Stop, _) | (_, Job::Stop) => return None,
        (Job::Restart, _) | (_, Job::Restart) => Job::Restart,
        (Job::Reload, Job::Start) | (Job::Start, Job::Reload) => {
            if is_up() {
                Job::Reload
            } else {
                Job::Start
            }
        }
        (Job::Reload, _) | (_, Job::Reload) => Job::Reload,
        (Job::Start, _) | (_, Job::Start) => Job::Start,
        (Job::Verify, Job::Verify) => Job::Verify,
    })
}

impl Supervisor<'_> {
    /// A job of the supervisor's own: a restart, or what a dependency or trigger asks for.
    pub(crate) fn queue_own(&mut self, unit: UnitId, job: Job) -> Result<(), ControlResult> {
        self.transact(unit, job, JobMode::Replace, None)
    }

    /// Queues a job for the anchor and all that it pulls in, or says why not, and changes nothing then.
    pub(crate) fn transact(
        &mut self,
        anchor: UnitId,
        job: Job,
        mode: JobMode,
        boot: Option<Boot>,
    ) -> Result<(), ControlResult> {
        let mut lists = Lists::default();
        let verdict = match self.find_jobs(&mut lists, anchor, job) {
            Ok(()) if mode == JobMode::Fail && self.is_destructive(&lists) => Err(ControlResult::Failed),
            other => other,
        };
        let mut next = linked(lists.members);
        while let Some(unit) = next {
            next = linked(self.get(unit).txn_next);
            if verdict.is_ok() {
                self.install_member(unit, anchor, boot);
            }
            let state = self.at(unit);
            state.txn = 0;
            state.txn_next = 0;
            state.todo_next = 0;
        }
        verdict
    }

    /// Finds all jobs, in rounds: each begins anew from the anchor, without what was refused before.
    fn find_jobs(&mut self, lists: &mut Lists, anchor: UnitId, job: Job) -> Result<(), ControlResult> {
        for _ in 0..policy::TRANSACTION_ROUNDS {
            let mut next = linked(lists.members);
            while let Some(unit) = next {
                self.at(unit).txn &= !OF_A_ROUND;
                next = linked(self.get(unit).txn_next);
            }
            lists.again = 0;
            self.add(lists, anchor, bit_of(job), Weight::Insists);
            while let Some(unit) = self.take_todo(lists) {
                self.pull_in(lists, unit);
            }
            let refused = if job == Job::Stop { NO_STOP } else { NO_UP };
            if self.get(anchor).txn & refused != 0 {
                return Err(ControlResult::Dependency);
            }
            if lists.again == 0 {
                self.drop_contradiction(lists)?;
            }
            if lists.again == 0 {
                return Ok(());
            }
        }
        Err(ControlResult::Failed)
    }

    /// Adds a job for a unit, unless it was refused.
    fn add(&mut self, lists: &mut Lists, unit: UnitId, bits: u16, weight: Weight) {
        let state = self.at(unit);
        let refused = if bits & STOP != 0 { NO_STOP } else { NO_UP };
        if state.txn & refused != 0 {
            return;
        }
        let weight = match (weight, bits & STOP != 0) {
            (Weight::Wishes, _) => 0,
            (Weight::Insists, true) => STOP_MATTERS,
            (Weight::Insists, false) => UP_MATTERS,
        };
        let bits = bits | weight;
        if state.txn & bits != bits {
            state.txn |= bits;
            self.look_at(lists, unit);
        }
    }

    /// Puts a unit into the list of those to look at, and makes it a member.
    fn look_at(&mut self, lists: &mut Lists, unit: UnitId) {
        if self.get(unit).txn & MEMBER == 0 {
            self.at(unit).txn |= MEMBER;
            self.at(unit).txn_next = 0;
            match linked(lists.last_member) {
                Some(last) => self.at(last).txn_next = link(unit),
                None => lists.members = link(unit),
            }
            lists.last_member = link(unit);
        }
        if self.get(unit).txn & QUEUED == 0 {
            self.at(unit).txn |= QUEUED;
            self.at(unit).todo_next = 0;
            match linked(lists.last_todo) {
                Some(last) => self.at(last).todo_next = link(unit),
                None => lists.todo = link(unit),
            }
            lists.last_todo = link(unit);
        }
    }

    fn take_todo(&mut self, lists: &mut Lists) -> Option<UnitId> {
        let unit = linked(lists.todo)?;
        let state = self.at(unit);
        state.txn &= !QUEUED;
        lists.todo = state.todo_next;
        if lists.todo == 0 {
            lists.last_todo = 0;
        }
        Some(unit)
    }

    /// Adds what a unit's jobs pull in.
    fn pull_in(&mut self, lists: &mut Lists, unit: UnitId) {
        if self.get(unit).txn & UPWARD != 0 && self.is_absent(unit) {
            return self.refuse(lists, unit, NO_UP);
        }
        if self.get(unit).txn & (START | RESTART) != 0 {
            self.pull_in_for_start(lists, unit);
        }
        if self.get(unit).txn & STOP != 0 {
            self.pull_in_for_stop(lists, unit);
        }
        if self.get(unit).txn & RESTART != 0 {
            let weight = self.weight_of(unit, UP_MATTERS);
            let mut n = 0;
            while let Some(other) = self.edge(unit, STOPPED_WITH, n) {
                n += 1;
                if self.state(other).restarts_along() {
                    self.add(lists, other, RESTART, weight);
                }
            }
        }
        if self.get(unit).txn & RELOAD != 0 {
            let mut n = 0;
            while let Some(other) =
                self.edge(unit, const { EdgeKind::set(&[EdgeKind::PropagatesReloadTo]) }, n)
            {
                n += 1;
                let reloads = self.can_reload(other);
                if reloads && self.state(other).is_up() {
                    self.add(lists, other, RELOAD, Weight::Wishes);
                }
            }
        }
    }

    fn pull_in_for_start(&mut self, lists: &mut Lists, unit: UnitId) {
        let weight = self.weight_of(unit, UP_MATTERS);
        let needs = [(EdgeKind::Requires, START), (EdgeKind::BindsTo, START), (EdgeKind::Requisite, VERIFY)];
        for (kind, bits) in needs {
            let mut n = 0;
            while let Some(other) = self.edge(unit, EdgeKind::set(&[kind]), n) {
                n += 1;
                if self.is_absent(other) || self.get(other).txn & NO_UP != 0 || self.leaves(other, bits) {
                    self.at(unit).txn |= LACKS;
                    return self.refuse(lists, unit, NO_UP);
                }
                self.add(lists, other, bits, weight);
            }
        }
        let mut n = 0;
        while let Some(other) = self.edge(unit, const { EdgeKind::set(&[EdgeKind::Wants]) }, n) {
            n += 1;
            if !self.is_absent(other) {
                self.add(lists, other, START, Weight::Wishes);
            }
        }
        // Who declares the conflict makes no difference to whether both can be up, only to who insists.
        for (kind, weight) in [(EdgeKind::Conflicts, weight), (EdgeKind::ConflictedBy, Weight::Wishes)] {
            let mut n = 0;
            while let Some(other) = self.edge(unit, EdgeKind::set(&[kind]), n) {
                n += 1;
                if self.get(other).txn & NO_STOP != 0 {
                    return self.refuse(lists, unit, NO_UP);
                }
                self.add(lists, other, STOP | CONFLICTED, weight);
            }
        }
    }

    fn pull_in_for_stop(&mut self, lists: &mut Lists, unit: UnitId) {
        let weight = self.weight_of(unit, STOP_MATTERS);
        let mut n = 0;
        while let Some(other) = self.edge(unit, STOPPED_WITH, n) {
            n += 1;
            if self.get(other).txn & NO_STOP != 0 {
                return self.refuse(lists, unit, NO_STOP);
            }
            self.add(lists, other, STOP, weight);
        }
    }

    fn weight_of(&self, unit: UnitId, matters: u16) -> Weight {
        if self.get(unit).txn & matters != 0 { Weight::Insists } else { Weight::Wishes }
    }

    /// Can no job upward be, whatever else is asked for?
    pub(crate) fn is_absent(&self, unit: UnitId) -> bool {
        self.is(unit, unit_flags::NOT_FOUND | unit_flags::MASKED)
    }

    /// Requisite= starts nothing, so it can't call off a stop that is queued either.
    fn leaves(&self, unit: UnitId, bits: u16) -> bool {
        let state = self.get(unit);
        bits == VERIFY && state.job() == Some(Job::Stop) && state.txn & (START | RESTART) == 0
    }

    /// Drops a unit's jobs upward or its stop; who insists on them looks again.
    fn refuse(&mut self, lists: &mut Lists, unit: UnitId, which: u16) {
        if self.get(unit).txn & which != 0 {
            return;
        }
        self.at(unit).txn |= which;
        lists.again = 1;
        let mut n = 0;
        while let Some(other) = self.edge(unit, if which == NO_UP { REQUIRERS } else { NEED_THE_STOP }, n) {
            n += 1;
            if self.get(other).txn & TYPES != 0 {
                self.look_at(lists, other);
            }
        }
    }

    /// Where a unit is to be started and stopped at once, drops what nobody insists on. Of two wishes the start is
    /// kept, but where the stop is for a conflict. One unit a round: what hangs on the dropped job goes with it, and
    /// that may settle other contradictions.
    fn drop_contradiction(&mut self, lists: &mut Lists) -> Result<(), ControlResult> {
        let mut next = linked(lists.members);
        while let Some(unit) = next {
            let bits = self.get(unit).txn;
            next = linked(self.get(unit).txn_next);
            let up = bits & UPWARD != 0 && bits & NO_UP == 0;
            let stop = bits & STOP != 0 && bits & NO_STOP == 0;
            if !(up && stop) {
                continue;
            }
            let dropped = match (bits & UP_MATTERS != 0, bits & STOP_MATTERS != 0) {
                (true, true) => return Err(ControlResult::Failed),
                (true, false) => NO_STOP,
                (false, true) => NO_UP,
                (false, false) if bits & CONFLICTED != 0 => NO_UP,
                (false, false) => NO_STOP,
            };
            self.refuse(lists, unit, dropped);
            break;
        }
        // The next round looks at everything anew.
        while self.take_todo(lists).is_some() {}
        Ok(())
    }

    /// What a member's bits come to.
    fn member_job(&self, unit: UnitId) -> Option<Job> {
        let bits = self.get(unit).txn;
        let up = bits & UPWARD != 0 && bits & NO_UP == 0;
        if bits & STOP != 0 && bits & NO_STOP == 0 && !up {
            return Some(Job::Stop);
        }
        if !up {
            return None;
        }
        let jobs = [Job::Start, Job::Verify, Job::Restart, Job::Reload];
        let is_up = || self.state(unit).is_up();
        jobs.into_iter().filter(|&job| bits & bit_of(job) != 0).reduce(|a, b| merge(a, b, is_up).unwrap_or(a))
    }

    /// Would it take the place of a job that is there?
    fn is_destructive(&self, lists: &Lists) -> bool {
        let mut next = linked(lists.members);
        while let Some(unit) = next {
            next = linked(self.get(unit).txn_next);
            let conflict = |(a, b)| merge(a, b, || false).is_none();
            if self.job(unit).zip(self.member_job(unit)).is_some_and(conflict) {
                return true;
            }
        }
        false
    }

    /// Joins a member's job with the one that is there.
    fn install_member(&mut self, unit: UnitId, anchor: UnitId, boot: Option<Boot>) {
        if self.get(unit).txn & LACKS != 0 && self.state(unit).is_settled() {
            self.visit_later(unit, work::LOG_DEPENDENCY);
        }
        let Some(job) = self.member_job(unit) else { return };
        let state = self.state(unit);
        let there = self.job(unit);
        let redundant = match job {
            Job::Start | Job::Verify => state.is_up(),
            Job::Stop => state.is_settled(),
            Job::Restart | Job::Reload => false,
        };
        if redundant && there.is_none() && unit != anchor {
            return;
        }
        match there.map(|there| (there, merge(there, job, || state.is_up()))) {
            None => self.install(unit, job),
            Some((_, None)) => {
                self.finish_job(unit, JobEnd::Canceled);
                self.install(unit, job);
            }
            Some((there, Some(merged))) if merged == there && job != Job::Reload => {}
            Some((_, Some(merged))) => {
                self.mark_waiting(unit);
                self.at(unit).set_job(Some(merged));
                self.visit_later(unit, work::JOB | work::ROW);
            }
        }
        if boot.is_some() && !self.get(unit).has(flag::JOB_BOOT) {
            self.at(unit).set(flag::JOB_BOOT);
            self.header.boot_jobs = self.header.boot_jobs.saturating_add(1);
        }
    }

    /// Gives a unit without a job one.
    pub(crate) fn install(&mut self, unit: UnitId, job: Job) {
        let now = self.now;
        let state = self.at(unit);
        state.set_job(Some(job));
        state.job_began = now;
        self.header.jobs = self.header.jobs.saturating_add(1);
        self.header.unsettled = 1;
        self.visit_later(unit, work::JOB | work::ROW);
        self.refresh(unit);
    }
}
