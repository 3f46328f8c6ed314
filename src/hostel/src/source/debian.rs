//! A Debian suite, fetched and put together by mmdebstrap, which writes an archive that is unpacked like any other.

use crate::error::{Doing, Error, Result};
use crate::places::Places;
use crate::source::tar;
use crate::store::Ids;
use crate::store::layers::LayerId;
use std::process::{Command, Stdio};

/// Packages that a guest gets beside mmdebstrap's minimal base: what boots by systemd's units, and a bus.
const PACKAGES: &str = "systemd-sysv,dbus,iproute2,iputils-ping,procps,less";

/// What a suite may be called; it becomes an argument of another program.
pub fn is_suite(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Makes the guest's root, a layer of the store.
pub fn make(places: &Places, ids: Ids, suite: &str, include: Option<&str>) -> Result<LayerId> {
    let packages = [Some(PACKAGES), include].into_iter().flatten().collect::<Vec<_>>().join(",");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--quiet", &format!("--include={packages}"), suite, "-"]);
    mmdebstrap.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = mmdebstrap.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Invalid("mmdebstrap isn't installed: `apt install mmdebstrap` installs it".into())
        }
        _ => Error::call("running mmdebstrap", e),
    })?;
    let unpacked = match child.stdout.take() {
        Some(archive) => tar::unpack(places, ids, archive.into(), &[]),
        None => Err(Error::Invalid("mmdebstrap has no output".into())),
    };
    let status = child.wait().doing(|| "waiting for mmdebstrap")?;
    if !status.success() {
        return Err(Error::Invalid(format!("mmdebstrap couldn't make it ({status}); it has said why above")));
    }
    unpacked
}
