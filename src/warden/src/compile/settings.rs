//! Settings that the start of a unit reads: from a directive to the plan's normalised text.
//!
//! Pure. A rule says under which key a directive is kept and what form its value has; the rules of most
//! directives stand in tables beside the section that they belong to, or in `units/directives.tsv`.

use super::directive::{Directive, normal_path};
use super::value;
use hostel_plan::SettingKey;

/// The settings of a unit.
pub type Settings = Vec<(SettingKey, String)>;

/// Form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One text, specifiers resolved.
    Text,
    /// One absolute path.
    Path,
    /// Words; each is a setting, and assignments add up.
    List,
    /// Absolute paths, each with `-` and `+` in front where wanted; assignments add up.
    PathList,
    /// One text; assignments add up.
    TextList,
    /// A boolean as `0` or `1`, or one of these words.
    BooleanOr(&'static str),
    /// One of these words, or a number within these bounds where there are some.
    OneOf(&'static str, Option<(u64, u64)>),
    /// As `List`, and a `~` in front of the first stands for all.
    InvertibleList,
    /// A boolean as `0` or `1`, or as `InvertibleList`.
    BooleanOrList,
    /// A boolean, kept as `1` where it is true.
    On,
    /// A boolean, kept as `0` where it is false.
    Off,
    /// A boolean as `0` or `1`, or some other word.
    BooleanOrText,
    /// An octal mode.
    Mode,
    /// A whole number.
    Number,
    /// Bytes.
    Size,
    /// Bytes, of which none at all would leave nothing to run with.
    SizeNot0,
    /// A time span, kept in microseconds.
    Usec,
    /// A level of syslog(3), kept as its number.
    LogLevel,
    /// A facility of syslog(3), kept as its number.
    LogFacility,
}

/// Where a value is kept: under a key of its own, or as `Directive=value` under one for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// The key.
    pub key: SettingKey,
    /// The directive, where the key is for many.
    pub label: Option<&'a str>,
}

impl Slot<'_> {
    /// A key of its own.
    pub fn own(key: SettingKey) -> Slot<'static> {
        Slot { key, label: None }
    }

    fn holds(&self, (key, value): &(SettingKey, String)) -> bool {
        *key == self.key
            && self.label.is_none_or(|label| value.strip_prefix(label).is_some_and(|v| v.starts_with('=')))
    }

    /// Forgets earlier values.
    pub fn clear(&self, settings: &mut Settings) {
        settings.retain(|setting| !self.holds(setting));
    }

    /// Adds a value.
    pub fn push(&self, settings: &mut Settings, value: &str) {
        let value = match self.label {
            Some(label) => format!("{label}={value}"),
            None => value.to_owned(),
        };
        settings.push((self.key, value));
    }

    /// Puts a value in place of earlier ones.
    pub fn set(&self, settings: &mut Settings, value: &str) {
        self.clear(settings);
        self.push(settings, value);
    }
}

