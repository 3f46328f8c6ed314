//! Credentials of systemd.exec(5): small secrets that only the service's user can read, below /run/credentials.
//!
//! They stand in a folder of the unit, made anew before its first command, and gone with its clean-up. systemd keeps them
//! in memory that is never swapped out (ramfs), which a guest may not mount: here they are on the tmpfs of /run.
//! Encrypted ones are decrypted by the guest's own systemd-creds(1), which knows the guest's key; a key that is in a
//! machine's TPM is out of a guest's reach.

use super::environment::SEARCH_PATH;
use super::failure::{At, Failure};
use super::job::Job;
use super::safe_path::{self, Missing};
use super::users::Identity;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the units' folders are.
const FOLDER: &str = "/run/credentials";
/// What the guest itself was given (Container Interface of systemd).
const SYSTEM: &str = "/run/credentials/@system";
/// Where a credential with a relative path is looked for, as systemd does.
const STORES: [&str; 4] = [SYSTEM, "/etc/credstore", "/run/credstore", "/usr/lib/credstore"];
/// The same for encrypted ones.
const ENCRYPTED_STORES: [&str; 4] =
    ["/etc/credstore.encrypted", "/run/credstore.encrypted", "/usr/lib/credstore.encrypted", SYSTEM];
/// One credential, and all of a unit: systemd's limits.
const SIZE_MAX: u64 = 1 << 20;

/// Directives that bring credentials.
const DIRECTIVES: [&str; 5] = [
    "LoadCredential",
    "LoadCredentialEncrypted",
    "SetCredential",
    "SetCredentialEncrypted",
    "ImportCredential",
];

type Credentials = BTreeMap<String, Vec<u8>>;

/// The unit's folder, where it has credentials: $CREDENTIALS_DIRECTORY.
pub fn directory(job: &Job<'_>) -> Option<String> {
    let any = DIRECTIVES.iter().any(|name| job.directive(SettingKey::Sandbox, name).is_some());
    any.then(|| format!("{FOLDER}/{}", job.unit.name()))
}

/// Makes the folder with all credentials in it, for the unit's user alone.
pub fn make(job: &Job<'_>, owner: &Identity) -> Result<(), Failure> {
    let Some(path) = directory(job) else { return Ok(()) };
    let credentials = gather(job)?;
    remove(job)?;
    write_all(&path, &credentials, owner).at(ExecStep::Credentials, || path.clone())
}

/// Removes it.
pub fn remove(job: &Job<'_>) -> Result<(), Failure> {
    if directory(job).is_none() {
        return Ok(());
    }
    match safe_path::open_directory(Path::new(FOLDER), Missing::Fail) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(parent) => safe_path::remove_tree(&parent, OsStr::new(job.unit.name())),
    }
    .at(ExecStep::Credentials, || format!("{FOLDER}/{}: can't be removed", job.unit.name()))
}

fn write_all(path: &str, credentials: &Credentials, owner: &Identity) -> Result<(), Errno> {
    let held = safe_path::open_directory(Path::new(path), Missing::Make(0o755))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(&held, ".", flags, Mode::empty())?;
    let give = |fd: &OwnedFd, mode: u32| {
        if let Some(user) = &owner.user {
            rustix::fs::fchown(
                fd,
                Some(Uid::from_raw(user.uid)),
                Some(Gid::from_raw(owner.gid.unwrap_or(0))),
            )?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
    };
    for (name, content) in credentials {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name.as_str(), flags, Mode::from_raw_mode(0o400))?;
        give(&file, 0o400)?;
        std::fs::File::from(file)
            .write_all(content)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    give(&folder, 0o500)
}

/// All credentials by name. What is loaded comes before what is set, as in systemd: the latter is a default.
fn gather(job: &Job<'_>) -> Result<Credentials, Failure> {
    let mut out = Credentials::new();
    let of = |name| job.directives(SettingKey::Sandbox, name);
    let is_set = |id: &str| {
        ["SetCredential", "SetCredentialEncrypted"]
            .iter()
            .any(|name| of(name).any(|text| text.split_once(':').is_some_and(|(known, _)| known == id)))
    };
    for (directive, decrypts) in [("LoadCredential", false), ("LoadCredentialEncrypted", true)] {
        for text in of(directive) {
            let (id, path) = text.split_once(':').unwrap_or((text, text));
            let loaded = load(job, id, path, decrypts, &mut out);
            if let Err(failure) = loaded {
                let may_be_missing = !path.starts_with('/') || is_set(id);
                if failure.errno != Errno::NOENT.raw_os_error() || !may_be_missing {
                    return Err(failure);
                }
            }
        }
    }
    for pattern in of("ImportCredential") {
        let (pattern, renamed) = pattern.split_once(':').unwrap_or((pattern, ""));
        import(pattern, renamed, &mut out);
    }
    for (directive, decrypts) in [("SetCredential", false), ("SetCredentialEncrypted", true)] {
        for text in of(directive) {
            let Some((id, value)) = text.split_once(':').filter(|(id, _)| is_name(id)) else { continue };
            if out.contains_key(id) {
                continue;
            }
            let content = match decrypts {
                true => decrypt(job, id, value.as_bytes())?,
                false => crate::compile::unescape(value),
            };
            out.insert(id.to_string(), content);
        }
    }
    Ok(out)
}

/// systemd's credential_name_valid: the name of a file.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains('/')
}

