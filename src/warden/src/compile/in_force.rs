//! The plan in force, in a reload: what of it runs, and which units somebody has asked for by name.
//!
//! A unit is in a plan because it is reached or installed (`load.rs` tells the rule). An instance that nobody wrote down
//! anywhere comes into the plan by a file of its name in [`paths::WANTED`], which whoever starts it makes before a reload;
//! it stays as long as it runs.

use super::CompileError;
use super::name::UnitName;
use crate::page::{self, PlanPage};
use crate::sys;
use hostel_contract::paths;
use hostel_contract::status::StatusRow;
use hostel_plan::Plan;
use hostel_plan::carry::carry_over;
use hostel_plan::model::Model;
use std::fmt::Display;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The plan in force, and its units as init's status page has them.
pub struct InForce {
    plan: Vec<u8>,
    rows: Vec<StatusRow>,
}

fn failed(reason: impl Display) -> CompileError {
    CompileError::InForce(reason.to_string())
}

impl InForce {
    /// Of the plan in an inherited descriptor.
    pub fn read(number: i32) -> Result<InForce, CompileError> {
        let fd = sys::inherited_fd(number)
            .ok_or_else(|| failed(format_args!("descriptor {number} is not open")))?;
        let bytes = page::read_plan(fd.as_fd()).map_err(failed)?;
        let plan = Plan::parse(&bytes).map_err(failed)?;
        let page = PlanPage::new(&plan, PathBuf::from(paths::STATUS));
        let (_, rows) =
            page.read().ok_or_else(|| failed(format_args!("{} has another plan", paths::STATUS)))?;
        Ok(InForce { plan: bytes, rows })
    }

    fn plan(&self) -> Result<Plan<'_>, CompileError> {
        Plan::parse(&self.plan).map_err(failed)
    }

    /// Names of units that belong into the next plan beside those that are reached or installed: what runs, and what
    /// is asked for. What was asked for before, came into the plan and runs no more is asked for no longer.
    pub fn names(&self) -> Vec<UnitName> {
        let mut names = Vec::new();
        let Ok(plan) = self.plan() else { return names };
        let there = |unit: hostel_plan::UnitId| self.rows.get(unit.index()).is_some_and(page::is_there);
        for unit in plan.units().filter(|unit| there(unit.id())) {
            names.extend(UnitName::parse(unit.name()));
        }
        let Ok(wanted) = std::fs::read_dir(paths::WANTED) else { return names };
        for entry in wanted.flatten() {
            let Some(name) = entry.file_name().to_str().and_then(UnitName::parse) else { continue };
            match plan.find(name.full()) {
                Some(unit) if !there(unit.id()) => {
                    // One that can't be removed keeps a unit in the plan, no more.
                    let _ = std::fs::remove_file(Path::new(paths::WANTED).join(name.full()));
                }
                _ => names.push(name),
            }
        }
        names
    }

    /// Adds to a model what must not be forgotten.
    pub fn keep_in(&self, model: &mut Model) -> Result<(), CompileError> {
        let plan = self.plan()?;
        carry_over(model, &plan, &|unit| self.rows.get(unit.index()).is_some_and(page::is_there));
        Ok(())
    }
}
