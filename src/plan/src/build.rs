//! From a model to a plan.
//!
//! SIGNATURES FIXED; bodies to be written by the owner of this crate.

use crate::model::{Model, Note};
use std::string::String;
use std::vec::Vec;

/// A plan, and what a person should know about how it came to be.
pub struct Built {
    /// The plan.
    pub bytes: Vec<u8>,
    /// Ordering cycles that were broken, strong dependencies on units that do not exist, ...
    pub notes: Vec<Note>,
}

/// Why a model can't be a plan (two units of one name, more than fits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub String);

/// Lays out a model.
pub fn build(_model: &Model) -> Result<Built, BuildError> {
    todo!()
}
