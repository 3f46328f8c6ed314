//! The loop of a serving warden.

mod receiving;
mod resting;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use hostel_contract::channel::{ChannelOp, NO_UNIT};
use hostel_contract::control::ControlOp;
use hostel_contract::request::Sender;
use hostel_contract::{ShutdownKind, paths};
use rustix::event::{Timespec, epoll};

use super::channel::{Channel, Message, Next};
use super::datagrams::Datagrams;
use super::hosts::Hosts;
use super::manager::ManagerSocket;
use super::pipes::Pipes;
use super::sink::{Sink, Taken};
use super::streams::Streams;
use super::takeover::{NextPlan, held, hold};
use super::triggers::Triggers;
use super::varlink::{Varlink, Wish};
use super::writer::Log;
use super::{During, Options, ServeError, say_on_console, speak, upward};
use crate::ctl::{client, names};
use crate::fakes::Fakes;
use crate::page::read_plan;
use crate::requests::{Requests, utmp};

/// A line whose end does not come is logged without it after this long. (systemd has no such limit, but sees the
/// stream's end; our pipes have none.)
const PARTIAL_AGE: Duration = Duration::from_secs(5);
/// How often a log that can't be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long it may take, at the end, to empty pipes into which somebody still writes. Init gives us 3 s.
const LAST_TURNS: Duration = Duration::from_secs(2);
/// How long it may take to receive what came before journalctl asked, while others go on logging.
const SYNC_TURNS: Duration = Duration::from_secs(1);
/// How often a moment of the clock on the wall is looked at, at least.
const WALL_CLOCK: Duration = Duration::from_secs(60);
/// Looks at a socket's datagrams before anything else has its turn.
const LOOKS: usize = 8;
/// While the log floods, what was received waits so long for more: each batch costs some hundred microseconds.
const GATHER: Duration = Duration::from_millis(5);

const CHANNEL: u64 = 0;
const PIPES: u64 = 1;
const DATAGRAM_SOCKETS: u64 = 2;
const TRIGGERS: u64 = 3;
const MANAGER: u64 = 4;
const SYSLOGD: u64 = 5;
const STREAMS: u64 = 6;
const VARLINK: u64 = 7;
const REQUESTS: u64 = 8;
const FAKES: u64 = 9;
const HOSTS: u64 = 10;

/// Why nothing is received at the moment.
struct Trouble {
    since: Instant,
    retry: Instant,
}

/// What it receives from, beside the pipes and the channel.
pub struct Receiving {
    /// The sockets of datagrams.
    pub datagrams: Vec<Datagrams>,
    /// The streams.
    pub streams: Streams,
    /// Wishes of journalctl's.
    pub varlink: Option<Varlink>,
}

/// A serving warden.
pub struct Serve<'a> {
    options: &'a Options,
    channel: Channel,
    sink: Sink<Log>,
    datagrams: Vec<Datagrams>,
    streams: Streams,
    varlink: Option<Varlink>,
    manager: Option<ManagerSocket>,
    requests: Option<Requests>,
    /// Who answers the fakes, in a guest that has any.
    pub fakes: Vec<Fakes>,
    /// The log pipes, with indices of the plan in force.
    pub pipes: Pipes,
    /// A plan that is in force, and of which the sink doesn't know yet.
    pub next_plan: Option<NextPlan>,
    /// Init said that the guest stops.
    pub stopping: bool,
    /// Timers and path units of the plan in force.
    triggers: Option<Triggers>,
    /// Names of other guests.
    hosts: Hosts,
    /// The log can't be written.
    trouble: Option<Trouble>,
    /// When a batch was written.
    written: Option<Instant>,
    /// Since when nothing has happened; `None`: all that there is to be done about it was done.
    quiet_since: Option<Instant>,
    /// Something could not be received before what was received is written out.
    is_full: bool,
    set: OwnedFd,
    /// Whether pipes and datagrams' sockets are in the set.
    listening: bool,
    /// Whether the channel is waited for to become writable.
    channel_flags: epoll::EventFlags,
}

