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

/// As many units as a busy Debian server has: 100 services of about 12 settings, and 60 other units.
pub fn busy_server() -> Model {
    use EdgeKind::*;
    let mut units = Vec::new();
    for i in 0..60 {
        let (name, edges): (String, Vec<(EdgeKind, String)>) = match i {
            0 => (
                "multi-user.target".into(),
                vec![(Requires, "basic.target".into()), (After, "basic.target".into())],
            ),
            1 => (
                "basic.target".into(),
                vec![(Requires, "sysinit.target".into()), (After, "sysinit.target".into())],
            ),
            2 => ("sysinit.target".into(), vec![]),
            3 => ("shutdown.target".into(), vec![]),
            4 => ("system.slice".into(), vec![]),
            i if i < 30 => {
                let to = "shutdown.target".to_string();
                (
                    format!("some-group-{i}.target"),
                    vec![(Conflicts, to.clone()), (Before, to), (WantedBy, "sysinit.target".into())],
                )
            }
            i => {
                let service = format!("daemon-number-{}.service", i);
                let to = "shutdown.target".to_string();
                let kind = ["timer", "socket", "mount"][i % 3];
                (
                    format!("daemon-number-{i}.{kind}"),
                    vec![
                        (Conflicts, to.clone()),
                        (Before, to),
                        (Triggers, service.clone()),
                        (Before, service),
                    ],
                )
            }
        };
        let mut unit = unit(&name);
        unit.edges = edges;
        unit.settings.push((SettingKey::Description, format!("What the unit number {i} is there for")));
        units.push(unit);
    }
    for i in 0..100 {
        let mut service = unit(&format!("daemon-number-{i}.service"));
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
        if i % 4 == 0 {
            service.edges.push((After, format!("daemon-number-{}.service", (i + 99) % 100)));
        }
        service.service_type = ServiceType::ALL[i % 5];
        service.restart = Restart::ALL[i % 3];
        service.restart_ms = 100 * (i as u32 % 7);
        service.cgroup = format!("system.slice/{}", service.name);
        let program = format!("/usr/sbin/daemon-number-{i}");
        service
            .commands
            .push((Phase::Start, command(0, &[&program, "-f", &format!("/etc/daemon-number-{i}.conf")])));
        if i % 2 == 0 {
            service.commands.push((Phase::Reload, command(0, &["/bin/kill", "-HUP", "$MAINPID"])));
        }
        use SettingKey::*;
        for (key, value) in [
            (Description, format!("The daemon that has the number {i}")),
            (EnvironmentFile, format!("-/etc/default/daemon-number-{i}")),
            (User, format!("daemon{i}")),
            (PidFile, format!("/run/daemon-number-{i}.pid")),
            (RuntimeDirectory, format!("daemon-number-{i}")),
            (Limit, format!("NOFILE {} {}", 1024 << (i % 5), 1024 << (i % 5))),
            (StandardOutput, "journal".into()),
            (NoNewPrivileges, "1".into()),
            (Sandbox, "ProtectSystem=strict".into()),
            (Sandbox, "ProtectHome=yes".into()),
            (Sandbox, "PrivateTmp=yes".into()),
            (CapabilityBoundingSet, "+CAP_NET_BIND_SERVICE".into()),
        ] {
            service.settings.push((key, value));
        }
        units.push(service);
    }
    Model { units, default_target: "multi-user.target".into() }
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
