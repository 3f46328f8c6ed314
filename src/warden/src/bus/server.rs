//! The loop: one wait, and what woke it.

use super::broker::Broker;
use super::connection::{Connection, MESSAGES};
use super::dispatch::{self, Call, Caller, Origin};
use super::init;
use super::jobs::{JobEvent, JobKind, Jobs, result_word};
use super::manager::ending::{self, Ending};
use super::manager::polkit;
use super::manager::transient::{self, Transients};
use super::message::{Kind, Message};
use super::path;
use super::plans::Wanted;
use super::value::Value;
use super::world::World;
use crate::ctl::client::Client;
use crate::install::Install;
use hostel_contract::control::{ControlOp, ControlResult, KILL_MAIN};
use hostel_contract::paths;
use hostel_contract::status::{ActiveState, StatusRow, SubState, UnitResult};
use hostel_plan::UnitId;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Clients at a time on the private socket. For one more goes who has been silent longest.
const PEERS_MAX: usize = 256;
/// How long one client's requests may take before others have their turn; the one that is begun is finished.
const TURN: Duration = Duration::from_millis(5);
/// Clients that are taken in one turn.
const ACCEPTED: usize = 64;
/// With no client and no bus, it ends after so long: the next one may come soon, as in a script.
const IDLE: Duration = Duration::from_secs(10);
/// At least so long between two looks at the status page that nobody asked for.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a page is waited for that fits the plan: `serve` sends a new plan as soon as init has taken it.
const FIT: Duration = Duration::from_millis(500);
/// Our name on a bus.
pub const NAME: &str = "org.freedesktop.systemd1";
/// Events taken in one wait.
const EVENTS: usize = 16;

const LINK: u64 = 0;
const LISTENER: u64 = 1;
const PAGE: u64 = 2;
const BUS: u64 = 3;
/// Of the connection on which init is asked for a plan.
pub const RELOAD: u64 = 4;
/// Clients are numbered from here on.
const PEERS: u64 = 16;
/// Connections to init are numbered from here on.
const ASKED: u64 = 1 << 32;

/// The server.
pub struct Server {
    /// The guest.
    pub world: World,
    /// Jobs.
    pub jobs: Jobs,
    /// The guest's bus.
    pub broker: Broker,
    /// Transient units, and references to units.
    pub transients: Transients,
    /// The end of the guest, where it was asked for.
    pub ending: Option<Ending>,
    /// What is to be said once the call in progress was answered.
    pub events: Vec<JobEvent>,
    /// Signals of the same kind.
    pub signals: Vec<Message>,
    /// Plans that are to come.
    pub(super) wanted: Wanted,
    /// Brings those that are in force.
    pub(super) link: OwnedFd,
    listener: OwnedFd,
    pub(super) set: OwnedFd,
    interests: BTreeMap<u64, epoll::EventFlags>,
    peers: BTreeMap<u64, Connection>,
    last_peer: u64,
    subscribed: BTreeSet<u64>,
    page: Option<OwnedFd>,
    page_changed: bool,
    looked: Instant,
    pub(super) rows: Vec<StatusRow>,
    guid: String,
    idle_since: Instant,
    pub(super) orphaned: bool,
}

