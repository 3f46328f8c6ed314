//! A number for each user and group that is asked for, as systemd-sysusers chooses it.
//!
//! Pure but for the owners of files that a line names. Groups first, then users, each in the order of the files. The
//! number asked for is taken if it is free; else the one that a group of the same name has; else the highest free one
//! of the range for system users.

use super::database::{Databases, NewUser};
use super::line::{Id, Primary, Request};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// The highest number of a system user that systemd is built with.
const SYSTEM_MAX: u32 = 999;
/// The lowest that is given without being asked for.
const SYSTEM_ALLOC_MIN: u32 = 100;
const NOLOGIN: &str = "/usr/sbin/nologin";
const ROOT_SHELL: &str = "/bin/bash";
const DAY: u64 = 24 * 60 * 60;

/// Numbers that may be given, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(pub u32, pub u32);

impl Limits {
    /// As login.defs(5) has them: never above what systemd is built with.
    pub fn of(login_defs: &[u8]) -> Limits {
        let text = String::from_utf8_lossy(login_defs);
        let value = |key: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(key))?;
            line.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let max = |key| value(key).unwrap_or(SYSTEM_MAX).min(SYSTEM_MAX);
        let from = value("SYS_UID_MIN").unwrap_or(SYSTEM_ALLOC_MIN);
        Limits(from, max("SYS_UID_MAX").min(max("SYS_GID_MAX")))
    }
}

/// What is being added.
struct Choice<'a> {
    databases: &'a mut Databases,
    /// Numbers to choose from, both included.
    ranges: Vec<(u32, u32)>,
    /// Below it none was tried yet.
    next: u32,
}

/// Adds all that is asked for, and tells what could not be.
pub fn add_all(requests: &[(String, Request)], limits: Limits, databases: &mut Databases) -> Vec<String> {
    let asked = |(_, request): &(String, Request)| match request {
        Request::Range(from, to) => Some((*from, *to)),
        _ => None,
    };
    let mut ranges: Vec<(u32, u32)> = requests.iter().filter_map(asked).collect();
    if ranges.is_empty() {
        ranges.push((limits.0, limits.1));
    }
    let mut choice = Choice { databases, ranges, next: u32::MAX };
    let mut refused = Vec::new();
    let mut tell =
        |at: &str, done: Result<(), String>| refused.extend(done.err().map(|e| format!("{at}: {e}")));
    let mut first: BTreeMap<(bool, &str), &Request> = BTreeMap::new();
    for (at, request) in requests {
        let key = match request {
            Request::User { name, .. } => (true, name.as_str()),
            Request::Group { name, .. } => (false, name.as_str()),
            _ => continue,
        };
        if *first.entry(key).or_insert(request) != request {
            eprintln!("{at}: `{}` is asked for already, differently; ignoring the line", key.1);
        }
    }
    let counts = |request: &Request, key| first.get(&key).is_some_and(|kept| std::ptr::eq(*kept, request));
    // Those that only a line of members names come behind all that have a line of their own.
    for (at, request) in requests {
        if let Request::Group { name, id } = request
            && counts(request, (false, name))
        {
            tell(at, choice.group(name, id, None).map(drop));
        }
    }
    for (at, request) in requests {
        if let Request::Member { group, .. } = request
            && !first.contains_key(&(false, group.as_str()))
        {
            tell(at, choice.group(group, &Id::Any, None).map(drop));
        }
    }
    for (at, request) in requests {
        if let Request::User { name, .. } = request
            && counts(request, (true, name))
        {
            tell(at, choice.user(request));
        }
    }
    for (at, request) in requests {
        if let Request::Member { user, .. } = request
            && !first.contains_key(&(true, user.as_str()))
        {
            tell(at, choice.user(&plain_user(user)));
        }
    }
    for (_, request) in requests {
        if let Request::Member { user, group } = request {
            choice.databases.add_member(group, user);
        }
    }
    refused
}

/// A user of whom no more is known than the name.
fn plain_user(name: &str) -> Request {
    Request::User {
        name: name.to_owned(),
        id: Id::Any,
        primary: Primary::Own,
        gecos: String::new(),
        home: None,
        shell: None,
        locked: false,
    }
}

