//! Init's part of the channel: holds pipes and descriptors, starts wardens, and ends them at any moment.

use std::collections::HashMap;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hostel_contract::channel::{ChannelMessage, ChannelOp, NO_UNIT};
use hostel_contract::{Text, status};
use hostel_plan::build::build;
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::{EdgeKind, Plan, SettingKey, UnitKind};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

type Held = Arc<Mutex<HashMap<String, OwnedFd>>>;
/// Unit, and what fired.
type Triggered = Arc<Mutex<Vec<(u16, u32)>>>;

/// A folder that stands for a guest's root; removed at the end.
pub struct Root(pub PathBuf);

impl Root {
    /// An empty one.
    pub fn new(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!("hostel-sink-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for folder in ["dev", "etc", "run/hostel", "run/systemd/journal", "var/log"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        fs::write(path.join("dev/console"), "").unwrap();
        Root(path)
    }

    /// What was said on the console.
    pub fn console(&self) -> String {
        fs::read_to_string(self.0.join("dev/console")).unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One unit's pipe: init keeps both ends.
pub struct Pipe {
    pub unit: String,
    reader: OwnedFd,
    pub writer: OwnedFd,
}

/// Machine id of a guest with a journal.
const MACHINE: &str = "0123456789abcdef0123456789abcdef";

fn name_and_text(line: &str) -> (String, String) {
    let (_time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no line of ours: {line:?}"));
    let (name, text) = rest.split_once(": ").unwrap_or_else(|| panic!("no line of ours: {line:?}"));
    (name.split('[').next().unwrap().to_string(), text.to_string())
}

/// Init.
pub struct Init {
    pub root: Root,
    arguments: Vec<String>,
    plan: OwnedFd,
    pub pipes: Vec<Pipe>,
    held: Held,
    /// What the warden asked to start.
    pub triggered: Triggered,
    warden: Option<(Child, OwnedFd, JoinHandle<()>)>,
    pub started: u32,
}

/// A plan of services with these names, as a file. What ends in `.timer` triggers its service half a second after
/// its own start.
fn plan_of(names: &[&str]) -> OwnedFd {
    let units = names
        .iter()
        .map(|name| match name.strip_suffix(".timer") {
            None => UnitModel::new(name, UnitKind::Service),
            Some(stem) => {
                let mut timer = UnitModel::new(name, UnitKind::Timer);
                timer.edges.push((EdgeKind::Triggers, format!("{stem}.service")));
                timer.settings.push((SettingKey::TimerMonotonic, "OnActiveSec=500000".into()));
                timer.settings.push((SettingKey::Accuracy, "1".into()));
                timer
            }
        })
        .collect();
    let bytes = build(&Model { units, default_target: String::new() }).unwrap().bytes;
    let plan = memfd_create("plan", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&plan, &bytes).unwrap();
    plan
}

fn index_in(plan: &OwnedFd, unit: &str) -> u16 {
    let mut bytes = vec![0; rustix::fs::fstat(plan).unwrap().st_size as usize];
    rustix::io::pread(plan, &mut bytes, 0).unwrap();
    Plan::parse(&bytes).unwrap().find(unit).map_or(NO_UNIT, |unit| unit.id().0)
}

fn send(socket: &OwnedFd, op: ChannelOp, unit: u16, name: &str, fd: Option<&OwnedFd>) {
    let message =
        ChannelMessage { op: op.code(), reserved: 0, unit, argument: 0, name: Text::new(name.as_bytes()) };
    let bytes = message.encode();
    let fds = fd.map(|fd| [fd.as_fd()]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    // A warden that is gone gets nothing, as with the real init.
    let _ = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
}

/// Takes what the warden wants held or started, until it is gone.
fn hold(socket: OwnedFd, held: Held, triggered: Triggered) {
    loop {
        let mut bytes = [0; ChannelMessage::SIZE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
        if !matches!(&received, Ok(received) if received.bytes > 0) {
            return;
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let message = ChannelMessage::decode(&bytes).unwrap();
        if message.op == ChannelOp::Trigger.code() {
            triggered.lock().unwrap().push((message.unit, message.argument));
        }
        if let (Some(ChannelOp::Hold), Some(fd)) = (ChannelOp::from_code(message.op), fd) {
            held.lock().unwrap().insert(message.name.lossy().into(), fd);
            send(&socket, ChannelOp::Held, NO_UNIT, message.name.lossy(), None);
        }
    }
}

impl Init {
    /// With a pipe for each unit and one of its own, and no warden yet.
    pub fn new(name: &str, units: &[&str], arguments: &[&str]) -> Init {
        let pipes = units.iter().chain(&["hostel-init"]).map(|unit| {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            Pipe { unit: unit.to_string(), reader, writer }
        });
        Init {
            root: Root::new(name),
            arguments: arguments.iter().map(|a| a.to_string()).collect(),
            plan: plan_of(units),
            pipes: pipes.collect(),
            held: Held::default(),
            triggered: Triggered::default(),
            warden: None,
            started: 0,
        }
    }

    /// Starts a warden, with all that is held.
    pub fn start(&mut self) {
        self.start_under(&[]);
    }

    /// Starts a warden that gets SIGKILL when it enters a system call for the so manieth time.
    pub fn start_to_be_killed(&mut self, call: &str, time: u32) {
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=KILL:when={time}");
        self.start_under(&["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    }

    fn start_under(&mut self, tracer: &[&str]) {
        assert!(self.warden.is_none());
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        for pipe in &self.pipes {
            send(&ours, ChannelOp::LogPipe, index_in(&self.plan, &pipe.unit), "", Some(&pipe.reader));
        }
        for (name, fd) in self.held.lock().unwrap().iter() {
            send(&ours, ChannelOp::Held, NO_UNIT, name, Some(fd));
        }
        send(&ours, ChannelOp::Welcome, NO_UNIT, "", None);
        // The shell only puts the descriptors where the contract has them.
        let child = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3<&0 4<&1 </dev/null >&2", "sh"])
            .args(tracer)
            .args([env!("CARGO_BIN_EXE_hostel-warden"), "serve", "--root"])
            .arg(&self.root.0)
            .args(&self.arguments)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(self.plan.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let (socket, held, triggered) =
            (ours.try_clone().unwrap(), self.held.clone(), self.triggered.clone());
        self.warden = Some((child, ours, std::thread::spawn(move || hold(socket, held, triggered))));
        self.started += 1;
    }

    /// Index of a unit in the plan.
    pub fn index(&self, unit: &str) -> u16 {
        index_in(&self.plan, unit)
    }

    /// Publishes a status page on which one unit has been active since now, and no other.
    pub fn publish_active(&self, unit: &str) {
        let mut plan = vec![0; rustix::fs::fstat(&self.plan).unwrap().st_size as usize];
        rustix::io::pread(&self.plan, &mut plan, 0).unwrap();
        let plan = Plan::parse(&plan).unwrap();
        let mut page = vec![0; status::row_offset(plan.len())];
        let mut header = status::StatusHeader::decode(&page).unwrap();
        (header.magic, header.plan_checksum) = (status::MAGIC, plan.checksum());
        page[..status::StatusHeader::SIZE].copy_from_slice(&header.encode());
        let at = status::row_offset(usize::from(self.index(unit)));
        let mut row = status::StatusRow::decode(&page[at..]).unwrap();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ms = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        (row.active, row.since_ms, row.started_ms) = (status::ActiveState::Active.code(), now_ms, now_ms);
        row.main_pid = 4711;
        page[at..at + status::StatusRow::SIZE].copy_from_slice(&row.encode());
        fs::write(self.root.0.join("run/hostel/status"), page).unwrap();
    }

    /// The warden's process.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.warden.as_ref().unwrap().0)
    }

    /// SIGKILL, and reaped.
    pub fn kill(&mut self) {
        let (mut child, channel, holder) = self.warden.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(channel);
        holder.join().unwrap();
    }

    /// A new plan: said to the warden, with the same pipes.
    pub fn reload(&mut self, units: &[&str]) {
        self.plan = plan_of(units);
        if let Some((_, channel, _)) = &self.warden {
            send(channel, ChannelOp::Plan, NO_UNIT, "", Some(&self.plan));
        }
    }

    /// The guest stops: the warden writes out all and ends by itself.
    pub fn stop(&mut self) -> ExitStatus {
        let (mut child, channel, holder) = self.warden.take().unwrap();
        send(&channel, ChannelOp::Stopping, NO_UNIT, "", None);
        let began = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if began.elapsed() > Duration::from_secs(20) => {
                    child.kill().unwrap();
                    break child.wait().unwrap();
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        holder.join().unwrap();
        status
    }

    /// Bytes of memory that a warden gave to hold.
    pub fn held_memory(&self) -> u64 {
        let held = self.held.lock().unwrap();
        let memory =
            ["sink-spool", "sink-state"].map(|name| rustix::fs::fstat(&held[name]).unwrap().st_blocks * 512);
        memory.into_iter().map(|bytes| bytes as u64).sum()
    }

    /// Writes into a unit's pipe.
    pub fn write(&self, unit: &str, text: &str) {
        let pipe = self.pipes.iter().find(|pipe| pipe.unit == unit).unwrap();
        assert_eq!(rustix::io::write(&pipe.writer, text.as_bytes()), Ok(text.len()));
    }

    /// Waits until the log has so many lines, and gives them.
    pub fn wait_for_lines(&self, count: usize) -> Vec<(String, String)> {
        let began = Instant::now();
        loop {
            let lines = self.lines();
            if lines.len() >= count || began.elapsed() > Duration::from_secs(10) {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the log has so many lines, or the warden has ended.
    pub fn wait_for_lines_or_end(&mut self, count: usize) {
        let began = Instant::now();
        let is_over = |init: &mut Init| match &mut init.warden {
            Some((child, ..)) => child.try_wait().unwrap().is_some(),
            None => true,
        };
        while !is_over(self) && self.lines().len() < count && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes it a guest that has journalctl, and so is given a journal.
    pub fn with_journal(self) -> Init {
        for folder in ["etc", "usr/bin", "var/log/journal"] {
            fs::create_dir_all(self.root.0.join(folder)).unwrap();
        }
        fs::write(self.root.0.join("etc/machine-id"), format!("{MACHINE}\n")).unwrap();
        fs::write(self.root.0.join("usr/bin/journalctl"), "").unwrap();
        self
    }

    /// The same with one that reads compact files.
    pub fn with_compact_journal(self) -> Init {
        let init = self.with_journal();
        fs::write(init.root.0.join("usr/bin/journalctl"), "\0libsystemd-shared-252.so\0").unwrap();
        init
    }

    /// The folder of its journal.
    pub fn journal(&self) -> PathBuf {
        self.root.0.join("var/log/journal").join(MACHINE)
    }

    fn journal_lines(&self) -> Vec<(String, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_hostel-warden"))
            .args(["logs", "--folder"])
            .arg(self.journal())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(name_and_text).collect()
    }

    /// All lines of the log, the oldest first: name and text.
    pub fn lines(&self) -> Vec<(String, String)> {
        if self.journal().exists() {
            return self.journal_lines();
        }
        let folder = self.root.0.join("var/log/hostel");
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        let mut numbers: Vec<u32> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.strip_prefix("log").unwrap().trim_start_matches('.').parse().unwrap_or(0))
            .collect();
        numbers.sort_unstable();
        let mut lines = Vec::new();
        for number in numbers.iter().rev() {
            let name = if *number == 0 { "log".into() } else { format!("log.{number}") };
            let text = fs::read_to_string(folder.join(name)).unwrap();
            // While a warden writes, a part of a batch may be seen.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            assert!(self.warden.is_some() || whole == text.len(), "a file ends in half a line");
            for line in text[..whole].lines() {
                lines.push(name_and_text(line));
            }
        }
        lines
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if self.warden.is_some() {
            self.kill();
        }
    }
}
