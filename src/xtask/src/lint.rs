//! `cargo xtask lint`: format and clippy, for the workspace and for `hostel-init`, which is a workspace apart.

use crate::shell::{Done, cargo, no_arguments, show};

/// Cargo's arguments that choose one of the two workspaces.
const WORKSPACES: [&[&str]; 2] = [&[], &["--manifest-path", "src/init/Cargo.toml"]];

/// `cargo xtask lint`.
pub fn task(arguments: &[String]) -> Done {
    no_arguments(arguments)?;
    for workspace in WORKSPACES {
        show(cargo().args(["fmt", "--all", "--check"]).args(workspace))?;
    }
    show(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // No tests here: a no_std program without libc has no test harness of its own target.
    show(
        cargo()
            .args(["clippy", "--quiet", "--release"])
            .args(WORKSPACES[1])
            .arg("--target-dir")
            .arg(hostel_tests::paths::target().join("init"))
            .args(["--", "-D", "warnings"]),
    )
}
