//! TCP-shaped segments around a live flow, in every phase.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_testkit::fuzz::fuzz_tcp_front(data));
