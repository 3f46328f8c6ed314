//! The same root under systemd and under Hostel, compared unit by unit.
//!
//! A machine of either kind is *observed* once it is quiet: its manager is asked what state each unit is in, and what
//! the units' processes are like is read from the kernel. Both observations have the same shape, so that the
//! comparison knows nothing of where they come from: a unit is a set of named facts, and a difference is a fact
//! that two observations tell differently. What may differ, and why, is a table ([`table`]).
//!
//! The kernel is asked from outside the guest, through this machine's own `/proc`: nothing is put into the guest, and
//! both kinds are read by the same code. Ids are translated to the guest's by the maps of its user namespace.

pub mod compare;
pub mod machine;
pub mod observation;
pub mod process;
pub mod report;
pub mod roots;
pub mod sockets;
pub mod table;
