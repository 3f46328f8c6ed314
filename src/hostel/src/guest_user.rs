//! Users of a guest, looked up inside it.
//!
//! Runs in a process that has joined the guest, as the guest's root: the files are the guest's, and what they say is
//! only ever used there.

use crate::error::{Error, Result};
use crate::escape::printable_line;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

/// Bytes of a file of users that are looked at.
const FILE_MAX: u64 = 16 << 20;

/// A user of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestUser {
    /// Its name; its number where it has none.
    pub name: String,
    /// User id.
    pub id: u32,
    /// Primary group.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// Finds `NAME`, `NUMBER`, or either with `:GROUP`.
pub fn find(wanted: &str) -> Result<GuestUser> {
    let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
    resolve(wanted, &passwd, &group, |database, key| {
        // What is in no file, the guest's own name service may know.
        let asked = Command::new("getent").args([database, key]).env_clear().stdin(Stdio::null()).output();
        asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    })
}

/// The numbers of groups, by name or number.
pub fn groups(wanted: &[String]) -> Result<Vec<u32>> {
    let group = read("/etc/group");
    let found = |wanted: &String| {
        let id = wanted.parse().ok().filter(|id| *id != u32::MAX).or_else(|| group_in(&group, wanted));
        id.ok_or_else(|| {
            Error::Invalid(format!("the guest has no group {:?}", printable_line(wanted.as_bytes())))
        })
    };
    wanted.iter().map(found).collect()
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() }
}

fn resolve(wanted: &str, passwd: &str, group: &str, ask: impl Fn(&str, &str) -> String) -> Result<GuestUser> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let number: Option<u32> = user.parse().ok();
    // A number that is none must not become a name, which the guest may have given to its root (CVE-2026-46680).
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    for (text, known) in
        [(Some(user), number), (wanted_group, wanted_group.and_then(|group| group.parse().ok()))]
    {
        if let Some(text) = text.filter(|text| digits(text))
            && known.is_none_or(|id| id == u32::MAX)
        {
            return Err(Error::Invalid(format!("{text} is no user or group: ids end at 4294967294")));
        }
    }
    let known = user_in(passwd, user, number).or_else(|| user_in(&ask("passwd", user), user, number));
    let mut found = match (known, number) {
        (Some(found), _) => found,
        (None, Some(id)) => GuestUser {
            name: user.into(),
            id,
            group: id,
            groups: Vec::new(),
            home: if id == 0 { "/root".into() } else { "/".into() },
            shell: "/bin/sh".into(),
        },
        (None, None) => {
            return Err(Error::Invalid(format!(
                "the guest has no user {:?}",
                printable_line(user.as_bytes())
            )));
        }
    };
    found.groups = groups_in(group, &found.name);
    if let Some(wanted_group) = wanted_group {
        let id = wanted_group.parse().ok();
        let id = id.or_else(|| group_in(group, wanted_group));
        let id = id.or_else(|| group_in(&ask("group", wanted_group), wanted_group));
        found.group = id.ok_or_else(|| {
            Error::Invalid(format!("the guest has no group {:?}", printable_line(wanted_group.as_bytes())))
        })?;
        found.groups = Vec::new();
    }
    if !found.groups.contains(&found.group) {
        found.groups.push(found.group);
    }
    Ok(found)
}

fn user_in(passwd: &str, name: &str, number: Option<u32>) -> Option<GuestUser> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[user, _, id, group, _, home, shell] = fields.as_slice() else { return None };
        let (id, group) = (id.parse().ok()?, group.parse().ok()?);
        // A number means the id, even if somebody is called so.
        let is_it = number.map_or(user == name, |number| number == id);
        is_it.then(|| GuestUser {
            name: user.into(),
            id,
            group,
            groups: Vec::new(),
            home: if home.is_empty() { "/".into() } else { home.into() },
            shell: if shell.is_empty() { "/bin/sh".into() } else { shell.into() },
        })
    })
}

fn group_in(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn groups_in(group: &str, user: &str) -> Vec<u32> {
    let memberships = group.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let id = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == user).then_some(id)
    });
    memberships.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nweb:x:33:34::/srv:\n1000:x:5:5::/:/bin/sh\nbroken:x:7\n4294967296:x:0:0::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nadm:x:4:web,root\nssl:x:110:web\n";

    fn find(wanted: &str) -> Result<GuestUser> {
        resolve(wanted, PASSWD, GROUP, |_, _| String::new())
    }

    #[test]
    fn given_a_name_when_found_then_the_groups_are_the_users() {
        let user = find("web").unwrap();
        assert_eq!(
            (user.id, user.group, user.home.as_str(), user.shell.as_str()),
            (33, 34, "/srv", "/bin/sh")
        );
        assert_eq!(user.groups, [4, 110, 34]);
    }

    #[test]
    fn given_a_number_when_found_then_it_is_the_id_even_if_somebody_is_called_so() {
        assert_eq!(find("33").unwrap().name, "web");
        let unknown = find("1000").unwrap();
        assert_eq!((unknown.id, unknown.group), (1000, 1000));
    }

    #[test]
    fn given_a_group_when_named_then_it_is_the_only_one() {
        assert_eq!(find("web:adm").unwrap().groups, [4]);
        assert_eq!(find("root:34").unwrap().group, 34);
    }

    #[test]
    fn given_somebody_unknown_or_half_written_when_asked_for_then_it_is_refused() {
        for wanted in ["nobody", "broken", "", "web:nogroup", ":adm", "4294967296", "web:4294967295"] {
            assert!(find(wanted).is_err(), "{wanted}");
        }
    }
}
