//! How a guest ended, in the words of the contract.

use crate::error::{Doing, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use hostel_contract::keeper::{KeeperEvent, KeeperReport};
use hostel_contract::shutdown::{EXIT_CRASH, EXIT_OK, EXIT_REBOOT, SIGNAL_HALT, SIGNAL_REBOOT};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// How init ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum HowEnded {
    /// The guest was halted or powered off.
    Halted,
    /// The guest asks to be started again.
    Reboot,
    /// Init, or a main command, ended with this status.
    Exited {
        /// The status.
        status: i32,
    },
    /// Init was killed by this signal, and all of the guest with it.
    Killed {
        /// The signal.
        signal: u8,
    },
    /// Nobody saw it: the keeper was gone.
    Unknown,
}

impl HowEnded {
    /// From the status that init left to its parent: an exit status, or else a signal. See [`hostel_contract::shutdown`].
    pub fn from_status(code: i32, signal: u8) -> Self {
        match (i32::from(signal), code) {
            (SIGNAL_REBOOT, _) | (0, EXIT_REBOOT) => HowEnded::Reboot,
            (SIGNAL_HALT, _) | (0, EXIT_OK) => HowEnded::Halted,
            (0, status) => HowEnded::Exited { status },
            _ => HowEnded::Killed { signal },
        }
    }

    /// The exit status that tells it to a script: 0, 133 for a reboot, the command's own, or 128 + signal.
    pub fn exit_status(self) -> u8 {
        match self {
            HowEnded::Halted => 0,
            HowEnded::Reboot => EXIT_REBOOT as u8,
            HowEnded::Exited { status } => u8::try_from(status).unwrap_or(EXIT_CRASH as u8),
            HowEnded::Killed { signal } => 128u8.saturating_add(signal),
            HowEnded::Unknown => EXIT_CRASH as u8,
        }
    }

    /// Completes "guest NAME ".
    pub fn describe(self) -> String {
        match self {
            HowEnded::Halted => "was halted or powered off".into(),
            HowEnded::Reboot => "asked to be restarted".into(),
            HowEnded::Exited { status: EXIT_CRASH } => "could not begin (init's status is 255)".into(),
            HowEnded::Exited { status } => format!("ended with status {status}"),
            HowEnded::Killed { signal } => format!("was killed (signal {signal})"),
            HowEnded::Unknown => "ended, unseen since its keeper was gone".into(),
        }
    }
}

/// `last.json`: how and when a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEnd {
    /// How.
    #[serde(flatten)]
    pub how: HowEnded,
    /// Seconds since the epoch.
    pub time: u64,
}

impl LastEnd {
    /// What the keeper left in a record folder's `exit`; `None` where it left nothing, or no such report.
    pub fn from_record(folder: &Path) -> Option<LastEnd> {
        let report = KeeperReport::decode(&fs::read(folder.join("exit")).ok()?)?;
        (KeeperEvent::from_code(report.event)? == KeeperEvent::Ended)
            .then(|| LastEnd { how: HowEnded::from_status(report.code, report.signal), time: report.time })
    }

    /// Reads `last.json` of a guest in the store.
    pub fn read(places: &Places, name: &GuestName) -> Option<LastEnd> {
        serde_json::from_slice(&fs::read(places.guest(name).join("last.json")).ok()?).ok()
    }

    /// Writes it.
    pub fn write(&self, places: &Places, name: &GuestName) -> Result<()> {
        let file = places.guest(name).join("last.json");
        let json = serde_json::to_vec(self).map_err(io::Error::from).on("writing", &file)?;
        replace_file(&file, &json, Durable::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_ends_of_the_contract_when_read_then_each_has_its_meaning_and_status() {
        for (code, signal, how, status) in [
            (0, 0, HowEnded::Halted, 0),
            (0, 2, HowEnded::Halted, 0),
            (0, 1, HowEnded::Reboot, 133),
            (133, 0, HowEnded::Reboot, 133),
            (7, 0, HowEnded::Exited { status: 7 }, 7),
            (0, 9, HowEnded::Killed { signal: 9 }, 137),
            (255, 0, HowEnded::Exited { status: 255 }, 255),
        ] {
            assert_eq!(HowEnded::from_status(code, signal), how);
            assert_eq!(how.exit_status(), status);
        }
    }
}
