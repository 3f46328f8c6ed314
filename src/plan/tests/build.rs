//! What the builder makes of a model: nothing is lost, nothing is left that can't hold.

mod common;

use common::*;
use hostel_plan::build::build;
use hostel_plan::model::Model;
use hostel_plan::print::{diff, print};
use hostel_plan::*;

fn edges(plan: &Plan<'_>, unit: &str, kind: EdgeKind) -> Vec<String> {
    let unit = plan.find(unit).unwrap();
    unit.edges(kind).map(|id| plan.unit(id).unwrap().name().to_string()).collect()
}

#[test]
fn given_a_rich_model_when_built_then_the_plan_says_all_of_it() {
    let model = rich();
    let built = build(&model).unwrap();
    assert_eq!(built.notes, []);
    let plan = Plan::parse(&built.bytes).unwrap();
    assert_eq!(plan.len(), 5);
    assert!(!plan.is_empty());
    assert_eq!(plan.default_target(), plan.find("multi-user.target").map(|u| u.id()));

    let ssh = plan.find("ssh.service").unwrap();
    assert_eq!((ssh.name(), ssh.kind()), ("ssh.service", UnitKind::Service));
    assert_eq!(plan.unit(ssh.id()).unwrap().name(), "ssh.service");
    assert!(ssh.has(unit_flags::PID_FILE) && !ssh.has(unit_flags::SKIP));
    assert_eq!(ssh.flags(), model.units[1].flags);
    assert_eq!((ssh.service_type(), ssh.restart()), (ServiceType::NotifyReload, Restart::OnAbnormal));
    assert_eq!((ssh.kill_mode(), ssh.notify_access()), (KillMode::Mixed, NotifyAccess::All));
    assert_eq!((ssh.restart_ms(), ssh.start_timeout_ms(), ssh.stop_timeout_ms()), (1, 2, 3));
    assert_eq!((ssh.watchdog_ms(), ssh.runtime_max_ms(), ssh.job_timeout_ms()), (4, 5, 6));
    assert_eq!((ssh.start_limit_interval_ms(), ssh.start_limit_burst()), (7, 8));
    assert_eq!((ssh.kill_signal(), ssh.final_kill_signal(), ssh.restart_kill_signal()), (64, 1, 12));
    assert_eq!((ssh.fdstore_max(), ssh.cgroup()), (513, "system.slice/ssh.service"));
    for status in 0..=255 {
        let (code, signal) = (Exit::Status(status), Exit::Signal(status));
        assert_eq!(ssh.lists(ExitList::Success, code), [0, 7, 255].contains(&status), "{status}");
        assert_eq!(ssh.lists(ExitList::Success, signal), [1, 64].contains(&status), "{status}");
        assert_eq!(ssh.lists(ExitList::RestartPrevent, code), status == 255, "{status}");
        assert!(!ssh.lists(ExitList::RestartPrevent, signal) && !ssh.lists(ExitList::RestartForce, code));
        assert_eq!(ssh.lists(ExitList::RestartForce, signal), status == 9, "{status}");
    }

    assert_eq!([ssh.command_count(Phase::StartPre), ssh.command_count(Phase::Stop)], [2, 0]);
    let start = ssh.command(Phase::Start, 0).unwrap();
    assert_eq!((start.flags(), start.path()), (command_flags::NO_EXPAND, "/usr/sbin/sshd"));
    assert_eq!(start.argv().collect::<Vec<_>>(), ["/usr/sbin/sshd", "-D", "", "a b\n\"c\""]);
    assert_eq!(ssh.command(Phase::StartPre, 1).unwrap().path(), "/bin/true");
    assert!(ssh.command(Phase::Start, 1).is_none());

    let settings: Vec<_> = ssh.settings().map(|(key, value)| (key, value.to_string())).collect();
    assert_eq!(settings, model.units[1].settings);
    assert_eq!(ssh.setting(SettingKey::Environment), Some(""));
    assert_eq!(ssh.settings_of(SettingKey::Environment).collect::<Vec<_>>(), ["A=1", "B=ü", ""]);
    assert_eq!(ssh.setting(SettingKey::Group), None);
}

