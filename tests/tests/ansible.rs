//! Ansible, from Debian's package, finds in a guest what it finds in the same root under systemd-nspawn, and does the
//! same to it: `tests/ansible/steps.tsv`. Every difference in what its modules answer has a row, with its reason, in
//! `tests/ansible/differences.tsv`.
//!
//! Both machines are reached by SSH through their own network: the connection is made by a program that enters it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hostel_tests::cache::DEBIAN12_BARE;
use hostel_tests::guest::Builder;
use hostel_tests::oracle::Nspawn;
use hostel_tests::run::{Outcome, run};
use hostel_tests::stock::KINDS;
use hostel_tests::units::matches;
use hostel_tests::{Guest, paths};
use serde_json::Value;

/// How long one step may take.
const LIMIT: Duration = Duration::from_secs(300);

/// What was answered, by step and place in the answer.
type Answers = BTreeMap<(String, String), String>;

/// One call of a module.
struct Step {
    module: String,
    arguments: String,
    succeeds: bool,
}

fn read(name: &str) -> String {
    let path = paths::repository().join("tests/ansible").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows(name: &str) -> Vec<[String; 3]> {
    let text = read(name);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| match line.split('\t').collect::<Vec<_>>().as_slice() {
        [first, second, third] => [(*first).into(), (*second).into(), (*third).into()],
        _ => panic!("{name}: not three columns: {line}"),
    };
    lines.map(row).collect()
}

fn steps() -> Vec<Step> {
    let step = |[module, arguments, ends]: [String; 3]| Step { module, arguments, succeeds: ends == "well" };
    rows("steps.tsv").into_iter().map(step).collect()
}

/// A folder with a key, and with the programs that connect; it goes with the value.
struct Way(PathBuf);

impl Way {
    fn new() -> Way {
        let folder = std::env::temp_dir().join(format!("hostel-test-ansible-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder is made");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join("key"));
        run(&mut keygen, LIMIT).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"));
        Way(folder)
    }

    fn public_key(&self) -> String {
        fs::read_to_string(self.0.join("key.pub")).expect("the public half of the key")
    }

    /// A program that connects to a machine whose PID 1 the shell line `finds` (after a reboot it is another).
    fn to(&self, machine: &str, finds: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let program = self.0.join(machine);
        let script = format!("#!/bin/sh\nexec nsenter -t \"$({finds})\" -n busybox nc 127.0.0.1 22\n");
        fs::write(&program, script).expect("the program is written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode is set");
        program
    }

    /// Calls one module, and gives its answer; whether it failed is always in it.
    fn call(&self, connects: &Path, step: &Step) -> Value {
        let arguments = format!(
            "-o ProxyCommand={} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            connects.display()
        );
        let mut ansible = Command::new("ansible");
        // Of another name each: what is called alike shares its connections.
        let machine = connects.file_name().unwrap_or_default().to_string_lossy();
        ansible.args(["all", "-i", &format!("{machine},"), "--one-line", "--user", "root", "--private-key"]);
        ansible.arg(self.0.join("key"));
        // As an option it would be taken for an option of its own.
        ansible.env("ANSIBLE_SSH_COMMON_ARGS", &arguments).env("ANSIBLE_TIMEOUT", "60");
        ansible.args(["-m", &step.module, "-a", &step.arguments]);
        ansible.env("HOME", &self.0).env("ANSIBLE_LOCAL_TEMP", self.0.join("tmp"));
        ansible
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
            .env("LC_ALL", "C.UTF-8");
        let outcome = run(&mut ansible, LIMIT).unwrap_or_else(|error| panic!("{error}"));
        let answer = outcome.stdout.lines().find_map(|line| line.split_once(" => "));
        let Some((head, answer)) = answer else {
            panic!("{} {}: {}", step.module, step.arguments, outcome.said())
        };
        assert!(!head.contains("UNREACHABLE"), "{} {}: {answer}", step.module, step.arguments);
        let mut answer: Value =
            serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        answer["failed"] = head.contains("FAILED").into();
        answer
    }

    /// Makes all steps; gives all that was answered, by step and place in the answer.
    fn all(&self, connects: &Path) -> Answers {
        let mut answers = BTreeMap::new();
        let mut wrong = Vec::new();
        for (number, step) in steps().iter().enumerate() {
            let answer = self.call(connects, step);
            if answer["failed"] == step.succeeds {
                wrong.push(format!("{} {}: {answer}", step.module, step.arguments));
            }
            let module = step.module.trim_start_matches("ansible.builtin.");
            flatten(&answer, String::new(), &mut |place, value| {
                if !is_acted_on(&place) {
                    return;
                }
                answers.insert((format!("{:02} {module}", number + 1), place), value);
            });
        }
        assert!(wrong.is_empty(), "these ended otherwise than they are to:\n{}", wrong.join("\n"));
        answers
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Is it what a playbook goes by? The rest (texts, times, process ids, all properties of a unit) no two machines have
/// alike.
fn is_acted_on(place: &str) -> bool {
    const LAST: [&str; 14] = [
        "changed",
        "failed",
        "rebooted",
        "enabled",
        "rc",
        "state",
        "ActiveState",
        "SubState",
        "LoadState",
        "UnitFileState",
        "ansible_service_mgr",
        "ansible_pkg_mgr",
        "ansible_distribution_version",
        "ansible_user_id",
    ];
    // Of the list of all services, what there is of each is the comparison of units' own test.
    let listed = place.starts_with("ansible_facts.services.");
    !listed && place.rsplit('.').next().is_some_and(|last| LAST.contains(&last))
}

/// Every value of an answer, with the way to it.
fn flatten(value: &Value, place: String, found: &mut dyn FnMut(String, String)) {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(value, below(name), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| flatten(value, below(&at.to_string()), found));
        }
        Value::String(text) => found(place, text.clone()),
        other => found(place, other.to_string()),
    }
}

mod long {
    use super::*;

    #[test]
    #[ignore = "runs Ansible twice: cargo xtask test --all"]
    fn given_ansible_when_it_administers_a_guest_then_its_modules_answer_as_under_systemd() {
        let way = Way::new();
        let made = || {
            Guest::of(DEBIAN12_BARE, "ansible")
                .own_folder()
                .stocked(KINDS)
                .file_with_mode("root/.ssh/authorized_keys", &way.public_key(), 0o600)
                // It would hold the lock of apt now and then.
                .link("etc/systemd/system/apt-daily.timer", "/dev/null")
                .link("etc/systemd/system/apt-daily-upgrade.timer", "/dev/null")
        };
        // Both at once: they mostly wait.
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| under_hostel(&way, made()));
            let theirs = under_systemd(&way, made());
            (ours.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), theirs)
        });
        compare(&theirs, &ours);
    }

    fn under_hostel(way: &Way, guest: Builder) -> Answers {
        let guest = guest.start();
        let hostel = paths::program("hostel");
        let pid = "sed -n 's/^ *\"pid\": *\\([0-9]*\\).*/\\1/p' | head -1";
        way.all(&way.to("hostel", &format!("{} status {} --json | {pid}", hostel.display(), guest.name)))
    }

    fn under_systemd(way: &Way, guest: Builder) -> Answers {
        let guest = guest.create();
        let mut nspawn = Nspawn::start_in_place(&guest.shared_root(), &format!("{}-nspawn", guest.name))
            .unwrap_or_else(|error| panic!("{error}"));
        nspawn.wait_until_up().unwrap_or_else(|error| panic!("{error}"));
        let outer = nspawn.outer();
        let finds = format!(
            "for nspawn in $(cat /proc/{outer}/task/{outer}/children); do \
             for pid in $(cat /proc/$nspawn/task/$nspawn/children); do \
             grep -q '^NSpid:.*\\s1$' /proc/$pid/status && echo $pid; done; done"
        );
        way.all(&way.to("nspawn", &finds))
    }

    fn compare(systemd: &Answers, hostel: &Answers) {
        let reasons = rows("differences.tsv");
        let mut used = vec![false; reasons.len()];
        let mut wrong = Vec::new();
        let keys: std::collections::BTreeSet<_> = systemd.keys().chain(hostel.keys()).collect();
        for key in keys {
            let of = |answers: &Answers| answers.get(key).cloned();
            let (theirs, ours) = (of(systemd), of(hostel));
            if theirs == ours {
                continue;
            }
            let (step, place) = key;
            let about = |[steps, places, _]: &[String; 3]| matches(steps, step) && matches(places, place);
            match reasons.iter().position(about) {
                Some(row) => used[row] = true,
                None => wrong.push(format!("{step}: {place}\n  systemd: {theirs:?}\n  Hostel:  {ours:?}")),
            }
        }
        for ([step, place, reason], used) in reasons.iter().zip(used) {
            assert!(reason.len() > 10, "no reason for {step} {place}");
            if !used {
                wrong.push(format!("differences.tsv has a row about nothing: {step} {place}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
