//! How far something has come that takes longer than a second: a line on the terminal, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Who is done sooner has nothing to tell.
const QUIET: Duration = Duration::from_secs(1);

/// A task and how far it has come, in bytes.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: bool,
}

impl Progress {
    /// Of a task that is `what`, as in "copying web"; `total` bytes of it, where that is known.
    pub fn new(what: &str, total: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{prefix}: {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{prefix}: {bytes}, {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        Progress { bar, began: Instant::now(), shown: false }
    }

    /// So much more is done.
    pub fn add(&mut self, bytes: u64) {
        if !self.shown && self.began.elapsed() > QUIET {
            self.shown = true;
            // Draws where standard error is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        self.bar.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
