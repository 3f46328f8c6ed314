//! System calls that are about the machine, and that a guest's programs make all the same: one filter, which gives them
//! success without effect (`units/calls.tsv`, with the reasons).
//!
//! It is on process 1 before that becomes init, and so on all that it ever starts. The guest's root has CAP_SYS_ADMIN in
//! its own user namespace, so no_new_privs stays off and setuid programs work. A filter of the guest's own that is
//! stricter wins: the kernel asks the newest first.

use crate::context::spawn::Inside;
use crate::error::Result;
use crate::sys;
use libc::sock_filter;
use std::os::fd::OwnedFd;

const CALLS: &str = include_str!("../../../../units/calls.tsv");
const NUMBERS: &str = include_str!("../../../../units/syscalls.tsv");

/// Calling conventions: AUDIT_ARCH_* of linux/audit.h, the column of its numbers, and the bits of a number that count
/// (x32 is x86_64 with one bit more).
const CONVENTIONS: &[(u32, usize, u32)] =
    &[(0xc000_003e, 1, !0x4000_0000), (0x4000_0003, 2, !0), (0xc000_00b7, 3, !0)];

/// What becomes of the calls that somebody could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The guest's fakes are asked.
    Answered,
    /// There is nobody to ask.
    Alone,
}

/// A row that is not left to the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Faked {
    name: &'static str,
    /// What the filter returns.
    verdict: u32,
    /// Of calls like these alone.
    only: Option<Only>,
}

/// What the lower half of an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Only {
    /// Its place, from 0.
    argument: u32,
    /// The bits that are looked at.
    mask: u32,
    value: u32,
    /// They are the value, or are not.
    is: bool,
}

impl Only {
    /// `NUMBER`, `!NUMBER`, or `PLACE&MASK=NUMBER`.
    fn parse(text: &str) -> Option<Only> {
        let (argument, mask, text) = match text.split_once('&') {
            Some((argument, rest)) => {
                let (mask, text) = rest.split_once('=')?;
                (argument.parse().ok()?, mask.parse().ok()?, text)
            }
            None => (0, !0, text),
        };
        let (is, text) = text.strip_prefix('!').map_or((true, text), |text| (false, text));
        Some(Only { argument, mask, value: text.parse().ok()?, is })
    }
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

/// The table's rows that are not left to the kernel.
fn faked(asked: Asked) -> Vec<Faked> {
    let of_row = |row: Vec<&'static str>| {
        let what = *row.get(1)?;
        let verdict = match (what.strip_prefix("asked/"), asked) {
            (Some(_), Asked::Answered) => libc::SECCOMP_RET_USER_NOTIF,
            (alone, _) if alone.unwrap_or(what) == "faked" => libc::SECCOMP_RET_ERRNO,
            _ => return None,
        };
        Some(Faked { name: row.first()?, verdict, only: Only::parse(row.get(2)?) })
    };
    rows(CALLS).filter_map(of_row).collect()
}

/// The filter's program. Straight-line: the kernel runs it once a number, and remembers which are always allowed.
fn program(asked: Asked) -> Vec<sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Where struct seccomp_data has number, convention, and the lower half of the first argument, 8 bytes for each.
    const NUMBER: u32 = 0;
    const CONVENTION: u32 = 4;
    const FIRST: u32 = 16;
    let plain = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let branch = |k, jt, jf| sock_filter { code: IF_EQUAL, jt, jf, k };
    let allow = plain(RETURN, libc::SECCOMP_RET_ALLOW);
    let faked = faked(asked);
    // The numbers of those alone: the table has all that there are.
    let numbered: Vec<(&Faked, Vec<&str>)> = (NUMBERS.lines())
        .filter_map(|line| {
            let name = line.split('\t').next()?;
            let call = faked.iter().find(|call| call.name == name)?;
            Some((call, line.split('\t').collect()))
        })
        .collect();
    let mut out = vec![plain(LOAD, CONVENTION)];
    for &(convention, column, mask) in CONVENTIONS {
        let mut body = vec![plain(LOAD, NUMBER), plain(AND, mask)];
        for (call, row) in &numbered {
            let Some(number) = row.get(column).and_then(|number| number.parse().ok()) else { continue };
            match call.only {
                None => body.extend([branch(number, 0, 1), plain(RETURN, call.verdict)]),
                Some(only) => {
                    let (same, other) = if only.is { (0, 1) } else { (1, 0) };
                    body.extend([
                        branch(number, 0, 5),
                        plain(LOAD, FIRST + only.argument * 8),
                        plain(AND, only.mask),
                        branch(only.value, same, other),
                        plain(RETURN, call.verdict),
                        allow,
                    ]);
                }
            }
        }
        body.push(allow);
        out.extend([branch(convention, 1, 0), plain(JUMP, body.len() as u32)]);
        out.extend(body);
    }
    out.push(allow);
    out
}

/// Puts the filter on the caller, for itself and all that it starts; nobody is asked.
pub fn filter() -> std::io::Result<()> {
    sys::process::install_filter(&program(Asked::Alone))
}

/// The same, and whoever has the descriptor is asked. There can be only one such filter on a process: in a guest nobody
/// else can have one (EBUSY).
pub(super) fn filter_that_asks() -> std::io::Result<OwnedFd> {
    sys::process::install_asking_filter(&program(Asked::Answered))
}

