//! Section [Path]: systemd.path(5). The watching is done by `warden serve`.

use super::directive::Directive;
use super::draft::Draft;
use super::notes::Notes;
use super::settings::{Form, Slot, store};
use hostel_plan::SettingKey;

const WATCHES: &[&str] =
    &["PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty"];

/// Takes a directive. False where it is none of this section.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if WATCHES.contains(&d.key) {
        if d.is_reset() {
            Slot::own(SettingKey::PathWatch).clear(draft.settings());
        } else if let Some(path) = d.path() {
            draft.mounts_for.push(path.clone());
            let text = format!("{}={path}", d.key);
            draft.settings().push((SettingKey::PathWatch, text));
        }
        return true;
    }
    match d.key {
        "Unit" => draft.triggers = d.unit_name(d.value).or_else(|| draft.triggers.take()),
        "MakeDirectory" => {
            let slot = Slot { key: SettingKey::PathWatch, label: Some("MakeDirectory") };
            store(d, draft.settings(), slot, Form::On);
        }
        "DirectoryMode" => store(d, draft.settings(), Slot::own(SettingKey::DirectoryMode), Form::Mode),
        _ => return false,
    }
    true
}

/// Which unit it starts, and what systemd refuses.
pub fn finish(draft: &mut Draft, notes: &mut Notes) {
    if draft.bad {
        return;
    }
    let watches = |(key, value): &(SettingKey, String)| {
        *key == SettingKey::PathWatch && !value.starts_with("MakeDirectory=")
    };
    if !draft.model.settings.iter().any(watches) {
        return draft.refuse(
            "Path unit lacks a path setting (PathExists=, PathChanged=, ...)",
            "add one",
            notes,
        );
    }
    super::timer::trigger(draft);
}
