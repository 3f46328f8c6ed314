//! passwd(5), group(5), shadow(5) and gshadow(5) as texts to which lines are added.
//!
//! Pure. Lines that are there stay byte by byte; lines of NIS, which begin with `+` or `-`, stay last.

/// The four files: path, mode where there is none, and content.
const FILES: [(&str, u32); 4] =
    [("/etc/group", 0o644), ("/etc/gshadow", 0o640), ("/etc/passwd", 0o644), ("/etc/shadow", 0o640)];

/// The texts of the four files; absent ones are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    texts: [Option<String>; 4],
}

const GROUP: usize = 0;
const GSHADOW: usize = 1;
const PASSWD: usize = 2;
const SHADOW: usize = 3;

/// A user to be added.
pub struct NewUser<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number.
    pub uid: u32,
    /// That of its group.
    pub gid: u32,
    /// Its description.
    pub gecos: &'a str,
    /// Its home directory.
    pub home: &'a str,
    /// Its shell.
    pub shell: &'a str,
    /// The account ended long ago.
    pub locked: bool,
    /// Days since 1970, for shadow(5).
    pub today: u64,
}

impl Databases {
    /// Reads them all.
    pub fn read(mut read: impl FnMut(&str) -> Result<Option<String>, String>) -> Result<Databases, String> {
        let mut databases = Databases::default();
        for (text, (path, _)) in databases.texts.iter_mut().zip(FILES) {
            *text = read(path)?;
        }
        Ok(databases)
    }

    /// Path, mode where there is none, old and new content of each that is another one in `after`.
    pub fn changed<'a>(
        &'a self,
        after: &'a Databases,
    ) -> impl Iterator<Item = (&'static str, u32, Option<&'a str>, &'a str)> {
        let pairs = FILES.into_iter().zip(self.texts.iter().zip(&after.texts));
        pairs
            .filter(|(_, (old, new))| old != new)
            .filter_map(|((path, mode), (old, new))| Some((path, mode, old.as_deref(), new.as_deref()?)))
    }

    fn field(&self, file: usize, name: &str, index: usize) -> Option<&str> {
        let line = self.texts[file].as_deref()?.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(index)
    }

    fn by_number(&self, file: usize, number: u32) -> Option<&str> {
        let mut lines = self.texts[file].as_deref().unwrap_or("").lines();
        let line =
            lines.find(|line| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(number))?;
        line.split(':').next()
    }

    /// Number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.field(PASSWD, name, 2)?.parse().ok()
    }

    /// Number of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.field(GROUP, name, 2)?.parse().ok()
    }

    /// Name of a user.
    pub fn user_of(&self, uid: u32) -> Option<&str> {
        self.by_number(PASSWD, uid)
    }

    /// Name of a group.
    pub fn group_of(&self, gid: u32) -> Option<&str> {
        self.by_number(GROUP, gid)
    }

    /// Adds a group without members.
    pub fn add_group(&mut self, name: &str, gid: u32) {
        self.add(GROUP, name, &format!("x:{gid}:"));
        self.add(GSHADOW, name, "!*::");
    }

    /// Adds a user, who has no password.
    pub fn add_user(&mut self, user: &NewUser<'_>) {
        let NewUser { name, uid, gid, gecos, home, shell, locked, today } = user;
        self.add(PASSWD, name, &format!("x:{uid}:{gid}:{gecos}:{home}:{shell}"));
        // Root's may be set at a first boot; others have none, ever.
        let password = if *name == "root" { "!unprovisioned" } else { "!*" };
        let expires = if *locked { "1" } else { "" };
        self.add(SHADOW, name, &format!("{password}:{today}:::::{expires}:"));
    }

    /// Adds a member to a group that is there; members are sorted then.
    pub fn add_member(&mut self, group: &str, user: &str) {
        for (file, members_at) in [(GROUP, 3), (GSHADOW, 3)] {
            let Some(text) = &mut self.texts[file] else { continue };
            let with = |line: &str| {
                let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
                if fields.first().map(String::as_str) != Some(group) || fields.len() <= members_at {
                    return line.to_owned();
                }
                let mut members: Vec<&str> =
                    fields[members_at].split(',').filter(|m| !m.is_empty()).collect();
                if members.contains(&user) {
                    return line.to_owned();
                }
                members.push(user);
                members.sort_unstable();
                fields[members_at] = members.join(",");
                fields.join(":")
            };
            *text = text.lines().map(|line| with(line) + "\n").collect();
        }
    }

    /// Adds a line, where none of that name is.
    fn add(&mut self, file: usize, name: &str, fields: &str) {
        if self.field(file, name, 0).is_some() {
            return;
        }
        let text = self.texts[file].get_or_insert_default();
        let is_nis = |line: &str| line.starts_with(['+', '-']);
        let mut lines: Vec<&str> = text.lines().collect();
        let new = format!("{name}:{fields}");
        let at = lines.iter().position(|line| is_nis(line)).unwrap_or(lines.len());
        lines.insert(at, &new);
        *text = lines.join("\n") + "\n";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_lines_of_nis_when_a_group_is_added_then_they_stay_last() {
        let mut databases = Databases::default();
        databases.texts[GROUP] = Some("root:x:0:\n+::::\n".into());
        databases.add_group("web", 500);
        databases.add_group("web", 501);
        databases.add_member("web", "z");
        databases.add_member("web", "a");
        databases.add_member("web", "z");
        assert_eq!(databases.texts[GROUP].as_deref(), Some("root:x:0:\nweb:x:500:a,z\n+::::\n"));
        assert_eq!(databases.texts[GSHADOW].as_deref(), Some("web:!*::a,z\n"));
        assert_eq!((databases.gid("web"), databases.group_of(500)), (Some(500), Some("web")));
    }
}
