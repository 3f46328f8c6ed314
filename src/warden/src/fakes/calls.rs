//! System calls that must be answered with something: the kernel asks whoever has the listener of the guest's filter
//! (`units/calls.tsv`, seccomp_unotify(2)), and who called waits.
//!
//! It sleeps while nobody calls. A call is received into the memory that outlives us, and so is answered by our successor if
//! we are killed. What a call's pointers lead to is read in the caller's own memory, and that may be anything: a file of
//! ours, or of a file system whose server never answers. The first is answered by the other process; against the second
//! there is [`PATIENCE`], after which this process ends, and its successor doesn't look again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use hostel_contract::{fakes, paths};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::memory::{Clock, Memory, is_over};
use super::sources::{boot_ns, real_ns, value_of};
use super::store::Store;
use super::{Role, remount, server};
use crate::exec::seccomp::{CONVENTIONS, Calls};
use crate::sys::{
    NOTIFICATION, Verdict, answer_call, answer_calls_here, ask_for_short_turns, end_within, give_back_memory,
    is_call_valid, lock_file, termination,
};

/// Seconds that looking into a caller's memory may take.
const PATIENCE: u32 = 5;
/// Longest path, and options, of mount(2): a page.
const TEXT_MAX: usize = 4096;
/// How a place to mount on is opened.
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// MS_MGC_VAL and MS_MGC_MSK of linux/mount.h.
const MAGIC: u32 = 0xc0ed_0000;
const MAGIC_BITS: u32 = 0xffff_0000;
/// Bit of a number of the x32 convention.
const X32: u32 = 0x4000_0000;

/// Names that are asked about; the same as in the table.
const ASKED: [&str; 9] = [
    "mount",
    "sysinfo",
    "adjtimex",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_settime",
    "clock_settime64",
    "settimeofday",
    "stime",
];

/// struct seccomp_notif, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    id: u64,
    pid: u32,
    number: u32,
    convention: u32,
    arguments: [u64; 5],
}

impl Call {
    fn parse(bytes: &[u8; NOTIFICATION]) -> Option<Call> {
        let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let call = Call {
            id: word(0)?,
            pid: half(8)?,
            number: half(16)?,
            convention: half(20)?,
            arguments: [word(32)?, word(40)?, word(48)?, word(56)?, word(64)?],
        };
        (call.id != 0).then_some(call)
    }
}

/// Answers until nobody is left that could call. At once, where somebody else answers or nobody asks.
pub fn serve() -> io::Result<()> {
    let store = Store::peek(rustix::stdio::stdin())?;
    let memory = store.get(fakes::MEMORY)?;
    if !lock_file(memory, Role::Calls.byte())? || is_over(memory) {
        return Ok(());
    }
    let Some(answering) = Answering::new(&store)? else { return Ok(()) };
    ask_for_short_turns(server::TURN_NS);
    // What was read to begin with.
    give_back_memory();
    answering.run();
    Ok(())
}

/// Who answers.
struct Answering {
    listener: OwnedFd,
    /// Where SIGTERM arrives.
    termination: OwnedFd,
    memory: Memory,
    /// The untouched proc.
    proc: OwnedFd,
    /// Number and convention of each name in [`ASKED`].
    numbers: Vec<(u32, u32, &'static str)>,
}

impl Answering {
    /// Of what is in the store; `None`: nobody asks in this guest.
    fn new(store: &Store) -> io::Result<Option<Answering>> {
        let Some(listener) = store.find(fakes::LISTENER) else { return Ok(None) };
        let listener = listener.try_clone_to_owned()?;
        answer_calls_here(listener.as_fd());
        let calls = Calls::read();
        let numbers = CONVENTIONS.iter().flat_map(|convention| {
            let number = |name| Some((calls.number(name, convention)?, convention.audit, name));
            ASKED.into_iter().filter_map(number).collect::<Vec<_>>()
        });
        let numbers = numbers.collect();
        let memory = Memory::map(store.get(fakes::MEMORY)?)?;
        let proc = store.get(fakes::PROC)?.try_clone_to_owned()?;
        Ok(Some(Answering { listener, termination: termination()?, memory, proc, numbers }))
    }

