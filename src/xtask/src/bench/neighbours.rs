//! What a guest that takes all that it can get does to another beside it: a neighbour's latency, in a machine with a stock
//! kernel of Debian's.
//!
//! A machine by plain emulation has hostel, systemd-nspawn and LXC, all with a root of a BusyBox on one disk. Of two guests one
//! storms (`storm.c` says how), and the other answers requests: with limits, and for hostel without them. The peers' limits are
//! the same files of cgroup v2; disk space and inodes they can't limit in a plain directory. Requests are measured between
//! storms too, and each storm is held against the quiet before and after it: the machine that emulates is another one a minute
//! later. So the ratios count, and not the microseconds. `HOSTEL_NEIGHBOURS=lxc` measures one of them alone.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hostel_tests::machine::{Disk, KERNEL12, KERNEL13, Kernel, Said};
use hostel_tests::run::run;

use super::Table;
use super::root::Scratch;
use crate::shell::{About, Error};

const STORM: &str = include_str!("storm.c");
/// What is stormed with.
const STORMS: [&str; 8] = ["fork", "memory", "spin", "disk", "io", "inode", "socket", "dirty"];
/// Seconds of each at most, and requests meanwhile.
const SECONDS: u32 = 60;
const REQUESTS: u32 = 500;
/// Room for roots and for what a storm writes without a limit.
const DISK_MB: u32 = 640;
/// How long the machine may take: by emulation, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(1800);
const COMPILE_LIMIT: Duration = Duration::from_secs(60);
/// Within how much of a quiet machine the neighbour's 99th percentile is to stay.
const GOAL: f64 = 1.10;

/// Limits of the one that storms: a key of guest.toml, or a file of its cgroup, and the value of both.
const LIMITS: [(&str, &str, &str); 8] = [
    ("memory", "memory.max", "100663296"),
    ("swap", "memory.swap.max", "0"),
    ("tasks", "pids.max", "64"),
    ("cpus", "cpuset.cpus", "0"),
    ("cpu-weight", "cpu.weight", "10"),
    ("io", "io.max", "rbps=2097152 wbps=2097152 riops=200 wiops=200"),
    ("disk", "", "64M"),
    ("inodes", "", "2000"),
];
/// The processor that the other one has to itself.
const NEIGHBOURS: &str = "1";
/// The disk, for io.max.
const DEVICE: (&str, &str) = ("/dev/vda", "254:0");

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Hostel,
    Unlimited,
    Nspawn,
    Lxc,
}

const HOSTS: [(Host, &str); 4] = [
    (Host::Hostel, "hostel"),
    (Host::Unlimited, "hostel without limits"),
    (Host::Nspawn, "systemd-nspawn"),
    (Host::Lxc, "lxc"),
];

/// Microseconds, on Debian 13's kernel.
pub fn debian13() -> Result<Table, Error> {
    table(KERNEL13)
}

/// Microseconds, on Debian 12's kernel.
pub fn debian12() -> Result<Table, Error> {
    table(KERNEL12)
}

/// Those that are measured.
fn chosen() -> Result<Vec<(Host, &'static str)>, Error> {
    let Ok(names) = std::env::var("HOSTEL_NEIGHBOURS") else { return Ok(HOSTS.to_vec()) };
    let find = |name: &str| {
        let found = HOSTS.into_iter().find(|(_, known)| *known == name);
        found.ok_or_else(|| Error::Wrong(format!("HOSTEL_NEIGHBOURS: there is no `{name}`")))
    };
    names.split(',').map(find).collect()
}

fn table(kernel: Kernel) -> Result<Table, Error> {
    let hosts = chosen()?;
    let scratch = Scratch::new("neighbours")?;
    let (source, storm) = (scratch.write("storm.c", STORM)?, scratch.join("storm"));
    run(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&storm).arg(source), COMPILE_LIMIT)?
        .success()?;
    let mut files = vec![(storm, "small/bin/storm".into())];
    for peer in ["/usr/bin/systemd-nspawn", "/usr/bin/lxc-start"] {
        files.extend(with_libraries(Path::new(peer))?);
    }
    for (name, script) in [("peer-nspawn", nspawn_script()), ("peer-lxc", lxc_script())] {
        files.push((scratch.write(name, &script)?, format!("bin/{name}")));
    }
    let steps = steps(&hosts);
    let steps: Vec<(&str, &str)> = steps.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let disk = Disk { steps: &steps, files: &files, megabytes: DISK_MB, limit: LIMIT };
    let said = kernel.run_disk(&disk).about("boot", Path::new(kernel.name))?;
    if said.step("prepare").status != 0 {
        return Err(Error::Wrong(format!("the machine can't be prepared: {}", said.step("prepare").said)));
    }
    Ok(shown(kernel, &said, &hosts))
}

