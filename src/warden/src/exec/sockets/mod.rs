//! The phase open-sockets: opens what a socket unit listens on and hands it to init, which keeps it.
//!
//! A stale socket file of an earlier life is replaced, for init would hold it if it were in use. Whatever else stands
//! in the way is not touched and fails the start.

mod address;
mod options;

use super::failure::{At, Failure, reason};
use super::job::Job;
use super::safe_path::{self, Missing};
use super::users;
use address::Address;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use options::Stage;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, Protocol, RawProtocol, SocketAddrUnix, SocketFlags, SocketType, netlink,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The queue of a stream socket where Backlog= is not set: as much as the kernel allows.
const BACKLOG: i32 = i32::MAX;

/// What the files of a unit's sockets are to be.
struct Files {
    mode: u32,
    directory_mode: u32,
    uid: Option<Uid>,
    gid: Option<Gid>,
}

/// Opens all sockets of the unit, in the order of its Listen settings.
pub fn open(job: &Job<'_>) -> Result<Vec<OwnedFd>, Failure> {
    // Where there is one user, all files are that one's.
    let owner = |key| job.setting(key).filter(|_| users::only_user().is_none());
    let files = Files {
        mode: job.mode(SettingKey::SocketMode, 0o666),
        directory_mode: job.mode(SettingKey::DirectoryMode, 0o755),
        uid: match owner(SettingKey::SocketUser) {
            Some(name) => Some(Uid::from_raw(users::user(name)?.uid)),
            None => None,
        },
        gid: match owner(SettingKey::SocketGroup) {
            Some(name) => Some(Gid::from_raw(users::group(name)?)),
            None => None,
        },
    };
    // The modes below are meant as they are.
    rustix::process::umask(Mode::empty());
    let mut sockets = Vec::new();
    for setting in job.unit.settings_of(SettingKey::Listen) {
        let (kind, place) = setting
            .split_once(':')
            .ok_or_else(|| Failure::new(ExecStep::Socket, format!("`{setting}` is no address")))?;
        sockets.push(open_one(job, &files, kind, place)?);
    }
    make_links(job);
    Ok(sockets)
}

fn open_one(job: &Job<'_>, files: &Files, kind: &str, place: &str) -> Result<OwnedFd, Failure> {
    let text = || format!("{kind} {place}");
    match kind {
        "stream" => listen(job, files, SocketType::STREAM, place),
        "datagram" => listen(job, files, SocketType::DGRAM, place),
        "sequential" => listen(job, files, SocketType::SEQPACKET, place),
        "fifo" => open_fifo(job, files, place).at(ExecStep::Socket, text),
        "special" => open_special(job, place).at(ExecStep::Socket, text),
        "netlink" => open_netlink(job, place).at(ExecStep::Socket, text),
        "message-queue" => open_message_queue(job, files, place).at(ExecStep::Socket, text),
        _ => Err(Failure::with(ExecStep::Socket, Errno::OPNOTSUPP, text())),
    }
}

/// A socket that is bound and, where its type has connections, listens.
fn listen(job: &Job<'_>, files: &Files, kind: SocketType, place: &str) -> Result<OwnedFd, Failure> {
    let address = address::parse(place).ok_or_else(|| {
        let text =
            format!("`{place}` is no address: write a path, @name, a port, address:port or [address]:port");
        Failure::with(ExecStep::Socket, Errno::INVAL, text)
    })?;
    let socket = match &address {
        Address::Path(path) => bind_path(job, files, kind, path),
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()).and_then(|name| {
            let socket = new_socket(job, AddressFamily::UNIX, kind)?;
            net::bind(&socket, &name)?;
            Ok(socket)
        }),
        Address::Machine(context, port) => {
            let family = AddressFamily::from_raw(libc::AF_VSOCK as u16);
            new_socket(job, family, kind).and_then(|socket| {
                crate::sys::bind_vsock(socket.as_fd(), *context, *port)?;
                Ok(socket)
            })
        }
        Address::Internet(address) => bind_internet(job, kind, *address),
        Address::Port(port) => match bind_internet(job, kind, (Ipv6Addr::UNSPECIFIED, *port).into()) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                bind_internet(job, kind, (Ipv4Addr::UNSPECIFIED, *port).into())
            }
            other => other,
        },
    }
    .at(ExecStep::Socket, || format!("listening on {place}"))?;
    options::set(job, socket.as_fd(), Stage::AfterBind);
    if kind != SocketType::DGRAM {
        let backlog = job.setting(SettingKey::Backlog).and_then(|text| text.parse::<u32>().ok());
        let backlog = backlog.map_or(BACKLOG, |number| i32::try_from(number).unwrap_or(BACKLOG));
        net::listen(&socket, backlog).at(ExecStep::Socket, || format!("listening on {place}"))?;
    }
    Ok(socket)
}

