use super::*;

fn strings(list: &[&str]) -> Value {
    Value::strings(list.iter().copied())
}

fn one_of(name: &str, value: Value) -> String {
    let lines = lines(&[(name, &value)]).unwrap_or_else(|unfit| panic!("{name}: {unfit:?}"));
    let text: Vec<String> = lines
        .iter()
        .map(|line| format!("{}{}={}", if line.of_unit { "U:" } else { "" }, line.key, line.value))
        .collect();
    text.join("|")
}

fn tuple(fields: Vec<Value>) -> Value {
    Value::Struct(fields)
}

#[test]
fn given_plain_properties_when_written_then_they_are_the_directives() {
    let cases: &[(&str, Value, &str)] = &[
        ("Description", "50% done".into(), "U:Description=50%% done"),
        ("Description", "a\nExecStart=/x".into(), "U:Description=a ExecStart=/x"),
        ("CPUQuota", "20%".into(), "CPUQuota=20%"),
        ("RemainAfterExit", true.into(), "RemainAfterExit=yes"),
        ("After", strings(&["a.service", "b.service"]), "U:After=a.service|U:After=b.service"),
        ("Environment", strings(&["A=x y", "B=\""]), r#"Environment="A=x y" "B=\"""#),
        ("SupplementaryGroups", strings(&[]), "SupplementaryGroups="),
        ("RuntimeMaxUSec", 5_000_000u64.into(), "RuntimeMaxSec=5s"),
        ("TimeoutStopUSec", u64::MAX.into(), "TimeoutStopSec=infinity"),
        ("JobTimeoutUSec", 1500u64.into(), "U:JobTimeoutSec=1500us"),
        ("UMask", 0o27u32.into(), "UMask=0027"),
        ("Nice", Value::Int32(-3), "Nice=-3"),
        ("TasksMax", u64::MAX.into(), "TasksMax=infinity"),
        ("MemoryMaxScale", (u32::MAX / 2).into(), "MemoryMax=50%"),
        ("CPUQuotaPerSecUSec", 200_000u64.into(), "CPUQuota=20%"),
        ("CPUQuotaPerSecUSec", u64::MAX.into(), "CPUQuota="),
        ("CPUWeight", 0u64.into(), "CPUWeight=idle"),
        ("KillSignal", Value::Int32(2), "KillSignal=SIGINT"),
        ("SyslogLevel", Value::Int32(7), "SyslogLevel=debug"),
        ("StandardOutputFileToAppend", "/x".into(), "StandardOutput=append:/x"),
        ("CapabilityBoundingSet", 0b11u64.into(), "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE"),
        ("RestrictNamespaces", 0u64.into(), "RestrictNamespaces=yes"),
        ("RestrictNamespaces", 0x4002_0000u64.into(), "RestrictNamespaces=net mnt"),
        ("AllowedCPUs", Value::array("y", [Value::Byte(5), Value::Byte(1)]), "AllowedCPUs=0 2 8"),
        ("DelegateControllers", strings(&["cpu", "io"]), "Delegate=cpu io"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(one_of(name, value.clone()), *expected, "{name}");
    }
}

#[test]
fn given_properties_of_their_own_form_when_written_then_they_are_the_directives() {
    let timers = Value::array("(st)", [tuple(vec!["OnActiveUSec".into(), 2_000_000u64.into()])]);
    assert_eq!(one_of("TimersMonotonic", timers), "OnActiveSec=2s");
    let calendar = Value::array("(ss)", [tuple(vec!["OnCalendar".into(), "daily".into()])]);
    assert_eq!(one_of("TimersCalendar", calendar), "OnCalendar=daily");
    let listen = Value::array("(ss)", [tuple(vec!["Stream".into(), "/run/x".into()])]);
    assert_eq!(one_of("Listen", listen), "ListenStream=/run/x");
    let filter = tuple(vec![false.into(), strings(&["@mount", "kill"])]);
    assert_eq!(one_of("SystemCallFilter", filter), "SystemCallFilter=~@mount kill");
    let file = Value::array("(sb)", [tuple(vec!["/etc/x".into(), true.into()])]);
    assert_eq!(one_of("EnvironmentFiles", file), "EnvironmentFile=-/etc/x");
    let condition = tuple(vec!["ConditionPathExists".into(), true.into(), true.into(), "/x".into()]);
    assert_eq!(one_of("Conditions", Value::array("(sbbs)", [condition])), "U:ConditionPathExists=|!/x");
    let number = |n: i32| Value::array("i", [Value::Int32(n)]);
    assert_eq!(
        one_of("SuccessExitStatus", tuple(vec![number(7), number(15)])),
        "SuccessExitStatus=7 SIGTERM"
    );
    let bind = tuple(vec!["/a".into(), "/b".into(), true.into(), 16384u64.into()]);
    assert_eq!(one_of("BindPaths", Value::array("(ssbt)", [bind])), "BindPaths=-/a:/b:rbind");
    let v4 = Value::array("y", [10, 0, 0, 0].map(Value::Byte));
    let address = tuple(vec![Value::Int32(2), v4, 8u32.into()]);
    assert_eq!(one_of("IPAddressAllow", Value::array("(iayu)", [address])), "IPAddressAllow=10.0.0.0/8");
}

#[test]
fn given_commands_when_written_then_prefixes_and_arguments_are_those_of_a_unit_file() {
    let command = |flags: Value| {
        let argv = strings(&["/bin/echo", "$HOME", "a b"]);
        tuple(vec!["/bin/echo".into(), argv, flags])
    };
    let plain = Value::array("(sasb)", [command(true.into())]);
    assert_eq!(one_of("ExecStart", plain), r#"ExecStart="-/bin/echo" "$HOME" "a b""#);
    let extended = Value::array("(sasas)", [command(strings(&["no-env-expand", "privileged"]))]);
    assert_eq!(one_of("ExecStartEx", extended), r#"ExecStart=":+/bin/echo" "$HOME" "a b""#);
    assert_eq!(one_of("ExecStop", Value::array("(sasb)", [])), "ExecStop=");
}

#[test]
fn given_both_halves_of_a_limit_when_written_then_they_are_one_line() {
    let (hard, soft) = (Value::Uint64(20), Value::Uint64(10));
    let both = lines(&[("LimitNOFILE", &hard), ("LimitNOFILESoft", &soft)]).unwrap();
    assert_eq!(both, [Line { of_unit: false, key: "LimitNOFILE".into(), value: "10:20".into() }]);
    assert_eq!(one_of("LimitNOFILE", hard), "LimitNOFILE=20");
}

#[test]
fn given_what_is_no_line_when_written_then_the_property_is_named() {
    let unfit = |name: &str, value: Value| lines(&[(name, &value)]).unwrap_err();
    assert_eq!(unfit("SourcePath", "a\nExecStart=/x".into()), Unfit("SourcePath".into()));
    assert_eq!(unfit("ExecStart", tuple(vec![])), Unfit("ExecStart".into()));
    assert_eq!(
        unfit("Listen", Value::array("(ss)", [tuple(vec!["A\nB".into(), "x".into()])])),
        Unfit("Listen".into())
    );
    assert_eq!(
        unfit("MountImages", Value::array("(ssba(ss))", [tuple(vec![])])),
        Unfit("MountImages".into())
    );
}
