//! Entry points for noise: any bytes in, and whatever comes out must hold to what is asserted here. The fuzz targets
//! of the folder `fuzz` call them, and so do the tests, with mutated samples.

use std::path::Path;

/// Any bytes as text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A unit file, as each kind of unit.
pub fn unit(bytes: &[u8]) {
    for name in ["a@b-c.service", "a.socket", "a.timer", "a.mount", "a.path", "a.slice", "a.target"] {
        super::read_unit(name, bytes);
    }
}

/// A calendar event: its elapses ascend, after the moment asked for.
pub fn calendar(bytes: &[u8]) {
    for after in [0, 1_800_000_000_000_000, 7_258_118_399_999_999] {
        if let Ok(found) = super::calendar(&text(bytes), after, 3, Path::new("/nonexistent")) {
            assert!(found.iter().all(|at| *at > after) && found.is_sorted());
        }
    }
}

/// An environment file: nothing is made up.
pub fn environment_file(bytes: &[u8]) {
    let found = super::environment_file(bytes);
    let length: usize = found.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(length <= bytes.len());
}

/// Words of a value.
pub fn quoting(bytes: &[u8]) {
    let text = text(bytes);
    let words = super::words(&text).unwrap_or_default();
    assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
}

/// Time spans and sizes.
pub fn time_span(bytes: &[u8]) {
    super::time_span(&text(bytes));
    super::size(&text(bytes));
}

/// Specifiers, escapes and names.
pub fn specifiers(bytes: &[u8]) {
    let text = text(bytes);
    super::resolve(&text, "a@b\\x2dc.service");
    let escaped = super::escape(&text);
    assert!(text.contains('\0') || super::unescape(&escaped, false).as_deref() == Some(&*text));
    super::unescape(&text, true);
    if let Some(name) = super::mangle(&text) {
        assert_eq!(super::mangle(&name).as_deref(), Some(&*name));
    }
}

/// A plan: what validates can be read to the end.
pub fn plan(bytes: &[u8]) {
    if super::plan(bytes).is_ok() {
        return;
    }
    // With a right checksum more of it is looked at.
    let mut bytes = bytes.to_vec();
    let sum = hostel_plan::layout::checksum(&bytes).to_le_bytes();
    if let Some(room) = bytes.get_mut(8..16) {
        room.copy_from_slice(&sum);
        let _ = super::plan(&bytes);
    }
}

/// Records of the contract: decoding and encoding give what was there.
pub fn contract(bytes: &[u8]) {
    use hostel_contract::{control, exec, log, status};
    macro_rules! same {
        ($($record:ty),*) => {$(
            if let Some(record) = <$record>::decode(bytes) {
                assert_eq!(<$record>::decode(&record.encode()), Some(record));
                let _ = format!("{record:?}");
            }
        )*};
    }
    same!(control::ControlRequest, exec::ExecRequest, exec::ExecRecord, log::LogRecord, status::UnitRecord);
}

/// What the log consists of.
pub fn log(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some((name, text)) = super::log_line(line) {
            assert!(name + text < line.len());
        }
    }
    // Lines that are none are left out: what is kept is the same again.
    if let Some(again) = super::log_carry(bytes) {
        assert_eq!(super::log_carry(&again), Some(again));
    }
}

/// A D-Bus message: what is understood is understood again when written anew.
pub fn bus(bytes: &[u8]) {
    if let Some(again) = super::bus_message(bytes) {
        assert_eq!(super::bus_message(&again), Some(again));
    }
}

/// The journal's streams and datagrams.
pub fn journal_input(bytes: &[u8]) {
    super::journal_input(bytes);
}

/// A journal file with some bytes changed: each four of the input are an offset and a byte.
pub fn journal_file(bytes: &[u8]) {
    super::journal_file(bytes);
}
