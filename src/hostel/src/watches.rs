//! Of inotify instances a host has few, for all that one user has running (inotify(7)): all guests that root starts count
//! together, and the host's own root with them. What they have used up is said, since nothing else says it.
//!
//! Reads a knob of the host's; changes nothing.

use crate::launch::say_once;
use crate::places::Places;
use crate::record::Record;

/// The limit, for a user.
const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// What the warden of a quiet guest has: for a shutdown that is planned, and for the message bus.
const EACH: usize = 2;
/// What the host's own programs are left.
const OF_HOST: usize = 32;

/// Says so when there are more guests than the host has watches for.
pub fn say_if_few(places: &Places) {
    let limit = std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
    let guests = Record::names(places).map_or(0, |names| names.len());
    if let Some(remark) = limit.and_then(|limit| remark(guests, limit)) {
        say_once(places, "watches", &remark);
    }
}

fn remark(guests: usize, limit: usize) -> Option<String> {
    (guests * EACH + OF_HOST > limit).then(|| {
        format!(
            "{guests} guests use up this host's {limit} inotify instances (fs.inotify.max_user_instances): path units, \
             planned shutdowns and the start of a message bus are not noticed without; \
             `sysctl fs.inotify.max_user_instances=8192` lets a thousand guests have them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_kernel_s_own_limit_when_guests_come_then_it_is_said_before_the_host_has_none_left() {
        assert_eq!(remark(40, 128), None);
        assert!(remark(49, 128).is_some_and(|text| text.contains("49 guests") && text.contains("128")));
        assert_eq!(remark(1000, 8192), None);
    }
}
