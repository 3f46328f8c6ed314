//! How each host is started with the image, entered and asked to stop: scripts, in its own words.

use std::fs;
use std::path::Path;
use std::process::Command;

use hostel_tests::machine::KERNEL12;

use super::setup::{Life, done};

pub const PODMAN: &str = "podman --cgroup-manager=cgroupfs";
/// Podman's own limits are more than an unprivileged parent may give.
const FIXED: &str = "--network=none --cgroups=disabled --ulimit nofile=1024:4096 --ulimit nproc=4096:4096";

/// One command, below our init in the place of podman's own.
pub fn one_command(life: &Life<'_>, options: &str, words: &str) -> String {
    let init = hostel_tests::paths::program("hostel-init");
    let run = format!(
        "run --name {} --rm --init --init-path={} {FIXED} {options} --rootfs {}:O {words}",
        life.name,
        init.display(),
        life.image.root.display()
    );
    podman(life, &run)
}

/// Podman's common part: state of its own, no limits that this machine doesn't permit.
pub fn podman(life: &Life<'_>, what: &str) -> String {
    let folder = life.folder.display();
    format!("{PODMAN} --root {folder}/storage --runroot {folder}/state {what}")
}

/// Where the guest tells its host that it is ready.
pub fn told(life: &Life<'_>) -> String {
    format!("-v {}:/run/host/notify -e NOTIFY_SOCKET=/run/host/notify", life.notify().display())
}

/// Runs the image; its processes' limits are those that we have.
pub fn podman_run(life: &Life<'_>, options: &str) -> String {
    let run = format!("run --name {} --rm --cgroupns=private {FIXED} {} {options}", life.name, told(life));
    format!("exec {} --rootfs {}:O /sbin/init", podman(life, &run), life.image.root.display())
}

pub fn podman_exec(life: &Life<'_>) -> String {
    podman(life, &format!("exec {}", life.name))
}

pub fn podman_stop(life: &Life<'_>) -> String {
    podman(life, &format!("stop --time 30 {}", life.name))
}

pub fn nspawn(life: &Life<'_>) -> String {
    format!(
        "export NOTIFY_SOCKET={}; exec systemd-nspawn --quiet -D {} -M {} --register=no --keep-unit --private-network \
         --volatile=overlay --notify-ready=yes --kill-signal=SIGRTMIN+3 /sbin/init",
        life.notify().display(),
        life.image.root.display(),
        life.name
    )
}

pub fn lxc(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let config = format!(
        "lxc.uts.name = {}\nlxc.rootfs.path = overlay:{}:{folder}/delta\nlxc.init.cmd = /sbin/init\n\
         lxc.mount.auto = proc:mixed sys:ro cgroup:mixed\nlxc.apparmor.profile = unconfined\n\
         lxc.net.0.type = empty\nlxc.net.0.flags = up\nlxc.tty.max = 0\nlxc.pty.max = 64\n\
         lxc.environment = NOTIFY_SOCKET=/run/host/notify\n\
         lxc.mount.entry = {} run/host/notify none bind,create=file 0 0\n",
        life.name,
        life.image.root.display(),
        life.notify().display()
    );
    for part in ["delta", "lxc"] {
        fs::create_dir_all(life.folder.join(part)).expect("a folder");
    }
    fs::write(life.folder.join("config"), config).expect("a configuration");
    format!("exec lxc-start -P {folder}/lxc -n {} -f {folder}/config -F", life.name)
}

pub fn lxc_tool(life: &Life<'_>, tool: &str) -> String {
    format!("{tool} -P {}/lxc -n {}", life.folder.display(), life.name)
}

pub fn bubblewrap(life: &Life<'_>) -> String {
    let root = life.folder.join("root");
    format!(
        "{}; exec bwrap --bind {} / --proc /proc --dev /dev --tmpfs /run --tmpfs /tmp \
         --bind {} /run/host/notify --setenv NOTIFY_SOCKET /run/host/notify --setenv container bubblewrap \
         --unshare-all --unshare-user --uid 0 --gid 0 --hostname {} --as-pid-1 /sbin/init",
        overlay(life, &root),
        root.display(),
        life.notify().display(),
        life.name
    )
}

