//! Bytes of a guest's stream, cut anywhere, against the simplest reading of the framings.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_link::fuzz::fuzz_stream(data));
