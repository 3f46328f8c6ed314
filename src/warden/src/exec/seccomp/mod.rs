//! Filters on system calls: SystemCallFilter= and all directives that refuse calls by their arguments.
//!
//! Two programs at most, and one for SystemCallLog=: one has every refusal by argument, one is SystemCallFilter=, which
//! comes last, for it may refuse what installs filters. Each has a section for every call convention of the processor,
//! so that a program of 32 bits is held as well. Calls of the x32 convention meet ENOSYS, as on kernels without it.

mod bpf;
mod calls;
mod rules;

use super::failure::reason;
use super::job::Job;
use crate::sys;
use bpf::{Action, Section};
pub use calls::{CONVENTIONS, Calls};
use hostel_plan::SettingKey;
use rules::Refusal;
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};

const NO_SUCH_CALL: Action = Action::Errno(libc::ENOSYS as u16);

/// What a unit wants filtered.
#[derive(Default)]
pub struct Filters {
    programs: Vec<Vec<libc::sock_filter>>,
    /// MemoryDenyWriteExecute=, which the kernel does better itself (6.3).
    deny_write_execute: bool,
}

/// Reads what a unit wants.
pub fn wanted(job: &Job<'_>) -> Filters {
    let on = |name| job.directive(SettingKey::Sandbox, name).is_some_and(super::job::is_yes);
    let mut filters = Filters { programs: Vec::new(), deny_write_execute: on("MemoryDenyWriteExecute") };
    let refusals = refusals(job);
    let permitted = architectures(job);
    let log = list(job, "SystemCallLog");
    let filter = list(job, "SystemCallFilter");
    if refusals.is_empty() && permitted.is_none() && log.is_empty() && filter.is_empty() {
        return filters;
    }
    let calls = Calls::read();
    if !log.is_empty() {
        let answers = Answers { listed: Action::Log, others: Action::Allow };
        filters.programs.push(list_program(job, &calls, &log, "SystemCallLog", answers));
    }
    if !refusals.is_empty() || permitted.is_some() {
        filters.programs.push(refusal_program(&calls, &refusals, permitted.as_deref()));
    }
    if !filter.is_empty() {
        let answers = Answers { listed: Action::Allow, others: error_number(job) };
        filters.programs.push(list_program(job, &calls, &filter, "SystemCallFilter", answers));
    }
    filters
}

impl Filters {
    /// Whether a program is to be installed, which takes CAP_SYS_ADMIN or no_new_privs.
    pub fn has_programs(&self) -> bool {
        !self.programs.is_empty()
    }

    /// Installs all of it. The last thing before the exec: what it refuses is refused to us, too.
    pub fn install(&self, job: &Job<'_>) {
        let mut programs: Vec<&[libc::sock_filter]> = self.programs.iter().map(Vec::as_slice).collect();
        let older;
        if self.deny_write_execute && sys::deny_write_execute().is_err() {
            older = refusal_program(&Calls::read(), &rules::write_execute(), None);
            programs.insert(0, &older);
        }
        for program in programs {
            match sys::install_filter(program) {
                Ok(()) => {}
                Err(errno @ (Errno::INVAL | Errno::NOSYS | Errno::ACCESS | Errno::PERM)) => {
                    let why = reason(errno.raw_os_error());
                    return job.log.line(&format!(
                        "sandbox: this guest may filter no system calls ({why}): SystemCallFilter=, Restrict...= and the like are without effect"
                    ));
                }
                Err(errno) => {
                    let why = reason(errno.raw_os_error());
                    job.log.line(&format!("sandbox: a filter on system calls is without effect: {why}"));
                }
            }
        }
    }
}

