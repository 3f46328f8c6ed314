//! Virtual machines with stock Debian kernels: for what this machine's kernel lacks, limits above all.
//!
//! A machine is a kernel of Debian's package, an initramfs that loads modules and goes over to the disk, and a disk
//! with a BusyBox, the built programs and a small root. It runs a list of commands, says what each came to on its
//! serial line, and powers itself off. All by plain emulation: for correctness, and for ratios within one run.
//!
//! Kernels are kept in the cache; everything else lies in a folder that goes with the machine. Needs
//! `qemu-system-x86_64`, `mke2fs`, `busybox` and `xz`, and no privilege beyond that of mmdebstrap.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::run;
use crate::{cache, paths, small};

/// How long fetching a kernel may take.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// How long a machine may run: by plain emulation on a loaded machine a boot alone takes a minute.
const RUN_LIMIT: Duration = Duration::from_secs(900);
/// How long a small tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(120);
/// What a kernel needs to reach its disk, in the initramfs.
const FOR_DISK: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "crc32c_generic"];
/// What guests need beside it.
const FOR_GUESTS: &[&str] = &[
    "overlay",
    "veth",
    "macvlan",
    "ipvlan",
    "bridge",
    "dummy",
    "fuse",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_fib_inet",
    "nft_ct",
    "nft_masq",
    "sch_ingress",
    "cls_bpf",
    "quota_v2",
];
/// What its folder was made for: with other modules it is made again.
const RECIPE: &str = "recipe";
/// Where a step's output begins and ends on the serial line.
const BEGIN: &str = "@@begin ";
const END: &str = "@@end ";

/// A stock kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Name of its folder in the cache.
    pub name: &'static str,
    /// The Debian suite that it comes from.
    pub suite: &'static str,
    /// Modules that it has beside those that guests need.
    more: &'static [&'static str],
}

/// Debian 12's: 6.1.
pub const KERNEL12: Kernel = Kernel { name: "kernel-debian12", suite: "bookworm", more: &[] };
/// Debian 13's: 6.12.
pub const KERNEL13: Kernel = Kernel { name: "kernel-debian13", suite: "trixie", more: &[] };
/// The same with more file systems.
pub const KERNEL13_DISKS: Kernel =
    Kernel { name: "kernel-debian13-disks", suite: "trixie", more: &["loop", "xfs", "btrfs"] };

/// What a machine's disk has beside the programs.
#[derive(Clone, Copy, Debug)]
pub struct Disk<'a> {
    /// Name and shell text of what is to be done, one after the other.
    pub steps: &'a [(&'a str, &'a str)],
    /// Files of this machine's, and their places there, without the first slash.
    pub files: &'a [(PathBuf, String)],
    /// Its size.
    pub megabytes: u32,
    /// How long the machine may run.
    pub limit: Duration,
}

impl<'a> Disk<'a> {
    /// A small one for these steps.
    pub fn of(steps: &'a [(&'a str, &'a str)]) -> Disk<'a> {
        Disk { steps, files: &[], megabytes: 256, limit: RUN_LIMIT }
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its exit status.
    pub status: i32,
    /// Its output and its complaints.
    pub said: String,
}

/// What a machine said, by the names of its steps.
#[derive(Debug)]
pub struct Said {
    steps: BTreeMap<String, Step>,
    console: String,
}

impl Said {
    pub(crate) fn of(console: String) -> Said {
        Said { steps: steps_of(&console), console }
    }

    /// A step, which must have been reached.
    pub fn step(&self, name: &str) -> &Step {
        self.steps.get(name).unwrap_or_else(|| panic!("the machine never got to `{name}`:\n{}", self.console))
    }

    /// The output of a step, which must have ended well.
    pub fn done(&self, name: &str) -> &str {
        let step = self.step(name);
        assert_eq!(step.status, 0, "`{name}` said:\n{}\nall:\n{}", step.said, self.console);
        step.said.trim()
    }

    /// The last line of it as a number: before that the kernel may have said something.
    pub fn number(&self, name: &str) -> u64 {
        let said = self.done(name);
        said.lines()
            .last()
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|_| panic!("`{name}` is no number: {said}\n{}", self.console))
    }
}

impl Kernel {
    fn folder(&self) -> PathBuf {
        cache::folder().join(self.name)
    }

