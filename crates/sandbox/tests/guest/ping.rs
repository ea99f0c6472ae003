//! A gateway that can do one thing: send the guest a ping through its TAP and see the answer.
//!
//! Shows that the device's framing, addresses and neighbour entries fit together. The frames are
//! those of RFC 792 in RFC 791 in Ethernet, behind a virtio-net header of all zeros (no offload).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use portreeve_sandbox::VNET_HEADER_LEN;
use portreeve_types::{Addressing, MacAddr};
use rustix::event::{PollFd, PollFlags, Timespec};

const HEADER: usize = VNET_HEADER_LEN as usize;

/// Pings the guest; whether it answered straight away, without asking for our address first.
pub(crate) fn ping(tap: &OwnedFd, addressing: &Addressing, sequence: u8) -> bool {
    let link = addressing.ipv4.expect("IPv4");
    let guest_mac = addressing.guest_mac.expect("a MAC address");
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34, 0, sequence];
    icmp.extend(b"portreeve");
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let length = u8::try_from(20 + icmp.len()).expect("short");
    let mut ip = vec![0x45, 0, 0, length, 0, 0, 0x40, 0, 64, 1, 0, 0];
    ip.extend(link.gateway.octets());
    ip.extend(link.guest.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut frame = vec![0; HEADER];
    frame.extend(ethernet(guest_mac, addressing.gateway_mac));
    frame.extend(ip);
    frame.extend(&icmp);
    let mut file = File::from(tap.try_clone().expect("a descriptor"));
    file.write_all(&frame).expect("a TAP");

    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let mut waiting = [PollFd::new(tap, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if rustix::event::poll(&mut waiting, Some(&timeout)).expect("a TAP") == 0 {
            continue;
        }
        let mut bytes = [0; 2048];
        let length = file.read(&mut bytes).expect("a frame");
        let frame = &bytes[HEADER..length];
        assert_ne!(frame[12..14], [0x08, 0x06], "the guest had to ask who we are");
        let reply = ethernet(addressing.gateway_mac, guest_mac);
        // An echo reply with our identifier, sequence number and data.
        if frame.starts_with(&reply) && frame.len() >= 34 + icmp.len() && frame[34] == 0 {
            return frame[38..34 + icmp.len()] == icmp[4..];
        }
    }
    false
}

fn ethernet(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.0[..], &from.0[..], &[0x08, 0x00]].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}