    fn run(&self) {
        self.answer();
        loop {
            let mut both = [&self.listener, &self.termination].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut both, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            if !both[1].revents().is_empty() && server::is_over(&self.memory, self.termination.as_fd()) {
                return;
            }
            let state = both[0].revents();
            if state.contains(PollFlags::IN) {
                // ENOENT: who called has gone meanwhile.
                if self.memory.receive_call(self.listener.as_fd()).is_ok() {
                    self.answer();
                }
            } else if state.intersects(PollFlags::HUP | PollFlags::ERR) {
                return;
            }
        }
    }

    /// Answers the call in the memory, if there is one.
    fn answer(&self) {
        let mut bytes = [0; NOTIFICATION];
        let now = boot_ns();
        let begun = self.memory.call(&mut bytes, now);
        let Some(call) = Call::parse(&bytes) else { return };
        let verdict = match now.saturating_sub(begun) < u64::from(PATIENCE) * 1_000_000_000 {
            true => self.decide(&call),
            // Somebody has ended over it.
            false => Verdict::Failure(Errno::FAULT),
        };
        let _ = answer_call(self.listener.as_fd(), call.id, verdict);
        self.memory.call_is_done();
    }

    fn decide(&self, call: &Call) -> Verdict {
        let number = if call.convention == CONVENTIONS[0].audit { call.number & !X32 } else { call.number };
        let known =
            self.numbers.iter().find(|(known, audit, _)| (*known, *audit) == (number, call.convention));
        let Some((.., name)) = known else { return Verdict::GoOn };
        let is_native = call.convention == CONVENTIONS[0].audit;
        match *name {
            "mount" => self.remount(call),
            // That of 32 bits has another form, and the host's values.
            "sysinfo" if !is_native => Verdict::GoOn,
            "sysinfo" => self.fill_sysinfo(call),
            "adjtimex" => self.adjust(call, call.arguments[0]),
            "clock_adjtime" | "clock_adjtime64" => self.adjust(call, call.arguments[1]),
            "clock_settime" | "clock_settime64" => {
                let wide = is_native || *name == "clock_settime64";
                self.set(call, call.arguments[1], wide)
            }
            _ => self.set(call, call.arguments[0], is_native),
        }
    }

    /// The caller's memory. `None`: it isn't to be looked into, or the caller has gone.
    fn memory_of(&self, call: &Call) -> Option<File> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(openat(&self.proc, format!("{}/mem", call.pid), flags, Mode::empty()).ok()?);
        // Only now is it sure that the file is the caller's, and no successor's with the same number.
        is_call_valid(self.listener.as_fd(), call.id).then_some(file)
    }

    /// What the kernel says of the caller; empty where it has gone.
    fn status(&self, call: &Call) -> String {
        let file = openat(&self.proc, format!("{}/status", call.pid), OFlags::CLOEXEC, Mode::empty());
        file.ok().and_then(|file| std::io::read_to_string(File::from(file)).ok()).unwrap_or_default()
    }

    /// Is the caller the guest's root? The kernel asks for CAP_SYS_TIME, which no guest has.
    fn is_root(&self, call: &Call) -> bool {
        let status = self.status(call);
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        ids.and_then(|ids| ids.split_ascii_whitespace().nth(1)) == Some("0")
    }

    /// Could the caller do what this process can: is it in the same namespaces, with the right to mount?
    fn may_mount(&self, call: &Call) -> bool {
        /// CAP_SYS_ADMIN's bit (linux/capability.h).
        const ADMINISTRATION: u64 = 1 << 21;
        let same = |file: &str| {
            let link = |process: &str| readlinkat(&self.proc, format!("{process}/{file}"), Vec::new());
            matches!((link(&call.pid.to_string()), link("self")), (Ok(one), Ok(own)) if one == own)
        };
        let status = self.status(call);
        let rights = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        same("ns/user") && same("ns/mnt") && rights.is_some_and(|rights| rights & ADMINISTRATION != 0)
    }

