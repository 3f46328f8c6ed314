//! The messages of FUSE, as far as fakes need them: linux/fuse.h, protocol 7.31 (Linux 5.15 speaks 7.34).
//!
//! Pure: bytes in, bytes out. Requests come from the kernel, which is right; they are read with bounds all the same.

/// Operations that are answered with something other than "not implemented".
pub mod op {
    #![allow(missing_docs, reason = "names of linux/fuse.h")]
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const INIT: u32 = 26;
    pub const READDIR: u32 = 28;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const IOCTL: u32 = 39;
    pub const BATCH_FORGET: u32 = 42;
    pub const READDIRPLUS: u32 = 44;
}

/// Numbers of errno(3) that are answered.
pub mod errno {
    #![allow(missing_docs, reason = "ENOENT, ENOTDIR, EINVAL, ENOSYS, EPROTO, ESTALE")]
    pub const NO_ENTRY: i32 = 2;
    pub const NOT_A_FOLDER: i32 = 20;
    pub const INVALID: i32 = 22;
    pub const NOT_IMPLEMENTED: i32 = 38;
    pub const PROTOCOL: i32 = 71;
    pub const STALE: i32 = 116;
}

/// S_IFDIR, the type in the mode of a folder.
pub const FOLDER: u32 = 0o040_000;
/// S_IFREG, the same of a file.
pub const FILE: u32 = 0o100_000;
/// S_IFMT: the bits of the type.
const TYPE: u32 = 0o170_000;

/// Bytes in front of every request.
pub const IN_HEADER: usize = 40;
/// Bytes in front of every answer.
pub const OUT_HEADER: usize = 16;
/// Smallest buffer that the kernel reads a request into (FUSE_MIN_READ_BUFFER); our requests all fit.
pub const REQUEST_MAX: usize = 8192;
/// Longest write that is asked for at once.
const WRITE_MAX: u32 = 4096;

/// struct fuse_in_header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Length with this header.
    pub length: u32,
    /// See [`op`].
    pub operation: u32,
    /// Names the request; never used again, never 0.
    pub unique: u64,
    /// What it is about.
    pub node: u64,
    /// Who asks, as the file system's user namespace has it.
    pub uid: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Request {
    /// Of the bytes received.
    pub fn parse(bytes: &[u8]) -> Option<Request> {
        Some(Request {
            length: u32_at(bytes, 0)?,
            operation: u32_at(bytes, 4)?,
            unique: u64_at(bytes, 8)?,
            node: u64_at(bytes, 16)?,
            uid: u32_at(bytes, 24)?,
        })
    }

    /// Does the kernel wait for an answer?
    pub fn is_answered(&self) -> bool {
        !matches!(self.operation, op::FORGET | op::BATCH_FORGET | op::INTERRUPT | op::DESTROY)
    }
}

/// A part of a file, or of a folder's list: of READ, READDIR and WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
}

impl Extent {
    /// Of what follows the header.
    pub fn parse(body: &[u8]) -> Option<Extent> {
        Some(Extent { offset: u64_at(body, 8)?, size: u32_at(body, 16)? })
    }
}

/// What is written: struct fuse_write_in is 40 bytes.
pub fn written(body: &[u8]) -> Option<(Extent, &[u8])> {
    let extent = Extent::parse(body)?;
    Some((extent, body.get(40..40 + extent.size as usize)?))
}

/// The number of an ioctl, and its argument's bytes: struct fuse_ioctl_in is 32 bytes.
pub fn control(body: &[u8]) -> Option<(u32, &[u8])> {
    let length = u32_at(body, 24)? as usize;
    Some((u32_at(body, 12)?, body.get(32..32 + length)?))
}

/// struct fuse_ioctl_out of one that has done well, and what it gives back.
pub fn controlled(bytes: &[u8]) -> Vec<u8> {
    [&[0; 16], bytes].concat()
}

/// What a LOOKUP asks for.
pub fn name(body: &[u8]) -> &[u8] {
    body.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub node: u64,
    /// Bytes.
    pub size: u64,
    /// When it changed: nanoseconds of CLOCK_REALTIME. The kernel drops what it kept of the file where this is another.
    pub changed_ns: u64,
    /// Type and permissions.
    pub mode: u32,
    /// How long the kernel may take this for granted, in milliseconds.
    pub life_ms: u64,
}

