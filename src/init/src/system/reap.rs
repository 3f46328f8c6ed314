//! Processes that ended: our own children and every orphan of the guest. Bounded in one round; 10,000 at once take a
//! few rounds.

use super::System;
use crate::sys::process::{self, WaitStatus};
use hostel_supervisor::{Event, ExitKind, ExitStatus};

/// Processes reaped in one round.
const REAPED_MAX: usize = 1024;

impl System {
    #[inline(never)]
    pub(super) fn reap(&mut self) {
        for _ in 0..REAPED_MAX {
            match process::reap(-1) {
                Some((pid, status)) => self.ended(pid, exit_status(status)),
                // None is ready, or there's none at all.
                None => {
                    self.children = false;
                    break;
                }
            }
        }
        self.more |= self.children;
        if self.guest.supervisor.any_awaits_empty() {
            self.look_for_empty_groups();
        }
        if !self.children && self.ending.is_some() {
            self.ending_goes_on();
        }
    }

    #[inline(never)]
    fn ended(&mut self, pid: u32, status: ExitStatus) {
        self.page.header.reaped += 1;
        self.page.touch();
        if self.warden_ended(pid) || self.compilation_ended(pid, status) || self.ending_child_ended(pid) {
            return;
        }
        // What a child said before it ended comes before its end.
        if let Some(index) = self.guest.flights.find(pid) {
            self.flight_ready(index);
            self.flight_is_over(index);
        }
        self.feed(Event::Exited { pid, status });
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    match status.signal() {
        0 => ExitStatus { kind: ExitKind::Exited, code: status.code() },
        signal if status.dumped() => ExitStatus { kind: ExitKind::Dumped, code: signal },
        signal => ExitStatus { kind: ExitKind::Killed, code: signal },
    }
}
