//! What a process gives up for good: system calls, and memory that is written and executed.

use super::check;
use rustix::io::Errno;

/// Installs a filter on this process' system calls: seccomp(2). EACCES without CAP_SYS_ADMIN and no_new_privs.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `length` instructions from `program` and writes none; both outlive the call. It checks
    // the program before it takes it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) })
        .map(drop)
}

/// Memory can't become executable after it was written, nor be both (Linux 6.3): PR_SET_MDWE.
pub fn deny_write_execute() -> Result<(), Errno> {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let zero: libc::c_ulong = 0;
    // SAFETY: five integers; mappings of this process that are executable stay so.
    check(unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, zero, zero, zero) }.into()).map(drop)
}

/// The execution domain of this process: personality(2).
pub fn personality() -> Result<u32, Errno> {
    const ASK: libc::c_ulong = 0xffff_ffff;
    // SAFETY: this value changes nothing and asks only.
    let current = check(unsafe { libc::personality(ASK) }.into())?;
    u32::try_from(current).map_err(|_| Errno::INVAL)
}

/// Changes it.
pub fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: an integer; what it changes (uname, address layout) comes into effect with the exec.
    check(unsafe { libc::personality(libc::c_ulong::from(persona)) }.into()).map(drop)
}
