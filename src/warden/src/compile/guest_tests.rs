//! Whole guests: made up in temporary directories, and real ones where `HOSTEL_TEST_ROOTS` names their roots
//! (several are separated by colons).

use super::notes::Notes;
use super::root::Root;
use super::root::tests::TempRoot;
use super::specifier::Facts;
use hostel_plan::build::build;
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::{EdgeKind, Phase, Plan, SettingKey, UnitKind, unit_flags};

fn model(root: &Root) -> (Model, Vec<String>) {
    let mut notes = Notes::default();
    let model = super::model_of(root, &Facts::of(root), crate::fronts::Family::Systemd, &[], &mut notes).0;
    (model, notes.list().iter().map(|n| n.to_string()).collect())
}

fn unit<'m>(model: &'m Model, name: &str) -> &'m UnitModel {
    model.units.iter().find(|u| u.name == name).unwrap_or_else(|| panic!("no {name} in the model"))
}

fn has(unit: &UnitModel, kind: EdgeKind, other: &str) -> bool {
    unit.edges.contains(&(kind, other.to_owned()))
}

fn settings(unit: &UnitModel, key: SettingKey) -> Vec<&str> {
    unit.settings.iter().filter(|(k, _)| *k == key).map(|(_, v)| v.as_str()).collect()
}

/// A guest with systemd's usual targets, to which a test adds.
fn small_guest() -> TempRoot {
    let temp = TempRoot::new();
    let base = "/usr/lib/systemd/system";
    temp.file(&format!("{base}/multi-user.target"), "[Unit]\nRequires=basic.target\nAfter=basic.target\n")
        .link(&format!("{base}/default.target"), "multi-user.target")
        .file(
            &format!("{base}/basic.target"),
            "[Unit]\nRequires=sysinit.target\nWants=sockets.target timers.target\nAfter=sysinit.target\n",
        )
        .file(
            &format!("{base}/sysinit.target"),
            "[Unit]\nDefaultDependencies=no\nConflicts=shutdown.target\n",
        )
        .file(&format!("{base}/sockets.target"), "[Unit]\n")
        .file(&format!("{base}/timers.target"), "[Unit]\nDefaultDependencies=no\n");
    temp
}

const ETC: &str = "/etc/systemd/system";

#[test]
fn given_a_service_when_compiled_then_it_has_systemds_default_dependencies() {
    let temp = small_guest();
    temp.file(
        &format!("{ETC}/a.service"),
        "[Unit]\nConflicts=shutdown.target\n[Service]\nExecStart=/bin/a\n",
    )
    .link(&format!("{ETC}/multi-user.target.wants/a.service"), "../a.service");
    let (model, notes) = model(&temp.root);
    assert_eq!(notes, [""; 0]);
    assert_eq!(model.default_target, "multi-user.target");
    let a = unit(&model, "a.service");
    for (kind, other) in [
        (EdgeKind::Requires, "sysinit.target"),
        (EdgeKind::After, "sysinit.target"),
        (EdgeKind::After, "basic.target"),
        (EdgeKind::Requires, "system.slice"),
        (EdgeKind::After, "system.slice"),
    ] {
        assert!(has(a, kind, other), "{kind:?} {other}");
    }
    assert_eq!(a.edges.len(), 5, "{:?}", a.edges);
    assert_eq!(a.cgroup, "system.slice/a.service");
    let target = unit(&model, "multi-user.target");
    assert!(has(target, EdgeKind::Wants, "a.service") && has(target, EdgeKind::After, "a.service"));
    assert_eq!(settings(target, SettingKey::Alias), ["default.target"]);
}

