//! `hostel-warden exec`: the last step before a daemon's own exec, and the helpers of a unit's life.
//!
//! Init forks one of these for each process that a unit needs, with the descriptors of [`hostel_contract::exec`].
//! States: the request is read; the unit's conditions are judged where it asks for that; then the phase. A phase with a
//! command ends in that command's exec, which closes the status pair and so says that the daemon runs. Everything else
//! ends in exactly one record, and an exit with the failed step's code.
//!
//! It runs as the guest's root, in the unit's cgroup, single-threaded, and may be killed at any point.

mod adopt;
mod attributes;
mod bus;
pub mod capabilities;
mod cgroup;
mod conditions;
mod credentials;
mod directories;
mod dynamic;
pub mod env_file;
pub mod environment;
mod expand;
mod failure;
mod invocation;
mod ipc;
mod job;
mod launch;
mod limits;
mod monitor;
mod open_file;
pub mod orphans;
mod pam;
pub mod pid_file;
pub mod safe_path;
mod sandbox;
pub mod seccomp;
mod sockets;
mod streams;
mod terminal;
pub mod users;
mod utmp;

pub use capabilities::names as capability_names;
pub use cgroup::apply_to as apply_limits;
pub use conditions::files;
pub use conditions::machine::container;

use crate::compile::lookup::UnitName;
use crate::sys;
use conditions::Judgement;
use failure::Failure;
use hostel_contract::Text;
use hostel_contract::exec::{
    EVALUATE_CONDITIONS, ExecOutcome, ExecRecord, ExecRequest, ExecStep, FD_FIRST, FD_LOG, FD_PLAN,
    FD_STATUS, MAKE_DIRECTORIES,
};
use hostel_plan::{Phase, Plan};
use job::{Job, UnitLog};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// More sockets than this go with no record; the kernel's own limit is 253.
const DESCRIPTORS_MAX: usize = 128;

/// How a phase ended, if not in an exec.
struct Answer {
    outcome: ExecOutcome,
    pid: u32,
    text: String,
    descriptors: Vec<OwnedFd>,
}

impl Answer {
    fn new(outcome: ExecOutcome, text: impl Into<String>) -> Self {
        Answer { outcome, pid: 0, text: text.into(), descriptors: Vec::new() }
    }
}

/// Runs the command. It takes no arguments: all there is to know is in the request and in the plan.
pub fn run(_args: &[OsString]) -> ExitCode {
    // Nothing that init has open may reach the daemon, whatever happens from here on.
    let _ = sys::close_on_exec_from(FD_STATUS);
    let Some(status) = sys::inherited_fd(FD_STATUS) else {
        eprintln!("hostel-warden exec: is started by hostel-init, with descriptors of its own");
        return ExitCode::from(2);
    };
    sys::unblock_signals();
    let received = receive(&status);
    // Whoever reads the status or writes to the log must not stand where the daemon's own descriptors go.
    let count = received.as_ref().map_or(0, |r| i32::from(r.sockets) + i32::from(r.stored));
    let above = FD_FIRST + count + open_file::MAX as i32;
    let status = move_up(status, above);
    let log = UnitLog::new(sys::inherited_fd(FD_LOG).map(|pipe| move_up(pipe, above)));
    let command = received.as_ref().map_or(0, |request| request.command);
    let answer = received.and_then(|request| {
        let plan = sys::inherited_fd(FD_PLAN);
        let descriptors =
            (FD_FIRST..FD_FIRST + count).filter_map(sys::inherited_fd).map(|fd| move_up(fd, above)).collect();
        let plan = read_plan(plan)?;
        perform(&Job::new(plan, request, log, descriptors)?)
    });
    match answer {
        Ok(answer) => {
            let code = if answer.outcome == ExecOutcome::AssertFailed { 1 } else { 0 };
            send(status.as_fd(), command, &answer, None);
            ExitCode::from(code)
        }
        Err(failure) => {
            send(
                status.as_fd(),
                command,
                &Answer::new(ExecOutcome::Failed, failure.text.clone()),
                Some(&failure),
            );
            ExitCode::from(failure.step.code())
        }
    }
}

/// A copy of a descriptor at `first` or higher, closed with the exec; the descriptor itself where there is none left.
fn move_up(fd: OwnedFd, first: i32) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(&fd, first).unwrap_or(fd)
}

