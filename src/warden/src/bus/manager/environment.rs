//! The manager's environment: what `systemctl set-environment` and `import-environment` change.
//!
//! What was set is kept in a file on /run, which `warden exec` reads at each start: it outlives this process, and is
//! gone with the guest.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::server::Server;
use crate::exec::environment::{Environment, is_name, of_manager};
use hostel_contract::paths;
use std::path::Path;

/// Bytes of all variables together.
const SIZE_MAX: usize = 128 << 10;

/// `NAME=value` of the manager's environment, sorted.
pub fn list() -> Vec<String> {
    let mut list: Vec<String> =
        of_manager().to_strings().into_iter().filter_map(|text| text.into_string().ok()).collect();
    list.sort();
    list
}

/// SetEnvironment.
pub fn set(_: &mut Server, call: &Call) -> Result<Answer, Failure> {
    change(&[], &call.argument(0).texts())
}

/// UnsetEnvironment.
pub fn unset(_: &mut Server, call: &Call) -> Result<Answer, Failure> {
    change(&call.argument(0).texts(), &[])
}

/// UnsetAndSetEnvironment.
pub fn unset_and_set(_: &mut Server, call: &Call) -> Result<Answer, Failure> {
    change(&call.argument(0).texts(), &call.argument(1).texts())
}

fn change(unset: &[&str], set: &[&str]) -> Result<Answer, Failure> {
    let valid = |text: &&str| is_name(text.split('=').next().unwrap_or("").as_bytes());
    let assigns = |text: &&str| text.contains('=') && valid(text);
    if !unset.iter().all(valid) || !set.iter().all(assigns) {
        let what = if unset.is_empty() { "assignments" } else { "variable names or assignments" };
        return Err(Failure::invalid(format!("Invalid environment {what}")));
    }
    let mut environment = Environment::read_set();
    unset.iter().for_each(|text| environment.unset(text));
    for (key, value) in set.iter().filter_map(|text| text.split_once('=')) {
        environment.set(key, value);
    }
    let bytes: Vec<u8> =
        environment.to_strings().iter().flat_map(|text| text.as_bytes_with_nul()).copied().collect();
    if bytes.len() > SIZE_MAX {
        return Err(Failure::new(name::LIMITS, "The environment would be too large"));
    }
    let path = Path::new(paths::ENVIRONMENT);
    let part = path.with_extension("part");
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path))?;
    Ok(Answer::Now(vec![]))
}