#[test]
fn given_sockets_when_compiled_then_they_trigger_their_services() {
    let temp = small_guest();
    temp.file(
        &format!("{ETC}/a.socket"),
        "[Socket]\nListenStream=/var/run/a\nListenDatagram=53\nSocketMode=0600\n",
    )
    .file(&format!("{ETC}/a.service"), "[Service]\nExecStart=/bin/a\nSockets=b.socket\n")
    .file(&format!("{ETC}/b.socket"), "[Socket]\nListenFIFO=/run/b\nService=a.service\n")
    .file(
        &format!("{ETC}/c.socket"),
        "[Socket]\nListenStream=1\nAccept=yes\nKeepAlive=yes\nMaxConnections=2\n",
    )
    .file(&format!("{ETC}/c@.service"), "[Service]\nExecStart=-/bin/c\nStandardInput=socket\n");
    let (model, notes) = model(&temp.root);
    assert_eq!(notes, [""; 0]);
    let socket = unit(&model, "a.socket");
    assert!(has(socket, EdgeKind::Triggers, "a.service") && has(socket, EdgeKind::Before, "a.service"));
    assert!(has(socket, EdgeKind::Before, "sockets.target"));
    assert_eq!(settings(socket, SettingKey::Listen), ["stream:/run/a", "datagram:53"]);
    assert_eq!(settings(socket, SettingKey::SocketMode), ["600"]);
    assert!(has(unit(&model, "b.socket"), EdgeKind::Triggers, "a.service"));
    assert!(has(unit(&model, "a.service"), EdgeKind::Wants, "b.socket"));
    let accepting = unit(&model, "c.socket");
    let served = |by: &str| has(accepting, EdgeKind::Triggers, by);
    assert!(accepting.flags & unit_flags::ACCEPT != 0 && served("c@0.service") && served("c@1.service"));
    assert!(!served("c@2.service"), "no more than MaxConnections= allows");
    assert_eq!(settings(accepting, SettingKey::SocketOption), ["KeepAlive=1", "MaxConnections=2"]);
}

#[test]
fn given_missing_units_when_named_then_strong_names_stay_as_not_found_and_weak_ones_go() {
    let temp = small_guest();
    let text = "[Unit]\nRequires=strong.service\nWants=weak.service\nAfter=later.service\n[Service]\nExecStart=/bin/a\n";
    temp.file(&format!("{ETC}/a.service"), text)
        .file(&format!("{ETC}/d.service"), "[Unit]\nRequires=m.service\n[Service]\nExecStart=/bin/d\n")
        .link(&format!("{ETC}/m.service"), "/dev/null");
    let (model, _) = model(&temp.root);
    assert!(unit(&model, "strong.service").flags & unit_flags::NOT_FOUND != 0);
    assert!(unit(&model, "m.service").flags & unit_flags::MASKED != 0);
    assert!(!model.units.iter().any(|u| u.name == "weak.service" || u.name == "later.service"));
    assert!(unit(&model, "a.service").edges.iter().all(|(_, name)| name != "weak.service"));
}

#[test]
fn given_bad_units_when_compiled_then_each_is_named_with_line_and_remedy_and_the_rest_runs() {
    let temp = small_guest();
    temp.file(&format!("{ETC}/a.service"), "[Service]\nExecStart=/bin/a 'x\n")
        .file(&format!("{ETC}/b.service"), "[Service]\nType=simple\n")
        .file(
            &format!("{ETC}/c.service"),
            "[Service]\nExecStart=/bin/c\nNonsense=1\nRestart=perhaps\nTimeoutStopSec=soon\n",
        )
        .file(&format!("{ETC}/d.service"), "[Service]\nExecStart=/bin/d\nExecStart=/bin/e\n");
    let (model, notes) = model(&temp.root);
    let said = |start: &str| notes.iter().any(|n| n.starts_with(start) && n.ends_with(')'));
    for start in [
        "/etc/systemd/system/a.service:2: Unbalanced quoting",
        "/etc/systemd/system/b.service: b.service: Service has no ExecStart=",
        "/etc/systemd/system/c.service:3: Unknown key 'Nonsense' in section [Service], ignoring",
        "/etc/systemd/system/c.service:4: Failed to parse Restart= value 'perhaps'",
        "/etc/systemd/system/c.service:5: Failed to parse TimeoutStopSec= value 'soon'",
        "/etc/systemd/system/d.service: d.service: Service has more than one ExecStart=",
    ] {
        assert!(said(start), "{start}\n{notes:#?}");
    }
    for bad in ["a.service", "b.service", "d.service"] {
        assert!(unit(&model, bad).flags & unit_flags::NOT_FOUND != 0, "{bad}");
    }
    assert_eq!(unit(&model, "c.service").stop_timeout_ms, 90_000);
    assert_eq!(unit(&model, "c.service").commands.len(), 1);
}

