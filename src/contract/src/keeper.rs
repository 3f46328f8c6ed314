//! Between the keeper and the host's tool: what `hostel start` waits for, and what is left when all ended.
//!
//! The keeper gets its descriptors by number; see [`KeeperArgs`] for the order of its arguments. It writes a
//! [`KeeperReport`] for each thing that happens to the report pipe of `hostel start` (which may be gone) and
//! the last one also to the file `exit` of the guest's record, before it execs `hostel` to clean up.

use crate::Text;

/// The keeper's arguments. In decimal: argv[1] pidfd of init, argv[2] pid of init, and the descriptors argv[3] console
/// master, argv[4] notify socket, argv[5] report pipe, argv[6] record folder, argv[7] console log (write). As text:
/// argv[8] path of `hostel`, argv[9] name of the guest. It passes its environment on to `hostel`.
pub struct KeeperArgs;

crate::code_enum! {
    /// What happened.
    pub enum KeeperEvent {
        /// Init said READY=1: all jobs of the default target are done.
        Ready = 1, "ready";
        /// Init said STATUS=.
        Status = 2, "status";
        /// Init said STOPPING=1.
        Stopping = 3, "stopping";
        /// Init is gone; `code` and `signal` say how.
        Ended = 4, "ended";
    }
}

crate::record! {
    /// A report. What it says comes from the guest: it is to be printed escaped.
    pub struct KeeperReport {
        /// [`KeeperEvent`].
        pub event: u8,
        /// Signal that ended init; 0 for none. See [`crate::shutdown`].
        pub signal: u8,
        /// Zero.
        pub reserved: u16,
        /// Exit status of init.
        pub code: i32,
        /// Seconds since the epoch.
        pub time: u64,
        /// Text of STATUS=.
        pub text: Text<112>,
    }
}

/// Subcommand of `hostel` that the keeper execs when init is gone: `hostel __ended NAME`.
pub const ENDED_COMMAND: &str = "__ended";
