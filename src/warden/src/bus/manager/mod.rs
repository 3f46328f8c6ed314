//! What the manager does: the methods of its interfaces, by subject.

pub mod activation;
mod assign;
mod control;
pub mod ending;
pub mod environment;
mod isolate;
pub mod polkit;
mod query;
mod quote;
mod tables;
pub mod transient;
mod unit_files;
mod units;
mod work;

pub use isolate::isolate;
pub use query::unit_of_process;
pub use tables::{JOB, MANAGER, PROCESSES, SCOPE, UNIT};