#[test]
fn given_a_drop_in_when_lists_are_emptied_then_what_stood_before_is_gone() {
    let temp = small_guest();
    temp.file(
        "/usr/lib/systemd/system/a.service",
        "[Unit]\nConditionPathExists=/a\nAssertPathExists=/b\n[Service]\nExecStart=/bin/a\nEnvironment=A=1 'B=2 3'\nLimitNOFILE=1:2\n",
    )
    .file(
        &format!("{ETC}/a.service.d/x.conf"),
        "[Unit]\nConditionACPower=\nConditionPathExists=|!/c/\n[Service]\nExecStart=\nExecStart=/bin/b %n\nEnvironment=\nEnvironment=C=%i\nLimitNOFILE=8K:infinity\nLimitNOFILE=64\n",
    );
    let (model, notes) = model(&temp.root);
    let a = unit(&model, "a.service");
    assert_eq!(a.commands.len(), 1);
    assert_eq!(a.commands[0].1.argv, ["/bin/b", "a.service"]);
    assert_eq!(settings(a, SettingKey::Environment), ["C="]);
    assert_eq!(settings(a, SettingKey::Condition), ["AssertPathExists:/b", "ConditionPathExists:|!/c"]);
    assert_eq!(settings(a, SettingKey::Limit), ["NOFILE 64 64"]);
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn given_timers_and_paths_when_compiled_then_they_trigger_and_keep_their_times() {
    let temp = small_guest();
    temp.file(
        &format!("{ETC}/a.timer"),
        "[Timer]\nOnBootSec=5min\nOnCalendar=daily\nOnCalendar=Sun 03:00\nPersistent=yes\n",
    )
    .file(&format!("{ETC}/a.service"), "[Service]\nType=oneshot\nExecStart=/bin/a\n")
    .file(&format!("{ETC}/b.path"), "[Path]\nPathChanged=/var/run/x\nMakeDirectory=yes\nUnit=a.service\n");
    let (model, notes) = model(&temp.root);
    assert_eq!(notes, [""; 0]);
    let timer = unit(&model, "a.timer");
    assert_eq!(settings(timer, SettingKey::OnCalendar), ["daily", "Sun 03:00"]);
    assert_eq!(settings(timer, SettingKey::TimerMonotonic), ["OnBootSec=300000000"]);
    assert!(has(timer, EdgeKind::Triggers, "a.service") && has(timer, EdgeKind::Before, "timers.target"));
    let path = unit(&model, "b.path");
    assert_eq!(settings(path, SettingKey::PathWatch), ["PathChanged=/run/x", "MakeDirectory=1"]);
    assert!(has(path, EdgeKind::Triggers, "a.service"));
}

#[test]
fn given_mounts_when_compiled_then_mount_and_umount_are_their_commands_and_users_of_the_path_wait() {
    let temp = small_guest();
    temp.file(
        &format!("{ETC}/srv-data.mount"),
        "[Mount]\nWhat=tmpfs\nWhere=/srv/data\nType=tmpfs\nOptions=defaults,size=1m,x-foo,nofail\n",
    )
    .file(&format!("{ETC}/srv.mount"), "[Mount]\nWhat=/var/srv\nWhere=/srv\nOptions=bind\n")
    .file(&format!("{ETC}/bad.mount"), "[Mount]\nWhat=x\nWhere=/other\n")
    .file(
        &format!("{ETC}/a.service"),
        "[Unit]\nRequiresMountsFor=/srv/data/x\nWants=bad.mount\n[Service]\nExecStart=/bin/a\n",
    )
    .file("/usr/bin/mount", "x");
    let (model, notes) = model(&temp.root);
    let data = unit(&model, "srv-data.mount");
    let argv = |phase| data.commands.iter().find(|(p, _)| *p == phase).map(|(_, c)| c.argv.join(" "));
    assert_eq!(argv(Phase::Start).unwrap(), "mount tmpfs /srv/data -t tmpfs -o size=1m");
    assert_eq!(argv(Phase::Stop).unwrap(), "umount /srv/data");
    assert_eq!(data.commands[0].1.path, "/usr/bin/mount");
    assert_eq!(settings(data, SettingKey::Condition), ["ConditionPathIsMountPoint:!/srv/data"]);
    assert!(data.flags & unit_flags::CONDITIONS != 0);
    assert!(has(data, EdgeKind::Requires, "srv.mount") && has(data, EdgeKind::After, "srv.mount"));
    let a = unit(&model, "a.service");
    assert!(has(a, EdgeKind::Requires, "srv-data.mount") && has(a, EdgeKind::Requires, "srv.mount"));
    assert!(notes.iter().any(|n| n.contains("Where= setting doesn't match")));
}

#[test]
fn given_units_of_the_skip_list_when_compiled_then_they_keep_their_place_in_the_order_and_what_they_want() {
    let temp = small_guest();
    temp.file(&format!("{ETC}/systemd-udevd.service"),
            "[Unit]\nDefaultDependencies=no\nRequires=x.service\nAfter=sysinit.target\nWants=b.target user.slice systemd-udev-trigger.service\n[Service]\nExecStart=/bin/u\n")
        .file(&format!("{ETC}/b.target"), "[Unit]\n")
        .file(&format!("{ETC}/systemd-udev-trigger.service"), "[Service]\nExecStart=/bin/t\n")
        .file(&format!("{ETC}/a.service"), "[Unit]\nRequires=systemd-udevd.service modprobe@fuse.service\n[Service]\nExecStart=/bin/a\n");
    let (model, notes) = model(&temp.root);
    assert_eq!(notes, [""; 0]);
    let skipped = unit(&model, "systemd-udevd.service");
    assert_eq!(skipped.flags, unit_flags::SKIP | UnitModel::new("x.service", UnitKind::Service).flags);
    let edges =
        [(EdgeKind::After, "sysinit.target"), (EdgeKind::Wants, "b.target"), (EdgeKind::Wants, "user.slice")];
    assert_eq!(skipped.edges, edges.map(|(kind, other)| (kind, other.to_owned())));
    assert!(unit(&model, "user.slice").flags & (unit_flags::NOT_FOUND | unit_flags::SKIP) == 0);
    assert!(skipped.commands.is_empty());
    assert!(unit(&model, "modprobe@fuse.service").flags & unit_flags::NOT_FOUND == 0);
}

#[test]
fn given_a_root_without_any_unit_when_compiled_then_there_is_a_plan_and_a_remedy() {
    let temp = TempRoot::new();
    let (model, notes) = model(&temp.root);
    assert_eq!(model.default_target, "default.target");
    assert_eq!(notes.len(), 1);
    assert!(build(&model).is_ok());
}

#[test]
fn given_names_that_breed_names_when_compiled_then_it_ends_and_says_so() {
    let temp = small_guest();
    temp.file(&format!("{ETC}/a@.service"), "[Unit]\nWants=a@%ix.service\n[Service]\nExecStart=/bin/a\n")
        .link(&format!("{ETC}/multi-user.target.wants/a@1.service"), "../a@.service")
        .file(
            &format!("{ETC}/b@.service"),
            "[Unit]\nWants=b@0%j.service b@1%j%i.service b@2%i.service\n[Service]\nExecStart=/b\n",
        )
        .link(&format!("{ETC}/multi-user.target.wants/b@1.service"), "../b@.service");
    let (model, _) = model(&temp.root);
    assert!(model.units.len() <= 4000);
    assert!(build(&model).is_ok());
}

#[test]
fn given_a_unit_of_absurd_size_when_compiled_then_it_alone_is_refused() {
    let temp = small_guest();
    let after = |n: usize| format!("After=x{n}.service\n");
    let lines: String = (0..30_000).map(after).collect();
    temp.file(&format!("{ETC}/lines.service"), &format!("[Service]\nExecStart=/bin/a\n[Unit]\n{lines}"))
        .file(
            &format!("{ETC}/words.service"),
            &format!("[Service]\nExecStart=/bin/a{}\n", " b".repeat(200_000)),
        )
        .file(
            &format!("{ETC}/commands.service"),
            &format!("[Service]\nType=oneshot\nExecStart={}\n", "/a ; ".repeat(300)),
        )
        .file(&format!("{ETC}/good.service"), "[Service]\nExecStart=/bin/a\n");
    let (model, notes) = model(&temp.root);
    assert!(
        notes.iter().any(|n| n.contains("lines.service:8195: lines.service has more than 8192 lines")),
        "{notes:?}"
    );
    for bad in ["lines.service", "words.service", "commands.service"] {
        assert!(unit(&model, bad).flags & unit_flags::NOT_FOUND != 0, "{bad}");
    }
    assert!(unit(&model, "good.service").flags & unit_flags::NOT_FOUND == 0);
    assert!(build(&model).is_ok());
}

#[test]
fn given_no_calendar_event_when_compiled_then_the_line_is_named_and_the_others_hold() {
    let temp = small_guest();
    temp.file(&format!("{ETC}/a.timer"), "[Timer]\nOnCalendar=whenever\nOnCalendar=weekly\n")
        .file(&format!("{ETC}/a.service"), "[Service]\nExecStart=/bin/a\n");
    let (model, notes) = model(&temp.root);
    assert!(
        notes[0].starts_with("/etc/systemd/system/a.timer:2: ") && notes[0].contains("whenever"),
        "{notes:?}"
    );
    assert_eq!(settings(unit(&model, "a.timer"), SettingKey::OnCalendar), ["weekly"]);
}

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below.max(1)
    }
}

