//! For those who know util-vserver: its commands, said in this tool's words, and its configuration trees, carried over.
//!
//! Called as `vserver`, `vserver-stat`, `vps`, `vkill`, `vwait`, `vdu` or `vhashify`, the tool takes their arguments and does
//! what its own command would do. What has no counterpart is an error that says so. Pure: vserver(8) is the table in prose.

pub mod import;
mod limits;

use crate::error::Error;
use std::collections::VecDeque;

/// A command of util-vserver's, in our words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// The command line, without the program.
    pub arguments: Vec<String>,
    /// A guest that must run; else there's nothing to do.
    pub if_runs: Option<String>,
    /// A question that must be answered with yes first.
    pub question: Option<String>,
}

impl Spoken {
    fn of(words: &[&str], rest: impl IntoIterator<Item = String>) -> Spoken {
        let words = words.iter().map(|word| (*word).to_owned());
        Spoken { arguments: words.chain(rest).collect(), ..Spoken::default() }
    }
}

type Words = VecDeque<String>;

/// Says in our words what was asked of one of the programs.
type Speak = fn(Words) -> Result<Spoken, Error>;

/// The programs that are understood, each with what it does.
const PROGRAMS: &[(&str, Speak)] = &[
    ("vserver", vserver),
    ("vserver-stat", |rest| Ok(Spoken::of(&["stats"], rest))),
    // ps(1)'s own options choose columns of the whole machine's processes: the guests' are shown in ours.
    ("vps", |rest| Ok(Spoken::of(&["ps"], rest.into_iter().filter(|word| !is_ps_option(word))))),
    ("vkill", vkill),
    ("vwait", |rest| one_guest("vwait", "wait", rest)),
    ("vdu", |rest| Ok(Spoken::of(&["du"], rest.into_iter().filter(|word| !word.starts_with('-'))))),
    ("vhashify", |rest| Ok(Spoken::of(&["unify"], rest.into_iter().filter(|word| !word.starts_with('-'))))),
];

/// What was asked for, if the tool was called by the name of one of util-vserver's programs.
pub fn spoken(program: &str, arguments: impl IntoIterator<Item = String>) -> Option<Result<Spoken, Error>> {
    let (_, speak) = PROGRAMS.iter().find(|(name, _)| *name == program)?;
    Some(speak(arguments.into_iter().collect()))
}

fn is_ps_option(word: &str) -> bool {
    word.starts_with('-') || matches!(word, "ax" | "aux" | "auxw" | "auxww" | "faux" | "axf" | "auxf")
}

