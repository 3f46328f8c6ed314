//! `hostel-warden exec` as init uses it: the real program, a hand-made plan, a status pair.
//!
//! The tests run as root, as init does; what they leave outside their temporary directories has a name of its own,
//! and goes with them.

mod init;
mod sandbox;
mod seccomp;
mod secrets;
mod sys;

use hostel_contract::exec::{EVALUATE_CONDITIONS, ExecOutcome, ExecStep};
use hostel_plan::{Phase, SettingKey, UnitKind, command_flags};
use init::{Case, TempDir};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

#[test]
fn given_a_program_when_started_then_the_pair_closes_and_its_output_is_in_the_log() {
    let outcome = Case::start(&["/bin/echo", "well"]).run();
    assert_eq!(outcome.ran(), "well\n");
}

#[test]
fn given_a_name_without_a_path_when_started_then_the_search_path_has_it() {
    assert_eq!(Case::start(&["echo", "found"]).run().ran(), "found\n");
}

#[test]
fn given_a_missing_program_when_started_then_the_record_names_it() {
    let text = Case::start(&["/none/such", "x"]).run().failed(ExecStep::Exec);
    assert!(text.contains("/none/such"), "{text}");
    let outcome = Case::start(&["no-such-program-here"]).run();
    outcome.failed(ExecStep::Exec);
    assert!(outcome.log.contains("no-such-program-here"), "{}", outcome.log);
}

#[test]
fn given_a_missing_program_with_a_dash_when_started_then_it_is_skipped() {
    let outcome = Case::start(&["/none/such"]).with_flags(command_flags::IGNORE_FAILURE).run();
    assert!(outcome.answered(ExecOutcome::Skipped).contains("/none/such"));
    assert!(outcome.status.success());
}