/// A pod with the restricted security standard: no capability, no root, nothing to write to but what is mounted.
pub fn restricted(life: &Life<'_>) -> String {
    let options = "--systemd=false --stop-signal=SIGTERM --read-only --read-only-tmpfs=false --cap-drop=ALL \
        --security-opt=no-new-privileges --user=12345:12345 --tmpfs=/run:rw,mode=1777 --tmpfs=/tmp \
        --tmpfs=/var/log:rw,mode=1777";
    podman_run(life, options)
}

/// As the kubelet does: the hook first, which has its time and runs in the container, then TERM and the grace period.
/// Whoever the pod runs as is root to systemctl.
pub fn stop_pod(life: &Life<'_>) -> String {
    let hook = podman(
        life,
        &format!(
            "exec {} sh -c 'sleep 1; timeout 10 systemctl restart rsyslog && systemctl is-active rsyslog'",
            life.name
        ),
    );
    format!("{hook} > /dev/null && {}", podman_stop(life))
}

/// Somebody who isn't root, known in this mount namespace alone, with user ids of their own for guests.
const SOMEBODY: u32 = 54_321;
const SOMEBODYS_IDS: u32 = 5_000_000;

/// Podman as [`SOMEBODY`], whose images are unpacked with their ids, as `podman pull` does it.
pub fn rootless(life: &Life<'_>, what: &str) -> String {
    let folder = life.folder.display();
    format!(
        "for file in passwd subuid subgid; do mount --bind {folder}/etc/$file /etc/$file; done; \
         exec setpriv --reuid={SOMEBODY} --regid={SOMEBODY} --clear-groups env HOME={folder}/home \
         XDG_RUNTIME_DIR={folder}/home TMPDIR={folder}/home {what}"
    )
}

pub fn rootless_run(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let home = life.folder.join("home");
    let etc = life.folder.join("etc");
    for made in [&home, &etc] {
        fs::create_dir_all(made).expect("a folder");
    }
    std::os::unix::fs::chown(&home, Some(SOMEBODY), Some(SOMEBODY)).expect("a home");
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let users = format!("{users}somebody:x:{SOMEBODY}:{SOMEBODY}::{}:/bin/sh\n", home.display());
    fs::write(etc.join("passwd"), users).expect("a file");
    for file in ["subuid", "subgid"] {
        fs::write(etc.join(file), format!("{SOMEBODY}:{SOMEBODYS_IDS}:65536\n")).expect("a file");
    }
    // Devices can't be made by somebody; podman brings its own.
    let unpack = rootless(
        life,
        &format!("podman unshare sh -c 'mkdir {folder}/home/root && tar -C {folder}/home/root -xp'"),
    );
    let pack = format!("tar -C {} --exclude=./dev/* -c .", life.image.root.display());
    done(&mut life.command_alone(&format!("{pack} | ({unpack})")));
    let run = format!("run --name {} --rm {FIXED} --systemd=always", life.name);
    rootless(life, &format!("{PODMAN} {run} {} --rootfs {folder}/home/root /sbin/init", told(life)))
}

/// What Docker's daemon would write: its capabilities, masked paths and mounts, no tmpfs on /run, cgroups to look at only.
pub const DOCKER: &str = include_str!("docker.json");

/// The runtime that Docker has below itself, with Docker's configuration: its daemon can't run everywhere.
pub fn docker_run(life: &Life<'_>, config: &str) -> String {
    let folder = life.folder.display();
    let root = life.folder.join("bundle/rootfs");
    fs::create_dir_all(&root).expect("a folder");
    let config = config.replace("@NOTIFY@", &life.notify().to_string_lossy()).replace("@NAME@", &life.name);
    fs::write(life.folder.join("bundle/config.json"), config).expect("a configuration");
    format!("{}; exec {} run --bundle {folder}/bundle {}", overlay(life, &root), docker_tool(life), life.name)
}

