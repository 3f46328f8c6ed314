//! Memory of PID 1 with 100 running services, and of all that runs beside it to keep them.

use std::fs;
use std::thread;
use std::time::Duration;

use hostel_tests::Guest;
use hostel_tests::host;
use hostel_tests::memory;
use hostel_tests::oracle::Nspawn;
use hostel_tests::run::until;

use super::Table;
use crate::shell::Error;

/// Services that run.
const SERVICES: usize = 100;
/// How long a boot may go on after that, before memory is measured.
const SETTLE: Duration = Duration::from_secs(5);
/// How long they may take to be there.
const LIMIT: Duration = Duration::from_secs(60);

/// Private dirty memory in KiB: of PID 1 (with its memfds), and of it with its helpers.
pub fn table() -> Result<Table, Error> {
    let mut builder = Guest::debian12("bench-memory");
    for number in 0..SERVICES {
        builder = builder
            .wanted_unit(&format!("sleeper{number}.service"), "[Service]\nExecStart=/bin/sleep infinity\n");
    }
    let mut guest = builder.create();
    let mut table = Table::new(
        &format!("Private dirty memory with {SERVICES} services"),
        &["PID 1 KiB", "with helpers KiB"],
    );

    guest.start();
    wait_for_sleepers(guest.init)?;
    let init = memory::own_kib(guest.init);
    let helpers = guest.keepers().into_iter().chain(host::wardens(&guest.name)).map(memory::own_kib);
    table.row("hostel", &[Some(init as f64), Some((init + helpers.sum::<u64>()) as f64)]);
    guest.stop();

    let name = format!("bench-memory-{}", std::process::id());
    let nspawn =
        Nspawn::start(&guest.shared_root(), &name).map_err(|error| Error::Wrong(error.to_string()))?;
    wait_for_sleepers(nspawn.init)?;
    let init = memory::own_kib(nspawn.init);
    let helpers = in_namespace_of(nspawn.init, &["systemd-journal", "systemd-logind"]);
    let helpers: u64 = helpers.into_iter().map(memory::own_kib).sum();
    table.row("systemd", &[Some(init as f64), Some((init + helpers) as f64)]);
    table.note("Helpers: the warden and the keeper; systemd-journald and systemd-logind.".into());
    nspawn.stop().map_err(|error| Error::Wrong(error.to_string()))?;
    Ok(table)
}

fn wait_for_sleepers(init: u32) -> Result<(), Error> {
    let there = until(LIMIT, || (in_namespace_of(init, &["sleep"]).len() >= SERVICES).then_some(()));
    there.ok_or_else(|| Error::Wrong(format!("the {SERVICES} services never ran")))?;
    // Between a fork and its exec the pages of PID 1 are shared, and count as nobody's own.
    thread::sleep(SETTLE);
    Ok(())
}

/// Processes with one of the names in the pid namespace of a guest's PID 1.
fn in_namespace_of(init: u32, names: &[&str]) -> Vec<u32> {
    let namespace = fs::read_link(format!("/proc/{init}/ns/pid")).ok();
    let is_one = |pid: &u32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.contains(&comm.trim()) && fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == namespace
    };
    host::all_pids().into_iter().filter(is_one).collect()
}
