//! Programs for seccomp(2): from rules on system calls to instructions of the classic packet filter.
//!
//! Pure. A program looks at the processor's call convention first, for numbers mean nothing without it, and has one
//! section for each. A section is straight-line code: a range of numbers and its answer, one after the other. The
//! kernel runs it once for each number and remembers which are always allowed (Linux 5.11), so nothing is gained by a
//! tree of comparisons.

use libc::sock_filter;
use std::collections::BTreeMap;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Carries it out.
    Allow,
    /// Carries it out, and says so in its log.
    Log,
    /// Ends the process by SIGSYS.
    Kill,
    /// Answers with this errno.
    Errno(u16),
}

impl Action {
    fn code(self) -> u32 {
        match self {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Log => libc::SECCOMP_RET_LOG,
            Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
            Action::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
        }
    }
}

/// What is asked about an argument. Only the lower 32 bits are looked at: the kernel, too, takes no more for any of
/// the arguments that a directive is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which argument, from 0.
    pub argument: u8,
    /// The bits that count.
    pub mask: u32,
    /// What they must be.
    pub test: Test,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// They are this.
    Is(u32),
    /// They are anything else.
    IsNot(u32),
    /// They are more than this, without a sign.
    Above(u32),
}

/// A call by number, refused where all checks hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The call.
    pub number: u32,
    /// What must hold.
    pub checks: Vec<Check>,
    /// What becomes of it then.
    pub action: Action,
}

/// What a program has for one call convention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// AUDIT_ARCH of it.
    pub convention: u32,
    /// Calls with an action of their own, whatever their arguments.
    pub calls: BTreeMap<u32, Action>,
    /// Calls that depend on arguments; they are asked behind `calls`, in order.
    pub rules: Vec<Rule>,
    /// All others.
    pub otherwise: Action,
    /// Numbers from [`X32`] on, where the convention has such.
    pub x32: Option<Action>,
}

/// Numbers from here on are calls of the x32 convention, which shares x86_64's.
pub const X32: u32 = 0x4000_0000;