/// Everything that is refused by name or argument, from all directives but SystemCallFilter=.
fn refusals(job: &Job<'_>) -> Vec<Refusal> {
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let on = |name| get(name).is_some_and(super::job::is_yes);
    let mut out = Vec::new();
    let families = job.directives(SettingKey::Sandbox, "RestrictAddressFamilies");
    out.extend(rules::families(families, |name| {
        job.log
            .line(&format!("RestrictAddressFamilies=: `{name}` is no family that this build knows: ignored"));
    }));
    if let Some(left) = rules::namespaces_left(job.directives(SettingKey::Sandbox, "RestrictNamespaces")) {
        out.extend(rules::namespaces(left));
    }
    if on("RestrictRealtime") {
        out.extend(rules::realtime());
    }
    if on("RestrictSUIDSGID") || job.is_on(SettingKey::DynamicUser) {
        out.extend(rules::set_id_bits());
    }
    if on("LockPersonality") {
        out.extend(rules::personality(sys::personality().unwrap_or(0)));
    }
    if get("ProtectHostname").is_some_and(|text| super::job::is_yes(text) || text.starts_with("yes:")) {
        out.extend(rules::hostname());
    }
    let groups = [
        ("ProtectKernelTunables", "_sysctl"),
        ("ProtectKernelModules", "@module"),
        ("ProtectKernelLogs", "syslog"),
        ("ProtectClock", "@clock"),
        ("PrivateDevices", "@raw-io"),
    ];
    out.extend(groups.iter().filter(|(directive, _)| on(directive)).map(|(_, group)| rules::always(group)));
    out
}

/// The words of a list of calls, in order.
fn list<'a>(job: &Job<'a>, directive: &'static str) -> Vec<&'a str> {
    job.directives(SettingKey::Sandbox, directive).collect()
}

/// SystemCallErrorNumber=: what becomes of calls that the filter refuses.
fn error_number(job: &Job<'_>) -> Action {
    match job.directive(SettingKey::Sandbox, "SystemCallErrorNumber") {
        None | Some("kill") => Action::Kill,
        Some(text) => match calls::errno(text) {
            Some(number) => Action::Errno(number),
            None => {
                job.log.line(&format!("SystemCallErrorNumber={text}: not understood, ignored"));
                Action::Kill
            }
        },
    }
}