impl<'a> Serve<'a> {
    /// All that it works with.
    pub fn new(
        options: &'a Options,
        channel: Channel,
        sink: Sink<Log>,
        receiving: Receiving,
        (manager, requests): (Option<ManagerSocket>, Option<Requests>),
    ) -> Result<Serve<'a>, ServeError> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).during("make the epoll set")?;
        let channel_flags = epoll::EventFlags::IN;
        epoll::add(&set, channel.fd(), epoll::EventData::new_u64(CHANNEL), channel_flags)
            .during("wait for the channel")?;
        if let Some(manager) = &manager {
            epoll::add(&set, manager.awaited(), epoll::EventData::new_u64(MANAGER), epoll::EventFlags::IN)
                .during("wait for the manager's socket")?;
        }
        let Receiving { datagrams, streams, varlink } = receiving;
        if let Some(varlink) = &varlink {
            epoll::add(&set, varlink.fd(), epoll::EventData::new_u64(VARLINK), epoll::EventFlags::IN)
                .during("wait for journalctl")?;
        }
        if let Some(requests) = &requests {
            epoll::add(&set, requests.fd(), epoll::EventData::new_u64(REQUESTS), epoll::EventFlags::IN)
                .during("wait for the pipes of other inits")?;
        }
        let hosts = Hosts::of(&options.root);
        if let Some(fd) = hosts.fd() {
            epoll::add(&set, fd, epoll::EventData::new_u64(HOSTS), epoll::EventFlags::IN)
                .during("wait for names of guests")?;
        }
        let pipes = Pipes::new().during("make the epoll set of the log pipes")?;
        let (next_plan, stopping, triggers, trouble, listening) = (None, false, None, None, false);
        let (written, is_full) = (None, false);
        Ok(Serve {
            options,
            channel,
            sink,
            datagrams,
            streams,
            varlink,
            manager,
            requests,
            fakes: Vec::new(),
            pipes,
            next_plan,
            stopping,
            triggers,
            hosts,
            trouble,
            written,
            quiet_since: Some(Instant::now()),
            is_full,
            set,
            listening,
            channel_flags,
        })
    }

    /// Serves until init says that the guest stops, or closes the channel.
    pub fn run(mut self) -> Result<(), ServeError> {
        self.turn_fakes();
        self.put_hosts();
        self.write_out();
        if self.stopping {
            return self.end();
        }
        loop {
            self.listen()?;
            // Before the wait: what is not ready at its end has been quiet at least since then.
            let before = Instant::now();
            let is_log_alone = self.wait(before)?;
            if !self.read_channel()? || self.stopping {
                return self.end();
            }
            let all_seen = self.receive();
            if is_log_alone && self.gathers_until().is_some() {
                continue;
            }
            self.write_out();
            if all_seen && self.trouble.is_none() {
                self.flush_partials(before);
            }
            self.turn_varlink(all_seen);
            self.turn_triggers();
            self.turn_manager();
            self.turn_requests();
            self.turn_fakes();
            if self.hosts.has_changed() {
                self.put_hosts();
            }
            self.channel.send_pending();
            self.rest_if_quiet();
        }
    }

    /// Until when what was received waits for more; `None`: it is written out now, since the last batch was some time
    /// ago, or there is enough for one, or somebody waits for it.
    fn gathers_until(&self) -> Option<Instant> {
        let until = self.written? + GATHER;
        let gathers = self.trouble.is_none()
            && !self.is_full
            && self.next_plan.is_none()
            && !self.sink.is_written_out()
            && !self.sink.has_a_batch()
            && Instant::now() < until;
        gathers.then_some(until)
    }

    /// Does what journalctl asks for, when everything that came before is written out: `all_seen` says that nothing is
    /// left to be received.
    fn turn_varlink(&mut self, mut all_seen: bool) {
        let Some(varlink) = &mut self.varlink else { return };
        let asked = match varlink.turn() {
            Ok(asked) => asked,
            Err(error) => return self.complain(&format!("journalctl can't be answered: {error}")),
        };
        if asked.is_empty() {
            return;
        }
        // What an asker logged before may have come since we last looked; others may log without end.
        let wants_all = asked.iter().any(|asked| asked.wish == Wish::Sync);
        let until = Instant::now() + SYNC_TURNS;
        while !all_seen || wants_all {
            all_seen = self.receive();
            self.write_out();
            if all_seen || self.trouble.is_some() || Instant::now() >= until {
                break;
            }
        }
        // Who asks for the same is answered by one deed: many askers take no longer than one.
        let mut done: Vec<(Wish, io::Result<()>)> = Vec::new();
        for asked in &asked {
            if done.iter().all(|(wish, _)| *wish != asked.wish) {
                done.push((asked.wish, self.sink.fulfil(asked.wish)));
            }
            let result = done.iter().find(|(wish, _)| *wish == asked.wish);
            if let (Some(varlink), Some((_, result))) = (&mut self.varlink, result) {
                varlink.answer(asked, result);
            }
        }
    }

    /// Has somebody answer the fakes.
    fn turn_fakes(&mut self) {
        let mut failed = None;
        let set = &self.set;
        for fakes in self.fakes.iter_mut().filter(|fakes| fakes.is_due()) {
            // One that has ended stays readable: it leaves the set before it is forgotten.
            if let Some(awaited) = fakes.awaited() {
                let _ = epoll::delete(set, awaited);
            }
            let turned = fakes.turn();
            let data = epoll::EventData::new_u64(FAKES);
            let waits = fakes
                .awaited()
                .map_or(Ok(()), |awaited| epoll::add(set, awaited, data, epoll::EventFlags::IN));
            failed = turned.and_then(|()| Ok(waits?)).err().or(failed);
        }
        if let Some(error) = failed {
            self.complain(&format!(
                "files of /proc and /sys that are the guest's own can't be answered at the moment: {error}"
            ));
        }
    }

    /// Has names of other guests found by all programs of this one.
    fn put_hosts(&mut self) {
        if let Err(error) = self.hosts.put() {
            self.complain(&format!("/etc/hosts doesn't have the other guests' names: {error}"));
        }
    }

    /// Has somebody answer systemd's tools.
    fn turn_manager(&mut self) {
        let Some(manager) = &mut self.manager else { return };
        // One that is no longer there has left the set by itself.
        let _ = epoll::delete(&self.set, manager.awaited());
        let turned = manager.turn();
        let data = epoll::EventData::new_u64(MANAGER);
        let waits = epoll::add(&self.set, manager.awaited(), data, epoll::EventFlags::IN);
        if let Err(error) = turned.and_then(|()| Ok(waits?)) {
            self.complain(&format!("systemctl and its kin can't be answered: {error}"));
        }
    }

    /// Does what is asked over pipes, or due.
    fn turn_requests(&mut self) {
        let mut said = Vec::new();
        if let Some(requests) = &mut self.requests {
            requests.turn(&mut |line| said.push(line));
        }
        self.say_all(&said);
    }

    /// Does what a signal means that init leaves to us.
    fn signalled(&mut self, signal: u8, from: Sender) {
        let mut said = Vec::new();
        if let Some(requests) = &mut self.requests {
            requests.signal(signal, from, &mut |line| said.push(line));
        }
        self.say_all(&said);
    }

    fn say_all(&mut self, lines: &[String]) {
        if !lines.is_empty() {
            lines.iter().for_each(|line| self.complain(line));
            self.write_out();
        }
    }

    /// Watches the timers and path units of a plan, in place of those before, lists its units for people, and
    /// gives it to whoever answers systemd's tools.
    pub fn follow_plan(&mut self, plan: BorrowedFd<'_>) {
        let place = |path: &str| self.options.root.join(path.trim_start_matches('/'));
        let bytes = match read_plan(plan) {
            Ok(bytes) => bytes,
            Err(error) => return self.complain(&format!("the plan can't be read: {error}")),
        };
        let page = place(paths::STATUS);
        let followed = self.manager.as_mut().map_or(Ok(()), |manager| manager.set_plan(plan, &bytes, page));
        let mut said = Vec::new();
        let requests = self.requests.as_mut();
        let known = requests.map_or(Ok(()), |requests| requests.set_plan(plan, &mut |line| said.push(line)));
        self.say_all(&said);
        let listed = names::publish(&self.options.root, &bytes);
        let triggers = Triggers::new(bytes, place(paths::STATUS)).and_then(|triggers| {
            triggers.join(&self.set, TRIGGERS)?;
            Ok(triggers)
        });
        match triggers {
            Ok(triggers) => self.triggers = Some(triggers),
            Err(error) => self.complain(&format!("timers and paths can't be watched: {error}")),
        }
        if let Err(error) = followed.and(known) {
            self.complain(&format!("systemctl, telinit and their kin are not told of the new plan: {error}"));
        }
        if let Err(error) = listed {
            self.complain(&format!("{}: can't write the list of unit names: {error}", paths::UNITS));
        }
    }

    /// Has init start what is due, and know what main processes services have.
    fn turn_triggers(&mut self) {
        let Some(triggers) = &mut self.triggers else { return };
        let mut complaints = Vec::new();
        for due in triggers.turn(&mut |line| complaints.push(line)) {
            self.channel.trigger(triggers.plan(), due.unit.0, due.timer.0);
        }
        for (unit, pid) in triggers.main_processes(&mut |line| complaints.push(line)) {
            self.channel.main_process(triggers.plan(), unit.0, pid);
        }
        for timer in triggers.over() {
            if let Err(error) = client::tell(ControlOp::Stop, &timer) {
                complaints.push(format!("{timer} has elapsed and can't be stopped: {error}"));
            }
        }
        self.say_all(&complaints);
    }

    /// Puts pipes and /dev/log into the set, or takes them out: nothing is received while it could not be kept, or
    /// would be counted to the wrong plan.
    fn listen(&mut self) -> Result<(), ServeError> {
        let wanted = self.trouble.is_none() && self.next_plan.is_none();
        if wanted != self.listening {
            let datagrams = self.datagrams.iter().map(|socket| (DATAGRAM_SOCKETS, socket.fd()));
            for (token, fd) in datagrams.chain([(PIPES, self.pipes.fd()), (STREAMS, self.streams.fd())]) {
                let result = match wanted {
                    true => {
                        epoll::add(&self.set, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
                    }
                    false => epoll::delete(&self.set, fd),
                };
                result.during("change the epoll set")?;
            }
            self.listening = wanted;
        }
        let flags = match self.channel.has_pending() {
            true => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            false => epoll::EventFlags::IN,
        };
        if flags != self.channel_flags {
            epoll::modify(&self.set, self.channel.fd(), epoll::EventData::new_u64(CHANNEL), flags)
                .during("change the epoll set")?;
            self.channel_flags = flags;
        }
        self.await_syslogd();
        Ok(())
    }

    /// Has the wait end once when the guest's syslogd has room again for what waits for it.
    fn await_syslogd(&mut self) {
        let Some(socket) = self.sink.waits_for() else { return };
        let flags = epoll::EventFlags::OUT | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(SYSLOGD);
        // A syslogd that was started anew has another socket, which is not in the set. One that can't be waited for
        // is tried again with the next line.
        if epoll::modify(&self.set, socket, data, flags).is_err() {
            let _ = epoll::add(&self.set, socket, data, flags);
        }
    }

    /// The one wait. True: nothing but the log woke it.
    fn wait(&mut self, now: Instant) -> Result<bool, ServeError> {
        if self.channel.has_received() {
            return Ok(false);
        }
        let partial = self.sink.oldest_partial().filter(|_| self.listening).map(|grew| grew + PARTIAL_AGE);
        let retry = self.trouble.as_ref().map(|trouble| trouble.retry);
        let manager = self.manager.as_ref().and_then(ManagerSocket::deadline);
        // By the clock on the wall, and so looked at again now and then: it may be set.
        let due = self.requests.as_ref().and_then(Requests::deadline);
        let due =
            due.map(|at| now + at.duration_since(SystemTime::now()).unwrap_or_default().min(WALL_CLOCK));
        let fakes = self.fakes.iter().filter_map(Fakes::deadline);
        let others = manager.into_iter().chain(due).chain(fakes).chain(self.gathers_until());
        let others = others.chain(self.quiet_since.map(|since| since + resting::AFTER));
        let timeout = partial.into_iter().chain(retry).chain(others).min().map(|at| {
            // Rounded up: a wait that ends too early is made again for nothing.
            at.saturating_duration_since(now) + Duration::from_millis(1)
        });
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 11];
        match epoll::wait(&self.set, &mut events, timeout.as_ref()) {
            Ok((events, _)) => {
                if !events.is_empty() {
                    self.quiet_since = Some(Instant::now());
                }
                let is_log = |token| matches!(token, PIPES | DATAGRAM_SOCKETS | STREAMS);
                Ok(!events.is_empty() && events.iter().all(|event| is_log(event.data.u64())))
            }
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error).during("wait"),
        }
    }

    /// Handles what init says. False: it closed the channel.
    fn read_channel(&mut self) -> Result<bool, ServeError> {
        loop {
            match self.channel.next().during("receive from init")? {
                Next::Message(message) => self.handle(message),
                Next::Nothing => return Ok(true),
                Next::Closed => return Ok(false),
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match (message.op, message.fd) {
            (ChannelOp::LogPipe, Some(pipe)) => {
                if let Err(error) = self.pipes.add(message.unit, pipe) {
                    self.complain(&format!("a unit's output can't be received: {error}"));
                }
            }
            (ChannelOp::Plan, Some(plan)) => self.take_plan(plan),
            (ChannelOp::Stopping, _) => {
                utmp::stopping(&self.options.root);
                ShutdownKind::from_code(message.argument as u8).into_iter().for_each(upward::tell_end);
                self.stopping = true;
            }
            (ChannelOp::Signal, _) => {
                let from = if message.argument == 0 { Sender::Outside } else { Sender::Inside };
                self.signalled(message.unit as u8, from);
            }
            _ => (),
        }
    }

    /// Indices are of this plan from now on. What was received before is written out by the old one's names.
    fn take_plan(&mut self, plan: OwnedFd) {
        let mut next = NextPlan::read(self.options, plan);
        let before = self.next_plan.as_ref().map_or(self.sink.units(), |next| &next.units);
        self.pipes.renumber(|unit| match unit {
            NO_UNIT => NO_UNIT,
            unit => next.units.index_or_gone(before.name(unit)),
        });
        if let Some(plan) = &next.plan {
            self.follow_plan(plan.as_fd());
        }
        self.next_plan = Some(next);
    }

    /// Writes out, and lets a plan that waits for it come into force.
    fn write_out(&mut self) {
        if self.trouble.as_ref().is_some_and(|trouble| Instant::now() < trouble.retry) {
            return;
        }
        if !self.sink.is_written_out() {
            self.written = Some(Instant::now());
        }
        let written = self.sink.write_out();
        speak(&self.sink.take_spoken());
        match written {
            Ok(()) => {
                if let Some(trouble) = self.trouble.take() {
                    let seconds = trouble.since.elapsed().as_secs();
                    self.complain(&format!("the log could not be kept for {seconds} s; nothing was lost"));
                    return self.write_out();
                }
                self.switch_plan();
            }
            Err(error) => self.be_in_trouble(&format!("{} can't be written", paths::LOG_DIR), &error),
        }
    }

    /// Nothing can be received or written at the moment: said once, tried again until it can.
    fn be_in_trouble(&mut self, what: &str, error: &io::Error) {
        let now = Instant::now();
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        if self.trouble.is_none() {
            let text = format!(
                "{what}: {error}: make room; until then output is kept in memory, and services wait when that is full"
            );
            say_on_console(&self.options.root, &text);
        }
        self.trouble = Some(Trouble { since, retry: now + RETRY });
    }

    fn switch_plan(&mut self) {
        if !self.sink.is_written_out() {
            return;
        }
        let Some(next) = self.next_plan.take() else { return };
        let switched =
            self.sink.set_units(next.units).map_err(|e| e.to_string()).and_then(|()| match &next.plan {
                Some(plan) => {
                    hold(self.options, &mut self.channel, held::PLAN, plan.as_fd()).map_err(|e| e.to_string())
                }
                None => Ok(()),
            });
        if let Err(error) = switched {
            self.complain(&format!("a new plan can't be taken in: {error}"));
        }
    }

    /// Logs lines whose end does not come.
    fn flush_partials(&mut self, before: Instant) {
        let Some(moment) = before.checked_sub(PARTIAL_AGE) else { return };
        if self.sink.oldest_partial().is_some_and(|grew| grew < moment) {
            if let Err(error) = self.sink.flush_older_than(moment) {
                self.complain(&format!("unfinished lines can't be finished: {error}"));
            }
            self.write_out();
        }
    }

    /// Says something about ourselves, in the log.
    fn complain(&mut self, text: &str) {
        if self.sink.note(text).is_err() {
            say_on_console(&self.options.root, text);
        }
    }

    /// If the guest stops, this is the last chance for everything: no process is left that could write more. Else
    /// init has closed the channel, and a successor goes on with what is not written.
    fn end(mut self) -> Result<(), ServeError> {
        self.trouble = None;
        let until = Instant::now() + LAST_TURNS;
        self.listening = true;
        loop {
            self.write_out();
            if self.trouble.is_some() || !self.stopping {
                break;
            }
            let all_seen = self.receive();
            if all_seen && self.sink.is_written_out() {
                break;
            }
            // Later than that only where the machine hardly lets us run: what the pipes held is received then.
            if Instant::now() >= until {
                self.write_out();
                break;
            }
        }
        if self.stopping && self.trouble.is_none() && self.sink.flush_older_than(Instant::now()).is_ok() {
            self.write_out();
        }
        if self.trouble.is_some() {
            let text = format!("{} bytes of log are lost: there was no room for them", self.sink.waiting());
            say_on_console(&self.options.root, &text);
        }
        Ok(())
    }
}
