//! bpf(2): loading a program of a few instructions, and putting it on a cgroup.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2).
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
/// BPF_F_ALLOW_MULTI: others on the same cgroup, or above it, run as well.
const ALLOW_MULTI: u32 = 2;

/// The kind of a program, and where it is put: BPF_PROG_TYPE_* and the attach type of linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// BPF_PROG_TYPE_*.
    pub program: u32,
    /// enum bpf_attach_type.
    pub attach: u32,
}

/// union bpf_attr of PROG_LOAD, up to the last member that is used here.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// union bpf_attr of PROG_ATTACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// Loads a program, each instruction as the kernel's struct bpf_insn.
///
/// Errors: EPERM without CAP_BPF or CAP_SYS_ADMIN in the first user namespace; EINVAL where the kernel doesn't know the hook.
pub fn load(hook: Hook, instructions: &[u64]) -> io::Result<OwnedFd> {
    let insn_cnt = u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let license = c"GPL";
    let attr = Load {
        prog_type: hook.program,
        insn_cnt,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: hook.attach,
        ..Load::default()
    };
    // SAFETY: the struct is of the size that is given; what it points to outlives the call, and is only read. The
    // descriptor is new and owned by nobody else.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<Load>()))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Puts a program on a cgroup, which holds it from then on.
pub fn attach(hook: Hook, program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    let attr = Attach {
        target_fd: cgroup.as_raw_fd().unsigned_abs(),
        attach_bpf_fd: program.as_raw_fd().unsigned_abs(),
        attach_type: hook.attach,
        attach_flags: ALLOW_MULTI,
        ..Attach::default()
    };
    // SAFETY: the struct is of the size that is given, and holds integers only.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attr, size_of::<Attach>()) })
        .map(drop)
}
