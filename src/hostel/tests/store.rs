//! What guests share: a write of one is seen in no other, and what is shared stays what it was.

mod common;

use common::{Numbers, Tool, small_root};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Ways to change a file, as `common/writer.c` knows them.
const WAYS: [&str; 18] = [
    "write",
    "append",
    "truncate",
    "mmap-shared",
    "mmap-private",
    "chmod",
    "chown",
    "rename",
    "rename-over",
    "link",
    "unlink",
    "xattr",
    "times",
    "tmpfile",
    "fallocate",
    "punch-hole",
    "copy-file-range",
    "reflink",
];
/// What each file holds at first.
const CONTENT: usize = 9000;
/// cap_net_raw+ep, as the kernel keeps it (struct vfs_cap_data, version 2).
const NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// An access ACL of u::rw-, u:33:r--, g::r--, m::r--, o::r-- (linux/posix_acl_xattr.h).
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 33, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16,
    0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

fn shell(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A root with everything that a root can hold, and an archive of it; `own` is in this one only.
fn archive(tool: &Tool, name: &str, own: &str) -> String {
    let (root, archive) = (tool.path(name), tool.path(&format!("{name}.tar")));
    small_root(&root);
    let files = root.join("files");
    fs::create_dir(&files).unwrap();
    let put = |name: &str, content: &[u8]| {
        fs::write(files.join(name), content).unwrap();
        // Packages' files have the time of the package.
        shell("touch", &["-d", "2020-01-02 03:04:05.123456789 UTC", &text(&files.join(name))]);
    };
    shell("touch", &["-d", "2020-01-02 03:04:05 UTC", &text(&root.join("bin/busybox"))]);
    WAYS.iter().for_each(|way| put(way, &vec![b'o'; CONTENT]));
    put("source", &vec![b's'; CONTENT]);
    put("equal-1", b"equal");
    put("equal-2", b"equal");
    put("linked-1", b"linked");
    fs::hard_link(files.join("linked-1"), files.join("linked-2")).unwrap();
    put("empty", b"");
    put("capable", b"capable");
    put("listed", b"listed");
    let flags = rustix::fs::XattrFlags::empty();
    for (file, attribute, value) in [
        ("capable", "security.capability", NET_RAW),
        ("listed", "system.posix_acl_access", ACL),
        ("listed", "user.note", b"hello".as_slice()),
    ] {
        rustix::fs::setxattr(files.join(file), attribute, value, flags).unwrap();
    }
    put("set-id", b"set-id");
    std::os::unix::fs::chown(files.join("set-id"), Some(33), Some(34)).unwrap();
    fs::set_permissions(files.join("set-id"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::File::create(files.join("sparse")).unwrap().set_len(5 << 20).unwrap();
    put("own", own.as_bytes());
    shell("mkfifo", &[&text(&files.join("fifo"))]);
    shell(
        "tar",
        &[
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--sparse",
            "-C",
            &text(&root),
            "-cf",
            &text(&archive),
            ".",
        ],
    );
    format!("tar:{}", text(&archive))
}

/// A guest's root as `export` packs it, which is all that there is to know of it.
fn exported(tool: &Tool, guest: &str) -> Vec<u8> {
    let output = tool.command(&["export", guest, "-"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut packed = output.stdout;
    for header in packed.chunks_exact_mut(512) {
        // tar puts its own pid into the name that an old tar would see, and into the checksum with it.
        if header[..100].windows(14).any(|part| part == b"GNUSparseFile.") {
            header[..100].fill(0);
            header[148..156].fill(0);
        }
    }
    packed
}

/// Everything below a folder: owner, mode, time, content.
fn listed(folder: &Path) -> BTreeMap<PathBuf, (u32, u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let (path, meta) = (entry.as_ref().unwrap().path(), entry.unwrap().metadata().unwrap());
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (meta.uid(), meta.mode(), meta.mtime_nsec(), content));
        }
    }
    found
}

/// The layers that a guest lies on.
fn layers(tool: &Tool, guest: &str) -> Vec<PathBuf> {
    let facts: serde_json::Value =
        serde_json::from_str(&tool.call(&["status", guest, "--json"]).stdout).unwrap();
    let layers = facts["layers"].as_array().unwrap();
    layers.iter().map(|id| tool.path("store/layers").join(id.as_str().unwrap()).join("tree")).collect()
}

fn is_clean(tool: &Tool, context: &str) {
    let checked = tool.call(&["fsck", "--contents"]);
    assert_eq!(checked.code, 0, "{context}: {checked:?}");
}

/// Two clones run, one that was cloned as it ran, and write in all ways; the third, stopped, sees nothing of it.
fn a_write_is_seen_in_no_other(folder: &Path) {
    let tool = Tool::new_in(folder);
    let source = archive(&tool, "root", "own");
    let source = source.strip_prefix("tar:").unwrap();
    let writer = tool.path("root/writer");
    shell(
        "gcc",
        &[
            "-O1",
            "-static",
            "-o",
            &text(&writer),
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/writer.c"),
        ],
    );
    shell("tar", &["-C", &text(&tool.path("root")), "-rf", source, "./writer"]);
    let [first, second, third] = ["1", "2", "3"].map(|number| format!("{}-{number}", tool.guest));
    tool.done(&["create", &first, "--from", &format!("tar:{source}")]);
    tool.done(&["clone", &first, &second]);
    tool.done(&["start", &first]);
    tool.done(&["exec", &first, "--", "sh", "-c", "echo first > /files/first"]);
    tool.done(&["clone", &first, &third]);
    tool.done(&["start", &second]);
    let below = layers(&tool, &first).pop().unwrap();
    assert_eq!(layers(&tool, &third).pop().unwrap(), below);
    let (before, of_third) = (listed(&below), exported(&tool, &third));
    let seen = |guest: &str| {
        let script =
            "cd /files; for f in *; do [ -p $f ] || { stat -c '%n %u %g %a %s %Y' $f; cat $f; }; done";
        tool.done(&["exec", guest, "--", "sh", "-c", script]).stdout
    };
    let of_first = seen(&first);
    let mut left_out = Vec::new();
    for way in WAYS {
        let called = tool.call(&["exec", &second, "--", "/writer", way, &format!("/files/{way}")]);
        assert!(matches!(called.code, 0 | 2), "{way}: {called:?}");
        if called.code == 2 {
            left_out.push(way);
        }
    }
    // Copies of extents are what not every file system has.
    assert!(left_out.iter().all(|way| ["reflink", "punch-hole"].contains(way)), "{left_out:?}");
    assert_ne!(seen(&second), of_first);
    assert_eq!(seen(&first), of_first);
    assert!(!seen(&second).contains("first\n"), "what was written after the clone");
    assert!(exported(&tool, &third) == of_third, "the third has changed");
    assert!(listed(&below) == before, "the layer below has changed");
    // What was cloned while it ran has what it had written, and writes on by itself.
    tool.done(&["start", &third]);
    assert!(seen(&third).contains("first\n"));
    is_clean(&tool, "after all");
    println!("{}: {} ways, of which it can't: {left_out:?}", folder.display(), WAYS.len());
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_clones_on_disk_when_one_writes_in_all_ways_then_no_other_sees_it() {
    a_write_is_seen_in_no_other(Path::new("/var/tmp"));
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_clones_on_a_tmpfs_when_one_writes_in_all_ways_then_no_other_sees_it() {
    a_write_is_seen_in_no_other(Path::new("/dev/shm"));
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_root_with_everything_when_exported_and_made_again_then_it_is_the_same_to_the_byte() {
    let tool = Tool::new();
    let source = archive(&tool, "root", "own");
    let [first, second, third] = ["1", "2", "3"].map(|number| format!("{}-{number}", tool.guest));
    tool.done(&["create", &first, "--from", &source]);
    let packed = tool.path("packed.tar.gz");
    tool.done(&["export", &first, &text(&packed)]);
    tool.done(&["create", &second, "--from", &format!("tar:{}", text(&packed))]);
    assert!(exported(&tool, &first) == exported(&tool, &second));
    let image = format!("oci:{}:all", text(&tool.path("image")));
    tool.done(&["export", &first, &image]);
    tool.done(&["create", &third, "--from", &image]);
    let again = tool.call(&["export", &first, &image]);
    assert!(again.code != 0 && again.stderr.contains("already there"), "{again:?}");
    // An image of the guest that was made of it has the same digests.
    tool.done(&["export", &third, &format!("oci:{}:all", text(&tool.path("again")))]);
    let blobs = ["image", "again"].map(|image| listed(&tool.path(image).join("blobs/sha256")));
    let names = blobs
        .map(|blobs| blobs.into_keys().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>());
    assert!(names[0].len() == 3 && names[0] == names[1], "through an image: {names:?}");
    let made = layers(&tool, &second).pop().unwrap().join("files");
    let meta = |name: &str| fs::symlink_metadata(made.join(name)).unwrap();
    assert_eq!(meta("linked-1").ino(), meta("linked-2").ino());
    assert!(meta("sparse").blocks() < 64 && meta("sparse").len() == 5 << 20);
    assert_eq!((meta("set-id").uid(), meta("set-id").mode() & 0o7777), (33, 0o6755));
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(made.join("listed"), "system.posix_acl_access", &mut value).unwrap();
    assert_eq!(&value[..length], ACL);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_snapshot_when_rolled_back_then_the_guest_is_as_it_was_and_what_nobody_needs_is_gone() {
    let tool = Tool::new();
    let guest = tool.guest.clone();
    tool.done(&["create", &guest, "--from", &archive(&tool, "root", "own")]);
    let before = exported(&tool, &guest);
    tool.done(&["snapshot", &guest, "fresh"]);
    tool.done(&["start", &guest]);
    tool.done(&["exec", &guest, "--", "sh", "-c", "echo more > /files/own"]);
    tool.done(&["snapshot", &guest, "later"]);
    tool.done(&["exec", &guest, "--", "sh", "-c", "echo most > /files/own"]);
    assert_eq!(tool.call(&["rollback", &guest, "fresh"]).code, 5, "it runs");
    tool.done(&["stop", &guest]);
    tool.done(&["rollback", &guest, "later"]);
    tool.done(&["start", &guest]);
    assert_eq!(tool.done(&["exec", &guest, "--", "cat", "/files/own"]).stdout, "more\n");
    tool.done(&["stop", &guest]);
    tool.done(&["rollback", &guest, "fresh"]);
    assert!(exported(&tool, &guest) == before);
    tool.done(&["snapshot", &guest, "later", "--remove"]);
    tool.done(&["snapshot", &guest, "fresh", "--remove"]);
    is_clean(&tool, "after all");
    // The root, and what the guest writes.
    assert_eq!(fs::read_dir(tool.path("store/layers")).unwrap().count(), 2);
    tool.done(&["rm", &guest]);
    assert_eq!(fs::read_dir(tool.path("store/layers")).unwrap().count(), 0);
}

/// Guests made separately, each with a file of its own; the last one runs.
fn separate(tool: &Tool, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("{}-{number}", tool.guest)).collect();
    for name in &names {
        let own = format!("own of {name}").repeat(1000);
        tool.done(&["create", name, "--from", &archive(tool, &format!("root-{name}"), &own)]);
    }
    tool.done(&["start", names.last().unwrap()]);
    names
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_guests_made_separately_when_unified_then_equal_files_are_one_and_nothing_has_changed() {
    unified(5);
}

/// So many guests of the same files and some of their own, the last of which runs: unified, and compared with what they were.
fn unified(guests: usize) {
    let tool = Tool::new();
    let names = separate(&tool, guests);
    let (running, stopped) = names.split_last().unwrap();
    let before: Vec<Vec<u8>> = stopped.iter().map(|name| exported(&tool, name)).collect();
    let below = listed(&layers(&tool, running).pop().unwrap());
    let usage =
        || -> serde_json::Value { serde_json::from_str(&tool.done(&["du", "--json"]).stdout).unwrap() };
    let bytes = |usage: &serde_json::Value| usage["total_bytes"].as_u64().unwrap();
    let apart = bytes(&usage());

    let facts: serde_json::Value = serde_json::from_str(&tool.done(&["unify", "--json"]).stdout).unwrap();
    is_clean(&tool, "after unify");
    assert_eq!(facts["waiting"], serde_json::json!([running]), "{facts}");
    // The rest when the running one has ended, unless the others' files were found equal to its own.
    assert!(facts["freed_bytes"].as_u64() <= facts["bytes"].as_u64(), "{facts}");
    let changed: Vec<&String> = stopped
        .iter()
        .zip(&before)
        .filter(|(name, before)| exported(&tool, name) != **before)
        .map(|(name, _)| name)
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(tool.done(&["exec", running, "--", "cat", "/files/equal-1"]).stdout, "equal");
    tool.done(&["stop", running]);
    tool.done(&["start", running]);
    let made = layers(&tool, running).pop().unwrap();
    let root = made.to_path_buf();
    let as_before: BTreeMap<_, _> = listed(&made);
    assert_eq!(as_before.len(), below.len());
    assert!(
        as_before.values().zip(below.values()).all(|(now, then)| now == then),
        "the running one's has changed"
    );

    let inode = |guest: &str, file: &str| {
        fs::metadata(layers(&tool, guest).pop().unwrap().join("files").join(file)).unwrap().ino()
    };
    assert_eq!(inode(&names[0], "source"), inode(running, "source"), "{}", root.display());
    assert_eq!(inode(&names[0], "set-id"), inode(running, "set-id"));
    assert_eq!(inode(&names[0], "linked-1"), inode(running, "linked-2"));
    assert_ne!(inode(&names[0], "equal-1"), inode(&names[0], "equal-2"), "two files of one guest stay two");
    assert_eq!(inode(&names[0], "equal-2"), inode(running, "equal-2"));
    assert_ne!(inode(&names[0], "own"), inode(running, "own"));

    // The ideal: what all have once, and what each has for itself.
    let after = usage();
    println!("{guests} guests: {apart} bytes apart, {} unified", bytes(&after));
    let own: u64 =
        after["guests"].as_array().unwrap().iter().map(|guest| guest["own_bytes"].as_u64().unwrap()).sum();
    assert!(bytes(&after) < apart / guests as u64 + own, "{after}");
    assert!(bytes(&after) < apart / 2, "{after}");
    // Once more finds nothing to do; without guests nothing is left.
    let again: serde_json::Value = serde_json::from_str(&tool.done(&["unify", "--json"]).stdout).unwrap();
    assert_eq!(again["shared_files"], 0, "{again}");
    names.iter().for_each(|name| drop(tool.done(&["rm", "--force", name])));
    assert_eq!(fs::read_dir(tool.path("store/layers")).unwrap().count(), 0);
    let pooled: usize = fs::read_dir(tool.path("store/pool"))
        .unwrap()
        .map(|group| fs::read_dir(group.unwrap().path()).unwrap().count())
        .sum();
    assert_eq!(pooled, 0);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_paths_that_are_excluded_when_unified_then_they_stay_each_guests_own() {
    let tool = Tool::new();
    let names = separate(&tool, 2);
    let list = tool.path("exclude");
    fs::write(&list, "+/files/source\n/files/*\n").unwrap();
    tool.done(&["unify", "--exclude", &text(&list)]);
    tool.done(&["stop", &names[1]]);
    let inode =
        |guest: &str, file: &str| fs::metadata(layers(&tool, guest).pop().unwrap().join(file)).unwrap().ino();
    assert_eq!(inode(&names[0], "files/source"), inode(&names[1], "files/source"));
    assert_ne!(inode(&names[0], "files/set-id"), inode(&names[1], "files/set-id"));
    fs::write(&list, "usr\n").unwrap();
    let refused = tool.call(&["unify", "--exclude", &text(&list)]);
    assert!(refused.code == 2 && refused.stderr.contains("exclude:1: "), "{refused:?}");
}

/// Kills unify at random instants: whatever it leaves is clean, and the next one finishes.
fn killed(times: u64) {
    let tool = Tool::new();
    let names = separate(&tool, 3);
    let before = exported(&tool, &names[0]);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for time in 0..times {
        let mut unify = tool.command(&["unify"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(60_000)));
        let _ = unify.kill();
        let status = unify.wait().unwrap();
        is_clean(&tool, &format!("time {time}, {status}"));
        if time % 10 == 9 {
            // Layers that aren't unified yet, so that there is work again.
            let name = format!("{}-more", tool.guest);
            tool.done(&[
                "create",
                &name,
                "--from",
                &format!("tar:{}", text(&tool.path(&format!("root-{}.tar", names[0])))),
            ]);
            tool.done(&["rm", &name]);
        }
    }
    tool.done(&["unify"]);
    tool.done(&["fsck", "--repair"]);
    is_clean(&tool, "at last");
    assert!(exported(&tool, &names[0]) == before);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_unify_when_killed_at_random_instants_then_fsck_finds_the_store_clean() {
    killed(30);
}

mod long {
    use super::*;

    /// A file system of its own, on a loop device; gone when dropped.
    struct FileSystem {
        folder: tempfile::TempDir,
    }

    impl FileSystem {
        fn make(kind: &str) -> FileSystem {
            let folder = tempfile::Builder::new().prefix("hostel-fs-").tempdir_in("/var/tmp").unwrap();
            let image = folder.path().join("image");
            // XFS wants 300 MiB at least.
            fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
            shell(&format!("mkfs.{kind}"), &["-q", &text(&image)]);
            fs::create_dir(folder.path().join("mount")).unwrap();
            shell("mount", &["-o", "loop", &text(&image), &text(&folder.path().join("mount"))]);
            FileSystem { folder }
        }

        fn mount(&self) -> PathBuf {
            self.folder.path().join("mount")
        }
    }

    impl Drop for FileSystem {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.mount()).status();
        }
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_a_running_guest_on_btrfs_when_unified_then_what_it_has_written_shares_blocks_and_stays_as_it_is()
    {
        let system = FileSystem::make("btrfs");
        let tool = Tool::new_in(&system.mount());
        let names = separate(&tool, 2);
        let running = &names[1];
        tool.done(&[
            "exec",
            running,
            "--",
            "sh",
            "-c",
            "cat /bin/busybox > /files/copy; cat /files/copy > /files/odd; echo >> /files/odd",
        ]);
        let facts: serde_json::Value = serde_json::from_str(&tool.done(&["unify", "--json"]).stdout).unwrap();
        let size =
            fs::metadata(tool.path("root-").with_file_name(format!("root-{running}")).join("bin/busybox"))
                .unwrap()
                .len();
        assert_eq!(facts["block_bytes"], size, "{facts}");
        let same = tool.call(&["exec", running, "--", "sh", "-c", "busybox cmp /bin/busybox /files/copy"]);
        assert_eq!(same.code, 0, "{same:?}");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_fifty_guests_made_separately_when_unified_then_equal_files_are_one_and_nothing_has_changed() {
        unified(50);
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_clones_on_xfs_when_one_writes_in_all_ways_then_no_other_sees_it() {
        a_write_is_seen_in_no_other(&FileSystem::make("xfs").mount());
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_clones_on_btrfs_when_one_writes_in_all_ways_then_no_other_sees_it() {
        a_write_is_seen_in_no_other(&FileSystem::make("btrfs").mount());
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_unify_when_killed_at_a_thousand_random_instants_then_fsck_finds_the_store_clean() {
        killed(1000);
    }
}