#[test]
fn given_an_edge_when_built_then_its_inverse_stands_at_the_other_end_once() {
    let built = build(&model(vec![
        unit_with("a.service", &[(EdgeKind::Requires, "b.service"), (EdgeKind::After, "b.service")]),
        unit_with(
            "b.service",
            &[
                (EdgeKind::Before, "a.service"),
                (EdgeKind::RequiredBy, "a.service"),
                (EdgeKind::RequiredBy, "a.service"),
            ],
        ),
    ]));
    let bytes = built.unwrap().bytes;
    let plan = Plan::parse(&bytes).unwrap();
    let all = |name| plan.find(name).unwrap().all_edges().map(|(kind, id)| (kind, id.0)).collect::<Vec<_>>();
    assert_eq!(all("a.service"), [(EdgeKind::Requires, 1), (EdgeKind::After, 1)]);
    assert_eq!(all("b.service"), [(EdgeKind::RequiredBy, 0), (EdgeKind::Before, 0)]);
}

#[test]
fn given_units_in_any_order_when_built_then_the_bytes_are_the_same() {
    let mut model = busy_server();
    let first = build(&model).unwrap().bytes;
    model.units.reverse();
    assert_eq!(build(&model).unwrap().bytes, first);
}

#[test]
fn given_no_unit_at_all_when_built_then_the_plan_is_empty_and_a_note_says_that_nothing_starts() {
    let built = build(&Model { default_target: "default.target".into(), units: vec![] }).unwrap();
    let plan = Plan::parse(&built.bytes).unwrap();
    assert!(plan.is_empty() && plan.default_target().is_none());
    assert!(plan.find("x.service").is_none() && plan.unit(UnitId(0)).is_none());
    assert!(built.notes[0].text.contains("nothing is started"), "{:?}", built.notes);
}

#[test]
fn given_edges_to_missing_units_when_built_then_only_the_strong_kinds_are_noted() {
    let mut unit = unit_with(
        "a.service",
        &[
            (EdgeKind::Requires, "gone.service"),
            (EdgeKind::BindsTo, "gone.mount"),
            (EdgeKind::Requisite, "gone.socket"),
            (EdgeKind::Wants, "gone.timer"),
            (EdgeKind::After, "gone.timer"),
        ],
    );
    unit.source = "/etc/systemd/system/a.service".into();
    let built = build(&model(vec![unit])).unwrap();
    let notes: Vec<_> = built.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].starts_with("Requires=gone.service "), "{notes:?}");
    assert!(notes.iter().all(|note| note.contains("(/etc/systemd/system/a.service)")), "{notes:?}");
    let plan = Plan::parse(&built.bytes).unwrap();
    assert_eq!(plan.find("a.service").unwrap().all_edges().count(), 0);
}

#[test]
fn given_an_edge_to_the_unit_itself_when_built_then_it_is_dropped_and_noted() {
    let built = build(&model(vec![unit_with("a.service", &[(EdgeKind::After, "a.service")])])).unwrap();
    assert_eq!(built.notes.len(), 1);
    assert!(built.notes[0].text.contains("the unit itself"), "{:?}", built.notes);
    assert!(edges(&Plan::parse(&built.bytes).unwrap(), "a.service", EdgeKind::After).is_empty());
}

#[test]
fn given_a_cycle_when_built_then_the_weakest_ordering_gives_way_and_the_note_names_all_units() {
    use EdgeKind::*;
    let built = build(&model(vec![
        unit_with("a.service", &[(Requires, "b.service"), (After, "b.service")]),
        unit_with("b.service", &[(Requires, "c.service"), (After, "c.service")]),
        unit_with("c.service", &[(Wants, "a.service"), (After, "a.service")]),
        unit_with("d.service", &[(After, "a.service")]),
    ]))
    .unwrap();
    assert_eq!(built.notes.len(), 1, "{:?}", built.notes);
    assert_eq!(built.notes[0].unit, "c.service");
    let text = &built.notes[0].text;
    assert!(text.contains("a.service after b.service after c.service after a.service"), "{text}");
    assert!(text.contains("After=a.service of c.service"), "{text}");
    let plan = Plan::parse(&built.bytes).unwrap();
    assert!(edges(&plan, "c.service", After).is_empty());
    assert_eq!(edges(&plan, "c.service", Wants), ["a.service"]);
    assert_eq!(edges(&plan, "a.service", Before), ["d.service"]);
    let ranks: Vec<_> = plan.units().map(|unit| unit.rank()).collect();
    assert_eq!(ranks, [2, 1, 0, 3]);
}