fn new_socket(job: &Job<'_>, family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match protocol(job, family, kind) {
        // A kernel without the protocol: a plain one, as systemd does for MPTCP.
        Some(protocol) => net::socket_with(family, kind, flags, Some(protocol))
            .or_else(|_| net::socket_with(family, kind, flags, None))?,
        None => net::socket_with(family, kind, flags, None)?,
    };
    options::set(job, socket.as_fd(), Stage::BeforeBind);
    Ok(socket)
}

/// SocketProtocol=, for sockets of the internet's families.
fn protocol(job: &Job<'_>, family: AddressFamily, kind: SocketType) -> Option<Protocol> {
    if family != AddressFamily::INET && family != AddressFamily::INET6 {
        return None;
    }
    let number = match job.directive(SettingKey::SocketOption, "SocketProtocol")? {
        "udplite" if kind == SocketType::DGRAM => libc::IPPROTO_UDPLITE,
        "sctp" => libc::IPPROTO_SCTP,
        "mptcp" if kind == SocketType::STREAM => libc::IPPROTO_MPTCP,
        _ => return None,
    };
    u32::try_from(number).ok().and_then(RawProtocol::new).map(Protocol::from_raw)
}

/// A POSIX message queue: mq_overview(7). MessageQueueMaxMessages= and MessageQueueMessageSize= count where it is new.
fn open_message_queue(job: &Job<'_>, files: &Files, name: &str) -> Result<OwnedFd, Errno> {
    let number = |name| job.directive(SettingKey::SocketOption, name).and_then(|text| text.parse().ok());
    let size = number("MessageQueueMaxMessages").zip(number("MessageQueueMessageSize"));
    let queue = crate::sys::open_message_queue(name, files.mode, size)?;
    rustix::fs::fchmod(&queue, Mode::from_raw_mode(files.mode))?;
    rustix::fs::fchown(&queue, files.uid, files.gid)?;
    Ok(queue)
}

fn bind_internet(job: &Job<'_>, kind: SocketType, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = new_socket(job, family, kind)?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        match job.setting(SettingKey::BindIpv6Only) {
            Some("both") => net::sockopt::set_ipv6_v6only(&socket, false)?,
            Some("ipv6-only") => net::sockopt::set_ipv6_v6only(&socket, true)?,
            _ => {}
        }
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// A socket in the file system, with its mode and owner.
fn bind_path(job: &Job<'_>, files: &Files, kind: SocketType, path: &str) -> Result<OwnedFd, Errno> {
    let (parent, name) = safe_path::open_parent(Path::new(path), Missing::Make(files.directory_mode))?;
    let address = SocketAddrUnix::new(path)?;
    let socket = new_socket(job, AddressFamily::UNIX, kind)?;
    let old = rustix::process::umask(Mode::from_raw_mode(!files.mode & 0o777));
    let bound = match net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
                return Err(Errno::ADDRINUSE);
            }
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
            net::bind(&socket, &address)
        }
        other => other,
    };
    rustix::process::umask(old);
    bound?;
    give(&parent, name, files)?;
    Ok(socket)
}

fn give(parent: &OwnedFd, name: &std::ffi::OsStr, files: &Files) -> Result<(), Errno> {
    if files.uid.is_none() && files.gid.is_none() {
        return Ok(());
    }
    rustix::fs::chownat(parent, name, files.uid, files.gid, AtFlags::SYMLINK_NOFOLLOW)
}

/// A FIFO that never sees end of file, for it is open for writing, too.
fn open_fifo(job: &Job<'_>, files: &Files, path: &str) -> Result<OwnedFd, Errno> {
    let (parent, name) = safe_path::open_parent(Path::new(path), Missing::Make(files.directory_mode))?;
    match rustix::fs::mkfifoat(&parent, name, Mode::from_raw_mode(files.mode)) {
        Ok(()) => give(&parent, name, files)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fifo = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fifo)?.st_mode) != FileType::Fifo {
        return Err(Errno::EXIST);
    }
    if let Some(size) = job.directive(SettingKey::SocketOption, "PipeSize").and_then(|text| text.parse().ok())
        && let Err(errno) = rustix::pipe::fcntl_setpipe_size(&fifo, size)
    {
        job.log.line(&format!("PipeSize={size}: {}, goes without", reason(errno.raw_os_error())));
    }
    Ok(fifo)
}

