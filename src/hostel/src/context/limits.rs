//! A guest's limits, put into effect: in its outer cgroup, live, and by prlimit(2) on its init before that runs.
//!
//! A limit that this host can't enforce is refused with the reason, before anything is changed.

use crate::config::value::{RESOURCES, resource};
use crate::config::{Config, Effect, KEYS, Key};
use crate::error::{Doing, Error, Result};
use rustix::process::{Pid, Rlimit, getrlimit, prlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Microseconds of the period that a share of processors' time is counted in: the kernel's own.
const PERIOD: u64 = 100_000;
/// What io.max takes for a device without a limit.
const DEVICE_FREE: &str = "rbps=max wbps=max riops=max wiops=max";

/// What is limited also where nothing was said.
const DEFAULTS: &[&str] = &["pids.max"];

/// What is to be written: a file of the cgroup, the key that asks for it, and its content.
#[derive(Debug)]
struct Write {
    key: &'static Key,
    file: &'static str,
    content: String,
}

/// Puts the limits of a configuration into effect in a cgroup that has none yet; and of the others, those that every guest
/// has, where there is the controller.
pub fn apply(config: &Config, cgroup: &Path) -> Result<()> {
    let by_default = |key: &&Key| match key.effect {
        Effect::Cgroup { file, .. } => DEFAULTS.contains(&file) && cgroup.join(file).exists(),
        Effect::Quota | Effect::Start | Effect::Lookup => false,
    };
    let wanted: Vec<&Key> = config.set().map(|(key, _)| key).chain(KEYS.iter().filter(by_default)).collect();
    write_all(&writes(&wanted, config, &Config::default())?, cgroup)
}

/// Changes the limits of a running guest: those of `keys`, which were as in `before`.
pub fn change(keys: &[&'static Key], before: &Config, after: &Config, cgroup: &Path) -> Result<()> {
    let changes = writes(keys, after, before)?;
    let done = write_all(&changes, cgroup);
    if done.is_err() {
        // As it was: half of a change is none.
        if let Ok(back) = writes(keys, before, after) {
            let _ = write_all(&back, cgroup);
        }
    }
    done
}

/// Sets all limits of a running guest to those of its configuration: what else was in force is not known.
pub fn set_all(config: &Config, cgroup: &Path) -> Result<()> {
    for key in KEYS {
        let Effect::Cgroup { file, .. } = key.effect else { continue };
        let is_set = !config.list(key.section, key.name).is_empty();
        if !is_set && !cgroup.join(file).exists() {
            continue;
        }
        if file == "io.max" {
            free_devices(&cgroup.join(file))?;
        }
        write_all(&writes(&[key], config, &Config::default())?, cgroup)?;
    }
    Ok(())
}

/// Takes the limit of each device away that has one.
fn free_devices(file: &Path) -> Result<()> {
    for line in fs::read_to_string(file).on("reading", file)?.lines() {
        let number = line.split(' ').next().unwrap_or_default();
        fs::write(file, format!("{number} {DEVICE_FREE}")).on("writing", file)?;
    }
    Ok(())
}

/// What an undivided cgroup needs for these keys, as `config` has them; `before` names the devices to be set free.
fn writes(keys: &[&'static Key], config: &Config, before: &Config) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for key in KEYS.iter().filter(|key| keys.iter().any(|one| std::ptr::eq(*one, *key))) {
        let Effect::Cgroup { file, free, .. } = key.effect else { continue };
        let values = config.list(key.section, key.name);
        if file == "io.max" {
            let contents = device_lines(values, before.list(key.section, key.name))?;
            writes.extend(contents.into_iter().map(|content| Write { key, file, content }));
            continue;
        }
        let content = values.first().map_or_else(|| free.to_owned(), |value| content(file, value));
        writes.push(Write { key, file, content });
    }
    Ok(writes)
}

/// A value as the file has it.
fn content(file: &str, value: &str) -> String {
    match (file, value) {
        ("cpu.max", percent) => {
            match percent.strip_suffix('%').and_then(|percent| percent.parse::<u64>().ok()) {
                Some(percent) => format!("{} {PERIOD}", percent * PERIOD / 100),
                None => format!("max {PERIOD}"),
            }
        }
        ("io.weight", weight) => format!("default {weight}"),
        (_, "true") => "1".into(),
        (_, "false") => "0".into(),
        (_, value) => value.into(),
    }
}

/// Lines of io.max; a device that is named no longer is set free.
fn device_lines(values: &[String], before: &[String]) -> Result<Vec<String>> {
    let mut lines = BTreeMap::new();
    for (entry, limited) in
        before.iter().map(|entry| (entry, false)).chain(values.iter().map(|entry| (entry, true)))
    {
        let (path, limits) = entry.split_once(' ').unwrap_or((entry, ""));
        let number = match device_number(Path::new(path)) {
            Ok(number) => number,
            // It went away, and its limit with it.
            Err(_) if !limited => continue,
            Err(error) => return Err(error),
        };
        let limits = if limited { format!("{DEVICE_FREE} {limits}") } else { DEVICE_FREE.into() };
        lines.insert(number, limits);
    }
    Ok(lines.into_iter().map(|(number, limits)| format!("{number} {limits}")).collect())
}

/// `MAJOR:MINOR` of a block device.
fn device_number(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).on("looking at", path)?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::Invalid(format!("limits.io: {} is no block device", path.display())));
    }
    let device = metadata.rdev();
    Ok(format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
}

