//! Packages are installed, upgraded, removed and purged inside a running guest as under systemd: their services are
//! started, restarted, stopped, and enabled for the next boot.
//!
//! The short test builds a package of its own, in two versions, with the maintainer scripts that debhelper writes. The
//! long ones use Debian's packages (see [`hostel_tests::stock`]), and systemd itself beside Hostel: each step is made
//! in both, and what became of every unit compared. What differs has a row, with its reason, in
//! `tests/apt-differences.tsv`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hostel_tests::cache::DEBIAN12;
use hostel_tests::run::{Outcome, run, until};
use hostel_tests::{Guest, cli, paths};

/// How long one call of apt may take.
const LIMIT: Duration = Duration::from_secs(2400);

/// What every call of apt is made with. Nobody is there to be asked, and nothing is to survive a power failure.
const APT: &str = "export DEBIAN_FRONTEND=noninteractive; apt() { apt-get -qq --yes --no-install-recommends \
     -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold \"$@\" </dev/null; }; ";

/// Runs `apt ARGUMENTS` in a guest; panics unless it ends well. Gives what it said.
fn apt(guest: &Guest, arguments: &str) -> String {
    let said = guest.shell_within(LIMIT, &format!("{APT} apt {arguments} 2>&1; echo status $?"));
    assert!(said.trim_end().ends_with("status 0"), "apt {arguments}:\n{said}");
    said
}

/// Builds version `version` of a package with a service, a socket and a timer, as debhelper would.
fn build_probe(folder: &Path, version: u32) -> Vec<u8> {
    let top = folder.join(format!("probe-{version}"));
    let write = |path: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = top.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(&path, text).expect("the file is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode is set");
    };
    let control = format!(
        "Package: hostel-probe\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
         Description: a package with units\n"
    );
    write("DEBIAN/control", &control, 0o644);
    for script in ["postinst", "prerm", "postrm"] {
        let path = paths::repository().join("tests/apt").join(script);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        write(&format!("DEBIAN/{script}"), &text, 0o755);
    }
    let service = format!(
        "[Unit]\nDescription=Probe {version}\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\n\
         WantedBy=multi-user.target\n"
    );
    write("lib/systemd/system/hostel-probe.service", &service, 0o644);
    let timer =
        "[Timer]\nOnCalendar=2099-01-01\nUnit=hostel-probe.service\n[Install]\nWantedBy=timers.target\n";
    write("lib/systemd/system/hostel-probe.timer", timer, 0o644);
    let package = folder.join(format!("probe-{version}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Znone", "--build"]).arg(&top).arg(&package);
    run(&mut build, LIMIT).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"));
    fs::read(&package).expect("the package was built")
}

/// A folder that goes with the value.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("hostel-test-apt-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for packages");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_package_with_units_when_installed_upgraded_removed_and_purged_then_its_units_follow() {
    let folder = Folder::new();
    let guest = Guest::debian12("apt").start();
    for version in [1, 2] {
        let package = build_probe(&folder.0, version);
        let put = ["sh", "-c", &format!("cat > /root/probe-{version}.deb")];
        cli::exec(&guest.name, &put, &package)
            .and_then(Outcome::success)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let asked = |script: &str| guest.try_exec(&["sh", "-c", script]).stdout.trim().replace('\n', " ");
    let states = || asked("systemctl is-active hostel-probe.service hostel-probe.timer");
    let enabled = || asked("systemctl is-enabled hostel-probe.service hostel-probe.timer 2>&1");
    let main = || asked("systemctl show --value -p MainPID hostel-probe");

    apt(&guest, "install /root/probe-1.deb");
    assert_eq!((states(), enabled()), ("active active".into(), "enabled enabled".into()), "installed");
    let first = main();

    apt(&guest, "install /root/probe-2.deb");
    assert_eq!(states(), "active active", "upgraded");
    assert_ne!(main(), first, "an upgrade restarts");
    assert_eq!(asked("systemctl show --value -p Description hostel-probe"), "Probe 2");

    apt(&guest, "remove hostel-probe");
    assert_eq!(states(), "inactive inactive", "removed");
    assert!(asked("pgrep -x sleep").is_empty(), "a removed package's process lives");
    assert_eq!(enabled(), "masked masked", "what is left of it is masked until it is purged");

    apt(&guest, "purge hostel-probe");
    assert!(enabled().contains("No such file"), "purged: {}", enabled());
    assert_eq!(asked("find /etc/systemd /var/lib/systemd -name 'hostel-probe*'"), "", "left behind");
}

