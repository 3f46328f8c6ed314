//! What a guest's status page says, fetched by a throwaway reader and taken as a stranger's word.

use crate::error::{Error, Result};
use crate::escape::printable_line;
use crate::join;
use hostel_boot::Boot;
use hostel_boot::edges::{Edges, LIST_MAX};
use hostel_contract::status::{
    ActiveState, GuestState, MAGIC, PAGE_MAX, StatusHeader, StatusRow, StatusText, SubState, TEXT_SIZE,
    UNITS_MAX, UnitResult, VERSION, row_offset, text_offset,
};
use hostel_contract::{fakes, paths};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a guest may take to show its page.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the list of unit names at most: each name has 255 and its newline.
const NAMES_MAX: usize = 256 * (UNITS_MAX + 1);
/// Bytes of what is said of clocks, at most.
const CLOCKS_MAX: usize = 256;
/// Times that a page is read again because init was writing it.
const ATTEMPTS: u32 = 50;

/// A unit, in words. All text is printable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Full name.
    pub name: String,
    /// systemd's active state.
    pub active: &'static str,
    /// systemd's sub-state.
    pub sub: &'static str,
    /// How its last life ended.
    pub result: &'static str,
    /// Its main process, as the guest numbers it; 0 for none.
    pub main_pid: u32,
    /// Automatic restarts.
    pub restarts: u16,
    /// Milliseconds of the guest's monotonic clock when it came into this active state.
    pub since_ms: u64,
    /// Exit status or signal of its main process, where it ended by itself.
    pub exit_status: u8,
    /// Whether that is a signal.
    pub killed: bool,
    /// Its STATUS= text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A guest's own word on itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuestStatus {
    /// Where it is in its life.
    pub state: &'static str,
    /// Units that failed.
    pub failed: u16,
    /// Jobs that wait or run.
    pub jobs: u32,
    /// Times that its warden was started.
    pub wardens: u32,
    /// Processes reaped by init.
    pub reaped: u64,
    /// Microseconds from init's begin until all jobs of the default target were done; none before.
    pub ready_usec: Option<u64>,
    /// Its units, in the order of the plan.
    pub units: Vec<Unit>,
}

impl GuestStatus {
    /// Asks a running guest. `None`: init has no page yet.
    pub fn ask(guest: &join::Guest) -> Result<Option<GuestStatus>> {
        ask(guest, &[paths::STATUS, paths::UNITS], |said| Ok(status(&page_of(said)?)))
    }

    /// Units that failed.
    pub fn failed_units(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| unit.active == ActiveState::Failed.name())
    }
}

/// A running guest's boot, by its own word. `None`: init has no page yet.
pub fn ask_boot(guest: &join::Guest) -> Result<Option<Boot>> {
    ask(guest, &[paths::STATUS, paths::UNITS, paths::EDGES], boot)
}

/// What a guest has set its clocks to: seconds ahead of the machine's. It has no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Clocks {
    /// The wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ahead: Option<i64>,
    /// /dev/rtc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtc_ahead: Option<i64>,
}

impl Clocks {
    /// Asks a running guest's fakes; where it has none, it has set none.
    pub fn ask(guest: &join::Guest) -> Result<Clocks> {
        let path = format!("{}/{}", paths::FAKES, fakes::CLOCK);
        let read = guest.read_inside(CLOCKS_MAX + 8, PATIENCE, |pipe| {
            if write_files(pipe, &[&path]).is_ok() { 0 } else { 1 }
        })?;
        let (said, _) = split_file(&read).unwrap_or_default();
        Ok(Clocks::parse(&String::from_utf8_lossy(said)))
    }

    fn parse(said: &str) -> Clocks {
        let of =
            |name| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        Clocks { wall_ahead: of("wall"), rtc_ahead: of("rtc") }
    }
}

/// Reads files of the guest's until they are at rest and belong together.
fn ask<T>(guest: &join::Guest, files: &[&str], decode: impl Fn(&[u8]) -> Decoded<T>) -> Result<Option<T>> {
    let name = &guest.record.guest.name;
    let bound = 3 * 8 + PAGE_MAX + NAMES_MAX + LIST_MAX;
    for _ in 0..ATTEMPTS {
        let bytes = guest
            .read_inside(bound, PATIENCE, |pipe| if write_files(pipe, files).is_ok() { 0 } else { 1 })?;
        match decode(&bytes) {
            Ok(told) => return Ok(Some(told)),
            Err(Untold::Nothing) => return Ok(None),
            Err(Untold::BeingWritten) => std::thread::sleep(Duration::from_millis(2)),
            Err(Untold::Garbage(why)) => {
                return Err(Error::Invalid(format!("the status page of guest {name}: {why}")));
            }
        }
    }
    Err(Error::Timeout(format!("the status page of guest {name} never comes to rest")))
}

