//! Filters on system calls, as the started program meets them.

use super::init::{Case, TempDir};
use hostel_plan::SettingKey;

/// A script with settings of its sandbox, as the plan has them.
fn confined(script: &str, sandbox: &[&str]) -> Case {
    sandbox.iter().fold(Case::script(script), |case, text| case.set(SettingKey::Sandbox, *text))
}

/// What the script writes.
fn seen(script: &str, sandbox: &[&str]) -> String {
    confined(script, sandbox).run().ran().to_string()
}

#[test]
fn given_a_deny_list_when_a_call_of_it_is_made_then_it_has_the_wanted_errno() {
    let script =
        "unshare -m mount -t tmpfs none /mnt 2>&1 | grep -q 'ermitted\\|denied' && echo refused; echo on";
    assert_eq!(seen(script, &["SystemCallFilter=~@mount", "SystemCallErrorNumber=EPERM"]), "refused\non\n");
    let script = "mkdir /none/x 2>&1 | grep -o 'Level 3 reset'; echo on";
    assert_eq!(
        seen(script, &["SystemCallFilter=~mkdir:EL3RST", "SystemCallFilter=~mkdirat:EL3RST"]),
        "Level 3 reset\non\n"
    );
}

#[test]
fn given_a_deny_list_without_an_errno_when_a_call_of_it_is_made_then_sigsys_ends_the_process() {
    // 128 and SIGSYS.
    assert_eq!(
        seen(
            "{ mkdir /none/x; } 2>/dev/null; echo $?",
            &["SystemCallFilter=~mkdir", "SystemCallFilter=~mkdirat"]
        ),
        "159\n"
    );
}

#[test]
fn given_an_allow_list_when_run_then_what_is_in_it_works_and_the_rest_does_not() {
    let sandbox =
        ["SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM", "SystemCallArchitectures=native"];
    let script = "ls / >/dev/null && echo lists; unshare -m true 2>/dev/null || echo refused; grep ^Seccomp: /proc/self/status";
    assert_eq!(seen(script, &sandbox), "lists\nrefused\nSeccomp:\t2\n");
}

#[test]
fn given_restrictions_by_argument_when_met_then_only_what_they_name_is_refused() {
    let base = TempDir::new("restrict");
    let file = base.join("file");
    let script = format!(
        "touch {file}; chmod 700 {file} && echo mode; chmod u+s {file} 2>/dev/null || echo suid; \
         unshare -u true 2>/dev/null && echo uts; unshare -i true 2>/dev/null || echo ipc; \
         chrt -f 1 true 2>/dev/null || echo realtime; chrt -b 0 true && echo batch; \
         setarch --addr-no-randomize true 2>/dev/null || echo personality"
    );
    let sandbox = ["RestrictSUIDSGID=1", "RestrictNamespaces=uts", "RestrictRealtime=1", "LockPersonality=1"];
    assert_eq!(seen(&script, &sandbox), "mode\nsuid\nuts\nipc\nrealtime\nbatch\npersonality\n");
}

#[test]
fn given_address_families_when_a_socket_is_made_then_the_others_are_unsupported() {
    let script =
        "bash -c 'exec 3<>/dev/udp/127.0.0.1/9' 2>&1 | grep -om1 'family not supported' || echo made";
    assert_eq!(seen(script, &["RestrictAddressFamilies=AF_UNIX"]), "family not supported\n");
    assert_eq!(
        seen(script, &["RestrictAddressFamilies=AF_UNIX", "RestrictAddressFamilies=AF_INET"]),
        "made\n"
    );
    assert_eq!(seen(script, &["RestrictAddressFamilies=~AF_INET"]), "family not supported\n");
    assert_eq!(seen(script, &["RestrictAddressFamilies=none"]), "family not supported\n");
}

#[test]
fn given_memory_that_must_not_be_written_and_run_when_asked_for_then_it_is_refused() {
    // Perl's call by number: mmap of a page, PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS.
    let script = "perl -e 'print syscall(9, 0, 4096, 7, 34, -1, 0) == -1 ? \"refused\" : \"mapped\"'";
    if cfg!(target_arch = "x86_64") {
        assert_eq!(seen(script, &[]), "mapped");
        assert_eq!(seen(script, &["MemoryDenyWriteExecute=1"]), "refused");
    }
}

#[test]
fn given_a_user_without_no_new_privileges_when_filtered_then_nothing_of_roots_is_left_to_it() {
    let case =
        confined("grep -E '^(Cap(Prm|Eff)|NoNewPrivs|Seccomp):' /proc/self/status", &["RestrictRealtime=1"]);
    let outcome = case.set(SettingKey::User, "nobody").run();
    assert_eq!(
        outcome.ran(),
        "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n"
    );
}

#[test]
fn given_directives_that_protect_the_kernel_when_run_then_their_capabilities_are_gone() {
    let bounding = |sandbox: &[&str]| {
        let text = seen("grep ^CapBnd: /proc/self/status", sandbox);
        u64::from_str_radix(text.trim().rsplit('\t').next().unwrap(), 16).unwrap()
    };
    let all = bounding(&[]);
    let taken =
        bounding(&["ProtectKernelModules=1", "ProtectKernelLogs=1", "ProtectClock=1", "PrivateDevices=1"]);
    let expected = [16, 34, 25, 35, 27, 17].iter().fold(all, |set, bit| set & !(1 << bit));
    assert_eq!(taken, expected);
}

#[test]
fn given_secure_bits_when_started_as_a_user_then_the_process_has_them() {
    let script = "perl -e 'print syscall(157, 27)'";
    let case = confined(script, &["SecureBits=noroot", "SecureBits=noroot-locked"]);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(case.set(SettingKey::User, "nobody").run().ran(), "3");
    }
}
