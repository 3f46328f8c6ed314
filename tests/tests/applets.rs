//! The programs of systemd that scripts and people type, in roots that have none of their own: Hostel's applets.

use hostel_tests::Guest;
use hostel_tests::cache::DEBIAN12_SYSV;

/// Tells by an applet when it is ready.
const OWN: &str = "[Unit]\nDescription=Own service\n[Service]\nType=notify\nNotifyAccess=all\n\
    ExecStart=/bin/sh -c 'systemd-notify --ready --status=\"all well\"; echo begun; exec sleep 1000'\n\
    ExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n";

/// A guest, asked by scripts.
struct Asked(Guest);

impl Asked {
    /// The exit status, and what was said, errors last.
    fn said(&self, script: &str) -> (i32, String) {
        let outcome = self.0.try_exec(&["sh", "-c", script]);
        (outcome.status.code().unwrap_or(-1), outcome.stdout + &outcome.stderr)
    }

    /// Holds the exit status, and that each of the texts is said.
    fn holds(&self, script: &str, status: i32, texts: &[&str]) {
        let (ended, said) = self.said(script);
        assert_eq!(ended, status, "{script}: {said}");
        for text in texts {
            assert!(said.contains(text), "{script}: no {text:?} in {said}");
        }
    }
}

/// The verbs that scripts use, by programs that the root does not have.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_root_without_systemd_when_its_scripts_ask_for_systemctl_then_ours_answers() {
    let guest = Asked(
        Guest::of(DEBIAN12_SYSV, "applets")
            .file("etc/hostel/units/own.service", OWN)
            .file("etc/hostel/units/own.timer", "[Timer]\nOnCalendar=2099-01-01\n")
            .file("etc/hostel/units/alone.target", "[Unit]\nAllowIsolate=yes\nWants=cron.service\n")
            .start(),
    );
    guest.holds("command -v systemctl", 0, &["/run/hostel/applets/systemctl"]);
    guest.holds("systemctl is-active cron", 0, &["active"]);
    guest.holds("systemctl is-active no-such", 4, &["inactive"]);
    guest.holds("systemctl start no-such", 5, &["no-such.service not found"]);
    guest.holds("systemctl stop cron && systemctl is-active -q cron", 3, &[]);
    guest.holds("systemctl --no-block start cron.service; systemctl restart cron", 0, &[]);
    guest.holds("systemctl list-units --type=service", 0, &["cron.service"]);
    // Debian has this one of its own, which goes first.
    guest.holds("/run/hostel/applets/invoke-rc.d --quiet no-such start", 100, &[]);
    guest.holds("echo said | systemd-cat -t someone; sleep 1; journalctl -n 50", 0, &["someone: said"]);
    guest.holds("systemctl --user status", 1, &["no `systemd --user`"]);

    guest.holds(
        "systemctl start own && sleep 1 && systemctl status own",
        0,
        &["Own service", "all well", "begun"],
    );
    guest.holds(
        "systemctl show -p ActiveState,After,Restart,TimeoutStartUSec own",
        0,
        &["ActiveState=active", "Restart=no", "TimeoutStartUSec=1min 30s", "sysinit.target"],
    );
    guest.holds("systemctl reload own; systemctl force-reload own; systemctl is-failed own", 1, &["active"]);
    guest.holds(
        "systemctl start own.timer && systemctl list-timers",
        0,
        &["Thu 2099-01-01 00:00:00", "own.service"],
    );
    guest.holds("systemctl list-dependencies alone.target", 0, &["└─cron.service"]);
    guest.holds("systemctl list-jobs", 0, &["No jobs"]);
    guest.holds(
        "systemctl set-property own CPUWeight=200 && systemctl cat own",
        0,
        &["50-CPUWeight.conf", "CPUWeight=200"],
    );
    guest.holds("systemctl set-property own Nice=1", 1, &["Failed to set unit properties"]);
    guest.holds(
        "printf '[Service]\\nNice=3\\n' | systemctl edit --stdin own && systemctl show -p Nice --value own",
        0,
        &["/etc/hostel/units/own.service.d/override.conf", "3"],
    );
    guest.holds("systemctl edit own", 1, &["not on a tty"]);
    guest.holds("SYSTEMD_EDITOR='sed -i s/Nice=3/Nice=4/' script -qec 'systemctl edit own' /dev/null; systemctl show -p Nice own", 0, &["Nice=4"]);
    guest.holds("systemctl revert own; systemctl show -p Nice own", 0, &["Nice=0"]);
    guest.holds(
        "systemctl enable own && systemctl is-enabled own",
        0,
        &["/etc/hostel/units/multi-user.target.wants/own.service", "enabled"],
    );
    guest.holds("systemctl disable own; systemctl is-enabled own", 1, &["disabled"]);
    guest.holds("systemctl preset own && systemctl is-enabled own", 0, &["enabled"]);
    guest.holds("systemctl mask cron; systemctl is-enabled cron", 1, &["masked"]);
    guest.holds("systemctl unmask cron && systemctl is-enabled cron", 0, &["enabled"]);
    guest.holds("systemctl mask --runtime cron; systemctl is-enabled cron", 1, &["masked-runtime"]);
    guest.holds("systemctl unmask --runtime cron", 0, &[]);
    // What enables a script is its links, which the distribution's own tool makes.
    guest.holds(
        "systemctl disable cron; systemctl is-enabled cron; ls /etc/rc2.d",
        0,
        &["disabled", "K01cron"],
    );
    guest.holds(
        "systemctl enable cron && systemctl is-enabled cron && ls /etc/rc2.d/S*",
        0,
        &["enabled", "cron"],
    );
    guest.holds("systemctl set-environment OWN=x && systemctl show-environment", 0, &["OWN=x"]);
    guest.holds("systemctl unset-environment OWN && systemctl show-environment | grep OWN", 1, &[]);
    guest.holds("systemctl whoami $(systemctl show -p MainPID --value own)", 0, &["own.service"]);
    guest.holds(
        "systemctl kill -s KILL own; sleep 0.5; systemctl is-failed own && systemctl reset-failed",
        0,
        &["failed"],
    );
    guest.holds(
        "systemctl daemon-reload && systemctl daemon-reexec && systemctl is-system-running",
        0,
        &["running"],
    );
    guest.holds("systemctl start own && systemctl isolate alone.target && sleep 1; systemctl is-active own cron alone.target", 0, &["inactive\nactive\nactive"]);
}

