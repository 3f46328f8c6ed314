//! Units of our own, for a root with no service manager: the folder `units/native`, compiled in.
//!
//! They bring systemd's usual targets, so that units that packages bring work in such a root too, a shell on the console
//! and BusyBox' syslogd where there is one; scripts of runlevels have no meaning of their own here.

use super::Units;
use crate::compile::lookup::Root;
use crate::compile::notes::Notes;

macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../../../../units/native/", $name)))),*] };
}

/// All units.
const FILES: &[(&str, &str)] = files!(
    "default.target" "multi-user.target" "basic.target" "sysinit.target" "sockets.target" "timers.target"
    "paths.target" "slices.target" "local-fs.target" "remote-fs.target" "network.target" "network-online.target"
    "nss-lookup.target" "time-sync.target" "console-shell.service" "syslogd.service"
);

/// The units of a root with nothing of its own.
pub fn units(_: &Root, _: &mut Notes) -> Units {
    let mut units = Units::default();
    for (name, text) in FILES {
        units.add(*name, *text);
    }
    units
}
