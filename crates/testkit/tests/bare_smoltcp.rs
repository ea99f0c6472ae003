//! What the window guard is for: the released smoltcp, without it, panics on a hostile guest.
//!
//! With a receive ring of 64 KiB or more it remembers the window of its SYN, which is never
//! scaled, and later shifts it as if it were. Data far beyond the window, sent before the first
//! acknowledgement, then lands outside the ring. Should this test fail with a new smoltcp, the
//! guard has lost this reason; the tests of the guard itself are in `hostile.rs`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use portreeve_testkit::packet::{Segment, flag, segment_size_option, window_scale_option};
use portreeve_wire::tcp::TcpHeader;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpListenEndpoint};

const RING: usize = 1 << 18;
/// Within the window shifted once too often, beyond the ring.
const DISTANCE: u32 = 300_000;

#[derive(Default)]
struct OnePacket {
    received: Option<Vec<u8>>,
    sent: Option<Vec<u8>>,
}

impl Device for OnePacket {
    type RxToken<'a> = Received;
    type TxToken<'a> = Space<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Space<'_>)> {
        Some((Received(self.received.take()?), Space(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Space<'_>> {
        self.sent.is_none().then_some(Space(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Space<'a>(&'a mut Option<Vec<u8>>);

impl TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        *self.0 = Some(packet);
        result
    }
}

struct Bare {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Bare {
    fn new() -> Self {
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut OnePacket::default(), Instant::ZERO);
        interface.set_any_ip(true);
        let buffer = || SocketBuffer::new(vec![0; RING]);
        let mut socket = Socket::new(buffer(), buffer());
        // As the engine sets it: no acknowledgement leaves before the next egress.
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        Self { interface, sockets, handle }
    }

    fn give(&mut self, segment: &Segment) {
        let mut device = OnePacket { received: Some(segment.packet()), sent: None };
        self.interface.poll_ingress_single(Instant::ZERO, &mut device, &mut self.sockets);
    }

    fn take(&mut self) -> TcpHeader {
        let mut device = OnePacket::default();
        self.interface.poll_egress(Instant::ZERO, &mut device, &mut self.sockets);
        let packet = device.sent.expect("a segment");
        TcpHeader::parse(&packet[20..]).expect("a TCP header")
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

fn ends() -> (SocketAddr, SocketAddr) {
    (([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], 4000).into())
}

fn options() -> Vec<u8> {
    [segment_size_option(1460), window_scale_option(7)].concat()
}

/// A connection that was dialled, with the answer taken and nothing acknowledged yet.
fn dialled() -> (Bare, Segment) {
    let (guest, own) = ends();
    let mut bare = Bare::new();
    let Bare { interface, sockets, handle } = &mut bare;
    let local = IpListenEndpoint::from(own);
    sockets.get_mut::<Socket<'_>>(*handle).connect(interface.context(), guest, local).unwrap();
    let syn = bare.take();
    let answer = Segment {
        acknowledgement: syn.sequence.wrapping_add(1),
        options: options(),
        ..Segment::new(guest, own, flag::SYN | flag::ACK)
    };
    bare.give(&answer);
    assert_eq!(bare.socket().state(), State::Established);
    (bare, Segment { sequence: 1, options: vec![], flags: flag::ACK, ..answer })
}

/// A connection that was accepted, with only the SYN-ACK sent.
fn accepted() -> (Bare, Segment) {
    let (guest, own) = ends();
    let mut bare = Bare::new();
    bare.socket().listen(IpListenEndpoint::from(own)).unwrap();
    let syn = Segment { options: options(), ..Segment::new(guest, own, flag::SYN) };
    bare.give(&syn);
    let answer = bare.take();
    assert!(answer.syn && answer.ack);
    let acknowledge = Segment {
        sequence: 1,
        acknowledgement: answer.sequence.wrapping_add(1),
        flags: flag::ACK,
        options: vec![],
        ..syn
    };
    bare.give(&acknowledge);
    assert_eq!(bare.socket().state(), State::Established);
    (bare, acknowledge)
}

fn overrun((mut bare, next): (Bare, Segment), distance: u32) {
    let sequence = next.sequence.wrapping_add(distance);
    bare.give(&Segment { sequence, payload: vec![0xee; 1000], ..next });
}

#[test]
fn data_within_the_window_is_taken_in_both_roles() {
    for role in [dialled, accepted] {
        overrun(role(), 0);
        overrun(role(), 10_000);
    }
}

#[test]
fn data_far_beyond_the_window_panics_in_both_roles() {
    for role in [dialled, accepted] {
        let result = catch_unwind(AssertUnwindSafe(|| overrun(role(), DISTANCE)));
        assert!(result.is_err(), "the released smoltcp no longer panics: is the guard needed?");
    }
}
