//! A service's own view of the guest, as the started program sees it.

use super::init::{Case, TempDir};
use hostel_contract::exec::ExecOutcome;
use hostel_plan::{Phase, SettingKey, UnitKind};

/// What a script writes that is confined by these settings.
fn seen(script: &str, sandbox: &[impl AsRef<str>]) -> String {
    confined(Case::script(script), sandbox).run().ran().to_string()
}

fn confined(case: Case, sandbox: &[impl AsRef<str>]) -> Case {
    sandbox.iter().fold(case, |case, text| case.set(SettingKey::Sandbox, text.as_ref()))
}

fn clean_up(sandbox: &[&str]) {
    confined(Case::of(UnitKind::Service, Phase::CleanUp), sandbox).run().answered(ExecOutcome::Done);
}

/// Prints the options of the mount at each path.
fn options_of(paths: &str) -> String {
    format!("for p in {paths}; do findmnt -nro OPTIONS --target $p | tail -1 | cut -d, -f1; done")
}

#[test]
fn given_levels_of_protect_system_when_run_then_each_makes_its_own_paths_read_only() {
    let script = options_of("/usr /etc /var /dev /proc");
    let level = |level: &str| seen(&script, &[format!("ProtectSystem={level}")]);
    assert_eq!(level("1"), "ro\nrw\nrw\nrw\nrw\n");
    assert_eq!(level("full"), "ro\nro\nrw\nrw\nrw\n");
    assert_eq!(level("strict"), "ro\nro\nro\nrw\nrw\n");
}

#[test]
fn given_values_of_protect_home_when_run_then_homes_are_hidden_empty_or_read_only() {
    let script = "ls -A /root >/dev/null 2>&1 && echo listed; ls -A /root 2>/dev/null | wc -l; touch /root/x 2>/dev/null || echo unwritable";
    let with = |value: &str| {
        confined(Case::script(script).set(SettingKey::User, "0"), &[format!("ProtectHome={value}")])
            .run()
            .ran()
            .to_string()
    };
    assert!(with("read-only").starts_with("listed\n") && with("read-only").ends_with("unwritable\n"));
    assert_eq!(with("tmpfs"), "listed\n0\nunwritable\n");
    assert!(with("1").ends_with("0\nunwritable\n"));
}

#[test]
fn given_binds_and_file_systems_in_memory_when_run_then_they_stand_where_they_are_asked_for() {
    let base = TempDir::new("binds");
    std::fs::create_dir_all(base.join("data/deep")).unwrap();
    std::fs::write(base.join("data/file"), "content").unwrap();
    let data = base.join("data");
    let script = format!(
        "cat /opt/hostel-test/at/file; ls -A /srv; touch /opt/hostel-test/at/x 2>/dev/null || echo read-only; \
         touch {data}/y && echo writable; findmnt -nro FSTYPE,OPTIONS /srv | tr , '\\n' | grep -E 'tmpfs|nosuid|size'"
    );
    let sandbox = [
        "TemporaryFileSystem=/srv:size=64k,nosuid".to_string(),
        "TemporaryFileSystem=/opt".to_string(),
        format!("BindReadOnlyPaths={data}:/opt/hostel-test/at:rbind"),
        "BindPaths=-/none/such:/mnt".to_string(),
    ];
    let text = seen(&script, &sandbox);
    assert!(text.starts_with("contentread-only\nwritable\n"), "{text}");
    assert!(text.contains("tmpfs") && text.contains("nosuid") && text.contains("size=64k"), "{text}");
    assert!(!std::path::Path::new("/opt/hostel-test").exists());
}

#[test]
fn given_paths_without_programs_when_run_then_nothing_in_them_is_executed_but_where_it_may() {
    let base = TempDir::new("programs");
    for name in ["closed", "closed/open"] {
        std::fs::create_dir(base.join(name)).unwrap();
        std::fs::copy("/bin/true", base.join(&format!("{name}/true"))).unwrap();
    }
    let (closed, open) = (base.join("closed"), base.join("closed/open"));
    let script = format!("{closed}/true 2>/dev/null || echo closed; {open}/true && echo open");
    let sandbox = [format!("NoExecPaths={closed}"), format!("ExecPaths={open}")];
    assert_eq!(seen(&script, &sandbox), "closed\nopen\n");
}

#[test]
fn given_the_kernels_files_when_protected_then_they_are_read_only_or_hidden() {
    let script = format!(
        "{}; cat /proc/kallsyms 2>&1 | head -c1 | wc -c",
        options_of("/proc/sys /sys /sys/fs/cgroup")
    );
    let text = seen(&script, &["ProtectKernelTunables=1", "ProtectControlGroups=1"]);
    assert!(text.starts_with("ro\nro\nro\n"), "{text}");
    let script = "ls /usr/lib/modules 2>/dev/null | wc -l; head -c1 /dev/kmsg >/dev/null 2>&1 || echo hidden";
    let text = confined(
        Case::script(script).set(SettingKey::User, "nobody"),
        &["ProtectKernelModules=1", "ProtectKernelLogs=1"],
    )
    .run();
    assert_eq!(text.ran(), "0\nhidden\n");
}

#[test]
fn given_a_proc_of_its_own_when_run_as_a_user_then_others_processes_are_hidden() {
    let script = "ls -d /proc/1 2>/dev/null || echo hidden; ls -d /proc/meminfo 2>/dev/null || echo subset";
    let case = Case::script(script).set(SettingKey::User, "nobody");
    assert_eq!(confined(case, &["ProtectProc=invisible", "ProcSubset=pid"]).run().ran(), "hidden\nsubset\n");
}

