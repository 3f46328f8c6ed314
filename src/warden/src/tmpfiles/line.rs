//! A line of tmpfiles.d(5): what is to be at a path.
//!
//! Pure but for credentials, which are read where a line asks for one.

use crate::compile::{Facts, parse_microseconds, unescape};
use crate::conf_d::{self, Unresolved};
use base64::Engine;

/// What a line does. The order is that in which lines of one path are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `f`: a file, made where there is none.
    File,
    /// `f+`, `F`: a file, made or emptied.
    Truncate,
    /// `d`, and `v`, `q`, `Q`: a subvolume is a directory here.
    Directory,
    /// `D`: a directory, emptied by `--remove`.
    Emptied,
    /// `e`: directories that are there.
    Existing,
    /// `p`.
    Fifo,
    /// `L`.
    Link,
    /// `c`.
    Character,
    /// `b`.
    Block,
    /// `C`: a copy of a tree.
    Copy,
    /// `w`: text for files that are there.
    Write,
    /// `x`: never cleaned, with all below.
    Kept,
    /// `X`: never cleaned itself.
    KeptAlone,
    /// `r`: removed by `--remove`.
    Remove,
    /// `R`: removed by `--remove` with all below.
    RemoveTree,
    /// `m`, `z`: owner and mode.
    Adjust,
    /// `Z`: owner and mode of all below.
    AdjustTree,
    /// `t`: extended attributes.
    Xattr,
    /// `T`: extended attributes of all below.
    XattrTree,
    /// `h`: attributes of chattr(1).
    Attribute,
    /// `H`: attributes of chattr(1) of all below.
    AttributeTree,
    /// `a`: access control lists.
    AccessList,
    /// `A`: access control lists of all below.
    AccessListTree,
}

/// What is set, perhaps only on what the line makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<T> {
    /// The value.
    pub value: T,
    /// `:`: not on what is there already.
    pub only_new: bool,
}

/// Times that make a file young: of access, birth, change and modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Of access.
    pub access: bool,
    /// Of birth.
    pub birth: bool,
    /// Of the last change of anything about it.
    pub change: bool,
    /// Of the last change of its content.
    pub modification: bool,
}

/// How old what is in a directory may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    /// Microseconds; 0: everything goes.
    pub usec: u64,
    /// `~`: what is directly in the directory stays.
    pub keep_first_level: bool,
    /// Of files.
    pub files: Times,
    /// Of directories.
    pub directories: Times,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it does.
    pub kind: Kind,
    /// The path, or a pattern of paths.
    pub path: String,
    /// `!`: at boot only.
    pub boot: bool,
    /// `-`: that it can't be done is no failure.
    pub may_fail: bool,
    /// `+`: appended, replaced or merged, by the kind.
    pub force: bool,
    /// `=`: what is there and of another type goes.
    pub replace_other: bool,
    /// `?`: links to nothing are not made.
    pub only_to_existing: bool,
    /// The mode.
    pub mode: Option<Set<u32>>,
    /// `~` before the mode: bits that nobody has are not given.
    pub masked: bool,
    /// Name or number of the owner.
    pub user: Option<Set<String>>,
    /// Name or number of the group.
    pub group: Option<Set<String>>,
    /// The age.
    pub age: Option<Age>,
    /// What the line is about, by its kind.
    pub argument: Option<Vec<u8>>,
}

impl Kind {
    fn of(letter: char) -> Option<Kind> {
        Some(match letter {
            'f' => Kind::File,
            'F' => Kind::Truncate,
            'd' | 'v' | 'q' | 'Q' => Kind::Directory,
            'D' => Kind::Emptied,
            'e' => Kind::Existing,
            'p' => Kind::Fifo,
            'L' => Kind::Link,
            'c' => Kind::Character,
            'b' => Kind::Block,
            'C' => Kind::Copy,
            'w' => Kind::Write,
            'x' => Kind::Kept,
            'X' => Kind::KeptAlone,
            'r' => Kind::Remove,
            'R' => Kind::RemoveTree,
            'm' | 'z' => Kind::Adjust,
            'Z' => Kind::AdjustTree,
            't' => Kind::Xattr,
            'T' => Kind::XattrTree,
            'h' => Kind::Attribute,
            'H' => Kind::AttributeTree,
            'a' => Kind::AccessList,
            'A' => Kind::AccessListTree,
            _ => return None,
        })
    }

