//! Transitions of both ends, against the reference model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_testkit::fuzz::run_model(data));
