//! Generated services: most of their lines are right, the others wrong in the ways that people and tools get wrong.

use crate::random::Random;

/// Pieces of command lines and of other quoted values.
const WORDS: &[&str] = &[
    "a",
    "one two",
    " ",
    "  ",
    "\"",
    "'",
    "\"x y\"",
    "'x y'",
    "\\n",
    "\\t",
    "\\x41",
    "\\101",
    "\\u00e4",
    "\\s",
    "\\\\",
    "\\\"",
    "\\ ",
    "\\q",
    "%n",
    "%i",
    "%%",
    "%I",
    "%p",
    "%t",
    "%H",
    "%z",
    "% ",
    "%m",
    "$A",
    "${A}",
    "$$",
    ";",
    " ; ",
    " \\; ",
    "/bin/true ",
    "-x",
    "--y=z",
    "\"\"",
    "''",
    "=",
    "ä",
    "#",
    "\\",
    "@",
    "!",
    "+",
    ":",
    "-",
    "/usr//bin/../x",
    "a=b",
    "\"c=d e\"",
];

const PREFIXES: &[&str] = &["", "", "", "-", "@", ":", "+", "!", "!!", "-@", "@-", "+!", "--", "|"];

type Table = [(&'static str, &'static [&'static str])];

/// Directives of services, and values that are right, odd or wrong.
const DIRECTIVES: &Table = &[
    ("Type", &["simple", "exec", "forking", "oneshot", "notify", "idle", "SIMPLE", "", "none"]),
    ("Restart", &["no", "always", "on-failure", "on-abnormal", "", "perhaps"]),
    ("RestartSec", &["5", "100ms", "1min 2s", "infinity", "", "x", "5 x", "-1"]),
    ("TimeoutStartSec", &["5", "0", "infinity", "", "1.5min", "soon"]),
    ("TimeoutStopSec", &["5", "0", "infinity", "", "2 h", "later"]),
    ("TimeoutSec", &["7", "0", "infinity", "never"]),
    ("RuntimeMaxSec", &["5h", "infinity", "0", "x"]),
    ("KillMode", &["mixed", "process", "none", "control-group", "", "all"]),
    ("KillSignal", &["SIGINT", "HUP", "9", "RTMIN+3", "SIGRTMAX-2", "0", "65", "KILLER", ""]),
    ("FinalKillSignal", &["ABRT", "SIGQUIT", "x"]),
    ("RestartKillSignal", &["TERM", "x"]),
    ("SendSIGKILL", &["yes", "no", "on", "OFF", "1", "0", "t", "y", "maybe", ""]),
    ("SendSIGHUP", &["true", "false", "True", "2"]),
    ("RemainAfterExit", &["yes", "no", "x", ""]),
    ("GuessMainPID", &["no", "x"]),
    ("PIDFile", &["/run/a.pid", "a.pid", "/var/run/b.pid", "/run//x/./y", "", "/run/%N.pid"]),
    ("SuccessExitStatus", &["1", "1 2 3", "SIGKILL 255", "TEMPFAIL", "256", "SIGX 4", "", "1 x 3"]),
    ("RestartPreventExitStatus", &["1", "SIGTERM", "EXCEPTION", "", "-1"]),
    ("NotifyAccess", &["main", "all", "exec", "none", "some", ""]),
    ("FileDescriptorStoreMax", &["3", "0", "x", ""]),
    ("User", &["root", "nobody", "%i", "0", "65534", "", "ro ot", "-x", "root:x"]),
    ("Group", &["adm", "", "4", "a/b"]),
    ("SupplementaryGroups", &["adm tty", "", "a:b", "adm"]),
    ("WorkingDirectory", &["/", "/usr/", "-/nonexistent", "~", "", "relative", "-~", "/usr//share/./doc"]),
    ("RootDirectory", &["/", "", "relative"]),
    ("UMask", &["022", "0077", "8", "777", "", "10000"]),
    ("Nice", &["5", "-20", "19", "20", "", "+3", "x"]),
    ("OOMScoreAdjust", &["100", "-1000", "1000", "1001", "", "x"]),
    ("LimitNOFILE", &["1024", "1024:2048", "infinity", "2048:1024", "", "x", "10:", ":10", "1K"]),
    ("LimitCORE", &["0", "1M", "1G:infinity", "", "5 M", "1.5K"]),
    ("LimitCPU", &["5", "1min", "2:3", "1min:2h", "500ms", "x"]),
    ("LimitNICE", &["5", "+5", "-5", "+20", "41", "x"]),
    ("LimitRTTIME", &["5", "1s", "infinity", "1ms:1s"]),
    ("StandardInput", &["null", "tty", "socket", "file:/etc/passwd", "data", "", "x", "fd:a", "file:x"]),
    (
        "StandardOutput",
        &["null", "journal", "append:/var/log/x", "file:/x", "inherit", "syslog", "x", "", "fd"],
    ),
    ("StandardError", &["null", "tty", "truncate:/x", "kmsg+console", "x"]),
    ("SyslogIdentifier", &["a", "%n", "", "two words"]),
    ("TTYPath", &["/dev/tty1", "", "x"]),
    ("RuntimeDirectory", &["a", "a b/c", "", "/x", "../y", "a:b", "\"q q\"", "%N", "a/../b"]),
    ("StateDirectory", &["a", "", "x/y", "."]),
    ("RuntimeDirectoryMode", &["755", "0700", "x", ""]),
    ("RuntimeDirectoryPreserve", &["yes", "restart", "no", "x", ""]),
    ("CapabilityBoundingSet", &["CAP_CHOWN", "~CAP_CHOWN CAP_KILL", "", "~", "cap_kill", "CAP_KILL"]),
    ("AmbientCapabilities", &["CAP_CHOWN", "", "CAP_KILL CAP_CHOWN", "~CAP_KILL"]),
    ("NoNewPrivileges", &["yes", "no", "x"]),
    ("PrivateTmp", &["yes", "no", "x", ""]),
    ("ProtectSystem", &["yes", "no", "full", "strict", "x", ""]),
    ("ProtectHome", &["yes", "no", "read-only", "tmpfs", "x", ""]),
    ("ReadWritePaths", &["/a -/b", "", "relative", "+/c", "\"/with space\""]),
    ("ReadOnlyPaths", &["/etc", "-/x /y", "x"]),
    ("IgnoreSIGPIPE", &["no", "yes", "x"]),
    ("Slice", &["a.slice", "a-b.slice", "", "a.service", "x"]),
    ("DynamicUser", &["yes", "no", "x"]),
    ("StandardInputText", &["hello", "a\\nb", "%n", ""]),
    ("UnsetEnvironment", &["A", "A B=c", "", "1x"]),
    ("PassEnvironment", &["A", "A B", "", "A=b"]),
    ("WatchdogSec", &["5", "0", "x"]),
    ("BusName", &["org.example.X", "", "x", "org..x"]),
    ("NonBlocking", &["yes", "x"]),
    ("Sockets", &["a.socket", "a.socket b.socket", "", "x", "a.service"]),
    ("MemoryMax", &["1G", "infinity", "50%", "", "x", "0"]),
    ("TasksMax", &["5", "infinity", "", "x"]),
    ("CPUWeight", &["100", "idle", "x", "0", "20000"]),
    ("Nonsense", &["1"]),
    ("X-Private", &["1"]),
    ("ExecStartx", &["/bin/true"]),
];

/// Directives of section [Unit].
const UNIT: &Table = &[
    ("Description", &["a b", "%n in %t", "", "  spaces  ", "\"quoted\""]),
    ("Documentation", &["man:x(1)", "http://x.org file:/a", "", "nonsense"]),
    (
        "Requires",
        &["a.target", "a.target b.target", "x", "", "%p.target", "foo@.service", "a\\x2db.mount", "-.mount"],
    ),
    ("Wants", &["c.target", "\"c.target\" 'd.target'", "c.target \"open", "%i.target", "e@%i.service"]),
    ("After", &["a.target b.target", "x.y", "", "network.target"]),
    ("Before", &["z.target", "%N-x.target", "a/b.target"]),
    ("BindsTo", &["a.target"]),
    ("Conflicts", &["q.target", "q.targets"]),
    ("OnFailure", &["r.target", "f@%n.service"]),
    ("StartLimitIntervalSec", &["5", "0", "infinity", "x", ""]),
    ("StartLimitBurst", &["3", "0", "x", ""]),
    ("JobTimeoutSec", &["5", "0", "infinity", "x", ""]),
    ("ConditionPathExists", &["/x", "!/x", "|/x", "|!/x", "x", "", "/x//y/", "/%n", "! /x"]),
    ("ConditionFirstBoot", &["yes", "no", "x"]),
    ("ConditionVirtualization", &["container", "!no", ""]),
    ("ConditionNonsense", &["x"]),
    ("AssertPathIsDirectory", &["/etc", "!etc"]),
    ("RefuseManualStart", &["yes", "x"]),
    ("StopWhenUnneeded", &["yes", "no", "x"]),
    ("RequiresMountsFor", &["/a /b", "a", "", "/%p"]),
    ("DefaultDependencies", &["no", "yes", "x"]),
    ("Nonsense", &["x"]),
];

/// Lines that are no directive, or hardly.
const NOISE: &[&str] = &[
    "# comment",
    "; comment",
    "",
    "  ",
    "nonsense",
    "=",
    "=x",
    "Key",
    " Leading=1",
    "\tTab=1",
    "[Unknown]",
    "[X-Own]",
    "[Unit]",
    "[Service]",
    "[Install]",
    "WantedBy=multi-user.target",
    "Environment = A=1",
    "Description=a \\",
    "Description=b \\\n# inside\n  end",
    "Description=c\\\n\nRefuseManualStop=yes",
    "Description=d \\\\",
    "# comment \\\nNice=3",
    "ExecStart=",
    "Environment=",
    "\r",
    "Nice=4\r",
    "[Service] ",
    " [Service]",
    "Nice\t=\t7",
];

const COMMANDS: &[&str] =
    &["ExecStartPre", "ExecStartPost", "ExecStop", "ExecReload", "ExecStopPost", "ExecCondition"];
const PROGRAMS: &[&str] =
    &["/bin/true", "/bin/echo", "true", "/bin//sh", "\"/bin/a b\"", "./x", "/", "", "%t/x"];
const FILES: &[&str] = &["/etc/x", "-/etc/x", "x", "-", "", "/etc/%N", "/a /b", "/a/*.conf"];

fn directive(random: &mut Random, table: &Table) -> String {
    let (key, values) = table[random.below(table.len())];
    format!("{key}={}", random.pick(values))
}

fn service_line(random: &mut Random) -> String {
    match random.below(10) {
        0 | 1 => {
            let (key, prefix) = (random.pick(COMMANDS), random.pick(PREFIXES));
            format!("{key}={prefix}{} {}", random.pick(PROGRAMS), random.text(WORDS, 7))
        }
        2 => format!("Environment={}", random.text(WORDS, 6)),
        3 => format!("EnvironmentFile={}", random.pick(FILES)),
        _ => directive(random, DIRECTIVES),
    }
}

/// A service.
pub fn service(random: &mut Random) -> String {
    let mut lines = vec!["[Unit]".to_owned()];
    lines.extend((0..random.below(6)).map(|_| directive(random, UNIT)));
    lines.push("[Service]".to_owned());
    lines.extend((0..random.below(12)).map(|_| service_line(random)));
    lines.push("ExecStart=/bin/true".to_owned());
    for _ in 0..random.below(3) {
        let at = random.below(lines.len());
        lines.insert(at, random.pick(NOISE).to_owned());
    }
    lines.join(if random.once_in(12) { "\r\n" } else { "\n" }) + random.pick(&["\n", "", "\n\n"])
}

/// A drop-in of one.
pub fn drop_in(random: &mut Random) -> String {
    format!("[Service]\n{}\n{}\n", service_line(random), service_line(random))
}