/// Bytes of struct fuse_attr.
const ATTR: usize = 88;

fn attr(attributes: &Attributes) -> [u8; ATTR] {
    let Attributes { node, size, changed_ns, mode, .. } = *attributes;
    let (seconds, nanoseconds) = (changed_ns / 1_000_000_000, (changed_ns % 1_000_000_000) as u32);
    let links: u32 = if mode & TYPE == FOLDER { 2 } else { 1 };
    let mut out = [0; ATTR];
    let longs = [node, size, 0, seconds, seconds, seconds];
    for (room, value) in out.chunks_exact_mut(8).zip(longs) {
        room.copy_from_slice(&value.to_le_bytes());
    }
    // Owner and group are 0; no device; the block size is a page's.
    let ints = [nanoseconds, nanoseconds, nanoseconds, mode, links, 0, 0, 0, 4096, 0];
    for (room, value) in out[48..].chunks_exact_mut(4).zip(ints) {
        room.copy_from_slice(&value.to_le_bytes());
    }
    out
}

fn life(milliseconds: u64) -> ([u8; 8], [u8; 4]) {
    let nanoseconds = (milliseconds % 1000 * 1_000_000) as u32;
    ((milliseconds / 1000).to_le_bytes(), nanoseconds.to_le_bytes())
}

/// How long names are good: there are no others than at the start. A week, which no sum overflows.
const NAME_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;

/// struct fuse_attr_out.
pub fn attributes(of: &Attributes) -> Vec<u8> {
    let (seconds, nanoseconds) = life(of.life_ms);
    [&seconds[..], &nanoseconds, &[0; 4], &attr(of)].concat()
}

/// struct fuse_entry_out.
pub fn entry(of: &Attributes) -> Vec<u8> {
    let (seconds, nanoseconds) = life(of.life_ms);
    let (name_seconds, name_nanoseconds) = life(NAME_LIFE_MS);
    let node = of.node.to_le_bytes();
    [&node[..], &[0; 8], &name_seconds, &seconds, &name_nanoseconds, &nanoseconds, &attr(of)].concat()
}

/// struct fuse_init_out, for what the kernel offers; `None` where it is older than protocol 7.31.
pub fn init(body: &[u8]) -> Option<Vec<u8>> {
    /// FUSE_ASYNC_READ, PARALLEL_DIROPS, AUTO_INVAL_DATA, DO_READDIRPLUS, NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT.
    const WANTED: u32 = 1 | 1 << 18 | 1 << 12 | 1 << 13 | 1 << 17 | 1 << 24;
    const READ_AHEAD: u32 = 128 * 1024;
    let (major, minor, offered) = (u32_at(body, 0)?, u32_at(body, 4)?, u32_at(body, 12)?);
    if major != 7 || minor < 31 {
        return None;
    }
    let mut out = vec![0; 64];
    // Requests that wait in the background, and how many are a crowd.
    let background = 64 | 48 << 16;
    // Without the flag for it (FUSE_MAX_PAGES) 32 pages are the most that is read at once: READ_AHEAD.
    let ints = [7, 31, READ_AHEAD, offered & WANTED, background, WRITE_MAX, 1];
    for (room, value) in out.chunks_exact_mut(4).zip(ints) {
        room.copy_from_slice(&value.to_le_bytes());
    }
    Some(out)
}

/// struct fuse_statfs_out: no blocks, so that `df` leaves it out.
pub fn statistics() -> Vec<u8> {
    let mut out = vec![0; 80];
    for (at, value) in [(40, 4096_u32), (44, 255), (48, 4096)] {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    out
}

/// struct fuse_write_out.
pub fn taken(size: u32) -> Vec<u8> {
    [size.to_le_bytes(), [0; 4]].concat()
}

/// What stands in a folder.
pub struct Item<'a> {
    /// What is known of it.
    pub known: Attributes,
    /// Its name.
    pub name: &'a str,
}

/// A folder's list from an offset on (how many entries were had), as far as it fits: struct fuse_dirent.
pub fn list<'a>(items: impl Iterator<Item = Item<'a>>, extent: Extent) -> Vec<u8> {
    listed(items, extent, |_| Vec::new())
}