impl Server {
    /// On the descriptors that `serve` gave; the first plan is on the link.
    pub fn new(listener: OwnedFd, link: OwnedFd) -> io::Result<Server> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let now = Instant::now();
        let mut server = Server {
            world: World::new(Vec::new()),
            jobs: Jobs::default(),
            broker: Broker::default(),
            transients: Transients::found(),
            ending: None,
            events: Vec::new(),
            signals: Vec::new(),
            wanted: Wanted::default(),
            link,
            listener,
            set,
            interests: BTreeMap::new(),
            peers: BTreeMap::new(),
            last_peer: PEERS,
            subscribed: BTreeSet::new(),
            page: None,
            page_changed: false,
            looked: now,
            rows: Vec::new(),
            guid: guid(),
            idle_since: now,
            orphaned: false,
        };
        server.watch(LINK, epoll::EventFlags::IN)?;
        server.take_plans();
        Ok(server)
    }

    /// Serves until nobody is left.
    pub fn run(mut self) -> io::Result<()> {
        self.observe();
        while !self.orphaned {
            self.watch_all()?;
            let Some(timeout) = self.timeout() else { break };
            self.wait(timeout)?;
            self.serve_peers();
            self.serve_bus();
            if self.page_changed && self.looked.elapsed() >= PAUSE {
                self.observe();
            }
            self.announce();
            ending::begin(&mut self);
        }
        Ok(())
    }

    /// Have those who asked for something their answers?
    pub fn has_said_all(&self) -> bool {
        self.broker.all_heard() && !self.peers.values().any(Connection::wants_to_send)
    }

    /// How long the wait may take. None: nobody is left.
    fn timeout(&self) -> Option<Duration> {
        if self.peers.values().any(|peer| peer.has_message() && !peer.is_busy()) || self.broker.has_message()
        {
            return Some(Duration::ZERO);
        }
        let mut deadlines = Vec::new();
        if self.page_changed {
            deadlines.push(PAUSE.saturating_sub(self.looked.elapsed()));
        }
        deadlines.extend(self.broker.retry_in());
        deadlines.extend(self.ending.as_ref().map(Ending::remaining));
        let is_idle = self.peers.is_empty() && !self.wanted.is_under_way() && !self.broker.is_connected();
        if is_idle && !self.transients.hold_descriptors() {
            deadlines.push(IDLE.checked_sub(self.idle_since.elapsed())?);
        }
        Some(deadlines.into_iter().min().unwrap_or(Duration::MAX))
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        let tokens: Vec<u64> = match epoll::wait(&self.set, &mut space, timeout.as_ref()) {
            Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for token in tokens {
            match token {
                LINK => self.take_plans(),
                LISTENER => self.accept(),
                PAGE => self.drain_page(),
                BUS => self.broker.receive(),
                RELOAD => self.reload_ended(),
                ASKED.. => self.job_ended(token),
                _ => {
                    if let Some(peer) = self.peers.get_mut(&token) {
                        peer.receive(&self.guid);
                    }
                }
            }
        }
        Ok(())
    }

    /// Has the set wait for what there is to wait for.
    fn watch_all(&mut self) -> io::Result<()> {
        self.watch(LISTENER, epoll::EventFlags::IN)?;
        let wanted: Vec<(u64, epoll::EventFlags)> =
            self.peers.iter().map(|(token, peer)| (*token, interest(peer))).collect();
        for (token, flags) in wanted {
            self.watch(token, flags)?;
        }
        if let Some(connection) = self.broker.connection() {
            let flags = interest(connection);
            self.watch(BUS, flags)?;
        }
        self.watch_page();
        Ok(())
    }

    fn watch(&mut self, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        let before = self.interests.get(&token).copied();
        if before == Some(flags) {
            return Ok(());
        }
        let fd = match token {
            LINK => Some(self.link.as_fd()),
            LISTENER => Some(self.listener.as_fd()),
            PAGE => self.page.as_ref().map(AsFd::as_fd),
            BUS => self.broker.connection().map(Connection::fd),
            token => self.peers.get(&token).map(Connection::fd),
        };
        let Some(fd) = fd else { return Ok(()) };
        let data = epoll::EventData::new_u64(token);
        match before {
            Some(_) => epoll::modify(&self.set, fd, data, flags)?,
            None => epoll::add(&self.set, fd, data, flags)?,
        }
        self.interests.insert(token, flags);
        Ok(())
    }

    /// The page is watched while somebody wants to know, or dbus is waited for.
    fn watch_page(&mut self) {
        let wanted = !self.peers.is_empty()
            || !self.jobs.is_empty()
            || self.broker.is_subscribed()
            || self.transients.hold_descriptors()
            || !self.broker.is_connected();
        if wanted == self.page.is_some() {
            return;
        }
        if !wanted {
            // Closing takes it out of the set.
            self.page = None;
            self.interests.remove(&PAGE);
            return;
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let made = inotify::init(flags).and_then(|fd| {
            inotify::add_watch(&fd, paths::STATUS, inotify::WatchFlags::MODIFY)?;
            Ok(fd)
        });
        if let Ok(fd) = made {
            self.page = Some(fd);
            if self.watch(PAGE, epoll::EventFlags::IN).is_err() {
                self.page = None;
            }
            // What happened before the watch.
            self.page_changed = true;
        }
    }

    fn drain_page(&mut self) {
        if let Some(page) = &self.page {
            let _ = rustix::io::read(page, &mut [0u8; 4096]);
        }
        self.page_changed = true;
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(fd) = accept_with(&self.listener, flags) else { return };
            if self.peers.len() >= PEERS_MAX {
                self.drop_silent();
            }
            let peer = socket_peercred(&fd);
            let uid = peer.as_ref().map_or(u32::MAX, |peer| peer.uid.as_raw());
            let pid = peer.map_or(0, |peer| peer.pid.as_raw_nonzero().get() as u32);
            // The socket's mode keeps others out; this is for a descriptor that was passed on.
            if !(Caller { uid, pid }).is_manager() {
                continue;
            }
            self.last_peer += 1;
            self.peers.insert(self.last_peer, Connection::accepted(fd, uid, pid));
        }
    }

    /// Makes room for another client: whoever has not even said who it is goes first, who waits for signals last.
    fn drop_silent(&mut self) {
        let patience = |(token, peer): &(&u64, &Connection)| {
            (peer.is_talking(), self.subscribed.contains(token), peer.heard)
        };
        if let Some(token) = self.peers.iter().min_by_key(patience).map(|(token, _)| *token) {
            self.peers.remove(&token);
            self.forget_gone();
        }
    }

    /// Answers what clients have asked.
    fn serve_peers(&mut self) {
        let tokens: Vec<u64> = self.peers.keys().copied().collect();
        for token in tokens {
            let began = Instant::now();
            for _ in 0..MESSAGES {
                if began.elapsed() >= TURN {
                    break;
                }
                let Some(peer) = self.peers.get_mut(&token).filter(|peer| !peer.is_busy()) else { break };
                let Some(message) = peer.next() else { break };
                let caller = Caller { uid: peer.uid, pid: peer.pid };
                if message.kind == Kind::Call {
                    let origin = Origin::Peer(token);
                    dispatch::call(self, Call { message, origin, authorized: true, caller, reloaded: false });
                    self.announce();
                }
            }
            if let Some(peer) = self.peers.get_mut(&token) {
                peer.flush();
            }
        }
        self.drop_closed();
    }

    fn drop_closed(&mut self) {
        let before = self.peers.len();
        self.peers.retain(|_, peer| !peer.is_closed());
        if self.peers.len() != before {
            self.forget_gone();
        }
    }

    /// Forgets what there was for clients that are no longer there.
    fn forget_gone(&mut self) {
        let peers = &self.peers;
        let gone = |origin: &Origin| matches!(origin, Origin::Peer(token) if !peers.contains_key(token));
        self.page_changed |= self.transients.forget(gone);
        // A descriptor that was closed left the set by itself.
        self.interests.retain(|token, _| *token < PEERS || peers.contains_key(token));
        self.subscribed.retain(|token| peers.contains_key(token));
        self.idle_since = Instant::now();
    }

    fn serve_bus(&mut self) {
        if self.broker.wants_to_connect() {
            let world = &mut self.world;
            let up = world
                .find("dbus.service")
                .is_some_and(|id| ActiveState::from_code(world.row(id).active) == Some(ActiveState::Active));
            if up {
                self.broker.connect();
            }
        }
        let began = Instant::now();
        for _ in 0..MESSAGES {
            if began.elapsed() >= TURN {
                break;
            }
            let details = |message: &Message| polkit::details(&mut self.world, message);
            let Some(call) = self.broker.next(details) else { break };
            dispatch::call(self, call);
            self.announce();
        }
        self.broker.watch_names(self.world.bus_names().keys());
        for name in self.broker.take_lost() {
            self.name_lost(&name);
        }
        self.broker.flush();
        let gone = self.broker.take_gone();
        if !gone.is_empty() {
            let left = |origin: &Origin| matches!(origin, Origin::Bus(sender) if gone.contains(sender));
            self.page_changed |= self.transients.forget(left);
        }
        if self.broker.drop_closed() {
            self.page_changed |= self.transients.forget(|origin| matches!(origin, Origin::Bus(_)));
            self.interests.remove(&BUS);
            self.idle_since = Instant::now();
        }
    }

    /// A name has no owner any more. A service of Type=dbus does not run without (systemd.service(5)): it is told to
    /// end, and what follows is what follows the end of its main process.
    fn name_lost(&mut self, name: &str) {
        self.look();
        let Some(subject) = self.world.bus_names().get(name).and_then(|id| self.world.known(*id)) else {
            return;
        };
        let signal = subject.unit.as_ref().map(|unit| u32::from(unit.kill_signal()));
        let (Some(signal), SubState::Running) = (signal, subject.sub()) else { return };
        // Where init has no room for the request, a service runs on without its name.
        let _ = init::ask(ControlOp::Kill, KILL_MAIN, signal, &subject.name);
    }

    /// Sends an answer to whoever asked.
    pub fn answer(&mut self, origin: &Origin, message: Message) {
        match origin {
            Origin::Peer(token) => {
                if let Some(peer) = self.peers.get_mut(token) {
                    peer.send(&Message { sender: NAME.into(), ..message });
                }
            }
            Origin::Bus(_) => self.broker.send(&message),
        }
    }

    /// The unit files.
    pub fn install(&self) -> Install {
        Install::new(self.world.files().clone())
    }

    /// Somebody wants signals.
    pub fn subscribe(&mut self, origin: &Origin) {
        match origin {
            Origin::Peer(token) => drop(self.subscribed.insert(*token)),
            Origin::Bus(sender) => self.broker.subscribe(sender),
        }
    }

    /// Whoever asks for a job is told of its end, also without having subscribed (systemd's `bus_track` of a job); until it
    /// leaves the bus, which clients that ask do soon.
    pub fn tell_of_jobs(&mut self, origin: &Origin) {
        if let Origin::Bus(sender) = origin {
            self.broker.track(sender);
        }
    }

    /// Somebody wants no more of them.
    pub fn unsubscribe(&mut self, origin: &Origin) {
        match origin {
            Origin::Peer(token) => drop(self.subscribed.remove(token)),
            Origin::Bus(sender) => self.broker.unsubscribe(sender),
        }
    }

    /// Makes sure that what is known is not older than now. False: there is no page that fits the plan.
    pub fn look(&mut self) -> bool {
        let until = Instant::now() + FIT;
        while !self.world.look() {
            if self.orphaned || Instant::now() >= until {
                return false;
            }
            // A new plan is on its way.
            let mut polled = [PollFd::new(&self.link, PollFlags::IN)];
            let _ = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
            self.take_plans();
        }
        true
    }

    /// Looks at the page, and notes what is to be told of it.
    pub fn observe(&mut self) {
        self.looked = Instant::now();
        self.page_changed = false;
        if !self.look() {
            // The plan that fits is late: what has changed is told when it is there, though init may write nothing more.
            self.page_changed = !self.orphaned;
            return;
        }
        self.compare_rows();
        transient::sweep(self);
    }

    /// The page is to be looked at soon, also if init writes nothing to it.
    pub fn look_again(&mut self) {
        self.page_changed = true;
    }

    /// Notes what is another since the last look.
    fn compare_rows(&mut self) {
        let Some(plan) = self.world.plan() else { return };
        let rows: Vec<StatusRow> = plan.units().map(|unit| self.world.row(unit.id())).collect();
        let named = plan.units().map(|unit| (unit.name(), self.world.row(unit.id())));
        let with_jobs = named.filter(|(_, row)| row.job != 0);
        let row_of = |name: &str| plan.find(name).map(|unit| self.world.row(unit.id()));
        self.jobs.observe(with_jobs, row_of, &mut self.events);
        let changed = |(at, row): (usize, &StatusRow)| {
            let before = self.rows.get(at)?;
            (before != row).then(|| plan.unit(UnitId(at as u16)).map(|unit| unit.name().to_owned()))?
        };
        let changed: Vec<String> = rows.iter().enumerate().filter_map(changed).collect();
        self.rows = rows;
        if self.anybody_listens() {
            for name in changed {
                let signals = dispatch::changed(self, &name);
                self.signals.extend(signals);
            }
        }
    }

    fn anybody_listens(&self) -> bool {
        !self.peers.is_empty() || self.broker.is_subscribed()
    }

    /// Keeps a request's connection until its job has ended.
    pub fn wait_for_job(&mut self, unit: &str, kind: JobKind, client: Client) -> u32 {
        let (id, token) = self.jobs.asked(unit, kind, client, &mut self.events);
        if let Some(token) = token {
            let data = epoll::EventData::new_u64(ASKED + token);
            if let Some((_, client)) = self.jobs.client(token)
                && epoll::add(&self.set, client.fd(), data, epoll::EventFlags::IN).is_err()
            {
                self.jobs.disconnect(id);
            }
        }
        id
    }

    /// Init says how a job ended.
    fn job_ended(&mut self, token: u64) {
        let Some((id, client)) = self.jobs.client(token - ASKED) else { return };
        match client.try_receive() {
            Ok(None) => {}
            Ok(Some(reply)) => {
                let result = ControlResult::from_code(reply.result).unwrap_or(ControlResult::Failed);
                // Whoever hears of the end finds the unit's new state.
                let _ = init::barrier();
                let unit = self.jobs.get(id).map(|job| job.unit.clone()).unwrap_or_default();
                let word = self.end_word(&unit, result);
                self.jobs.remove(id, word, &mut self.events);
                self.observe();
            }
            Err(_) => self.jobs.disconnect(id),
        }
    }

    /// systemd's word for how a job of a unit ended: init's is wider.
    pub fn end_word(&mut self, unit: &str, result: ControlResult) -> &'static str {
        self.look();
        let row = self.world.find(unit).map(|id| self.world.row(id));
        match (result, row.and_then(|row| UnitResult::from_code(row.result))) {
            (ControlResult::Failed, Some(UnitResult::AssertFailed)) => "assert",
            _ => result_word(result),
        }
    }

    /// Sends the signals that are due.
    fn announce(&mut self) {
        let mut signals = std::mem::take(&mut self.signals);
        signals.extend(std::mem::take(&mut self.events).into_iter().map(job_signal));
        for signal in &mut signals {
            for peer in self.peers.values_mut().filter(|peer| peer.is_talking()) {
                signal.sender = NAME.into();
                peer.send(signal);
            }
            if self.broker.is_subscribed() {
                signal.sender.clear();
                self.broker.send(signal);
            }
        }
        for peer in self.peers.values_mut() {
            peer.flush();
        }
        self.broker.flush();
        self.drop_closed();
    }
}

/// The signal that tells of a job.
fn job_signal(event: JobEvent) -> Message {
    let (member, body) = match event {
        JobEvent::New(id, unit) => {
            ("JobNew", vec![id.into(), Value::path(path::of_job(id)), Value::Str(unit)])
        }
        JobEvent::Removed(id, unit, result) => {
            let job = Value::path(path::of_job(id));
            ("JobRemoved", vec![id.into(), job, Value::Str(unit), result.into()])
        }
    };
    Message::signal(path::MANAGER, "org.freedesktop.systemd1.Manager", member, body)
}

fn interest(connection: &Connection) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    if !connection.is_busy() {
        flags |= epoll::EventFlags::IN;
    }
    if connection.wants_to_send() {
        flags |= epoll::EventFlags::OUT;
    }
    flags
}

/// 128 random bits that name this server in the authentication.
fn guid() -> String {
    let mut bytes = [0u8; 16];
    // A name that is not random is no secret lost.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
