#![no_main]

use hostel_init::notification::{assignments, store};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(assignments(bytes).count() <= bytes.len());
    let store = store(bytes);
    assert!(store.name.is_none_or(|name| name.len() <= bytes.len()));
});
