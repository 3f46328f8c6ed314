//! Answers to what is about names alone: which there are, and what is known of each without looking at its content.
//!
//! The kernel keeps names for a week, and there are never others than at the start. Whoever lists a folder is told the
//! attributes too (READDIRPLUS): so a request a folder, not a name, and the kernel knows the whole tree.

use crate::protocol::{self, Attributes, Extent, Item, Request, errno, op};
use crate::tree::{Node, Tree};

/// How long folders' attributes are good, in milliseconds: they never change.
pub const FOLDER_LIFE_MS: u64 = 3_600_000;

/// What is answered: bytes, or a number of errno(3).
pub type Reply = Result<Vec<u8>, i32>;

/// The answer to a request about names; `None`: it is about something else. `known` says what is told of a file that was
/// looked up, without making its content.
pub fn answer(
    tree: &Tree,
    request: &Request,
    body: &[u8],
    known: &dyn Fn(Node) -> Attributes,
) -> Option<Reply> {
    let folder = || match tree.node(request.node) {
        Some(Node::Folder(folder)) => tree.folders.get(folder).ok_or(errno::STALE),
        Some(_) => Err(errno::NOT_A_FOLDER),
        None => Err(errno::STALE),
    };
    Some(match request.operation {
        op::INIT => protocol::init(body).ok_or(errno::PROTOCOL),
        op::LOOKUP => folder().and_then(|folder| {
            let name = protocol::name(body);
            let found = folder.items.iter().find(|(item, _)| item.as_bytes() == name);
            let (_, node) = found.ok_or(errno::NO_ENTRY)?;
            Ok(protocol::entry(&known_of(tree, *node, known)))
        }),
        op::READDIR | op::READDIRPLUS => folder().and_then(|folder| {
            let extent = Extent::parse(body).ok_or(errno::INVALID)?;
            let items =
                folder.items.iter().map(|(name, node)| Item { known: known_of(tree, *node, known), name });
            Ok(match request.operation {
                op::READDIR => protocol::list(items, extent),
                _ => protocol::list_with_attributes(items, extent),
            })
        }),
        _ => return None,
    })
}

fn known_of(tree: &Tree, node: Node, known: &dyn Fn(Node) -> Attributes) -> Attributes {
    match node {
        Node::Folder(_) => folder(tree, node),
        _ => known(node),
    }
}

/// What is known of a folder.
pub fn folder(tree: &Tree, node: Node) -> Attributes {
    let mode = protocol::FOLDER | 0o555;
    Attributes { node: tree.number(node), size: 0, changed_ns: 0, mode, life_ms: FOLDER_LIFE_MS }
}

/// What is known of a file of which nothing was told yet: the kernel asks again before its first read.
pub fn unread(tree: &Tree, node: Node) -> Attributes {
    let mode = protocol::FILE | tree.permissions(node);
    Attributes { node: tree.number(node), size: 0, changed_ns: 0, mode, life_ms: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: u32, node: u64) -> Request {
        Request { length: 0, operation, unique: 1, node, uid: 0 }
    }

    #[test]
    fn given_a_folder_when_listed_with_attributes_then_each_name_has_what_its_lookup_tells() {
        let tree = Tree::new();
        let known = |node| unread(&tree, node);
        let proc = tree.folders[0].items.iter().find(|(name, _)| *name == "proc").unwrap().1;
        let mut extent = [0; 40];
        extent[16..20].copy_from_slice(&(64_u32 << 10).to_le_bytes());
        let all = answer(&tree, &request(op::READDIRPLUS, tree.number(proc)), &extent, &known);
        let all = all.unwrap().unwrap();
        let name = b"meminfo\0";
        let one = answer(&tree, &request(op::LOOKUP, tree.number(proc)), name, &known).unwrap().unwrap();
        assert!(all.windows(one.len()).any(|part| part == one), "the same entry");
        assert_eq!(
            answer(&tree, &request(op::LOOKUP, tree.number(proc)), b"none\0", &known),
            Some(Err(errno::NO_ENTRY))
        );
        assert_eq!(answer(&tree, &request(op::READ, 1), &[], &known), None);
    }
}
