//! An ordinary user, with no privilege beyond newuidmap: what works, and what is told of the rest. The table is the
//! specification.

mod common;

use common::{Called, Tool, called, programs, small_root};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The user, whom no machine has, and the ids that newuidmap gives.
const USER: &str = "64000";
const SUBORDINATE: &str = "64000:900000:65536\n";

/// How a command ends.
#[derive(Clone, Copy)]
enum Expected {
    /// Well, and this is in its output.
    Works(&'static str),
    /// It is refused, and this is in the reason.
    Told(&'static str),
}
use Expected::{Told, Works};

/// Arguments, `@` standing for the user's folder, and how the command ends; one after the other.
const TABLE: &[(&[&str], Expected)] = &[
    (&["create", "g", "--from", "dir:@/root"], Works("is made")),
    (&["start", "g"], Works("is running")),
    (&["list"], Works("g  up")),
    (&["status", "g"], Works("g: running")),
    (&["exec", "g", "--", "id", "-u"], Works("0\n")),
    // The ids of /etc/subuid are the guest's other users.
    (&["exec", "g", "--user", "33", "--", "id"], Works("uid=33(web) gid=34")),
    (&["suexec", "g", "web", "id"], Works("uid=33(web)")),
    (&["ps", "g"], Works("hostel-warden")),
    (&["stats", "g"], Works("TASKS")),
    (&["logs", "g"], Works("default.target")),
    (&["boot", "g"], Works("critical path")),
    // What needs a cgroup, of which an ordinary user has none here.
    (&["freeze", "g"], Told("nothing can freeze it")),
    (&["clone", "g", "h"], Told("stop it first")),
    (&["stop", "g"], Works("is stopped")),
    (&["set", "g", "memory=64M"], Works("")),
    (&["start", "g"], Told("limits.memory: there is no cgroup v2 tree that could be written")),
    (&["set", "g", "memory=", "disk=1M"], Works("")),
    (&["start", "g"], Told("an ordinary user can't limit a file system")),
    // What needs the host's network.
    (&["set", "g", "disk=", "kind=veth"], Works("")),
    (&["start", "g"], Told("an ordinary user can't connect a guest: remove network.kind")),
    (&["set", "g", "kind=shared", "address=127.0.0.1/8"], Works("")),
    (&["start", "g"], Told("an ordinary user can't connect a guest")),
    // What is the user's own can be given, but owners can't be mapped.
    (&["set", "g", "kind=", "address=", "bind=@/home /data idmap"], Works("")),
    (&["start", "g"], Told("an ordinary user can't map owners: remove idmap")),
    (&["set", "g", "bind=@/home /data ro", "tmpfs=/scratch size=1M", "hostname=other"], Works("")),
    (
        &["set", "g", "sysctl=net.ipv4.ip_forward=1", "drop-capabilities=CAP_NET_RAW", "process=nofile=512"],
        Works(""),
    ),
    (&["start", "g"], Works("is running")),
    (&["exec", "g", "--", "cat", "/data/own"], Works("the user's own")),
    (&["exec", "g", "--", "sh", "-c", "! touch /data/new 2>/dev/null && touch /scratch/new"], Works("")),
    (
        &["exec", "g", "--", "sh", "-c", "hostname; cat /proc/sys/net/ipv4/ip_forward; ulimit -n"],
        Works("other\n1\n512\n"),
    ),
    (&["stop", "g"], Works("is stopped")),
    // A guest in layers.
    (&["create", "l", "--from", "tar:@/home/root.tar"], Works("is made")),
    (&["snapshot", "l", "one"], Works("")),
    (&["start", "l"], Works("is running")),
    (&["exec", "l", "--", "touch", "/new"], Works("")),
    // Who joins it begins at its root, and one root is all that there is.
    (&["exec", "l", "--", "sh", "-c", "cat /proc/self/mountinfo | busybox grep -c ' / / '"], Works("1\n")),
    (&["stop", "l"], Works("is stopped")),
    (&["clone", "l", "m"], Works("")),
    (&["rollback", "l", "one"], Works("")),
    (&["start-all", "--all"], Works("is running")),
    (&["exec", "m", "--", "cat", "/new"], Works("")),
    (&["exec", "l", "--", "cat", "/new"], Told("")),
    (&["stop-all"], Works("is stopped")),
    (&["unify"], Told("unify needs root")),
    (&["du"], Works("all guests together")),
    (&["fsck"], Works("clean")),
    (&["export", "l", "@/home/exported.tar"], Works("")),
    (&["run", "--rm", "dir:@/root", "--", "id", "-u"], Works("0\n")),
    (&["rm", "g"], Works("")),
    (&["rm", "l"], Works("")),
    (&["rm", "m"], Works("")),
    (&["list"], Works("no guests")),
];

/// Calls the tool as that user. What the table's files say of users is so for this call alone.
fn call(folder: &Path, arguments: &[&str]) -> Called {
    let place = folder.display();
    let script = "mount --bind $0/passwd /etc/passwd && mount --bind $0/subid /etc/subuid && mount --bind $0/subid /etc/subgid || exit 99\n\
                  cd /; exec setpriv --reuid=$1 --regid=$1 --clear-groups --inh-caps=-all env -i PATH=$0/bin:/usr/bin:/bin \
                  HOME=$0/home XDG_RUNTIME_DIR=$0/run XDG_DATA_HOME=$0/home hostel \"${@:2}\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", script]).arg(folder).arg(USER);
    command.args(arguments.iter().map(|argument| argument.replace('@', &place.to_string())));
    called(command.stdin(Stdio::null()).output().unwrap())
}

/// Programs, a root that boots, and what is the user's own.
fn prepare(tool: &Tool) {
    let folder = tool.path("");
    for name in ["home", "run", "bin"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_hostel"), folder.join("bin/hostel")).unwrap();
    for name in ["hostel-init", "hostel-warden", "hostel-keeper"] {
        fs::copy(programs().join(name), folder.join("bin").join(name)).unwrap();
    }
    small_root(&folder.join("root"));
    fs::write(folder.join("home/own"), "the user's own\n").unwrap();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(folder.join("passwd"), format!("{passwd}somebody:x:{USER}:{USER}::/:/bin/sh\n")).unwrap();
    fs::write(folder.join("subid"), SUBORDINATE).unwrap();
    for file in ["passwd", "subid"] {
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let script = format!(
        "tar -C root -cf home/root.tar . && chown -hR {USER}:{USER} home run root && chmod 700 run && chmod 755 . bin bin/*"
    );
    let done = Command::new("sh").args(["-c", &script]).current_dir(&folder).status().unwrap();
    assert!(done.success());
}

#[test]
#[ignore = "runs guests: cargo xtask test"]
fn given_an_ordinary_user_when_everything_is_tried_then_it_works_or_the_reason_is_told() {
    let tool = Tool::new();
    prepare(&tool);
    let folder = tool.path("");
    let mut wrong = Vec::new();
    for (arguments, expected) in TABLE {
        let Called { code, stdout, stderr } = call(&folder, arguments);
        let good = match expected {
            Works(text) => code == 0 && format!("{stdout}{stderr}").contains(text),
            Told(text) => code != 0 && stderr.contains(text),
        };
        if !good {
            wrong.push(format!("hostel {arguments:?} ended with {code}: {stdout}{stderr}"));
        }
    }
    for name in ["g", "l", "m"] {
        call(&folder, &["rm", "--force", name]);
    }
    // What such a guest wrote has owners that only root may remove.
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