/// A device or a file of the kernel's.
fn open_special(job: &Job<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let writes = job.directive(SettingKey::SocketOption, "Writable").is_some_and(super::job::is_yes);
    let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => Ok(file),
        _ => Err(Errno::INVAL),
    }
}

/// Families of netlink(7) that socket units name.
const NETLINK_FAMILIES: [(&str, i32); 9] = [
    ("route", libc::NETLINK_ROUTE),
    ("firewall", libc::NETLINK_FIREWALL),
    ("selinux", libc::NETLINK_SELINUX),
    ("audit", libc::NETLINK_AUDIT),
    ("netfilter", libc::NETLINK_NETFILTER),
    ("kobject-uevent", libc::NETLINK_KOBJECT_UEVENT),
    ("generic", libc::NETLINK_GENERIC),
    ("connector", libc::NETLINK_CONNECTOR),
    ("iscsi", libc::NETLINK_ISCSI),
];

/// `FAMILY [GROUP]`.
fn open_netlink(job: &Job<'_>, place: &str) -> Result<OwnedFd, Errno> {
    let mut words = place.split_whitespace();
    let family = words.next().unwrap_or_default();
    let protocol = NETLINK_FAMILIES.iter().find(|(name, _)| *name == family).ok_or(Errno::INVAL)?.1;
    let group = match words.next() {
        Some(text) => text.parse().map_err(|_| Errno::INVAL)?,
        None => 0,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Family 0, `route`, is what no protocol at all means.
    let protocol = u32::try_from(protocol).ok().and_then(RawProtocol::new).map(Protocol::from_raw);
    let socket = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    net::bind(&socket, &netlink::SocketAddrNetlink::new(0, group))?;
    options::set(job, socket.as_fd(), Stage::AfterBind);
    Ok(socket)
}

/// The first path that the unit listens on: what its links lead to.
fn paths<'a>(job: &Job<'a>) -> impl Iterator<Item = &'a str> {
    job.unit
        .settings_of(SettingKey::Listen)
        .filter_map(|setting| setting.split_once(':'))
        .filter(|(kind, place)| {
            !matches!(*kind, "special" | "netlink" | "message-queue") && place.starts_with('/')
        })
        .map(|(_, place)| place)
}

/// Symlinks=: a failure is told, and the socket stays.
fn make_links(job: &Job<'_>) {
    let Some(target) = paths(job).next() else { return };
    for link in job.words(SettingKey::Symlinks) {
        if let Err(errno) = super::directories::make_link(link, target) {
            job.log.line(&format!("Symlinks={link}: {}", reason(errno.raw_os_error())));
        }
    }
}

/// RemoveOnStop=: the sockets' files and links go with the unit. A link that leads elsewhere by now stays.
pub fn remove(job: &Job<'_>) -> Result<(), Failure> {
    if !job.is_on(SettingKey::RemoveOnStop) {
        return Ok(());
    }
    for queue in
        job.unit.settings_of(SettingKey::Listen).filter_map(|text| text.strip_prefix("message-queue:"))
    {
        let _ = crate::sys::unlink_message_queue(queue);
    }
    let target = paths(job).next().unwrap_or_default();
    for path in paths(job) {
        remove_file(path, |kind, _| matches!(kind, FileType::Socket | FileType::Fifo))
            .at(ExecStep::Socket, || format!("RemoveOnStop=: {path}"))?;
    }
    for link in job.words(SettingKey::Symlinks) {
        remove_file(link, |kind, leads_to| kind == FileType::Symlink && leads_to == target.as_bytes())
            .at(ExecStep::Socket, || format!("RemoveOnStop=: {link}"))?;
    }
    Ok(())
}

/// Removes a file where it is what it was when it was made.
fn remove_file(path: &str, is_ours: impl Fn(FileType, &[u8]) -> bool) -> Result<(), Errno> {
    let (parent, name) = match safe_path::open_parent(Path::new(path), Missing::Fail) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let leads_to = rustix::fs::readlinkat(&parent, name, Vec::new()).unwrap_or_default();
    if is_ours(FileType::from_raw_mode(stat.st_mode), leads_to.as_bytes()) {
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
