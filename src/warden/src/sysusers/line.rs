//! A line of sysusers.d(5): what is asked for.
//!
//! Pure.

use crate::compile::Facts;
use crate::conf_d::{self, Unresolved};

/// Longest name (utmp(5)'s).
const NAME_MAX: usize = 31;

/// A number, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Id {
    /// Any free one.
    #[default]
    Any,
    /// This one, if it is free.
    Number(u32),
    /// That of a file's owner or group, if it is free.
    OfFile(String),
}

/// The primary group of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primary {
    /// A group of the user's own name.
    Own,
    /// One that is there, by number.
    Number(u32),
    /// One that is there, by name.
    Name(String),
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `u`: a user, and its group.
    User {
        /// Its name.
        name: String,
        /// Its number.
        id: Id,
        /// Its group.
        primary: Primary,
        /// Its description.
        gecos: String,
        /// Its home directory.
        home: Option<String>,
        /// Its login shell.
        shell: Option<String>,
        /// `u!`: nobody can log in as it, by no means.
        locked: bool,
    },
    /// `g`: a group.
    Group {
        /// Its name.
        name: String,
        /// Its number.
        id: Id,
    },
    /// `m`: a user as a member of a group; both are made where they are missing.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// `r`: numbers that may be taken.
    Range(u32, u32),
}

impl Request {
    /// Reads a line. `None`: it is not for a machine that has no id yet.
    pub fn parse(text: &str, facts: &Facts) -> Result<Option<Request>, String> {
        let (words, rest) = conf_d::words(text, 6)?;
        if !rest.is_empty() {
            return Err(format!("there is more on the line than it can have: `{rest}`"));
        }
        let mut resolved = Vec::new();
        for word in words {
            resolved.push(match word.map(|word| conf_d::resolve(&word, facts)).transpose() {
                Ok(word) => word,
                Err(Unresolved::NoMachineId) => return Ok(None),
                Err(Unresolved::Unknown) => return Err("it has a specifier that means nothing".to_owned()),
            });
        }
        let mut words = resolved.into_iter();
        let mut next = || words.next().flatten();
        let kind = next().unwrap_or_default();
        let (name, id, gecos, home, shell) = (next(), next(), next(), next(), next());
        let bare = gecos.is_none() && home.is_none() && shell.is_none();
        match kind.as_str() {
            "u" | "u!" => {
                let (id, primary) = user_id(id)?;
                let gecos = gecos.unwrap_or_default();
                let fields = [Some(&gecos), home.as_ref(), shell.as_ref()];
                if fields.into_iter().flatten().any(|field| field.contains([':', '\n'])) {
                    return Err("a field has a colon, which would end it in /etc/passwd".to_owned());
                }
                let locked = kind == "u!";
                Ok(Some(Request::User { name: valid(name)?, id, primary, gecos, home, shell, locked }))
            }
            "g" if bare => Ok(Some(Request::Group { name: valid(name)?, id: number_or_file(id)? })),
            "m" if bare => Ok(Some(Request::Member { user: valid(name)?, group: valid(id)? })),
            "r" if bare && name.is_none() => {
                let text = id.ok_or("a range of numbers is missing")?;
                let (from, to) = text.split_once('-').unwrap_or((&text, &text));
                match (number(from), number(to)) {
                    (Some(from), Some(to)) if from <= to => Ok(Some(Request::Range(from, to))),
                    _ => Err(format!("`{text}` is no range of numbers")),
                }
            }
            "g" | "m" | "r" => Err(format!("a line of type `{kind}` takes fewer fields")),
            other => Err(format!("there is no type `{other}`; there are u, u!, g, m and r")),
        }
    }
}

/// `UID`, `UID:GID`, `UID:GROUP`, `-:GROUP`, or the path of a file.
fn user_id(text: Option<String>) -> Result<(Id, Primary), String> {
    let Some(text) = text else { return Ok((Id::Any, Primary::Own)) };
    match text.split_once(':') {
        Some((user, group)) if !text.starts_with('/') => {
            let primary = match number(group) {
                Some(gid) => Primary::Number(gid),
                None => Primary::Name(valid(Some(group.to_owned()))?),
            };
            let user = Some(user.to_owned()).filter(|user| user != "-" && !user.is_empty());
            Ok((number_or_file(user)?, primary))
        }
        _ => Ok((number_or_file(Some(text))?, Primary::Own)),
    }
}

fn number_or_file(text: Option<String>) -> Result<Id, String> {
    match text {
        None => Ok(Id::Any),
        Some(path) if path.starts_with('/') => Ok(Id::OfFile(path)),
        Some(text) => {
            number(&text).map(Id::Number).ok_or_else(|| format!("`{text}` is no number of a user or group"))
        }
    }
}

/// A number that a user or group can have: neither that of nobody's place in a 16-bit world nor the one for "none".
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX && *id != 0xffff)
}

/// A name that every tool takes.
fn valid(name: Option<String>) -> Result<String, String> {
    let name = name.ok_or("a name is missing")?;
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let good = name.bytes().next().is_some_and(first)
        && name.bytes().all(|b| first(b) || b.is_ascii_digit() || b == b'-')
        && name.len() <= NAME_MAX;
    if good { Ok(name) } else { Err(format!("`{name}` is no valid name of a user or group")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Request>, String> {
        Request::parse(text, &Facts::default())
    }

    #[test]
    fn given_lines_of_each_type_when_read_then_they_ask_for_what_the_manual_says() {
        let Ok(Some(Request::User { name, id, primary, gecos, home, shell, locked })) =
            parse("u! sshd -:nogroup \"sshd user\" /run/sshd")
        else {
            panic!("no user");
        };
        assert_eq!((name.as_str(), id, primary), ("sshd", Id::Any, Primary::Name("nogroup".into())));
        assert_eq!(
            (gecos.as_str(), home.as_deref(), shell, locked),
            ("sshd user", Some("/run/sshd"), None, true)
        );
        assert_eq!(parse("g adm 4 -"), Ok(Some(Request::Group { name: "adm".into(), id: Id::Number(4) })));
        assert_eq!(parse("m a b"), Ok(Some(Request::Member { user: "a".into(), group: "b".into() })));
        assert_eq!(parse("r - 500-900"), Ok(Some(Request::Range(500, 900))));
    }

    #[test]
    fn given_lines_that_are_wrong_when_read_then_each_is_refused() {
        for bad in [
            "x a",
            "u",
            "u 0a",
            "u a:b",
            "u a b",
            "u a 65535",
            "m a",
            "r - 9-5",
            "g a - text",
            "u a - a:b",
            "u %n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
