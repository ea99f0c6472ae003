//! Publish specifications: parsing never panics and shows itself canonically.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_testkit::fuzz::fuzz_spec(data));