pub fn docker_tool(life: &Life<'_>) -> String {
    format!("crun --cgroup-manager=disabled --root {}/state", life.folder.display())
}

pub fn docker_exec(life: &Life<'_>) -> String {
    format!("{} exec {}", docker_tool(life), life.name)
}

pub fn docker_stop(life: &Life<'_>) -> String {
    format!("{} kill {} TERM", docker_tool(life), life.name)
}

/// A script that mounts the image there, with a layer in memory for what is written.
pub fn overlay(life: &Life<'_>, at: &Path) -> String {
    let layer = life.folder.join("layer");
    let (layer, at) = (layer.display(), at.display());
    format!(
        "mkdir -p {layer} {at}; mount -t tmpfs tmpfs {layer}; mkdir {layer}/upper {layer}/work; \
         mount -t overlay overlay -o lowerdir={},upperdir={layer}/upper,workdir={layer}/work {at}",
        life.image.root.display()
    )
}

/// A stock kernel, and the image as its initramfs: without what only people read, to be unpacked by an emulated processor.
pub fn machine(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let kernel = kernel();
    let left_out =
        "-path ./usr/share/doc -o -path ./usr/share/locale -o -path ./var/lib/apt -o -path ./var/cache";
    let pack = format!(
        "cd {} && find . \\( {left_out} \\) -prune -o -print | busybox cpio -o -H newc > {folder}/initrd 2> /dev/null",
        life.image.root.display()
    );
    done(Command::new("sh").args(["-ec", &pack]));
    format!(
        "exec {MACHINE} -serial unix:{folder}/line,server=on,wait=off -kernel {} -initrd {folder}/initrd \
         -append 'console=ttyS0 quiet panic=-1 rdinit=/sbin/init'",
        kernel.display()
    )
}

/// What both machines have: a line to enter by, and a console.
const MACHINE: &str = "qemu-system-x86_64 -accel tcg -cpu max -m 2048 -nographic -nodefaults -serial stdio";

/// A stock kernel with its modules, and the image on a disk.
pub fn machine_with_disk(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let files = KERNEL12.for_disk(&life.folder, "/sbin/init").expect("a kernel and its initramfs");
    let disk = life.image.root.with_extension("disk");
    if !disk.exists() {
        let mut make = Command::new("mke2fs");
        done(make.args(["-q", "-t", "ext4", "-d"]).arg(&life.image.root).arg(&disk).arg("1500M"));
    }
    format!(
        "exec {MACHINE} -serial unix:{folder}/line,server=on,wait=off -kernel {} -initrd {} \
         -drive file={},format=raw,if=virtio,snapshot=on -append 'console=ttyS0 quiet panic=-1'",
        files.0.display(),
        files.1.display(),
        disk.display()
    )
}

/// Debian's kernel for clouds, unpacked into the cache: nothing is installed.
pub fn kernel() -> std::path::PathBuf {
    let folder = hostel_tests::paths::cache().join("kernel");
    let find = || {
        let entries = fs::read_dir(folder.join("boot")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("vmlinuz"))
    };
    if find().is_none() {
        fs::create_dir_all(&folder).expect("a folder");
        let get = "p=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1); \
            apt-get --quiet download \"$p\" && dpkg-deb -x \"$p\"_*.deb . && rm \"$p\"_*.deb";
        done(Command::new("sh").args(["-ec", get]).current_dir(&folder));
    }
    find().expect("a kernel in its package")
}

pub fn hostel(life: &Life<'_>) -> String {
    let hostel = hostel_tests::paths::program("hostel");
    // In the foreground, as the others are: it ends when the guest does.
    format!("exec {} run --name {} dir:{}", hostel.display(), life.name, life.image.root.display())
}

pub fn hostel_exec(life: &Life<'_>) -> String {
    format!("{} exec {} --", hostel_tests::paths::program("hostel").display(), life.name)
}
