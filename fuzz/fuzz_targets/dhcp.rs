//! DHCP, DHCPv6 and discovery messages of a guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_testkit::fuzz::fuzz_dhcp(data));