/// The reader, inside the guest: each file with its length before it; what can't be read is empty.
fn write_files(pipe: &OwnedFd, files: &[&str]) -> rustix::io::Result<()> {
    for path in files {
        let read = read_file(path, bound_of(path)).unwrap_or_default();
        for bytes in [&(read.len() as u64).to_le_bytes()[..], &read] {
            let mut rest = bytes;
            while !rest.is_empty() {
                let written = rustix::io::retry_on_intr(|| rustix::io::write(pipe, rest))?;
                rest = &rest[written..];
            }
        }
    }
    Ok(())
}

/// Bytes of a file that are read at most.
fn bound_of(path: &str) -> usize {
    match path {
        paths::STATUS => PAGE_MAX,
        paths::UNITS => NAMES_MAX,
        _ => LIST_MAX,
    }
}

fn read_file(path: &str, bound: usize) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let mut read = vec![0; bound];
    let mut length = 0;
    while length < bound {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut read[length..]))? {
            0 => break,
            more => length += more,
        }
    }
    read.truncate(length);
    Ok(read)
}

/// What came out of the pipe, or why it told nothing.
type Decoded<T> = std::result::Result<T, Untold>;

/// Why files tell nothing.
#[derive(Debug, PartialEq, Eq)]
enum Untold {
    /// There's no page.
    Nothing,
    /// Init was writing it, or the warden hasn't yet written what belongs to it.
    BeingWritten,
    /// It is something else.
    Garbage(&'static str),
}

/// A page and the names that belong to it.
struct Page<'a> {
    header: StatusHeader,
    bytes: &'a [u8],
    names: Vec<&'a [u8]>,
    /// What came behind these two.
    rest: &'a [u8],
}

impl Page<'_> {
    fn rows(&self) -> impl Iterator<Item = (String, StatusRow)> {
        (0..usize::from(self.header.units)).filter_map(|index| {
            let row = StatusRow::decode(self.bytes.get(row_offset(index)..)?)?;
            Some((printable_line(self.names.get(index).copied().unwrap_or_default()), row))
        })
    }
}

/// The next file of those in a pipe, and what follows.
fn split_file(bytes: &[u8]) -> Decoded<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(Untold::Nothing)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    rest.split_at_checked(length).ok_or(Untold::Garbage("it is cut off"))
}

fn page_of(said: &[u8]) -> Decoded<Page<'_>> {
    let (bytes, rest) = split_file(said)?;
    let header = StatusHeader::decode(bytes).ok_or(Untold::Nothing)?;
    // Init's first write is the sequence, before the magic number: a page without that is on its way.
    if header.sequence % 2 == 1 || header.magic == 0 {
        return Err(Untold::BeingWritten);
    }
    if header.magic != MAGIC || header.version != VERSION {
        return Err(Untold::Garbage("it isn't one of this version"));
    }
    let count = usize::from(header.units);
    if count > UNITS_MAX || bytes.len() < row_offset(count) {
        return Err(Untold::Garbage("it has fewer rows than it says"));
    }
    let (list, rest) = split_file(rest)?;
    let (fits, names) = names_of(list);
    // Names of another plan than the rows': the one is being replaced.
    if count > 0 && fits != Some(header.plan_checksum) {
        return Err(Untold::BeingWritten);
    }
    Ok(Page { header, bytes, names, rest })
}

fn status(page: &Page<'_>) -> GuestStatus {
    let header = &page.header;
    GuestStatus {
        state: GuestState::from_code(header.state).map_or("unknown", GuestState::name),
        failed: header.failed,
        jobs: header.jobs,
        wardens: header.wardens,
        reaped: header.reaped,
        ready_usec: (header.ready_usec > 0).then(|| header.ready_usec.saturating_sub(header.began_usec)),
        units: page.rows().map(|(name, row)| unit(page.bytes, name, &row)).collect(),
    }
}

fn boot(said: &[u8]) -> Decoded<Boot> {
    let page = page_of(said)?;
    let edges = Edges::parse(split_file(page.rest)?.0).unwrap_or_default();
    if page.header.units > 0 && edges.checksum() != page.header.plan_checksum {
        return Err(Untold::BeingWritten);
    }
    Ok(Boot::new(&page.header, page.rows(), &edges))
}

/// The checksum in the first line of the list of names, and the names.
fn names_of(text: &[u8]) -> (Option<u64>, Vec<&[u8]>) {
    let mut lines = text.split(|&b| b == b'\n');
    let first = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let checksum = first.and_then(|line| u64::from_str_radix(line.strip_prefix("# ")?.trim(), 16).ok());
    (checksum, lines.filter(|line| !line.is_empty()).collect())
}

