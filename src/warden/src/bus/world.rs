//! What is known of the guest at this moment: the plan in force, init's status page, and the unit files.
//!
//! Reads only. The plan comes from `serve` over the link, the states from the page; they belong together when the
//! page has the plan's checksum. A unit that is not in the plan (a template's instance that nobody names, or one that
//! was installed since) is looked up in its files, as systemd loads a unit when it is first asked for.

use crate::compile::lookup::{Files, Lookup};
use crate::ctl::page::{self, Raw};
use crate::page::UnitTimes;
use crate::timer;
use hostel_contract::status::{ActiveState, GuestState, StatusHeader, StatusRow, SubState};
use hostel_plan::{EdgeKind, Plan, ServiceType, SettingKey, Unit, UnitId, UnitKind, unit_flags};
use rustix::time::{ClockId, clock_gettime};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// How a unit names others, so that systemd keeps those in memory with it.
const NAMED: [EdgeKind; 10] = [
    EdgeKind::Requires,
    EdgeKind::Requisite,
    EdgeKind::Wants,
    EdgeKind::BindsTo,
    EdgeKind::PartOf,
    EdgeKind::Conflicts,
    EdgeKind::After,
    EdgeKind::OnFailure,
    EdgeKind::Triggers,
    EdgeKind::PropagatesReloadTo,
];

/// Edges to those that hold a unit.
const HOLDERS: [EdgeKind; 8] = [
    EdgeKind::RequiredBy,
    EdgeKind::RequisiteOf,
    EdgeKind::WantedBy,
    EdgeKind::BoundBy,
    EdgeKind::UpheldBy,
    EdgeKind::TriggeredBy,
    EdgeKind::OnFailureOf,
    EdgeKind::OnSuccessOf,
];

/// A plan, its names, and the rows that belong to it.
pub struct World {
    plan: Vec<u8>,
    checksum: u64,
    /// Other names of units.
    aliases: HashMap<String, UnitId>,
    /// Services of Type=dbus by the names that they own while they run.
    bus_names: BTreeMap<String, UnitId>,
    page: Option<Raw>,
    /// Which units systemd would have in memory, once that was asked for.
    loaded: OnceCell<Vec<bool>>,
    lookup: Rc<Lookup>,
    /// Units of the plan of which there is no file any more: they are there as long as they run.
    without_file: HashSet<UnitId>,
    /// A plan of the unit that was last looked up in its files, and its name.
    apart: Option<(String, Vec<u8>)>,
    /// CLOCK_REALTIME less CLOCK_MONOTONIC, in microseconds.
    epoch: u64,
}

/// One unit as it is now.
pub struct Subject<'a> {
    /// Its name; of a unit that nothing defines, the one that was asked for.
    pub name: String,
    /// What its files say. None: there are none.
    pub unit: Option<Unit<'a>>,
    /// Its state. All zero for a unit that is not in the plan.
    pub row: StatusRow,
    /// Index in the plan in force.
    pub id: Option<UnitId>,
    /// Its files, once they were asked for.
    files: OnceCell<Files>,
    /// The rest.
    pub world: &'a World,
}

impl World {
    /// Of a plan's bytes.
    pub fn new(plan: Vec<u8>) -> World {
        let mut world = World {
            plan: Vec::new(),
            checksum: 0,
            aliases: HashMap::new(),
            bus_names: BTreeMap::new(),
            page: None,
            loaded: OnceCell::new(),
            lookup: Rc::new(Lookup::scan()),
            without_file: HashSet::new(),
            apart: None,
            epoch: 0,
        };
        world.set_plan(plan);
        world
    }

    /// Another plan is in force.
    pub fn set_plan(&mut self, bytes: Vec<u8>) {
        let Ok(plan) = Plan::parse(&bytes) else { return };
        let aliases = plan.units().flat_map(|unit| {
            unit.settings_of(SettingKey::Alias).map(move |alias| (alias.to_owned(), unit.id()))
        });
        self.aliases = aliases.collect();
        let owners = plan
            .units()
            .filter(|unit| unit.kind() == UnitKind::Service && unit.service_type() == ServiceType::Dbus);
        let named =
            owners.filter_map(|unit| Some((unit.setting(SettingKey::BusName)?.to_owned(), unit.id())));
        self.bus_names = named.collect();
        self.checksum = plan.checksum();
        let taken = plan.bytes().len();
        self.plan = bytes;
        self.plan.truncate(taken);
        self.page = None;
        self.forget_files();
    }

