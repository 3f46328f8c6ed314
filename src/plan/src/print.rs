//! A plan as text, for `hostel-warden plan --print` and `--diff`.

use crate::reader::Plan;
use std::string::String;

/// The whole plan, one unit after the other, stable from run to run.
pub fn print(_plan: &Plan<'_>) -> String {
    todo!()
}

/// What differs, unit by unit; empty where nothing does.
pub fn diff(_old: &Plan<'_>, _new: &Plan<'_>) -> String {
    todo!()
}
