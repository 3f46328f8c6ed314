//! Namespaces of a process that is about to become a service.

use super::check;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Gives this process a namespace of its own: one CLONE_NEW... flag, but for users and processes.
pub fn unshare(flag: i32) -> Result<(), Errno> {
    // SAFETY: it changes what names mean and no memory or descriptor; the process has one thread.
    check(unsafe { libc::unshare(flag) }.into()).map(drop)
}

/// Gives this process a user namespace with these maps (uid_map and gid_map of user_namespaces(7)).
///
/// A map with more than one's own id takes rights over the namespace around it, which are gone once the new one is
/// entered. So a child makes it, the maps are written from outside, and then it is entered; where any of that fails
/// this process is as it was.
pub fn unshare_users(users: &str, groups: &str) -> Result<(), Errno> {
    let (from_child, to_parent) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_parent, to_child) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the process has one thread, so the child may do whatever its parent may; it ends by _exit.
    let child = check(unsafe { libc::fork() }.into())?;
    if child == 0 {
        drop((from_child, to_child));
        let result = unshare(libc::CLONE_NEWUSER).err().map_or(0, |errno| errno.raw_os_error());
        let _ = rustix::io::write(&to_parent, &result.to_ne_bytes());
        // End of file: the namespace has been entered, or is given up.
        let _ = rustix::io::read(&from_parent, &mut [0]);
        // SAFETY: ends the child at once, without what the parent has registered for its own end.
        unsafe { libc::_exit(0) };
    }
    drop((to_parent, from_parent));
    let entered = enter_users_of(child as i32, &from_child, users, groups);
    drop(to_child);
    // SAFETY: `child` is our own and not yet awaited; no status is asked for.
    check(unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) }.into())?;
    entered
}

/// Writes the maps of a child that has a user namespace, and enters it.
fn enter_users_of(child: i32, from_child: &OwnedFd, users: &str, groups: &str) -> Result<(), Errno> {
    let mut result = [0; 4];
    if rustix::io::read(from_child, &mut result)? != result.len() {
        return Err(Errno::CHILD);
    }
    match i32::from_ne_bytes(result) {
        0 => {}
        errno => return Err(Errno::from_raw_os_error(errno)),
    }
    let write = |name: &str, text: &str| {
        std::fs::write(format!("/proc/{child}/{name}"), text)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    write("gid_map", groups)?;
    write("uid_map", users)?;
    let space = rustix::fs::open(
        format!("/proc/{child}/ns/user"),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::User))
}

/// Brings the loopback interface of this process' network namespace up; the kernel gives it its addresses.
pub fn loopback_up() -> Result<(), Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, letter) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *letter as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads an ifreq, which `request` is and which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}
