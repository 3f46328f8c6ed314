//! Models that several specifications start from, and a small seeded generator.
#![allow(dead_code)]

use hostel_plan::model::{CommandModel, ExitSet, Model, UnitModel};
use hostel_plan::*;

/// A unit of the kind that its name says.
pub fn unit(name: &str) -> UnitModel {
    let suffix = name.rsplit('.').next().unwrap();
    UnitModel::new(name, UnitKind::from_name(suffix).unwrap())
}

/// A unit with edges.
pub fn unit_with(name: &str, edges: &[(EdgeKind, &str)]) -> UnitModel {
    let mut unit = unit(name);
    unit.edges = edges.iter().map(|(kind, other)| (*kind, other.to_string())).collect();
    unit
}

/// A model of these units that starts the first of them.
pub fn model(units: Vec<UnitModel>) -> Model {
    Model { default_target: units.first().map(|u| u.name.clone()).unwrap_or_default(), units }
}

/// A command line.
pub fn command(flags: u8, argv: &[&str]) -> CommandModel {
    CommandModel { flags, path: argv[0].into(), argv: argv.iter().map(|a| a.to_string()).collect() }
}

/// A small model in which nothing has its default.
pub fn rich() -> Model {
    let mut ssh = unit_with(
        "ssh.service",
        &[
            (EdgeKind::Requires, "sysinit.target"),
            (EdgeKind::After, "sysinit.target"),
            (EdgeKind::Before, "multi-user.target"),
            (EdgeKind::Conflicts, "shutdown.target"),
            (EdgeKind::Wants, "größe.service"),
        ],
    );
    ssh.flags = unit_flags::CONDITIONS | unit_flags::PID_FILE | 1 << 31;
    ssh.service_type = ServiceType::NotifyReload;
    ssh.restart = Restart::OnAbnormal;
    ssh.restart_ms = 1;
    ssh.start_timeout_ms = 2;
    ssh.stop_timeout_ms = 3;
    ssh.watchdog_ms = 4;
    ssh.runtime_max_ms = 5;
    ssh.job_timeout_ms = 6;
    ssh.start_limit_interval_ms = 7;
    ssh.start_limit_burst = 8;
    ssh.kill_mode = KillMode::Mixed;
    ssh.kill_signal = 64;
    ssh.final_kill_signal = 1;
    ssh.restart_kill_signal = 12;
    ssh.notify_access = NotifyAccess::All;
    ssh.fdstore_max = 513;
    ssh.success = ExitSet { statuses: vec![0, 7, 255], signals: vec![1, 64] };
    ssh.restart_prevent = ExitSet { statuses: vec![255], signals: vec![] };
    ssh.restart_force = ExitSet { statuses: vec![], signals: vec![9] };
    ssh.cgroup = "system.slice/ssh.service".into();
    ssh.commands = vec![
        (Phase::Start, command(command_flags::NO_EXPAND, &["/usr/sbin/sshd", "-D", "", "a b\n\"c\""])),
        (Phase::StartPre, command(command_flags::IGNORE_FAILURE, &["/usr/sbin/sshd", "-t"])),
        (Phase::StartPre, command(0, &["/bin/true"])),
    ];
    ssh.settings = vec![
        (SettingKey::Environment, "A=1".into()),
        (SettingKey::User, "nobody".into()),
        (SettingKey::Environment, "B=ü".into()),
        (SettingKey::Environment, String::new()),
    ];
    let units = vec![
        unit_with(
            "multi-user.target",
            &[(EdgeKind::Wants, "ssh.service"), (EdgeKind::Requires, "sysinit.target")],
        ),
        ssh,
        unit("sysinit.target"),
        unit("shutdown.target"),
        unit("größe.service"),
    ];
    model(units)
}

/// What the services of Debian's server packages have, in percent of them (147 packages, 319 services were counted);
/// `{}` is the service's own name, which has 12 letters as theirs have. Numbers that aren't strings vary elsewhere.
const USUAL_SETTINGS: &[(usize, SettingKey, &str)] = &[
    (100, SettingKey::Description, "The {} of a Debian server"),
    (26, SettingKey::EnvironmentFile, "-/etc/default/{}"),
    (22, SettingKey::Environment, "OPTIONS=--of={}"),
    (25, SettingKey::Condition, "PathExists:/etc/{}.conf"),
    (19, SettingKey::User, "{}"),
    (11, SettingKey::Group, "{}"),
    (14, SettingKey::PidFile, "/run/{}.pid"),
    (9, SettingKey::RuntimeDirectory, "{}"),
    (12, SettingKey::Limit, "NOFILE 65536 65536"),
    (12, SettingKey::NoNewPrivileges, "1"),
    (8, SettingKey::StandardOutput, "journal"),
    (14, SettingKey::CapabilityBoundingSet, "+CAP_NET_BIND_SERVICE"),
    (18, SettingKey::Sandbox, "PrivateTmp=yes"),
    (16, SettingKey::Sandbox, "ProtectSystem=strict"),
    (14, SettingKey::Sandbox, "ProtectHome=yes"),
    (12, SettingKey::Sandbox, "PrivateDevices=yes"),
    (10, SettingKey::Sandbox, "ProtectControlGroups=yes"),
    (10, SettingKey::Sandbox, "ProtectKernelModules=yes"),
    (9, SettingKey::Sandbox, "ProtectKernelTunables=yes"),
    (8, SettingKey::Sandbox, "RestrictRealtime=yes"),
    (8, SettingKey::Sandbox, "LockPersonality=yes"),
    (7, SettingKey::Sandbox, "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"),
    (11, SettingKey::Sandbox, "SystemCallFilter=@system-service"),
];

