//! The programs of systemd that scripts and people type, for roots that have none of their own: the warden called by their names.
//!
//! In a root that lacks `systemctl` the compilation makes a folder of links, [`FOLDER`], and what is started there has it
//! as the last of its `PATH`: a program that the root has, or gets later, goes first. Nothing is put anywhere else, so
//! no file of a package is ever covered or in the way.

mod cat;
mod journalctl;
mod manager;
mod notify;
mod scripts;
mod service;
mod systemctl;
mod unit_files;

use crate::requests::applets as requests;
use hostel_contract::paths::APPLETS as FOLDER;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;
use std::process::ExitCode;

/// What an applet gives: its exit status, or what it says when there is none.
type Outcome = Result<u8, String>;

/// An applet.
struct Applet {
    name: &'static str,
    run: fn(&[&str]) -> Outcome,
}

const APPLETS: &[Applet] = &[
    Applet { name: "systemctl", run: systemctl::run },
    Applet { name: "service", run: service::run },
    Applet { name: "invoke-rc.d", run: service::invoke },
    Applet { name: "journalctl", run: journalctl::run },
    Applet { name: "systemd-notify", run: notify::run },
    Applet { name: "systemd-cat", run: cat::run },
];
/// What is looked for to see whether a root has programs of its own.
const SIGN: &str = "systemctl";
/// Where programs are.
const PROGRAMS: [&str; 6] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];
/// The name of one that is a command of the warden's.
const ANALYZE: &str = "systemd-analyze";

/// Runs the applet of this name; `None`: there is none.
pub fn run(name: &str, arguments: &[OsString]) -> Option<ExitCode> {
    if name == ANALYZE {
        return Some(crate::ctl::run("analyze", arguments));
    }
    if requests::NAMES.contains(&name) {
        return Some(requests::run(name, arguments));
    }
    let applet = APPLETS.iter().find(|applet| applet.name == name)?;
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match (applet.run)(&words) {
        Ok(status) => ExitCode::from(status),
        Err(text) => {
            eprintln!("{name}: {text}");
            ExitCode::FAILURE
        }
    })
}

/// Makes the links, where the root lacks such programs. `program`: the warden's own file.
pub fn publish(root: &Path, program: &Path) -> std::io::Result<()> {
    let has =
        |name: &str| PROGRAMS.iter().any(|folder| root.join(folder).join(name).symlink_metadata().is_ok());
    let folder = root.join(FOLDER.trim_start_matches('/'));
    if has(SIGN) {
        // It has got them since.
        return match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
    let names = APPLETS.iter().map(|applet| applet.name).chain(requests::NAMES).chain([ANALYZE]);
    for name in names {
        match symlink(program, folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => (),
        }
    }
    Ok(())
}

/// Options and the rest. What stands behind `--` is no option; those of `valued` take the next word.
struct Words<'a> {
    options: Vec<(&'a str, Option<&'a str>)>,
    rest: Vec<&'a str>,
}

impl<'a> Words<'a> {
    /// `stops_at_first`: what follows the first word that is no option is somebody else's command line.
    fn read(words: &[&'a str], valued: &[&str], stop: Stop) -> Result<Words<'a>, String> {
        let mut read = Words { options: Vec::new(), rest: Vec::new() };
        let mut left = words.iter().copied();
        while let Some(word) = left.next() {
            if word == "--" {
                read.rest.extend(left);
                break;
            }
            if word == "-" || !word.starts_with('-') {
                read.rest.push(word);
                if stop == Stop::AtTheFirst {
                    read.rest.extend(left);
                    break;
                }
                continue;
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let value = match value {
                    None if valued.contains(&name) => {
                        Some(left.next().ok_or_else(|| format!("--{name} needs a value"))?)
                    }
                    value => value,
                };
                read.options.push((name, value));
                continue;
            }
            read.short(&word[1..], valued, &mut left)?;
        }
        Ok(read)
    }

    /// Letters in a row; the value of the last one may stand with it, or behind.
    fn short(
        &mut self,
        letters: &'a str,
        valued: &[&str],
        left: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let behind = at + letter.len_utf8();
            let name = &letters[at..behind];
            if valued.contains(&name) {
                let value = match &letters[behind..] {
                    "" => left.next().ok_or_else(|| format!("-{name} needs a value"))?,
                    value => value,
                };
                self.options.push((name, Some(value)));
                return Ok(());
            }
            self.options.push((name, None));
        }
        Ok(())
    }

    fn has(&self, names: &[&str]) -> bool {
        self.options.iter().any(|(name, _)| names.contains(name))
    }

    fn value(&self, names: &[&str]) -> Option<&'a str> {
        self.options.iter().rev().find(|(name, _)| names.contains(name)).and_then(|(_, value)| *value)
    }

    /// All values, lists with commas taken apart.
    fn values(&self, names: &[&str]) -> Vec<&'a str> {
        let of = self.options.iter().filter(|(name, _)| names.contains(name));
        of.filter_map(|(_, value)| *value).flat_map(|value| value.split(',')).collect()
    }

    /// An error where there is an option that isn't among these.
    fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.options.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) if name.len() == 1 => Err(format!("unknown option -{name}")),
            Some((name, _)) => Err(format!("unknown option --{name}")),
            None => Ok(()),
        }
    }
}

/// Where options end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Only at `--`.
    AtDashes,
    /// At the first word that is none.
    AtTheFirst,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_command_line_when_read_then_values_stand_with_their_option_or_behind_it() {
        let words = ["-n5", "-u", "ssh", "--lines", "7", "--type=service,socket", "-qf", "x", "--", "-y"];
        let read = Words::read(&words, &["n", "u", "lines"], Stop::AtDashes).unwrap();
        assert_eq!((read.value(&["n"]), read.value(&["u"])), (Some("5"), Some("ssh")));
        assert_eq!(
            (read.value(&["lines", "n"]), read.values(&["type"])),
            (Some("7"), vec!["service", "socket"])
        );
        assert!(read.has(&["q"]) && read.has(&["f"]));
        assert_eq!(read.rest, ["x", "-y"]);
        assert_eq!(read.only(&["n"]), Err("unknown option -u".to_string()));
        assert!(Words::read(&["-u"], &["u"], Stop::AtDashes).is_err());
        let own = Words::read(&["-t", "x", "cmd", "-t"], &["t"], Stop::AtTheFirst).unwrap();
        assert_eq!(own.rest, ["cmd", "-t"]);
    }

    #[test]
    fn given_a_root_without_systemctl_when_published_then_the_links_are_there_until_it_has_one() {
        let root = std::env::temp_dir().join(format!("hostel-applets-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        publish(&root, Path::new("/warden")).unwrap();
        publish(&root, Path::new("/warden")).unwrap();
        let folder = root.join(FOLDER.trim_start_matches('/'));
        for name in ["systemctl", "shutdown", "runlevel", "systemd-analyze"] {
            assert_eq!(fs::read_link(folder.join(name)).unwrap(), Path::new("/warden"), "{name}");
        }
        fs::write(root.join("usr/bin/systemctl"), "").unwrap();
        publish(&root, Path::new("/warden")).unwrap();
        assert!(!folder.exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
