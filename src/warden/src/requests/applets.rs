//! `shutdown`, `halt`, `poweroff`, `reboot`, `telinit`, `init`, `runlevel` and `wall`, as sysvinit's and systemd's manual pages have
//! them, for roots that have none of their own. Each is the warden called by that name, or with it as its first word.

use super::pipes::ask_runlevel;
use super::schedule::Plan;
use super::{act, end, family, utmp, wall};
use hostel_contract::ShutdownKind;
use hostel_contract::request::{Request, Sender, meaning};
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The names.
pub const NAMES: [&str; 8] =
    ["shutdown", "halt", "poweroff", "reboot", "telinit", "init", "runlevel", "wall"];
/// Longest text that `wall` takes from its standard input, in bytes.
const TEXT_MAX: u64 = 4096;

/// Why there's nothing done.
enum Refusal {
    /// The command line is wrong: how it is right.
    Usage(&'static str),
    /// It could not be.
    Failed(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal::Failed(text)
    }
}

/// Runs the applet of that name.
pub fn run(name: &str, arguments: &[OsString]) -> ExitCode {
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let root = Path::new("/");
    let outcome = match name {
        "shutdown" => shutdown(&words, root),
        "halt" => end_by_name(ShutdownKind::Halt, &words),
        "poweroff" => end_by_name(ShutdownKind::PowerOff, &words),
        "reboot" => end_by_name(ShutdownKind::Reboot, &words),
        "runlevel" => runlevel(root),
        "wall" => say_to_all(&words, root),
        _ => telinit(&words, root),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Usage(usage)) => {
            eprintln!("usage: {usage}");
            ExitCode::from(2)
        }
        Err(Refusal::Failed(text)) => {
            eprintln!("{name}: {text}");
            ExitCode::FAILURE
        }
    }
}

/// What `shutdown` was asked.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Cancel { message: String },
    Show,
    End { kind: ShutdownKind, when: When, tells: bool, message: String, only_warns: bool },
}

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// So many seconds from now.
    In(u64),
    /// When the guest's clock shows it next: hour, minute.
    At(u8, u8),
}

const SHUTDOWN: &str =
    "shutdown [-hPHrk] [--no-wall] now|+MINUTES|HH:MM [MESSAGE], shutdown -c [MESSAGE], shutdown --show";

/// Reads the command line of shutdown(8).
fn parse(words: &[&str]) -> Option<Asked> {
    let (mut kind, mut tells, mut only_warns, mut cancels) = (ShutdownKind::PowerOff, true, false, false);
    let mut rest = Vec::new();
    for word in words {
        match *word {
            "--halt" => kind = ShutdownKind::Halt,
            "--poweroff" => kind = ShutdownKind::PowerOff,
            "--reboot" => kind = ShutdownKind::Reboot,
            "--no-wall" => tells = false,
            "--show" => return Some(Asked::Show),
            long if long.starts_with("--") => return None,
            short if short.len() > 1 && short.starts_with('-') && rest.is_empty() => {
                for letter in short.chars().skip(1) {
                    match letter {
                        'H' => kind = ShutdownKind::Halt,
                        'h' | 'P' => kind = ShutdownKind::PowerOff,
                        'r' => kind = ShutdownKind::Reboot,
                        'k' => only_warns = true,
                        'c' => cancels = true,
                        // sysvinit's: about fsck, access and warnings of its own.
                        'a' | 'f' | 'F' | 'n' | 'q' | 't' => {}
                        _ => return None,
                    }
                }
            }
            other => rest.push(other),
        }
    }
    if cancels {
        return Some(Asked::Cancel { message: rest.join(" ") });
    }
    // Without a time: in a minute, as systemd has it.
    let (time, message) = rest.split_first().map_or(("+1", &[][..]), |(time, message)| (*time, message));
    Some(Asked::End { kind, when: when(time)?, tells, message: message.join(" "), only_warns })
}