/// As [`USUAL_SETTINGS`], for commands.
const USUAL_COMMANDS: &[(usize, Phase, &[&str])] = &[
    (17, Phase::StartPre, &["/usr/sbin/{}", "--check"]),
    (100, Phase::Start, &["/usr/sbin/{}", "--foreground", "--config", "/etc/{}.conf"]),
    (20, Phase::Reload, &["/bin/kill", "-HUP", "$MAINPID"]),
    (10, Phase::Reload, &["/usr/sbin/{}", "--reload"]),
    (19, Phase::Stop, &["/usr/sbin/{}", "--stop"]),
];

/// As many units as a busy Debian server has: 100 services and 60 other units.
pub fn busy_server() -> Model {
    let mut units: Vec<_> = (0..60).map(other_unit).collect();
    units.extend((0..100).map(usual_service));
    Model { units, default_target: "multi-user.target".into() }
}

fn other_unit(i: usize) -> UnitModel {
    use EdgeKind::*;
    let mut unit = match i {
        0 => unit_with("multi-user.target", &[(Requires, "basic.target"), (After, "basic.target")]),
        1 => unit_with("basic.target", &[(Requires, "sysinit.target"), (After, "sysinit.target")]),
        2 => unit("sysinit.target"),
        3 => unit("shutdown.target"),
        4 => unit("system.slice"),
        5..30 => unit_with(&format!("some-group-{i}.target"), &[(WantedBy, "sysinit.target")]),
        _ => {
            let service = format!("daemon-no-{i:02}.service");
            let kind = ["timer", "socket", "mount"][i % 3];
            let edges = [(Triggers, service.as_str()), (Before, service.as_str())];
            unit_with(&format!("daemon-no-{i:02}.{kind}"), &edges)
        }
    };
    if i >= 5 {
        unit.edges.extend([(Conflicts, "shutdown.target".into()), (Before, "shutdown.target".into())]);
    }
    unit.settings.push((SettingKey::Description, format!("What unit number {i} is for")));
    unit
}

fn usual_service(i: usize) -> UnitModel {
    use EdgeKind::*;
    let stem = format!("daemon-no-{i:02}");
    let mut random = Random(i as u64 + 1);
    let mut service = unit(&format!("{stem}.service"));
    for (kind, other) in [
        (Requires, "sysinit.target"),
        (Requires, "system.slice"),
        (After, "sysinit.target"),
        (After, "basic.target"),
        (After, "system.slice"),
        (Conflicts, "shutdown.target"),
        (Before, "shutdown.target"),
        (Before, "multi-user.target"),
        (WantedBy, "multi-user.target"),
    ] {
        service.edges.push((kind, other.into()));
    }
    if random.below(100) < 40 {
        service.edges.push((After, format!("daemon-no-{:02}.service", i / 2)));
    }
    service.service_type = [ServiceType::Simple, ServiceType::Forking, ServiceType::Notify][random.below(3)];
    service.restart = [Restart::No, Restart::No, Restart::OnFailure, Restart::Always][random.below(4)];
    service.restart_ms = [100, 100, 100, 5000][random.below(4)];
    service.cgroup = format!("system.slice/{}", service.name);
    let named = |text: &str| text.replace("{}", &stem);
    for (percent, phase, argv) in USUAL_COMMANDS {
        if random.below(100) < *percent {
            let argv: Vec<String> = argv.iter().map(|text| named(text)).collect();
            service.commands.push((*phase, CommandModel { flags: 0, path: argv[0].clone(), argv }));
        }
    }
    for (percent, key, value) in USUAL_SETTINGS {
        if random.below(100) < *percent {
            service.settings.push((*key, named(value)));
        }
    }
    service
}

/// A seeded generator (xorshift64*): the same numbers in each run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}
