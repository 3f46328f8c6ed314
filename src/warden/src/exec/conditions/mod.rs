//! Conditions and assertions (systemd.unit(5)): whether a unit is to be started, asked at the moment of the start.
//!
//! Each is `ConditionKIND:[|][!]VALUE` or `AssertKIND:...`. All plain ones must hold; of the triggering ones (`|`), where
//! there are any, one must. Conditions and assertions are judged apart: a condition that is false makes a start that
//! ends well with nothing started; an assertion that is false makes it fail.

mod compare;
pub mod files;
pub mod machine;

use super::job::{Job, is_yes};
use super::users;
use hostel_plan::SettingKey;

/// What a condition asks about. What can't be asked in a guest has an answer of its own, said in its arm.
fn ask(kind: &str, value: &str) -> Option<bool> {
    Some(match kind {
        "PathExists" => files::exists(value),
        "PathExistsGlob" => files::exists_glob(value),
        "PathIsDirectory" => files::is_directory(value),
        "PathIsSymbolicLink" => files::is_link(value),
        "PathIsMountPoint" => files::is_mount_point(value),
        "PathIsReadWrite" => files::is_writable(value),
        "PathIsSocket" => files::is_socket(value),
        // Encryption of a block device: the host's matter.
        "PathIsEncrypted" => false,
        "DirectoryNotEmpty" => files::directory_has_entries(value),
        "FileNotEmpty" => files::file_has_content(value),
        "FileIsExecutable" => files::is_executable(value),
        "NeedsUpdate" => files::needs_update(value),
        "FirstBoot" => files::exists("/run/systemd/first-boot") == is_yes(value),
        "Host" => machine::is_host(value),
        "KernelCommandLine" => machine::has_argument(value),
        "KernelVersion" | "Version" => machine::is_version(value),
        "KernelModuleLoaded" => files::exists(&format!("/sys/module/{}", value.replace('-', "_"))),
        "Virtualization" => machine::is_virtualization(value),
        "Security" => machine::has_security(value),
        "Capability" => machine::has_capability(value),
        "ACPower" => machine::on_ac_power() == is_yes(value),
        "Architecture" => machine::is_architecture(value),
        "Firmware" => machine::is_firmware(value),
        "CPUFeature" => machine::has_cpu_feature(value),
        "CPUs" => compare::number(value, machine::cpus()),
        "Memory" => compare::number(value, machine::memory()),
        // Pressure is judged by the host for all its guests: as where the kernel has no such figures.
        "MemoryPressure" | "CPUPressure" | "IOPressure" => true,
        "ControlGroupController" => machine::has_controllers(value),
        "Environment" => machine::has_environment(value),
        "OSRelease" => machine::is_release(value),
        // Of no unit's file: units/conditions.tsv.
        "Users" => users::only_user().is_none() == is_yes(value),
        "User" => machine::is_user(value),
        "Group" => machine::is_group(value),
        // Credentials come with the next stage; as systemd without any.
        "Credential" => files::exists(&format!("/run/credentials/@system/{value}")),
        "Null" => is_yes(value),
        _ => return None,
    })
}

/// One condition or assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition<'a> {
    /// Whether it is an assertion.
    pub assertion: bool,
    kind: &'a str,
    triggers: bool,
    negated: bool,
    value: &'a str,
}

impl<'a> Condition<'a> {
    /// Reads a setting of the plan; `None` where it has no colon.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (name, value) = text.split_once(':')?;
        let (assertion, kind) = match name.strip_prefix("Assert") {
            Some(kind) => (true, kind),
            None => (false, name.strip_prefix("Condition").unwrap_or(name)),
        };
        let bare = value.trim_start_matches(['|', '!']);
        let marks = &value[..value.len() - bare.len()];
        Some(Condition {
            assertion,
            kind,
            triggers: marks.contains('|'),
            negated: marks.contains('!'),
            value: bare.trim(),
        })
    }

    /// Whether it holds. What nobody knows holds, as a directive that systemd doesn't know is ignored.
    fn holds(&self) -> bool {
        ask(self.kind, self.value).is_none_or(|answer| answer != self.negated)
    }
}

