//! Sources: what an archive holds comes in whole, and what it shouldn't do it can't.

mod common;

use common::{Tool, small_root};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// cap_net_raw+ep, as the kernel keeps it (struct vfs_cap_data, version 2).
const NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_an_archive_when_unpacked_then_owners_links_modes_and_capabilities_are_kept() {
    let tool = Tool::new();
    let (root, archive) = (tool.path("root"), tool.path("a.tar.gz"));
    small_root(&root);
    let inside = |name: &str| root.join(name).display().to_string();
    fs::write(root.join("bin/ping"), "x").unwrap();
    fs::hard_link(root.join("bin/ping"), root.join("bin/ping2")).unwrap();
    std::os::unix::fs::chown(root.join("bin/ping"), Some(33), Some(34)).unwrap();
    run("chmod", &["4755", &inside("bin/ping")]);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(root.join("bin/ping"), "user.note", b"hello", flags).unwrap();
    rustix::fs::setxattr(root.join("bin/busybox"), "security.capability", NET_RAW, flags).unwrap();
    let (from, to) = (root.display().to_string(), archive.display().to_string());
    run("tar", &["--xattrs", "--xattrs-include=*", "--acls", "-C", &from, "-czf", &to, "."]);
    tool.done(&["create", &tool.guest, "--from", &format!("tar:{to}")]);

    let layer = tool.facts()["layers"][0].as_str().unwrap().to_owned();
    let stored = tool.path("store/layers").join(layer).join("tree");
    let (ping, ping2) =
        (fs::metadata(stored.join("bin/ping")).unwrap(), fs::metadata(stored.join("bin/ping2")).unwrap());
    assert_eq!((ping.uid(), ping.gid(), ping.mode() & 0o7777, ping.ino()), (33, 34, 0o4755, ping2.ino()));
    let attribute = |file: &str, name: &str| {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(stored.join(file), name, &mut value).unwrap();
        value[..length].to_vec()
    };
    assert_eq!(attribute("bin/ping", "user.note"), b"hello");
    let capability = attribute("bin/busybox", "security.capability");
    assert_eq!(capability[4..20], NET_RAW[4..], "{capability:?}");
    tool.done(&["start", &tool.guest]);
    assert_eq!(tool.done(&["exec", &tool.guest, "--", "stat", "-c", "%u:%g", "/bin/ping"]).stdout, "33:34\n");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_an_archive_that_writes_through_a_link_when_unpacked_then_nothing_outside_is_touched() {
    let tool = Tool::new();
    let victim = tool.path("victim");
    fs::create_dir(&victim).unwrap();
    let (first, second) = (tool.path("first"), tool.path("second"));
    small_root(&first);
    symlink(&victim, first.join("way-out")).unwrap();
    fs::create_dir_all(second.join("way-out")).unwrap();
    fs::write(second.join("way-out/written"), "x").unwrap();
    let archive = tool.path("a.tar").display().to_string();
    run("tar", &["-C", &first.display().to_string(), "-cf", &archive, "."]);
    run("tar", &["-C", &second.display().to_string(), "-rf", &archive, "./way-out/written"]);
    let _ = tool.call(&["create", &tool.guest, "--from", &format!("tar:{archive}")]);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_sources_that_are_none_when_creating_then_refused_and_nothing_is_left() {
    let tool = Tool::new();
    let not_a_root = tool.path("empty");
    fs::create_dir(&not_a_root).unwrap();
    let empty = format!("dir:{}", not_a_root.display());
    for source in
        ["dir:/not/there", "tar:/not/there", "tar:/etc/passwd", "ftp:x", "host:/srv", "nothing", &empty]
    {
        let called = tool.call(&["create", &tool.guest, "--from", source]);
        assert_eq!(called.code, 2, "{source}: {called:?}");
        assert!(called.stderr.contains(source), "{source}: {called:?}");
        assert_eq!(tool.call(&["status", &tool.guest]).code, 4);
        assert_eq!(fs::read_dir(tool.path("store/guests")).map_or(0, Iterator::count), 0, "{source}");
    }
}

/// An image layout of these layers, each a folder that is packed; the names of blobs are their digests.
fn image(tool: &Tool, layers: &[PathBuf]) -> PathBuf {
    let layout = tool.path("image");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |file: &Path| -> String {
        let output = Command::new("sha256sum").arg(file).output().unwrap();
        let digest = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
        fs::rename(file, blobs.join(&digest)).unwrap();
        digest
    };
    let document = |value: serde_json::Value| {
        let file = layout.join("document");
        fs::write(&file, value.to_string()).unwrap();
        blob(&file)
    };
    let digests: Vec<serde_json::Value> = layers
        .iter()
        .map(|folder| {
            let packed = layout.join("layer");
            let (from, to) = (folder.display().to_string(), packed.display().to_string());
            run("tar", &["--xattrs", "--xattrs-include=*", "-C", &from, "-czf", &to, "."]);
            let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
            serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{}", blob(&packed)), "size": 0 })
        })
        .collect();
    let manifest = document(serde_json::json!({ "schemaVersion": 2, "layers": digests }));
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{manifest}"), "size": 0,
        "annotations": { "org.opencontainers.image.ref.name": "latest" } }] });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
    layout
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_an_image_of_layers_when_a_guest_is_made_then_whiteouts_hold_and_nothing_leaves_the_root() {
    let tool = Tool::new();
    let victim = tool.path("victim");
    fs::create_dir(&victim).unwrap();
    let (first, second) = (tool.path("first"), tool.path("second"));
    small_root(&first);
    for file in ["etc/gone", "etc/kept", "opaque/below", "opaque/both"] {
        fs::create_dir_all(first.join(file).parent().unwrap()).unwrap();
        fs::write(first.join(file), "first").unwrap();
    }
    std::os::unix::fs::chown(first.join("etc/kept"), Some(33), Some(34)).unwrap();
    symlink(&victim, first.join("way-out")).unwrap();
    symlink("/etc", first.join("absolute")).unwrap();
    fs::create_dir_all(second.join("etc")).unwrap();
    fs::write(second.join("etc/.wh.gone"), "").unwrap();
    fs::create_dir_all(second.join("opaque")).unwrap();
    fs::write(second.join("opaque/.wh..wh..opq"), "").unwrap();
    fs::write(second.join("opaque/both"), "second").unwrap();
    let layout = image(&tool, &[first, second.clone()]);
    let path = layout.display().to_string();
    tool.done(&["create", &tool.guest, "--from", &format!("oci:{path}:latest")]);
    let layer = tool.facts()["layers"][0].as_str().unwrap().to_owned();
    let made = tool.path("store/layers").join(layer).join("tree");
    assert!(!made.join("etc/gone").exists() && !made.join("opaque/below").exists());
    assert_eq!(fs::read_to_string(made.join("opaque/both")).unwrap(), "second");
    let kept = fs::metadata(made.join("etc/kept")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (33, 34));
    tool.done(&["start", &tool.guest]);
    tool.done(&["rm", "--force", &tool.guest]);

    // The archive of it; a blob that is not what it says; a layer that writes through a link of the one below.
    let archive = tool.path("image.tar").display().to_string();
    run("tar", &["-C", &path, "-cf", &archive, "."]);
    tool.done(&["create", &tool.guest, "--from", &format!("oci:{archive}")]);
    tool.done(&["rm", &tool.guest]);
    fs::create_dir_all(second.join("way-out")).unwrap();
    fs::write(second.join("way-out/written"), "x").unwrap();
    fs::remove_dir_all(&layout).unwrap();
    let layout = image(&tool, &[tool.path("first"), second]);
    let _ = tool.call(&["create", &tool.guest, "--from", &format!("oci:{path}")]);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    let _ = tool.call(&["rm", &tool.guest]);
    let blob = fs::read_dir(layout.join("blobs/sha256")).unwrap().next().unwrap().unwrap().path();
    fs::write(blob, "changed").unwrap();
    let refused = tool.call(&["create", &tool.guest, "--from", &format!("oci:{path}")]);
    assert!(refused.code == 2 && refused.stderr.contains("damaged"), "{refused:?}");
    assert_eq!(fs::read_dir(tool.path("store/guests")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_name_that_exists_when_created_again_then_refused_and_the_first_stays() {
    let tool = Tool::new();
    tool.create(&[]);
    let before = fs::read(tool.path("store/guests").join(&tool.guest).join("guest.json")).unwrap();
    assert_eq!(tool.call(&["create", &tool.guest, "--from", "host:/"]).code, 5);
    assert_eq!(fs::read(tool.path("store/guests").join(&tool.guest).join("guest.json")).unwrap(), before);
    for name in ["../up", "a/b", "", ".", "a b", "\u{1b}[31m"] {
        let called = tool.call(&["create", "--from", "host:/", "--", name]);
        assert_eq!(called.code, 2, "{name:?}");
        assert!(
            called.stderr.contains("must begin with a letter or digit") && !called.stderr.contains('\u{1b}')
        );
    }
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_layer_on_disk_when_stopped_and_started_then_what_was_written_is_there_and_the_root_below_is_not_changed()
 {
    let tool = Tool::new();
    let root = tool.create(&[]);
    // What `--from host:/` makes, over the small root.
    let layer = tool.path("store/layers/0123456789abcdef");
    for part in ["tree", "work"] {
        fs::create_dir_all(layer.join(part)).unwrap();
    }
    fs::write(layer.join("layer.json"), "{\"maker\": null, \"made\": 0}").unwrap();
    let definition = tool.path("store/guests").join(&tool.guest).join("guest.json");
    let mut guest: serde_json::Value = serde_json::from_slice(&fs::read(&definition).unwrap()).unwrap();
    guest["writes"] = serde_json::json!({ "layer": "0123456789abcdef" });
    fs::write(&definition, guest.to_string()).unwrap();

    let script = |text: &str| tool.done(&["exec", &tool.guest, "--", "sh", "-c", text]).stdout;
    tool.done(&["start", &tool.guest]);
    script("echo kept > /etc/kept; busybox rm /etc/group; busybox mv /etc/systemd /etc/moved");
    tool.done(&["stop", &tool.guest]);
    assert!(root.join("etc/group").exists() && !root.join("etc/kept").exists());
    assert_eq!(fs::metadata(layer.join("tree/etc/kept")).unwrap().uid(), 0, "as the guest sees it");
    let logs = tool.done(&["logs", &tool.guest]).stdout;
    assert!(logs.contains("sleeper.service"), "the log of a guest that doesn't run: {logs}");
    // Its units have moved away, so that it doesn't come up; but it is there.
    let _ = tool.call(&["start", &tool.guest, "--timeout", "1"]);
    // The table of mounts is a link that each start makes where there is none.
    assert_eq!(script("cat /etc/kept; ls /etc"), "kept\nkept\nmoved\nmtab\npasswd\n");
}