fn when(time: &str) -> Option<When> {
    if time == "now" {
        return Some(When::In(0));
    }
    if let Some((hour, minute)) = time.split_once(':') {
        let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
        return (hour < 24 && minute < 60).then_some(When::At(hour, minute));
    }
    let minutes: u64 = time.strip_prefix('+').unwrap_or(time).parse().ok()?;
    // A year is long enough.
    (minutes <= 366 * 24 * 60).then_some(When::In(minutes * 60))
}

impl When {
    /// The moment that it means, in the guest's time zone.
    fn moment(self, now: SystemTime) -> Option<SystemTime> {
        match self {
            When::In(seconds) => now.checked_add(Duration::from_secs(seconds)),
            When::At(hour, minute) => {
                let usec = now.duration_since(UNIX_EPOCH).ok()?.as_micros().try_into().ok()?;
                let next = crate::timer::next_elapse(&format!("{hour:02}:{minute:02}"), usec)?;
                UNIX_EPOCH.checked_add(Duration::from_micros(next))
            }
        }
    }
}

fn shutdown(words: &[&str], root: &Path) -> Result<(), Refusal> {
    let now = SystemTime::now();
    let asked = parse(words).ok_or(Refusal::Usage(SHUTDOWN))?;
    let failed = |error: std::io::Error| Refusal::Failed(format!("/run/systemd/shutdown: {error}"));
    match asked {
        Asked::Show => match Plan::read(root) {
            Some(plan) => println!("{}", plan.words(now)),
            None => return Err(Refusal::Failed("no shutdown is scheduled".into())),
        },
        Asked::Cancel { message } => {
            if !Plan::cancel(root).map_err(failed)? {
                return Err(Refusal::Failed("no shutdown is scheduled".into()));
            }
            if !message.is_empty() {
                wall::tell(root, &message);
            }
        }
        Asked::End { kind, when, tells, message, only_warns } => {
            let at = when.moment(now).ok_or_else(|| Refusal::Failed("that time can't be told".into()))?;
            let plan = Plan { at, kind, tells, message };
            if only_warns {
                wall::tell(root, &plan.words(now));
            } else if at <= now {
                if tells {
                    wall::tell(root, &plan.words(now));
                }
                end(kind)?;
            } else {
                plan.write(root).map_err(failed)?;
                println!("{} `shutdown -c` takes it back.", plan.words(now));
            }
        }
    }
    Ok(())
}

const END: &str = "halt|poweroff|reboot [-f] [-p] [-w] [--no-wall]";

/// `halt`, `poweroff`, `reboot`: in order; with `-f` by reboot(2), at once; with `-w` only the record.
fn end_by_name(mut kind: ShutdownKind, words: &[&str]) -> Result<(), Refusal> {
    let (mut force, mut only_records) = (false, false);
    for word in words {
        match *word {
            "-f" | "--force" | "-ff" => force = true,
            "-p" | "--poweroff" => kind = ShutdownKind::PowerOff,
            "--halt" => kind = ShutdownKind::Halt,
            "--reboot" => kind = ShutdownKind::Reboot,
            "-w" | "--wtmp-only" => only_records = true,
            "-d" | "--no-wtmp" | "-n" | "--no-sync" | "-h" | "-i" | "--no-wall" => {}
            _ => return Err(Refusal::Usage(END)),
        }
    }
    if only_records {
        utmp::stopping(Path::new("/"));
        return Ok(());
    }
    match force {
        true => at_once(kind),
        false => Ok(end(kind)?),
    }
}

/// By the signal for it: init ends everything, and doesn't stop units first.
fn at_once(kind: ShutdownKind) -> Result<(), Refusal> {
    use hostel_contract::request::{Meaning, TABLE};
    let signal = TABLE.iter().find_map(|row| match (row.request, row.meaning) {
        (Request::Signal(signal), Meaning::AtOnce(known)) if known == kind => Some(signal),
        _ => None,
    });
    let signal = signal.ok_or_else(|| Refusal::Failed("there is no signal for it".into()))?;
    crate::sys::signal_init(signal).map_err(|errno| Refusal::Failed(errno.to_string()))
}