/// The same with what is known of each: struct fuse_direntplus.
pub fn list_with_attributes<'a>(items: impl Iterator<Item = Item<'a>>, extent: Extent) -> Vec<u8> {
    listed(items, extent, entry)
}

fn listed<'a>(
    items: impl Iterator<Item = Item<'a>>,
    extent: Extent,
    before: impl Fn(&Attributes) -> Vec<u8>,
) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, Item { known, name }) in items.enumerate().skip(extent.offset as usize) {
        let before = before(&known);
        let length = before.len() + 24 + name.len();
        if out.len() + length.next_multiple_of(8) > extent.size as usize {
            break;
        }
        out.extend_from_slice(&before);
        out.extend_from_slice(&known.node.to_le_bytes());
        out.extend_from_slice(&(at as u64 + 1).to_le_bytes());
        out.extend_from_slice(&(name.len() as u32).to_le_bytes());
        out.extend_from_slice(&((known.mode & TYPE) >> 12).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// An answer's header, for so many bytes behind it.
pub fn success(unique: u64, length: usize) -> [u8; OUT_HEADER] {
    header(unique, 0, length)
}

/// An answer that is an errno.
pub fn failure(unique: u64, errno: i32) -> [u8; OUT_HEADER] {
    header(unique, -errno, 0)
}

fn header(unique: u64, error: i32, length: usize) -> [u8; OUT_HEADER] {
    let mut out = [0; OUT_HEADER];
    out[..4].copy_from_slice(&((OUT_HEADER + length) as u32).to_le_bytes());
    out[4..8].copy_from_slice(&error.to_le_bytes());
    out[8..].copy_from_slice(&unique.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_request_that_is_cut_short_when_parsed_then_there_is_none() {
        let mut bytes = [0; IN_HEADER];
        bytes[4] = 3;
        bytes[8] = 9;
        let request = Request::parse(&bytes).unwrap();
        assert_eq!((request.operation, request.unique), (op::GETATTR, 9));
        assert_eq!(Request::parse(&bytes[..27]), None);
        assert_eq!(Extent::parse(&[0; 19]), None);
        let mut write = [0; 50];
        write[16] = 10;
        assert_eq!(written(&write).unwrap().1.len(), 10);
        write[16] = 11;
        assert_eq!(written(&write), None, "more is said to be written than is there");
    }

    #[test]
    fn given_answers_then_they_have_the_sizes_of_the_kernels_structs() {
        let file = Attributes { node: 2, size: 3, changed_ns: 4_000_000_005, mode: 0o100444, life_ms: 50 };
        assert_eq!(attributes(&file).len(), 104);
        assert_eq!(entry(&file).len(), 128);
        assert_eq!(statistics().len(), 80);
        let mut offer = [0xff; 64];
        offer[..4].copy_from_slice(&7_u32.to_le_bytes());
        offer[4..8].copy_from_slice(&36_u32.to_le_bytes());
        assert_eq!(init(&offer).unwrap().len(), 64);
        offer[4..8].copy_from_slice(&12_u32.to_le_bytes());
        assert_eq!(init(&offer), None, "too old");
    }

    #[test]
    fn given_a_list_that_does_not_fit_when_read_on_then_nothing_is_left_out_or_said_twice() {
        let names = ["one", "two", "a-name-of-some-length", "four"];
        let known =
            |at| Attributes { node: at as u64 + 2, size: 0, changed_ns: 0, mode: FILE | 0o444, life_ms: 0 };
        let items = || names.iter().enumerate().map(|(at, name)| Item { known: known(at), name });
        let (mut seen, mut offset) = (Vec::new(), 0);
        loop {
            let page = list(items(), Extent { offset, size: 64 });
            if page.is_empty() {
                break;
            }
            let mut at = 0;
            while at < page.len() {
                offset = u64_at(&page, at + 8).unwrap();
                let length = u32_at(&page, at + 16).unwrap() as usize;
                seen.push(String::from_utf8(page[at + 24..at + 24 + length].to_vec()).unwrap());
                at += (24 + length).next_multiple_of(8);
            }
        }
        assert_eq!(seen, names);
    }
}
