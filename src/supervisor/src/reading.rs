//! Reading the plan, in one place each: PID 1 has a size to keep, and what the plan's reader does in many small
//! inlined steps is asked for in a hundred places here.

use hostel_plan::{EdgeKind, Unit, UnitId};

/// An iterator whose step is a call.
struct Called<I>(I);

impl<I: Iterator> Iterator for Called<I> {
    type Item = I::Item;

    #[inline(never)]
    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }
}

/// What is asked of a unit's definition again and again.
pub(crate) trait Reading<'a> {
    /// Targets of the edges of one kind.
    fn targets(&self, kind: EdgeKind) -> impl Iterator<Item = UnitId> + use<'a, Self>;
    /// Is one of these flags set?
    fn is(&self, flags: u32) -> bool;
}

impl<'a> Reading<'a> for Unit<'a> {
    #[inline(never)]
    fn targets(&self, kind: EdgeKind) -> impl Iterator<Item = UnitId> + use<'a> {
        Called(self.edges(kind))
    }

    #[inline(never)]
    fn is(&self, flags: u32) -> bool {
        self.has(flags)
    }
}
