//! DHCP, DHCPv6, router and neighbour discovery messages of a guest, well packed and else arbitrary.
//!
//! The input is a sequence of records: a kind byte, then what it needs. Lengths and checksums below
//! the messages are right, so that the fuzzer's bytes reach their parsers; some records are a sound
//! message with a few bytes changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portreeve_types::Announce;
use portreeve_wire::checksum;
use portreeve_wire::packet::Protocol;

use super::Input;
use crate::packet::{datagram, ethernet, ip};
use crate::pair::{Pair, PairSpec};

/// Feeds what `data` describes to an engine's gateway.
///
/// # Panics
/// When the engine does, answers with a frame that no card would take, or is left with work.
pub fn fuzz_dhcp(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pair = gateway(&mut input);
    let mut records = 0;
    while !input.is_empty() && records < MAX_RECORDS {
        record(&mut pair, &mut input);
        records += 1;
    }
    pair.assert_no_timer();
    assert!(pair.engine.is_quiescent(), "{}", pair.describe());
}

fn gateway(input: &mut Input<'_>) -> Pair {
    let flags = input.byte();
    let mut spec = PairSpec::default();
    if flags & 1 != 0 {
        spec.config.addressing.guest_mac = None;
    }
    if flags & 2 != 0 {
        spec.config.addressing.mtu = 1280;
    }
    if flags & 4 != 0 {
        let search = vec!["corp.example".to_owned(), "x".repeat(60), "y".repeat(63)];
        let hostname = Some("vm".to_owned());
        spec.config.announce = Announce { search, hostname, ..Announce::default() };
    }
    if flags & 8 != 0
        && let Some(link) = &mut spec.config.addressing.ipv6
    {
        link.prefix_len = 120;
    }
    Pair::new(spec)
}

fn record(pair: &mut Pair, input: &mut Input<'_>) {
    let kind = input.byte();
    match kind % 6 {
        0 => say_v4(pair, kind, input.slice()),
        1 => {
            let message = discover(pair, input);
            say_v4(pair, kind, &message);
        }
        2 => say_v6(pair, kind, input.slice()),
        3 => {
            let message = solicit(input);
            say_v6(pair, kind, &message);
        }
        4 => discovery(pair, kind, input),
        _ => pair.run_for(Duration::from_secs(u64::from(input.byte()) * 16)),
    }
}

/// A DHCP message whose fixed fields are right but for a few bytes, and any options.
fn discover(pair: &Pair, input: &mut Input<'_>) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&pair.guest.nic.mac);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    for _ in 0..input.below(8) {
        let at = usize::from(input.byte()).min(239);
        message[at] = input.byte();
    }
    message.extend_from_slice(&[53, 1, 1 + input.byte() % 9]);
    message.extend_from_slice(input.slice());
    message
}

/// A DHCPv6 message with identifiers, right or wrong, and any options.
fn solicit(input: &mut Input<'_>) -> Vec<u8> {
    let flags = input.byte();
    let mut message = vec![1 + flags % 13, 1, 2, 3];
    if flags & 0x80 != 0 {
        message.extend_from_slice(&[0, 1, 0, 10, 0, 3, 0, 1, 2, 0x50, 0x52, 0, 0, 2]);
    }
    if flags & 0x40 != 0 {
        message.extend_from_slice(&[0, 2, 0, 10, 0, 3, 0, 1, 2, 0x50, 0x52, 0, 0, 1]);
    }
    message.extend_from_slice(input.slice());
    message
}

fn say_v4(pair: &mut Pair, kind: u8, message: &[u8]) {
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    let from = if kind & 0x80 != 0 { guest } else { Ipv4Addr::UNSPECIFIED.into() };
    let to = if kind & 0x40 != 0 { gateway } else { Ipv4Addr::BROADCAST.into() };
    say(pair, SocketAddr::new(from, 68), SocketAddr::new(to, 67), message);
}

fn say_v6(pair: &mut Pair, kind: u8, message: &[u8]) {
    let guest = pair.guest.address(true);
    let from = if kind & 0x80 != 0 { guest } else { LOCAL.into() };
    let to = if kind & 0x40 != 0 { ROUTER } else { SERVERS };
    say(pair, SocketAddr::new(from, 546), SocketAddr::new(to.into(), 547), message);
}

fn say(pair: &mut Pair, from: SocketAddr, to: SocketAddr, message: &[u8]) {
    let message = &message[..message.len().min(MAX_MESSAGE)];
    let upper = datagram(from, to, message);
    let packet = ip(from.ip(), to.ip(), Protocol::UDP, &upper, None);
    give(pair, &packet);
}

/// An ICMPv6 message of any type from an address the guest may have.
fn discovery(pair: &mut Pair, kind: u8, input: &mut Input<'_>) {
    let own = Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4d, 0, 0, 0, u16::from(input.byte()));
    let from: IpAddr = [LOCAL, Ipv6Addr::UNSPECIFIED, own][input.below(3)].into();
    let to: IpAddr = [ROUTER, ALL_ROUTERS][usize::from(kind >> 7)].into();
    let mut message = vec![[133, 135, 136, kind][input.below(4)], 0, 0, 0];
    message.extend_from_slice(input.slice());
    message.truncate(MAX_MESSAGE);
    let pseudo = checksum::pseudo_header(from, to, Protocol::ICMPV6, message.len());
    let sum = checksum::finish(pseudo + checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    give(pair, &ip(from, to, Protocol::ICMPV6, &message, None));
}

fn give(pair: &mut Pair, packet: &[u8]) {
    let frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, packet);
    let answers = pair.ask(&frame);
    // The answer, and an advertisement that was due.
    assert!(answers.len() <= 2, "{} answers", answers.len());
}

const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x50, 0x52ff, 0xfe00, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Records of one run.
const MAX_RECORDS: usize = 300;
/// What one packet holds.
const MAX_MESSAGE: usize = 60_000;