    /// mount(2) of something that is mounted already.
    fn remount(&self, call: &Call) -> Verdict {
        let [_, target, _, flags, options] = call.arguments;
        if !self.may_mount(call) {
            return Verdict::GoOn;
        }
        let Some(memory) = self.memory_of(call) else { return Verdict::GoOn };
        end_within(PATIENCE);
        let verdict = match (text_at(&memory, target), text_at(&memory, options)) {
            (Some(target), Some(options)) if target.starts_with('/') => {
                let root = openat(&self.proc, format!("{}/root", call.pid), PLACE, Mode::empty());
                let opened =
                    root.and_then(|root| openat2(root, target, PLACE, Mode::empty(), ResolveFlags::IN_ROOT));
                // The flags have 32 bits; the upper half of older programs' is a number that means nothing.
                let flags = flags as u32;
                let flags = if flags & MAGIC_BITS == MAGIC { flags & !MAGIC_BITS } else { flags };
                match opened.and_then(|target| remount::remount(target.as_fd(), flags, &options)) {
                    Ok(()) => Verdict::Success,
                    Err(errno) => Verdict::Failure(errno),
                }
            }
            _ => Verdict::GoOn,
        };
        end_within(0);
        verdict
    }

    /// sysinfo(2): memory, load and processes as in the guest's own /proc.
    fn fill_sysinfo(&self, call: &Call) -> Verdict {
        let text = |name: &str| {
            let mut text = String::new();
            let file = File::open(format!("{}/proc/{name}", paths::FAKES));
            file.and_then(|mut file| file.read_to_string(&mut text)).map(|_| text)
        };
        let (Ok(meminfo), Ok(loadavg)) = (text("meminfo"), text("loadavg")) else { return Verdict::GoOn };
        let Some(memory) = self.memory_of(call) else { return Verdict::GoOn };
        let bytes = sysinfo(&meminfo, &loadavg, boot_ns());
        end_within(PATIENCE);
        let written = memory.write_all_at(&bytes, call.arguments[0]);
        end_within(0);
        written.map_or(Verdict::Failure(Errno::FAULT), |()| Verdict::Success)
    }

    /// adjtimex(2), clock_adjtime(2): what is to be set is taken out of the request, and the kernel answers the rest.
    fn adjust(&self, call: &Call, at: u64) -> Verdict {
        if !self.is_root(call) {
            return Verdict::GoOn;
        }
        let Some(memory) = self.memory_of(call) else { return Verdict::GoOn };
        end_within(PATIENCE);
        let mut modes = [0; 4];
        if memory.read_exact_at(&mut modes, at).is_ok() {
            let wanted = u32::from_ne_bytes(modes);
            let harmless = only_read(wanted);
            if harmless != wanted {
                let _ = memory.write_all_at(&harmless.to_ne_bytes(), at);
            }
        }
        end_within(0);
        Verdict::GoOn
    }

