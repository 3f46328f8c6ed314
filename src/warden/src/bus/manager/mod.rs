//! What the manager does: the methods of its interfaces, by subject.

pub mod activation;
mod ending;
pub mod environment;
mod isolate;
mod query;
mod tables;
mod unit_files;
mod units;
mod work;

pub use tables::{JOB, MANAGER, PROCESSES, UNIT};
