//! One command in a new context, from the call to its end: a static /bin/true in a BusyBox root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hostel_tests::run::{RunError, run, until};
use hostel_tests::{cli, oracle, small};

use super::root::Scratch;
use super::{Table, median_ms};
use crate::shell::{About, Error};

/// Rounds; each runs every contestant once.
const ROUNDS: usize = 30;
/// What the kernel takes by itself: the same namespaces and mounts, made by some lines of C.
const BARE: &str = include_str!("bare.c");
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(20);

/// One way to run a command in a context.
struct Contestant {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
}

/// Milliseconds, the median of all rounds.
pub fn table() -> Result<Table, Error> {
    let scratch = Scratch::new("spawn")?;
    let root = scratch.join("root");
    small::make(&root).about("make", &root)?;
    let cgroup2 = Cgroup2::hold();
    let cgroups = oracle::make_cgroups(&format!("bench-nspawn-{}", std::process::id()));
    let contestants = contestants(&scratch, &root, cgroup2.as_ref(), oracle::script_in(&cgroups))?;
    let mut table = Table::new(&format!("Spawn of /bin/true in a context, median of {ROUNDS}"), &["ms"]);
    let mut measured: Vec<Vec<Duration>> = vec![Vec::new(); contestants.len()];
    let mut failed: Vec<Option<RunError>> = contestants.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        for (index, contestant) in contestants.iter().enumerate() {
            if failed[index].is_some() {
                continue;
            }
            match run(&mut (contestant.command)(), LIMIT).and_then(|outcome| outcome.success()) {
                Ok(outcome) => measured[index].push(outcome.took),
                Err(error) => failed[index] = Some(error),
            }
        }
    }
    oracle::remove_cgroups(&cgroups);
    for (index, contestant) in contestants.iter().enumerate() {
        match &failed[index] {
            None => table.row(contestant.name, &[median_ms(&mut measured[index])]),
            Some(error) => {
                table.row(contestant.name, &[None]);
                table.note(format!("{} can't run here: {error}", contestant.name));
            }
        }
    }
    table.note(
        "nsenter+true: what calling crun through nsenter adds to it (it refuses a hybrid hierarchy).".into(),
    );
    Ok(table)
}

fn contestants(
    scratch: &Scratch,
    root: &Path,
    cgroup2: Option<&Cgroup2>,
    nspawn_script: String,
) -> Result<Vec<Contestant>, Error> {
    let bundle = scratch.join("bundle");
    fs::create_dir_all(&bundle).about("make", &bundle)?;
    scratch.write("bundle/config.json", &oci_config(root))?;
    let lxc = scratch.write("lxc.conf", &lxc_config(root))?;
    let bare = compile_bare(scratch)?;
    let lxc_folder = scratch.path().to_path_buf();
    let source = format!("dir:{}", root.display());
    let root = root.to_path_buf();
    let bound = bound(&source)?;
    let bare_1 = bare.clone();
    let (root_1, root_2, root_3, root_4, root_5) =
        (root.clone(), root.clone(), root.clone(), root.clone(), root);
    let holder = cgroup2.map(|cgroup2| cgroup2.0.id().to_string()).unwrap_or_default();
    let holder_1 = holder.clone();
    let contestant = |name, command| Contestant { name, command };
    Ok(vec![
        contestant("hostel run", Box::new(move || cli::hostel(&["run", "--rm", &source, "--", "/bin/true"]))),
        contestant(
            "bare C",
            Box::new(move || {
                let mut command = Command::new(&bare);
                command.arg(&root_4).arg("/bin/true");
                command
            }),
        ),
        contestant(
            "bare C, a guest's mounts",
            Box::new(move || {
                let mut command = Command::new(&bare_1);
                command.arg(&root_5).arg("/bin/true").args(&bound);
                command
            }),
        ),
        contestant(
            "unshare",
            Box::new(move || {
                let mut command = Command::new("unshare");
                command
                    .args(["-m", "-p", "-f", "-n", "-i", "-u", "-C", "-T", "-R"])
                    .arg(&root_1)
                    .arg("/bin/true");
                command
            }),
        ),
        contestant(
            "bubblewrap",
            Box::new(move || {
                let mut command = Command::new("bwrap");
                command
                    .args(["--unshare-all", "--bind"])
                    .arg(&root_2)
                    .args(["/", "--proc", "/proc", "--dev", "/dev"]);
                command.arg("/bin/true");
                command
            }),
        ),
        contestant(
            "crun (through nsenter)",
            Box::new(move || {
                let mut command = Command::new("nsenter");
                command.args(["-m", "-t", &holder, "crun", "run", "--bundle"]).arg(&bundle);
                command.arg(format!("bench-{}", std::process::id()));
                command
            }),
        ),
        contestant(
            "nsenter+true",
            Box::new(move || {
                let mut command = Command::new("nsenter");
                command.args(["-m", "-t", &holder_1, "true"]);
                command
            }),
        ),
        contestant(
            "lxc-execute",
            Box::new(move || {
                let mut command = Command::new("lxc-execute");
                command.args(["-n", &format!("bench-{}", std::process::id()), "-P"]).arg(&lxc_folder);
                command.arg("-f").arg(&lxc).args(["--", "/bin/true"]);
                command
            }),
        ),
        contestant(
            "systemd-nspawn",
            Box::new(move || {
                let mut command = Command::new("sh");
                command.args(["-c", &nspawn_script, "systemd-nspawn"]);
                command
                    .args(["--quiet", "--register=no", "--keep-unit", "--private-network", "-D"])
                    .arg(&root_3);
                command.arg("/bin/true");
                command
            }),
        ),
    ])
}

