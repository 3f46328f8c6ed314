//! `hostel-warden logs`: the log as people, scripts and the host's tool read it.
//!
//! Reads the files that `serve` writes, text or journal, without asking it: entries of a journal are shown as the lines
//! that a text log would have of them. What somebody else may have put there is escaped again, so that no terminal is told anything. Following waits for changes of the folder; it does not poll.

mod journal;
mod lines;
mod options;
mod reader;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hostel_contract::log::{LogRecord, TEXT_MAX};
use hostel_contract::{Text, paths};

use super::record::put_escaped;
pub use lines::Line;
use options::{Format, Options, USAGE};
use reader::Position;

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(message) => {
            eprint!("hostel-warden: logs: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let folder = options.folder.clone().unwrap_or_else(where_it_is);
    match show(&options, &folder, &mut BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read us has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => ": be root, or in the group adm",
                _ => "",
            };
            eprintln!("hostel-warden: logs: {}: {error}{remedy}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// The folder of this guest's log: of its journal, if it has one.
fn where_it_is() -> PathBuf {
    let journal = super::journal_log::folder(Path::new("/"));
    journal.filter(|folder| journal::is_one(folder)).unwrap_or_else(|| PathBuf::from(paths::LOG_DIR))
}

/// Gives a line to whoever shows it.
type Emit<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// What comes behind the end of a log.
trait Follow {
    /// Where it began.
    fn position(&self) -> Position;
    /// Gives the lines that have come, and waits if there were none.
    fn next(&mut self, emit: &mut Emit<'_>) -> io::Result<()>;
}

fn show(options: &Options, folder: &Path, out: &mut impl Write) -> io::Result<()> {
    let in_journal = journal::is_one(folder);
    // Before reading what there is: what comes meanwhile is then seen by the one or the other, not twice.
    let mut follower: Option<Box<dyn Follow>> = match (options.follow, in_journal) {
        (false, _) => None,
        (true, false) => Some(Box::new(reader::Follower::new(folder)?)),
        (true, true) => Some(Box::new(journal::Follower::new(folder)?)),
    };
    let end = follower.as_ref().map(|follower| follower.position());
    let wanted = |line: &Line<'_>| options.unit.as_deref().is_none_or(|unit| line.is_about(unit));
    let lines = match in_journal {
        false => reader::last_lines(folder, options.count, end, &wanted)?,
        true => journal::last_lines(folder, options.count, end, &wanted)?,
    };
    for line in lines {
        put(out, options.format, &line)?;
    }
    out.flush()?;
    while let Some(follower) = &mut follower {
        follower.next(&mut |line| {
            if Line::parse(line).is_some_and(|l| wanted(&l)) {
                put(out, options.format, line)
            } else {
                Ok(())
            }
        })?;
        out.flush()?;
    }
    Ok(())
}

fn put(out: &mut impl Write, format: Format, line: &[u8]) -> io::Result<()> {
    match format {
        Format::Text => {
            let mut escaped = Vec::with_capacity(line.len() + 1);
            put_escaped(&mut escaped, line);
            escaped.push(b'\n');
            out.write_all(&escaped)
        }
        Format::Json => match Line::parse(line) {
            Some(line) => writeln!(out, "{}", line.json()),
            None => Ok(()),
        },
        Format::Records => match Line::parse(line) {
            Some(line) => {
                let text = &line.text[..line.text.len().min(TEXT_MAX)];
                let (usec, pid, length) = (line.usec, line.pid, text.len() as u32);
                let record = LogRecord { usec, pid, length, name: Text::new(line.name) };
                out.write_all(&record.encode())?;
                out.write_all(text)
            }
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{DEFAULT_PRIORITY, Origin, Record};
    use super::super::writer::{Limits, LogWriter, TextLog};
    use super::*;

    fn shown(name: &str, arguments: &[&str]) -> Vec<u8> {
        let folder = std::env::temp_dir().join(format!("hostel-logs-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut log = TextLog::new(folder.clone(), Limits { size: 150, files: 4 }, None);
        let lines = [
            ("a.service", "one"),
            ("b.service", "two"),
            ("hostel-init", "Started a.service."),
            ("a.service", "\x1b[2J"),
            ("hostel-init", "aa.service: x"),
        ];
        for (pid, (name, text)) in lines.iter().enumerate() {
            log.mark().unwrap();
            log.add(
                &Record {
                    time_ns: 1_795_310_860_123_456_789,
                    name,
                    pid: pid as u32,
                    priority: DEFAULT_PRIORITY,
                    origin: Origin::Output,
                    text: text.as_bytes(),
                },
                "",
                &[],
            );
            log.write().unwrap();
        }
        let options = Options::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
        let mut out = Vec::new();
        show(&options, &folder, &mut out).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        out
    }

    fn texts(name: &str, arguments: &[&str]) -> Vec<String> {
        let out = String::from_utf8(shown(name, arguments)).unwrap();
        out.lines().map(|line| line.split_once("+00:00 ").unwrap().1.to_string()).collect()
    }

    #[test]
    fn given_rotated_files_when_shown_then_all_lines_come_in_order() {
        let expected = [
            "a.service: one",
            "b.service[1]: two",
            "hostel-init[2]: Started a.service.",
            "a.service[3]: \\x1b[2J",
            "hostel-init[4]: aa.service: x",
        ];
        assert_eq!(texts("all", &[]), expected);
        assert_eq!(texts("last", &["-n", "2"]), expected[3..]);
        assert_eq!(texts("none", &["-n", "0"]), [""; 0]);
    }

    #[test]
    fn given_a_unit_when_shown_then_its_lines_and_what_init_says_of_it_come() {
        let expected = ["a.service: one", "hostel-init[2]: Started a.service.", "a.service[3]: \\x1b[2J"];
        assert_eq!(texts("unit", &["-u", "a.service"]), expected);
        assert_eq!(texts("short", &["a"]), expected);
        assert_eq!(texts("unit-last", &["--unit", "a", "--lines", "2"]), expected[1..]);
    }

    #[test]
    fn given_other_formats_when_shown_then_they_carry_the_same() {
        let json: serde_json::Value = serde_json::from_slice(&shown("json", &["--json", "-n", "1"])).unwrap();
        let expected = [
            ("time", "2026-11-22T01:27:40.123456+00:00"),
            ("name", "hostel-init"),
            ("text", "aa.service: x"),
        ];
        assert!(expected.iter().all(|(key, value)| json[key] == *value), "{json}");
        assert_eq!(json["pid"], 4);
        let records = shown("records", &["--records", "-n", "1"]);
        let record = LogRecord::decode(&records).unwrap();
        assert_eq!((record.usec, record.pid, record.name.lossy()), (1_795_310_860_123_456, 4, "hostel-init"));
        assert_eq!(&records[LogRecord::SIZE..], b"aa.service: x");
    }
}
