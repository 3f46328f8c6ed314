//! Descriptors held back. At the limit a start is refused, but a stop and a refusal still need descriptors for a moment:
//! they are let go for that moment, and taken back after.

use crate::sys::call::Errno;
use crate::sys::descriptor::OwnedFd;

/// A status pair, a cgroup, and one to spare.
const COUNT: usize = 4;
/// Lowest number of one, so that the low ones are for what lives long.
const LOWEST: u32 = 3;

/// The descriptors held back.
pub struct Reserve([Option<OwnedFd>; COUNT]);

impl Reserve {
    /// Takes them: duplicates of any descriptor.
    pub fn new(of: &OwnedFd) -> Self {
        let mut reserve = Reserve([const { None }; COUNT]);
        reserve.take_back(of);
        reserve
    }

    /// Lets them go.
    pub fn release(&mut self) {
        for fd in &mut self.0 {
            drop(fd.take());
        }
    }

    /// Takes them again, as many as there are.
    pub fn take_back(&mut self, of: &OwnedFd) {
        for fd in self.0.iter_mut().filter(|fd| fd.is_none()) {
            *fd = of.as_fd().duplicate(LOWEST).ok();
        }
    }
}

/// Is this the limit of descriptors, ours or the system's?
pub fn is_limit(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}