#[test]
fn given_after_and_before_of_one_unit_when_built_then_that_is_a_cycle_and_the_required_order_stays() {
    use EdgeKind::*;
    let mut early = unit_with(
        "early.service",
        &[(Requires, "sysinit.target"), (After, "sysinit.target"), (Before, "sysinit.target")],
    );
    early.source = "/etc/systemd/system/early.service".into();
    let built = build(&model(vec![unit("sysinit.target"), early])).unwrap();
    assert_eq!(built.notes.len(), 1);
    assert_eq!(built.notes[0].unit, "early.service");
    let text = &built.notes[0].text;
    assert!(
        text.contains("Before=sysinit.target of early.service (/etc/systemd/system/early.service)"),
        "{text}"
    );
    let plan = Plan::parse(&built.bytes).unwrap();
    assert_eq!(edges(&plan, "early.service", After), ["sysinit.target"]);
    assert!(edges(&plan, "early.service", Before).is_empty());
}

#[test]
fn given_a_cycle_through_targets_and_a_service_when_built_then_the_targets_keep_their_order() {
    use EdgeKind::*;
    let built = build(&model(vec![
        unit_with("b.target", &[(After, "a.target")]),
        unit("a.target"),
        unit_with("x.service", &[(After, "b.target"), (Before, "a.target")]),
    ]))
    .unwrap();
    let plan = Plan::parse(&built.bytes).unwrap();
    assert_eq!(edges(&plan, "b.target", After), ["a.target"]);
    assert_eq!(built.notes.len(), 1);
}

