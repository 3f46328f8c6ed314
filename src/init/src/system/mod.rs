//! The system role: PID 1 of a guest.
//!
//! One loop ([`event_loop`]): wait, turn what woke it into events, step the supervisor, carry out its actions. Every
//! other module is one kind of thing that wakes it or that it does. Its life:
//!
//! | stage | what runs | left by |
//! | --- | --- | --- |
//! | compiling | `hostel-warden compile` | a valid plan; three failures |
//! | no plan | nothing: the reason stands on the console and the status page | a reload that compiles |
//! | running | the supervisor over the plan, `hostel-warden serve`; in a reload also `compile` | the supervisor's `Finish` |
//! | ending | what is left gets TERM, then KILL; unmount; sync | reboot(2), or exit |
//!
//! Requests to stop are obeyed in each of them.

mod actions;
mod boot;
mod cgroup;
pub mod channel;
pub mod control;
mod event_loop;
mod foreign;
mod log;
mod messages;
mod notify;
mod poll;
mod reap;
mod reload;
mod reserve;
mod shutdown;
mod sockets;
mod spawn;
mod status_page;
pub mod tables;
mod upward;

pub use messages::reason;
pub use shutdown::leave;
pub use upward::{tell, tell_of};

use crate::sys::call::Errno;
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::file::{self, flag};
use crate::sys::memory;
use crate::sys::process::{Program, fork};
use crate::sys::wait::event;
use crate::{emergency, sys};
use core::ffi::CStr;
use hostel_contract::paths;
use hostel_contract::status::GuestState;
use hostel_init::text::decimal;
use hostel_plan::{Plan, UnitId};
use hostel_supervisor::Supervisor;

/// When nothing is due, in milliseconds.
const NEVER: u64 = u64::MAX;
/// Exit status of a child whose exec failed, as shells have it.
const EXIT_NO_EXEC: i32 = 127;

/// What runs of the plan. Before there is one, it's the empty plan.
// In this order, here and in `System`: what is at the front is reached by shorter instructions.
#[repr(C)]
struct Guest {
    /// Sealed; each warden gets a duplicate. None: the plan is the empty one.
    plan_file: Option<OwnedFd>,
    plan: Plan<'static>,
    slots: tables::RunSlots,
    flights: tables::Flights,
    kept: tables::KeptTable,
    supervisor: Supervisor<'static>,
}

impl Guest {
    /// Has a plan come?
    fn has_plan(&self) -> bool {
        self.plan_file.is_some()
    }

    /// The plan's file, for a child.
    fn plan_file(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.plan_file.as_ref().map(OwnedFd::as_fd).ok_or(Errno::BADF)
    }

    /// The unit's name.
    fn name(&self, unit: UnitId) -> &'static [u8] {
        self.plan.definition(unit).name_bytes()
    }
}

/// PID 1.
#[repr(C)]
struct System {
    poll: poll::Poll,
    signals: OwnedFd,
    /// The warden's file: every warden is started from this descriptor, whatever happens to its path.
    warden_file: Option<OwnedFd>,
    /// Work was left for the next round, which is not to wait.
    more: bool,
    /// Children may have ended.
    children: bool,
    /// When groups that are to become empty are looked at again, in milliseconds.
    next_look: u64,
    log: log::Log,
    control: control::Control,
    guest: Guest,
    ending: Option<shutdown::Ending>,
    /// The one that runs.
    compilation: Option<boot::Compilation>,
    /// Another is to follow it.
    again: Option<boot::Depth>,
    reserve: reserve::Reserve,
    warden: channel::Warden,
    page: status_page::StatusPage,
    cgroups: cgroup::Cgroups,
}

/// The role. Never returns: see [`shutdown`] for the ways out.
pub fn run() -> ! {
    if !sys::process::is_first() {
        foreign::beside(sys::start::argument(1));
    }
    sys::signal::block_all();
    sys::process::set_name(c"init");
    match (waiting(), memory::tables()) {
        (Ok((poll, signals)), Some(tables)) => System::begin(poll, signals, tables),
        (waiting, _) => {
            let errno = waiting.err().unwrap_or(Errno::NOMEM);
            emergency::run("init cannot begin: {}", &[messages::reason(errno)])
        }
    }
}

