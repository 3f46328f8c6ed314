//! landlock(7), as far as it is needed: a scope, and no rule.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// struct landlock_ruleset_attr of linux/landlock.h, as of Linux 6.12.
#[repr(C)]
#[derive(Default)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET.
const ABSTRACT_SOCKETS: u64 = 1;

/// From here on, this process and all that it starts connect to no abstract socket but their own.
///
/// Errors: E2BIG or EINVAL before Linux 6.12, EOPNOTSUPP or ENOSYS without Landlock.
pub fn hide_abstract_sockets() -> io::Result<()> {
    let attr = Ruleset { scoped: ABSTRACT_SOCKETS, ..Ruleset::default() };
    // SAFETY: the struct is of the size that is given, and only read. The descriptor is new and owned by nobody else.
    let ruleset = unsafe {
        let fd = check(libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of::<Ruleset>(),
            0,
        ))?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) }).map(drop)
}
