//! The one place for `unsafe` of this test: putting descriptors where a child expects them.
#![allow(unsafe_code)]

use std::io::Error;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the child have `fds` as 3, 4, 5 and so on.
pub fn pass(command: &mut Command, fds: Vec<RawFd>) {
    // SAFETY: between fork and exec the closure makes system calls alone; it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            // First all above the highest target, so that none is overwritten before it was taken.
            let mut high = [-1; 16];
            for (slot, fd) in high.iter_mut().zip(&fds) {
                *slot = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 40);
                if *slot < 0 {
                    return Err(Error::last_os_error());
                }
            }
            for (target, fd) in (3..).zip(high.iter().take(fds.len())) {
                if libc::dup2(*fd, target) < 0 {
                    return Err(Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}
