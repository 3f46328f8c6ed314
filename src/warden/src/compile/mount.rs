//! Section [Mount]: systemd.mount(5). A mount is done by the guest's own mount(8) and umount(8).
//!
//! The plan has them as commands, and a condition that nothing is mounted there yet: much of what units and
//! fstab want to mount was made by the spawner.

use super::directive::Directive;
use super::draft::Draft;
use super::name::{escape_path, unescape_path};
use super::notes::Notes;
use super::root::Root;
use super::settings::{Form, Slot, Table, last, store_by};
use hostel_plan::model::CommandModel;
use hostel_plan::{EdgeKind, Phase, SettingKey, unit_flags};

/// File systems that need the network.
const NETWORK_TYPES: &[&str] = &[
    "afs",
    "ceph",
    "cifs",
    "gfs",
    "gfs2",
    "glusterfs",
    "ncp",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "sshfs",
    "fuse.sshfs",
    "smb3",
    "smbfs",
];

const SETTINGS: &Table = &[
    ("What", SettingKey::MountWhat, Form::Text),
    ("Where", SettingKey::MountWhere, Form::Path),
    ("Type", SettingKey::MountType, Form::Text),
    ("Options", SettingKey::MountOptions, Form::Text),
    ("DirectoryMode", SettingKey::DirectoryMode, Form::Mode),
];

/// Takes a directive. False where it is none of this section alone.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if store_by(SETTINGS, d, draft.settings()) {
        return true;
    }
    match d.key {
        "SloppyOptions" => draft.sloppy_options = d.boolean().unwrap_or(draft.sloppy_options),
        "LazyUnmount" => draft.lazy_unmount = d.boolean().unwrap_or(draft.lazy_unmount),
        "ForceUnmount" => draft.force_unmount = d.boolean().unwrap_or(draft.force_unmount),
        "TimeoutSec" => {
            if let Some(timeout) = d.timeout() {
                draft.model.start_timeout_ms = timeout;
                draft.model.stop_timeout_ms = timeout;
            }
        }
        _ => return false,
    }
    true
}

/// Checks, and the dependencies on other paths.
pub fn finish(draft: &mut Draft, notes: &mut Notes) {
    if draft.bad {
        return;
    }
    let settings = &draft.model.settings;
    let (what, place) = (last(settings, SettingKey::MountWhat), last(settings, SettingKey::MountWhere));
    let (Some(what), place) = (what.map(str::to_owned), place.map(str::to_owned)) else {
        return draft.refuse("Mount unit has no What=", "add What=", notes);
    };
    let Some(place) = place.or_else(|| unescape_path(draft.name.stem())) else {
        return draft.refuse("Mount unit has no Where=", "add Where=", notes);
    };
    if escape_path(&place).as_deref() != Some(draft.name.stem()) {
        let remedy = "name the unit as systemd-escape --path --suffix=mount says";
        return draft.refuse("Where= setting doesn't match the unit's name", remedy, notes);
    }
    Slot::own(SettingKey::MountWhere).set(draft.settings(), &place);
    // What is mounted into another mount waits for that one; so does a bind of something in another.
    if let Some((above, _)) = place.rsplit_once('/') {
        draft.mounts_for.push(if above.is_empty() { "/".to_owned() } else { above.to_owned() });
    }
    if what.starts_with('/') && !what.starts_with("/dev/") {
        draft.mounts_for.push(what);
    }
    draft.model.flags |= unit_flags::REMAIN_AFTER_EXIT;
}

/// The commands, by the programs that the guest has, and the condition.
pub fn add_commands(draft: &mut Draft, root: &Root) {
    let settings = &draft.model.settings;
    let text = |key| last(settings, key).unwrap_or("").to_owned();
    let (what, place) = (text(SettingKey::MountWhat), text(SettingKey::MountWhere));
    let (kind, options) = (text(SettingKey::MountType), mount_options(&text(SettingKey::MountOptions)));
    if place.is_empty() {
        return;
    }
    let mut mount = vec!["mount".to_owned(), what, place.clone()];
    if draft.sloppy_options {
        mount.push("-s".to_owned());
    }
    for (option, value) in [("-t", kind), ("-o", options)] {
        if !value.is_empty() {
            mount.extend([option.to_owned(), value]);
        }
    }
    let mut umount = vec!["umount".to_owned()];
    umount.extend(draft.lazy_unmount.then(|| "-l".to_owned()));
    umount.extend(draft.force_unmount.then(|| "-f".to_owned()));
    umount.push(place.clone());
    // `warden exec` makes the mount point.
    let condition = format!("ConditionPathIsMountPoint:!{place}");
    draft.settings().push((SettingKey::Condition, condition));
    draft.model.commands.push((Phase::Start, command(root, mount)));
    draft.model.commands.push((Phase::Stop, command(root, umount)));
}

fn command(root: &Root, argv: Vec<String>) -> CommandModel {
    let program = argv.first().map_or("", String::as_str);
    let place = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().map(|dir| format!("{dir}/{program}"));
    let path = place.into_iter().find(|path| root.exists(path)).unwrap_or_else(|| program.to_owned());
    CommandModel { flags: hostel_plan::command_flags::NO_EXPAND, path, argv }
}

/// Without the options of fstab that are for its readers, not for mount(8).
fn mount_options(options: &str) -> String {
    const FOR_READERS: &[&str] =
        &["defaults", "auto", "noauto", "nofail", "fail", "_netdev", "user", "users", "group", "owner"];
    let real = |option: &&str| {
        !option.is_empty()
            && !FOR_READERS.contains(option)
            && !option.starts_with("x-")
            && !option.starts_with("comment=")
    };
    options.split(',').filter(real).collect::<Vec<_>>().join(",")
}

/// Does it need the network?
fn is_network(draft: &Draft) -> bool {
    let kind = last(&draft.model.settings, SettingKey::MountType).unwrap_or("");
    let options = last(&draft.model.settings, SettingKey::MountOptions).unwrap_or("");
    NETWORK_TYPES.contains(&kind) || options.split(',').any(|option| option == "_netdev")
}

/// The default dependencies: systemd.mount(5).
pub fn default_dependencies(draft: &mut Draft) {
    let (before, after) = match is_network(draft) {
        true => (
            "remote-fs.target",
            ["remote-fs-pre.target", "network.target", "network-online.target"].as_slice(),
        ),
        false => ("local-fs.target", ["local-fs-pre.target"].as_slice()),
    };
    let nofail = last(&draft.model.settings, SettingKey::MountOptions)
        .is_some_and(|options| options.split(',').any(|option| option == "nofail"));
    if !nofail {
        draft.edge_to(EdgeKind::Before, before);
    }
    for unit in after {
        draft.edge_to(EdgeKind::After, unit);
    }
    if is_network(draft) {
        draft.edge_to(EdgeKind::Wants, "network-online.target");
    }
}
