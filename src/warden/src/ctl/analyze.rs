//! `analyze`: where the time of the boot went, in the words of `systemd-analyze`, for roots that have none. All of it
//! is `hostel-boot`, as `hostel boot` shows it on the host; here it is read from the page and the list of edges.

use super::page::{self, Page};
use super::show::escape;
use super::{Arguments, Refusal, exit, expressions, full_name};
use hostel_boot::edges::{Edges, LIST_MAX};
use hostel_boot::{Boot, dot, svg, words};
use hostel_contract::paths;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

/// Readings while the list is that of another plan than the page.
const TRIES: u32 = 200;

/// Elapses of a calendar event that are told, and how many there may be.
const ITERATIONS: &str = "--iterations=";
const ITERATIONS_MAX: u32 = 10_000;

/// `analyze [time|blame|critical-chain [UNIT...]|plot|dot] [--json]`.
pub fn run(arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    let iterations = arguments.options.iter().find_map(|option| option.strip_prefix(ITERATIONS));
    let known = |option: &&str| {
        ["--json", "--no-pager", "--man=no"].contains(option) || option.starts_with(ITERATIONS)
    };
    if let Some(option) = arguments.options.iter().find(|option| !known(option)) {
        return Err(Refusal::usage(format!("unknown option `{option}`")));
    }
    let (verb, names) = match arguments.rest.split_first() {
        Some((verb, names)) => (*verb, names),
        None => ("time", &[][..]),
    };
    if ["calendar", "timespan", "verify"].contains(&verb) {
        if names.is_empty() {
            return Err(Refusal::usage(format!("`{verb}` needs something to look at")));
        }
        let (text, status) = match verb {
            "calendar" => {
                let count = iterations
                    .map_or(Some(1), |count| count.parse().ok().filter(|count| *count <= ITERATIONS_MAX));
                let count = count.ok_or_else(|| {
                    Refusal::usage(format!("{ITERATIONS} is to be at most {ITERATIONS_MAX}"))
                })?;
                expressions::calendar(names, count)?
            }
            "timespan" => expressions::timespan(names)?,
            _ => expressions::verify(names)?,
        };
        return print(&text).map(|_| status);
    }
    if !names.is_empty() && verb != "critical-chain" {
        return Err(Refusal::usage(format!("`{verb}` takes no more arguments")));
    }
    let show: fn(&Boot, &[&str]) -> Result<String, Refusal> = match verb {
        "time" => |boot, _| words::time(boot).map_err(Refusal::failed),
        "blame" => |boot, _| Ok(words::blame(boot)),
        "critical-chain" => critical_chains,
        "plot" => |boot, _| Ok(svg::draw(boot, &host_name())),
        "dot" => |boot, _| Ok(dot::draw(boot)),
        other => {
            return Err(Refusal::usage(format!(
                "unknown verb `{other}`: write time, blame, critical-chain [UNIT...], plot, dot, calendar, timespan or verify"
            )));
        }
    };
    let boot = read()?;
    let text = if arguments.has("--json") { format!("{}\n", boot.facts()) } else { show(&boot, names)? };
    print(&text)
}

fn print(text: &str) -> Result<u8, Refusal> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever read us has enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Refusal::failed(error.to_string()))
        }
        _ => Ok(0),
    }
}

fn critical_chains(boot: &Boot, names: &[&str]) -> Result<String, Refusal> {
    if names.is_empty() {
        let last = boot.critical_path().last().map(|step| step.unit);
        let last = last.ok_or_else(|| Refusal::failed(words::unfinished(boot)))?;
        return words::critical_chain(boot, last).map_err(Refusal::failed);
    }
    let chain = |name: &&str| {
        let name = full_name(name);
        let unit = boot.find(&name).ok_or_else(|| Refusal {
            code: exit::NO_SUCH_UNIT,
            text: format!("no such unit: {}", escape(&name)),
        })?;
        words::critical_chain(boot, unit).map_err(Refusal::failed)
    };
    Ok(names.iter().map(chain).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

/// The page and the list of edges of one plan.
fn read() -> Result<Boot, Refusal> {
    for _ in 0..TRIES {
        let page = page::read()?;
        let mut list = Vec::new();
        File::open(paths::EDGES)
            .and_then(|file| file.take(LIST_MAX as u64).read_to_end(&mut list))
            .map_err(|error| Refusal::failed(format!("{}: {error}", paths::EDGES)))?;
        let edges = Edges::parse(&list)
            .ok_or_else(|| Refusal::failed(format!("{}: not a list of edges", paths::EDGES)))?;
        // With another checksum it's older than the page: the warden writes it in a moment.
        if edges.checksum() == page.header.plan_checksum {
            return Ok(boot_of(&page, &edges));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(Refusal::failed(format!("{}: it's that of another plan than the one in force", paths::EDGES)))
}

fn boot_of(page: &Page, edges: &Edges) -> Boot {
    let rows = page.units.iter().map(|unit| (escape(unit.name.lossy()), unit.row));
    Boot::new(&page.header, rows, edges)
}

fn host_name() -> String {
    escape(&rustix::system::uname().nodename().to_string_lossy())
}
