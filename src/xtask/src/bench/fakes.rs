//! Files of /proc: what reading one takes in a guest, from the kernel's own proc in the same guest, and from lxcfs; and
//! what a thousand readers cost.
//!
//! A file is opened, read to its end and closed, as `cat` does. *Again*: what was read is still good; this is what loops
//! see. *First*: it isn't, and whoever answers has to make it. lxcfs keeps nothing, and so both are one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use hostel_tests::Guest;
use hostel_tests::run::{run, until};
use hostel_tests::{cli, small};

use super::Table;
use super::root::Scratch;
use crate::shell::{About, Error};

/// Reads, and measures.
const READS: &str = include_str!("reads.c");
/// Files that the kernel, lxcfs and we have, and that a guest may read there.
const FILES: [&str; 7] = ["cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime"];
/// Files that the kernel and we have.
const MORE: [&str; 6] =
    ["interrupts", "pressure/cpu", "pressure/io", "pressure/memory", "softirqs", "vmstat"];
/// Turns; in each, everybody reads once.
const TURNS: usize = 3;
/// How often a file is read in a turn, again and first.
const AGAIN: &str = "1000";
const FIRST: &str = "8";
/// Guests that read at the same time, readers in each, and for how many seconds.
const GUESTS: usize = 50;
const READERS: usize = 20;
const SECONDS: usize = 15;
/// How long one turn may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Medians of one way to read: by file, a number a turn.
type Measured = HashMap<String, Vec<f64>>;

/// lxcfs on a folder of its own.
struct Lxcfs {
    process: Child,
    folder: PathBuf,
}