/// Tells modprobe of the modules that are there, compiled in or loaded: there is nothing to be done for them, and a guest
/// without the folder of this very kernel would fail to find them. Others it doesn't find, which is the truth.
fn modules() -> std::io::Result<()> {
    let mut text = String::from("# Modules are the host's. These are there: loading one has no effect.\n");
    for module in std::fs::read_dir("/sys/module")? {
        if let Some(name) = module?.file_name().to_str() {
            text += &format!("install {name} /bin/true\nremove {name} /bin/true\n");
        }
    }
    std::fs::create_dir_all("/run/modprobe.d")?;
    std::fs::write("/run/modprobe.d/hostel.conf", text)
}

/// The step of process 1. A kernel or host that permits no filter costs the guest the fakes, with a line.
pub(super) fn fake(inside: &mut Inside) -> Result<()> {
    // A single command loads none.
    if inside.plan.arguments.is_empty() {
        let _ = modules();
    }
    if inside.is_filtered {
        return Ok(());
    }
    match filter() {
        Ok(()) => Ok(()),
        Err(error) => inside.note(&format!(
            "no filter for system calls ({error}): setting the clock and its kin fail in the guest"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_table_then_each_row_is_a_call_that_there_is_with_what_becomes_of_it_and_why() {
        for row in rows(CALLS) {
            let [name, what, only, reason] = row[..] else { panic!("four columns: {row:?}") };
            assert!(rows(NUMBERS).any(|numbers| numbers[0] == name), "{name} is no call");
            let alone = what.strip_prefix("asked/").unwrap_or(what);
            assert!(["faked", "passed"].contains(&alone), "{name}: {what}");
            assert!(only == "-" || Only::parse(only).is_some_and(|only| only.argument < 6), "{name}: {only}");
            assert!(!reason.is_empty(), "{name}: why?");
        }
    }

    /// What the program answers to a call: the kernel's own rules, for the instructions that are in it.
    fn answer(convention: u32, number: u32, first: u32) -> u32 {
        answer_of(&program(Asked::Alone), convention, number, first)
    }

    fn answer_of(program: &[sock_filter], convention: u32, number: u32, first: u32) -> u32 {
        answer_with(program, convention, number, [first, 0, 0, 0])
    }

    fn answer_with(program: &[sock_filter], convention: u32, number: u32, arguments: [u32; 4]) -> u32 {
        let [a, b, c, d] = arguments;
        let (mut at, mut value) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                0x20 => value = [number, convention, 0, 0, a, 0, b, 0, c, 0, d, 0][k as usize / 4],
                0x54 => value &= k,
                0x15 => at += usize::from(if value == k { jt } else { jf }),
                0x05 => at += k as usize,
                0x06 => return k,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn given_calls_of_each_convention_when_asked_then_those_of_the_table_are_faked_and_no_others() {
        const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
        const FAKED: u32 = libc::SECCOMP_RET_ERRNO;
        let (x86_64, i386, aarch64) = (0xc000_003e, 0x4000_0003, 0xc000_00b7);
        assert_eq!(answer(x86_64, 227, 0), FAKED, "clock_settime of the wall clock");
        assert_eq!(answer(x86_64, 227, 1), ALLOW, "of the monotonic clock");
        assert_eq!(answer(x86_64, 227 | 0x4000_0000, 0), FAKED, "the same of x32");
        assert_eq!(answer(i386, 264, 0), FAKED);
        assert_eq!(answer(i386, 404, 0), FAKED);
        assert_eq!(answer(i386, 227, 0), ALLOW, "another call there");
        assert_eq!(answer(aarch64, 112, 0), FAKED);
        assert_eq!(answer(x86_64, 103, 3), FAKED, "syslog: read all");
        assert_eq!(answer(x86_64, 103, 2), ALLOW, "syslog: wait for more");
        assert_eq!(answer(x86_64, 0, 0), ALLOW);
        assert_eq!(answer(x86_64, 99, 0), ALLOW, "sysinfo");
        assert_eq!(answer(0x1234, 227, 0), ALLOW, "a convention that nobody knows");
    }

    #[test]
    fn given_somebody_to_ask_when_asked_then_those_calls_are_answered_and_the_others_as_before() {
        let program = program(Asked::Answered);
        let x86_64 = |number, first| answer_of(&program, 0xc000_003e, number, first);
        assert_eq!(x86_64(227, 0), libc::SECCOMP_RET_USER_NOTIF, "clock_settime of the wall clock");
        assert_eq!(x86_64(227, 1), libc::SECCOMP_RET_ALLOW, "of the monotonic clock");
        assert_eq!(x86_64(99, 5), libc::SECCOMP_RET_USER_NOTIF, "sysinfo");
        assert_eq!(x86_64(305, 0), libc::SECCOMP_RET_USER_NOTIF, "clock_adjtime");
        assert_eq!(x86_64(167, 0), libc::SECCOMP_RET_ERRNO, "swapon");
        let mount = |flags| answer_with(&program, 0xc000_003e, 165, [0, 0, 0, flags]);
        assert_eq!(mount(32 | 2), libc::SECCOMP_RET_USER_NOTIF, "MS_REMOUNT");
        assert_eq!(mount(32 | 4096), libc::SECCOMP_RET_ALLOW, "MS_REMOUNT and MS_BIND");
        assert_eq!(mount(2), libc::SECCOMP_RET_ALLOW);
        assert_eq!(answer_of(&program, 0x4000_0003, 25, 0), libc::SECCOMP_RET_USER_NOTIF, "stime of i386");
    }
}