/// What init can't be without: its one wait, and signals that end it.
fn waiting() -> Result<(poll::Poll, OwnedFd), Errno> {
    let poll = poll::Poll::new()?;
    let signals = sys::signal::descriptor()?;
    poll.add(signals.as_fd(), poll::Source::Signals, event::IN)?;
    Ok((poll, signals))
}

impl System {
    /// With all that can be had; what can't is said, and missing from then on.
    fn begin(poll: poll::Poll, signals: OwnedFd, tables: &'static mut memory::Tables) -> ! {
        let memory::Tables { header, connections, held, flights, marks, index, slots, kept, states } = tables;
        let warden_file = open_warden();
        foreign::prepare(&warden_file);
        let reserve = reserve::Reserve::new(&signals);
        let mut log = log::Log::open();
        for directory in [c"/run", c"/run/hostel", c"/run/hostel/notify"] {
            if let Err(errno) = file::make_directory(None, directory) {
                let lost = ": no requests; mount a tmpfs on /run: ";
                log.say("{}{}{}", &[directory.to_bytes().into(), lost.into(), messages::reason(errno)]);
            }
        }
        let page = status_page::StatusPage::open(marks);
        let (cgroups, missing) = cgroup::Cgroups::open();
        if let Some(missing) = missing {
            let lost = "; units are process groups";
            log.say("no cgroups: /sys/fs/cgroup: {}{}", &[missing.into(), lost.into()]);
        }
        let control = control::Control::open(connections, &poll, &mut log);
        let mut system = System {
            poll,
            signals,
            warden_file,
            reserve,
            cgroups,
            log,
            page,
            control,
            compilation: None,
            again: None,
            guest: Guest {
                plan_file: None,
                plan: Plan::EMPTY,
                slots: tables::RunSlots::new(index, slots),
                flights: tables::Flights::new(flights),
                kept: tables::KeptTable::new(kept),
                supervisor: Supervisor::without_plan(header, states),
            },
            warden: channel::Warden::new(held),
            ending: None,
            more: false,
            children: true,
            next_look: 0,
        };
        system.page.set_state(GuestState::Starting);
        system.begin_compilation(boot::Depth::Generators);
        system.run()
    }
}

/// The descriptor whose number a variable says.
#[inline(never)]
fn given(variable: &str) -> Option<OwnedFd> {
    let number = decimal(sys::start::variable(variable)?.to_bytes())?;
    sys::descriptor::adopt(number as u32)
}

/// Runs the warden as a child: `arguments` from argv[0] on, with these descriptors.
#[inline(never)]
fn run_warden(
    warden: &Option<OwnedFd>,
    arguments: &[&CStr],
    descriptors: &[(BorrowedFd<'_>, u32)],
) -> Result<u32, Errno> {
    let file = warden.as_ref().ok_or(Errno::NOENT)?.as_fd();
    let program = Program { file, arguments, variable: None, descriptors };
    fork(None, &|| {
        program.become_it();
        EXIT_NO_EXEC
    })
}

/// The warden's file: where the environment says, beside our own, or where packages have it: a kernel starts us without
/// a /proc that says where we are.
#[inline(never)]
fn open_warden() -> Option<OwnedFd> {
    let open = |path: &CStr| file::open(None, path, flag::PATH).ok();
    if let Some(found) = sys::start::variable(paths::ENV_WARDEN).and_then(open) {
        return Some(found);
    }
    let mut own = [0u8; 256];
    if let Some(own) = file::read_link(c"/proc/self/exe", &mut own) {
        let end = own.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let mut room = [0u8; 280];
        let beside = file::path(&mut room, "{}hostel-warden", &[own.get(..end).unwrap_or(&[]).into()]);
        if let Some(found) = beside.and_then(open) {
            return Some(found);
        }
    }
    open(c"/usr/lib/hostel/hostel-warden")
}