impl Lxcfs {
    fn start(scratch: &Scratch) -> Result<Lxcfs, Error> {
        let folder = scratch.join("lxcfs");
        fs::create_dir_all(&folder).about("make", &folder)?;
        let mut command = Command::new("lxcfs");
        command.args(["--foreground", "--enable-loadavg", "--pidfile"]).arg(scratch.join("lxcfs.pid"));
        let process = command.arg(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let lxcfs = Lxcfs { process: process.about("start lxcfs for", &folder)?, folder };
        let there = || lxcfs.folder.join("proc/meminfo").exists().then_some(());
        until(Duration::from_secs(10), there).ok_or_else(|| Error::Wrong("lxcfs mounts nothing".into()))?;
        Ok(lxcfs)
    }

    /// Microseconds of processor time that it has used.
    fn used(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let times = tasks.into_iter().flatten().flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        times.sum::<u64>() / 1000
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        // It unmounts its folder when it ends.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.folder), LIMIT);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Microseconds a read, and processor time of a thousand readers.
pub fn table() -> Result<Table, Error> {
    let scratch = Scratch::new("fakes")?;
    let program = compile(&scratch)?;
    let lxcfs = Lxcfs::start(&scratch)?;
    let mut table = Table::new(
        &format!("open, read to the end, close: mean of the medians of {} files", FILES.len()),
        &["again us", "first us", "CPU us/read", "server's part"],
    );
    let ours = read_in_turns(&program, &lxcfs, &mut table)?;
    let guests = many_guests(&scratch, &program)?;
    let theirs = many_readers(&program, &lxcfs)?;
    for (name, [again, first], cost) in [
        ("fakes", &ours[0], Some(guests)),
        ("kernel's own", &ours[1], None),
        ("lxcfs", &ours[2], Some(theirs)),
    ] {
        let [all, server] = cost.map_or([None, None], |cost| [Some(cost[0]), Some(cost[1])]);
        table.row(name, &[mean(again), mean(first), all, server]);
    }
    table.note(format!(
        "CPU: {GUESTS} guests with {READERS} readers each, five files ten times a second; for lxcfs as many readers outside"
    ));
    Ok(table)
}

fn compile(scratch: &Scratch) -> Result<PathBuf, Error> {
    let (source, program) = (scratch.write("reads.c", READS)?, scratch.join("reads"));
    run(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source), LIMIT)?.success()?;
    Ok(program)
}

/// Again and first, of the fakes, the kernel's own files in the same guest, and lxcfs.
fn read_in_turns(program: &Path, lxcfs: &Lxcfs, table: &mut Table) -> Result<[[Measured; 2]; 3], Error> {
    let guest = Guest::debian12("bench-fakes").start();
    let bytes = fs::read(program).about("read", program)?;
    cli::exec(&guest.name, &["sh", "-c", "cat > /run/reads && chmod +x /run/reads"], &bytes)?.success()?;
    let paths = |folder: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{folder}/{name}")).collect()
    };
    let both = [&FILES[..], &MORE].concat();
    let places = [
        ("/proc".to_owned(), paths("/proc", &both)),
        ("/run/hostel/kernel/proc".to_owned(), paths("/run/hostel/kernel/proc", &both)),
        (
            format!("{}/proc", lxcfs.folder.display()),
            paths(&format!("{}/proc", lxcfs.folder.display()), &FILES),
        ),
    ];
    let mut measured: [[Measured; 2]; 3] = Default::default();
    for _ in 0..TURNS {
        for (way, [mode, times]) in [["again", AGAIN], ["first", FIRST]].into_iter().enumerate() {
            for (place, (folder, files)) in places.iter().enumerate() {
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                let is_outside = place == 2;
                let text = match is_outside {
                    true => {
                        run(Command::new(program).args([mode, times]).args(&files), LIMIT)?.success()?.stdout
                    }
                    false => guest.exec(&[&["/run/reads", mode, times], &files[..]].concat()),
                };
                for line in text.lines() {
                    let mut words = line.split(' ');
                    let (Some(path), Some(Ok(ns))) = (words.next(), words.next().map(str::parse::<f64>))
                    else {
                        continue;
                    };
                    let name = path.trim_start_matches(folder.as_str()).trim_start_matches('/').to_owned();
                    measured[place][way].entry(name).or_default().push(ns / 1000.0);
                }
            }
        }
    }
    table.note(format!(
        "{:<16}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}  us",
        "", "again", "kernel", "lxcfs", "first", "kernel", "lxcfs"
    ));
    for name in both {
        let cells = (0..2).flat_map(|way| (0..3).map(move |place| (way, place))).map(|(way, place)| {
            match middle(measured[place][way].get(name)) {
                Some(us) => format!("{us:>9.1}"),
                None => format!("{:>9}", "-"),
            }
        });
        table.note(format!("{name:<16}{}", cells.collect::<String>()));
    }
    Ok(measured)
}

fn middle(measured: Option<&Vec<f64>>) -> Option<f64> {
    let mut sorted = measured?.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn mean(measured: &Measured) -> Option<f64> {
    let each: Option<Vec<f64>> = FILES.iter().map(|name| middle(measured.get(*name))).collect();
    each.map(|each| each.iter().sum::<f64>() / each.len() as f64)
}

/// The files that load is made of.
const OF_LOAD: [&str; 5] = ["meminfo", "stat", "uptime", "loadavg", "cpuinfo"];

/// What one line of the program says: reads, readers' time, servers' time.
fn told(text: &str) -> Result<[f64; 3], Error> {
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().map_err(|_| Error::Wrong(format!("a reader says: {text}")))
}

/// Microseconds a read: of all, and of those who answer.
fn many_guests(scratch: &Scratch, program: &Path) -> Result<[f64; 2], Error> {
    let root = scratch.join("root");
    small::make(&root).about("make", &root)?;
    let inside = root.join("bin/reads");
    fs::copy(program, &inside).about("copy", &inside)?;
    let source = format!("dir:{}", root.display());
    let guests: Vec<_> = (0..GUESTS)
        .map(|_| {
            let source = source.clone();
            thread::spawn(move || {
                let (readers, seconds) = (READERS.to_string(), SECONDS.to_string());
                let mut command = cli::hostel(&[
                    "run",
                    "--rm",
                    "--volatile",
                    &source,
                    "--",
                    "/bin/reads",
                    "load",
                    &readers,
                    &seconds,
                ]);
                command.args(OF_LOAD.map(|name| format!("/proc/{name}")));
                run(&mut command, LIMIT).and_then(|outcome| outcome.success())
            })
        })
        .collect();
    let mut sum = [0.0; 3];
    for guest in guests {
        let outcome = guest.join().map_err(|_| Error::Wrong("a guest's thread failed".into()))??;
        let one = told(&outcome.stdout)?;
        (0..3).for_each(|at| sum[at] += one[at]);
    }
    Ok([(sum[1] + sum[2]) / sum[0], sum[2] / sum[0]])
}

fn many_readers(program: &Path, lxcfs: &Lxcfs) -> Result<[f64; 2], Error> {
    let before = lxcfs.used();
    let mut command = Command::new(program);
    command.args(["load", &(GUESTS * READERS).to_string(), &SECONDS.to_string()]);
    command.args(OF_LOAD.map(|name| lxcfs.folder.join("proc").join(name)));
    let outcome = run(&mut command, LIMIT)?.success()?;
    let [reads, readers, _] = told(&outcome.stdout)?;
    let server = (lxcfs.used() - before) as f64;
    Ok([(readers + server) / reads, server / reads])
}
