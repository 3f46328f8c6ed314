//! Configuration that packages drop into folders, tmpfiles.d(5) and sysusers.d(5): which files count, and their words.
//!
//! Reads only. A file of `/etc` takes the place of one with the same name in `/run`, `/usr/local/lib` and `/usr/lib`;
//! an empty one or a link to /dev/null takes it away.

use crate::compile::lookup::{Entry, Root};
use crate::compile::name::UnitName;
use crate::compile::{Facts, next_word};
use std::collections::BTreeMap;

/// Most important first.
const FOLDERS: [&str; 4] = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];
/// Bytes of one file.
const FILE_MAX: usize = 1 << 20;
/// Specifiers that need no unit: those of tmpfiles.d(5) and sysusers.d(5).
const SPECIFIERS: &str = "aAbBCgGhHlLmMoStTuUvVwW%";

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `FILE:NUMBER`, for messages.
    pub at: String,
    /// Without white space around.
    pub text: String,
}

/// The lines of all files of one kind, in the order in which they count.
pub fn lines(root: &Root, folder: &str) -> Vec<Line> {
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    for top in FOLDERS {
        let dir = format!("{top}/{folder}");
        for (name, entry) in root.list(&dir) {
            let masked = match &entry {
                Entry::Link(target) => target == "/dev/null",
                Entry::File { empty } => *empty,
                _ => true,
            };
            let path = format!("{dir}/{name}");
            if name.ends_with(".conf") {
                files.entry(name).or_insert((!masked).then_some(path));
            }
        }
    }
    files.into_values().flatten().flat_map(|path| lines_of(root, &path)).collect()
}

/// The lines of a main file, `systemd/journald.conf` and the like, and of its drop-ins, which count more. Of the main
/// files the most important one alone counts.
pub fn lines_with_main(root: &Root, file: &str) -> Vec<Line> {
    let main =
        FOLDERS.iter().map(|top| format!("{top}/{file}")).find(|path| root.read(path, FILE_MAX).is_ok());
    let mut all: Vec<Line> = main.iter().flat_map(|path| lines_of(root, path)).collect();
    all.extend(lines(root, &format!("{file}.d")));
    all
}

fn lines_of(root: &Root, path: &str) -> Vec<Line> {
    let text = match root.read(path, FILE_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            eprintln!("{path}: can't read it: {error}; what it asks for is left out");
            return Vec::new();
        }
    };
    let numbered = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
    let told = numbered.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    told.map(|(line, number)| Line { at: format!("{path}:{number}"), text: line.to_owned() }).collect()
}

/// At most `count` words off a line, quotes removed, and what is left behind them. `-` and nothing are the same.
pub fn words(text: &str, count: usize) -> Result<(Vec<Option<String>>, &str), String> {
    let mut words = Vec::new();
    let mut rest = text;
    while words.len() < count {
        let taken = next_word(rest).map_err(|error| error.text().to_owned())?;
        let (word, behind) = match taken {
            Some((word, behind)) => (Some(word), behind),
            None => (None, ""),
        };
        words.push(word.filter(|word| !word.is_empty() && word != "-"));
        rest = behind;
    }
    Ok((words, rest.trim_start()))
}

/// Why a specifier gives no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// It means nothing, or nothing here.
    Unknown,
    /// The machine has no id yet: the line is not for now.
    NoMachineId,
}

/// A text with its specifiers resolved.
pub fn resolve(text: &str, facts: &Facts) -> Result<String, Unresolved> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let letter = if c == '%' { chars.next() } else { None };
        match letter {
            Some('m') if facts.machine_id.is_empty() => return Err(Unresolved::NoMachineId),
            Some(letter) if letter.is_ascii_alphanumeric() && !SPECIFIERS.contains(letter) => {
                return Err(Unresolved::Unknown);
            }
            _ => {}
        }
    }
    facts.resolve(text, &UnitName::target("none")).map_err(|_| Unresolved::Unknown)
}

/// Makes a root the one of this process, which reads and writes its files only.
pub fn enter(root: &std::path::Path) -> Result<(), String> {
    let entered = rustix::process::chroot(root).and_then(|()| rustix::process::chdir("/"));
    entered.map_err(|error| format!("can't enter the root {}: {error}", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn given_files_of_one_name_when_read_then_the_most_important_one_counts_and_a_mask_takes_it_away() {
        let top = TempDir::new();
        for (file, text) in [
            ("usr/lib/x.d/a.conf", "a usr\n"),
            ("etc/x.d/a.conf", "# said\n\n a etc \n"),
            ("usr/lib/x.d/b.conf", "b usr\n"),
            ("run/x.d/b.conf", ""),
            ("run/x.d/c.conf", "c run\n"),
            ("run/x.d/other", "other\n"),
        ] {
            let path = top.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found: Vec<String> =
            lines(&Root::new(top.path()), "x.d").into_iter().map(|line| line.at + " " + &line.text).collect();
        assert_eq!(found, ["/etc/x.d/a.conf:3 a etc", "/run/x.d/c.conf:1 c run"]);
    }

    #[test]
    fn given_words_and_specifiers_when_read_then_a_dash_is_nothing_and_unknown_ones_are_refused() {
        let (found, rest) = words("u \"a b\" - x  rest of it", 4).unwrap();
        assert_eq!(found, [Some("u".into()), Some("a b".into()), None, Some("x".into())]);
        assert_eq!(rest, "rest of it");
        let facts = Facts::default();
        assert_eq!(resolve("%S/a%%", &facts).unwrap(), "/var/lib/a%");
        assert_eq!(resolve("%n", &facts), Err(Unresolved::Unknown));
        assert_eq!(resolve("%m", &facts), Err(Unresolved::NoMachineId));
    }
}