/// A root that has no program of systemd's, nor of any other init's.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_busybox_alone_when_each_applet_is_used_then_it_does_what_systemds_does() {
    let guest = Asked(Guest::small("each-applet").unit("own.service", OWN).start());
    guest.holds("systemctl enable --now own && systemctl status own", 0, &["all well"]);
    guest.holds("service own restart && service own status", 0, &["Own service"]);
    guest.holds("service no-such start", 1, &["unrecognized service"]);
    guest.holds("service --status-all", 0, &["own.service"]);
    guest.holds("invoke-rc.d own stop; systemctl is-active own", 3, &["inactive"]);
    guest.holds("invoke-rc.d own start; systemctl is-active own", 0, &["active"]);
    guest.holds("invoke-rc.d --quiet no-such start", 100, &[]);
    guest.holds("systemd-cat -t someone -p warning echo said; sleep 1", 0, &[]);
    guest.holds("journalctl -n 100 && journalctl -u own -o json", 0, &["someone: said", "\"begun\""]);
    guest.holds("systemd-notify --ready", 1, &["NOTIFY_SOCKET"]);
    // Nobody keeps records of it there.
    guest.holds("runlevel", 1, &["unknown"]);
    guest.holds("shutdown -r +30 'for a reason' && shutdown --show", 0, &["reboots in"]);
    guest.holds("shutdown -c && shutdown --show", 1, &["no shutdown"]);
    guest.holds("telinit q && systemctl is-active own", 0, &["active"]);
    guest.holds("telinit x", 2, &["usage"]);

    guest.holds("systemd-analyze", 0, &["Startup finished in"]);
    guest.holds("systemd-analyze time", 0, &["(userspace)"]);
    guest.holds("systemd-analyze blame", 0, &["syslogd.service"]);
    guest.holds("systemd-analyze critical-chain", 0, &["default.target @"]);
    guest.holds("systemd-analyze critical-chain syslogd", 0, &["syslogd.service @"]);
    guest.holds("systemd-analyze critical-chain no-such", 4, &["no-such"]);
    guest.holds("systemd-analyze dot", 0, &["digraph", "\"multi-user.target\""]);
    guest.holds(
        "systemd-analyze calendar --iterations=2 daily",
        0,
        &["Normalized form: *-*-* 00:00:00", "Iteration #2"],
    );
    guest.holds("systemd-analyze calendar nonsense", 1, &["nonsense"]);
    guest.holds("systemd-analyze timespan 90s", 0, &["Human: 1min 30s"]);
    guest.holds(
        "echo '[Service]' > /tmp/x.service; systemd-analyze verify /etc/systemd/system/own.service",
        0,
        &[],
    );
    guest.holds(
        "echo nonsense > /tmp/x.service; systemd-analyze verify /tmp/x.service",
        1,
        &["/tmp/x.service:1"],
    );
    guest.holds("systemd-analyze nonsense", 2, &["unknown verb"]);
    let picture = guest.0.shell("systemd-analyze plot");
    assert!(roxmltree::Document::parse(&picture).is_ok_and(|svg| svg.root_element().has_tag_name("svg")));
}

mod long {
    use super::*;
    use hostel_tests::cli;
    use hostel_tests::run::until;
    use std::time::Duration;

    /// What nobody could mistake for slow.
    const SOON: Duration = Duration::from_secs(30);

    #[test]
    #[ignore = "boots a guest again and again: cargo xtask test --all"]
    fn given_a_busybox_alone_when_its_end_is_asked_for_in_each_way_then_it_ends_or_comes_back() {
        ends(Guest::small("each-end").start());
    }

    /// Each way to end it: it comes back, or not.
    fn ends(mut guest: Guest) {
        for (command, returns) in [
            ("reboot", true),
            ("systemctl reboot", true),
            ("shutdown -r now", true),
            ("telinit 6", true),
            ("poweroff", false),
            ("halt", false),
            ("systemctl poweroff", false),
            ("systemctl halt", false),
            ("shutdown -h now", false),
            ("telinit 0", false),
        ] {
            let before = guest.init;
            guest.try_exec(&["sh", "-c", command]);
            let ended = until(SOON, || {
                let now = cli::status(&guest.name)?;
                let is_back = now.init != 0 && now.init != before && now.state == "running";
                if returns { is_back } else { now.init == 0 }.then_some(())
            });
            assert!(ended.is_some(), "{command}: {:?}", cli::status(&guest.name));
            match returns {
                true => guest.find_init(),
                false => drop(guest.start()),
            }
        }
    }
}
