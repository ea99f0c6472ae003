//! Any bytes as what a vhost-user front end says, and what its guest has in memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_link::fuzz::fuzz_vhost_messages(data));