fn unit(page: &[u8], name: String, row: &StatusRow) -> Unit {
    const KILLED: u8 = 2;
    let at = usize::from(row.text).checked_sub(1).map(text_offset);
    let text = at.and_then(|at| page.get(at..)).and_then(|slot| slot.get(..TEXT_SIZE));
    let text = text.map(|slot| StatusText::new(slot).bytes().to_vec()).unwrap_or_default();
    Unit {
        name,
        active: ActiveState::from_code(row.active).map_or("unknown", ActiveState::name),
        sub: SubState::from_code(row.sub).map_or("unknown", SubState::name),
        result: UnitResult::from_code(row.result).map_or("unknown", UnitResult::name),
        main_pid: row.main_pid,
        restarts: row.restarts,
        since_ms: row.since_ms,
        exit_status: row.exit_status,
        killed: row.exit_kind >= KILLED,
        text: printable_line(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(units: u16, sequence: u32) -> StatusHeader {
        StatusHeader {
            magic: MAGIC,
            version: VERSION,
            units,
            sequence,
            state: GuestState::Running.code(),
            shutdown: 0,
            failed: 0,
            jobs: 0,
            wardens: 1,
            began_usec: 100,
            plan_usec: 200,
            ready_usec: 1100,
            plan_checksum: 0xabc,
            reaped: 0,
        }
    }

    fn message(header: &StatusHeader, rows: usize, names: &str) -> Vec<u8> {
        let mut page = header.encode().to_vec();
        page.resize(row_offset(rows), 0);
        [&(page.len() as u64).to_le_bytes()[..], &page, &(names.len() as u64).to_le_bytes(), names.as_bytes()]
            .concat()
    }

    fn decode(said: &[u8]) -> Decoded<GuestStatus> {
        Ok(status(&page_of(said)?))
    }

    #[test]
    fn given_what_a_guest_says_of_its_clocks_when_read_then_only_numbers_count() {
        let clocks = Clocks::parse("wall -86400\nrtc 5\n");
        assert_eq!(clocks, Clocks { wall_ahead: Some(-86_400), rtc_ahead: Some(5) });
        for nonsense in ["", "wall\n", "wall x\nrtc 99999999999999999999\n", "wallaby 3\n"] {
            assert_eq!(Clocks::parse(nonsense), Clocks::default(), "{nonsense:?}");
        }
    }

    #[test]
    fn given_a_page_and_its_names_when_decoded_then_units_have_names_and_words() {
        let status = decode(&message(&header(2, 4), 2, "# abc\na.service\nb\u{1b}.socket\n")).unwrap();
        assert_eq!((status.state, status.ready_usec), ("running", Some(1000)));
        let names: Vec<_> = status.units.iter().map(|unit| (unit.name.as_str(), unit.active)).collect();
        assert_eq!(names, [("a.service", "inactive"), ("b\\x1b.socket", "inactive")]);
    }

    #[test]
    fn given_a_page_in_the_making_when_decoded_then_it_is_to_be_read_again() {
        assert!(matches!(decode(&message(&header(0, 5), 0, "")), Err(Untold::BeingWritten)));
        assert!(matches!(decode(&message(&header(1, 4), 1, "# abd\na\n")), Err(Untold::BeingWritten)));
    }

    #[test]
    fn given_hostile_bytes_when_decoded_then_nothing_is_believed() {
        assert!(matches!(decode(b""), Err(Untold::Nothing)));
        assert!(matches!(decode(&[0xff; 40]), Err(Untold::Garbage(_))));
        let mut lying = message(&header(u16::MAX, 4), 0, "");
        assert!(matches!(decode(&lying), Err(Untold::Garbage(_))));
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode(&lying), Err(Untold::Garbage(_))));
    }
    #[test]
    fn given_a_page_and_its_edges_when_decoded_then_there_is_a_boot_and_with_others_none() {
        let names = message(&header(2, 4), 2, "# abc\na.service\nb.target\n");
        let with = |edges: &str| {
            let length = (edges.len() as u64).to_le_bytes();
            boot(&[&names, &length[..], edges.as_bytes()].concat())
        };
        let told = with("# abc 1\n\nAfter=0 Wants=0\n").unwrap();
        assert_eq!((told.ready, told.default, told.units[0].queued), (Some(1000), Some(1), true));
        assert_eq!(with("# abd 1\n").err(), Some(Untold::BeingWritten));
        assert_eq!(boot(&names).err(), Some(Untold::Nothing));
    }
}