/// Where the kernel's struct seccomp_data has the number, the convention, and the first argument.
const NUMBER: u32 = 0;
const CONVENTION: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn plain(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn answer(action: Action) -> sock_filter {
    plain(RETURN, action.code())
}

/// A whole program. `foreign` is what becomes of calls by a convention that has no section.
pub fn program(sections: &[Section], foreign: Action) -> Vec<sock_filter> {
    let mut out = vec![plain(LOAD, CONVENTION)];
    for section in sections {
        let body = body(section);
        out.push(branch(JUMP_IF_EQUAL, section.convention, 1, 0));
        out.push(plain(JUMP, u32::try_from(body.len()).unwrap_or(u32::MAX)));
        out.extend(body);
    }
    out.push(answer(foreign));
    out
}

fn body(section: &Section) -> Vec<sock_filter> {
    let mut out = vec![plain(LOAD, NUMBER)];
    if let Some(action) = section.x32 {
        out.push(branch(JUMP_IF_AT_LEAST, X32, 0, 1));
        out.push(answer(action));
    }
    for (first, last, action) in ranges(&section.calls) {
        if first == last {
            out.push(branch(JUMP_IF_EQUAL, first, 0, 1));
        } else {
            out.push(branch(JUMP_IF_AT_LEAST, first, 0, 2));
            out.push(branch(JUMP_IF_ABOVE, last, 1, 0));
        }
        out.push(answer(action));
    }
    for rule in &section.rules {
        let checks: Vec<[sock_filter; 3]> = rule.checks.iter().map(check).collect();
        // From the instruction behind the comparison of the number to the load behind the rule's answer. What is another
        // call goes past that, for the number is still loaded: one instruction a rule.
        let length = checks.len() * 3 + 1;
        out.push(branch(JUMP_IF_EQUAL, rule.number, 0, u8::try_from(length + 1).unwrap_or(u8::MAX)));
        for (index, [load, and, compare]) in checks.into_iter().enumerate() {
            let miss = u8::try_from(length - (index + 1) * 3).unwrap_or(u8::MAX);
            out.extend([load, and]);
            // A comparison is written with 1 where it fails: that is the way past the rule.
            let way = |fails: u8| if fails == 1 { miss } else { 0 };
            out.push(sock_filter { jt: way(compare.jt), jf: way(compare.jf), ..compare });
        }
        out.push(answer(rule.action));
        out.push(plain(LOAD, NUMBER));
    }
    out.push(answer(section.otherwise));
    out
}

/// Load, mask, compare; in the comparison 1 stands for the way that fails.
fn check(check: &Check) -> [sock_filter; 3] {
    let low_half =
        ARGUMENTS + u32::from(check.argument) * 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let compare = match check.test {
        Test::Is(value) => branch(JUMP_IF_EQUAL, value, 0, 1),
        Test::IsNot(value) => branch(JUMP_IF_EQUAL, value, 1, 0),
        Test::Above(value) => branch(JUMP_IF_ABOVE, value, 0, 1),
    };
    [plain(LOAD, low_half), plain(AND, check.mask), compare]
}

/// Neighbours with the same action as one.
fn ranges(calls: &BTreeMap<u32, Action>) -> Vec<(u32, u32, Action)> {
    let mut out: Vec<(u32, u32, Action)> = Vec::new();
    for (number, action) in calls {
        match out.last_mut() {
            Some((_, last, same)) if *last + 1 == *number && same == action => *last = *number,
            _ => out.push((*number, *number, *action)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCH: u32 = 0xc000_003e;

    /// The kernel's machine, as far as programs of this module use it.
    fn run(program: &[sock_filter], convention: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    value = match step.k {
                        NUMBER => number,
                        CONVENTION => convention,
                        offset => arguments[(offset - ARGUMENTS) as usize / 8] as u32,
                    }
                }
                AND => value &= step.k,
                JUMP => at += step.k as usize,
                JUMP_IF_EQUAL => at += jump(value == step.k),
                JUMP_IF_ABOVE => at += jump(value > step.k),
                JUMP_IF_AT_LEAST => at += jump(value >= step.k),
                RETURN => return step.k,
                code => panic!("{code}"),
            }
        }
    }

    fn section(calls: &[(u32, Action)], rules: Vec<Rule>, otherwise: Action) -> Section {
        let calls = calls.iter().copied().collect();
        Section { convention: ARCH, calls, rules, otherwise, x32: Some(Action::Errno(38)) }
    }

    #[test]
    fn given_ranges_and_single_calls_when_run_then_each_number_has_its_answer() {
        let listed = [1, 2, 3, 7, 9].map(|number| (number, Action::Allow));
        let program = program(&[section(&listed, vec![], Action::Kill)], Action::Errno(1));
        for number in 0..12 {
            let expected =
                if listed.iter().any(|(n, _)| *n == number) { Action::Allow } else { Action::Kill };
            assert_eq!(run(&program, ARCH, number, [0; 6]), expected.code(), "{number}");
        }
        assert_eq!(run(&program, ARCH, X32 + 1, [0; 6]), Action::Errno(38).code());
        assert_eq!(run(&program, ARCH + 1, 1, [0; 6]), Action::Errno(1).code());
    }

    #[test]
    fn given_rules_with_arguments_when_run_then_all_checks_must_hold() {
        let rule = |number, checks: &[Check], errno| Rule {
            number,
            checks: checks.to_vec(),
            action: Action::Errno(errno),
        };
        let bit = |argument, value| Check { argument, mask: value, test: Test::Is(value) };
        let rules = vec![
            rule(5, &[bit(1, 4), bit(2, 2)], 1),
            rule(5, &[Check { argument: 0, mask: u32::MAX, test: Test::Above(100) }], 2),
            rule(6, &[Check { argument: 0, mask: u32::MAX, test: Test::IsNot(8) }], 3),
        ];
        let program = program(&[section(&[], rules, Action::Allow)], Action::Allow);
        let errno = |number, arguments: [u64; 6]| run(&program, ARCH, number, arguments) & 0xffff;
        assert_eq!(errno(5, [0, 7, 6, 0, 0, 0]), 1);
        assert_eq!(errno(5, [0, 7, 1, 0, 0, 0]), 0);
        assert_eq!(errno(5, [101, 7, 1, 0, 0, 0]), 2);
        assert_eq!(errno(6, [8, 0, 0, 0, 0, 0]), 0);
        assert_eq!(errno(6, [9, 0, 0, 0, 0, 0]), 3);
        assert_eq!(errno(7, [0; 6]), 0);
    }

    #[test]
    fn given_two_conventions_when_run_then_each_has_its_own_section() {
        let mut second = section(&[(1, Action::Log)], vec![], Action::Allow);
        second.convention = 7;
        let program = program(&[section(&[(1, Action::Kill)], vec![], Action::Allow), second], Action::Kill);
        assert_eq!(run(&program, ARCH, 1, [0; 6]), Action::Kill.code());
        assert_eq!(run(&program, 7, 1, [0; 6]), Action::Log.code());
        assert_eq!(run(&program, 7, 2, [0; 6]), Action::Allow.code());
    }
}
