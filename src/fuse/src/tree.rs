//! The tree of fakes: which files there are, and what numbers they have. The same in every server, so that a successor
//! knows what the kernel means.

use hostel_contract::fakes::{BOUND, CLOCK, RTC, knobs};

/// The root's number, by the protocol.
pub const ROOT: u64 = 1;

/// Permissions of files that not everybody may read. All others have [`READABLE`].
const PRIVATE: &[(&str, u32)] = &[(RTC, 0o600), ("proc/slabinfo", 0o400)];
/// Permissions of a file.
const READABLE: u32 = 0o444;
/// Permissions of a knob.
const WRITABLE: u32 = 0o644;

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder, by its place in [`Tree::folders`].
    Folder(usize),
    /// A file, by its place in [`Tree::files`].
    File(usize),
    /// A knob, by its place in [`Tree::knobs`].
    Knob(usize),
}

/// A folder: what is in it.
pub struct Folder {
    /// Below the root; empty for the root.
    pub path: String,
    /// Names, with what they mean.
    pub items: Vec<(&'static str, Node)>,
}

/// All of it.
pub struct Tree {
    /// The first is the root.
    pub folders: Vec<Folder>,
    /// Files that are made from values, by their paths below the root.
    pub files: Vec<&'static str>,
    /// The machine's knobs, by their paths.
    pub knobs: Vec<&'static str>,
}

impl Tree {
    /// Folders are made from the files' paths.
    #[expect(clippy::new_without_default, reason = "it is made from tables, not empty")]
    pub fn new() -> Tree {
        let root = Folder { path: String::new(), items: Vec::new() };
        let files = [CLOCK].into_iter().chain(BOUND.iter().copied()).collect();
        let mut tree = Tree { folders: vec![root], files, knobs: knobs().map(|(path, ..)| path).collect() };
        let files = tree.files.iter().enumerate().map(|(number, path)| (*path, Node::File(number)));
        let knobs = tree.knobs.iter().enumerate().map(|(number, path)| (*path, Node::Knob(number)));
        for (path, node) in files.chain(knobs).collect::<Vec<_>>() {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let folder = tree.folder(folder);
            tree.folders[folder].items.push((name, node));
        }
        tree
    }

    /// Who may do what with a file or knob.
    pub fn permissions(&self, node: Node) -> u32 {
        let path = match node {
            Node::File(file) => self.files.get(file).copied().unwrap_or_default(),
            _ => return WRITABLE,
        };
        PRIVATE.iter().find(|(private, _)| *private == path).map_or(READABLE, |(_, mode)| *mode)
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
            Some(file) if file < self.files.len() => Some(Node::File(file)),
            Some(other) => {
                Some(other - self.files.len()).filter(|knob| *knob < self.knobs.len()).map(Node::Knob)
            }
        }
    }

    /// The number of one.
    pub fn number(&self, node: Node) -> u64 {
        ROOT + match node {
            Node::Folder(at) => at as u64,
            Node::File(at) => (self.folders.len() + at) as u64,
            Node::Knob(at) => (self.folders.len() + self.files.len() + at) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let all = tree.files.len() + tree.knobs.len();
        assert_eq!(seen, all + tree.folders.len() - 1);
        assert_eq!(tree.node(ROOT + (all + tree.folders.len()) as u64), None);
    }
}