/// Debian's own packages, with systemd beside.
mod long {
    use super::*;
    use hostel_tests::oracle::{Nspawn, blocks};
    use hostel_tests::stock::{KINDS, Stock, TO_DEBIAN13, UPGRADE};
    use hostel_tests::units::matches;

    /// What is done, one after the other: a name, and arguments of apt.
    fn steps() -> Vec<(&'static str, String)> {
        let packages = KINDS.commands[0].trim_start_matches("install ");
        vec![
            ("install", format!("install {packages}")),
            ("upgrade", format!("install --reinstall {packages}")),
            ("core", "install --reinstall systemd systemd-sysv libc6 dbus".into()),
            ("remove", format!("remove {packages}")),
            ("again", format!("install {packages}")),
            ("purge", format!("purge {packages}")),
        ]
    }

    /// Lists the units that packages brought since the last time it was asked for none.
    const MARK: &str = "dpkg-query -W -f '${Package}\\n' | sort > /root/before";
    const UNITS: &str = "dpkg-query -W -f '${Package}\\n' | sort | comm -13 /root/before - | xargs dpkg -L | \
         sed -nE 's,.*/systemd/system/([^/@]+\\.(service|socket|timer|path|target))$,\\1,p; \
         s,^/etc/init.d/([^/]+)$,\\1.service,p' | sort -u";
    /// The facts of some units.
    const SHOW: &str = "systemctl show -p Id,LoadState,ActiveState,SubState,UnitFileState,Result,MainPID -- ";
    /// Of these, units that every step is to leave alone, beside those that packages brought.
    const GUESTS_OWN: &str =
        "cron.service dbus.service ssh.service systemd-journald.service systemd-logind.service";

    /// Every unit's facts, by step and unit.
    type Facts = BTreeMap<(String, String), String>;

