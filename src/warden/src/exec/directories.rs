//! RuntimeDirectory=, StateDirectory=, CacheDirectory=, LogsDirectory= and ConfigurationDirectory=.

use super::failure::{At, Failure};
use super::job::Job;
use super::safe_path::{self, Missing};
use super::users::{Identity, only_user};
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// One of the five directives.
pub struct Kind {
    /// The directive.
    key: SettingKey,
    /// Its mode.
    mode: SettingKey,
    /// What its names are relative to.
    pub base: &'static str,
    /// The variable that its paths are passed in.
    pub variable: &'static str,
    /// The step that fails.
    step: ExecStep,
}

/// All five, as systemd.exec(5) has them.
pub const KINDS: [Kind; 5] = [
    Kind {
        key: SettingKey::RuntimeDirectory,
        mode: SettingKey::RuntimeDirectoryMode,
        base: "/run",
        variable: "RUNTIME_DIRECTORY",
        step: ExecStep::RuntimeDirectory,
    },
    Kind {
        key: SettingKey::StateDirectory,
        mode: SettingKey::StateDirectoryMode,
        base: "/var/lib",
        variable: "STATE_DIRECTORY",
        step: ExecStep::StateDirectory,
    },
    Kind {
        key: SettingKey::CacheDirectory,
        mode: SettingKey::CacheDirectoryMode,
        base: "/var/cache",
        variable: "CACHE_DIRECTORY",
        step: ExecStep::CacheDirectory,
    },
    Kind {
        key: SettingKey::LogsDirectory,
        mode: SettingKey::LogsDirectoryMode,
        base: "/var/log",
        variable: "LOGS_DIRECTORY",
        step: ExecStep::LogsDirectory,
    },
    Kind {
        key: SettingKey::ConfigurationDirectory,
        mode: SettingKey::ConfigurationDirectoryMode,
        base: "/etc",
        variable: "CONFIGURATION_DIRECTORY",
        step: ExecStep::ConfigurationDirectory,
    },
];

/// A name of such a directive: `name` or `name:link`.
pub fn split_name(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((name, link)) if !link.is_empty() => (name, Some(link)),
        Some((name, _)) => (name, None),
        None => (text, None),
    }
}

/// Whether a name stays below its base: relative, and without `..`.
pub fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// The names of one kind that a unit has, each below the kind's base.
pub fn names<'a>(job: &Job<'a>, kind: &Kind) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    job.words(kind.key).map(split_name).filter(|(name, _)| is_safe_name(name))
}

/// Whether the directories of a kind are below one that only root can enter: a dynamic user's id may be another's
/// tomorrow. The service reaches them in its mount namespace, everybody else by a link and root's rights.
pub fn is_private(job: &Job<'_>, kind: &Kind) -> bool {
    job.is_on(SettingKey::DynamicUser)
        && kind.key != SettingKey::ConfigurationDirectory
        && (kind.key != SettingKey::RuntimeDirectory || keeps_runtime(job))
}

/// The paths of one kind that a unit has.
pub fn paths(job: &Job<'_>, kind: &Kind) -> impl Iterator<Item = String> {
    let private = if is_private(job, kind) { "/private" } else { "" };
    names(job, kind).map(move |(name, _)| format!("{}{private}/{name}", kind.base))
}

/// Lets everybody pass through the private directories, where a guest can't give the service a view of its own.
pub fn open_private(job: &Job<'_>) {
    for kind in KINDS.iter().filter(|kind| is_private(job, kind)) {
        if names(job, kind).next().is_some() {
            let _ = rustix::fs::chmod(format!("{}/private", kind.base), Mode::from_raw_mode(0o711));
        }
    }
}

