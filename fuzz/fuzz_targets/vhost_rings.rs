//! Any bytes as a guest's memory with a ring in it, against the simplest reading of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_link::fuzz::fuzz_vhost_rings(data));
