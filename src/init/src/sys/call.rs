//! System calls: one function for each number of arguments, so that the instruction and what the kernel's answer means
//! exist once and not at each of a hundred and fifty places, and errno.
//!
//! A function here takes the number last: the arguments are then where the kernel wants them already.

use super::arch::syscall;

/// errno(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(u32);

macro_rules! errnos {
    ($($name:ident = $number:literal,)*) => {
        // Standard names: errno(3).
        #[allow(missing_docs)]
        impl Errno { $(pub const $name: Errno = Errno($number);)* }
    };
}

// The same on every processor that we build for (asm-generic/errno.h).
errnos! {
    PERM = 1, NOENT = 2, SRCH = 3, IO = 5, TOOBIG = 7, NOEXEC = 8, BADF = 9, AGAIN = 11, NOMEM = 12, ACCESS = 13,
    BUSY = 16, EXIST = 17, NOTDIR = 20, ISDIR = 21, INVAL = 22, NFILE = 23, MFILE = 24, NOSPC = 28, ROFS = 30,
    PIPE = 32, NAMETOOLONG = 36, NOSYS = 38, LOOP = 40, ADDRINUSE = 98, ADDRNOTAVAIL = 99, CONNRESET = 104,
}

impl Errno {
    /// Of this number.
    pub const fn from_raw_os_error(number: i32) -> Self {
        Errno(number as u32)
    }

    /// Its number.
    pub const fn raw_os_error(self) -> i32 {
        self.0 as i32
    }
}

/// What a call gives that gives nothing but success.
pub type Done = Result<(), Errno>;

/// The value of a call, or its errno. Values are descriptors, pids and sizes below 2 GiB: 32 bits.
#[inline(always)]
fn checked(result: isize) -> Result<u32, Errno> {
    if result < 0 { Err(Errno(result.wrapping_neg() as u32)) } else { Ok(result as u32) }
}

/// A call with up to two arguments.
///
/// # Safety
/// As of the call itself.
#[inline(never)]
pub unsafe fn call2(a: usize, b: usize, n: usize) -> Result<u32, Errno> {
    // SAFETY: the caller's.
    checked(unsafe { syscall(n, a, b, 0, 0, 0, 0) })
}

/// A call with three arguments.
///
/// # Safety
/// As of the call itself.
#[inline(never)]
pub unsafe fn call3(a: usize, b: usize, c: usize, n: usize) -> Result<u32, Errno> {
    // SAFETY: the caller's.
    checked(unsafe { syscall(n, a, b, c, 0, 0, 0) })
}

/// A call with four arguments.
///
/// # Safety
/// As of the call itself.
#[inline(never)]
pub unsafe fn call4(a: usize, b: usize, c: usize, d: usize, n: usize) -> Result<u32, Errno> {
    // SAFETY: the caller's.
    checked(unsafe { syscall(n, a, b, c, d, 0, 0) })
}

/// A call with five or six arguments.
///
/// # Safety
/// As of the call itself.
#[inline(never)]
pub unsafe fn call6(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    n: usize,
) -> Result<u32, Errno> {
    // SAFETY: the caller's.
    checked(unsafe { syscall(n, a, b, c, d, e, f) })
}
