//! What `logs` was asked for.

use crate::compile::name::mangle;
use std::ffi::OsString;
use std::path::PathBuf;

/// Shown with an error.
pub const USAGE: &str = "\
usage: hostel-warden logs [-u] [UNIT] [-n LINES] [-f] [--json | --records] [--folder DIR]

 -u, --unit UNIT    only what is of this unit, and what init says of it
 -n, --lines LINES  only so many, the last ones
 -f, --follow       go on with what comes
     --json         one JSON object a line
     --records      for programs: hostel-contract's log records
     --folder DIR   the log's folder, if not /var/log/hostel
";

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are in the log.
    Text,
    /// One JSON object a line.
    Json,
    /// `hostel_contract::log`.
    Records,
}

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    /// Full name of a unit.
    pub unit: Option<String>,
    /// So many of the last lines; none: all.
    pub count: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
    /// How lines are written.
    pub format: Format,
    /// The log's folder.
    pub folder: Option<PathBuf>,
}

impl Options {
    /// Of the arguments behind the command's name. An error says what is wrong with them.
    pub fn parse(args: &[OsString]) -> Result<Options, String> {
        let mut options =
            Options { unit: None, count: None, follow: false, format: Format::Text, folder: None };
        let mut rest = args.iter();
        while let Some(argument) = rest.next() {
            let name =
                argument.to_str().ok_or_else(|| format!("{} is no text", argument.to_string_lossy()))?;
            let mut value = || rest.next().ok_or_else(|| format!("{name} needs a value"));
            match name {
                "-u" | "--unit" => options.unit = Some(full_name(value()?)?),
                "-n" | "--lines" => {
                    let value = value()?;
                    let count = value.to_str().and_then(|text| text.parse().ok());
                    options.count = Some(
                        count.ok_or_else(|| format!("{} is no number of lines", value.to_string_lossy()))?,
                    );
                }
                "-f" | "--follow" => options.follow = true,
                "--json" => options.format = Format::Json,
                "--records" => options.format = Format::Records,
                "--folder" => options.folder = Some(PathBuf::from(value()?)),
                _ if name.starts_with('-') => return Err(format!("unknown option `{name}`")),
                _ if options.unit.is_none() => options.unit = Some(full_name(argument)?),
                _ => return Err(format!("one unit at most, and `{name}` is a second one")),
            }
        }
        Ok(options)
    }
}

/// A name without a suffix is a service's, as systemctl has it.
fn full_name(name: &OsString) -> Result<String, String> {
    let name = name.to_str().ok_or_else(|| format!("{} is no unit's name", name.to_string_lossy()))?;
    let known = ["hostel-init", "hostel-warden", "syslog"].contains(&name);
    Ok(if known { name.to_owned() } else { mangle(name).unwrap_or_else(|| name.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn given_arguments_when_parsed_then_short_and_long_ones_are_the_same() {
        let short = parsed(&["-u", "ssh", "-n", "5", "-f"]).unwrap();
        let long = parsed(&["--follow", "--lines", "5", "ssh.service"]).unwrap();
        for options in [short, long] {
            assert_eq!(
                (options.unit.as_deref(), options.count, options.follow),
                (Some("ssh.service"), Some(5), true)
            );
        }
        assert_eq!(parsed(&["hostel-init"]).unwrap().unit.as_deref(), Some("hostel-init"));
    }

    #[test]
    fn given_wrong_arguments_when_parsed_then_they_are_named() {
        assert!(parsed(&["-n", "many"]).unwrap_err().contains("many"));
        assert!(parsed(&["-n"]).unwrap_err().contains("-n"));
        assert!(parsed(&["--what"]).unwrap_err().contains("--what"));
        assert!(parsed(&["a", "b"]).unwrap_err().contains("`b`"));
    }
}