/// The request: init put it into the pair before the fork.
fn receive(status: &OwnedFd) -> Result<ExecRequest, Failure> {
    let mut bytes = [0; ExecRequest::SIZE];
    let received = rustix::net::recv(status, &mut bytes, RecvFlags::DONTWAIT);
    let size = received
        .map(|(size, _)| size)
        .map_err(|errno| Failure::with(ExecStep::Protocol, errno, "no request from init"))?;
    ExecRequest::decode(&bytes[..size]).ok_or_else(|| {
        Failure::new(ExecStep::Protocol, format!("a request of {size} bytes: init is of another version"))
    })
}

/// The plan, mapped.
fn read_plan(file: Option<OwnedFd>) -> Result<Plan<'static>, Failure> {
    let file = file.ok_or_else(|| Failure::new(ExecStep::Protocol, "no plan from init"))?;
    let bytes = sys::map_file(file.as_fd())
        .map_err(|errno| Failure::with(ExecStep::Protocol, errno, "mapping the plan"))?;
    // Init has it from who validated it.
    Plan::open(bytes).map_err(|error| Failure::new(ExecStep::Protocol, format!("the plan: {error:?}")))
}

/// Does what the request asks for.
fn perform(job: &Job<'_>) -> Result<Answer, Failure> {
    if job.asked(EVALUATE_CONDITIONS) || job.phase == Phase::Check {
        match conditions::judge(job) {
            Judgement::Start => {}
            Judgement::ConditionFalse(text) => return Ok(Answer::new(ExecOutcome::ConditionFalse, text)),
            Judgement::AssertFailed(text) => return Ok(Answer::new(ExecOutcome::AssertFailed, text)),
        }
    }
    if job.asked(EVALUATE_CONDITIONS | MAKE_DIRECTORIES) {
        invocation::publish(job);
    }
    let done = || Answer::new(ExecOutcome::Done, "");
    match job.phase {
        Phase::Check => Ok(done()),
        Phase::OpenSockets => {
            let descriptors = sockets::open(job)?;
            if descriptors.len() > DESCRIPTORS_MAX {
                let text = format!("{} sockets; a unit may have {DESCRIPTORS_MAX}", descriptors.len());
                return Err(Failure::new(ExecStep::Socket, text));
            }
            Ok(Answer { descriptors, ..done() })
        }
        Phase::ReadPidFile => Ok(Answer { pid: pid_file::main_process(job)?, ..done() }),
        Phase::WaitBusName => bus::wait(job).map(|()| done()),
        Phase::CleanUp => clean_up(job).map(|()| done()),
        Phase::Start if UnitName::parse(job.unit.name()).is_some_and(|name| name.is_scope()) => {
            adopt::run(job).map(|()| done())
        }
        Phase::Condition
        | Phase::StartPre
        | Phase::Start
        | Phase::StartPost
        | Phase::Reload
        | Phase::Stop
        | Phase::StopPost => match launch::run(job) {
            launch::Stopped::Skipped(text) => Ok(Answer::new(ExecOutcome::Skipped, text)),
            launch::Stopped::Failed(failure) => {
                job.log.line(&failure.to_string());
                Err(failure)
            }
        },
    }
}

/// What ends with the unit.
fn clean_up(job: &Job<'_>) -> Result<(), Failure> {
    // Each is tried, also where one before it failed. First who may still use the rest.
    let orphans = orphans::end(job);
    let runtime = directories::remove_runtime(job);
    let sockets = sockets::remove(job);
    let sandbox = sandbox::remove(job);
    let credentials = credentials::remove(job);
    let objects = ipc::remove(job);
    utmp::end(job);
    let user = dynamic::release(job);
    pid_file::remove(job);
    cgroup::trim(job);
    orphans.and(runtime).and(sockets).and(sandbox).and(credentials).and(objects).and(user)
}

/// Sends the record, with descriptors where there are any. Init may be gone by now, and then nobody wants it.
fn send(status: BorrowedFd<'_>, command: u8, answer: &Answer, failure: Option<&Failure>) {
    let record = ExecRecord {
        outcome: answer.outcome.code(),
        step: failure.map_or(0, |failure| failure.step.code()),
        command,
        descriptors: answer.descriptors.len() as u8,
        errno: failure.map_or(0, |failure| failure.errno),
        pid: answer.pid,
        text: Text::new(answer.text.as_bytes()),
    };
    let bytes = record.encode();
    let borrowed: Vec<BorrowedFd<'_>> = answer.descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    let _ = rustix::net::sendmsg(status, &[std::io::IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
}