const TELINIT: &str = "telinit 0|1|2|3|4|5|6|s|q|u";

/// `telinit`, and `init` by a person.
fn telinit(words: &[&str], root: &Path) -> Result<(), Refusal> {
    // `-t SECONDS` between TERM and KILL: units have their own times.
    let level = match words {
        ["-t", _, level] | [level] => level.as_bytes(),
        _ => return Err(Refusal::Usage(TELINIT)),
    };
    let [level] = level else { return Err(Refusal::Usage(TELINIT)) };
    let meaning = meaning(Request::Runlevel(*level), Sender::Inside, family(root));
    // Which units go is known by the warden that serves.
    let isolate = |_: &str| ask_runlevel(root, *level).map_err(|error| format!("/run/initctl: {error}"));
    Ok(act(meaning.ok_or(Refusal::Usage(TELINIT))?, root, isolate)?)
}

fn runlevel(root: &Path) -> Result<(), Refusal> {
    match utmp::runlevel(root) {
        Some((now, before)) => println!("{before} {now}"),
        None => return Err(Refusal::Failed("unknown".into())),
    }
    Ok(())
}

fn say_to_all(words: &[&str], root: &Path) -> Result<(), Refusal> {
    let text = match words {
        [] => {
            let mut text = Vec::new();
            let read = std::io::stdin().take(TEXT_MAX).read_to_end(&mut text);
            read.map_err(|error| Refusal::Failed(error.to_string()))?;
            String::from_utf8_lossy(&text).into_owned()
        }
        words => words.join(" "),
    };
    wall::tell(root, text.trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(line: &str) -> Option<(ShutdownKind, When)> {
        match parse(&line.split(' ').collect::<Vec<_>>()) {
            Some(Asked::End { kind, when, .. }) => Some((kind, when)),
            _ => None,
        }
    }

    #[test]
    fn given_times_and_kinds_of_shutdown_when_parsed_then_they_are_as_the_manual_says() {
        for (line, kind, when) in [
            ("now", ShutdownKind::PowerOff, When::In(0)),
            ("-h now", ShutdownKind::PowerOff, When::In(0)),
            ("-r +5", ShutdownKind::Reboot, When::In(300)),
            ("-H 5", ShutdownKind::Halt, When::In(300)),
            ("-rf 12:30", ShutdownKind::Reboot, When::At(12, 30)),
            ("-h", ShutdownKind::PowerOff, When::In(60)),
            ("--reboot +1 for a new kernel", ShutdownKind::Reboot, When::In(60)),
        ] {
            assert_eq!(end_of(line), Some((kind, when)), "{line}");
        }
        for line in ["soon", "+x", "24:00", "12:60", "-z now", "--never", "+99999999999999999999", "+999999"]
        {
            assert_eq!(parse(&line.split(' ').collect::<Vec<_>>()), None, "{line}");
        }
    }

    #[test]
    fn given_a_time_of_the_day_when_resolved_then_it_is_the_next_such_moment() {
        let now = SystemTime::now();
        let moment = When::At(3, 7).moment(now).unwrap();
        assert!(moment > now && moment <= now + Duration::from_secs(25 * 3600));
        assert_eq!(moment.duration_since(UNIX_EPOCH).unwrap().as_secs() % 60, 0);
    }

    #[test]
    fn given_c_and_k_when_parsed_then_nothing_ends() {
        assert_eq!(parse(&["-c"]), Some(Asked::Cancel { message: String::new() }));
        assert_eq!(parse(&["-c", "all", "well"]), Some(Asked::Cancel { message: "all well".into() }));
        assert!(matches!(parse(&["-k", "now"]), Some(Asked::End { only_warns: true, .. })));
        assert_eq!(parse(&["--show"]), Some(Asked::Show));
    }
}