fn wrong(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

fn one_guest(program: &str, command: &str, mut rest: Words) -> Result<Spoken, Error> {
    rest.retain(|word| !word.starts_with('-'));
    match (rest.pop_front(), rest.is_empty()) {
        (Some(name), true) => Ok(Spoken::of(&[command, &name], [])),
        _ => Err(wrong(format!("{program} takes the name of one guest"))),
    }
}

/// `vkill [-s SIGNAL] [--xid GUEST] [PID...]`; also `-SIGNAL`.
fn vkill(mut rest: Words) -> Result<Spoken, Error> {
    let (mut signal, mut guest, mut pids) = (None, None, Vec::new());
    while let Some(word) = rest.pop_front() {
        match &*word {
            "-s" => signal = rest.pop_front(),
            "-c" | "--xid" => guest = rest.pop_front(),
            "--" => {}
            option if option.starts_with('-') => signal = Some(option[1..].to_owned()),
            pid => pids.push(pid.to_owned()),
        }
    }
    let guest = guest
        .ok_or_else(|| wrong("vkill takes --xid with the name of a guest: there are no contexts' numbers"))?;
    let signal = signal.into_iter().flat_map(|signal| ["--signal".to_owned(), signal]);
    Ok(Spoken::of(&["kill", &guest], signal.chain(pids)))
}

/// `vserver [OPTIONS] GUEST COMMAND [ARGUMENTS]`.
fn vserver(mut rest: Words) -> Result<Spoken, Error> {
    const USAGE: &str = "usage: vserver NAME start|stop|restart|condrestart|enter|exec|suexec|status|running|delete|build|unify|hashify \
                         ...; vserver(8) says what each becomes";
    // How much is said, and whether namespaces are used: neither is a choice here.
    while rest.front().is_some_and(|word| word.starts_with('-')) {
        match rest.pop_front().as_deref() {
            Some("--help") => return Err(wrong(USAGE)),
            Some("--version") => return Ok(Spoken::of(&["--version"], [])),
            _ => {}
        }
    }
    let (Some(name), Some(command)) = (rest.pop_front(), rest.pop_front()) else { return Err(wrong(USAGE)) };
    let plain = |command: &str| Spoken::of(&[command, &name], []);
    let spoken = match &*command {
        "start" if rest.iter().any(|word| word == "--rescue") => {
            return Err(wrong(format!(
                "in the place of a rescue: hostel run --name {name} SOURCE -- COMMAND"
            )));
        }
        "start" | "stop" | "restart" | "enter" | "status" => plain(&command),
        "condrestart" => Spoken { if_runs: Some(name.clone()), ..plain("restart") },
        "running" => Spoken::of(&["status", "--quiet", &name], []),
        "exec" if rest.is_empty() => return Err(wrong("vserver NAME exec takes a command")),
        "exec" => Spoken::of(&["exec", &name, "--"], rest),
        "suexec" => match rest.pop_front() {
            Some(user) if !rest.is_empty() => Spoken::of(&["exec", "--user", &user, &name, "--"], rest),
            _ => return Err(wrong("vserver NAME suexec takes a user and a command")),
        },
        "delete" => {
            let sure = rest.iter().any(|word| matches!(&**word, "-y" | "--yes" | "--force"));
            let question = (!sure).then(|| format!("Remove guest {name} and all that it wrote? (y/N) "));
            Spoken { question, ..Spoken::of(&["rm", "--force", &name], []) }
        }
        "unify" | "hashify" => plain("unify"),
        "build" => return build(&name, rest),
        "apt-get" | "apt-cache" | "apt-config" | "rpm" => Spoken::of(&["exec", &name, "--", &command], rest),
        "chkconfig" => Spoken::of(&["exec", &name, "--", "chkconfig"], rest),
        "pkg" | "pkgmgmt" => {
            return Err(wrong(format!(
                "vserver NAME {command}: a guest's packages are its own business: hostel exec {name} -- apt install ..."
            )));
        }
        other => return Err(wrong(format!("vserver has no command {other:?}; {USAGE}"))),
    };
    Ok(spoken)
}

/// `vserver NAME build -m METHOD [OPTIONS] -- ARGUMENTS OF THE METHOD`.
fn build(name: &str, mut rest: Words) -> Result<Spoken, Error> {
    /// Options with a value that have no counterpart, since what they set is no choice here, or is the guest's own.
    const NEEDLESS: &[&str] = &[
        "--context",
        "--confdir",
        "--lockfile",
        "--rootdir",
        "--pkgbase",
        "--netbcast",
        "--flags",
        "--cpuset",
        "-n",
    ];
    let (mut method, mut changes, mut interfaces) = (None, Vec::new(), Vec::new());
    let (mut device, mut prefix) = (None, None);
    while let Some(word) = rest.pop_front() {
        if word == "--" {
            break;
        }
        let (option, mut value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
            _ => (word.clone(), None),
        };
        let mut next = || {
            value.take().or_else(|| rest.pop_front()).ok_or_else(|| wrong(format!("{option} takes a value")))
        };
        match &*option {
            "-m" => method = Some(next()?),
            "--hostname" => changes.push(format!("hostname={}", next()?)),
            "--interface" => interfaces.push(next()?),
            "--netdev" => device = Some(next()?),
            "--netprefix" | "--netmask" => prefix = Some(next()?),
            "--initstyle" => {
                changes.extend(import::init_of_style(&next()?).map(|init| format!("init={init}")))
            }
            "--force" | "--keep" | "--i-know-its-there" => {}
            option if NEEDLESS.contains(&option) => drop(next()?),
            other => return Err(wrong(format!("vserver NAME build: {other} is not known; see vserver(8)"))),
        }
    }
    let interfaces: Vec<import::Interface> = interfaces
        .iter()
        .map(|text| import::Interface::parse(text, device.as_deref(), prefix.as_deref()))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let (network, left) = import::network(&interfaces, &import::Host::this());
    if let Some((what, why)) = left.first() {
        return Err(wrong(format!("--interface: {what}: {why}")));
    }
    changes.extend(network);
    let method = method.ok_or_else(|| wrong("vserver NAME build takes -m METHOD"))?;
    let of_method = |option: &str| {
        let at = rest.iter().position(|word| word == option)?;
        rest.get(at + 1).cloned()
    };
    let set = changes.into_iter().flat_map(|change| ["--set".to_owned(), change]);
    match &*method {
        "debootstrap" => {
            let suite = of_method("-d").ok_or_else(|| wrong("-m debootstrap takes -- -d SUITE"))?;
            Ok(Spoken::of(&["create", name, "--from", &format!("debian:{suite}")], set))
        }
        "template" => {
            let archive = of_method("-t").ok_or_else(|| wrong("-m template takes -- -t ARCHIVE"))?;
            Ok(Spoken::of(&["create", name, "--from", &format!("tar:{archive}")], set))
        }
        "clone" => {
            let source = of_method("--source").ok_or_else(|| wrong("-m clone takes -- --source GUEST"))?;
            let guest = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            Ok(Spoken::of(&["clone", guest, name], []))
        }
        "rsync" | "skeleton" | "legacy" => Err(wrong(format!(
            "-m {method}: make the root in a directory, then: hostel create {name} --from dir:DIRECTORY"
        ))),
        other => Err(wrong(format!(
            "-m {other} is not there; there are debootstrap, template and clone; others: make an archive, then \
             hostel create {name} --from tar:FILE"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Spoken, String> {
        let mut words = line.split(' ').map(str::to_owned);
        let program = words.next().unwrap();
        spoken(&program, words).unwrap().map_err(|e| e.to_string())
    }

    #[test]
    fn given_commands_as_they_were_used_when_heard_then_each_is_one_of_ours() {
        for (theirs, ours) in [
            ("vserver web start", "start web"),
            ("vserver --silent -v web stop", "stop web"),
            ("vserver web restart", "restart web"),
            ("vserver web enter", "enter web"),
            ("vserver web exec ls -l /", "exec web -- ls -l /"),
            ("vserver web suexec www id -u", "exec --user www web -- id -u"),
            ("vserver web running", "status --quiet web"),
            ("vserver web delete --yes", "rm --force web"),
            ("vserver web hashify", "unify web"),
            ("vserver web apt-get update", "exec web -- apt-get update"),
            (
                "vserver web build -m debootstrap --hostname w1 --context 42 -- -d bookworm",
                "create web --from debian:bookworm --set hostname=w1",
            ),
            (
                "vserver web build -m template --initstyle=plain -- -t /x.tgz",
                "create web --from tar:/x.tgz --set init=plain",
            ),
            ("vserver web build -m clone -- --source /vservers/old", "clone old web"),
            ("vserver-stat", "stats"),
            ("vps aux", "ps"),
            ("vkill -s TERM --xid web 77", "kill web --signal TERM 77"),
            ("vkill -9 --xid web", "kill web --signal 9"),
            ("vwait web", "wait web"),
            ("vdu --xid web", "du web"),
            ("vhashify web", "unify web"),
        ] {
            assert_eq!(said(theirs).unwrap().arguments.join(" "), ours, "{theirs}");
        }
    }

    #[test]
    fn given_what_needs_more_than_a_command_when_heard_then_it_says_so() {
        assert_eq!(said("vserver web condrestart").unwrap().if_runs.as_deref(), Some("web"));
        assert!(said("vserver web delete").unwrap().question.unwrap().contains("guest web"));
        for (line, why) in [
            ("vserver web", "usage: vserver"),
            ("vserver web dance", "no command"),
            ("vserver web exec", "takes a command"),
            ("vserver web build -m yum -- -d fc6", "is not there"),
            ("vserver web build --frobnicate", "not known"),
            ("vserver web start --rescue", "hostel run"),
            ("vkill 7", "--xid"),
            ("vwait", "one guest"),
        ] {
            assert!(said(line).unwrap_err().contains(why), "{line}: {:?}", said(line));
        }
        assert!(spoken("hostel", []).is_none());
    }
}
