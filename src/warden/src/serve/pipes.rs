//! The log pipes, and the wait for them.
//!
//! They are in an epoll set of their own, which is one element of the loop's: when there is no room for what they
//! hold, that one element is left out. This module touches the descriptors that init sent, and reads none.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};

/// Pipes that get their turn before anything else is looked at.
const TURNS: usize = 64;

struct Pipe {
    unit: u16,
    fd: OwnedFd,
}

/// All log pipes.
pub struct Pipes {
    set: OwnedFd,
    pipes: Vec<Option<Pipe>>,
}

impl Pipes {
    /// None yet.
    pub fn new() -> io::Result<Pipes> {
        Ok(Pipes { set: epoll::create(epoll::CreateFlags::CLOEXEC)?, pipes: Vec::new() })
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// Takes the read end of a unit's pipe. An earlier one of the unit is forgotten: init has replaced it.
    pub fn add(&mut self, unit: u16, fd: OwnedFd) -> io::Result<()> {
        if let Some(at) = self.pipes.iter().position(|p| p.as_ref().is_some_and(|p| p.unit == unit)) {
            self.remove(at);
        }
        let at = self.pipes.iter().position(Option::is_none).unwrap_or(self.pipes.len());
        epoll::add(&self.set, &fd, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        let pipe = Some(Pipe { unit, fd });
        match self.pipes.get_mut(at) {
            Some(place) => *place = pipe,
            None => self.pipes.push(pipe),
        }
        Ok(())
    }

    /// Forgets a pipe.
    pub fn remove(&mut self, at: usize) {
        if let Some(pipe) = self.pipes.get_mut(at).and_then(Option::take) {
            // Explicitly: init still has the pipe open, so closing our descriptor would not end the wait for it.
            let _ = epoll::delete(&self.set, &pipe.fd);
        }
    }

    /// Gives each pipe's unit its index in another plan.
    pub fn renumber(&mut self, mut new_index: impl FnMut(u16) -> u16) {
        for pipe in self.pipes.iter_mut().flatten() {
            pipe.unit = new_index(pipe.unit);
        }
    }

    /// The pipes that have something, as many as get their turn now. One that is empty and has no writer left, which
    /// happens when its unit has left the plan, is forgotten.
    pub fn ready(&mut self) -> io::Result<Ready> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); TURNS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ready = Ready { places: [0; TURNS], count: 0, told: 0 };
        let events = match epoll::wait(&self.set, &mut events, Some(&at_once)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let (at, flags) = (event.data.u64() as usize, event.flags);
            ready.told += 1;
            if !flags.contains(epoll::EventFlags::IN) {
                self.remove(at);
                continue;
            }
            ready.places[ready.count] = at;
            ready.count += 1;
        }
        Ok(ready)
    }

    /// A pipe and its unit.
    pub fn get(&self, at: usize) -> Option<(u16, BorrowedFd<'_>)> {
        let pipe = self.pipes.get(at)?.as_ref()?;
        Some((pipe.unit, pipe.fd.as_fd()))
    }
}

/// The places of pipes that have something.
pub struct Ready {
    places: [usize; TURNS],
    count: usize,
    told: usize,
}

impl Ready {
    /// The places.
    pub fn places(&self) -> &[usize] {
        &self.places[..self.count]
    }

    /// Whether these are surely all.
    pub fn is_all(&self) -> bool {
        self.told < TURNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn given_pipes_when_one_has_something_then_it_is_ready_and_named() {
        let mut pipes = Pipes::new().unwrap();
        let (first, _first_end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (second, end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        pipes.add(7, first).unwrap();
        pipes.add(8, second).unwrap();
        assert!(pipes.ready().unwrap().places().is_empty());
        rustix::io::write(&end, b"x").unwrap();
        let ready = pipes.ready().unwrap();
        assert_eq!(ready.places().iter().filter_map(|&at| Some(pipes.get(at)?.0)).collect::<Vec<_>>(), [8]);
        assert!(ready.is_all());
        pipes.renumber(|unit| unit + 10);
        assert_eq!(pipes.get(ready.places()[0]).unwrap().0, 18);
    }

    #[test]
    fn given_a_pipe_whose_writers_are_gone_when_it_is_read_empty_then_it_is_forgotten() {
        let mut pipes = Pipes::new().unwrap();
        let (pipe, end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        pipes.add(7, pipe).unwrap();
        rustix::io::write(&end, b"x").unwrap();
        drop(end);
        let ready = pipes.ready().unwrap();
        assert_eq!(ready.places().len(), 1, "what is in it is still to be read");
        rustix::io::read(pipes.get(ready.places()[0]).unwrap().1, &mut [0u8; 8]).unwrap();
        assert!(pipes.ready().unwrap().places().is_empty());
        assert!(pipes.pipes.iter().all(Option::is_none));
    }

    #[test]
    fn given_a_new_pipe_of_a_unit_when_added_then_it_takes_the_old_ones_place() {
        let mut pipes = Pipes::new().unwrap();
        let (first, old_end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let _held_by_init = first.try_clone().unwrap();
        let (second, _end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        pipes.add(7, first).unwrap();
        rustix::io::write(&old_end, b"x").unwrap();
        pipes.add(7, second).unwrap();
        assert!(pipes.ready().unwrap().places().is_empty());
        assert_eq!(pipes.pipes.len(), 1);
    }
}