impl Choice<'_> {
    /// Is this number free as a group's, and, where `alone` is false, as the user's of another name?
    fn gid_is_free(&self, gid: u32, name: &str, other: Other) -> bool {
        self.databases.group_of(gid).is_none()
            && (other == Other::MayHaveIt || self.databases.user_of(gid).is_none_or(|user| user == name))
    }

    fn uid_is_free(&self, uid: u32, name: &str, other: Other) -> bool {
        self.databases.user_of(uid).is_none()
            && (other == Other::MayHaveIt || self.databases.group_of(uid).is_none_or(|group| group == name))
    }

    /// The highest number of the ranges below the last one tried for which `free` holds.
    fn search(&mut self, free: impl Fn(&Self, u32) -> bool) -> Result<u32, String> {
        loop {
            let below = |(from, to): &(u32, u32)| {
                let highest = (*to).min(self.next.checked_sub(1)?);
                (highest >= *from).then_some(highest)
            };
            let candidate = self.ranges.iter().filter_map(below).max();
            self.next = candidate.ok_or("no number of the range for system users is free")?;
            if free(self, self.next) {
                return Ok(self.next);
            }
        }
    }

    /// Makes a group, unless it is there. `of_user`: the number that its user wants.
    fn group(&mut self, name: &str, id: &Id, of_user: Option<u32>) -> Result<u32, String> {
        if let Some(gid) = self.databases.gid(name) {
            return Ok(gid);
        }
        let asked = match id {
            Id::Number(gid) => Some(*gid).filter(|gid| self.gid_is_free(*gid, name, Other::MayHaveIt)),
            Id::OfFile(path) => std::fs::metadata(path)
                .ok()
                .map(|file| file.gid())
                .filter(|gid| *gid != 0 && self.gid_is_free(*gid, name, Other::MustNotHaveIt)),
            Id::Any => None,
        };
        let of_user = of_user.filter(|uid| self.gid_is_free(*uid, name, Other::MustNotHaveIt));
        let gid = match asked.or(of_user) {
            Some(gid) => gid,
            None => self.search(|choice, gid| choice.gid_is_free(gid, name, Other::MustNotHaveIt))?,
        };
        self.databases.add_group(name, gid);
        Ok(gid)
    }

    /// Makes a user and its group, unless they are there.
    fn user(&mut self, request: &Request) -> Result<(), String> {
        let Request::User { name, id, primary, gecos, home, shell, locked } = request else { return Ok(()) };
        let wanted = match id {
            Id::Number(uid) => Some(*uid),
            Id::OfFile(path) => std::fs::metadata(path).ok().map(|file| file.uid()).filter(|uid| *uid != 0),
            Id::Any => None,
        };
        let gid = match primary {
            Primary::Own => self.group(name, &Id::Any, wanted)?,
            Primary::Number(gid) if self.databases.group_of(*gid).is_some() => *gid,
            Primary::Number(gid) => return Err(format!("there is no group with the number {gid}")),
            Primary::Name(group) => {
                self.databases.gid(group).ok_or_else(|| format!("there is no group `{group}`"))?
            }
        };
        if self.databases.uid(name).is_some() {
            return Ok(());
        }
        // A group that was asked for by its number has nothing to do with the user's.
        let other = if *primary == Primary::Own { Other::MustNotHaveIt } else { Other::MayHaveIt };
        let asked = wanted.filter(|uid| self.uid_is_free(*uid, name, other));
        let like_group = Some(gid).filter(|gid| self.uid_is_free(*gid, name, Other::MustNotHaveIt));
        let uid = match asked.or(like_group) {
            Some(uid) => uid,
            None => self.search(|choice, uid| choice.uid_is_free(uid, name, Other::MustNotHaveIt))?,
        };
        let default_shell = if uid == 0 { ROOT_SHELL } else { NOLOGIN };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.databases.add_user(&NewUser {
            name,
            uid,
            gid,
            gecos,
            home: home.as_deref().unwrap_or("/"),
            shell: shell.as_deref().unwrap_or(default_shell),
            locked: *locked,
            today: since.map_or(0, |since| since.as_secs() / DAY),
        });
        Ok(())
    }
}

/// What of the other kind, a user for a group and the other way round, may have the same number under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    MayHaveIt,
    MustNotHaveIt,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Facts;

    fn databases(lines: &str) -> (Databases, Vec<String>) {
        let parse = |line: &str| Request::parse(line, &Facts::default()).unwrap().unwrap();
        let requests: Vec<(String, Request)> =
            lines.lines().map(|line| (line.to_owned(), parse(line))).collect();
        let mut databases = Databases::default();
        let refused = add_all(&requests, Limits(100, 999), &mut databases);
        (databases, refused)
    }

    #[test]
    fn given_users_without_numbers_when_added_then_the_highest_are_taken_and_groups_have_the_same() {
        let (made, refused) = databases("u a -\ng b -\nu c 33\nu d 5:60\ng games 60\nu e -:b\nm f b\nu g 33");
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!((made.gid("b"), made.uid("a"), made.gid("a")), (Some(999), Some(998), Some(998)));
        assert_eq!(
            (made.uid("c"), made.gid("c"), made.uid("d"), made.gid("d")),
            (Some(33), Some(33), Some(5), None)
        );
        assert_eq!((made.uid("e"), made.gid("e")), (Some(997), None));
        assert_eq!((made.uid("g"), made.gid("g")), (Some(996), Some(996)));
    }

    #[test]
    fn given_no_free_number_or_group_when_added_then_the_line_is_named() {
        let (made, refused) = databases("r - 100-100\ng a -\ng b -\nu c -:none");
        assert_eq!((made.gid("a"), made.gid("b"), refused.len()), (Some(100), None, 2));
    }
}
