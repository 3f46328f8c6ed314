//! Where the programs that run inside guests, and the keeper, are.

use crate::error::{Doing, Error, Result};
use std::path::{Path, PathBuf};

/// Folder of an installed Hostel. Not that of the package for guests: a machine may have both.
const INSTALLED: &str = "/usr/libexec/hostel";

/// What it holds.
const PROGRAMS: [&str; 3] = ["hostel-init", "hostel-warden", hostel_contract::paths::KEEPER];

/// The folder that holds the [`PROGRAMS`]: the given one, else that of the running `hostel`, else
/// [`INSTALLED`].
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    let own = crate::join::own_program()?;
    let beside = own.parent().map(Path::to_path_buf);
    let candidates: Vec<PathBuf> = match given {
        Some(given) => vec![given.to_path_buf()],
        None => beside.into_iter().chain([PathBuf::from(INSTALLED)]).collect(),
    };
    let complete = |folder: &&PathBuf| PROGRAMS.iter().all(|name| folder.join(name).is_file());
    match candidates.iter().find(complete) {
        Some(folder) => std::path::absolute(folder).on("finding", folder),
        None => {
            let searched: Vec<String> =
                candidates.iter().map(|folder| folder.display().to_string()).collect();
            Err(Error::Invalid(format!(
                "hostel-init, hostel-warden and hostel-keeper aren't together in {}: install them together with \
                 hostel, or name their folder with --programs",
                searched.join(" or ")
            )))
        }
    }
}

/// Text for execve(2): none of ours holds a zero byte.
pub fn c_string(text: impl Into<Vec<u8>>) -> Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|e| {
        Error::Invalid(format!("an argument holds a zero byte: {:?}", String::from_utf8_lossy(&e.into_vec())))
    })
}
