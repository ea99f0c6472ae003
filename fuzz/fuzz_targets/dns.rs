//! Messages of the guest and of upstreams into the name server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    portreeve_dns::fuzz::run(data);
});
