//! Interface Manager.

use super::super::value::Value;
use super::super::world::World;
use super::{Row, timestamp};
use crate::compile::lookup;
use hostel_contract::status::{ActiveState, GuestState};

/// What the manager's properties are made of.
pub struct SystemView<'a> {
    /// The guest.
    pub world: &'a World,
    /// What was set with `systemctl set-environment`, with what init starts everything with.
    pub environment: &'a [String],
    /// Jobs that are known.
    pub jobs: u32,
    /// The default's name.
    pub installed_jobs: u32,
}

impl SystemView<'_> {
    /// A property.
    pub fn value(&self, row: &Row) -> Value {
        self.computed(row.name).unwrap_or_else(|| row.default())
    }

    fn computed(&self, name: &str) -> Option<Value> {
        let header = self.world.header();
        let moment = |usec: u64| self.world.moment(usec / 1000);
        Some(match name {
            "Version" => version().into(),
            "Virtualization" => crate::exec::container().into(),
            "Architecture" => architecture().into(),
            "SystemState" => self.system_state().into(),
            "NNames" => (self.world.plan().map_or(0, |plan| plan.len()) as u32).into(),
            "NFailedUnits" => self.failed().into(),
            "NJobs" => self.jobs.into(),
            "NInstalledJobs" => self.installed_jobs.into(),
            "Environment" => Value::strings(self.environment.iter().cloned()),
            "UnitPath" => Value::strings(lookup::search_path()),
            "UserspaceTimestamp" | "UserspaceTimestampMonotonic" => {
                timestamp(moment(header?.began_usec), name)
            }
            "UnitsLoadFinishTimestamp"
            | "UnitsLoadFinishTimestampMonotonic"
            | "UnitsLoadTimestamp"
            | "UnitsLoadTimestampMonotonic"
            | "GeneratorsFinishTimestamp"
            | "GeneratorsFinishTimestampMonotonic" => timestamp(moment(header?.plan_usec), name),
            "GeneratorsStartTimestamp"
            | "GeneratorsStartTimestampMonotonic"
            | "UnitsLoadStartTimestamp"
            | "UnitsLoadStartTimestampMonotonic" => timestamp(moment(header?.began_usec), name),
            "FinishTimestamp" | "FinishTimestampMonotonic" => timestamp(moment(header?.ready_usec), name),
            _ => return None,
        })
    }

    fn failed(&self) -> u32 {
        let ids =
            self.world.plan().into_iter().flat_map(|plan| (0..plan.len() as u16).map(hostel_plan::UnitId));
        ids.filter(|id| self.world.row(*id).active == ActiveState::Failed.code()).count() as u32
    }

    /// systemctl(1), `is-system-running`.
    pub fn system_state(&self) -> &'static str {
        match self.world.state() {
            GuestState::Starting | GuestState::NoPlan => "initializing",
            GuestState::Booting => "starting",
            GuestState::Running | GuestState::Degraded if self.failed() > 0 => "degraded",
            GuestState::Running | GuestState::Degraded => "running",
            GuestState::Stopping | GuestState::Ended => "stopping",
        }
    }
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") { "x86-64" } else { "arm64" }
}

/// The number that the version begins with.
pub fn major_version() -> u32 {
    let version = version();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    digits.parse().unwrap_or(0)
}

/// The version of the systemd that the guest has, for clients that look whether it can do something: its library has
/// it in its name. A guest without one has clients of none.
pub fn version() -> String {
    const FOLDERS: [&str; 4] = [
        "/usr/lib/systemd",
        "/lib/systemd",
        "/usr/lib/x86_64-linux-gnu/systemd",
        "/usr/lib/aarch64-linux-gnu/systemd",
    ];
    let library = |dir: &&str| {
        std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("libsystemd-shared-")?.strip_suffix(".so")?;
            Some(version.to_owned())
        })
    };
    FOLDERS.iter().find_map(library).unwrap_or_else(|| "252".into())
}
