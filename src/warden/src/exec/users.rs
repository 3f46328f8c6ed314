//! Who a command runs as: names and numbers, from the guest's own files, then from its own `getent`.
//!
//! A static program must not call getpwnam(3), which would load the guest's NSS modules into itself. The files
//! are parsed here; where a name isn't in them (LDAP, sssd, homed), the guest's `getent` is run and asked.

use super::dynamic;
use super::environment::SEARCH_PATH;
use super::failure::Failure;
use super::job::Job;
use super::safe_path::read_small;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use std::process::{Command, Stdio};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The user that owns nothing: its entry has no home, whatever it says.
pub const NOBODY: u32 = 65534;

/// A line of passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory, may be empty.
    pub home: String,
    /// Login shell, may be empty.
    pub shell: String,
}

/// What a command runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User=, or the allocated one of DynamicUser=; none: as init.
    pub user: Option<User>,
    /// The group; none: as init.
    pub gid: Option<u32>,
    /// Supplementary groups; none: as init.
    pub groups: Option<Vec<u32>>,
}

/// The user of one line; `None` for what is no entry.
fn user_of_line(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let (name, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (_gecos, home, shell) = (fields.next(), fields.next(), fields.next());
    // `+` and `-` begin NIS entries.
    if name.is_empty() || name.starts_with(['+', '-', '#']) {
        return None;
    }
    Some(User {
        name: name.to_string(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.unwrap_or_default().to_string(),
        shell: shell.unwrap_or_default().trim_end().to_string(),
    })
}

/// The user with this name, or this number, in the text of a passwd file. A name of digits wins over a number.
pub fn find_user(passwd: &str, wanted: &str) -> Option<User> {
    let users = || passwd.lines().filter_map(user_of_line);
    users().find(|user| user.name == wanted).or_else(|| {
        let uid: u32 = wanted.parse().ok()?;
        users().find(|user| user.uid == uid)
    })
}

/// The groups of a group file: name, number, members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
        let members = fields.next().unwrap_or_default().trim_end();
        (!name.is_empty() && !name.starts_with(['+', '-', '#'])).then_some((name, gid.parse().ok()?, members))
    })
}

/// The number of the group with this name, or this number, in the text of a group file. A name of digits wins.
pub fn find_group(group: &str, wanted: &str) -> Option<u32> {
    let number = wanted.parse::<u32>().ok();
    let named = groups(group).find(|(name, ..)| *name == wanted);
    named.or_else(|| groups(group).find(|(_, gid, _)| Some(*gid) == number)).map(|(_, gid, _)| gid)
}