    /// Is its path a pattern?
    pub fn has_pattern(self) -> bool {
        matches!(self, Kind::Existing) || self >= Kind::Write
    }

    /// Does a line of it decide alone what is at a path?
    fn owns(self) -> bool {
        self <= Kind::RemoveTree
    }
}

impl Item {
    /// Reads a line. `None`: it is not for this guest or not for now.
    pub fn parse(text: &str, facts: &Facts) -> Result<Option<Item>, String> {
        let (words, rest) = conf_d::words(text, 6)?;
        let mut words = words.into_iter();
        let mut next = || words.next().flatten();
        let kind = next().unwrap_or_default();
        let (path, mode, user, group, age) = (next(), next(), next(), next(), next());
        let mut letters = kind.chars();
        let letter = letters.next().unwrap_or(' ');
        let modifiers = letters.as_str();
        if let Some(unknown) = modifiers.chars().find(|c| !"!-+=~^$?".contains(*c)) {
            return Err(format!("there is no modifier `{unknown}` of a type"));
        }
        let has = |modifier: char| modifiers.contains(modifier);
        let kind = Kind::of(letter).ok_or_else(|| format!("there is no type `{kind}`"))?;
        let kind = if kind == Kind::File && has('+') { Kind::Truncate } else { kind };
        let path = match conf_d::resolve(&path.ok_or("the path is missing")?, facts) {
            Ok(path) => normal(&path).ok_or_else(|| format!("`{path}` is no absolute path without `..`"))?,
            Err(Unresolved::NoMachineId) => return Ok(None),
            Err(Unresolved::Unknown) => return Err("the path has a specifier that means nothing".to_owned()),
        };
        let argument = Some(rest).filter(|rest| !rest.is_empty() && *rest != "-");
        let argument = argument.map(|text| argument_of(kind, text, facts)).transpose()?;
        let argument = match argument {
            Some(name) if has('^') => match credential(&name) {
                Some(content) => Some(content),
                None => return Ok(None),
            },
            other => other,
        };
        let argument = match argument {
            Some(text) if has('~') => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text.trim_ascii());
                Some(decoded.map_err(|error| format!("the argument is no Base64: {error}"))?)
            }
            other => other,
        };
        let (mode, masked) = mode.map_or(Ok((None, false)), |mode| mode_of(&mode))?;
        let named = |text: Option<String>| -> Result<Option<Set<String>>, String> {
            let Some(text) = text else { return Ok(None) };
            let (only_new, name) = text.strip_prefix(':').map_or((false, text.as_str()), |name| (true, name));
            let value = conf_d::resolve(name, facts)
                .map_err(|_| format!("`{name}` has a specifier that means nothing"))?;
            Ok(Some(Set { value, only_new }))
        };
        Ok(Some(Item {
            kind,
            path,
            boot: has('!'),
            may_fail: has('-'),
            force: has('+'),
            replace_other: has('='),
            only_to_existing: has('?'),
            mode,
            masked,
            user: named(user)?,
            group: named(group)?,
            age: age.map(|age| age_of(&age)).transpose()?,
            argument,
        }))
    }

    /// Can both lines be followed, though they are about one path?
    pub fn agrees_with(&self, other: &Item) -> bool {
        !self.kind.owns() || !other.kind.owns() || self.force || {
            let same = |a: &Item, b: &Item| {
                a.argument == b.argument
                    && a.user == b.user
                    && a.group == b.group
                    && a.mode == b.mode
                    && a.age == b.age
            };
            same(self, other)
        }
    }
}