#[test]
fn given_a_private_network_when_the_unit_runs_more_than_one_command_then_they_share_it() {
    let sandbox = ["PrivateNetwork=1", "PrivateIPC=1"];
    let script = "readlink /proc/self/ns/net /proc/self/ns/ipc; cat /proc/net/dev | grep -c : ; grep -c 7F000001 /proc/net/fib_trie >/dev/null || true; cat /sys/class/net/lo/operstate >/dev/null";
    let first = seen(script, &sandbox);
    assert_eq!(first, seen(script, &sandbox));
    assert!(first.ends_with("\n1\n"), "{first}");
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!first.contains(outside.to_str().unwrap()), "{first}");
    clean_up(&sandbox);
    assert_ne!(first, seen(script, &sandbox));
    clean_up(&sandbox);
    assert!(!std::path::Path::new("/run/hostel/namespaces/x.service.net").exists());
}

#[test]
fn given_private_users_when_run_then_root_and_the_user_are_the_only_ones() {
    let script = "id -u; cat /proc/self/uid_map | tr -s ' ' | wc -l; stat -c %u /";
    let case = Case::script(script).set(SettingKey::User, "nobody");
    assert_eq!(confined(case, &["PrivateUsers=1"]).run().ran(), "65534\n2\n0\n");
    let script = "cat /proc/self/uid_map | tr -s ' '";
    assert_eq!(seen(script, &["PrivateUsers=identity"]), " 0 0 65536\n");
}

#[test]
fn given_a_host_name_that_is_protected_when_set_then_it_is_refused() {
    let script = "hostname changed 2>/dev/null || echo refused; readlink /proc/self/ns/uts";
    let text = seen(script, &["ProtectHostname=1"]);
    let outside = std::fs::read_link("/proc/self/ns/uts").unwrap();
    assert!(text.starts_with("refused\n") && !text.contains(outside.to_str().unwrap()), "{text}");
}

#[test]
fn given_a_root_directory_when_run_then_it_is_all_there_is_with_the_kernels_file_systems_in_it() {
    let base = TempDir::new("root");
    let root = base.join("root");
    for folder in ["usr", "proc", "sys", "dev", "run", "etc"] {
        std::fs::create_dir_all(format!("{root}/{folder}")).unwrap();
    }
    for link in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), format!("{root}/{link}")).unwrap();
    }
    std::fs::write(format!("{root}/etc/mark"), "inside\n").unwrap();
    let script = "cat /etc/mark; ls -d /var /proc/self 2>/dev/null; ls -di /.. / | cut -d' ' -f1 | uniq | wc -l; touch /etc/x 2>/dev/null || echo read-only";
    let case = Case::script(script).set(SettingKey::RootDirectory, &root);
    let outcome = confined(case, &["BindReadOnlyPaths=/usr", "ReadOnlyPaths=+/etc"]).run();
    assert_eq!(outcome.ran(), "inside\n/proc/self\n1\nread-only\n");
    assert!(!std::path::Path::new(&format!("{root}/usr/bin")).exists());
}

#[test]
fn given_a_disconnected_tmp_when_run_then_it_is_in_memory_and_empty() {
    let script = "findmnt -nro FSTYPE /tmp; findmnt -nro FSTYPE /var/tmp; stat -c %a /tmp; ls -A /tmp /var/tmp | grep -v :";
    assert_eq!(seen(script, &["PrivateTmp=disconnected"]).trim(), "tmpfs\ntmpfs\n1777");
}

#[test]
fn given_paths_that_are_missing_when_run_then_one_line_says_so_and_the_service_runs() {
    let text = seen("echo runs", &["ReadOnlyPaths=/none/such", "InaccessiblePaths=-/none/other"]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("/none/such") && text.ends_with("runs\n"), "{text}");
}

#[test]
fn given_an_ephemeral_root_when_written_to_then_it_is_as_it_was_afterwards() {
    let base = TempDir::new("ephemeral");
    let root = base.join("root");
    for folder in ["usr", "proc", "sys", "dev", "run", "etc"] {
        std::fs::create_dir_all(format!("{root}/{folder}")).unwrap();
    }
    for link in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), format!("{root}/{link}")).unwrap();
    }
    let case = Case::script("touch /etc/x && ls /etc").set(SettingKey::RootDirectory, &root);
    let outcome = confined(case, &["BindReadOnlyPaths=/usr", "RootEphemeral=1"]).run();
    assert_eq!(outcome.ran(), "x\n");
    assert!(!std::path::Path::new(&format!("{root}/etc/x")).exists());
}

#[test]
fn given_extensions_when_run_then_their_trees_lie_over_the_guests() {
    let base = TempDir::new("extensions");
    std::fs::create_dir_all(base.join("one/usr/share")).unwrap();
    std::fs::create_dir_all(base.join("two/opt")).unwrap();
    std::fs::write(base.join("one/usr/share/hostel-test"), "one").unwrap();
    std::fs::write(base.join("two/opt/hostel-test"), "two").unwrap();
    let sandbox = [
        format!("ExtensionDirectories={}", base.join("one")),
        format!("ExtensionDirectories={}", base.join("two")),
    ];
    let script = "cat /usr/share/hostel-test /opt/hostel-test; ls /usr/bin/env; touch /usr/x 2>/dev/null || echo read-only";
    assert_eq!(seen(script, &sandbox), "onetwo/usr/bin/env\nread-only\n");
}
