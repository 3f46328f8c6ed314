//! Units that the guest's message bus starts on demand: those that its activation files name.
//!
//! Nothing that boots reaches them, and the bus may ask for them at any time. From the "Bus activation" section of the
//! D-Bus specification; `SystemdService=` is dbus-daemon's and dbus-broker's own key. Reads the guest's files alone.

use super::name::UnitName;
use super::root::Root;

/// Folders of activation files of the system bus (dbus-daemon(1), `standard_system_servicedirs`).
const FOLDERS: [&str; 3] = [
    "/usr/local/share/dbus-1/system-services",
    "/usr/share/dbus-1/system-services",
    "/lib/dbus-1/system-services",
];
/// Bytes of one that are read at most.
const FILE_MAX: usize = 64 << 10;

/// The units that the activation files of a guest name.
pub fn activated(root: &Root) -> Vec<UnitName> {
    let mut units = Vec::new();
    for folder in FOLDERS {
        let files = root.list(folder).into_keys().filter(|name| name.ends_with(".service"));
        for file in files {
            // One that can't be read can't be read by the bus either.
            let text = root.read(&format!("{folder}/{file}"), FILE_MAX).unwrap_or_default();
            units.extend(unit_of(&String::from_utf8_lossy(&text)));
        }
    }
    units
}

/// The unit that an activation file names.
fn unit_of(text: &str) -> Option<UnitName> {
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "SystemdService").then(|| value.trim().to_owned())
    };
    UnitName::parse(&text.lines().find_map(value)?)
}

#[cfg(test)]
mod tests {
    use super::super::root::tests::TempRoot;
    use super::*;

    #[test]
    fn given_activation_files_when_read_then_the_units_that_they_name_are_known() {
        let temp = TempRoot::new();
        let file = "/usr/share/dbus-1/system-services/org.a.service";
        temp.file(file, "[D-BUS Service]\nName=org.a\nExec=/bin/false\nSystemdService=dbus-org.a.service\n");
        temp.file("/usr/share/dbus-1/system-services/org.b.service", "[D-BUS Service]\nName=org.b\n");
        let names: Vec<String> = activated(&temp.root).iter().map(|unit| unit.full().to_owned()).collect();
        assert_eq!(names, ["dbus-org.a.service"]);
    }
}
