//! Jobs, as clients know them: numbered, one a unit at a time.
//!
//! Init has no numbers for jobs. A job gets one when a client asks for it or when the status page shows it; how it
//! ended is told by init for those that were asked for, and concluded from the page for others. Pure but for the
//! connections that it keeps.

use crate::ctl::client::Client;
use hostel_contract::control::ControlResult;
use hostel_contract::status::{ActiveState, StatusRow, UnitResult};
use std::collections::BTreeMap;

/// Connections to init that are kept open for the ends of jobs (init takes 32 of all together). What is beyond is
/// concluded from the page.
const CONNECTIONS_MAX: usize = 16;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// To be started.
    Start,
    /// To be stopped.
    Stop,
    /// To be stopped, then started.
    Restart,
    /// To be reloaded.
    Reload,
}

impl JobKind {
    /// From `StatusRow::job`; none: the unit has no job.
    pub fn of(row: &StatusRow) -> Option<JobKind> {
        match row.job & 0x7f {
            1 => Some(JobKind::Start),
            2 => Some(JobKind::Stop),
            3 => Some(JobKind::Restart),
            4 => Some(JobKind::Reload),
            _ => None,
        }
    }

    /// systemd's word.
    pub fn word(self) -> &'static str {
        match self {
            JobKind::Start => "start",
            JobKind::Stop => "stop",
            JobKind::Restart => "restart",
            JobKind::Reload => "reload",
        }
    }
}

/// A job.
pub struct Job {
    /// Its unit, by canonical name.
    pub unit: String,
    /// What is to be done.
    pub kind: JobKind,
    /// It has begun.
    pub running: bool,
    end: End,
}

/// How the end of a job comes to be known.
enum End {
    /// Init says it, on a connection with this token.
    Told(u64, Client),
    /// The status page shows it.
    Shown,
    /// It has none but the guest's own.
    Guest,
}

/// What happened to jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// There is one more.
    New(u32, String),
    /// One ended, with systemd's word for how.
    Removed(u32, String, &'static str),
}

/// All jobs.
#[derive(Default)]
pub struct Jobs {
    jobs: BTreeMap<u32, Job>,
    last: u32,
    last_token: u64,
}

impl Jobs {
    /// A job by its number.
    pub fn get(&self, id: u32) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Job)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// The job of a unit.
    pub fn of_unit(&self, unit: &str) -> Option<(u32, &Job)> {
        self.iter().find(|(_, job)| job.unit == unit)
    }

    /// Are there any?
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The highest number that was given.
    pub fn last(&self) -> u32 {
        self.last
    }

    fn add(&mut self, unit: &str, kind: JobKind, events: &mut Vec<JobEvent>) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.jobs.insert(self.last, Job { unit: unit.to_owned(), kind, running: false, end: End::Shown });
        events.push(JobEvent::New(self.last, unit.to_owned()));
        self.last
    }

    /// Somebody asked for a job, which is under way: its number, and the token under which the connection is to be
    /// waited for.
    pub fn asked(
        &mut self,
        unit: &str,
        kind: JobKind,
        client: Client,
        events: &mut Vec<JobEvent>,
    ) -> (u32, Option<u64>) {
        let there = self.of_unit(unit).filter(|(_, job)| job.kind == kind).map(|(id, _)| id);
        let id = there.unwrap_or_else(|| self.add(unit, kind, events));
        let kept = self.jobs.values().filter(|job| matches!(job.end, End::Told(..))).count();
        let Some(job) = self.jobs.get_mut(&id).filter(|_| kept < CONNECTIONS_MAX) else { return (id, None) };
        self.last_token += 1;
        job.end = End::Told(self.last_token, client);
        (id, Some(self.last_token))
    }

    /// A job that was over at once.
    pub fn over(&mut self, unit: &str, result: &'static str, events: &mut Vec<JobEvent>) -> u32 {
        let id = self.add(unit, JobKind::Start, events);
        self.remove(id, result, events);
        id
    }

    /// A job that ends with the guest.
    pub fn last_of_all(&mut self, unit: &str, events: &mut Vec<JobEvent>) -> u32 {
        let id = self.add(unit, JobKind::Start, events);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.end = End::Guest;
            job.running = true;
        }
        id
    }

    /// The connection behind a token.
    pub fn client(&mut self, token: u64) -> Option<(u32, &mut Client)> {
        self.jobs.iter_mut().find_map(|(id, job)| match &mut job.end {
            End::Told(found, client) if *found == token => Some((*id, client)),
            _ => None,
        })
    }

    /// A job ended.
    pub fn remove(&mut self, id: u32, result: &'static str, events: &mut Vec<JobEvent>) {
        if let Some(job) = self.jobs.remove(&id) {
            events.push(JobEvent::Removed(id, job.unit, result));
        }
    }

    /// Init will not say how a job ended: its connection is gone.
    pub fn disconnect(&mut self, id: u32) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.end = End::Shown;
        }
    }

    /// Brings the list up to what the page says: `rows` gives each unit that has a job, and `row` any unit's.
    pub fn observe<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a str, StatusRow)>,
        row: impl Fn(&str) -> Option<StatusRow>,
        events: &mut Vec<JobEvent>,
    ) {
        let mut gone = Vec::new();
        for (id, job) in &self.jobs {
            let now = row(&job.unit);
            let kind = now.as_ref().and_then(JobKind::of);
            if kind != Some(job.kind) && matches!(job.end, End::Shown) {
                let result = match (kind, &now) {
                    (None, Some(now)) => concluded(job.kind, now),
                    _ => "canceled",
                };
                gone.push((*id, result));
            }
        }
        gone.into_iter().for_each(|(id, result)| self.remove(id, result, events));
        for (unit, row) in rows {
            let Some(kind) = JobKind::of(&row) else { continue };
            let there = self.jobs.values_mut().find(|job| job.unit == unit && job.kind == kind);
            match there {
                Some(job) => job.running = row.job & 0x80 != 0,
                None => {
                    let id = self.add(unit, kind, events);
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.running = row.job & 0x80 != 0;
                    }
                }
            }
        }
    }
}

