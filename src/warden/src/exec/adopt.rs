//! The start of a scope: processes that others started are taken into its cgroup (systemd.scope(5)).

use super::cgroup;
use super::failure::{Failure, reason};
use super::job::Job;
use super::users;
use crate::transient::Record;
use hostel_contract::exec::ExecStep;
use rustix::io::Errno;
use std::fs;

/// Takes in the processes of the scope's record. One that has ended meanwhile is none; a scope of none fails.
pub fn run(job: &Job<'_>) -> Result<(), Failure> {
    let failed = |text: String| {
        job.log.line(&text);
        Failure::new(ExecStep::Protocol, text)
    };
    let own = cgroup::own();
    let own =
        own.ok_or_else(|| failed("a scope needs cgroup v2, which this guest doesn't have".to_owned()))?;
    cgroup::apply(job);
    let identity = users::identity(job)?;
    let uid = identity.user.as_ref().map_or(0, |user| user.uid);
    cgroup::delegate(job, uid, identity.gid.unwrap_or(0));
    let mut why = None;
    let mut taken = 0;
    for pid in Record::read(job.unit.name()).adopt {
        match fs::write(own.join("cgroup.procs"), pid.to_string()) {
            Ok(()) => taken += 1,
            Err(error) => why = why.or(Errno::from_io_error(&error)),
        }
    }
    match (taken, why) {
        (0, Some(errno)) => {
            let why = reason(errno.raw_os_error());
            Err(failed(format!("the scope's processes can't be moved into its cgroup: {why}")))
        }
        (0, None) => Err(failed("a scope without processes".to_owned())),
        _ => Ok(()),
    }
}
