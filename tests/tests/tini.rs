//! `hostel-init -- COMMAND`, the init of a container of one command: every case that tini's and dumb-init's published
//! test suites hold (catatonit has none), where it is behaviour and not wording, held by a test of ours.
//!
//! Runs on this machine itself, as PID 1 in a pid namespace of its own and as an ordinary process.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{fs, iter};

use hostel_tests::paths;
use hostel_tests::run::{Outcome, run, until};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(20);
const CHLD: u8 = 17;
const KILL: u8 = 9;
const STOP: u8 = 19;
const CONT: u8 = 18;
const TERM: u8 = 15;
/// Prints its process id, then the number of each signal that it gets, for ever.
const PRINT_SIGNALS: &str = "use Config; $| = 1; my @numbers = split ' ', $Config{sig_num}; \
    for my $name (split ' ', $Config{sig_name}) { my $number = shift @numbers; \
        next if $name =~ /^(ZERO|KILL|STOP|CHLD|NUM32|NUM33)$/; $SIG{$name} = sub { print qq($number\\n) } } \
    print qq($$\\n); sleep 1 while 1";

/// A command below `hostel-init`, which is PID 1 where `as_init`.
fn command(as_init: Place, options: &[&str], words: &[&str]) -> Command {
    let mut command = match as_init {
        Place::PidOne => {
            let mut unshare = Command::new("unshare");
            unshare
                .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
                .arg(paths::program("hostel-init"));
            unshare
        }
        Place::Anywhere => Command::new(paths::program("hostel-init")),
    };
    command.args(options).arg("--").args(words);
    command
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    PidOne,
    Anywhere,
}

fn outcome(options: &[&str], words: &[&str]) -> Outcome {
    run(&mut command(Place::Anywhere, options, words), LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

fn status(options: &[&str], words: &[&str]) -> i32 {
    outcome(options, words).status.code().expect("it exits by itself")
}

/// One that runs, with its output line by line. What is left of it is killed with the value.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        // A group of its own, so that all that is in it can be killed.
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().expect("spawn");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Running { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line more").expect("its output")
    }

    fn send(&self, signal: u8) {
        send(self.child.id(), signal);
    }

    fn exit(mut self) -> Option<i32> {
        self.child.wait().expect("its end").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let left = iter::once(self.child.id()).chain(descendants(self.child.id())).collect::<Vec<_>>();
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            left.iter().for_each(|pid| send(*pid, KILL));
            let _ = self.child.wait();
        }
    }
}