/// LoadCredential=: a file, all files of a folder, or what a socket says; where the path is relative, from the stores.
fn load(job: &Job<'_>, id: &str, path: &str, decrypts: bool, out: &mut Credentials) -> Result<(), Failure> {
    let text = || format!("LoadCredential={id}:{path}");
    let mut take = |id: &str, content: Vec<u8>| -> Result<(), Failure> {
        if is_name(id) && !out.contains_key(id) {
            let content = if decrypts { decrypt(job, id, &content)? } else { content };
            out.insert(id.to_string(), content);
        }
        Ok(())
    };
    let places = if path.starts_with('/') {
        vec![path.to_string()]
    } else {
        let stores: &[&str] = if decrypts { &ENCRYPTED_STORES } else { &STORES };
        stores.iter().map(|store| format!("{store}/{path}")).collect()
    };
    let found = places.iter().find(|place| safe_path::exists(place));
    let Some(place) = found else { return Err(Failure::with(ExecStep::Credentials, Errno::NOENT, text())) };
    if Path::new(place).is_dir() {
        for entry in std::fs::read_dir(place).at(ExecStep::Credentials, text)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_file() {
                take(&format!("{id}_{name}"), read(job, id, &entry.path()).at(ExecStep::Credentials, text)?)?;
            }
        }
        return Ok(());
    }
    take(id, read(job, id, Path::new(place)).at(ExecStep::Credentials, text)?)
}

/// A file, or what a listening socket answers to whoever connects.
fn read(job: &Job<'_>, id: &str, path: &Path) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::FileTypeExt;
    let mut content = Vec::new();
    if std::fs::metadata(path)?.file_type().is_socket() {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The name that we come by says who asks for what: systemd.exec(5).
        let name = format!("{:016x}/unit/{}/{id}", u64::from(std::process::id()), job.unit.name());
        let _ = rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?);
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        std::fs::File::from(socket).take(SIZE_MAX + 1).read_to_end(&mut content)?;
    } else {
        content = safe_path::read_small(path)?;
    }
    if content.len() as u64 > SIZE_MAX { Err(Errno::TOOBIG.into()) } else { Ok(content) }
}

/// ImportCredential=: all of the stores that a pattern matches; renamed by their beginning where that is asked for.
fn import(pattern: &str, renamed: &str, out: &mut Credentials) {
    let Ok(matcher) = glob::Pattern::new(pattern) else { return };
    let beginning = pattern.split(['*', '?', '[']).next().unwrap_or_default();
    for store in STORES {
        for entry in std::fs::read_dir(store).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = match name.strip_prefix(beginning) {
                Some(rest) if !renamed.is_empty() => format!("{renamed}{rest}"),
                _ => name.clone(),
            };
            if matcher.matches(&name)
                && is_name(&id)
                && !out.contains_key(&id)
                && let Ok(content) = safe_path::read_small(entry.path())
            {
                out.insert(id, content);
            }
        }
    }
}

/// What the guest's own systemd-creds(1) makes of an encrypted credential.
fn decrypt(job: &Job<'_>, id: &str, content: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |text: String| Failure::new(ExecStep::Credentials, text);
    let mut child = Command::new("systemd-creds")
        .arg(format!("--name={id}"))
        .args(["decrypt", "-", "-"])
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .at(ExecStep::Credentials, || {
            format!(
                "encrypted credential {id}: the guest has no systemd-creds to decrypt it; use LoadCredential="
            )
        })?;
    // It reads all of it before it writes.
    let written = child.stdin.take().map(|mut input| input.write_all(content));
    let output = child.wait_with_output().at(ExecStep::Credentials, || format!("credential {id}"))?;
    if !output.status.success() || !matches!(written, Some(Ok(()))) {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next().unwrap_or("systemd-creds failed").to_string();
        job.log.line(&format!("encrypted credential {id}: {why}"));
        return Err(failed(format!(
            "encrypted credential {id}: it was made with another key than this guest's"
        )));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_names_when_checked_then_those_of_files_are_valid() {
        assert!(is_name("tls.key") && is_name("a b"));
        for name in ["", ".", "..", "a/b"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
