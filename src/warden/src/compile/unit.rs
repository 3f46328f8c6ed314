//! Section [Unit]: systemd.unit(5).

use super::directive::Directive;
use super::draft::Draft;
use super::name::simplify_path;
use super::policy;
use super::settings::Slot;
use hostel_plan::{EdgeKind, SettingKey, unit_flags};

/// Directives that name other units. A dependency can't be taken back by an empty assignment.
const DEPENDENCIES: &[(&str, EdgeKind)] = &[
    ("Requires", EdgeKind::Requires),
    ("RequiresOverridable", EdgeKind::Requires),
    ("Requisite", EdgeKind::Requisite),
    ("RequisiteOverridable", EdgeKind::Requisite),
    ("Wants", EdgeKind::Wants),
    ("Upholds", EdgeKind::Upholds),
    ("BindsTo", EdgeKind::BindsTo),
    ("BindTo", EdgeKind::BindsTo),
    ("PartOf", EdgeKind::PartOf),
    ("Conflicts", EdgeKind::Conflicts),
    ("Before", EdgeKind::Before),
    ("After", EdgeKind::After),
    ("OnFailure", EdgeKind::OnFailure),
    ("OnSuccess", EdgeKind::OnSuccess),
    ("PropagatesReloadTo", EdgeKind::PropagatesReloadTo),
    ("PropagateReloadTo", EdgeKind::PropagatesReloadTo),
    ("ReloadPropagatedFrom", EdgeKind::ReloadPropagatedFrom),
    ("PropagateReloadFrom", EdgeKind::ReloadPropagatedFrom),
    // A stop that is propagated is half of what PartOf= says; the other half is restarts.
    ("StopPropagatedFrom", EdgeKind::PartOf),
    ("PropagatesStopTo", EdgeKind::ConsistsOf),
];

/// What Condition… and Assert… can ask for.
const QUESTIONS: &[&str] = &[
    "ACPower",
    "Architecture",
    "CPUFeature",
    "CPUPressure",
    "CPUs",
    "Capability",
    "ControlGroupController",
    "Credential",
    "DirectoryNotEmpty",
    "Environment",
    "FileIsExecutable",
    "FileNotEmpty",
    "Firmware",
    "FirstBoot",
    "Group",
    "Host",
    "IOPressure",
    "KernelCommandLine",
    "KernelModuleLoaded",
    "KernelVersion",
    "Memory",
    "MemoryPressure",
    "NeedsUpdate",
    "OSRelease",
    "PathExists",
    "PathExistsGlob",
    "PathIsDirectory",
    "PathIsEncrypted",
    "PathIsMountPoint",
    "PathIsReadWrite",
    "PathIsSocket",
    "PathIsSymbolicLink",
    "Security",
    "User",
    "Version",
    "Virtualization",
];

/// Directives that are a flag of the unit.
const FLAGS: &[(&str, u32)] = &[
    ("RefuseManualStart", unit_flags::REFUSE_MANUAL_START),
    ("RefuseManualStop", unit_flags::REFUSE_MANUAL_STOP),
    ("StopWhenUnneeded", unit_flags::STOP_WHEN_UNNEEDED),
    ("IgnoreOnIsolate", unit_flags::IGNORE_ON_ISOLATE),
];

/// Takes a directive. False where it is none of this section.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if let Some((_, kind)) = DEPENDENCIES.iter().find(|(key, _)| *key == d.key) {
        for other in d.units() {
            // Asked for this kind alone, of which there are few: it is a look through the whole table.
            let is_skipped = *kind == EdgeKind::OnFailure
                && policy::skip_reason(&format!("OnFailure={}", other.full())).is_some();
            if !is_skipped {
                draft.edge(*kind, &other);
            }
        }
        return true;
    }
    if let Some((_, flag)) = FLAGS.iter().find(|(key, _)| *key == d.key) {
        let on = d.boolean();
        draft.flag(*flag, on);
        return true;
    }
    if let Some(question) = d.key.strip_prefix("Condition").or_else(|| d.key.strip_prefix("Assert")) {
        return condition(draft, d, question);
    }
    match d.key {
        "Description" => {
            let slot = Slot::own(SettingKey::Description);
            match d.text() {
                Some(text) if !text.is_empty() => slot.set(draft.settings(), &text),
                Some(_) => slot.clear(draft.settings()),
                None => {}
            }
        }
        // For readers, who find it in the file.
        "Documentation" | "SourcePath" => {}
        // The same: the plan has whom it concerns in IgnoreOnIsolate=.
        "AllowIsolate" => drop(d.boolean()),
        "DefaultDependencies" => {
            draft.default_dependencies = d.boolean().unwrap_or(draft.default_dependencies)
        }
        "RequiresMountsFor" => draft.mounts_for.extend(d.paths()),
        "WantsMountsFor" => draft.wants_mounts_for.extend(d.paths()),
        "JobTimeoutSec" | "JobRunningTimeoutSec" => {
            draft.model.job_timeout_ms = d.timeout().unwrap_or(draft.model.job_timeout_ms);
        }
        _ => return super::action::take(draft, d) || start_limit(draft, d),
    }
    true
}

/// StartLimit…, which old units have in [Service].
pub fn start_limit(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    match d.key {
        "StartLimitIntervalSec" | "StartLimitInterval" => {
            draft.model.start_limit_interval_ms = d.millis().unwrap_or(draft.model.start_limit_interval_ms);
        }
        "StartLimitBurst" => {
            draft.model.start_limit_burst = d.number().unwrap_or(draft.model.start_limit_burst)
        }
        _ => return false,
    }
    true
}

/// A condition or an assertion: `ConditionPathExists:!/path`. Evaluated at the start, never here.
fn condition(draft: &mut Draft, d: &mut Directive<'_>, question: &str) -> bool {
    let group = &d.key[..d.key.len() - question.len()];
    if d.is_reset() && (QUESTIONS.contains(&question) || question == "Null") {
        // One empty assignment takes all of its group back, whatever they ask (systemd.unit(5)).
        draft.settings().retain(|(key, value)| *key != SettingKey::Condition || !value.starts_with(group));
        return true;
    }
    if !QUESTIONS.contains(&question) {
        return false;
    }
    let (trigger, rest) = strip(d.value, '|');
    let (negate, rest) = strip(rest, '!');
    let Some(mut asked) = d.resolve(rest) else { return true };
    let of_path =
        question.starts_with("Path") || question.starts_with("File") || question == "DirectoryNotEmpty";
    if of_path && !asked.starts_with('/') {
        d.invalid("write an absolute path");
        return true;
    }
    if of_path {
        asked = simplify_path(&asked);
    }
    let trigger = if trigger { "|" } else { "" };
    let negate = if negate { "!" } else { "" };
    let text = format!("{}:{trigger}{negate}{asked}", d.key);
    draft.settings().push((SettingKey::Condition, text));
    true
}

fn strip(text: &str, mark: char) -> (bool, &str) {
    match text.strip_prefix(mark) {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}