    /// One machine, of either kind.
    struct Machine<'a> {
        /// Runs a script in it, and gives its output.
        shell: &'a dyn Fn(&str) -> String,
    }

    impl Machine<'_> {
        fn states(&self, units: &str) -> BTreeMap<String, (String, String)> {
            let shown = (self.shell)(&format!("{SHOW} {units}"));
            let state = |block: BTreeMap<&str, &str>| {
                let of = |key: &str| block.get(key).copied().unwrap_or_default();
                let state =
                    ["LoadState", "ActiveState", "SubState", "UnitFileState", "Result"].map(of).join(" ");
                (of("Id").to_owned(), (state, of("MainPID").to_owned()))
            };
            blocks(&shown).into_iter().map(state).collect()
        }

        /// Makes all steps, and says what became of each unit in each.
        fn facts(&self) -> Facts {
            let mut facts = Facts::new();
            (self.shell)(MARK);
            let mut units = GUESTS_OWN.to_owned();
            let mut before = self.states(&units);
            for (step, arguments) in steps() {
                let said = (self.shell)(&format!("{APT} apt {arguments} 2>&1; echo \"apt ended with $?\""));
                let ended = said.lines().last().unwrap_or_default().to_owned();
                if !ended.ends_with(" 0") {
                    println!("{step}:\n{said}");
                }
                facts.insert((step.to_owned(), "(apt)".to_owned()), ended);
                if step == "install" {
                    let brought = (self.shell)(UNITS);
                    units.push_str(&format!(" {}", brought.split_whitespace().collect::<Vec<_>>().join(" ")));
                }
                // What a script has only queued is given its time.
                std::thread::sleep(Duration::from_secs(5));
                let now = self.states(&units);
                for (unit, (state, pid)) in &now {
                    let process = match before.get(unit).map(|(_, pid)| pid) {
                        _ if pid == "0" => "no process",
                        Some(earlier) if earlier == pid => "same process",
                        _ => "new process",
                    };
                    facts.insert((step.to_owned(), unit.clone()), format!("{state}, {process}"));
                }
                before = now;
            }
            facts
        }
    }

    /// Reasons for differences: step, unit, reason.
    fn reasons() -> Vec<(String, String, String)> {
        let path = paths::repository().join("tests/apt-differences.tsv");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let row = |line: &str| match line.split('\t').collect::<Vec<_>>().as_slice() {
            [step, unit, reason] if reason.len() > 10 => ((*step).into(), (*unit).into(), (*reason).into()),
            _ => panic!("{}: not three columns: {line}", path.display()),
        };
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect()
    }

    fn compare(systemd: &Facts, hostel: &Facts) {
        let mut wrong = Vec::new();
        let mut used = BTreeSet::new();
        let reasons = reasons();
        let keys: BTreeSet<_> = systemd.keys().chain(hostel.keys()).collect();
        for key in keys {
            let [theirs, ours] =
                [systemd, hostel].map(|facts| facts.get(key).map_or("(none)", String::as_str));
            if theirs == ours {
                continue;
            }
            let (step, unit) = key;
            match reasons.iter().position(|(s, u, _)| matches(s, step) && matches(u, unit)) {
                Some(row) => drop(used.insert(row)),
                None => wrong.push(format!("{step}: {unit}\n  systemd: {theirs}\n  Hostel:  {ours}")),
            }
        }
        for (row, (step, unit, _)) in reasons.iter().enumerate().filter(|(row, _)| !used.contains(row)) {
            wrong.push(format!("row {row} of apt-differences.tsv is about nothing: {step} {unit}"));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    #[ignore = "installs packages: cargo xtask test --all"]
    fn given_packages_of_every_kind_when_installed_upgraded_removed_and_purged_then_as_under_systemd() {
        let guest = Guest::of(KINDS.distribution, "packages").stocked(KINDS).start();
        let ours = Machine { shell: &|script| guest.shell_within(LIMIT, script) }.facts();
        let core: Vec<_> =
            ours.iter().filter(|((step, _), fact)| step == "core" && fact.contains("new process")).collect();
        assert!(core.is_empty(), "a reinstalled systemd, libc6 and dbus restarted: {core:?}");
        let mut nspawn = Nspawn::start(&guest.shared_root(), &format!("{}-nspawn", guest.name))
            .unwrap_or_else(|error| panic!("{error}"));
        nspawn.wait_until_up().unwrap_or_else(|error| panic!("{error}"));
        let shell = |script: &str| {
            nspawn
                .ask_for(&["sh", "-c", &format!("{script}\ntrue")], LIMIT)
                .unwrap_or_else(|error| panic!("{error}"))
        };
        let theirs = Machine { shell: &shell }.facts();
        compare(&theirs, &ours);
    }

    #[test]
    #[ignore = "installs packages: cargo xtask test --all"]
    fn given_installed_packages_when_the_guest_boots_again_then_what_they_enabled_is_up() {
        let mut guest = Guest::of(KINDS.distribution, "next-boot").own_folder().stocked(KINDS).start();
        guest.shell(MARK);
        apt(&guest, KINDS.commands[0]);
        let units = guest.shell(UNITS).split_whitespace().collect::<Vec<_>>().join(" ");
        let up = |guest: &Guest| {
            let states = Machine { shell: &|script| guest.shell_within(LIMIT, script) }.states(&units);
            let wanted = |state: &str| state.contains(" active ") && state.contains(" enabled ");
            let up = states.into_iter().filter(|(_, (state, _))| wanted(state)).map(|(unit, _)| unit);
            up.collect::<BTreeSet<String>>()
        };
        let before = up(&guest);
        assert!(before.len() >= 15, "only {before:?} were started by their packages");
        guest.stop();
        guest.start();
        // What a package enables but leaves to the next boot is up now, too.
        let again = until(Duration::from_secs(60), || before.is_subset(&up(&guest)).then_some(()));
        assert!(again.is_some(), "before: {before:?}\nafter: {:?}", up(&guest));
    }

    fn stocked(stock: Stock, purpose: &str) -> Guest {
        Guest::of(stock.distribution, purpose).own_folder().stocked(stock).start()
    }

    #[test]
    #[ignore = "upgrades a distribution: cargo xtask test --all"]
    fn given_a_running_debian_12_when_upgraded_to_13_then_its_services_run_and_it_boots() {
        assert_eq!(UPGRADE.distribution, DEBIAN12);
        let mut guest = stocked(UPGRADE, "upgrade");
        guest.shell(TO_DEBIAN13);
        let said = apt(&guest, "full-upgrade");
        let release = || guest.shell("cat /etc/debian_version").trim().to_owned();
        assert!(release().starts_with("13"), "it is {}", release());
        assert_eq!(guest.shell("dpkg --audit"), "", "{said}");
        const SERVICES: [&str; 7] = ["cron", "ssh", "dbus", "nginx", "redis-server", "exim4", "rsyslog"];
        let down = |guest: &Guest| {
            let is_down = |name: &&str| !guest.try_exec(&["systemctl", "is-active", name]).status.success();
            SERVICES.into_iter().filter(is_down).collect::<Vec<_>>()
        };
        assert_eq!(down(&guest), [""; 0], "after the upgrade");
        assert!(guest.shell("systemctl --version").starts_with("systemd 257"));
        guest.stop();
        guest.start();
        assert_eq!(down(&guest), [""; 0], "at the next boot");
        assert_eq!(guest.shell("systemctl --failed --no-legend --plain"), "");
    }
}
