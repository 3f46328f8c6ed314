//! A process that is the root of a guest's user namespace and nothing else: for work on the guest's files that the
//! host should not do as itself, without a context around it.

use crate::context::idmap::{IdMap, mapped_tree, user_namespace};
use crate::context::root::{self, RootPlan};
use crate::error::{Doing, Error, Result};
use crate::store::Ids;
use crate::sys::fds::{receive_with, send_with};
use crate::sys::process::{ForkOptions, Forked, become_user, exit_now, fork, leave_namespaces};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, WaitOptions, fchdir, waitpid};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the process has as its current directory.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// A folder, its owners mapped where the map is a range.
    Folder(&'a Path),
    /// A guest's root, put together.
    Root(&'a RootPlan),
}

/// Forks a process that has only the guest's users, with `place` as its current directory, lets it do `what`, and
/// returns the status that it ended with.
pub fn run(ids: Ids, map: &IdMap, place: Place<'_>, what: impl FnOnce() -> i32) -> Result<i32> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .doing(|| "making a socket pair")?;
    let child = match fork(ForkOptions::default()).doing(|| "forking")? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(ours);
            match enter(map, place, &theirs) {
                Ok(()) => exit_now(what()),
                Err(error) => {
                    crate::print_error(&error);
                    exit_now(125)
                }
            }
        }
    };
    drop(theirs);
    let prepared = prepare(child, ids, map, place, &ours);
    // Where that failed, the child finds the socket closed.
    drop(ours);
    let waited = waitpid(Some(child), WaitOptions::empty()).doing(|| "waiting for a child")?;
    prepared?;
    waited
        .and_then(|(_, status)| status.exit_status())
        .ok_or_else(|| Error::Invalid("the process that works on the guest's files was killed".into()))
}

fn prepare(child: Pid, ids: Ids, map: &IdMap, place: Place<'_>, socket: &OwnedFd) -> Result<()> {
    if receive_with(socket, &mut [0]).doing(|| "listening to a child")?.0 == 0 {
        return Ok(());
    }
    map.write(child)?;
    let tree = match (ids, place) {
        (Ids::Range { .. }, Place::Folder(folder)) => Some(mapped_tree(folder, &user_namespace(child)?)?),
        (Ids::Range { first }, Place::Root(plan)) => {
            Some(root::for_range(plan, &user_namespace(child)?, first)?)
        }
        (Ids::User, _) => None,
    };
    let descriptors: Vec<_> = tree.iter().map(AsFd::as_fd).collect();
    send_with(socket, b"M", &descriptors).doing(|| "handing over a folder")
}

fn enter(map: &IdMap, place: Place<'_>, socket: &OwnedFd) -> Result<()> {
    leave_namespaces(libc::CLONE_NEWUSER).doing(|| "making a user namespace")?;
    send_with(socket, b"U", &[]).doing(|| "telling the parent")?;
    let (length, descriptors) = receive_with(socket, &mut [0]).doing(|| "listening to the parent")?;
    if length == 0 {
        // It has failed, and says why.
        exit_now(125);
    }
    let groups: Option<&[u32]> = map.permits_groups().then_some(&[]);
    become_user(0, 0, groups).doing(|| "becoming the guest's root")?;
    match (descriptors.first(), place) {
        (Some(tree), _) => fchdir(tree).doing(|| "entering the guest's files"),
        (None, Place::Folder(folder)) => rustix::process::chdir(folder).on("entering", folder),
        (None, Place::Root(plan)) => {
            leave_namespaces(libc::CLONE_NEWNS).doing(|| "making a mount namespace")?;
            fchdir(root::for_user(plan)?).doing(|| "entering the guest's files")
        }
    }
}