/// What the environment is told of the directories: variable and paths, joined by `:`.
pub fn variables(job: &Job<'_>) -> Vec<(&'static str, String)> {
    // The public ones, also of a dynamic user: a link leads to the private ones. Sorted, folder by folder, as systemd
    // has them.
    let paths = |kind: &Kind| {
        let mut names: Vec<&str> = names(job, kind).map(|(name, _)| name).collect();
        names.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        names.iter().map(|name| format!("{}/{name}", kind.base)).collect::<Vec<_>>().join(":")
    };
    KINDS.iter().map(|kind| (kind.variable, paths(kind))).filter(|(_, paths)| !paths.is_empty()).collect()
}

/// Makes the directories of a unit, with their modes and owners.
pub fn make(job: &Job<'_>, identity: &Identity) -> Result<(), Failure> {
    for kind in &KINDS {
        for (name, link) in names(job, kind) {
            let public = format!("{}/{name}", kind.base);
            let private = format!("{}/private/{name}", kind.base);
            let is_private = is_private(job, kind);
            let text = || format!("{}={name}: {public}", kind.key.name());
            let path = if is_private { private.as_str() } else { public.as_str() };
            if is_private {
                make_private(kind.base, &public, &private).at(kind.step, text)?;
            } else {
                // What was a dynamic user's is everybody's again.
                let up = "../".repeat(name.matches('/').count());
                let _ = take_back(&public, &private, &format!("{up}private/{name}"));
            }
            let mode = job.mode(kind.mode, 0o755);
            make_one(Path::new(path), mode, identity).at(kind.step, text)?;
            if is_private {
                let up = "../".repeat(name.matches('/').count());
                make_link(&public, &format!("{up}private/{name}")).at(kind.step, text)?;
            }
            if let Some(link) = link.filter(|link| is_safe_name(link)) {
                make_link(&format!("{}/{link}", kind.base), path)
                    .at(kind.step, || format!("{}={name}:{link}", kind.key.name()))?;
            }
        }
    }
    Ok(())
}

/// The directory of private ones; what stood in the open before moves into it.
fn make_private(base: &str, public: &str, private: &str) -> Result<(), Errno> {
    let folder = safe_path::open_directory(Path::new(&format!("{base}/private")), Missing::Make(0o700))?;
    rustix::fs::chmodat(&folder, ".", Mode::from_raw_mode(0o700), AtFlags::empty())?;
    let is_directory = rustix::fs::lstat(public).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    });
    if is_directory && rustix::fs::lstat(private).is_err() {
        let (to, new) = safe_path::open_parent(Path::new(private), Missing::Make(0o755))?;
        let (from, old) = safe_path::open_parent(Path::new(public), Missing::Fail)?;
        rustix::fs::renameat(from, old, to, new)?;
    }
    Ok(())
}

/// Moves a private directory into the open, where a link of ours leads to it.
fn take_back(public: &str, private: &str, link: &str) -> Result<(), Errno> {
    if rustix::fs::readlink(public, Vec::new())?.as_bytes() != link.as_bytes() {
        return Ok(());
    }
    rustix::fs::unlink(public)?;
    rustix::fs::rename(private, public)
}

/// Makes one directory, or gives an existing one to its owner. Directories above it are root's, 0755.
fn make_one(path: &Path, mode: u32, owner: &Identity) -> Result<(), Errno> {
    let (parent, name) = safe_path::open_parent(path, Missing::Make(0o755))?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let held = safe_path::open_directory(path, Missing::Fail)?;
    // A mode can't be set through an O_PATH descriptor.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&held, ".", flags, Mode::empty())?;
    match only_user() {
        None => own(&directory, owner)?,
        // One that isn't that user's stays as the image has it.
        Some(uid) if rustix::fs::fstat(&directory)?.st_uid != uid => return Ok(()),
        Some(_) => {}
    }
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))
}

/// Gives a directory to the service's user; with what is in it, where it was another's before.
fn own(directory: &OwnedFd, owner: &Identity) -> Result<(), Errno> {
    let uid = owner.user.as_ref().map_or(0, |user| user.uid);
    let gid = owner.gid.unwrap_or(0);
    let stat = rustix::fs::fstat(directory)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    safe_path::give_tree(directory, Uid::from_raw(uid), Gid::from_raw(gid))
}

