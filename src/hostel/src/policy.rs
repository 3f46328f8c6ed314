//! How a guest is to live, as its owner has set it in the table [life] of guest.toml. Pure.

use crate::config::Config;
use crate::name::GuestName;
use crate::store::ended::HowEnded;
use std::time::Duration;

/// The mark that guests have which are to start with the host, where nothing else is asked for (util-vserver's own).
pub const DEFAULT_MARK: &str = "default";
/// How long a start is waited for, a stop may take, and a script may run.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(90);
const SCRIPT: Duration = Duration::from_secs(60);
/// How long after its end a guest is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// So many restarts within this time, and one that fails is left alone.
pub const BURST: usize = 5;
const BURST_WITHIN: Duration = Duration::from_secs(300);

/// After which ends a guest is started again, its own wish for a reboot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// None.
    No,
    /// Its init was killed, or ended with a status other than 0.
    OnFailure,
    /// Each that nobody asked for on the host.
    Always,
}

/// Values of the key `restart`, in the order of [`Restart`].
pub const RESTARTS: &[&str] = &["no", "on-failure", "always"];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Groups that it belongs to.
    pub marks: Vec<String>,
    /// Guests that are up before it, and go down after it.
    pub depends: Vec<GuestName>,
    /// How long its start is waited for.
    pub start_timeout: Duration,
    /// How long an orderly stop may take.
    pub stop_timeout: Duration,
    /// How long each script may run.
    pub script_timeout: Duration,
    /// See [`Restart`].
    pub restart: Restart,
    /// How long after its end that is.
    pub restart_delay: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::of(&Config::default())
    }
}

impl Policy {
    /// From a configuration; what isn't set has its default.
    pub fn of(config: &Config) -> Policy {
        let span = |name: &str, default: Duration| {
            let text = config.text("life", name);
            text.and_then(|text| text.parse().ok()).map_or(default, Duration::from_secs)
        };
        let restart = match config.text("life", "restart") {
            Some("on-failure") => Restart::OnFailure,
            Some("always") => Restart::Always,
            _ => Restart::No,
        };
        Policy {
            marks: config.list("life", "marks").to_vec(),
            depends: config.list("life", "depends").iter().filter_map(|name| name.parse().ok()).collect(),
            start_timeout: span("start-timeout", START),
            stop_timeout: span("stop-timeout", STOP),
            script_timeout: span("script-timeout", SCRIPT),
            restart,
            restart_delay: span("restart-delay", RESTART_DELAY),
        }
    }

    /// Is it started again after this end, which nobody on the host has asked for? With the time to wait before.
    /// `earlier`: when it was, in seconds since the epoch.
    pub fn restart_after(&self, how: HowEnded, earlier: &[u64], now: u64) -> Option<Duration> {
        let failed = match how {
            HowEnded::Reboot => return Some(Duration::ZERO),
            HowEnded::Halted => false,
            HowEnded::Exited { .. } | HowEnded::Killed { .. } | HowEnded::Unknown => true,
        };
        let wanted = match self.restart {
            Restart::No => false,
            Restart::OnFailure => failed,
            Restart::Always => true,
        };
        let recent =
            earlier.iter().filter(|time| now.saturating_sub(**time) <= BURST_WITHIN.as_secs()).count();
        (wanted && recent < BURST).then_some(self.restart_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn policy(text: &str) -> Policy {
        Policy::of(&Config::parse(text, Path::new("guest.toml")).unwrap())
    }

    #[test]
    fn given_nothing_when_read_then_a_guest_has_no_mark_and_restarts_by_its_own_wish_alone() {
        let policy = policy("");
        assert!(policy.marks.is_empty() && policy.depends.is_empty());
        assert_eq!(policy.restart_after(HowEnded::Reboot, &[], 0), Some(Duration::ZERO));
        for end in [HowEnded::Halted, HowEnded::Killed { signal: 9 }, HowEnded::Exited { status: 1 }] {
            assert_eq!(policy.restart_after(end, &[], 0), None);
        }
    }

    #[test]
    fn given_a_table_when_read_then_each_key_has_its_meaning() {
        let policy = policy(
            "[life]\nmarks = [\"default\", \"web\"]\ndepends = [\"db\"]\nstart-timeout = 5\nstop-timeout = \"7s\"\n\
             restart = \"on-failure\"\nrestart-delay = 3\n",
        );
        assert_eq!(policy.marks, ["default", "web"]);
        assert_eq!(policy.depends, ["db".parse().unwrap()]);
        assert_eq!((policy.start_timeout.as_secs(), policy.stop_timeout.as_secs()), (5, 7));
        assert_eq!(policy.restart_after(HowEnded::Halted, &[], 0), None);
        assert_eq!(
            policy.restart_after(HowEnded::Killed { signal: 9 }, &[], 0),
            Some(Duration::from_secs(3))
        );
    }

    #[test]
    fn given_restarts_in_a_row_when_one_more_fails_then_it_is_left_alone_until_time_has_passed() {
        let policy = policy("[life]\nrestart = \"always\"\n");
        let earlier = [1000; BURST];
        assert_eq!(policy.restart_after(HowEnded::Halted, &earlier, 1010), None);
        assert!(policy.restart_after(HowEnded::Halted, &earlier, 2000).is_some());
        assert!(
            policy.restart_after(HowEnded::Reboot, &earlier, 1010).is_some(),
            "its own wish always counts"
        );
    }
}