/// A program and the libraries that it is linked to, each with its place on the disk.
fn with_libraries(program: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let listed = run(Command::new("ldd").arg(program), COMPILE_LIMIT)?.success()?.stdout;
    let libraries = listed.split_ascii_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let place = |path: &Path| path.strip_prefix("/").unwrap_or(path).to_string_lossy().into_owned();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let own = (program.to_owned(), format!("bin/{name}"));
    Ok(std::iter::once(own).chain(libraries.map(|library| (library.clone(), place(&library)))).collect())
}

/// Values for cgroup files, as a shell's lines; `$group` is the folder.
fn cgroup_lines() -> String {
    let mut lines = String::new();
    for (_, file, value) in LIMITS.iter().filter(|(_, file, _)| !file.is_empty()) {
        let device = if *file == "io.max" { format!("{} ", DEVICE.1) } else { String::new() };
        let _ = writeln!(lines, "echo '{device}{value}' >$group/{file}");
    }
    lines
}

/// `peer-nspawn a|n COMMAND...`: a for the one that storms.
fn nspawn_script() -> String {
    format!(
        "#!/bin/sh\ngroup=/sys/fs/cgroup/nspawn-$1-$$\nmkdir -p $group\nif [ $1 = a ]; then\n{}else echo {NEIGHBOURS} \
         >$group/cpuset.cpus; fi\necho $$ >$group/cgroup.procs\nroot=/nspawn-$1; shift\n\
         exec systemd-nspawn -q --register=no --keep-unit --private-network --resolv-conf=off --timezone=off \
         --link-journal=no --console=pipe -D $root \"$@\" </dev/null\n",
        cgroup_lines()
    )
}

/// `peer-lxc a|n COMMAND...`.
fn lxc_script() -> String {
    let mut limits = String::new();
    for (_, file, value) in LIMITS.iter().filter(|(_, file, _)| !file.is_empty()) {
        let device = if *file == "io.max" { format!("{} ", DEVICE.1) } else { String::new() };
        let _ = writeln!(limits, "echo 'lxc.cgroup2.{file} = {device}{value}'");
    }
    format!(
        "#!/bin/sh\nwhich=$1; shift\nmkdir -p /lxc\n{{\necho lxc.rootfs.path = dir:/lxc-$which\necho lxc.uts.name = $which\n\
         echo lxc.net.0.type = empty\necho lxc.net.0.flags = up\necho lxc.mount.auto = proc sys\necho lxc.apparmor.profile = unconfined\n\
         echo lxc.tty.max = 0\necho lxc.pty.max = 4\nif [ $which = a ]; then\n{limits}else echo lxc.cgroup2.cpuset.cpus = {NEIGHBOURS}; fi\n\
         echo lxc.console.logfile = /lxc/$which.console\n}} >/lxc/$which.conf\nrm -f /lxc/$which.console\n\
         lxc-start -F -n $which -P /lxc -f /lxc/$which.conf -- \"$@\" </dev/null\nstatus=$?; cat /lxc/$which.console; exit $status\n"
    )
}

/// Everything that the machine does.
fn steps(hosts: &[(Host, &str)]) -> Vec<(String, String)> {
    let mut steps = vec![(
        "prepare".to_owned(),
        "for controller in cpu cpuset memory pids io; do echo +$controller >/sys/fs/cgroup/cgroup.subtree_control; done\n\
         chmod 755 /bin/peer-nspawn /bin/peer-lxc /small/bin/storm\n\
         mkdir -p /usr/lib/x86_64-linux-gnu/lxc/rootfs /var/lib/machines /etc/lxc /var/cache /var/log\n\
         for peer in nspawn lxc; do for which in a n; do cp -a /small /$peer-$which; done; done\n\
         for which in a n; do cp -a /small /hostel-$which; hostel create $which --from dir:/hostel-$which && hostel start $which || \
         exit 1; done"
            .to_owned(),
    )];
    for &(host, name) in hosts {
        steps.push((format!("{name} set"), settings(host)));
        let quiet = |number: usize| {
            (quiet_step(name, number), format!("sleep 0.5; {} ask {REQUESTS}", call(host, 'n')))
        };
        steps.push(quiet(0));
        for (number, storm) in STORMS.into_iter().enumerate() {
            let root = root(host);
            let text = format!(
                "{} {storm} {SECONDS} >/dev/null 2>&1 &\nfor try in $(seq 100); do test -e {root}/storm/go && break; sleep 0.1; done\n\
                 sleep 0.5; {} ask {REQUESTS}\nstatus=$?; rm {root}/storm/go; wait; rm -rf {root}/storm; sync; exit $status",
                call(host, 'a'),
                call(host, 'n')
            );
            steps.push((format!("{name} {storm}"), text));
            steps.push(quiet(number + 1));
        }
    }
    steps
}