/// Makes `link` lead to `target`; what leads there already stays, and so does what is no link.
pub fn make_link(link: &str, target: &str) -> Result<(), Errno> {
    let (parent, name) = safe_path::open_parent(Path::new(link), Missing::Make(0o755))?;
    match rustix::fs::symlinkat(target, &parent, name) {
        Err(Errno::EXIST) => match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            Ok(now) if now.as_bytes() == target.as_bytes() => Ok(()),
            Ok(_) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
                rustix::fs::symlinkat(target, &parent, name)
            }
            Err(_) => Err(Errno::EXIST),
        },
        other => other,
    }
}

/// Whether they stay: always, or because a start follows, which is what the number of the clean-up's command says.
fn keeps_runtime(job: &Job<'_>) -> bool {
    match job.setting(SettingKey::RuntimeDirectoryPreserve) {
        Some("restart") => job.request.command == 1,
        keep => keep.is_some_and(super::job::is_yes),
    }
}

/// Removes a unit's directories below /run, unless RuntimeDirectoryPreserve= keeps them.
pub fn remove_runtime(job: &Job<'_>) -> Result<(), Failure> {
    if keeps_runtime(job) {
        return Ok(());
    }
    let kind = &KINDS[0];
    for (name, link) in names(job, kind) {
        for name in [Some(name), link].into_iter().flatten() {
            let path = format!("{}/{name}", kind.base);
            match safe_path::open_parent(Path::new(&path), Missing::Fail) {
                Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno),
                Ok((parent, name)) => safe_path::remove_tree(&parent, name),
            }
            .at(kind.step, || format!("RuntimeDirectory={name}: can't be removed"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn owner(uid: u32) -> Identity {
        let user = super::super::users::User {
            name: "x".into(),
            uid,
            gid: uid,
            home: String::new(),
            shell: String::new(),
        };
        Identity { user: Some(user), gid: Some(uid), groups: None }
    }

    #[test]
    fn given_a_name_with_a_link_when_split_then_both_are_there() {
        assert_eq!(split_name("a/b:c"), ("a/b", Some("c")));
        assert_eq!(split_name("a"), ("a", None));
        assert_eq!(split_name("a:"), ("a", None));
    }

    #[test]
    fn given_names_that_leave_the_base_when_checked_then_they_are_refused() {
        for name in ["", "..", "a/../../etc", "/etc", "./.."] {
            assert!(!is_safe_name(name), "{name}");
        }
        assert!(is_safe_name("postgresql/15-main"));
    }

    #[test]
    fn given_a_directory_of_another_when_made_then_it_and_its_content_change_hands() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = crate::testing::TempDir::new();
        let path = base.path().join("svc");
        std::fs::create_dir_all(path.join("deep")).unwrap();
        std::fs::write(path.join("deep/file"), "").unwrap();
        std::os::unix::fs::symlink("/", path.join("link")).unwrap();
        make_one(&path, 0o750, &owner(4711)).unwrap();
        assert_eq!(path.metadata().unwrap().uid(), 4711);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o750);
        assert_eq!(path.join("deep/file").metadata().unwrap().uid(), 4711);
        assert_eq!(Path::new("/").metadata().unwrap().uid(), 0);
    }

    #[test]
    fn given_a_link_that_leads_elsewhere_when_made_then_it_is_replaced_and_a_file_is_not() {
        let base = crate::testing::TempDir::new();
        let link = base.path().join("link");
        let text = link.to_str().unwrap();
        make_link(text, "/one").unwrap();
        make_link(text, "/two").unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("/two"));
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "").unwrap();
        assert_eq!(make_link(text, "/two"), Err(Errno::EXIST));
    }
}