    /// clock_settime(2), settimeofday(2), stime(2): remembered, and nothing else. `wide`: of two numbers of 8 bytes.
    fn set(&self, call: &Call, at: u64, wide: bool) -> Verdict {
        if !self.is_root(call) {
            return Verdict::Failure(Errno::PERM);
        }
        // settimeofday(2) of a time zone alone.
        if at == 0 {
            return Verdict::Success;
        }
        let Some(memory) = self.memory_of(call) else { return Verdict::Success };
        end_within(PATIENCE);
        let mut bytes = [0; 8];
        let length = if wide { 8 } else { 4 };
        let read = memory.read_exact_at(&mut bytes[..length], at);
        end_within(0);
        let seconds = match wide {
            true => i64::from_ne_bytes(bytes),
            false => i64::from(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        };
        match read {
            Err(_) => Verdict::Failure(Errno::FAULT),
            // As far as the kernel's own clock goes (KTIME_SEC_MAX).
            Ok(()) if !(0..=i64::MAX / 1_000_000_000).contains(&seconds) => Verdict::Failure(Errno::INVAL),
            Ok(()) => {
                let now = i64::try_from(real_ns() / 1_000_000_000).unwrap_or(i64::MAX);
                self.memory.set_ahead(Clock::Wall, seconds - now);
                Verdict::Success
            }
        }
    }
}

/// A string of the caller's memory; none where the pointer is 0.
fn text_at(memory: &File, at: u64) -> Option<String> {
    let mut bytes = vec![0; TEXT_MAX];
    if at == 0 {
        return Some(String::new());
    }
    // It may end with the mapping, before the room does.
    let length = memory.read_at(&mut bytes, at).ok()?;
    let text = bytes.get(..length)?.split(|byte| *byte == 0).next()?;
    (text.len() < length).then(|| String::from_utf8(text.to_vec()).ok())?
}

/// What is left of the modes of struct timex when nothing is to be set (linux/timex.h).
fn only_read(modes: u32) -> u32 {
    const ADJ_ADJTIME: u32 = 0x8000;
    /// adjtime(3) that only asks what is left of an earlier one.
    const ADJ_OFFSET_SS_READ: u32 = 0xa001;
    if modes & ADJ_ADJTIME != 0 { ADJ_OFFSET_SS_READ } else { 0 }
}

/// struct sysinfo of 64 bits.
fn sysinfo(meminfo: &str, loadavg: &str, boot_ns: u64) -> [u8; 112] {
    /// SI_LOAD_SHIFT of linux/sysinfo.h.
    const LOAD_ONE: f64 = 65_536.0;
    let kib = |key| value_of(meminfo, key).unwrap_or(0) * 1024;
    let mut words = loadavg.split_ascii_whitespace();
    let mut load =
        || words.next().and_then(|word| word.parse::<f64>().ok()).map_or(0, |load| (load * LOAD_ONE) as u64);
    let loads = [load(), load(), load()];
    let tasks = words.next().and_then(|word| word.split_once('/')?.1.parse::<u16>().ok()).unwrap_or(u16::MAX);
    let longs = [
        boot_ns.div_ceil(1_000_000_000),
        loads[0],
        loads[1],
        loads[2],
        kib("MemTotal"),
        kib("MemFree"),
        kib("Shmem"),
        kib("Buffers"),
        kib("SwapTotal"),
        kib("SwapFree"),
        u64::from(tasks),
        0,
        0,
        // The unit of memory is one byte.
        1,
    ];
    let mut out = [0; 112];
    for (room, value) in out.chunks_exact_mut(8).zip(longs) {
        room.copy_from_slice(&value.to_ne_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_the_guests_proc_says_when_sysinfo_is_filled_then_it_says_the_same() {
        let meminfo = "MemTotal: 524288 kB\nMemFree: 1024 kB\nShmem: 3 kB\nSwapTotal: 8 kB\nSwapFree: 4 kB\n";
        let bytes = sysinfo(meminfo, "0.50 1.00 0.25 2/77 4242\n", 1_500_000_000);
        let long = |at: usize| u64::from_ne_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap());
        assert_eq!((long(0), long(1), long(2), long(3)), (2, 32_768, 65_536, 16_384));
        assert_eq!((long(4), long(5), long(6), long(7)), (512 << 20, 1 << 20, 3072, 0));
        assert_eq!((long(8), long(9), long(10), long(13)), (8192, 4096, 77, 1));
    }

    #[test]
    fn given_modes_of_timex_when_only_reading_is_left_then_nothing_of_them_needs_a_right() {
        assert_eq!(only_read(0), 0);
        assert_eq!(only_read(0x0002 | 0x0010 | 0x0100), 0, "frequency, status, a step");
        assert_eq!(only_read(0x8001), 0xa001, "adjtime(3)");
        assert_eq!(only_read(0xa001), 0xa001);
    }

    #[test]
    fn given_the_table_then_what_is_asked_about_is_what_is_answered() {
        let table = include_str!("../../../../units/calls.tsv");
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        let mut asked: Vec<&str> = rows
            .filter_map(|line| line.split_once('\t').filter(|(_, rest)| rest.starts_with("asked")))
            .map(|(name, _)| name)
            .collect();
        let mut answered = ASKED.to_vec();
        asked.sort_unstable();
        answered.sort_unstable();
        assert_eq!(asked, answered);
    }

    #[test]
    fn given_no_call_in_the_memory_when_parsed_then_there_is_none() {
        assert_eq!(Call::parse(&[0; NOTIFICATION]), None);
        let mut bytes = [0; NOTIFICATION];
        (bytes[0], bytes[8], bytes[16], bytes[40]) = (1, 2, 99, 7);
        let call = Call::parse(&bytes).unwrap();
        assert_eq!((call.pid, call.number, call.arguments), (2, 99, [0, 7, 0, 0, 0]));
    }
}
