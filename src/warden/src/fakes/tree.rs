//! The tree of fakes: which files there are, and what numbers they have. The same in every server, so that a successor
//! knows what the kernel means.

use hostel_contract::fakes::{CLOCK, RTC};

use super::knobs::Knob;
use super::values::{self, Make};

/// The root's number, by the protocol.
pub const ROOT: u64 = 1;

/// A file that is made from values.
pub struct File {
    /// Below the root, and below `/`.
    pub path: &'static str,
    /// Permissions.
    pub mode: u32,
    /// How long what was told is good, in milliseconds: the kernel asks again after it.
    pub life_ms: u64,
    /// Its content.
    pub make: Make,
}

/// What changes all the time: as fresh as a few of the kernel's own ticks.
const FAST: u64 = 50;
/// What changes seldom, or is itself an average.
const SLOW: u64 = 1000;
/// What never changes.
const NEVER: u64 = 3_600_000;

const fn file(path: &'static str, life_ms: u64, make: Make) -> File {
    File { path, mode: 0o444, life_ms, make }
}

/// All of them; the order is their number.
pub const FILES: &[File] = &[
    file(CLOCK, FAST, values::clocks),
    File { path: RTC, mode: 0o600, life_ms: NEVER, make: values::nothing },
    file("proc/cmdline", NEVER, values::cmdline),
    file("proc/cpuinfo", SLOW, values::cpuinfo),
    file("proc/diskstats", FAST, values::diskstats),
    file("proc/interrupts", SLOW, values::interrupts),
    file("proc/loadavg", SLOW, values::loadavg),
    file("proc/mdstat", NEVER, values::mdstat),
    file("proc/meminfo", FAST, values::meminfo),
    file("proc/partitions", NEVER, values::partitions),
    file("proc/pressure/cpu", FAST, values::pressure_cpu),
    file("proc/pressure/io", FAST, values::pressure_io),
    file("proc/pressure/memory", FAST, values::pressure_memory),
    File { path: "proc/slabinfo", mode: 0o400, life_ms: NEVER, make: values::slabinfo },
    file("proc/softirqs", SLOW, values::softirqs),
    file("proc/stat", FAST, values::stat),
    file("proc/swaps", SLOW, values::swaps),
    file("proc/uptime", FAST, values::uptime),
    file("proc/vmstat", FAST, values::vmstat),
    file("sys/devices/system/cpu/online", SLOW, values::list),
    file("sys/devices/system/cpu/possible", SLOW, values::list),
    file("sys/devices/system/cpu/present", SLOW, values::list),
];

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder, by its place in [`Tree::folders`].
    Folder(usize),
    /// A file, by its place in [`FILES`].
    File(usize),
    /// A knob, by its place in [`Tree::knobs`].
    Knob(usize),
}

/// A folder: what is in it.
pub struct Folder {
    path: String,
    /// Names, with what they mean.
    pub items: Vec<(&'static str, Node)>,
}

/// All of it.
pub struct Tree {
    /// The first is the root.
    pub folders: Vec<Folder>,
    /// The machine's knobs.
    pub knobs: Vec<Knob>,
}

impl Tree {
    /// Folders are made from the files' paths.
    pub fn new() -> Tree {
        let root = Folder { path: String::new(), items: Vec::new() };
        let mut tree = Tree { folders: vec![root], knobs: super::knobs::all() };
        let files = FILES.iter().enumerate().map(|(number, file)| (file.path, Node::File(number)));
        let knobs = tree.knobs.iter().enumerate().map(|(number, knob)| (knob.path, Node::Knob(number)));
        for (path, node) in files.chain(knobs).collect::<Vec<_>>() {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let folder = tree.folder(folder);
            tree.folders[folder].items.push((name, node));
        }
        tree
    }

    /// Where the memory has the content of a knob: behind the files'.
    pub fn place_of_knob(knob: usize) -> usize {
        FILES.len() + knob
    }

    /// The folder of this path, made with those above it where it is missing.
    fn folder(&mut self, path: &'static str) -> usize {
        if let Some(found) = self.folders.iter().position(|folder| folder.path == path) {
            return found;
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = self.folder(above);
        let made = self.folders.len();
        self.folders.push(Folder { path: path.into(), items: Vec::new() });
        self.folders[above].items.push((name, Node::Folder(made)));
        made
    }

    /// What the kernel means by a number.
    pub fn node(&self, number: u64) -> Option<Node> {
        let at = usize::try_from(number.checked_sub(ROOT)?).ok()?;
        match at.checked_sub(self.folders.len()) {
            None => Some(Node::Folder(at)),
            Some(file) if file < FILES.len() => Some(Node::File(file)),
            Some(other) => Some(other - FILES.len()).filter(|knob| *knob < self.knobs.len()).map(Node::Knob),
        }
    }

    /// The number of one.
    pub fn number(&self, node: Node) -> u64 {
        ROOT + match node {
            Node::Folder(at) => at as u64,
            Node::File(at) => (self.folders.len() + at) as u64,
            Node::Knob(at) => (self.folders.len() + FILES.len() + at) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::memory::FILES_MAX;
    use hostel_contract::fakes::BOUND;

    #[test]
    fn given_what_the_spawner_binds_then_it_is_what_is_here() {
        let bound = FILES.iter().map(|file| file.path).filter(|path| *path != CLOCK);
        let mut paths: Vec<&str> = bound.collect();
        paths.sort_unstable();
        assert_eq!(paths, BOUND);
    }

    #[test]
    fn given_a_number_when_looked_up_then_it_is_the_one_that_was_given_out() {
        let tree = Tree::new();
        assert_eq!(tree.node(ROOT), Some(Node::Folder(0)));
        assert_eq!(tree.node(0), None);
        let mut seen = 0;
        for folder in &tree.folders {
            for (_, node) in &folder.items {
                assert_eq!(tree.node(tree.number(*node)), Some(*node));
                seen += 1;
            }
        }
        let all = FILES.len() + tree.knobs.len();
        assert_eq!(seen, all + tree.folders.len() - 1);
        assert_eq!(tree.node(ROOT + (all + tree.folders.len()) as u64), None);
        assert!(all <= FILES_MAX, "no room for {all} contents");
    }
}