/// SystemCallArchitectures=: the conventions that stay, where it is set.
fn architectures(job: &Job<'_>) -> Option<Vec<&'static str>> {
    let mut out = None;
    for name in job.directives(SettingKey::Sandbox, "SystemCallArchitectures") {
        let list: &mut Vec<&'static str> = out.get_or_insert_default();
        let native = CONVENTIONS.first().map(|convention| convention.name);
        list.extend(CONVENTIONS.iter().map(|c| c.name).filter(|known| *known == name));
        list.extend(native.filter(|_| name == "native"));
    }
    out.map(|mut list| {
        // systemd itself, and so what it execs, is native.
        list.extend(CONVENTIONS.first().map(|convention| convention.name));
        list
    })
}

/// One program with all refusals.
fn refusal_program(
    calls: &Calls,
    refusals: &[Refusal],
    permitted: Option<&[&str]>,
) -> Vec<libc::sock_filter> {
    let section = |convention: &calls::Convention| {
        let mut section = Section {
            convention: convention.audit,
            calls: BTreeMap::new(),
            rules: Vec::new(),
            otherwise: Action::Allow,
            x32: (convention.name == "x86-64").then_some(if permitted.is_some() {
                Action::Kill
            } else {
                NO_SUCH_CALL
            }),
        };
        if permitted.is_some_and(|names| !names.contains(&convention.name)) {
            section.otherwise = Action::Kill;
            return section;
        }
        for refusal in refusals {
            for name in calls.named(refusal.call) {
                let Some(number) = calls.number(name, convention) else { continue };
                // Its arguments are in memory, behind a pointer.
                if convention.name == "x86" && name == "mmap" {
                    continue;
                }
                if refusal.checks.is_empty() {
                    section.calls.insert(number, refusal.action);
                } else {
                    let checks = refusal.checks.clone();
                    section.rules.push(bpf::Rule { number, checks, action: refusal.action });
                }
            }
        }
        section
    };
    let sections: Vec<Section> = CONVENTIONS.iter().map(section).collect();
    bpf::program(&sections, if permitted.is_some() { Action::Kill } else { NO_SUCH_CALL })
}

/// What becomes of calls that a list of allowed ones has, and of those that it has not.
#[derive(Clone, Copy)]
struct Answers {
    listed: Action,
    others: Action,
}

/// The program of SystemCallFilter= or SystemCallLog=: the first word says whether its calls are allowed (logged) and
/// all others refused, or the other way round.
fn list_program(
    job: &Job<'_>,
    calls: &Calls,
    words: &[&str],
    directive: &str,
    answers: Answers,
) -> Vec<libc::sock_filter> {
    let tell = |text: &str| {
        job.log.line(&format!(
            "{directive}=: `{text}` is no system call or group that this build knows: ignored"
        ));
    };
    let listed = read_list(calls, words, directive == "SystemCallFilter", tell);
    // What is listed where nothing else is said of it, and what is not.
    let (own, otherwise) = match (listed.allows, answers.listed) {
        (true, listed) => (listed, answers.others),
        (false, Action::Log) => (Action::Allow, Action::Log),
        (false, _) => (answers.others, Action::Allow),
    };
    let section = |convention: &calls::Convention| {
        let numbers = listed.calls.iter().filter_map(|(name, errno)| {
            Some((calls.number(name, convention)?, errno.map_or(own, Action::Errno)))
        });
        Section {
            convention: convention.audit,
            calls: numbers.collect(),
            rules: Vec::new(),
            otherwise,
            x32: (convention.name == "x86-64").then_some(NO_SUCH_CALL),
        }
    };
    let sections: Vec<Section> = CONVENTIONS.iter().map(section).collect();
    bpf::program(&sections, NO_SUCH_CALL)
}

/// A list of calls, understood.
struct Listed {
    /// Whether it names what is allowed.
    allows: bool,
    /// The calls, and where one has it an errno of its own.
    calls: HashMap<&'static str, Option<u16>>,
}

/// Words take away what words before them gave, as in systemd's config_parse_syscall_filter.
fn read_list(calls: &Calls, words: &[&str], has_default: bool, mut unknown: impl FnMut(&str)) -> Listed {
    let allows = words.first().is_some_and(|word| !word.starts_with('~'));
    let mut out = HashMap::new();
    if allows && has_default {
        out.extend(calls.named("@default").into_iter().map(|name| (name, None)));
    }
    for word in words {
        let (inverted, text) = match word.strip_prefix('~') {
            Some(text) => (true, text),
            None => (false, *word),
        };
        let (name, errno) = match text.split_once(':') {
            Some((name, "kill")) => (name, None),
            Some((name, errno)) => match calls::errno(errno) {
                Some(number) => (name, Some(number)),
                None => {
                    unknown(text);
                    continue;
                }
            },
            None => (text, None),
        };
        let named = calls.named(name);
        if named.is_empty() {
            unknown(name);
        }
        for name in named {
            if inverted != allows {
                out.insert(name, errno);
            } else {
                out.remove(name);
            }
        }
    }
    Listed { allows, calls: out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Listed {
        read_list(&Calls::read(), words, true, |name| panic!("{name}"))
    }

    #[test]
    fn given_an_allow_list_when_read_then_what_every_program_needs_is_in_it() {
        let listed = read(&["@system-service", "~@privileged", "~@resources"]);
        assert!(listed.allows);
        assert!(listed.calls.contains_key("execve") && listed.calls.contains_key("read"));
        assert!(!listed.calls.contains_key("chown") && !listed.calls.contains_key("sched_setaffinity"));
    }

    #[test]
    fn given_a_deny_list_when_read_then_it_is_as_written_with_its_errnos() {
        let listed = read(&["~@mount:EPERM", "~ptrace"]);
        assert!(!listed.allows);
        assert_eq!(listed.calls.get("umount2"), Some(&Some(1)));
        assert_eq!(listed.calls.get("ptrace"), Some(&None));
        assert!(!listed.calls.contains_key("execve"));
    }

    #[test]
    fn given_unknown_names_when_read_then_they_are_told_and_the_rest_counts() {
        let mut told = Vec::new();
        let words = ["read", "no_such_call", "write:EODD"];
        let listed = read_list(&Calls::read(), &words, false, |name| told.push(name.to_string()));
        assert_eq!(told, ["no_such_call", "write:EODD"]);
        assert_eq!(listed.calls.len(), 1);
    }
}