/// The groups that list a user as a member.
pub fn groups_of(group: &str, user: &str) -> Vec<u32> {
    groups(group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .collect()
}

fn text_of(path: &str) -> String {
    read_small(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The first line that the guest's `getent DATABASE KEY` prints.
fn getent(database: &str, key: &str) -> Option<String> {
    let output = Command::new("getent")
        .args([database, key])
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(String::from)
}

/// A user by name or number. A number without an entry is nobody's, as systemd has it.
pub fn user(wanted: &str) -> Result<User, Failure> {
    if let Some(user) = find_user(&text_of(PASSWD), wanted) {
        return Ok(user);
    }
    if let Some(user) = getent("passwd", wanted).and_then(|line| user_of_line(&line)) {
        return Ok(user);
    }
    let text = format!("no user `{wanted}` in {PASSWD}, nor by getent; make it or change User=");
    Err(Failure::with(ExecStep::User, Errno::SRCH, text))
}

/// A group by name or number.
pub fn group(wanted: &str) -> Result<u32, Failure> {
    if let Some(gid) = find_group(&text_of(GROUP), wanted) {
        return Ok(gid);
    }
    getent("group", wanted).and_then(|line| groups(&line).next().map(|(_, gid, _)| gid)).ok_or_else(|| {
        let text = format!("no group `{wanted}` in {GROUP}, nor by getent; make it or change Group=");
        Failure::with(ExecStep::Group, Errno::SRCH, text)
    })
}

/// DynamicUser=: a static user of the same name comes first, as systemd.exec(5) says.
fn dynamic_user(job: &Job<'_>) -> Result<User, Failure> {
    let name = dynamic::name(job);
    find_user(&text_of(PASSWD), name).map_or_else(|| dynamic::allocate(job, name), Ok)
}

/// The only user that there is, where nobody can become another one: an arbitrary uid without capabilities (Kubernetes'
/// restricted pods, OpenShift), or a user namespace of one user. Every unit runs as that one then.
pub fn only_user() -> Option<u32> {
    let capabilities =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let alone = is_of_one(&map) || !capabilities.contains(CapabilitySet::SETUID | CapabilitySet::SETGID);
    alone.then(|| rustix::process::geteuid().as_raw())
}

/// Does a map of users (user_namespaces(7)) have but one?
fn is_of_one(map: &str) -> bool {
    let mut counts = map.lines().map(|line| line.split_whitespace().nth(2));
    counts.next() == Some(Some("1")) && counts.next().is_none()
}

/// Resolves User=, Group=, SupplementaryGroups= and DynamicUser= of a unit, as far as they can be had: by name, the user
/// is the unit's also where [`only_user`] stands for it.
pub fn identity(job: &Job<'_>) -> Result<Identity, Failure> {
    let Some(uid) = only_user() else { return wanted(job) };
    let name = job.setting(SettingKey::User).filter(|_| !job.is_on(SettingKey::DynamicUser));
    let own = |user: User| User { uid, gid: rustix::process::getegid().as_raw(), ..user };
    Ok(Identity { user: name.map(user).transpose()?.map(own), gid: None, groups: None })
}

/// What the unit wants.
fn wanted(job: &Job<'_>) -> Result<Identity, Failure> {
    let user = match job.setting(SettingKey::User) {
        _ if job.is_on(SettingKey::DynamicUser) => Some(dynamic_user(job)?),
        Some(name) => Some(user(name)?),
        None => None,
    };
    let gid = match job.setting(SettingKey::Group) {
        Some(name) if job.is_on(SettingKey::DynamicUser) => match find_group(&text_of(GROUP), name) {
            Some(gid) => Some(gid),
            None => Some(dynamic::allocate(job, name)?.gid),
        },
        Some(name) => Some(group(name)?),
        None => user.as_ref().map(|user| user.gid),
    };
    let mut supplementary = Vec::new();
    for name in job.words(SettingKey::SupplementaryGroups) {
        supplementary.push(group(name)?);
    }
    let groups = match &user {
        // Group 0 is no user's that would be looked up for more: get_supplementary_groups of systemd.
        Some(_) if gid == Some(0) => Some(supplementary),
        Some(user) => {
            let mut all = match job.is_on(SettingKey::DynamicUser) {
                true => groups_of(&text_of(GROUP), &user.name),
                false => member_groups(user),
            };
            all.extend(gid);
            all.extend(supplementary);
            all.sort_unstable();
            all.dedup();
            Some(all)
        }
        None if supplementary.is_empty() && gid.is_none() => None,
        None => Some(supplementary),
    };
    Ok(Identity { user, gid, groups })
}

/// The groups that a user is a member of; by getent where the user isn't in the files.
fn member_groups(user: &User) -> Vec<u32> {
    let mut all = groups_of(&text_of(GROUP), &user.name);
    if find_user(&text_of(PASSWD), &user.name).is_none()
        && user.name.parse::<u32>().is_err()
        && let Some(line) = getent("initgroups", &user.name)
    {
        all.extend(line.split_whitespace().skip(1).filter_map(|gid| gid.parse::<u32>().ok()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD_TEXT: &str = "root:x:0:0:root:/root:/bin/bash\n\n# comment\n+nis:::::\nbroken:x:\n\
        www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nodd:x:notanumber:1::/:\n1000:x:7:7::/seven:\nshort:x:9:9\n";
    const GROUP_TEXT: &str =
        "root:x:0:\nadm:x:4:syslog,www-data\n\nbad\nssl-cert:x:106:postgres,www-data\nusers:x:100:\n";

    #[test]
    fn given_a_passwd_file_when_a_name_is_looked_for_then_its_entry_is_found() {
        let user = find_user(PASSWD_TEXT, "www-data").unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (33, 33, "/var/www"));
        assert_eq!(find_user(PASSWD_TEXT, "33").unwrap().name, "www-data");
        assert_eq!(find_user(PASSWD_TEXT, "short").unwrap().home, "");
    }

    #[test]
    fn given_lines_that_are_no_entries_when_looked_for_then_they_are_passed_over() {
        for name in ["broken", "odd", "+nis", "nis", "# comment", "", "nobody"] {
            assert_eq!(find_user(PASSWD_TEXT, name), None, "{name}");
        }
    }

    #[test]
    fn given_a_name_of_digits_when_looked_for_then_the_name_wins() {
        assert_eq!(find_user(PASSWD_TEXT, "1000").unwrap().uid, 7);
    }

    #[test]
    fn given_a_group_file_when_memberships_are_looked_for_then_all_are_found() {
        assert_eq!(groups_of(GROUP_TEXT, "www-data"), [4, 106]);
        assert_eq!(groups_of(GROUP_TEXT, "www"), [] as [u32; 0]);
        assert_eq!(find_group(GROUP_TEXT, "adm"), Some(4));
        assert_eq!(find_group(GROUP_TEXT, "bad"), None);
    }

    #[test]
    fn given_a_map_of_users_when_it_has_but_one_then_nobody_can_become_another() {
        assert!(is_of_one("         0      12345          1\n"));
        for map in ["", "0 0 4294967295\n", "0 1000 1\n1 100000 65536\n", "0 100000 65536\n"] {
            assert!(!is_of_one(map), "{map}");
        }
    }

    #[test]
    fn given_a_user_that_is_nowhere_when_looked_for_then_the_failure_names_it_and_a_remedy() {
        let failure = user("no-such-user-here").unwrap_err();
        assert_eq!(failure.step, ExecStep::User);
        assert!(failure.text.contains("no-such-user-here") && failure.text.contains("User="));
    }
}
