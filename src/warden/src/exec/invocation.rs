//! The id of this life of the unit ($INVOCATION_ID), where systemd's programs look for it: a symbolic link
//! `invocation:UNIT` that says it, in the folder that is made at boot.

use super::job::Job;
use hostel_contract::paths;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Says which life this is. Where it can't be said, nobody but a reader of the journal misses it.
pub fn publish(job: &Job<'_>) {
    let id: String = job.request.invocation.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = Path::new(paths::INVOCATIONS);
    let (link, part) = (
        folder.join(format!("invocation:{}", job.unit.name())),
        folder.join(format!(".{}.{}", job.unit.name(), std::process::id())),
    );
    if symlink(&id, &part).is_ok() && fs::rename(&part, &link).is_err() {
        let _ = fs::remove_file(&part);
    }
}