#[test]
fn given_a_script_without_an_interpreter_when_started_then_the_text_says_so() {
    let base = TempDir::new("interpreter");
    let path = base.join("script");
    std::fs::write(&path, "#!/none/interpreter\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let text = Case::start(&[&path]).run().failed(ExecStep::Exec);
    assert!(text.contains("interpreter is missing"), "{text}");
}

#[test]
fn given_an_unknown_user_when_started_then_the_record_names_it() {
    let text = Case::start(&["/bin/true"]).set(SettingKey::User, "nosuchuser").run().failed(ExecStep::User);
    assert!(text.contains("nosuchuser"), "{text}");
    let text =
        Case::start(&["/bin/true"]).set(SettingKey::Group, "nosuchgroup").run().failed(ExecStep::Group);
    assert!(text.contains("nosuchgroup"), "{text}");
}

#[test]
fn given_a_bad_directory_when_started_then_the_record_names_it_unless_it_may_be_missing() {
    let case = || Case::start(&["/bin/pwd"]);
    let text = case().set(SettingKey::WorkingDirectory, "/none/such").run().failed(ExecStep::Chdir);
    assert!(text.contains("/none/such"), "{text}");
    assert_eq!(case().set(SettingKey::WorkingDirectory, "-/none/such").run().ran(), "/\n");
    assert_eq!(case().set(SettingKey::WorkingDirectory, "/usr").run().ran(), "/usr\n");
}

#[test]
fn given_a_user_when_started_then_ids_groups_and_environment_are_its_own() {
    let script =
        "id -u; id -G; echo $USER $HOME; umask; tr '\\0' '\\n' < /proc/$$/environ | grep -c ^SHELL= || true";
    let outcome = Case::script(script)
        .set(SettingKey::User, "daemon")
        .set(SettingKey::Group, "12")
        .set(SettingKey::SupplementaryGroups, "13")
        .set(SettingKey::UMask, "0027")
        .run();
    let lines: Vec<&str> = outcome.ran().lines().collect();
    assert_eq!(lines[0], "1");
    let groups: Vec<&str> = lines[1].split(' ').collect();
    assert!(groups.contains(&"12") && groups.contains(&"13") && !groups.contains(&"0"), "{groups:?}");
    assert_eq!(lines[2..], ["daemon /usr/sbin", "0027", "0"], "a nologin shell is none");
}

#[test]
fn given_settings_of_the_environment_when_started_then_they_come_in_systemds_order() {
    let base = TempDir::new("environment");
    let file = base.join("env");
    std::fs::write(&file, "# a file\nB=\"from file\"\nC='c c'\nbad-name=1\n").unwrap();
    let outcome = Case::script("echo \"$A|$B|$C|$D|$INVOCATION_ID|$RUNTIME_DIRECTORY|$MAINPID\"; echo $PATH")
        .set(SettingKey::Environment, "A=one two")
        .set(SettingKey::Environment, "B=from unit")
        .set(SettingKey::Environment, "D=gone")
        .set(SettingKey::EnvironmentFile, &file)
        .set(SettingKey::EnvironmentFile, "-/none/such")
        .set(SettingKey::UnsetEnvironment, "D")
        .run();
    let lines: Vec<&str> = outcome.ran().lines().collect();
    assert!(lines[0].contains("bad-name"), "{lines:?}");
    assert_eq!(lines[1], "one two|from file|c c||30313233343536373839616263646566||");
    assert!(lines[2].starts_with("/usr/local/sbin:"));
    let text = Case::start(&["/bin/true"])
        .set(SettingKey::EnvironmentFile, "/none/such")
        .run()
        .failed(ExecStep::Resources);
    assert!(text.contains("/none/such"), "{text}");
}

#[test]
fn given_variables_in_a_command_line_when_started_then_they_are_expanded_unless_forbidden() {
    let case = |flags| {
        Case::start(&["/bin/echo", "$WORDS", "${WORDS}", "$$X"])
            .set(SettingKey::Environment, "WORDS=a  b")
            .with_flags(flags)
            .run()
    };
    assert_eq!(case(0).ran(), "a b a  b $X\n");
    assert_eq!(case(command_flags::NO_EXPAND).ran(), "$WORDS ${WORDS} $$X\n");
}

#[test]
fn given_conditions_when_asked_for_then_they_decide() {
    let case = |condition: &str| {
        Case::start(&["/bin/echo", "ran"])
            .asking(EVALUATE_CONDITIONS)
            .set(SettingKey::Condition, condition)
            .run()
    };
    assert_eq!(case("ConditionPathExists:/proc/self").ran(), "ran\n");
    let outcome = case("ConditionPathExists:!/proc/self");
    assert_eq!(outcome.answered(ExecOutcome::ConditionFalse), "ConditionPathExists=!/proc/self");
    assert!(outcome.status.success() && outcome.log.is_empty());
    assert_eq!(case("AssertPathExists:/none").answered(ExecOutcome::AssertFailed), "AssertPathExists=/none");
    // Where init doesn't ask, they have been judged before.
    let outcome =
        Case::start(&["/bin/echo", "ran"]).set(SettingKey::Condition, "ConditionPathExists:/none").run();
    assert_eq!(outcome.ran(), "ran\n");
    let check =
        Case::of(UnitKind::Target, Phase::Check).set(SettingKey::Condition, "ConditionPathExists:/proc");
    check.run().answered(ExecOutcome::Done);
}

#[test]
fn given_sockets_when_started_then_they_are_at_three_with_their_names() {
    let sockets: Vec<OwnedFd> =
        (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()).collect();
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES; [ $LISTEN_PID = $$ ] && echo mine; \
        cd /proc/self/fd; for n in 3 4 5 6 7 8 9; do readlink $n; done | cut -d: -f1; readlink 2 | cut -d: -f1";
    let outcome = Case::script(script).given(sockets, Some("web:tls:odd")).run();
    // The directory itself may be open in the shell's child, but no more sockets are.
    assert_eq!(outcome.log.lines().filter(|line| *line == "socket").count(), 3, "{}", outcome.log);
    assert!(outcome.log.starts_with("3 web:tls:odd\nmine\n"), "{}", outcome.log);
    assert!(outcome.log.ends_with("pipe\n"));
}

#[test]
fn given_a_started_program_when_it_looks_then_nothing_of_ours_is_open_or_blocked_or_ignored() {
    let outcome =
        Case::script("ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status").run();
    let text = outcome.ran();
    // `ls` has the directory open itself.
    assert!(text.starts_with("0 1 2 3 "), "{text}");
    assert!(!text.starts_with("0 1 2 3 4"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    // SIGPIPE alone: IgnoreSIGPIPE= is on by default.
    assert!(text.contains("SigIgn:\t0000000000001000"), "{text}");
    let outcome = Case::script("grep SigIgn /proc/self/status").set(SettingKey::IgnoreSigpipe, "0").run();
    assert!(outcome.ran().contains("SigIgn:\t0000000000000000"));
}

#[test]
fn given_streams_when_started_then_they_go_where_they_are_sent() {
    let base = TempDir::new("streams");
    let (out, err) = (base.join("out"), base.join("err"));
    let run = || {
        Case::script("cat; echo out; echo err >&2")
            .set(SettingKey::StandardInputData, r"text:da\x74a")
            .set(SettingKey::StandardInputData, "base64:bW9y ZQo=")
            .set(SettingKey::StandardOutput, format!("append:{out}"))
            .set(SettingKey::StandardError, format!("truncate:{err}"))
            .run()
    };
    assert_eq!(run().ran(), "");
    run().ran();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "data\nmore\nout\ndata\nmore\nout\n");
    assert_eq!(std::fs::read_to_string(&err).unwrap(), "err\n");
    let text = Case::start(&["/bin/true"])
        .set(SettingKey::StandardOutput, "file:/none/such")
        .run()
        .failed(ExecStep::Stdout);
    assert!(text.contains("/none/such"), "{text}");
}

#[test]
fn given_a_connection_when_started_for_it_then_it_is_the_standard_streams() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let outcome = Case::script("read line; echo got $line")
        .set(SettingKey::StandardInput, "socket")
        .given(vec![theirs.into()], None);
    std::io::Write::write_all(&mut &ours, b"hello\n").unwrap();
    outcome.run().ran();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut &ours, &mut answer).unwrap();
    assert_eq!(answer, "got hello\n");
}

