//! What init holds of each unit: descriptors, above all. Tables with room for the largest plan; only what is used of them
//! costs memory, so the elements that are used are kept together at the front.
//! Elements stay where they are when the plan is replaced: only the indices of units that they name are others then.

use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use hostel_contract::status::UNITS_MAX;
use hostel_init::notification::NAME_MAX;
use hostel_plan::{Phase, UnitId};

/// Most descriptors that init keeps for units: listening sockets and FDSTORE together.
pub const KEPT_MAX: usize = 1024;
/// The unit of an element whose unit left the plan.
pub const GONE: UnitId = UnitId(u16::MAX - 1);
/// Spawns under way at a time: for each unit a main process whose exec isn't confirmed yet, and a control process.
pub const FLIGHTS_MAX: usize = 2 * UNITS_MAX;

/// Of a unit that has had a process.
#[derive(Default)]
pub struct RunSlot {
    /// The unit, plus one; 0 where the slot is free.
    unit: u16,
    /// [`IN_CGROUP`] and the like.
    pub flags: u16,
    /// Read end of the log pipe: the warden's, held here so that no line is lost with a warden.
    pub log_read: Option<OwnedFd>,
    /// Write end, given to each process of the unit; held here so that the pipe never ends.
    pub log_write: Option<OwnedFd>,
    /// The unit's NOTIFY_SOCKET.
    pub notify: Option<OwnedFd>,
    /// Process groups (main, control): who is signalled where there's no cgroup. 0 for none.
    pub groups: [u32; 2],
    /// $INVOCATION_ID of this life.
    pub invocation: [u8; 16],
}

/// The unit's processes are in its cgroup.
pub const IN_CGROUP: u16 = 1;
/// The warden that runs has the read end of the log pipe.
pub const ANNOUNCED: u16 = 2;

impl RunSlot {
    /// Whose slot it is.
    pub fn unit(&self) -> Option<UnitId> {
        self.unit.checked_sub(1).map(UnitId)
    }
}

/// Slots of units that have had a process, found by unit.
pub struct RunSlots {
    index: &'static mut [u16; UNITS_MAX],
    slots: &'static mut [RunSlot; UNITS_MAX],
    used: usize,
}

impl RunSlots {
    /// In these tables, of which nothing is used yet.
    pub fn new(index: &'static mut [u16; UNITS_MAX], slots: &'static mut [RunSlot; UNITS_MAX]) -> Self {
        RunSlots { index, slots, used: 0 }
    }

    /// Units have other indices from now on. The slot of one that is gone keeps its log pipe for the warden to read
    /// empty, until the next such change; `freed` is told of each that has no unit any more.
    pub fn renumber(&mut self, place: &dyn Fn(UnitId) -> UnitId, freed: &mut dyn FnMut(usize)) {
        // Written to only where there's something: an untouched page costs nothing.
        self.index.iter_mut().filter(|index| **index != 0).for_each(|index| *index = 0);
        for (number, slot) in self.slots.iter_mut().enumerate().take(self.used) {
            let Some(unit) = slot.unit() else { continue };
            if unit == GONE {
                *slot = RunSlot { unit: 0, ..RunSlot::default() };
                freed(number);
                continue;
            }
            let unit = place(unit);
            slot.unit = unit.0 + 1;
            match self.index.get_mut(unit.index()) {
                Some(index) => *index = number as u16 + 1,
                None => (slot.log_write, slot.notify) = (None, None),
            }
        }
    }

    /// Number of the unit's slot; a unit keeps it for as long as it is in a plan.
    pub fn number(&self, unit: UnitId) -> Option<usize> {
        self.index.get(unit.index())?.checked_sub(1).map(usize::from)
    }

    /// The unit's slot, if it has one.
    pub fn of(&mut self, unit: UnitId) -> Option<&mut RunSlot> {
        let number = self.number(unit)?;
        self.slots.get_mut(number)
    }

    /// The unit's slot, to look at.
    pub fn get(&self, unit: UnitId) -> Option<&RunSlot> {
        self.slots.get(self.number(unit)?)
    }

    /// All that are in use.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut RunSlot> {
        self.slots.iter_mut().take(self.used)
    }

    /// The slot with this number.
    pub fn at(&mut self, number: usize) -> Option<&mut RunSlot> {
        self.slots.get_mut(number).filter(|slot| slot.unit != 0)
    }

    /// The unit's slot, made where there is none. `None` only for a unit that the plan doesn't have.
    pub fn make(&mut self, unit: UnitId) -> Option<&mut RunSlot> {
        let index = self.index.get_mut(unit.index())?;
        if *index == 0 {
            let free = self.slots.iter().position(|slot| slot.unit == 0)?;
            self.slots.get_mut(free)?.unit = unit.0.checked_add(1)?;
            self.used = self.used.max(free + 1);
            *index = free as u16 + 1;
        }
        self.of(unit)
    }

    /// Slots from here on are not in use.
    pub fn len(&self) -> usize {
        self.used
    }
}

/// A spawn whose child has not yet exec'ed, or not yet answered.
pub struct Flight {
    /// Our end of its status pair.
    pub status: Option<OwnedFd>,
    /// The child; 0: this element is free.
    pub pid: u32,
    /// The unit.
    pub unit: u16,
    /// What it is to do.
    phase: u8,
}

impl Flight {
    /// What it is to do.
    pub fn phase(&self) -> Option<Phase> {
        Phase::from_code(self.phase)
    }
}

