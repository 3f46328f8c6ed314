//! The message bus of a guest that runs as one ordinary user, as in a restricted pod of Kubernetes.
//!
//! The bus's own policy gives systemd's name to root alone. Without it `systemctl` asks a bus that waits for systemd, and
//! each script that asks for a unit's state stands still for the bus' 25 seconds. So the bus is started with the
//! distribution's configuration and one more policy: who runs the guest is what root is elsewhere. Touches /run alone.

use hostel_contract::paths;
use std::fs;
use std::io;
use std::path::Path;

/// Where a distribution has the unit.
const UNITS: [&str; 2] = ["/usr/lib/systemd/system/dbus.service", "/lib/systemd/system/dbus.service"];
/// Where it has the configuration that `--system` means (dbus-daemon(1)).
const OF_SYSTEM: &str = "/usr/share/dbus-1/system.conf";
const DROP_IN: &str = "/run/systemd/system/dbus.service.d/50-hostel.conf";

/// Writes what the bus needs, where there is one.
pub fn permit_manager(uid: u32) -> io::Result<()> {
    let unit = UNITS.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let configuration = format!("{}/dbus.conf", paths::RUN);
    let Some(drop_in) = drop_in(&unit, &configuration).filter(|_| Path::new(OF_SYSTEM).exists()) else {
        return Ok(());
    };
    fs::create_dir_all(paths::RUN)?;
    fs::write(&configuration, policy(uid))?;
    if let Some(folder) = Path::new(DROP_IN).parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(DROP_IN, drop_in)
}

/// The unit's own command with another configuration. Nothing: it isn't dbus-daemon's.
fn drop_in(unit: &str, configuration: &str) -> Option<String> {
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let is_its = command.split(' ').next()?.ends_with("/dbus-daemon");
    let (before, after) = command.split_once(" --system ").filter(|_| is_its)?;
    Some(format!("[Service]\nExecStart=\nExecStart={before} --config-file={configuration} {after}\n"))
}

fn policy(uid: u32) -> String {
    format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig>\n  \
         <include>{OF_SYSTEM}</include>\n  <policy user=\"{uid}\">\n    <allow own=\"*\"/>\n    \
         <allow send_type=\"method_call\"/>\n  </policy>\n</busconfig>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_unit_of_dbus_daemon_when_changed_then_its_own_options_stay() {
        let unit = "[Service]\nType=notify\nExecStart=@/usr/bin/dbus-daemon @dbus-daemon --system --address=systemd: --nofork\n";
        let drop_in = drop_in(unit, "/run/x.conf").unwrap_or_default();
        let command = "ExecStart=@/usr/bin/dbus-daemon @dbus-daemon --config-file=/run/x.conf --address=systemd: --nofork";
        assert_eq!(drop_in, format!("[Service]\nExecStart=\n{command}\n"));
    }

    #[test]
    fn given_another_bus_when_looked_at_then_it_is_left_alone() {
        let unit = "[Service]\nExecStart=/usr/bin/dbus-broker-launch --scope system --audit\n";
        assert_eq!(drop_in(unit, "/run/x.conf"), None);
        assert_eq!(drop_in("", "/run/x.conf"), None);
    }

    #[test]
    fn given_a_user_when_permitted_then_the_distribution_s_own_policy_comes_first() {
        let text = policy(12345);
        let included = text.find("<include>/usr/share/dbus-1/system.conf</include>");
        let permitted = text.find("<policy user=\"12345\">");
        assert!(included.is_some() && included < permitted, "{text}");
    }
}
