//! Where the repository, the built programs and the cache of guests are.
//!
//! Touches the environment only. Nothing here is created by asking for it.

use std::env;
use std::path::{Path, PathBuf};

/// Programs that a build leaves together.
pub const PROGRAMS: [&str; 4] = ["hostel", "hostel-init", "hostel-warden", "hostel-keeper"];

/// Top of the repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Cargo's target folder, as Cargo itself finds it.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => repository().join(folder),
        None => repository().join("target"),
    }
}

/// The folder that `cargo xtask build` leaves the programs in.
pub fn programs() -> PathBuf {
    target().join("hostel")
}

/// One of the [`PROGRAMS`].
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// The folder that `cargo xtask deb` leaves the packages in.
pub fn packages() -> PathBuf {
    programs().join("deb")
}

/// Folder for what is slow to make: `HOSTEL_CACHE`, else `hostel` in the user's cache folder.
pub fn cache() -> PathBuf {
    if let Some(folder) = env::var_os("HOSTEL_CACHE") {
        return PathBuf::from(folder);
    }
    let user = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache"),
    };
    user.join("hostel")
}
