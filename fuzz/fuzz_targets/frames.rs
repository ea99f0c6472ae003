//! Arbitrary frames into an engine with live flows.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_testkit::fuzz::fuzz_frames(data));
