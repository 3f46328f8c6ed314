//! Between init and `hostel-warden serve`: one SOCK_SEQPACKET pair, the warden's descriptor [`FD_CHANNEL`].
//!
//! Init holds every descriptor that matters, so that a warden can be killed at any point. When a warden
//! starts, init sends it each held descriptor with one [`ChannelMessage`] (SCM_RIGHTS), ends the list with
//! `Welcome`, and then sends each new log pipe as its unit first starts. The warden gives init what is to
//! outlive it with `Hold`, and uses it only after `Held` came back. Neither side ever waits for the other:
//! init sends without blocking and goes on when the channel can be written again.

use crate::Text;

/// The warden's end of the channel.
pub const FD_CHANNEL: i32 = 3;
/// The plan, read-only.
pub const FD_PLAN: i32 = 4;

/// `unit` of messages that are about no unit: init's own log pipe.
pub const NO_UNIT: u16 = u16::MAX;

crate::code_enum! {
    /// What a message on the channel is.
    pub enum ChannelOp {
        /// Init to warden, with the read end of a unit's log pipe (`unit`; [`NO_UNIT`]: init's own).
        LogPipe = 1, "log-pipe";
        /// Init to warden, with a descriptor that an earlier warden gave to hold, by `name`.
        Held = 2, "held";
        /// Init to warden: all held descriptors were sent; `argument` counts the wardens before this one.
        Welcome = 3, "welcome";
        /// Warden to init, with a descriptor: hold it under `name` (an equal name is replaced); answered by
        /// `Held` without a descriptor, or by `Refused`.
        Hold = 4, "hold";
        /// Init to warden: no room to hold `name`.
        Refused = 5, "refused";
        /// Warden to init: `name` is no longer needed.
        Release = 6, "release";
        /// Init to warden, with a descriptor: a new plan; indices from now on are of this one.
        Plan = 7, "plan";
        /// Init to warden: the guest stops, and nobody but the two of us is left; `argument` is a
        /// [`crate::ShutdownKind`]. The warden writes out what there is, and ends.
        Stopping = 8, "stopping";
        /// Warden to init: start `unit` because its timer or path fired. `argument` is that unit's own index, `name`
        /// begins with the plan's checksum (8 bytes, little-endian). One of another plan than the one in force is
        /// ignored: the warden looks anew when it has that.
        Trigger = 9, "trigger";
        /// Init to warden: the signal `unit` came, which init leaves to the warden (`crate::request`). `argument` is 1 where
        /// it came from inside the guest. One that came several times is told once.
        Signal = 10, "signal";
        /// Warden to init: PIDFile= of the running service `unit` names the process `argument`; `name` as for `Trigger`.
        /// A daemon that replaces itself (nginx at an upgrade) has written its successor there before it ends.
        MainPid = 11, "main-pid";
    }
}

crate::record! {
    /// A message, with at most one descriptor.
    pub struct ChannelMessage {
        /// [`ChannelOp`].
        pub op: u8,
        /// Zero.
        pub reserved: u8,
        /// Index of a unit in the plan, or [`NO_UNIT`].
        pub unit: u16,
        /// As the operation says.
        pub argument: u32,
        /// Name of a held descriptor.
        pub name: Text<32>,
    }
}