#[test]
fn given_directories_when_started_then_they_are_made_and_cleaned_up() {
    let name = format!("hostel-test-{}/deep", std::process::id());
    let settings = |case: Case| {
        case.set(SettingKey::RuntimeDirectory, &name)
            .set(SettingKey::RuntimeDirectoryMode, "0750")
            .set(SettingKey::User, "nobody")
    };
    let outcome =
        settings(Case::script("echo $RUNTIME_DIRECTORY; touch $RUNTIME_DIRECTORY/x && echo wrote")).run();
    let path = format!("/run/{name}");
    assert_eq!(outcome.ran(), format!("{path}\nwrote\n"));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o7777), (65534, 0o750));
    settings(Case::of(UnitKind::Service, Phase::CleanUp)).run().answered(ExecOutcome::Done);
    assert!(!std::path::Path::new(&path).exists());
    let _ = std::fs::remove_dir(format!("/run/hostel-test-{}", std::process::id()));
}

#[test]
fn given_capabilities_when_started_then_the_sets_are_the_wanted_ones() {
    let outcome = Case::script("grep ^Cap /proc/self/status; grep NoNewPrivs /proc/self/status")
        .set(SettingKey::User, "nobody")
        .set(SettingKey::CapabilityBoundingSet, "+CAP_NET_BIND_SERVICE")
        .set(SettingKey::CapabilityBoundingSet, "+CAP_CHOWN")
        .set(SettingKey::AmbientCapabilities, "CAP_NET_BIND_SERVICE")
        .set(SettingKey::NoNewPrivileges, "1")
        .run();
    let text = outcome.ran();
    for line in [
        "CapEff:\t0000000000000400",
        "CapBnd:\t0000000000000401",
        "CapAmb:\t0000000000000400",
        "NoNewPrivs:\t1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let outcome = Case::script("grep ^Cap /proc/self/status").set(SettingKey::User, "nobody").run();
    assert!(outcome.ran().contains("CapPrm:\t0000000000000000"));
}

#[test]
fn given_a_limit_when_it_can_be_had_then_it_is_set_and_else_a_line_says_what_is() {
    let outcome = Case::script("ulimit -Sn; ulimit -Hn").set(SettingKey::Limit, "NOFILE 100 200").run();
    assert_eq!(outcome.ran(), "100\n200\n");
    let outcome = Case::script("echo runs").set(SettingKey::Limit, "MEMLOCK infinity infinity").run();
    assert!(outcome.ran().ends_with("runs\n"));
    let outcome = Case::script("echo runs").set(SettingKey::OomScoreAdjust, "500").run();
    assert_eq!(outcome.ran(), "runs\n");
}

#[test]
fn given_a_plus_when_started_then_user_and_sandbox_are_left_out() {
    let case = |flags| {
        Case::script("id -u; test -w /usr && echo writable")
            .set(SettingKey::User, "nobody")
            .set(SettingKey::Sandbox, "ProtectSystem=strict")
            .with_flags(flags)
            .run()
    };
    assert_eq!(case(command_flags::FULL_PRIVILEGES).ran(), "0\nwritable\n");
    let bang = case(command_flags::NO_SETUID);
    assert_eq!(bang.log, "0\n");
}

#[test]
fn given_a_sandbox_when_started_then_its_mounts_are_there_and_nowhere_else() {
    let base = TempDir::new("sandbox");
    let (open, hidden) = (base.join("open"), base.join("hidden"));
    std::fs::create_dir(&open).unwrap();
    std::fs::create_dir(&hidden).unwrap();
    std::fs::write(base.join("hidden/secret"), "x").unwrap();
    let script = format!(
        "touch /usr/x 2>/dev/null || echo usr; touch {base}/y 2>/dev/null || echo base; touch {open}/z && echo open; \
         ls {hidden}; touch /tmp/private; ls /tmp; ls /dev | tr '\\n' ' '; echo > /dev/null && echo null",
        base = base.path().display()
    );
    // PrivateTmp hides the test's own directories below /tmp, so they are kept apart by hand.
    let sandbox = |case: Case| case.set(SettingKey::Sandbox, "PrivateTmp=1");
    let outcome = sandbox(Case::script("touch /tmp/private; ls /tmp; ls /var/tmp")).run();
    assert_eq!(outcome.ran(), "private\n");
    let outcome = sandbox(Case::script("ls /tmp")).run();
    assert_eq!(outcome.ran(), "private\n");
    assert!(!std::path::Path::new("/tmp/private").exists());
    sandbox(Case::of(UnitKind::Service, Phase::CleanUp)).run().answered(ExecOutcome::Done);
    assert_eq!(sandbox(Case::script("ls /tmp")).run().ran(), "");
    sandbox(Case::of(UnitKind::Service, Phase::CleanUp)).run().answered(ExecOutcome::Done);

    let outcome = Case::script(&script.replace("touch /tmp/private; ls /tmp; ", ""))
        .set(SettingKey::Sandbox, "ProtectSystem=strict")
        .set(SettingKey::Sandbox, format!("ReadWritePaths={open}"))
        .set(SettingKey::Sandbox, format!("InaccessiblePaths={hidden}"))
        .set(SettingKey::Sandbox, "ReadWritePaths=-/none/such")
        .set(SettingKey::Sandbox, "PrivateDevices=1")
        .run();
    let text = outcome.ran();
    assert!(text.starts_with("usr\nbase\nopen\n"), "{text}");
    assert!(!text.contains("secret") && text.contains("urandom") && text.ends_with("null\n"), "{text}");
    assert!(!std::path::Path::new("/usr/x").exists());
}

#[test]
fn given_a_socket_unit_when_opened_then_the_sockets_come_with_the_record() {
    let base = TempDir::new("sockets");
    let path = base.join("x.sock");
    let case = || {
        Case::of(UnitKind::Socket, Phase::OpenSockets)
            .set(SettingKey::Listen, format!("stream:{path}"))
            .set(SettingKey::Listen, "datagram:@hostel-exec-test")
    };
    let outcome = case().run();
    outcome.answered(ExecOutcome::Done);
    assert_eq!((outcome.descriptors.len(), outcome.record.unwrap().descriptors), (2, 2));
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    let text = case().set(SettingKey::SocketUser, "nosuchuser").run().failed(ExecStep::User);
    assert!(text.contains("nosuchuser"));
}

#[test]
fn given_a_pid_file_when_it_comes_later_then_it_is_awaited() {
    let base = TempDir::new("pid");
    let path = base.join("pid");
    let running = Case::of(UnitKind::Service, Phase::ReadPidFile).set(SettingKey::PidFile, &path).spawn();
    std::thread::sleep(Duration::from_millis(80));
    std::fs::write(&path, format!("{}\n", std::process::id())).unwrap();
    let outcome = running.finish();
    outcome.answered(ExecOutcome::Done);
    assert_eq!(outcome.record.unwrap().pid, std::process::id());
}

#[test]
fn given_no_pid_file_and_nothing_to_guess_from_when_read_then_there_is_no_main_process_at_once() {
    let began = std::time::Instant::now();
    let outcome = Case::of(UnitKind::Service, Phase::ReadPidFile).run();
    outcome.answered(ExecOutcome::Done);
    assert_eq!(outcome.record.unwrap().pid, 0);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn given_a_request_that_fits_no_plan_when_read_then_it_is_a_protocol_failure() {
    let mut case = Case::start(&["/bin/true"]);
    case.request.command = 7;
    case.run().failed(ExecStep::Protocol);
}

#[test]
fn given_files_to_open_when_started_then_they_are_passed_behind_the_sockets() {
    let base = TempDir::new("open-file");
    std::fs::write(base.join("one"), "content\n").unwrap();
    let listener: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    let outcome =
        Case::script("echo $LISTEN_FDS $LISTEN_FDNAMES; cat <&4; echo x >&4 2>/dev/null || echo read-only")
            .given(vec![listener], Some("web"))
            .set(SettingKey::Scheduling, format!("OpenFile={}:data:read-only", base.join("one")))
            .set(SettingKey::Scheduling, "OpenFile=/none/such:odd:graceful")
            .run();
    assert_eq!(outcome.ran(), "2 web:data\ncontent\nread-only\n");
    let case = Case::start(&["/bin/true"]).set(SettingKey::Scheduling, "OpenFile=/none/such");
    assert!(case.run().failed(ExecStep::Fds).contains("/none/such"));
}

#[test]
fn given_attributes_of_a_process_when_started_then_it_has_them() {
    let script = "cat /proc/self/timerslack_ns /proc/self/coredump_filter; echo $PATH $HOME; grep Cpus_allowed_list /proc/self/status";
    let outcome = Case::script(script)
        .set(SettingKey::Scheduling, "TimerSlackNSec=2us")
        .set(SettingKey::Scheduling, "CoredumpFilter=private-anonymous elf-headers")
        .set(SettingKey::Scheduling, "ExecSearchPath=/opt/x:/usr/bin:/bin")
        .set(SettingKey::Scheduling, "SetLoginEnvironment=1")
        .set(SettingKey::Scheduling, "CPUAffinity=0")
        .run();
    assert_eq!(outcome.ran(), "2000\n00000011\n/opt/x:/usr/bin:/bin /root\nCpus_allowed_list:\t0\n");
}

#[test]
fn given_a_connection_when_started_for_it_then_its_peer_is_in_the_environment() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    let script = "echo $REMOTE_ADDR $REMOTE_PORT ${LISTEN_FDS-none} >&2";
    let outcome = Case::script(script)
        .set(SettingKey::StandardInput, "socket")
        .set(SettingKey::StandardError, "journal")
        .given(vec![theirs.into()], None)
        .run();
    assert_eq!(outcome.ran(), format!("127.0.0.1 {} none\n", ours.local_addr().unwrap().port()));
}

#[test]
fn given_limits_of_a_cgroup_without_controllers_when_started_then_one_line_says_so() {
    let has_memory = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok();
    if has_memory {
        return;
    }
    let outcome = Case::script("echo runs")
        .set(SettingKey::Scheduling, "MemoryMax=1073741824")
        .set(SettingKey::Scheduling, "CPUQuota=50%")
        .run();
    let lines: Vec<&str> = outcome.ran().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("MemoryMax=, CPUQuota=:") && lines[1] == "runs", "{lines:?}");
}