    /// Fetches it, if it is not in the cache yet: `vmlinuz`, and `modules`, all that is needed, each uncompressed.
    pub(crate) fn fetch(&self) -> io::Result<()> {
        let modules: Vec<&str> = FOR_DISK.iter().chain(FOR_GUESTS).chain(self.more).copied().collect();
        let recipe = modules.join(" ");
        if fs::read_to_string(self.folder().join(RECIPE)).is_ok_and(|made_for| made_for == recipe) {
            return Ok(());
        }
        let scratch = cache::folder().join(format!("{}.scratch", self.name));
        let part = cache::folder().join(format!("{}.part", self.name));
        for folder in [&scratch, &part] {
            remove(folder)?;
        }
        fs::create_dir_all(part.join("modules"))?;
        let mut fetch = Command::new("mmdebstrap");
        fetch.args([
            "--mode=root",
            "--variant=extract",
            "--quiet",
            "--include=linux-image-amd64",
            self.suite,
        ]);
        done(fetch.arg(&scratch), FETCH_LIMIT)?;
        let kernel = find(&scratch.join("boot"), |name| name.starts_with("vmlinuz-"));
        fs::copy(kernel.ok_or_else(|| io::Error::other("the package has no kernel"))?, part.join("vmlinuz"))?;
        // A module is loaded after those that it depends on: the order is kept.
        let mut order = Vec::new();
        for name in modules {
            take_module(&scratch, &part.join("modules"), name, &mut order)?;
        }
        fs::write(part.join("order"), order.join("\n"))?;
        fs::write(part.join(RECIPE), recipe)?;
        remove(&scratch)?;
        remove(&self.folder())?;
        fs::rename(&part, self.folder())
    }

    /// Runs commands in a machine with this kernel: name and shell text of each. They find `hostel` in their PATH and
    /// a small root that boots in /small.
    pub fn run(&self, steps: &[(&str, &str)]) -> io::Result<Said> {
        self.run_disk(&Disk::of(steps))
    }

    /// The same with a disk that has more.
    pub fn run_disk(&self, disk: &Disk<'_>) -> io::Result<Said> {
        self.fetch()?;
        let folder =
            std::env::temp_dir().join(format!("hostel-machine-{}-{}", self.name, std::process::id()));
        remove(&folder)?;
        fs::create_dir(&folder)?;
        let said = self.run_in(&folder, disk);
        remove(&folder)?;
        said
    }

    fn run_in(&self, folder: &Path, disk: &Disk<'_>) -> io::Result<Said> {
        let limit = disk.limit;
        let disk = self.disk(folder, disk)?;
        let mut machine = self.machine(folder, &disk)?;
        let console = run(&mut machine, limit).map_err(io::Error::other)?.stdout.replace('\r', "");
        Ok(Said::of(console))
    }

    /// Makes a disk.
    pub(crate) fn disk(&self, folder: &Path, disk: &Disk<'_>) -> io::Result<PathBuf> {
        make_disk(folder, &self.folder(), disk)
    }

    /// QEMU with this kernel and a disk, not yet started.
    pub(crate) fn machine(&self, folder: &Path, disk: &Path) -> io::Result<Command> {
        let initramfs = self.initramfs(folder, "/init")?;
        let mut machine = Command::new("qemu-system-x86_64");
        // By plain emulation: where a machine is itself a virtual one, /dev/kvm may be there and not work.
        machine.args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "2", "-nographic", "-no-reboot"]);
        machine.args(["-net", "none", "-append", "console=ttyS0 panic=-1 quiet no_timer_check"]);
        machine.arg("-kernel").arg(self.folder().join("vmlinuz")).arg("-initrd").arg(initramfs);
        machine.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()));
        Ok(machine)
    }

    /// The kernel itself and, in that folder, an initramfs that goes over to a disk with such an init.
    pub fn for_disk(&self, folder: &Path, init: &str) -> io::Result<(PathBuf, PathBuf)> {
        self.fetch()?;
        Ok((self.folder().join("vmlinuz"), self.initramfs(folder, init)?))
    }

    /// Loads modules, and goes over to the disk.
    fn initramfs(&self, folder: &Path, init: &str) -> io::Result<PathBuf> {
        let root = folder.join("initramfs");
        small::make(&root)?;
        let order = fs::read_to_string(self.folder().join("order"))?;
        let mut script = String::from("#!/bin/busybox sh\nbb=/bin/busybox\n");
        for module in order.lines() {
            fs::copy(self.folder().join("modules").join(module), root.join(module))?;
            script += &format!("$bb insmod /{module}\n");
        }
        // A disk that can count by project is asked to.
        script += "$bb mount -t devtmpfs dev /dev\n$bb mount -t ext4 -o prjquota /dev/vda /root 2>/dev/null || \
            $bb mount -t ext4 /dev/vda /root || $bb poweroff -f\n";
        script += &format!("$bb umount /dev; exec $bb switch_root /root {init}\n");
        write_program(&root.join("init"), &script)?;
        let archive = folder.join("initramfs.cpio");
        let text = "find . | busybox cpio -o -H newc";
        let mut pack = Command::new("sh");
        pack.args(["-c", &format!("{text} > \"$1\""), "sh"]).arg(&archive).current_dir(&root);
        done(&mut pack, TOOL_LIMIT)?;
        Ok(archive)
    }
}