fn write_all(writes: &[Write], cgroup: &Path) -> Result<()> {
    for Write { key, file, .. } in writes {
        if !cgroup.join(file).exists() {
            return Err(cannot(key, cgroup, file));
        }
    }
    for Write { key, file, content } in writes {
        fs::write(cgroup.join(file), content).map_err(|e| match e.raw_os_error() {
            Some(libc::EINVAL | libc::ERANGE | libc::ENODEV | libc::EOPNOTSUPP) => Error::Invalid(format!(
                "limits.{}: the kernel refuses {content:?} for {file} ({e}): this host has no such processor, memory \
                 node or device, or can't limit it",
                key.name
            )),
            _ => Error::call(format!("writing {}", cgroup.join(file).display()), e),
        })?;
    }
    Ok(())
}

/// Why a file isn't there.
fn cannot(key: &Key, cgroup: &Path, file: &str) -> Error {
    let controller = key.controller().unwrap_or_default();
    let has = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    let name = key.name;
    Error::Invalid(if has.split_ascii_whitespace().any(|one| one == controller) {
        format!(
            "limits.{name}: this kernel's controller {controller} has no {file}: remove it, or boot a newer kernel"
        )
    } else {
        format!(
            "limits.{name} needs the cgroup v2 controller {controller}, which this host doesn't have there (v1 may hold \
             it: boot with cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1): remove the limit with \
             `hostel set NAME {name}=`"
        )
    })
}

/// A guest without a cgroup has no limits: those that are wanted are refused.
pub fn refuse(config: &Config) -> Result<()> {
    match config.set().find(|(key, _)| key.controller().is_some()) {
        Some((key, _)) => Err(Error::Invalid(format!(
            "limits.{0}: there is no cgroup v2 tree that could be written, so nothing would enforce it: remove it with \
             `hostel set NAME {0}=`",
            key.name
        ))),
        None => Ok(()),
    }
}

/// The limits of init's process, which all of the guest inherits.
pub fn limit_process(config: &Config, init: Pid) -> Result<()> {
    for entry in config.list("limits", "process") {
        let (name, limits) = entry.split_once('=').unwrap_or_default();
        let (soft, hard) = limits.split_once(':').unwrap_or_default();
        let Some(resource) = resource(name) else { continue };
        let limit = Rlimit { current: soft.parse().ok(), maximum: hard.parse().ok() };
        prlimit(Some(init), resource, limit).map_err(io::Error::from).map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM) => Error::Invalid(format!(
                "limits.process: {name} can't be raised to {hard} here: who calls may not go beyond its own limit"
            )),
            Some(libc::EINVAL) => {
                Error::Invalid(format!("limits.process: {name}: {soft} is above {hard}: write {name}=SOFT:HARD"))
            }
            _ => Error::call(format!("limiting {name} of init"), e),
        })?;
    }
    Ok(())
}

/// Has the caller go no further than a process of the guest's: for who joins it. What the caller may do less is as it is.
pub fn share_process_limits(init: Pid) {
    let lower = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    for (_, resource) in RESOURCES {
        let Ok(theirs) = crate::sys::process::limit_of(init, resource) else { continue };
        let own = getrlimit(resource);
        let maximum = lower(own.maximum, theirs.maximum);
        let current = lower(lower(own.current, theirs.current), maximum);
        let _ = setrlimit(resource, Rlimit { current, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("guest.toml")).unwrap()
    }

    fn all_of(config: &Config) -> Vec<(&'static str, String)> {
        let keys: Vec<&Key> = config.set().map(|(key, _)| key).collect();
        let writes = writes(&keys, config, &Config::default()).unwrap();
        writes.into_iter().map(|write| (write.file, write.content)).collect()
    }

    #[test]
    fn given_limits_when_written_then_each_file_has_its_own_form() {
        let config = config(
            "[limits]\nmemory = \"1M\"\noom-group = true\ncpu = \"150%\"\ncpu-weight = 50\ncpus = \"0-1\"\ntasks = 7\n\
             io-weight = 20\n",
        );
        let expected = [
            ("memory.max", "1048576"),
            ("memory.oom.group", "1"),
            ("cpu.max", "150000 100000"),
            ("cpu.weight", "50"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "7"),
            ("io.weight", "default 20"),
        ];
        assert_eq!(all_of(&config), expected.map(|(file, content)| (file, content.to_owned())));
    }

    #[test]
    fn given_a_limit_that_was_taken_away_when_changed_then_the_file_is_set_free() {
        let (before, after) = (config("[limits]\nmemory = 4096\ncpu = \"10%\"\n"), config(""));
        let keys: Vec<&Key> = before.set().map(|(key, _)| key).collect();
        let writes = writes(&keys, &after, &before).unwrap();
        let contents: Vec<&str> = writes.iter().map(|write| write.content.as_str()).collect();
        assert_eq!(contents, ["max", "max 100000"]);
    }

    #[test]
    fn given_a_cgroup_without_the_controller_when_limited_then_the_reason_is_named_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pids.max"), "max").unwrap();
        fs::write(folder.path().join("cgroup.controllers"), "pids\n").unwrap();
        let config = config("[limits]\ntasks = 3\nmemory = 4096\n");
        let bare = Config::parse("", Path::new("guest.toml")).unwrap();
        apply(&bare, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("pids.max")).unwrap(), "16384", "the default");
        fs::write(folder.path().join("pids.max"), "max").unwrap();
        let said = apply(&config, folder.path()).unwrap_err().to_string();
        assert!(said.contains("limits.memory needs the cgroup v2 controller memory"), "{said}");
        assert_eq!(fs::read_to_string(folder.path().join("pids.max")).unwrap(), "max");
        assert!(refuse(&config).is_err() && refuse(&Config::default()).is_ok());
    }

    #[test]
    fn given_what_is_no_device_when_limited_then_it_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = device_lines(&[format!("{} rbps=1", file.path().display())], &[]).unwrap_err().to_string();
        assert!(said.contains("is no block device"), "{said}");
    }
}
