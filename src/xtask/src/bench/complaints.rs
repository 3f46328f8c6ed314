//! Boots of each family of guests: lines of their logs that complain about what a guest lacks, beside the same roots under
//! systemd-nspawn and LXC.
//!
//! Counted are lines of the console and of the log that name something that a guest lacks and some complaint
//! ([`complaints`]). Each of Hostel's is printed, so that it can be read.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use hostel_tests::cache::{
    DEBIAN12, DEBIAN12_OPENRC, DEBIAN12_RUNIT, DEBIAN12_SYSV, DEBIAN13, Distribution, SMALL,
};
use hostel_tests::oracle::{self, Nspawn};
use hostel_tests::run::run;
use hostel_tests::{Guest, complaints, small};

use super::boot::Lxc;
use super::root::Scratch;
use super::{Table, probe};
use crate::guests;
use crate::shell::{About, Error};

/// The roots.
const FAMILIES: [Distribution; 6] =
    [DEBIAN12, DEBIAN13, DEBIAN12_SYSV, DEBIAN12_OPENRC, DEBIAN12_RUNIT, SMALL];
/// How long a boot gets before its log is read; that of systemd's own is waited for.
const SETTLE: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(90);
/// What a guest with journalctl has logged; the kernel's own lines are the host's.
const JOURNAL: &str = "journalctl -b -o cat --no-pager _TRANSPORT=journal + _TRANSPORT=stdout + _TRANSPORT=syslog \
                       2>/dev/null; cat /var/log/syslog /var/log/messages 2>/dev/null; true";

/// Lines by family.
pub fn table() -> Result<Table, Error> {
    let names: Vec<&'static str> = FAMILIES.iter().map(|family| family.name).collect();
    let mut table = Table::without_ratios("Boot logs: lines that complain about what a guest lacks", &names);
    let mut counted = [const { Vec::new() }; 3];
    for family in FAMILIES {
        if family.name != SMALL.name {
            guests::make(&family)?;
        }
        let ours = hostel(family)?;
        table.note(format!("{}: {} under Hostel", family.name, ours.len()));
        ours.iter().for_each(|line| table.note(format!("    {line}")));
        counted[0].push(Some(ours.len() as f64));
        for (at, boot) in
            [nspawn as fn(Distribution) -> Result<Vec<String>, Error>, lxc].into_iter().enumerate()
        {
            let lines = boot(family);
            match &lines {
                Ok(lines) => lines.iter().take(3).for_each(|line| {
                    table.note(format!("    {}: {line}", ["nspawn", "lxc"][at]));
                }),
                Err(error) => table.note(format!("    {}: {error}", ["nspawn", "lxc"][at])),
            }
            counted[at + 1].push(lines.ok().map(|lines| lines.len() as f64));
        }
    }
    for (name, counts) in ["hostel", "systemd-nspawn", "lxc"].into_iter().zip(counted) {
        table.row(name, &counts);
    }
    Ok(table)
}

fn hostel(family: Distribution) -> Result<Vec<String>, Error> {
    let guest =
        if family.name == SMALL.name { Guest::small("complaints") } else { Guest::of(family, "complaints") };
    Ok(complaints::of(&guest.start())?)
}

/// The root of a family, as peers boot it.
fn root_of(family: Distribution, scratch: &Scratch) -> Result<PathBuf, Error> {
    if family.name != SMALL.name {
        return Ok(family.root());
    }
    let root = scratch.join("root");
    small::make(&root).about("make", &root)?;
    Ok(root)
}

fn nspawn(family: Distribution) -> Result<Vec<String>, Error> {
    let scratch = Scratch::new("complaints")?;
    let name = format!("complaints-{}", std::process::id());
    let failed = |error: oracle::OracleError| Error::Wrong(error.to_string());
    let guest = Nspawn::start(&root_of(family, &scratch)?, &name).map_err(failed)?;
    let _ = oracle::wait_until_up(guest.init, SETTLE);
    thread::sleep(SETTLE / 2);
    let console = fs::read_to_string(guest.console()).unwrap_or_default();
    let log = guest.ask(&["sh", "-c", JOURNAL]).map_err(failed)?;
    Ok(complaints::among(&[console, log].join("\n")))
}

fn lxc(family: Distribution) -> Result<Vec<String>, Error> {
    let scratch = Scratch::new("complaints-lxc")?;
    let name = format!("complaints-lxc-{}", std::process::id());
    let guest = Lxc::start(&root_of(family, &scratch)?, &name, &scratch)?;
    let init = probe::find_init(&name, LIMIT).ok_or_else(|| Error::Wrong("no PID 1 appeared".into()))?;
    let _ = oracle::wait_until_up(init, SETTLE);
    thread::sleep(SETTLE / 2);
    let console = fs::read(guest.console()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut inside = Command::new("nsenter");
    inside.args(["-t", &init.to_string(), "-m", "-u", "-i", "-n", "-p", "sh", "-c", JOURNAL]);
    let log = run(&mut inside, LIMIT)?.stdout;
    Ok(complaints::among(&[console.unwrap_or_default(), log].join("\n")))
}
