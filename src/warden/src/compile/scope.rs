//! Section [Scope]: systemd.scope(5). A group of processes that others started.
//!
//! Pure. To init it is a service that forks and whose main process nobody knows: it is up once its one command has
//! ended, and lives as long as its cgroup has processes. That command is `warden exec`'s own, which takes the
//! processes in (`exec/adopt.rs`); no program is run.

use super::directive::Directive;
use super::draft::Draft;
use super::notes::Notes;
use crate::transient;
use hostel_plan::model::CommandModel;
use hostel_plan::{Phase, ServiceType, unit_flags};

/// What stands in the plan for the taking in.
const COMMAND: &str = "(adopt)";

/// Takes a directive. False where it is none of this section alone.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    match d.key {
        "RuntimeMaxSec" => {
            draft.model.runtime_max_ms = d.millis().map_or(draft.model.runtime_max_ms, |ms| ms.max(1));
        }
        "TimeoutStopSec" => draft.model.stop_timeout_ms = d.timeout().unwrap_or(draft.model.stop_timeout_ms),
        _ => return false,
    }
    true
}

/// What makes it a unit that init understands.
pub fn finish(draft: &mut Draft, notes: &mut Notes) {
    if draft.model.source.rsplit_once('/').is_none_or(|(folder, _)| folder != transient::FOLDER) {
        return draft.refuse(
            "Scope units can only be transient",
            "remove the file, and start the processes by systemd-run --scope",
            notes,
        );
    }
    draft.model.service_type = ServiceType::Forking;
    draft.flag(unit_flags::GUESS_MAIN_PID, Some(false));
    let adopt = CommandModel { flags: 0, path: COMMAND.to_owned(), argv: vec![COMMAND.to_owned()] };
    draft.model.commands.push((Phase::Start, adopt));
}