/// The requests before the storm of that number, and after the one before it.
fn quiet_step(host: &str, number: usize) -> String {
    format!("{host} quiet {number}")
}

/// How `storm` is run in one of the two.
fn call(host: Host, which: char) -> String {
    match host {
        Host::Hostel | Host::Unlimited => format!("hostel exec {which} -- storm"),
        Host::Nspawn => format!("peer-nspawn {which} /bin/storm"),
        Host::Lxc => format!("peer-lxc {which} /bin/storm"),
    }
}

/// Where the root of the one that storms is.
fn root(host: Host) -> &'static str {
    match host {
        Host::Hostel | Host::Unlimited => "/hostel-a",
        Host::Nspawn => "/nspawn-a",
        Host::Lxc => "/lxc-a",
    }
}

fn settings(host: Host) -> String {
    let key = |name: &str, value: &str| match name {
        "io" if !value.is_empty() => format!("'io={} {value}'", DEVICE.0),
        name => format!("'{name}={value}'"),
    };
    let all = |with: bool| -> String {
        let keys = LIMITS.iter().map(|(name, _, value)| key(name, if with { value } else { "" }));
        keys.collect::<Vec<_>>().join(" ")
    };
    match host {
        Host::Hostel => format!("hostel set a {} && hostel set n cpus={NEIGHBOURS}", all(true)),
        // The number of processes has a limit by default.
        Host::Unlimited => {
            format!("hostel set a {} && hostel set a tasks=max && hostel set n cpus=", all(false))
        }
        Host::Nspawn | Host::Lxc => "hostel stop a; hostel stop n; true".into(),
    }
}

/// Median, 99th and 99.9th percentile, and how many failed.
fn figures(said: &Said, step: &str) -> Option<[f64; 4]> {
    let text = &said.step(step).said;
    // The last line that has numbers alone: a shell or a peer may have said something before.
    let line = text.lines().rev().find_map(|line| {
        let numbers: Option<Vec<f64>> = line.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
        <[f64; 4]>::try_from(numbers?).ok()
    });
    line.filter(|[median, ..]| *median > 0.0)
}

fn shown(kernel: Kernel, said: &Said, hosts: &[(Host, &str)]) -> Table {
    let title = format!(
        "A neighbour's latency beside storms, {} under emulation, {REQUESTS} requests each; quiet: before and after",
        kernel.name
    );
    let columns = ["median us", "99 % us", "99.9 % us", "99 % quiet us", "99 % over quiet"];
    let mut table = Table::without_ratios(&title, &columns);
    for &(host, name) in hosts {
        let mut ratios: Vec<(f64, &str)> = Vec::new();
        for (number, storm) in STORMS.into_iter().enumerate() {
            let step = format!("{name} {storm}");
            let around = [number, number + 1].map(|number| figures(said, &quiet_step(name, number)));
            let (Some([median, high, highest, failed]), [Some(before), Some(after)]) =
                (figures(said, &step), around)
            else {
                table.row(&step, &[None; 5]);
                table.note(format!("{step}: no answer: {}", said.step(&step).said.trim()));
                continue;
            };
            let quiet = f64::midpoint(before[1], after[1]);
            table.row(&step, &[median, high, highest, quiet, high / quiet].map(Some));
            ratios.push((high / quiet, storm));
            if failed > 0.0 {
                table.note(format!("{step}: {failed} requests failed"));
            }
        }
        ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
        if let (Some((worst, storm)), Some((middle, _))) = (ratios.last(), ratios.get(ratios.len() / 2)) {
            let goal = if host == Host::Hostel { format!("; the goal is {GOAL}") } else { String::new() };
            table.note(format!(
                "{name}: 99th percentile over quiet, of all storms: median {middle:.2}, at worst {worst:.2} ({storm}){goal}"
            ));
        }
    }
    table
}
