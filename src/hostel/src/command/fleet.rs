//! `start-all` and `stop-all`: many guests, in the order that they depend on each other, as many at once as may be.
//!
//! Each guest is started and stopped by a `hostel` of its own, so that one that hangs or is killed harms no other.

use crate::cli::{StartAllArgs, StopAllArgs};
use crate::config::Config;
use crate::error::{Doing, Error, Result, exit};
use crate::fleet::{Next, Order};
use crate::launch::say;
use crate::lifecycle::Life;
use crate::name::GuestName;
use crate::places::Places;
use crate::policy::{DEFAULT_MARK, Policy};
use crate::record::Record;
use crate::store::Guest;
use rustix::process::WaitOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts at once, for each processor: a boot computes half of the time.
const STARTS_EACH: usize = 2;
/// Stops at once, all in all: a stop mostly waits.
const STOPS: usize = 64;

/// Guests, each with those that it depends on.
type Depends = BTreeMap<GuestName, BTreeSet<GuestName>>;

/// What came of the guests.
#[derive(Default)]
struct Outcome {
    failed: usize,
    degraded: usize,
}

impl Outcome {
    fn status(&self) -> u8 {
        match (self.failed, self.degraded) {
            (0, 0) => exit::OK,
            (0, _) => exit::DEGRADED,
            _ => exit::FAILED,
        }
    }
}

/// `hostel start-all`.
pub fn start_all(places: &Places, programs: Option<&Path>, args: &StartAllArgs) -> Result<u8> {
    let mut outcome = Outcome::default();
    let policies = policies(places, &mut outcome)?;
    let marks: Vec<&str> = match args.marks.as_slice() {
        [] => vec![DEFAULT_MARK],
        marks => marks.iter().map(GuestName::as_str).collect(),
    };
    let is_marked = |policy: &Policy| policy.marks.iter().any(|mark| marks.contains(&mark.as_str()));
    let wanted = policies.iter().filter(|(_, policy)| args.all || is_marked(policy));
    let wanted: Vec<GuestName> = wanted.map(|(name, _)| name.clone()).collect();
    let depends = with_dependencies(&wanted, &policies, &mut outcome);
    let mut order = Order::new(depends);
    while let Some(name) = order.break_circle() {
        say(&format!(
            "guest {name} depends on itself, by way of others: it is started before them (life.depends)"
        ));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let crew =
        Crew { places, programs, command: "start", most: args.jobs.unwrap_or(processors * STARTS_EACH) };
    crew.work(order, &mut outcome, |name| matches!(Life::look(places, name), Ok(Life::Up(..))))?;
    Ok(outcome.status())
}

/// `hostel stop-all`.
pub fn stop_all(places: &Places, programs: Option<&Path>, args: &StopAllArgs) -> Result<u8> {
    let mut outcome = Outcome::default();
    let policies = policies(places, &mut Outcome::default())?;
    let mut depends = Depends::new();
    for name in Record::names(places)? {
        let policy = policies.get(&name);
        let is_marked =
            |mark: &GuestName| policy.is_some_and(|policy| policy.marks.iter().any(|m| m == mark.as_str()));
        if args.marks.is_empty() || args.marks.iter().any(is_marked) {
            let others = policy.map(|policy| policy.depends.iter().cloned().collect()).unwrap_or_default();
            depends.insert(name, others);
        }
    }
    let mut order = Order::reversed(&depends);
    while order.break_circle().is_some() {}
    let crew = Crew { places, programs, command: "stop", most: args.jobs.unwrap_or(STOPS) };
    crew.work(order, &mut outcome, |_| false)?;
    Ok(outcome.status())
}

/// How each guest of the store is to live. One whose configuration has a mistake is named and counted.
fn policies(places: &Places, outcome: &mut Outcome) -> Result<BTreeMap<GuestName, Policy>> {
    let mut policies = BTreeMap::new();
    for name in Guest::names(places)? {
        match Config::read(places, &name) {
            Ok(config) => drop(policies.insert(name, Policy::of(&config))),
            Err(error) => {
                crate::print_error(&error);
                outcome.failed += 1;
            }
        }
    }
    Ok(policies)
}

/// The guests and, marked or not, all that they depend on.
fn with_dependencies(
    wanted: &[GuestName],
    policies: &BTreeMap<GuestName, Policy>,
    outcome: &mut Outcome,
) -> Depends {
    let mut depends = Depends::new();
    let mut left: Vec<GuestName> = wanted.to_vec();
    while let Some(name) = left.pop() {
        let Some(policy) = policies.get(&name).filter(|_| !depends.contains_key(&name)) else { continue };
        for other in policy.depends.iter().filter(|other| !policies.contains_key(*other)) {
            say(&format!(
                "guest {name} depends on {other}, which doesn't exist (or has a mistake): it isn't waited for"
            ));
            outcome.degraded += 1;
        }
        left.extend(policy.depends.iter().cloned());
        depends.insert(name, policy.depends.iter().cloned().collect());
    }
    depends
}

/// Processes of this tool that work on a guest each.
struct Crew<'a> {
    places: &'a Places,
    programs: Option<&'a Path>,
    command: &'static str,
    most: usize,
}

impl Crew<'_> {
    fn work(&self, mut order: Order, outcome: &mut Outcome, done: impl Fn(&GuestName) -> bool) -> Result<()> {
        let mut working: BTreeMap<i32, GuestName> = BTreeMap::new();
        loop {
            let next = if working.len() < self.most.max(1) { order.next() } else { Next::Wait };
            match next {
                Next::Begin(name) if done(&name) => order.ended(&name, true),
                Next::Begin(name) => drop(working.insert(self.begin(&name)?, name)),
                Next::Skip(name, other) => {
                    say(&format!("guest {name} isn't started: {other}, which it depends on, failed"));
                    outcome.failed += 1;
                }
                Next::Wait => self.reap(&mut working, &mut order, outcome)?,
                Next::End => return Ok(()),
            }
        }
    }

    fn begin(&self, name: &GuestName) -> Result<i32> {
        let own = crate::join::own_program()?;
        let mut command = Command::new(&own);
        command.arg("--run-dir").arg(&self.places.run).arg("--store").arg(&self.places.store);
        if let Some(programs) = self.programs {
            command.arg("--programs").arg(programs);
        }
        command.args([self.command, name.as_str()]).stdin(Stdio::null());
        let child = command.spawn().on("running", &own)?;
        i32::try_from(child.id()).map_err(|_| Error::Invalid("a pid that is no number".into()))
    }

    fn reap(
        &self,
        working: &mut BTreeMap<i32, GuestName>,
        order: &mut Order,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let waited = rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty()));
        let Some((pid, status)) = waited.doing(|| "waiting for those that work on a guest each")? else {
            return Ok(());
        };
        let Some(name) = working.remove(&pid.as_raw_nonzero().get()) else { return Ok(()) };
        let well = match (self.command, status.exit_status().and_then(|status| u8::try_from(status).ok())) {
            (_, Some(exit::OK)) | ("stop", Some(exit::NOT_RUNNING)) => true,
            ("start", Some(exit::DEGRADED)) => {
                outcome.degraded += 1;
                true
            }
            // Stopped, though not in order.
            ("stop", Some(exit::TIMEOUT)) => {
                outcome.degraded += 1;
                true
            }
            _ => {
                outcome.failed += 1;
                false
            }
        };
        order.ended(&name, well || self.command == "stop");
        Ok(())
    }
}
