//! Arguments of the commands about guests' files: copies, snapshots, what is shared.

use super::seconds;
use crate::config::Change;
use crate::name::GuestName;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `clone`.
#[derive(Args, Debug)]
pub struct CloneArgs {
    /// The guest that is there
    #[arg(value_name = "FROM")]
    pub from: GuestName,
    /// The guest that is to be
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// Set a key of its configuration, as `hostel set` does
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<Change>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `snapshot`.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// What the snapshot is to be called; without it, those that there are are listed
    #[arg(value_name = "TAG")]
    pub tag: Option<GuestName>,
    /// Remove the snapshot of that name
    #[arg(long, requires = "tag")]
    pub remove: bool,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rollback`.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// The guest, which must not run
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// The snapshot
    #[arg(value_name = "TAG")]
    pub tag: GuestName,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// The archive; `-` is standard output. .gz, .xz, .bz2 and .zst say how to compress it. `oci:FOLDER[:TAG]`: a new folder,
    /// an image in the layout of the Open Container Initiative
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `unify`.
#[derive(Args, Debug)]
pub struct UnifyArgs {
    /// The guests [default: all]
    #[arg(value_name = "NAME")]
    pub guests: Vec<GuestName>,
    /// A list of patterns, one a line, of paths that stay each guest's own (`+` before it: that are shared); the first that
    /// matches counts [default: /etc/hostel/unify-exclude, where it is]
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<PathBuf>,
    /// How long to wait for a guest that another command works on, in seconds
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Duration,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `du`.
#[derive(Args, Debug)]
pub struct DuArgs {
    /// The guests [default: all]
    #[arg(value_name = "NAME")]
    pub guests: Vec<GuestName>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `fsck`.
#[derive(Args, Debug)]
pub struct FsckArgs {
    /// Remove what nobody needs, and what a killed command has left half done
    #[arg(long)]
    pub repair: bool,
    /// Also read every shared content, and compare it with its name
    #[arg(long)]
    pub contents: bool,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}