    /// Unit files may have changed.
    pub fn forget_files(&mut self) {
        self.take_files(Lookup::scan());
    }

    fn take_files(&mut self, lookup: Lookup) {
        self.lookup = Rc::new(lookup);
        self.apart = None;
        let lookup = Rc::clone(&self.lookup);
        let lost = |unit: &Unit<'_>| {
            let of_file = matches!(
                unit.kind(),
                UnitKind::Service | UnitKind::Socket | UnitKind::Timer | UnitKind::Path | UnitKind::Mount
            );
            let defined = !unit.has(unit_flags::NOT_FOUND | unit_flags::MASKED | unit_flags::SKIP);
            of_file && defined && !lookup.has(unit.name())
        };
        let plan = self.plan();
        let lost = plan.iter().flat_map(|plan| plan.units()).filter(lost).map(|unit| unit.id()).collect();
        self.without_file = lost;
    }

    /// Looks at the page. False: there is none that fits the plan.
    pub fn look(&mut self) -> bool {
        let Some(page) = page::raw().filter(|page| page.header.plan_checksum == self.checksum) else {
            return false;
        };
        self.page = Some(page);
        self.loaded = OnceCell::new();
        self.keep_epoch();
        true
    }

    /// Looks whether unit files have come or gone: whoever asks hears of those that are there now.
    pub fn look_at_files(&mut self) {
        if self.lookup.is_stale() {
            self.take_files(self.lookup.again());
        }
    }

    /// The offset is kept unless somebody sets the clock: moments of the past stay what they were said to be.
    fn keep_epoch(&mut self) {
        let usec = |id| {
            let time = clock_gettime(id);
            time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
        };
        let epoch = usec(ClockId::Realtime).saturating_sub(usec(ClockId::Monotonic));
        if epoch.abs_diff(self.epoch) > 1_000_000 {
            self.epoch = epoch;
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<Plan<'_>> {
        (!self.plan.is_empty()).then(|| Plan::of(&self.plan))
    }

    /// The guest's part of the page.
    pub fn header(&self) -> Option<&StatusHeader> {
        self.page.as_ref().map(|page| &page.header)
    }

    /// The guest's state.
    pub fn state(&self) -> GuestState {
        self.header().and_then(|header| GuestState::from_code(header.state)).unwrap_or(GuestState::Starting)
    }

    /// A unit's row; all zero where there is none.
    pub fn row(&self, id: UnitId) -> StatusRow {
        self.page.as_ref().map(|page| page.row(id.index())).unwrap_or_else(page::no_row)
    }

    /// Services of Type=dbus, by the names that they own while they run.
    pub fn bus_names(&self) -> &BTreeMap<String, UnitId> {
        &self.bus_names
    }

    /// The unit files.
    pub fn files(&self) -> &Rc<Lookup> {
        &self.lookup
    }

    /// Index in the plan of a unit, by any of its names.
    pub fn find(&self, name: &str) -> Option<UnitId> {
        let id = self.plan()?.find(name).map(|unit| unit.id()).or_else(|| self.aliases.get(name).copied())?;
        let row = self.row(id);
        let is_over = row.active == ActiveState::Inactive.code() && row.job == 0;
        (!is_over || !self.without_file.contains(&id)).then_some(id)
    }

    /// Would systemd have it in memory? It keeps what is not inactive or has a job, and what those name.
    pub fn is_loaded(&self, name: &str) -> bool {
        let loaded = self.loaded.get_or_init(|| self.find_loaded());
        self.find(name).is_some_and(|id| loaded.get(id.index()).copied().unwrap_or(false))
    }

    /// Is a unit there, or wanted or triggered by one that is, so that it must not be forgotten? What is only ordered
    /// around it does not hold it.
    pub fn is_held(&self, name: &str) -> bool {
        let Some(plan) = self.plan() else { return false };
        let mut asked: Vec<UnitId> = self.find(name).into_iter().collect();
        let mut seen = HashSet::new();
        while let Some(id) = asked.pop().filter(|_| seen.len() < plan.len()) {
            let row = self.row(id);
            if row.active != ActiveState::Inactive.code() || row.job != 0 {
                return true;
            }
            if seen.insert(id) {
                asked.extend(
                    plan.unit(id).iter().flat_map(|unit| HOLDERS.iter().flat_map(|kind| unit.edges(*kind))),
                );
            }
        }
        false
    }

    fn find_loaded(&self) -> Vec<bool> {
        let Some(plan) = self.plan() else { return Vec::new() };
        let mut loaded = vec![false; plan.len()];
        let is_root = |unit: &Unit<'_>| {
            let row = self.row(unit.id());
            row.active != ActiveState::Inactive.code() || row.job != 0
        };
        let mut asked: Vec<UnitId> = plan.units().filter(is_root).map(|unit| unit.id()).collect();
        while let Some(id) = asked.pop() {
            let (Some(unit), Some(seen)) = (plan.unit(id), loaded.get_mut(id.index())) else { continue };
            if !std::mem::replace(seen, true) {
                asked.extend(NAMED.iter().flat_map(|kind| unit.edges(*kind)));
            }
        }
        loaded
    }

    /// A unit of the plan.
    pub fn known(&self, id: UnitId) -> Option<Subject<'_>> {
        let unit = self.plan()?.unit(id)?;
        let name = unit.name().to_owned();
        let (unit, row, files) = (Some(unit), self.row(id), OnceCell::new());
        Some(Subject { name, unit, row, id: Some(id), files, world: self })
    }

    /// A unit by any of its names: of the plan, else of its files, else one that there isn't.
    pub fn subject(&mut self, name: &str) -> Subject<'_> {
        let canonical = self.lookup.canonical(name);
        let is_apart = self.find(name).is_none();
        if is_apart && self.apart.as_ref().is_none_or(|(apart, _)| *apart != canonical) {
            self.apart = self.lookup.plan_of(&canonical).map(|bytes| (canonical.clone(), bytes));
        }
        let known = self.find(name).and_then(|id| self.known(id));
        known.unwrap_or_else(|| self.apart(canonical))
    }

    /// A unit that is not in the plan.
    fn apart(&self, name: String) -> Subject<'_> {
        let unit = self.apart.as_ref().filter(|(apart, _)| *apart == name);
        let unit = unit.and_then(|(_, bytes)| Plan::parse(bytes).ok()).and_then(|plan| plan.find(&name));
        Subject { name, unit, row: page::no_row(), id: None, files: OnceCell::new(), world: self }
    }

    /// A moment of the page as (realtime, monotonic) in microseconds; 0 for never.
    pub fn moment(&self, monotonic_ms: u64) -> (u64, u64) {
        match monotonic_ms * 1000 {
            0 => (0, 0),
            usec => (self.epoch + usec, usec),
        }
    }
}

