//! Processes that ended: our own children and every orphan of the guest. Bounded in one round; 10,000 at once take a
//! few rounds.

use super::System;
use hostel_supervisor::{Event, ExitKind, ExitStatus};
use rustix::process::{WaitOptions, WaitStatus};

/// Processes reaped in one round.
const REAPED_MAX: usize = 1024;

impl System {
    pub(super) fn reap(&mut self) {
        for _ in 0..REAPED_MAX {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.ended(pid.as_raw_nonzero().get() as u32, exit_status(status)),
                // None is ready, or there's none at all.
                Ok(None) | Err(_) => {
                    self.children = false;
                    break;
                }
            }
        }
        self.more |= self.children;
        if self.guest.as_ref().is_some_and(|g| g.supervisor.any_awaits_empty()) {
            self.look_for_empty_groups();
        }
        if !self.children && self.ending.is_some() {
            self.ending_goes_on();
        }
    }

    fn ended(&mut self, pid: u32, status: ExitStatus) {
        self.page.header.reaped += 1;
        self.page.touch();
        if self.warden_ended(pid) || self.compilation_ended(pid, status) || self.ending_child_ended(pid) {
            return;
        }
        // What a child said before it ended comes before its end.
        let flight = self.guest.as_ref().and_then(|g| g.flights.find(pid));
        if let Some(index) = flight {
            self.flight_ready(index);
            self.flight_is_over(index);
        }
        self.feed(Event::Exited { pid, status });
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    const CORE_DUMPED: i32 = 0x80;
    match status.terminating_signal() {
        Some(signal) => {
            let kind = if status.as_raw() & CORE_DUMPED != 0 { ExitKind::Dumped } else { ExitKind::Killed };
            ExitStatus { kind, code: signal as u8 }
        }
        None => ExitStatus { kind: ExitKind::Exited, code: status.exit_status().unwrap_or(0) as u8 },
    }
}