impl std::fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let group = if self.assertion { "Assert" } else { "Condition" };
        let trigger = if self.triggers { "|" } else { "" };
        let negation = if self.negated { "!" } else { "" };
        write!(f, "{group}{}={trigger}{negation}{}", self.kind, self.value)
    }
}

/// How the judgement came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The unit is to be started.
    Start,
    /// This condition is false.
    ConditionFalse(String),
    /// This assertion is false.
    AssertFailed(String),
}

/// Judges all conditions, then all assertions, of a unit.
pub fn judge(job: &Job<'_>) -> Judgement {
    let all = || job.unit.settings_of(SettingKey::Condition).filter_map(Condition::parse);
    if let Some(text) = first_false(all().filter(|condition| !condition.assertion), Condition::holds) {
        return Judgement::ConditionFalse(text);
    }
    if let Some(text) = first_false(all().filter(|condition| condition.assertion), Condition::holds) {
        return Judgement::AssertFailed(text);
    }
    Judgement::Start
}

/// The one that decides against: a plain one that is false, or the last of the triggering ones where none holds.
fn first_false<'a>(
    conditions: impl Iterator<Item = Condition<'a>>,
    holds: impl Fn(&Condition<'a>) -> bool,
) -> Option<String> {
    let mut triggered = false;
    let mut untriggered = None;
    for condition in conditions {
        if condition.triggers {
            triggered = triggered || holds(&condition);
            untriggered = Some(condition);
        } else if !holds(&condition) {
            return Some(condition.to_string());
        }
    }
    untriggered.filter(|_| !triggered).map(|condition| condition.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges by the value alone: `yes` holds.
    fn judged(texts: &[&str]) -> Option<String> {
        first_false(texts.iter().filter_map(|text| Condition::parse(text)), |condition| {
            (condition.value == "yes") != condition.negated
        })
    }

    #[test]
    fn given_plain_conditions_when_one_is_false_then_it_decides() {
        assert_eq!(judged(&["ConditionX:yes", "ConditionY:yes"]), None);
        assert_eq!(judged(&["ConditionX:yes", "ConditionY:no"]).unwrap(), "ConditionY=no");
        assert_eq!(judged(&["ConditionX:!no"]), None);
        assert_eq!(judged(&[]), None);
    }

    #[test]
    fn given_triggering_conditions_when_one_holds_then_that_is_enough() {
        assert_eq!(judged(&["ConditionX:|no", "ConditionY:|yes"]), None);
        assert_eq!(judged(&["ConditionX:|no", "ConditionY:|!yes"]).unwrap(), "ConditionY=|!yes");
        assert!(judged(&["ConditionX:|yes", "ConditionY:no"]).is_some());
    }

    #[test]
    fn given_a_setting_when_parsed_then_its_parts_are_known() {
        let condition = Condition::parse("AssertPathExists:|!/etc/x:y").unwrap();
        assert!(condition.assertion && condition.triggers && condition.negated);
        assert_eq!((condition.kind, condition.value), ("PathExists", "/etc/x:y"));
        assert_eq!(Condition::parse("nothing"), None);
    }

    #[test]
    fn given_every_kind_of_systemd_unit_when_asked_then_it_is_known() {
        let kinds = "PathExists PathExistsGlob PathIsDirectory PathIsSymbolicLink PathIsMountPoint PathIsReadWrite \
            PathIsEncrypted DirectoryNotEmpty FileNotEmpty FileIsExecutable User Group Host KernelCommandLine \
            KernelVersion KernelModuleLoaded Virtualization Security Capability ACPower NeedsUpdate FirstBoot \
            ControlGroupController Environment Memory CPUs Architecture OSRelease CPUFeature Firmware Credential \
            MemoryPressure CPUPressure IOPressure PathIsSocket Null";
        for kind in kinds.split_whitespace() {
            assert!(ask(kind, "1").is_some(), "{kind}");
        }
        for (condition, value) in crate::compile::policy::conditions("systemd-logind.service") {
            let text = format!("{condition}:{value}");
            assert!(Condition::parse(&text).is_some_and(|own| ask(own.kind, own.value).is_some()), "{text}");
        }
        assert_eq!(ask("Odd", "1"), None);
    }
}