fn send(pid: u32, signal: u8) {
    let done = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(done.is_ok(), "kill(1) can't be run");
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<u32> = fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let children: Vec<u32> =
        all.into_iter().filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect();
    children.iter().flat_map(|child| iter::once(*child).chain(descendants(*child))).collect()
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_an_exit_status_when_the_command_ends_with_it_then_so_does_init() {
    for code in [0, 1, 2, 32, 64, 127, 254, 255] {
        assert_eq!(status(&[], &["sh", "-c", &format!("exit {code}")]), code);
    }
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_a_signal_when_it_ends_the_command_then_the_status_is_128_and_its_number() {
    // Not HUP, INT and QUIT: who was started by nohup(1), or by a script behind `&`, ignores them, and so does its command.
    for signal in [9, 10, 12, 15] {
        assert_eq!(status(&[], &["sh", "-c", &format!("kill -{signal} $$")]), 128 + signal);
    }
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_expected_statuses_when_the_command_ends_with_one_then_init_ends_with_0() {
    assert_eq!(status(&["-e", "3", "-e143"], &["sh", "-c", "exit 3"]), 0);
    assert_eq!(status(&["-e", "3", "-e143"], &["sh", "-c", "kill $$"]), 0);
    assert_eq!(status(&["-e", "3", "-e143"], &["sh", "-c", "exit 4"]), 4);
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_what_can_not_be_run_when_asked_for_then_the_status_is_127_or_126_and_a_line_says_why() {
    let missing = outcome(&[], &["/doesnotexist"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(missing.stderr.contains("/doesnotexist: no such file"), "{}", missing.stderr);
    assert_eq!(status(&[], &["zzzz-not-in-the-path"]), 127);
    assert_eq!(status(&[], &["/etc/passwd"]), 126);
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_a_wrong_command_line_when_called_then_the_usage_is_said_and_the_status_is_1() {
    for line in [&["-z"][..], &["-w"], &["--"], &["-e", "256", "--", "true"], &["--yolo", "/bin/true"]] {
        let mut init = Command::new(paths::program("hostel-init"));
        let outcome = run(init.args(line), LIMIT).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(outcome.status.code(), Some(1), "{line:?}");
        assert!(outcome.stderr.starts_with("Usage: ") && outcome.stdout.is_empty(), "{line:?}: {outcome:?}");
    }
    for line in ["-h", "--version", "-l"] {
        let mut init = Command::new(paths::program("hostel-init"));
        let outcome = run(init.arg(line), LIMIT).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            outcome.status.success() && !outcome.stdout.is_empty() && outcome.stderr.is_empty(),
            "{outcome:?}"
        );
    }
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_every_signal_when_sent_to_init_then_the_command_gets_it() {
    let mut running = Running::start(command(Place::Anywhere, &["-s"], &["perl", "-e", PRINT_SIGNALS]));
    let _pid = running.line();
    for signal in (1..=31).chain(34..=64).filter(|signal| ![KILL, STOP, CHLD].contains(signal)) {
        running.send(signal);
        assert_eq!(running.line(), signal.to_string());
        if (20..=22).contains(&signal) {
            running.send(CONT);
            assert_eq!(running.line(), CONT.to_string());
        }
    }
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_a_stop_from_a_terminal_when_sent_to_init_then_it_is_stopped_until_it_is_continued() {
    let mut running = Running::start(command(Place::Anywhere, &["-s"], &["perl", "-e", PRINT_SIGNALS]));
    let _pid = running.line();
    let state = |running: &Running| stat(running.child.id()).map(|(state, _)| state);
    for signal in [20, 21, 22] {
        running.send(signal);
        assert_eq!(running.line(), signal.to_string());
        assert!(
            until(LIMIT, || (state(&running) == Some('T')).then_some(())).is_some(),
            "{signal}: not stopped"
        );
        running.send(CONT);
        assert_eq!(running.line(), CONT.to_string());
        assert_ne!(state(&running), Some('T'));
    }
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_g_when_a_signal_comes_then_the_whole_group_gets_it_and_without_only_the_command() {
    // Ignores USR1, and waits for a child that doesn't.
    let script = "$SIG{USR1} = 'IGNORE'; $| = 1; my $p = fork // die; \
        if (!$p) { $SIG{USR1} = 'DEFAULT'; print qq(ready\\n); sleep 60; exit } waitpid $p, 0; exit 7";
    for (options, environment) in [(&["-sg"][..], None), (&["-s"], Some("TINI_KILL_PROCESS_GROUP"))] {
        let mut command = command(Place::Anywhere, options, &["perl", "-e", script]);
        command.envs(environment.map(|name| (name, "")));
        let mut running = Running::start(command);
        running.line();
        running.send(10);
        assert_eq!(running.exit(), Some(7));
    }
    let mut running =
        Running::start(command(Place::Anywhere, &["-s"], &["sh", "-c", "sleep 60 & echo $!; wait"]));
    let child = running.line().parse().expect("its pid");
    running.send(TERM);
    assert_eq!(running.exit(), Some(128 + i32::from(TERM)));
    assert!(stat(child).is_some(), "without -g only the command is signalled");
    send(child, KILL);
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_g_when_the_command_ends_then_what_is_left_of_its_group_gets_term() {
    let script = "trap 'echo term; exit' TERM; echo ready; while :; do sleep 0.1; done";
    let main = format!("({script}) & sleep 0.3");
    let mut running = Running::start(command(Place::Anywhere, &["-sg"], &["sh", "-c", &main]));
    assert_eq!((running.line(), running.line()), ("ready".into(), "term".into()));
    assert_eq!(running.exit(), Some(0));
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_pid_1_when_the_command_ends_then_what_is_left_gets_term_before_the_end() {
    let script = "trap 'echo term; exit' TERM; echo ready; while :; do sleep 0.1; done";
    let main = format!("setsid sh -c \"{script}\" & sleep 0.3; exit 3");
    let mut running = Running::start(command(Place::PidOne, &[], &["sh", "-c", &main]));
    assert_eq!((running.line(), running.line()), ("ready".into(), "term".into()));
    assert_eq!(running.exit(), Some(3));
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_a_containers_stop_signal_when_init_is_pid_1_then_the_command_gets_term() {
    for signal in [TERM, 30, 37, 38] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(paths::program("hostel-init"));
        command.args([
            "--",
            "sh",
            "-c",
            "trap 'echo stopped; exit 5' TERM; echo ready; while :; do sleep 0.1; done",
        ]);
        let mut running = Running::start(command);
        assert_eq!(running.line(), "ready");
        let init = descendants(running.child.id())[0];
        send(init, signal);
        assert_eq!(running.line(), "stopped", "{signal}");
        assert_eq!(running.exit(), Some(5));
    }
}

/// Twenty orphans that end at once; then the command says which children init has, zombies among them.
const ORPHANS: &str = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (sleep 0.2 &) ; done; sleep 1; \
    ps --ppid $PPID -o pid=,stat=";

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_orphans_when_init_is_pid_1_or_a_subreaper_then_none_stays_a_zombie() {
    let cases = [
        (Place::PidOne, &[][..], None),
        (Place::Anywhere, &["-s"][..], None),
        (Place::Anywhere, &[], Some("")),
    ];
    for (place, options, variable) in cases {
        let mut command = command(place, options, &["sh", "-c", ORPHANS]);
        command.envs(variable.map(|value| ("TINI_SUBREAPER", value)));
        let outcome = run(&mut command, LIMIT).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(outcome.stdout.lines().count(), 1, "only the command is left: {}", outcome.said());
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_w_when_orphans_are_reaped_then_each_is_told_and_without_none() {
    let told = outcome(&["-s", "-w"], &["sh", "-c", ORPHANS]).stderr;
    assert_eq!(told.matches("Reaped zombie process with pid=").count(), 20, "{told}");
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_neither_pid_1_nor_s_when_run_then_a_line_says_that_orphans_are_not_reaped() {
    assert!(outcome(&[], &["true"]).stderr.contains("zombie reaping won't work"));
    let mut quiet = command(Place::Anywhere, &[], &["true"]);
    let outcome = run(quiet.env("TINI_VERBOSITY", "0"), LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome.stderr, "");
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_v_when_run_then_what_happens_is_told() {
    let told = outcome(&["-s", "-v"], &["sh", "-c", "exit 3"]).stderr;
    assert!(told.contains("the command is process ") && told.contains("the command ended: 3"), "{told}");
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_blocked_and_ignored_signals_when_the_command_is_run_then_it_inherits_them() {
    let block = "use POSIX; $SIG{$_} = 'IGNORE' for qw(TTOU SEGV INT); \
        sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTTIN, SIGILL, SIGTERM)); exec @ARGV";
    let mut perl = Command::new("perl");
    perl.args(["-e", block]).arg(paths::program("hostel-init")).args([
        "-s",
        "--",
        "cat",
        "/proc/self/status",
    ]);
    let said = run(&mut perl, LIMIT).unwrap_or_else(|error| panic!("{error}")).stdout;
    let set = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).expect("a set of signals");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    };
    let of = |signals: [u32; 3]| signals.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    assert_eq!(set("SigBlk:"), of([21, 4, 15]));
    assert_eq!(set("SigIgn:") & of([22, 11, 2]), of([22, 11, 2]));
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_p_when_the_parent_ends_then_init_gets_that_signal() {
    let init = paths::program("hostel-init");
    let child = "trap 'echo told; exit' USR1; echo ready; while :; do sleep 0.1; done";
    let parent = format!("{} -s -p SIGUSR1 -- sh -c \"{child}\" & wait", init.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &parent]);
    let mut running = Running::start(shell);
    assert_eq!(running.line(), "ready");
    running.send(KILL);
    assert_eq!(running.line(), "told");
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_a_working_directory_when_run_then_the_command_keeps_it_and_init_does_not() {
    let mut command =
        command(Place::Anywhere, &["-s"], &["sh", "-c", "sleep 0.2; readlink /proc/$PPID/cwd /proc/$$/cwd"]);
    let said = run(command.current_dir("/tmp"), LIMIT).unwrap_or_else(|error| panic!("{error}")).stdout;
    assert_eq!(said, "/\n/tmp\n");
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_a_terminal_when_run_then_the_command_is_in_its_foreground_and_reads_and_writes_it() {
    let init = paths::program("hostel-init");
    let check = "use POSIX; print getpgrp() == tcgetpgrp(0) ? q(fore) : q(back), q(ground )";
    let line = format!("{} -s -- sh -c \"perl -e '{check}'; tac; exit 3\"", init.display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    let outcome =
        hostel_tests::run::run_with_input(&mut script, b"1\n2\n3\n", LIMIT).unwrap_or_else(|e| panic!("{e}"));
    assert!(outcome.stdout.contains("foreground "), "{outcome:?}");
    assert!(outcome.stdout.ends_with("3\r\n2\r\n1\r\n"), "{outcome:?}");
    assert_eq!(outcome.status.code(), Some(3));
}

#[test]
#[ignore = "runs the built programs: cargo xtask test"]
fn given_another_name_when_called_by_it_then_no_dashes_are_needed() {
    let folder = std::env::temp_dir().join(format!("hostel-tini-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    let name = folder.join("docker-init");
    std::os::unix::fs::symlink(paths::program("hostel-init"), &name).expect("a link");
    let outcome = run(Command::new(&name).args(["-s", "sh", "-c", "exit 4"]), LIMIT);
    fs::remove_dir_all(&folder).expect("the folder goes");
    assert_eq!(outcome.expect("it runs").status.code(), Some(4));
}