/// All spawns under way.
pub struct Flights(&'static mut [Flight; FLIGHTS_MAX]);

impl Flights {
    /// In this table.
    pub fn new(flights: &'static mut [Flight; FLIGHTS_MAX]) -> Self {
        Flights(flights)
    }

    /// Units have other indices from now on.
    pub fn renumber(&mut self, place: &dyn Fn(UnitId) -> UnitId) {
        for flight in self.0.iter_mut().filter(|flight| flight.pid != 0) {
            flight.unit = place(UnitId(flight.unit)).0;
        }
    }

    /// Index of a free element.
    pub fn vacant(&self) -> Option<usize> {
        self.0.iter().position(|f| f.pid == 0)
    }

    /// Fills a free element.
    pub fn begin(&mut self, at: usize, status: OwnedFd, pid: u32, unit: UnitId, phase: Phase) {
        if let Some(flight) = self.0.get_mut(at) {
            flight.status = Some(status);
            flight.pid = pid;
            flight.unit = unit.0;
            flight.phase = phase.code();
        }
    }

    /// The spawn at `at`, if one is under way there.
    pub fn at(&self, at: usize) -> Option<&Flight> {
        self.0.get(at).filter(|f| f.pid != 0)
    }

    /// Where the spawn of this child is.
    pub fn find(&self, pid: u32) -> Option<usize> {
        self.0.iter().position(|f| f.pid == pid && pid != 0)
    }

    /// Children under way for a unit.
    pub fn of(&self, unit: UnitId) -> impl Iterator<Item = u32> {
        self.0.iter().filter(move |f| f.pid != 0 && f.unit == unit.0).map(|f| f.pid)
    }

    /// Done with it: closes the status pair.
    pub fn finish(&mut self, at: usize) {
        if let Some(flight) = self.0.get_mut(at) {
            drop(flight.status.take());
            flight.pid = 0;
        }
    }
}

/// Why a descriptor is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A listening socket of a socket unit.
    Socket = 1,
    /// Given by a service with FDSTORE=1.
    Stored = 2,
}

/// A descriptor kept for a unit.
pub struct Kept {
    fd: Option<OwnedFd>,
    /// Its unit.
    pub unit: u16,
    purpose: u8,
    name_length: u8,
    name: [u8; NAME_MAX],
}

impl Kept {
    /// FDNAME=; empty for sockets.
    pub fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.name_length)).unwrap_or(&[])
    }

    /// The descriptor.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    fn is(&self, unit: UnitId, purpose: Purpose) -> bool {
        self.fd.is_some() && self.unit == unit.0 && self.purpose == purpose as u8
    }
}

/// All descriptors kept for units, in one table.
pub struct KeptTable {
    all: &'static mut [Kept; KEPT_MAX],
    /// Elements from here on were never used.
    used: usize,
}

impl KeptTable {
    /// In this table.
    pub fn new(all: &'static mut [Kept; KEPT_MAX]) -> Self {
        KeptTable { all, used: 0 }
    }

    /// Units have other indices from now on. What is kept for one that is gone is told to `gone`, and closed.
    pub fn renumber(&mut self, place: &dyn Fn(UnitId) -> UnitId, gone: &dyn Fn(BorrowedFd<'_>)) {
        for kept in self.all.iter_mut().take(self.used) {
            kept.unit = place(UnitId(kept.unit)).0;
            if let Some(fd) = kept.fd.as_ref().filter(|_| kept.unit == GONE.0) {
                gone(fd.as_fd());
                kept.fd = None;
            }
        }
    }

    /// Keeps `fd`; `None`, and closes it, where the table is full. The index says where it is.
    pub fn keep(&mut self, unit: UnitId, purpose: Purpose, name: &[u8], fd: OwnedFd) -> Option<usize> {
        let index = self.all.iter().position(|k| k.fd.is_none())?;
        self.used = self.used.max(index + 1);
        let slot = self.all.get_mut(index)?;
        slot.fd = Some(fd);
        slot.unit = unit.0;
        slot.purpose = purpose as u8;
        slot.name_length = 0;
        for (room, byte) in slot.name.iter_mut().zip(name) {
            *room = *byte;
            slot.name_length += 1;
        }
        Some(index)
    }

    /// The next one of a unit, from an index on.
    #[inline(never)]
    fn next(&self, from: usize, unit: UnitId, purpose: Purpose) -> Option<usize> {
        (from..self.used).find(|&at| self.all.get(at).is_some_and(|kept| kept.is(unit, purpose)))
    }

    /// Those of a unit, in the order in which they came as far as the table had no gaps.
    pub fn of(&self, unit: UnitId, purpose: Purpose) -> impl Iterator<Item = (usize, &Kept)> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let at = self.next(from, unit, purpose)?;
            from = at + 1;
            Some((at, self.all.get(at)?))
        })
    }

    /// The one at `index`.
    pub fn at(&self, index: usize) -> Option<&Kept> {
        self.all.get(index).filter(|k| k.fd.is_some())
    }

    /// Closes the one at `index`.
    pub fn close(&mut self, index: usize) {
        if let Some(kept) = self.all.get_mut(index) {
            drop(kept.fd.take());
        }
    }

    /// Closes those of a unit, or of these only the ones with this name.
    #[inline(never)]
    pub fn close_all(&mut self, unit: UnitId, purpose: Purpose, name: Option<&[u8]>) {
        let mut from = 0;
        while let Some(at) = self.next(from, unit, purpose) {
            if let Some(kept) = self.all.get_mut(at).filter(|kept| name.is_none_or(|n| n == kept.name())) {
                drop(kept.fd.take());
            }
            from = at + 1;
        }
    }
}
