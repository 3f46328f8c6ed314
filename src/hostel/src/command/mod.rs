//! What each command does, a file each. A command returns the status that the tool exits with.

pub mod boot;
pub mod check;
pub mod clone;
pub mod create;
pub mod du;
pub mod enter;
pub mod export;
pub mod fleet;
pub mod freeze;
pub mod fsck;
pub mod import;
pub mod list;
pub mod logs;
pub mod run;
pub mod set;
pub mod start;
pub mod status;
pub mod stop;
pub mod unify;
pub mod usage;

use crate::error::{Error, Result};
use serde::Serialize;
use std::time::Duration;

/// Prints facts as JSON on standard output.
pub fn print_json(facts: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(facts).map_err(|e| Error::Invalid(format!("writing JSON: {e}")))?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Prints on standard output. A reader that has gone away is no failure of ours.
pub fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Asks a question on standard error; yes is `y` or `yes` from standard input.
pub fn confirmed(question: &str) -> bool {
    let mut answer = String::new();
    eprint!("{question}");
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A time span for people.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_time_spans_when_printed_then_the_unit_fits() {
        let spans = [(0.513, "0.51 s"), (75.0, "75 s"), (600.0, "10 min"), (7200.0, "2 h"), (1e6, "11 days")];
        for (seconds, text) in spans {
            assert_eq!(span(Duration::from_secs_f64(seconds)), text);
        }
    }
}