/// The disk: a BusyBox, the programs, a root for guests, and what is to be done.
fn make_disk(folder: &Path, kernel: &Path, disk: &Disk<'_>) -> io::Result<PathBuf> {
    let root = folder.join("disk");
    small::make(&root)?;
    for name in paths::PROGRAMS {
        fs::copy(paths::program(name), root.join("bin").join(name))?;
    }
    small::make(&root.join("small"))?;
    small::make_bootable(&root.join("small"))?;
    let applets = [
        "mount", "mkdir", "seq", "dd", "ps", "grep", "sed", "awk", "date", "poweroff", "ip", "ping", "ls",
        "rm", "mv", "cp", "ln", "head", "sync", "chmod",
    ];
    for applet in applets {
        for bin in [root.join("bin"), root.join("small/bin")] {
            symlink("busybox", bin.join(applet))?;
        }
    }
    let mut script = String::from(
        "#!/bin/sh\nexport PATH=/bin HOME=/root\nmount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
         mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm\n\
         mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; mount -t cgroup2 cgroup /sys/fs/cgroup; ip link set lo up\n",
    );
    for (from, to) in disk.files {
        let to = root.join(to);
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(from, to)?;
    }
    for (name, text) in disk.steps {
        script += &format!("echo '{BEGIN}{name}'\n(\n{text}\n) 2>&1\necho \"{END}$?\"\n");
    }
    script += "poweroff -f\n";
    write_program(&root.join("init"), &script)?;
    fs::copy(kernel.join("order"), root.join("etc/modules"))?;
    let image = folder.join("disk.img");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-O", "project,quota", "-E", "root_owner=0:0,quotatype=prjquota", "-d"])
        .arg(&root)
        .arg(&image)
        .arg(format!("{}M", disk.megabytes));
    done(&mut make, TOOL_LIMIT)?;
    Ok(image)
}

/// What each step said, from the serial line.
fn steps_of(console: &str) -> BTreeMap<String, Step> {
    let mut steps = BTreeMap::new();
    for part in console.split(BEGIN).skip(1) {
        let Some((name, rest)) = part.split_once('\n') else { continue };
        let Some((said, status)) = rest.split_once(END) else { continue };
        let status = status.lines().next().and_then(|status| status.trim().parse().ok()).unwrap_or(-1);
        steps.insert(name.trim().to_owned(), Step { status, said: said.to_owned() });
    }
    steps
}

/// Copies a module and, before it, those that it depends on. A name without a file is built in.
fn take_module(from: &Path, to: &Path, name: &str, order: &mut Vec<String>) -> io::Result<()> {
    let file = format!("{name}.ko");
    if order.contains(&file) {
        return Ok(());
    }
    let wanted = |found: &str| {
        let stem = found.split(".ko").next().unwrap_or(found);
        found.contains(".ko") && stem.replace('-', "_") == name
    };
    let tree = if from.join("usr/lib/modules").is_dir() { "usr/lib/modules" } else { "lib/modules" };
    let Some(path) = find(&from.join(tree), wanted) else { return Ok(()) };
    let target = to.join(&file);
    if path.extension().is_some_and(|extension| extension == "xz") {
        let mut unpack = Command::new("sh");
        done(unpack.args(["-c", "xz -dc \"$1\" > \"$2\"", "sh"]).arg(&path).arg(&target), TOOL_LIMIT)?;
    } else {
        fs::copy(&path, &target)?;
    }
    for dependency in dependencies(&fs::read(&target)?) {
        take_module(from, to, &dependency, order)?;
    }
    order.push(file);
    Ok(())
}

/// The word `depends=` of a module's section .modinfo.
fn dependencies(module: &[u8]) -> Vec<String> {
    let mark = b"\0depends=";
    let Some(at) = module.windows(mark.len()).position(|window| window == mark) else { return Vec::new() };
    let rest = &module[at + mark.len()..];
    let text =
        String::from_utf8_lossy(&rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(0)]).into_owned();
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// The first file below a folder whose name is wanted.
fn find(folder: &Path, wanted: impl Fn(&str) -> bool + Copy) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_symlink() {
            return None;
        }
        if path.is_dir() {
            return find(&path, wanted);
        }
        path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())).then_some(path)
    })
}

fn write_program(path: &Path, text: &str) -> io::Result<()> {
    fs::File::create(path)?.write_all(text.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn done(command: &mut Command, limit: Duration) -> io::Result<()> {
    run(command, limit).and_then(|outcome| outcome.success()).map(drop).map_err(io::Error::other)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_serial_line_when_read_then_each_step_has_its_output_and_status() {
        let steps = steps_of("boot noise\n@@begin a\none\ntwo\n@@end 0\n@@begin b\n@@end 3\n@@begin cut\nx");
        assert_eq!(steps["a"], Step { status: 0, said: "one\ntwo\n".into() });
        assert_eq!((steps["b"].status, steps.len()), (3, 2));
    }

    #[test]
    fn given_a_module_when_read_then_its_dependencies_are_known_by_their_names() {
        assert_eq!(dependencies(b"x\0depends=mbcache,crc16-a\0y"), ["mbcache", "crc16_a"]);
        assert_eq!(dependencies(b"x\0depends=\0y"), Vec::<String>::new());
        assert_eq!(dependencies(b"none"), Vec::<String>::new());
    }
}
