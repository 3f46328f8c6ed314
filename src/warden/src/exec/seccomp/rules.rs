//! What each directive but SystemCallFilter= refuses: calls by name, with what their arguments must be.
//!
//! As systemd's seccomp-util.c has them; the arguments that count are the same on every processor.

use super::bpf::{Action, Check, Test};
use super::calls;
use crate::exec::job::is_yes;

/// A call that is refused, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name, or group with `@`.
    pub call: &'static str,
    /// What must hold of its arguments.
    pub checks: Vec<Check>,
    /// The answer.
    pub action: Action,
}

const DENIED: Action = Action::Errno(libc::EPERM as u16);
const MISSING: Action = Action::Errno(libc::ENOSYS as u16);
const ALL: u32 = u32::MAX;

/// A call that is refused whatever its arguments.
pub fn always(call: &'static str) -> Refusal {
    Refusal { call, checks: Vec::new(), action: DENIED }
}

/// A call that has its flags in memory, where no filter can look: as on a kernel that has it not. Programs then take
/// the older one.
fn unseen(call: &'static str) -> Refusal {
    Refusal { call, checks: Vec::new(), action: MISSING }
}

fn with(call: &'static str, checks: &[Check]) -> Refusal {
    Refusal { call, checks: checks.to_vec(), action: DENIED }
}

fn has(argument: u8, bits: u32) -> Check {
    Check { argument, mask: bits, test: Test::Is(bits) }
}

fn is(argument: u8, value: u32) -> Check {
    Check { argument, mask: ALL, test: Test::Is(value) }
}

/// RestrictRealtime=: policies above SCHED_IDLE, and the two below it that are for real time.
pub fn realtime() -> Vec<Refusal> {
    let policy = |test| Check { argument: 1, mask: ALL, test };
    vec![
        with("sched_setscheduler", &[policy(Test::Is(libc::SCHED_FIFO as u32))]),
        with("sched_setscheduler", &[policy(Test::Is(libc::SCHED_RR as u32))]),
        with("sched_setscheduler", &[policy(Test::Above(libc::SCHED_IDLE as u32))]),
    ]
}

/// RestrictSUIDSGID=.
pub fn set_id_bits() -> Vec<Refusal> {
    let mut out = vec![unseen("openat2")];
    for bit in [libc::S_ISUID, libc::S_ISGID] {
        let makes = |argument| has(argument, libc::O_CREAT as u32);
        out.extend([
            with("chmod", &[has(1, bit)]),
            with("fchmod", &[has(1, bit)]),
            with("fchmodat", &[has(2, bit)]),
            with("fchmodat2", &[has(2, bit)]),
            with("mknod", &[has(1, bit)]),
            with("mknodat", &[has(2, bit)]),
            with("creat", &[has(1, bit)]),
            with("open", &[makes(1), has(2, bit)]),
            with("openat", &[makes(2), has(3, bit)]),
        ]);
    }
    out
}

/// MemoryDenyWriteExecute= on kernels that have no PR_SET_MDWE (before 6.3).
pub fn write_execute() -> Vec<Refusal> {
    const SHM_EXEC: u32 = 0o100000;
    let (write, execute) = (libc::PROT_WRITE as u32, libc::PROT_EXEC as u32);
    // i386's `mmap` has its arguments in memory; what there is of it uses mmap2.
    let map = if cfg!(target_arch = "x86_64") { ["mmap", "mmap2"] } else { ["mmap", "mmap"] };
    let mut out: Vec<Refusal> = map.map(|call| with(call, &[has(2, write | execute)])).into();
    out.extend([
        with("mprotect", &[has(2, execute)]),
        with("pkey_mprotect", &[has(2, execute)]),
        with("shmat", &[has(2, SHM_EXEC)]),
    ]);
    out
}

/// LockPersonality=: the one that it starts with is the only one.
pub fn personality(current: u32) -> Vec<Refusal> {
    vec![with("personality", &[Check { argument: 0, mask: ALL, test: Test::IsNot(current) }])]
}

/// ProtectHostname=, where its namespace alone is not enough: the name can't be changed in it either.
pub fn hostname() -> Vec<Refusal> {
    vec![always("sethostname"), always("setdomainname")]
}

/// Kinds of namespaces by systemd's names.
const NAMESPACES: [(&str, i32); 7] = [
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("net", libc::CLONE_NEWNET),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("user", libc::CLONE_NEWUSER),
    ("uts", libc::CLONE_NEWUTS),
];