impl Subject<'_> {
    /// Its files.
    pub fn files(&self) -> &Files {
        self.files.get_or_init(|| self.world.lookup.files(&self.name))
    }

    /// What it says of itself (STATUS=).
    pub fn text(&self) -> String {
        let page = self.id.and_then(|id| Some(self.world.page.as_ref()?.text(id.index())));
        page.unwrap_or_default()
    }

    /// LoadState.
    pub fn load_state(&self) -> &'static str {
        let Some(unit) = &self.unit else { return if self.files().masked { "masked" } else { "not-found" } };
        if unit.has(unit_flags::MASKED) {
            "masked"
        } else if unit.has(unit_flags::NOT_FOUND) {
            if self.files().fragment.is_empty() { "not-found" } else { "bad-setting" }
        } else {
            "loaded"
        }
    }

    /// ActiveState.
    pub fn active(&self) -> ActiveState {
        ActiveState::from_code(self.row.active).unwrap_or(ActiveState::Inactive)
    }

    /// SubState. Init does not know that a timer has nothing left to wait for.
    pub fn sub(&self) -> SubState {
        let sub = SubState::from_code(self.row.sub).unwrap_or(SubState::Dead);
        let timer = self.unit.as_ref().filter(|unit| unit.kind() == UnitKind::Timer);
        let (Some(timer), SubState::Waiting) = (timer, sub) else { return sub };
        let triggered = timer.edges(EdgeKind::Triggers).next().map(|id| self.world.row(id));
        let began = self.world.header().map_or(0, |header| header.began_usec);
        let since = self.row.since_ms.saturating_mul(1000);
        match timer::has_elapsed(timer, since, began, UnitTimes::of(triggered), timer::Now::read()) {
            true => SubState::Elapsed,
            false => sub,
        }
    }

    /// The last value of a setting.
    pub fn setting(&self, key: SettingKey) -> Option<&str> {
        self.unit.as_ref().and_then(|unit| unit.setting(key))
    }

    /// Description=, or the name.
    pub fn description(&self) -> &str {
        self.setting(SettingKey::Description).unwrap_or(&self.name)
    }

    /// Does it have this flag?
    pub fn has(&self, flag: u32) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.has(flag))
    }
}