/// How a job must have ended, by what the unit is now.
fn concluded(kind: JobKind, row: &StatusRow) -> &'static str {
    let active = ActiveState::from_code(row.active);
    match (kind, UnitResult::from_code(row.result)) {
        (JobKind::Stop | JobKind::Reload, _) => "done",
        (_, Some(UnitResult::Success | UnitResult::ConditionFalse | UnitResult::ExecCondition)) => "done",
        (_, Some(UnitResult::Dependency)) => "dependency",
        (_, Some(UnitResult::AssertFailed)) => "assert",
        _ if active == Some(ActiveState::Failed) => "failed",
        _ => "done",
    }
}

/// systemd's word for what init says of a job's end.
pub fn result_word(result: ControlResult) -> &'static str {
    match result {
        // A false condition is no failure, and no word of its own: job.c, job_perform_on_unit.
        ControlResult::Done | ControlResult::Skipped => "done",
        ControlResult::Canceled => "canceled",
        ControlResult::Timeout => "timeout",
        ControlResult::Dependency => "dependency",
        ControlResult::Failed
        | ControlResult::NoSuchUnit
        | ControlResult::Denied
        | ControlResult::Refused
        | ControlResult::Busy => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::page::no_row;

    fn row(job: u8, active: ActiveState, result: UnitResult) -> StatusRow {
        StatusRow { job, active: active.code(), result: result.code(), ..no_row() }
    }

    fn observed(jobs: &mut Jobs, row: StatusRow) -> Vec<JobEvent> {
        let mut events = Vec::new();
        jobs.observe([("a.service", row)].into_iter(), |_| Some(row), &mut events);
        events
    }

    #[test]
    fn given_a_job_on_the_page_when_it_goes_then_its_end_follows_from_the_units_state() {
        let cases = [
            (ActiveState::Active, UnitResult::Success, "done"),
            (ActiveState::Failed, UnitResult::ExitCode, "failed"),
            (ActiveState::Failed, UnitResult::Timeout, "failed"),
            (ActiveState::Inactive, UnitResult::ConditionFalse, "done"),
            (ActiveState::Inactive, UnitResult::Dependency, "dependency"),
        ];
        for (active, result, word) in cases {
            let mut jobs = Jobs::default();
            let start = row(1 | 128, ActiveState::Activating, UnitResult::Success);
            assert_eq!(observed(&mut jobs, start), [JobEvent::New(1, "a.service".into())]);
            assert!(jobs.get(1).is_some_and(|job| job.running));
            assert_eq!(observed(&mut jobs, start), []);
            let end = observed(&mut jobs, row(0, active, result));
            assert_eq!(end, [JobEvent::Removed(1, "a.service".into(), word)]);
            assert!(jobs.is_empty());
        }
    }

    #[test]
    fn given_a_job_of_another_kind_in_its_place_then_the_first_was_canceled() {
        let mut jobs = Jobs::default();
        observed(&mut jobs, row(1, ActiveState::Inactive, UnitResult::Success));
        let events = observed(&mut jobs, row(2, ActiveState::Inactive, UnitResult::Success));
        let expected =
            [JobEvent::Removed(1, "a.service".into(), "canceled"), JobEvent::New(2, "a.service".into())];
        assert_eq!(events, expected);
    }
}
