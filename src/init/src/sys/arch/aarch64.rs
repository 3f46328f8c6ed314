//! What depends on the processor, for aarch64. Written, and not built or run yet: no such machine was at hand.

use core::arch::{asm, global_asm};

/// Numbers of system calls (include/uapi/asm-generic/unistd.h).
pub mod number {
    pub const EPOLL_CREATE1: usize = 20;
    pub const EPOLL_CTL: usize = 21;
    pub const EPOLL_PWAIT: usize = 22;
    pub const DUP3: usize = 24;
    pub const FCNTL: usize = 25;
    pub const IOCTL: usize = 29;
    pub const MKDIRAT: usize = 34;
    pub const UNLINKAT: usize = 35;
    pub const RENAMEAT: usize = 38;
    pub const FSTATFS: usize = 44;
    pub const FTRUNCATE: usize = 46;
    pub const CHDIR: usize = 49;
    pub const FCHMOD: usize = 52;
    pub const FCHMODAT: usize = 53;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const PIPE2: usize = 59;
    pub const GETDENTS64: usize = 61;
    pub const LSEEK: usize = 62;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PWRITE64: usize = 68;
    pub const PPOLL: usize = 73;
    pub const SIGNALFD4: usize = 74;
    pub const READLINKAT: usize = 78;
    pub const EXIT_GROUP: usize = 94;
    pub const CLOCK_GETTIME: usize = 113;
    pub const KILL: usize = 129;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const REBOOT: usize = 142;
    pub const SETPGID: usize = 154;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const GETUID: usize = 174;
    pub const SOCKET: usize = 198;
    pub const SOCKETPAIR: usize = 199;
    pub const BIND: usize = 200;
    pub const LISTEN: usize = 201;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const SETSOCKOPT: usize = 208;
    pub const GETSOCKOPT: usize = 209;
    pub const SENDMSG: usize = 211;
    pub const RECVMSG: usize = 212;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const MUNMAP: usize = 215;
    pub const ACCEPT4: usize = 242;
    pub const WAIT4: usize = 260;
    pub const SYNCFS: usize = 267;
    pub const KCMP: usize = 272;
    pub const GETRANDOM: usize = 278;
    pub const MEMFD_CREATE: usize = 279;
    pub const EXECVEAT: usize = 281;
    pub const CLONE3: usize = 435;
}

/// Words of struct sigaction as the kernel has it: handler, flags, restorer, mask.
pub const SIGACTION_WORDS: usize = 4;

/// O_DIRECTORY and O_NOFOLLOW, the only flags of open(2) here that processors number differently.
pub const O_DIRECTORY: u32 = 0x4000;
/// See above.
pub const O_NOFOLLOW: u32 = 0x8000;

global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl {entry}",
    "udf #0",
    entry = sym crate::sys::start::entry,
);

// The compiler expects these to exist; in assembly, so that it can't turn one into a call of itself.
global_asm!(
    ".globl memcpy",
    ".globl memmove",
    ".globl memset",
    ".globl memcmp",
    ".globl bcmp",
    ".globl strlen",
    "memmove:",
    "sub x3, x0, x1",
    "cmp x3, x2",
    "b.hs memcpy",
    "1: cbz x2, 2f",
    "sub x2, x2, #1",
    "ldrb w4, [x1, x2]",
    "strb w4, [x0, x2]",
    "b 1b",
    "2: ret",
    "memcpy:",
    "mov x3, #0",
    "3: cmp x3, x2",
    "b.eq 4f",
    "ldrb w4, [x1, x3]",
    "strb w4, [x0, x3]",
    "add x3, x3, #1",
    "b 3b",
    "4: ret",
    "memset:",
    "5: cbz x2, 6f",
    "sub x2, x2, #1",
    "strb w1, [x0, x2]",
    "b 5b",
    "6: ret",
    "bcmp:",
    "memcmp:",
    "mov x3, #0",
    "7: cmp x3, x2",
    "b.eq 8f",
    "ldrb w4, [x0, x3]",
    "ldrb w5, [x1, x3]",
    "add x3, x3, #1",
    "subs w6, w4, w5",
    "b.eq 7b",
    "mov w0, w6",
    "ret",
    "8: mov w0, #0",
    "ret",
    "strlen:",
    "mov x1, x0",
    "mov x0, #0",
    "9: ldrb w2, [x1, x0]",
    "cbz w2, 10f",
    "add x0, x0, #1",
    "b 9b",
    "10: ret",
);

/// One system call. Returns what the kernel does: a value, or an errno negated.
///
/// # Safety
/// The call and its arguments must be sound for this process, as for the call itself.
#[inline(always)]
pub unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result;
    // SAFETY: the instruction clobbers no register but x0; memory may be written to.
    unsafe {
        asm!(
            "svc #0",
            in("x8") n,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}