#[test]
fn given_random_orderings_when_built_then_each_cycle_is_broken_alike_in_each_build() {
    let mut random = Random(7);
    for _ in 0..300 {
        let count = 2 + random.below(30);
        let mut units: Vec<_> = (0..count).map(|i| unit(&format!("u{i}.service"))).collect();
        for _ in 0..random.below(count * 4) {
            let kind = [EdgeKind::After, EdgeKind::Before, EdgeKind::Requires][random.below(3)];
            let (from, to) = (random.below(count), random.below(count));
            units[from].edges.push((kind, format!("u{to}.service")));
        }
        let mut model = model(units);
        // `build` parses what it made, and a plan with a cycle isn't valid.
        let built = build(&model).unwrap();
        model.units.reverse();
        let again = build(&model).unwrap();
        assert_eq!(built.bytes, again.bytes);
        let cycles = |notes: &[model::Note]| {
            notes.iter().filter(|n| n.text.contains("cycle")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(cycles(&built.notes), cycles(&again.notes));
        let plan = Plan::parse(&built.bytes).unwrap();
        for unit in plan.units() {
            for after in unit.edges(EdgeKind::After) {
                assert!(plan.unit(after).unwrap().edges(EdgeKind::Before).any(|id| id == unit.id()));
            }
        }
    }
}

#[test]
fn given_no_cycle_when_built_then_no_ordering_is_dropped() {
    let mut random = Random(3);
    for _ in 0..100 {
        let count = 2 + random.below(40);
        let mut units: Vec<_> = (0..count).map(|i| unit(&format!("u{i}.service"))).collect();
        let mut wanted = std::collections::BTreeSet::new();
        for _ in 0..count * 3 {
            let (a, b) = (random.below(count), random.below(count));
            if a != b {
                units[a.max(b)].edges.push((EdgeKind::After, format!("u{}.service", a.min(b))));
                wanted.insert((a.max(b), a.min(b)));
            }
        }
        let built = build(&model(units)).unwrap();
        assert_eq!(built.notes, []);
        let plan = Plan::parse(&built.bytes).unwrap();
        assert_eq!(plan.units().map(|u| u.edges(EdgeKind::After).count()).sum::<usize>(), wanted.len());
    }
}

#[test]
fn given_what_does_not_fit_when_built_then_the_error_names_unit_and_file() {
    let mut twin = unit("a.service");
    twin.source = "/etc/a.service".into();
    let error = build(&model(vec![unit("a.service"), twin.clone()])).err().unwrap().0;
    assert!(error.contains("/etc/a.service"), "{error}");

    twin.settings.push((SettingKey::User, "a\0b".into()));
    let error = build(&model(vec![twin.clone()])).err().unwrap().0;
    assert!(error.starts_with("a.service (/etc/a.service): a NUL"), "{error}");

    let mut unit = unit("b.service");
    unit.kill_signal = 65;
    let error = build(&model(vec![unit.clone()])).err().unwrap().0;
    assert!(error.contains("65 is no signal"), "{error}");

    unit.kill_signal = 15;
    unit.commands = vec![(Phase::Start, command(0, &["/bin/true"])); 256];
    assert!(build(&model(vec![unit.clone()])).is_err());
    unit.commands.pop();
    let bytes = build(&model(vec![unit])).unwrap().bytes;
    let plan = Plan::parse(&bytes).unwrap();
    assert_eq!(plan.find("b.service").unwrap().command_count(Phase::Start), 255);

    let many = |n| (0..n).map(|i| common::unit(&format!("u{i}.target"))).collect();
    assert!(build(&model(many(4097))).is_err());
    assert!(build(&model(many(4096))).is_ok());
}

#[test]
fn given_more_edges_of_a_kind_than_a_run_holds_when_built_then_all_are_there() {
    let mut units: Vec<_> =
        (0..4000).map(|i| unit_with(&format!("u{i}.service"), &[(EdgeKind::Before, "z.target")])).collect();
    units.push(unit("z.target"));
    let bytes = build(&model(units)).unwrap().bytes;
    let plan = Plan::parse(&bytes).unwrap();
    assert_eq!(plan.find("z.target").unwrap().edges(EdgeKind::After).count(), 4000);
}

#[test]
fn given_a_hundred_services_and_sixty_other_units_when_built_then_the_plan_has_at_most_eight_pages() {
    let built = build(&busy_server()).unwrap();
    let plan = Plan::parse(&built.bytes).unwrap();
    assert_eq!(plan.len(), 160);
    assert!(built.bytes.len() <= 8 * 4096, "{} bytes", built.bytes.len());
}

#[test]
fn given_a_plan_when_every_name_is_looked_up_then_each_is_found_and_no_other() {
    let model = busy_server();
    let bytes = build(&model).unwrap().bytes;
    let plan = Plan::parse(&bytes).unwrap();
    for unit in &model.units {
        assert_eq!(plan.find(&unit.name).map(|found| found.name()), Some(unit.name.as_str()));
    }
    for name in ["", "a", "zzz", "daemon-no-05.servic", "daemon-no-05.services"] {
        assert!(plan.find(name).is_none(), "{name}");
    }
}

#[test]
fn given_a_plan_when_printed_then_what_it_says_stands_there_with_control_characters_escaped() {
    let mut model = rich();
    model.units[1].settings.push((SettingKey::Description, "evil\x1b[2J".into()));
    let bytes = build(&model).unwrap().bytes;
    let text = print(&Plan::parse(&bytes).unwrap());
    for line in [
        "default=multi-user.target",
        "[ssh.service]",
        "kind=service",
        "flags=conditions pid-file 0x80000000",
        "cgroup=system.slice/ssh.service",
        "Type=notify-reload",
        "TimeoutStopSec=3ms",
        "SuccessExitStatus=0 7 255 signal:1 signal:64",
        "Requires=sysinit.target",
        "WantedBy=multi-user.target",
        "start-pre=-/usr/sbin/sshd: \"/usr/sbin/sshd\" \"-t\"",
        "start=:/usr/sbin/sshd: \"/usr/sbin/sshd\" \"-D\" \"\" \"a b\\n\\\"c\\\"\"",
        "Environment=B=ü",
        "Description=evil\\u{1b}[2J",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn given_two_plans_when_compared_then_only_what_differs_is_said() {
    let old_model = rich();
    let mut new_model = rich();
    new_model.units.retain(|unit| unit.name != "größe.service");
    new_model.units[1].edges.pop();
    new_model.units[1].settings.swap(0, 2);
    new_model.units.push(unit("new.service"));
    let (old, new) = (build(&old_model).unwrap().bytes, build(&new_model).unwrap().bytes);
    let (old, new) = (Plan::parse(&old).unwrap(), Plan::parse(&new).unwrap());
    assert_eq!(diff(&old, &old), "");
    let text = diff(&old, &new);
    let expected = "- [größe.service]
- kind=service
- rank=0
- flags=guess-main-pid send-sigkill
- WantedBy=ssh.service
+ [new.service]
+ kind=service
+ rank=0
+ flags=guess-main-pid send-sigkill
  [ssh.service]
- Wants=größe.service
- Environment=A=1
- User=nobody
  Environment=B=ü";
    assert!(text.starts_with(&expected[..expected.find("- Environment").unwrap()]), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.contains("Environment=") || line.contains("User=")).count(),
        4,
        "{text}"
    );
}
