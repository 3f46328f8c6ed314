//! `import`: a guest of util-vserver's becomes one of ours. Its root is used where it is.

use crate::cli::{CreateArgs, ImportArgs};
use crate::command::create::create;
use crate::command::{print, print_json};
use crate::config::Change;
use crate::error::{Doing, Error, Result, exit};
use crate::name::GuestName;
use crate::places::Places;
use crate::source::Source;
use crate::vserver::import::{Files, Host, translate};
use serde::Serialize;
use std::fs;

/// What `import --json` prints.
#[derive(Serialize)]
struct Facts<'a> {
    name: &'a GuestName,
    root: &'a std::path::Path,
    carried: Vec<Carried>,
    left: Vec<Left>,
}

/// What has become a key.
#[derive(Serialize)]
struct Carried {
    file: String,
    change: String,
}

/// What has not.
#[derive(Serialize)]
struct Left {
    file: String,
    why: String,
}

/// `hostel import`.
pub fn import(places: &Places, args: &ImportArgs) -> Result<u8> {
    let files = Files::read(&args.folder).on("reading", &args.folder)?;
    let own = fs::canonicalize(&args.folder).on("finding", &args.folder)?;
    let folder_name = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let called = files.line("name").unwrap_or(&folder_name).to_owned();
    let name: GuestName = match &args.guest {
        Some(name) => name.clone(),
        None => called.parse()?,
    };
    let vdir = args.folder.join("vdir");
    let vdir = match fs::symlink_metadata(&vdir) {
        Ok(_) => Some(fs::canonicalize(&vdir).on("following", &vdir)?),
        Err(_) => None,
    };
    let outcome = translate(&files, &called, vdir, &Host::this());
    let (mut set, mut carried, mut left): (Vec<Change>, Vec<Carried>, Vec<Left>) = Default::default();
    for (file, change) in outcome.carried {
        match change.parse() {
            Ok(parsed) => {
                set.push(parsed);
                carried.push(Carried { file, change });
            }
            Err(error) => left.push(Left { file, why: Error::to_string(&error) }),
        }
    }
    left.extend(outcome.left.into_iter().map(|(file, why)| Left { file, why }));
    if !args.check {
        create(places, &CreateArgs::of(name.clone(), Source::Dir(outcome.root.clone()), set))?;
    }
    if args.json {
        print_json(&Facts { name: &name, root: &outcome.root, carried, left })?;
        return Ok(exit::OK);
    }
    print(&format!("root: {}\n", outcome.root.display()));
    carried.iter().for_each(|Carried { file, change }| print(&format!("carried  {file}: {change}\n")));
    left.iter().for_each(|Left { file, why }| print(&format!("left     {file}: {why}\n")));
    Ok(exit::OK)
}
