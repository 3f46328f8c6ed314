//! Init's part: a plan, the status pair, the log pipe, and one `hostel-warden exec` after the other.

use super::sys;
use hostel_contract::exec::{ExecOutcome, ExecRecord, ExecRequest, ExecStep, MAKE_DIRECTORIES};
use hostel_plan::build::build;
use hostel_plan::model::{CommandModel, Model, UnitModel};
use hostel_plan::{Phase, Plan, SettingKey, UnitKind};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// A directory of one test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hostel-exec-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One unit, `x.service` unless said otherwise, and what is asked for it.
pub struct Case {
    pub unit: UnitModel,
    pub request: ExecRequest,
    phase: Phase,
    given: Vec<OwnedFd>,
    environment: Vec<(&'static str, String)>,
}

/// What came of it.
pub struct Outcome {
    /// The record, where there was one before the end of file.
    pub record: Option<ExecRecord>,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// Everything in the unit's log.
    pub log: String,
    /// How the process ended.
    pub status: ExitStatus,
}

impl Outcome {
    /// Asserts that the program ran, and gives what it wrote.
    pub fn ran(&self) -> &str {
        assert!(self.record.is_none(), "{:?} {}", self.record, self.log);
        assert!(self.status.success(), "{:?} {}", self.status, self.log);
        &self.log
    }

    /// Asserts that a step failed, and gives what was said of it.
    pub fn failed(&self, step: ExecStep) -> String {
        let record = self.record.expect("a record");
        assert_eq!(ExecOutcome::from_code(record.outcome), Some(ExecOutcome::Failed), "{record:?}");
        assert_eq!(ExecStep::from_code(record.step), Some(step), "{record:?}");
        assert_eq!(self.status.code(), Some(step.code().into()));
        record.text.lossy().to_string()
    }

    /// Asserts this answer, and gives its text.
    pub fn answered(&self, outcome: ExecOutcome) -> String {
        let record = self.record.expect("a record");
        assert_eq!(ExecOutcome::from_code(record.outcome), Some(outcome), "{record:?}");
        record.text.lossy().to_string()
    }
}

impl Case {
    /// A phase that has no command.
    pub fn of(kind: UnitKind, phase: Phase) -> Case {
        let mut request = ExecRequest::decode(&[0; ExecRequest::SIZE]).unwrap();
        request.phase = phase.code();
        request.invocation = *b"0123456789abcdef";
        let unit = UnitModel::new(&format!("x.{}", kind.name()), kind);
        Case { unit, request, phase, given: Vec::new(), environment: Vec::new() }
    }

    /// The start command of a service: a program and its arguments.
    pub fn start(argv: &[&str]) -> Case {
        let mut case = Case::of(UnitKind::Service, Phase::Start);
        case.request.flags = MAKE_DIRECTORIES;
        let argv = argv.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let command = CommandModel { flags: 0, path: argv[0].clone(), argv };
        case.unit.commands.push((Phase::Start, command));
        case
    }

    /// A start of a shell script.
    pub fn script(text: &str) -> Case {
        Case::start(&["/bin/sh", "-c", &text.replace('$', "$$")])
    }

    pub fn set(mut self, key: SettingKey, value: impl Into<String>) -> Case {
        self.unit.settings.push((key, value.into()));
        self
    }

    pub fn with_flags(mut self, flags: u8) -> Case {
        self.unit.commands[0].1.flags = flags;
        self
    }

    pub fn asking(mut self, flags: u32) -> Case {
        self.request.flags |= flags;
        self
    }

    /// Hands sockets over, with their names.
    pub fn given(mut self, sockets: Vec<OwnedFd>, names: Option<&str>) -> Case {
        self.request.sockets = sockets.len() as u8;
        self.given = sockets;
        self.environment.extend(names.map(|names| (hostel_contract::exec::ENV_FD_NAMES, names.to_string())));
        self
    }

    /// Starts the child; its end is awaited by [`Running::finish`].
    pub fn spawn(mut self) -> Running {
        let name = self.unit.name.clone();
        let model = Model { units: vec![self.unit], default_target: name.clone() };
        let bytes = build(&model).unwrap().bytes;
        self.request.unit = Plan::parse(&bytes).unwrap().find(&name).unwrap().id().0;
        self.request.phase = self.phase.code();
        let plan = memfd_create("plan", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&plan, &bytes).unwrap();
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::send(&ours, &self.request.encode(), SendFlags::empty()).unwrap();
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostel-warden"));
        command.arg("exec").envs(self.environment);
        let mut fds = vec![theirs.as_raw_fd(), plan.as_raw_fd(), writer.as_raw_fd()];
        fds.extend(self.given.iter().map(AsRawFd::as_raw_fd));
        sys::pass(&mut command, fds);
        let child = command.spawn().unwrap();
        Running { child, status: ours, log: reader }
    }

    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }
}

/// A child that was started.
pub struct Running {
    pub child: Child,
    status: OwnedFd,
    log: OwnedFd,
}

impl Running {
    /// Reads the record or the end of file, then the log, then waits for the child.
    pub fn finish(mut self) -> Outcome {
        let mut bytes = [0; ExecRecord::SIZE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received =
            recvmsg(&self.status, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).unwrap();
        let record = (received.bytes > 0).then(|| ExecRecord::decode(&bytes[..received.bytes]).unwrap());
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        let mut log = String::new();
        std::fs::File::from(self.log).read_to_string(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), None, "{log}");
        Outcome { record, descriptors, log, status }
    }
}
