//! For those who know util-vserver: a tree of its own becomes a guest, and its commands do what they did.

mod common;

use common::{Called, Tool, called};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Calls the tool by the name of one of util-vserver's programs.
fn call(tool: &Tool, line: &[&str]) -> Called {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostel"));
    command.arg0(line[0]).args(&line[1..]).stdin(Stdio::null());
    command.env("HOSTEL_RUN_DIR", tool.run_folder()).env("HOSTEL_STORE", tool.path("store"));
    command.env("HOSTEL_PROGRAMS", common::programs());
    called(command.output().unwrap())
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_tree_of_util_vservers_when_imported_then_the_guest_is_as_it_says_and_the_old_commands_work() {
    let tool = Tool::new();
    let name = tool.guest.as_str();
    common::small_root(&tool.path("vservers"));
    let tree = tool.path(name);
    let data = tool.path("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("word"), "carried").unwrap();
    let fstab = format!(
        "none /proc proc defaults 0 0\nnone /tmp tmpfs size=1m,mode=1777 0 0\n{} /data none bind,ro 0 0\n",
        data.display()
    );
    for (file, text) in [
        ("uts/nodename", "old.example\n"),
        ("apps/init/mark", "default\n"),
        ("bcapabilities", "CAP_NET_RAW\n"),
        ("flags", "virt_uptime\n"),
        ("context", "42\n"),
        ("fstab", &fstab),
        ("frob", "?"),
    ] {
        let file = tree.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    symlink(tool.path("vservers"), tree.join("vdir")).unwrap();
    let imported = tool.done(&["import", &tree.display().to_string()]).stdout;
    assert!(imported.contains("left     frob: isn't known"), "{imported}");
    assert_eq!(imported.matches("left ").count(), 1, "{imported}");

    let started = call(&tool, &["vserver", name, "start"]);
    assert_eq!(started.code, 0, "{started:?}");
    let inside = |command: &[&str]| {
        let said = call(&tool, &[&["vserver", name, "exec"], command].concat());
        assert_eq!(said.code, 0, "{command:?}: {said:?}");
        said.stdout.trim().to_owned()
    };
    assert_eq!(inside(&["hostname"]), "old.example");
    assert_eq!(inside(&["cat", "/data/word"]), "carried");
    let mounts = inside(&["cat", "/proc/self/mounts"]);
    let of =
        |place: &str| mounts.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{mounts}"));
    assert!(of(" /data ").contains(" ro,") && of(" /tmp ").contains("size=1024k"), "{mounts}");
    let status = inside(&["cat", "/proc/self/status"]);
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let bounding = u64::from_str_radix(bounding, 16).unwrap();
    // CAP_NET_ADMIN is 12, CAP_NET_RAW 13, CAP_MKNOD 27.
    assert_eq!([12, 13, 27].map(|bit| bounding >> bit & 1), [0, 1, 0], "{bounding:x}");
    let as_web = call(&tool, &["vserver", name, "suexec", "web", "id", "-u"]);
    assert_eq!(as_web.stdout.trim(), "33", "{as_web:?}");
    assert!(call(&tool, &["vps", "aux"]).stdout.contains(name));
    assert!(call(&tool, &["vserver-stat"]).stdout.contains(name));

    let running = call(&tool, &["vserver", name, "running"]);
    assert_eq!((running.code, running.stdout.len()), (0, 0), "{running:?}");
    assert_eq!(call(&tool, &["vserver", name, "stop"]).code, 0);
    assert_ne!(call(&tool, &["vserver", name, "running"]).code, 0);
    assert_eq!(call(&tool, &["vserver", name, "condrestart"]).code, 0);
    assert_ne!(call(&tool, &["vserver", name, "running"]).code, 0, "it did not run, so it isn't started");
    assert_eq!(call(&tool, &["vserver", name, "delete"]).code, 1, "nobody has said yes");
    assert_eq!(call(&tool, &["vserver", name, "delete", "--yes"]).code, 0);
    assert_eq!(call(&tool, &["vserver", name, "status"]).code, 4);
    tool.assert_clean();
}
