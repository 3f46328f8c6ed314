#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostel_warden::parsers::entry::journal_file(bytes));