/// RestrictNamespaces=: the kinds that may be made and entered; none: all. The first entry says whether the list is of
/// what is left or of what is taken away.
pub fn namespaces_left<'a>(entries: impl Iterator<Item = &'a str>) -> Option<u32> {
    let every = NAMESPACES.iter().fold(0, |set, (_, flag)| set | *flag as u32);
    let mut left = None;
    for entry in entries {
        let (takes, name) = match entry.strip_prefix('~') {
            Some(name) => (true, name),
            None => (false, entry),
        };
        if let Some((_, flag)) = NAMESPACES.iter().find(|(known, _)| *known == name) {
            let so_far = left.unwrap_or(if takes { every } else { 0 });
            left = Some(if takes { so_far & !(*flag as u32) } else { so_far | *flag as u32 });
        } else {
            left = if is_yes(name) { Some(0) } else { None };
        }
    }
    left.filter(|left| *left != every)
}

/// RestrictNamespaces=.
pub fn namespaces(left: u32) -> Vec<Refusal> {
    // setns(2) with 0 enters a namespace of any kind.
    let mut out = vec![unseen("clone3"), with("setns", &[is(1, 0)])];
    for (_, flag) in NAMESPACES {
        let flag = flag as u32;
        if left & flag == 0 {
            out.extend([
                with("unshare", &[has(0, flag)]),
                with("clone", &[has(0, flag)]),
                with("setns", &[has(1, flag)]),
            ]);
        }
    }
    out
}

/// RestrictAddressFamilies=: a list of what may be made, or, with `~`, of what may not.
pub fn families<'a>(entries: impl Iterator<Item = &'a str>, mut unknown: impl FnMut(&str)) -> Vec<Refusal> {
    let mut allows = None;
    let mut listed: Vec<u32> = Vec::new();
    for entry in entries {
        let (inverted, name) = match entry.strip_prefix('~') {
            Some(name) => (true, name),
            None => (false, entry),
        };
        if name == "none" {
            (allows, listed) = (Some(true), Vec::new());
            continue;
        }
        let allow = *allows.get_or_insert(!inverted);
        match calls::family(name) {
            Some(number) if inverted != allow => listed.push(number),
            Some(number) => listed.retain(|known| *known != number),
            None => unknown(name),
        }
    }
    let refused = |test| Refusal {
        call: "socket",
        checks: vec![Check { argument: 0, mask: ALL, test }],
        action: Action::Errno(libc::EAFNOSUPPORT as u16),
    };
    listed.sort_unstable();
    listed.dedup();
    match (allows, listed.last()) {
        (None, _) => Vec::new(),
        (Some(false), _) => listed.into_iter().map(|number| refused(Test::Is(number))).collect(),
        (Some(true), None) => {
            vec![Refusal { checks: Vec::new(), ..refused(Test::Is(0)) }]
        }
        (Some(true), Some(last)) => {
            let between = (0..*last).filter(|number| !listed.contains(number));
            between.map(Test::Is).chain([Test::Above(*last)]).map(refused).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests_of(refusals: &[Refusal]) -> Vec<Test> {
        refusals.iter().flat_map(|refusal| refusal.checks.iter().map(|check| check.test)).collect()
    }

    #[test]
    fn given_families_when_listed_then_all_others_are_refused() {
        let list = |words: &[&str]| families(words.iter().copied(), |name| panic!("{name}"));
        assert_eq!(tests_of(&list(&["AF_UNIX", "AF_INET"])), [Test::Is(0), Test::Above(2)]);
        assert_eq!(tests_of(&list(&["~AF_UNIX", "~AF_INET"])), [Test::Is(1), Test::Is(2)]);
        assert_eq!(tests_of(&list(&["AF_UNIX", "AF_INET", "~AF_INET"])), [Test::Is(0), Test::Above(1)]);
        assert!(list(&["none"])[0].checks.is_empty());
        assert!(list(&[]).is_empty());
    }

    #[test]
    fn given_namespaces_when_listed_then_the_first_entry_says_which_are_left() {
        let left = |words: &[&str]| namespaces_left(words.iter().copied());
        let (net, user) = (libc::CLONE_NEWNET as u32, libc::CLONE_NEWUSER as u32);
        assert_eq!(left(&["1"]), Some(0));
        assert_eq!(left(&["0"]), None);
        assert_eq!(left(&["net", "user"]), Some(net | user));
        assert_eq!(left(&["~user"]).map(|left| left & (net | user)), Some(net));
        assert_eq!(left(&[]), None);
    }
}