/// The files that a guest has something of its own bound over.
fn bound(source: &str) -> Result<Vec<String>, Error> {
    let outcome =
        run(&mut cli::hostel(&["run", source, "--", "cat", "/proc/self/mountinfo"]), LIMIT)?.success()?;
    let place = |line: &str| {
        let place = line.split(' ').nth(4)?;
        (line.contains(" - fuse ") && !place.starts_with("/run/") && !place.starts_with("/dev/"))
            .then(|| place.to_owned())
    };
    Ok(outcome.stdout.lines().filter_map(place).collect())
}

/// Compiles [`BARE`].
fn compile_bare(scratch: &Scratch) -> Result<PathBuf, Error> {
    let (source, program) = (scratch.write("bare.c", BARE)?, scratch.join("bare"));
    run(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source), LIMIT)?.success()?;
    Ok(program)
}

/// The least that crun takes; the same namespaces and mounts as the others make.
fn oci_config(root: &Path) -> String {
    let mounts = [("/proc", "proc"), ("/dev", "tmpfs"), ("/sys", "sysfs")].map(|(path, kind)| {
        format!(r#"{{"destination": "{path}", "type": "{kind}", "source": "{kind}", "options": ["nosuid"]}}"#)
    });
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| format!(r#"{{"type": "{kind}"}}"#));
    format!(
        r#"{{"ociVersion": "1.0.0", "root": {{"path": "{}", "readonly": false}}, "hostname": "bench",
        "process": {{"terminal": false, "user": {{"uid": 0, "gid": 0}}, "args": ["/bin/true"],
        "env": ["PATH=/bin"], "cwd": "/"}}, "mounts": [{}], "linux": {{"namespaces": [{}]}}}}"#,
        root.display(),
        mounts.join(", "),
        namespaces.join(", ")
    )
}

fn lxc_config(root: &Path) -> String {
    format!(
        "lxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\nlxc.mount.auto = proc:mixed sys:ro\n\
         lxc.apparmor.profile = unconfined\nlxc.pty.max = 8\n",
        root.display()
    )
}

/// A process in a mount namespace of its own with cgroup2 alone over /sys/fs/cgroup: crun refuses a host where
/// the first version has the controllers. Dropped, it ends.
struct Cgroup2(Child);

impl Cgroup2 {
    fn hold() -> Option<Cgroup2> {
        let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).stdin(Stdio::null());
        let holder = Cgroup2(command.spawn().ok()?);
        // It is `sleep` once it has mounted.
        let comm = format!("/proc/{}/comm", holder.0.id());
        let ready = || (fs::read_to_string(&comm).ok()?.trim() == "sleep").then_some(());
        until(LIMIT, ready).map(|()| holder)
    }
}

impl Drop for Cgroup2 {
    fn drop(&mut self) {
        // It is our own child, so this can't hit another process.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