/// Directives of one section that are kept under a key of their own.
pub type Table = [(&'static str, SettingKey, Form)];

/// Takes a directive that the table has. False where it has not.
pub fn store_by(table: &Table, d: &mut Directive<'_>, settings: &mut Settings) -> bool {
    match table.iter().find(|(name, ..)| *name == d.key) {
        Some((_, key, form)) => {
            store(d, settings, Slot::own(*key), *form);
            true
        }
        None => false,
    }
}

/// The last value of a key.
pub fn last(settings: &Settings, key: SettingKey) -> Option<&str> {
    settings.iter().rev().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
}

/// Takes a directive into the settings.
pub fn store(d: &mut Directive<'_>, settings: &mut Settings, slot: Slot<'_>, form: Form) {
    // What is a boolean, a mode or a span can't be empty.
    let never_empty = matches!(form, Form::On | Form::Off | Form::BooleanOr(_) | Form::Mode | Form::Usec);
    if d.is_reset() && !never_empty {
        return slot.clear(settings);
    }
    let one = match form {
        Form::PathList => {
            for path in d.marked_paths() {
                slot.push(settings, &path);
            }
            return;
        }
        Form::BooleanOr(words) => match value::parse_bool(d.value) {
            Some(on) => Some(if on { "1" } else { "0" }.to_owned()),
            None => d.choice(
                |text| is_one_of(words, text),
                "write a boolean or one of its words: see systemd.exec(5)",
            ),
        },
        Form::OneOf(words, range) => d.choice(
            |text| is_one_of(words, text).or_else(|| is_within(range, text)),
            "write one of the values that the manual names",
        ),
        Form::List => return add_all(d.words(), slot, settings),
        Form::BooleanOrList => match value::parse_bool(d.value) {
            Some(on) => Some(if on { "1" } else { "0" }.to_owned()),
            None => return add_all(inverted(d), slot, settings),
        },
        Form::InvertibleList => return add_all(inverted(d), slot, settings),
        Form::On | Form::Off => {
            let Some(on) = d.boolean() else { return };
            slot.clear(settings);
            if on == (form == Form::On) {
                slot.push(settings, if on { "1" } else { "0" });
            }
            return;
        }
        Form::TextList => {
            if let Some(text) = d.text() {
                slot.push(settings, &text);
            }
            return;
        }
        Form::Text => d.text(),
        Form::Path => d.path(),
        Form::BooleanOrText => match value::parse_bool(d.value) {
            Some(on) => Some(if on { "1" } else { "0" }.to_owned()),
            None => d.text(),
        },
        Form::Mode => d.mode(),
        Form::Number => d.number::<i64>().map(|n| n.to_string()),
        Form::SizeNot0 => d.choice(
            |text| size(text).filter(|size| size != "0" && size != "0%"),
            "write a size above 0, as in 512M, or a percentage",
        ),
        Form::Size => d.choice(size, "write a size, as in 512M, or a percentage"),
        Form::Usec => d.usec().map(amount),
        Form::LogLevel => {
            d.choice(|text| log_code(value::LOG_LEVELS, text), "write a level of syslog(3), as in warning")
        }
        Form::LogFacility => d.choice(
            |text| log_code(value::LOG_FACILITIES, text),
            "write a facility of syslog(3), as in daemon",
        ),
    };
    if let Some(value) = one {
        slot.set(settings, &value);
    }
}

fn is_one_of(words: &str, text: &str) -> Option<String> {
    words.split(' ').any(|word| word == text).then(|| text.to_owned())
}

fn is_within(range: Option<(u64, u64)>, text: &str) -> Option<String> {
    let (from, to) = range?;
    text.parse::<u64>().ok().filter(|number| (from..=to).contains(number)).map(|number| number.to_string())
}

fn add_all(words: Vec<String>, slot: Slot<'_>, settings: &mut Settings) {
    for word in words {
        let bare = word.trim_start_matches(['-', '+']);
        match bare.starts_with('/') {
            true => {
                let prefix = &word[..word.len() - bare.len()];
                slot.push(settings, &format!("{prefix}{}", normal_path(bare)));
            }
            false => slot.push(settings, &word),
        }
    }
}

/// The words of a list, each with the `~` that stands before the first.
pub fn inverted(d: &mut Directive<'_>) -> Vec<String> {
    let mut words = d.words();
    let invert = words.first().is_some_and(|word| word.starts_with('~'));
    if invert {
        for word in &mut words {
            *word = format!("~{}", word.trim_start_matches('~'));
        }
        words.retain(|word| word != "~");
    }
    words
}

/// A size in bytes, `infinity`, or a percentage.
fn size(text: &str) -> Option<String> {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse::<u32>().ok().map(|_| text.to_owned()),
        None => value::parse_size(text).map(amount),
    }
}

/// Index of a name, or a number that is one.
fn log_code(names: &[&str], text: &str) -> Option<String> {
    let number =
        text.parse().ok().filter(|&number: &usize| number < names.len() && !names[number].is_empty());
    number.or_else(|| names.iter().position(|name| *name == text)).map(|number| number.to_string())
}

/// A number or `infinity`.
pub fn amount(number: u64) -> String {
    if number == u64::MAX { "infinity".to_owned() } else { number.to_string() }
}
