//! A guest's name: what a name may be is decided here, once, so that the rest can put it into paths.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name: it is the guest's host name too, for which Linux has room for 64 bytes.
pub const NAME_MAX: usize = 63;

/// A valid name of a guest: a letter or digit, then letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestName(String);

impl GuestName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GuestName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let goes_well = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if starts_well && goes_well && text.len() <= NAME_MAX {
            Ok(GuestName(text.to_owned()))
        } else {
            Err(Error::Invalid(format!(
                "{text:?} can't be a guest's name: it must begin with a letter or digit and go on with letters, \
                 digits, '.', '_' and '-', {NAME_MAX} at most"
            )))
        }
    }
}

impl TryFrom<String> for GuestName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<GuestName> for String {
    fn from(name: GuestName) -> String {
        name.0
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_letters_digits_and_inner_punctuation_when_parsed_then_it_is_a_name() {
        for name in ["a", "9", "web-1.example_x", &"x".repeat(63)] {
            assert_eq!(name.parse::<GuestName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn given_what_could_leave_a_folder_or_hide_when_parsed_then_it_is_refused_with_the_rule() {
        for name in ["", ".", "..", ".x", "-x", "_x", "a/b", "a b", "a\n", "ä", &"x".repeat(64)] {
            let error = name.parse::<GuestName>().unwrap_err().to_string();
            assert!(error.contains("must begin with a letter or digit"), "{error}");
        }
    }
}
