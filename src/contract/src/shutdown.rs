//! How a guest ends, and the exit statuses that say so outward.

crate::code_enum! {
    /// What a stop of the whole guest ends in.
    pub enum ShutdownKind {
        /// The guest stops and its host leaves it stopped.
        Halt = 1, "halt";
        /// The same, asked for as a power-off.
        PowerOff = 2, "poweroff";
        /// The guest asks its host to be started again.
        Reboot = 3, "reboot";
        /// A container's main command ended: its own code is the guest's.
        Exit = 4, "exit";
    }
}

/// Exit status of init after an orderly halt or power-off, where `reboot(2)` is not permitted.
pub const EXIT_OK: i32 = 0;
/// Exit status of init that asks for a restart, where `reboot(2)` is not permitted (as systemd-nspawn has it).
pub const EXIT_REBOOT: i32 = 133;
/// Exit status of init when it could not even begin (no memory, no descriptors); said on standard error.
pub const EXIT_CRASH: i32 = 255;
/// `reboot(2)` in a pid namespace ends its init by this signal for a restart (SIGHUP), see reboot(2).
pub const SIGNAL_REBOOT: i32 = 1;
/// `reboot(2)` in a pid namespace ends its init by this signal for a halt or power-off (SIGINT).
pub const SIGNAL_HALT: i32 = 2;