fn argument_of(kind: Kind, text: &str, facts: &Facts) -> Result<Vec<u8>, String> {
    let resolved = |text: &str| {
        conf_d::resolve(text, facts)
            .map_err(|_| "the argument has a specifier that means nothing here".to_owned())
    };
    match kind {
        Kind::File | Kind::Truncate | Kind::Write | Kind::Copy | Kind::Link => {
            let bytes = unescape(text);
            match String::from_utf8(bytes) {
                Ok(text) => resolved(&text).map(String::into_bytes),
                // Bytes that are no text have no specifiers.
                Err(error) => Ok(error.into_bytes()),
            }
        }
        Kind::Xattr | Kind::XattrTree => resolved(text).map(String::into_bytes),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

fn credential(name: &[u8]) -> Option<Vec<u8>> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('/') && !name.starts_with('.'))?;
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    crate::exec::safe_path::read_small(std::path::Path::new(&folder).join(name)).ok()
}

/// An absolute path without `.`, doubled or trailing slashes.
fn normal(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (path.starts_with('/') && !parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}

fn mode_of(text: &str) -> Result<(Option<Set<u32>>, bool), String> {
    let digits = text.trim_start_matches(['~', ':']);
    let value = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777);
    let value = value.ok_or_else(|| format!("`{text}` is no mode"))?;
    let prefix = &text[..text.len() - digits.len()];
    Ok((Some(Set { value, only_new: prefix.contains(':') }), prefix.contains('~')))
}

fn age_of(text: &str) -> Result<Age, String> {
    let wrong = || format!("`{text}` is no age");
    let (keep_first_level, rest) = text.strip_prefix('~').map_or((false, text), |rest| (true, rest));
    let has_times =
        |(times, _): &(&str, &str)| !times.is_empty() && times.chars().all(|c| "aAbBcCmM".contains(c));
    let (times, span) = rest.split_once(':').filter(has_times).unwrap_or(("", rest));
    let of = |letters: [char; 4]| {
        let [access, birth, change, modification] = letters.map(|letter| times.contains(letter));
        Times { access, birth, change, modification }
    };
    let all = Times { access: true, birth: true, change: true, modification: true };
    let (files, directories) = match times {
        // A directory's change is that of what was in it, so that it counts only where it is asked for.
        "" => (all, Times { change: false, ..all }),
        _ => (of(['a', 'b', 'c', 'm']), of(['A', 'B', 'C', 'M'])),
    };
    let usec = parse_microseconds(span).ok_or_else(wrong)?;
    Ok(Age { usec, keep_first_level, files, directories })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Item>, String> {
        Item::parse(text, &Facts::default())
    }

    #[test]
    fn given_a_line_when_read_then_its_fields_are_those_of_the_manual() {
        let item = parse(r#"f+!- "/run//a b/" ~:0644 :root - ~aM:3d  text\x20"of it""#).unwrap().unwrap();
        assert_eq!((item.kind, item.path.as_str()), (Kind::Truncate, "/run/a b"));
        assert_eq!((item.boot, item.may_fail, item.masked), (true, true, true));
        assert_eq!(item.mode, Some(Set { value: 0o644, only_new: true }));
        assert_eq!(item.user, Some(Set { value: "root".into(), only_new: true }));
        assert_eq!(item.group, None);
        let age = item.age.unwrap();
        assert_eq!((age.usec, age.keep_first_level), (3 * 24 * 3_600_000_000, true));
        assert!(age.files.access && !age.files.modification && age.directories.modification);
        assert_eq!(item.argument.as_deref(), Some(&b"text \"of it\""[..]));
    }

    #[test]
    fn given_lines_that_are_wrong_or_not_for_now_when_read_then_they_are_told_apart() {
        for bad in [
            "k /a",
            "d",
            "d a",
            "d /a/../b",
            "d /a 0999",
            "d /a - - - x",
            "d% /a",
            "f~ /a - - - - ?",
            "d /%n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("d /%m"), Ok(None));
        assert_eq!(parse("f^ /a - - - - none"), Ok(None));
    }
}
