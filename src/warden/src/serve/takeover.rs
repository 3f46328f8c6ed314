//! Taking over: from what init sends at a start to a sink that goes on where the last warden stopped.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostel_contract::channel::{ChannelOp, FD_PLAN};
use hostel_contract::{fakes, paths};

use super::channel::Channel;
use super::datagrams::{Datagrams, PLACES};
use super::forward::Forwarder;
use super::journal_log::{self, JournalLog};
use super::journald_conf::JournaldConf;
use super::manager::ManagerSocket;
use super::run::{Receiving, Serve};
use super::sink::{Parts, Sink, Sources};
use super::spool::Spool;
use super::state::State;
use super::streams::{HELD, Streams};
use super::units::Units;
use super::upward;
use super::varlink::{self, Varlink};
use super::writer::{Log, TextLog};
use super::{During, Options, ServeError, say_on_console};
use crate::fakes::{Fakes, PLAIN};
use crate::requests::{self, Pipe, Requests};

/// Names under which init holds what is ours.
pub mod held {
    /// See `spool`.
    pub const SPOOL: &str = "sink-spool";
    /// See `state`.
    pub const STATE: &str = "sink-state";
    /// See `manager`.
    pub const MANAGER: &str = "manager";
    /// See `journal_log`.
    pub const UNDO: &str = "journal-undo";
    /// The plan whose indices are in the spool's segments: it may be older than the one in force.
    pub const PLAN: &str = "sink-plan";
}

/// What init sent up to `Welcome`.
#[derive(Default)]
struct Inventory {
    held: HashMap<String, OwnedFd>,
    pipes: Vec<(u16, OwnedFd)>,
    plan: Option<OwnedFd>,
    stopping: bool,
    /// Wardens before this one.
    before: u32,
}

impl Inventory {
    /// Everything that init has. `None`: it closed the channel before the end.
    fn receive(channel: &mut Channel) -> Result<Option<Inventory>, ServeError> {
        let mut inventory = Inventory { plan: crate::sys::inherited_fd(FD_PLAN), ..Inventory::default() };
        loop {
            let Some(message) = channel.wait().during("receive from init")? else { return Ok(None) };
            match (message.op, message.fd) {
                (ChannelOp::Welcome, _) => {
                    inventory.before = message.argument;
                    return Ok(Some(inventory));
                }
                (ChannelOp::LogPipe, Some(fd)) => inventory.pipes.push((message.unit, fd)),
                (ChannelOp::Held, Some(fd)) => drop(inventory.held.insert(message.name.lossy().into(), fd)),
                (ChannelOp::Plan, Some(fd)) => inventory.plan = Some(fd),
                (ChannelOp::Stopping, _) => inventory.stopping = true,
                _ => (),
            }
        }
    }
}

/// Has init hold something. Where init has no room, we work without that net, and say so. Where it has closed the
/// channel meanwhile, we go on too: what is in the pipes is still to be written out.
pub fn hold(
    options: &Options,
    channel: &mut Channel,
    name: &str,
    fd: BorrowedFd<'_>,
) -> Result<(), ServeError> {
    if channel.hold(name, fd).during(format!("have init hold `{name}`"))? == Some(false) {
        let text =
            format!("init has no room to hold `{name}`: if this warden is killed, log lines can be lost");
        say_on_console(&options.root, &text);
    }
    Ok(())
}

/// Reads a plan's units. A plan that can't be read costs the names in the log, not the log.
fn read_units(options: &Options, plan: Option<BorrowedFd<'_>>) -> Units {
    let status = options.root.join(paths::STATUS.trim_start_matches('/'));
    let Some(plan) = plan else { return Units::none(status) };
    Units::read(plan, status.clone()).unwrap_or_else(|error| {
        say_on_console(
            &options.root,
            &format!("the plan can't be read ({error}): log lines have no unit's name"),
        );
        Units::none(status)
    })
}

/// The spool and its state: both as they were held, or both new. They describe each other.
fn spool_and_state(inventory: &mut Inventory, plan: u64) -> Result<(Spool, State, bool), ServeError> {
    let (spool, state) = (inventory.held.remove(held::SPOOL), inventory.held.remove(held::STATE));
    if let (Some(spool), Some(state)) = (spool, state) {
        let spool = Spool::adopt(spool).during("adopt the spool")?;
        if let Some(state) = State::adopt(state).during("adopt the sink's state")?
            && state.snapshot().consumed <= spool.end()
        {
            return Ok((spool, state, true));
        }
    }
    let spool = Spool::create().during("make the spool")?;
    let state = State::create(spool.end(), plan).during("make the sink's state")?;
    Ok((spool, state, false))
}