#[test]
fn given_damaged_unit_files_when_compiled_then_nothing_panics_and_there_is_always_a_plan() {
    let sources = [
        "[Unit]\nAfter=a.socket b@%i.service\nConditionPathExists=|!/x\n[Service]\nType=notify\nExecStart=@-/bin/a \"b c\" \\x41 ; /bin/d\nEnvironment=\"A=%n\" B=2\nLimitNOFILE=1:2K\nUser=u\nSuccessExitStatus=1 SIGTERM\n",
        "[Socket]\nListenStream=/run/x\nAccept=yes\nSocketMode=0666\n[Install]\nWantedBy=sockets.target\n",
        "[Timer]\nOnCalendar=*-*-* 6:00\nOnBootSec=1h 3min\nUnit=a.service\n",
        "[Mount]\nWhat=tmpfs\nWhere=/x\nOptions=a,b,c\n[Unit]\nDefaultDependencies=no\n",
    ];
    let names = ["a.service", "a.socket", "a.timer", "x.mount"];
    let spices: [&[u8]; 12] =
        [b"%", b"\\", b"\"", b"'", b"=", b"[", b"]", b"\n", b"\xff", b"\0", b"\xc3\xa9", b"%I%f%j"];
    for seed in 0..120 {
        let mut noise = Noise(seed);
        let temp = small_guest();
        for (name, source) in names.iter().zip(sources) {
            let mut bytes = source.as_bytes().to_vec();
            for _ in 0..1 + noise.next(8) {
                let at = noise.next(bytes.len());
                match noise.next(3) {
                    0 => {
                        bytes.drain(at..bytes.len().min(at + 1));
                    }
                    1 => bytes.truncate(at.max(1)),
                    _ => {
                        let spice = spices[noise.next(spices.len())];
                        bytes.splice(at..at, spice.iter().copied());
                    }
                }
            }
            let path = temp.dir.join(format!("etc/systemd/system/{name}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let (model, _) = model(&temp.root);
        assert!(build(&model).is_ok(), "seed {seed}");
    }
}

#[test]
fn given_real_guests_when_compiled_then_their_services_are_in_the_plan_and_nothing_is_unknown() {
    let Ok(roots) = std::env::var("HOSTEL_TEST_ROOTS") else {
        crate::testing::left_out("HOSTEL_TEST_ROOTS names no guests");
        return;
    };
    for dir in roots.split(':').filter(|dir| !dir.is_empty()) {
        let root = Root::new(dir);
        let start = std::time::Instant::now();
        let (model, notes) = model(&root);
        let took = start.elapsed();
        let built = build(&model).unwrap();
        let plan = Plan::parse(&built.bytes).unwrap();
        eprintln!("{dir}: {} units, {} bytes, {took:?}", plan.len(), built.bytes.len());
        assert!(built.notes.is_empty(), "{:?}", built.notes);
        let unknown: Vec<_> =
            notes.iter().filter(|n| n.contains("Unknown") || n.contains("Failed to")).collect();
        assert!(unknown.is_empty(), "{unknown:#?}");
        for name in [
            "ssh.service",
            "cron.service",
            "dbus.service",
            "nginx.service",
            "redis-server.service",
            "rsyslog.service",
        ] {
            if root.exists(&format!("/usr/lib/systemd/system/{name}")) {
                let unit = plan.find(name).unwrap_or_else(|| panic!("{dir}: no {name}"));
                assert!(unit.command_count(Phase::Start) == 1 && !unit.has(unit_flags::SKIP), "{name}");
            }
        }
        assert!(plan.default_target().is_some());
        assert!(built.bytes.len() < 64 * 1024, "the plan is to stay below init's share of memory");
    }
}
