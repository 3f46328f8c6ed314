//! The file system of a guest's fakes, as the kernel sees it: FUSE's messages ([`protocol`]), the tree with its numbers
//! ([`tree`]), the answers to what is about names alone ([`names`]), and the contents that never change ([`constants`]).
//!
//! Two answer one and the same connection: the spawner, while it binds each file over what it stands for, and
//! `hostel-warden fakes`, from the first request on that is about a content. So what they must agree on is here. Pure:
//! bytes in, bytes out; it touches nothing.

pub mod constants;
pub mod filesystems;
pub mod names;
pub mod protocol;
pub mod tree;