/// The sockets of datagrams, each held by init and in its place.
fn datagrams(
    options: &Options,
    channel: &mut Channel,
    inventory: &mut Inventory,
) -> Result<Vec<Datagrams>, ServeError> {
    let mut sockets = Vec::with_capacity(PLACES.len());
    for place in &PLACES {
        let socket = match inventory.held.remove(place.held) {
            Some(socket) => Datagrams::adopt(place, socket),
            None => {
                let socket = Datagrams::create(place, &options.root).during("make a socket of the log")?;
                hold(options, channel, place.held, socket.fd())?;
                socket
            }
        };
        if let Err(error) = socket.publish(&options.root) {
            // The rest of the log is worth as much without it.
            let path = socket.path(&options.root);
            let text = format!("{} can't be made: {error}: what is sent there is not logged", path.display());
            say_on_console(&options.root, &text);
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Where programs open streams to the journal, held by init and in its place.
fn streams(
    options: &Options,
    channel: &mut Channel,
    inventory: &mut Inventory,
) -> Result<Streams, ServeError> {
    let parts = match HELD.map(|name| inventory.held.remove(name)) {
        [Some(listener), Some(one), Some(other)] => [listener, one, other],
        _ => {
            let parts = Streams::create().during("make the socket of streams")?;
            for (name, part) in HELD.iter().zip(&parts) {
                hold(options, channel, name, part.as_fd())?;
            }
            parts
        }
    };
    let streams = Streams::adopt(parts).during("adopt the streams")?;
    if let Err(error) = streams.publish(&options.root) {
        let path = Streams::path(&options.root);
        let text = format!("{} can't be made: {error}: systemd-cat will fail", path.display());
        say_on_console(&options.root, &text);
    }
    Ok(streams)
}

/// Where `journalctl` asks for what only the log's keeper can do, in a guest that has a journal.
fn varlink(
    options: &Options,
    channel: &mut Channel,
    inventory: &mut Inventory,
) -> Result<Option<Varlink>, ServeError> {
    if !journal_log::is_read_in(&options.root) {
        return Ok(None);
    }
    let held = inventory.held.remove(varlink::HELD);
    let is_new = held.is_none();
    let socket = match held {
        Some(socket) => socket,
        None => Varlink::create().during("make the journal's varlink socket")?,
    };
    if is_new {
        hold(options, channel, varlink::HELD, socket.as_fd())?;
    }
    let varlink = Varlink::adopt(socket).during("adopt the journal's varlink socket")?;
    if let Err(error) = varlink.publish(&options.root) {
        let path = Varlink::path(&options.root);
        let text = format!("{} can't be made: {error}: journalctl --sync will fail", path.display());
        say_on_console(&options.root, &text);
    }
    Ok(Some(varlink))
}

/// Where systemd's tools are answered, in a guest that has such.
fn manager_socket(
    options: &Options,
    channel: &mut Channel,
    inventory: &mut Inventory,
) -> Result<Option<ManagerSocket>, ServeError> {
    if let Some(socket) = inventory.held.remove(held::MANAGER) {
        return Ok(Some(ManagerSocket::adopt(socket)));
    }
    let path = options.root.join(paths::SYSTEMD_PRIVATE.trim_start_matches('/'));
    if !ManagerSocket::is_looked_for(&path) {
        return Ok(None);
    }
    let manager = ManagerSocket::create().during("make the manager's socket")?;
    if let Err(error) = manager.publish(&path) {
        let text = format!("{} can't be made: {error}: systemctl will be slow to fail", path.display());
        say_on_console(&options.root, &text);
        return Ok(None);
    }
    // Published first: what init holds listens.
    hold(options, channel, held::MANAGER, manager.fd())?;
    Ok(Some(manager))
}

/// The pipes of other inits, each held by init.
fn requests(
    options: &Options,
    channel: &mut Channel,
    inventory: &mut Inventory,
) -> Result<Option<Requests>, ServeError> {
    let root = &options.root;
    let mut pipes = Vec::new();
    for place in requests::PLACES.iter().filter(|place| place.is_looked_for(root)) {
        match inventory.held.remove(place.held) {
            Some(fd) => pipes.push(Pipe::adopt(place, fd)),
            None => match Pipe::create(place, root) {
                Ok(pipe) => {
                    hold(options, channel, place.held, pipe.fd())?;
                    pipes.push(pipe);
                }
                Err(error) => {
                    say_on_console(root, &format!("{} can't be made: {error}", place.held));
                }
            },
        }
    }
    match Requests::new(root, pipes) {
        Ok(requests) => Ok(Some(requests)),
        Err(error) => {
            say_on_console(root, &format!("no pipe and no schedule is looked at: {error}"));
            Ok(None)
        }
    }
}

/// The log in the form that this guest reads.
fn writer(
    options: &Options,
    conf: &JournaldConf,
    channel: &mut Channel,
    inventory: &mut Inventory,
) -> Result<Log, ServeError> {
    let root = &options.root;
    if !journal_log::is_read_in(root) || journal_log::folder(root).is_none() {
        let folder = root.join(paths::LOG_DIR.trim_start_matches('/'));
        return Ok(Log::Text(TextLog::new(folder, options.limits, log_group(root))));
    }
    if let Some(undo) = inventory.held.remove(held::UNDO) {
        return Ok(Log::Journal(Box::new(JournalLog::new(root.clone(), *conf, options.journal, undo))));
    }
    let undo = journal_log::make_undo().during("make the journal's undo record")?;
    let log = JournalLog::new(root.clone(), *conf, options.journal, undo);
    hold(options, channel, held::UNDO, log.undo_fd())?;
    Ok(Log::Journal(Box::new(log)))
}

/// Takes over. `None`: init has closed the channel before it sent everything.
pub fn take_over(options: &Options, channel: OwnedFd) -> Result<Option<Serve<'_>>, ServeError> {
    let mut channel = Channel::new(channel);
    let Some(mut inventory) = Inventory::receive(&mut channel)? else { return Ok(None) };

    let units = read_units(options, inventory.plan.as_ref().map(AsFd::as_fd));
    let (spool, state, adopted) = spool_and_state(&mut inventory, units.checksum())?;
    if !adopted {
        let parts = [(held::SPOOL, spool.fd()), (held::STATE, state.fd())];
        for (name, fd) in parts {
            hold(options, &mut channel, name, fd)?;
        }
    }
    let mut datagrams = datagrams(options, &mut channel, &mut inventory)?;
    let mut streams = streams(options, &mut channel, &mut inventory)?;
    let varlink = varlink(options, &mut channel, &mut inventory)?;
    let manager = manager_socket(options, &mut channel, &mut inventory)?;
    let mut requests = requests(options, &mut channel, &mut inventory)?;
    if inventory.before == 0 {
        requests.iter_mut().for_each(Requests::record_boot);
        upward::tell(&options.root);
    }

    // What waits in the spool is of the plan that the state names; what comes from now on, of the one in force.
    let same = state.snapshot().plan == units.checksum();
    let (units, next_plan) = match (same, &inventory.plan) {
        (true, Some(plan)) => {
            // Should the plan change, a successor needs this one for what we are about to receive.
            hold(options, &mut channel, held::PLAN, plan.as_fd())?;
            (units, None)
        }
        (true, None) => (units, None),
        (false, plan) => {
            let plan = plan
                .as_ref()
                .map(OwnedFd::try_clone)
                .transpose()
                .during("duplicate the plan's descriptor")?;
            let before = read_units(options, inventory.held.get(held::PLAN).map(AsFd::as_fd));
            (before, Some(NextPlan { units, plan }))
        }
    };
    let conf = JournaldConf::read(&options.root);
    let writer = writer(options, &conf, &mut channel, &mut inventory)?;
    let forwarder = Forwarder::new(&options.root);
    let parts = Parts { spool, state, writer, units, forwarder, conf };
    let sources = Sources { datagrams: &mut datagrams, streams: &mut streams };
    let sink = Sink::adopt(parts, sources).during("adopt the sink")?;

    let sources = Receiving { datagrams, streams, varlink };
    let mut serve = Serve::new(options, channel, sink, sources, (manager, requests))?;
    serve.next_plan = next_plan;
    serve.fakes = inventory.held.remove(fakes::HELD).map(|store| Fakes::of(store, PLAIN)).unwrap_or_default();
    serve.stopping = inventory.stopping;
    if let Some(plan) = &inventory.plan {
        serve.follow_plan(plan.as_fd());
    }
    for (unit, pipe) in inventory.pipes {
        serve.pipes.add(unit, pipe).during("wait for a log pipe")?;
    }
    Ok(Some(serve))
}

/// A plan that comes into force once everything of the one before is written out.
pub struct NextPlan {
    /// Its units.
    pub units: Units,
    /// Itself, to be held by init.
    pub plan: Option<OwnedFd>,
}

impl NextPlan {
    /// Of a descriptor that init sent.
    pub fn read(options: &Options, plan: OwnedFd) -> NextPlan {
        NextPlan { units: read_units(options, Some(plan.as_fd())), plan: Some(plan) }
    }
}

/// The group that may read logs in Debian and its kin, if this guest has it.
fn log_group(root: &std::path::Path) -> Option<u32> {
    let text = std::fs::read(root.join("etc/group")).ok()?;
    let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"adm:"))?;
    std::str::from_utf8(line.split(|&b| b == b':').nth(1)?).ok()?.parse().ok()
}
