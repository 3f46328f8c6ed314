//! `export`: a guest's root as an archive or an image, of which `create --from tar:`, `--from oci:` makes a guest again.

use crate::cli::store::ExportArgs;
use crate::context::root::{RootPlan, Top};
use crate::error::{Doing, Result, exit};
use crate::launch::say;
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::source::export::{Packing, pack};
use crate::source::oci_export;
use crate::store::branch::Shared;
use crate::store::{Guest, Writes, layers};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `hostel export`.
pub fn export(places: &Places, args: &ExportArgs) -> Result<u8> {
    let (name, file) = (&args.guest, &args.file);
    let guest = Guest::require(places, name)?;
    if guest.writes == Writes::Memory {
        say(&format!("guest {name} keeps what it writes in memory: what is exported is the root below"));
    }
    if file == Path::new("-") {
        let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
            .doing(|| "keeping standard output")?;
        of(places, &guest, output, Packing::Archive(file))?;
        return Ok(exit::OK);
    }
    if let Some(image) = file.to_str().and_then(|file| file.strip_prefix("oci:")) {
        oci_export::export(Path::new(image), |to| of(places, &guest, to, Packing::Layer))?;
        return Ok(exit::OK);
    }
    // Whoever finds the file under its name finds it whole.
    let beside = PathBuf::from(format!("{}.part", file.display()));
    let made = (|| {
        let options =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        of(places, &guest, options.on("making", &beside)?.into(), Packing::Archive(file))?;
        fs::File::open(&beside).and_then(|made| made.sync_all()).on("writing out", &beside)?;
        fs::rename(&beside, file).on("renaming", &beside)
    })();
    if made.is_err() {
        let _ = fs::remove_file(&beside);
    }
    made.map(|()| exit::OK)
}

fn of(places: &Places, guest: &Guest, to: OwnedFd, packing: Packing<'_>) -> Result<()> {
    let name: &GuestName = &guest.name;
    if let Life::Up(..) = Life::settled(places, name)? {
        let shared = Shared::of(places, name)?;
        let layers = shared.layers.iter().map(|id| id.tree(places)).chain(shared.root.clone());
        let packed = pack(guest.ids, &RootPlan { lower: layers.collect(), top: Top::Nowhere }, to, packing);
        drop(shared);
        // The copy of what it was writing.
        layers::tidy(places, None);
        return packed;
    }
    let lock = lifecycle::lock_down(places, name)?;
    let packed = Guest::require(places, name).and_then(|guest| {
        pack(guest.ids, &RootPlan { lower: guest.stack(places), top: Top::Nowhere }, to, packing)
    });
    lock.remove()?;
    packed
}
