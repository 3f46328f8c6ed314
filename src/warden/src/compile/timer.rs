//! Section [Timer]: systemd.timer(5). The waiting is done by `warden serve`.

use super::directive::Directive;
use super::draft::Draft;
use super::notes::Notes;
use super::settings::{Form, Table, store_by};
use crate::timer::calendar::Calendar;
use hostel_plan::{EdgeKind, SettingKey};

const MONOTONIC: &[&str] =
    &["OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec"];

const SETTINGS: &Table = &[
    ("Persistent", SettingKey::Persistent, Form::On),
    ("FixedRandomDelay", SettingKey::FixedRandomDelay, Form::On),
    ("RandomizedDelaySec", SettingKey::RandomizedDelay, Form::Usec),
    ("AccuracySec", SettingKey::Accuracy, Form::Usec),
];

/// Takes a directive. False where it is none of this section.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if MONOTONIC.contains(&d.key) {
        if reset(draft, d) {
            return true;
        }
        if let Some(usec) = d.usec() {
            let text = format!("{}={usec}", d.key);
            draft.settings().push((SettingKey::TimerMonotonic, text));
        }
        return true;
    }
    if store_by(SETTINGS, d, draft.settings()) {
        return true;
    }
    match d.key {
        "OnCalendar" => {
            if !reset(draft, d) {
                calendar(draft, d);
            }
        }
        "Unit" => draft.triggers = d.unit_name(d.value).or_else(|| draft.triggers.take()),
        _ => return false,
    }
    true
}

/// An empty assignment takes back every elapse point.
fn reset(draft: &mut Draft, d: &Directive<'_>) -> bool {
    if d.is_reset() {
        draft
            .settings()
            .retain(|(key, _)| !matches!(key, SettingKey::TimerMonotonic | SettingKey::OnCalendar));
    }
    d.is_reset()
}

fn calendar(draft: &mut Draft, d: &mut Directive<'_>) {
    let Some(text) = d.text() else { return };
    match Calendar::parse(&text) {
        // As written: the time zone of the guest and leap days are for the moment at which it is looked at.
        Ok(_) => draft.settings().push((SettingKey::OnCalendar, text)),
        Err(error) => d.warn(format!("{error}, ignoring"), "see systemd.time(7), CALENDAR EVENTS"),
    }
}

/// Which unit it starts, and what systemd refuses.
pub fn finish(draft: &mut Draft, notes: &mut Notes) {
    if draft.bad {
        return;
    }
    let elapses = |key: SettingKey| matches!(key, SettingKey::TimerMonotonic | SettingKey::OnCalendar);
    if !draft.model.settings.iter().any(|(key, _)| elapses(*key)) {
        return draft.refuse(
            "Timer unit lacks a value setting (OnCalendar=, OnBootSec=, ...)",
            "add one",
            notes,
        );
    }
    trigger(draft);
}

/// The edges of a timer or path to the unit that it starts: Unit=, or the service of the same name.
pub fn trigger(draft: &mut Draft) {
    let unit = draft.triggers.clone().or_else(|| draft.name.with_suffix("service"));
    if let Some(unit) = unit {
        draft.edge(EdgeKind::Triggers, &unit);
        draft.edge(EdgeKind::Before, &unit);
    }
}
