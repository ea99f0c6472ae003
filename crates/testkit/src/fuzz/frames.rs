//! Arbitrary frames into an engine with live flows in different phases.
//!
//! The input is a sequence of records: a kind byte, then what it needs. Some records are frames
//! as they are, some are packets that only their headers are right of, so that the fuzzer gets
//! behind the checks quickly; some ask for a way out, some let time pass or the host's side act.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::DialFailure;
use portreeve_wire::icmp::{ErrorKind, Unreachable};
use portreeve_wire::packet::{Fragment, Protocol};
use portreeve_wire::{GsoType, VirtioNetHdr};

use super::Input;
use crate::app::{App, Reading};
use crate::guest::icmp::echo_request;
use crate::guest::port::{Listener, Port};
use crate::guest::udp::Service;
use crate::host::ClientId;
use crate::host::outside::Destination;
use crate::host::stream::ServerSpec;
use crate::host::world::Place;
use crate::packet::{Segment, datagram, ethernet, flag, ip, with_hop_limit};
use crate::pair::{Pair, PairSpec, client_spec};

/// Feeds what `data` describes to an engine.
///
/// # Panics
/// When the engine does, or breaks one of the simulation's rules.
pub fn fuzz_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pair = busy(&mut input);
    let mut records = 0;
    while !input.is_empty() && records < MAX_RECORDS {
        record(&mut pair, &mut input);
        records += 1;
    }
    pair.run_for(Duration::from_secs(250));
    for at in 0..pair.host.clients().len() {
        pair.host.reset(ClientId(at));
    }
    // The guest must be heard again for a flow to end in any other way than by time.
    pair.run_for(Duration::from_secs(400));
    assert_eq!(pair.host.open_sockets(), 0, "{}", pair.describe());
    assert_eq!((pair.engine.mapping_count(), pair.engine.dial_count()), (0, 0));
}

/// An engine with flows in the phases that frames can reach.
fn busy(input: &mut Input<'_>) -> Pair {
    let flags = input.byte();
    let mut spec = PairSpec::default();
    if flags & 1 != 0 {
        spec = spec.offloaded();
    }
    if flags & 2 != 0 {
        spec.config.addressing.guest_mac = None;
    }
    spec.config.limits.to_guest_ring = 65_536;
    spec.config.limits.from_guest_ring = 65_536;
    let mut pair = Pair::new(spec);
    pair.scripted = true;
    pair.guest.listen(80, Listener::new(App::open(1000)));
    pair.guest.set_port(81, Port::Silent);
    pair.guest.listen(82, Listener::new(App::source(10)));
    pair.guest.udp.serve(53, Service::Sink);
    for (nth, app) in [App::open(1000), App::open(1000), App::open(0)].into_iter().enumerate() {
        let port = pair.publish_tcp(80 + nth as u16);
        let mut spec = client_spec(port, app, nth == 1);
        spec.address = Some(SocketAddr::new([192, 0, 2, 7].into(), 2000 + nth as u16));
        pair.connect_with(spec);
    }
    outside(&mut pair);
    let port = pair.publish_udp(53);
    pair.send_datagram(port, ([192, 0, 2, 7], 3000).into(), ([192, 0, 2, 1], 53).into(), b"hello");
    pair.run_for(Duration::from_millis(10));
    // From here on the guest's own stack is out of the way: its answers would hide the engine's.
    pair.guest.mute = true;
    pair
}

/// What a guest's frames may reach.
fn outside(pair: &mut Pair) {
    // What the guest says is no stream that a server could check.
    let app = App { reading: Reading::Paused, ..App::open(1000) };
    let delay = Duration::from_millis(3);
    let kinds = [
        Destination::Listen(ServerSpec::new(app)),
        Destination::Listen(ServerSpec { delay, ..ServerSpec::new(app) }),
        Destination::Fail(DialFailure::Refused, delay),
        Destination::Fail(DialFailure::NetworkUnreachable, Duration::ZERO),
        Destination::Blackhole,
    ];
    for v6 in [false, true] {
        for (nth, what) in kinds.into_iter().enumerate() {
            pair.host.outside.place(SocketAddr::new(place(v6, nth), 80), what);
        }
        for (nth, what) in [Place::ECHO, Place::SINK, Place::CLOSED].into_iter().enumerate() {
            let what = Place { routers: 2, mtu: 1400, ..what };
            pair.host.world.udp.insert(SocketAddr::new(place(v6, nth), 80), what);
            pair.host.world.echo.insert(place(v6, nth), what);
        }
    }
}

fn place(v6: bool, nth: usize) -> IpAddr {
    if v6 {
        [0x2001, 0xdb8, 0, 0, 0, 0, 9, nth as u16].into()
    } else {
        [198, 51, 100, nth as u8].into()
    }
}

fn record(pair: &mut Pair, input: &mut Input<'_>) {
    let kind = input.byte();
    match kind % 12 {
        0 => {
            let link = link(input);
            let frame = input.slice().to_vec();
            give(pair, &link, &frame);
        }
        1 | 2 => {
            // A packet with sound addresses around arbitrary upper-layer bytes.
            let v6 = input.flag();
            let protocols =
                [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6, input.byte()];
            let protocol = protocols[input.below(protocols.len())];
            let upper = input.slice();
            let fragment = (kind & 8 != 0).then(|| Fragment {
                identification: u32::from(input.byte()),
                offset: u32::from(input.short()) & 0xfff8,
                more: input.flag(),
            });
            let (guest, gateway) = (pair.guest.address(v6), pair.guest.gateway(v6));
            let upper = &upper[..upper.len().min(60_000)];
            let packet = ip(guest, gateway, protocol, upper, fragment);
            let link = link(input);
            give(pair, &link, &ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet));
        }
        3 => {
            // The same, aimed at a live flow and with a checksum that counts as verified.
            let v6 = input.flag();
            let (guest, gateway) = (pair.guest.address(v6), pair.guest.gateway(v6));
            let ports: [(u16, u16); 4] = [(80, 2000), (81, 2001), (82, 2002), (53, 3000)];
            let (own, remote) = ports[input.below(4)];
            let protocol = if own == 53 { Protocol::UDP } else { Protocol::TCP };
            let mut upper = [own.to_be_bytes(), remote.to_be_bytes()].concat();
            upper.extend_from_slice(input.slice());
            upper.truncate(60_000);
            let packet = ip(guest, gateway, protocol, &upper, None);
            let trusted = VirtioNetHdr { data_valid: true, ..link(input) };
            let frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet);
            give(pair, &trusted, &frame);
        }
        4 => {
            // A sound Ethernet header of any type.
            let mut frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &[]);
            frame[12..14].copy_from_slice(
                &[0x0806u16, 0x0800, 0x86dd, 0x8100][input.below(4)].to_be_bytes(),
            );
            frame.extend_from_slice(input.slice());
            give(pair, &VirtioNetHdr::default(), &frame);
        }
        5 => pair.run_for(Duration::from_millis(u64::from(input.byte()))),
        6 => pair.run_for(Duration::from_secs(u64::from(input.byte() & 31))),
        7 => {
            let port = [80, 81, 82][input.below(3)];
            let publish = portreeve_types::PublishId(u32::from(port - 80u16));
            pair.connect(publish, App::open(u64::from(input.byte())));
        }
        8 | 9 => ask(pair, input),
        10 => follow(pair, input),
        _ => host_acts(pair, input),
    }
}

/// A sound packet to somewhere outside: a SYN, a datagram or an echo request.
fn ask(pair: &mut Pair, input: &mut Input<'_>) {
    let flags = input.byte();
    let v6 = flags & 1 != 0;
    let (guest, to) = (pair.guest.address(v6), place(v6, input.below(6)));
    let from = SocketAddr::new(guest, 3000 + u16::from(input.byte() & 7));
    let to = SocketAddr::new(to, if flags & 2 != 0 { 80 } else { input.short() });
    let packet = match flags >> 2 & 3 {
        0 | 1 => {
            let mut syn = Segment::new(from, to, flag::SYN | input.byte() & flag::PSH);
            syn.sequence = u32::from(input.byte()) << 24;
            let options = input.slice();
            syn.options = options[..options.len().min(40)].to_vec();
            syn.packet()
        }
        2 => {
            let payload = input.slice();
            let payload = &payload[..payload.len().min(60_000)];
            ip(guest, to.ip(), Protocol::UDP, &datagram(from, to, payload), None)
        }
        _ => {
            let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
            let payload = input.slice();
            let payload = &payload[..payload.len().min(60_000)];
            let message = echo_request(guest, to.ip(), from.port(), 1, payload);
            ip(guest, to.ip(), protocol, &message, None)
        }
    };
    let hop_limit = if flags & 16 != 0 { input.byte() } else { 64 };
    let (mac, gateway_mac) = (pair.guest.nic.mac, pair.guest.nic.gateway_mac);
    let frame = ethernet(mac, gateway_mac, &with_hop_limit(packet, hop_limit));
    give(pair, &VirtioNetHdr::default(), &frame);
}

/// A segment for a connection of the guest's own, as far as it has come.
fn follow(pair: &mut Pair, input: &mut Input<'_>) {
    let dialled = &pair.host.outside.dialled;
    if dialled.is_empty() {
        return;
    }
    let Some((from, to)) = dialled[input.below(dialled.len())].ends else { return };
    let mut upper = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    upper.extend_from_slice(input.slice());
    upper.truncate(60_000);
    let packet = ip(from.ip(), to.ip(), Protocol::TCP, &upper, None);
    let trusted = VirtioNetHdr { data_valid: true, ..link(input) };
    let frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet);
    give(pair, &trusted, &frame);
}

/// A server, a router, a stranger or the host's network.
fn host_acts(pair: &mut Pair, input: &mut Input<'_>) {
    let streams = pair.host.clients().len();
    let departed = pair.host.world.departed.clone();
    let kind = input.below(6);
    match kind {
        0 => pair.host.shutdown(ClientId(input.below(streams))),
        1 => pair.host.reset(ClientId(input.below(streams))),
        2 => {
            let byte = input.byte();
            let own = (0..8).filter(|nth| byte >> nth & 1 != 0);
            let own: Vec<_> = own.map(|nth| place(nth & 1 != 0, nth / 2)).collect();
            pair.set_host_addresses(&own);
        }
        _ if departed.is_empty() => {}
        3 => {
            let about = &departed[input.below(departed.len())];
            let error = [
                ErrorKind::TimeExceeded,
                ErrorKind::TooBig { mtu: u32::from(input.short()) },
                ErrorKind::Unreachable(Unreachable::Port),
            ][input.below(3)];
            pair.host.world.report(about, error, None, usize::from(input.byte()));
        }
        _ => {
            let about = &departed[input.below(departed.len())];
            let mut source = about.destination;
            if kind == 5 && source.port() != 0 {
                source.set_port(input.short());
            }
            pair.host.world.send(about.flow, source, input.slice());
        }
    }
}

fn link(input: &mut Input<'_>) -> VirtioNetHdr {
    let flags = input.byte();
    if flags < 128 {
        return VirtioNetHdr::default();
    }
    VirtioNetHdr {
        needs_csum: flags & 1 != 0,
        data_valid: flags & 2 != 0,
        gso: [GsoType::None, GsoType::Tcp4, GsoType::Tcp6, GsoType::UdpL4]
            [usize::from(flags >> 2) & 3],
        ecn: flags & 16 != 0,
        hdr_len: input.short(),
        gso_size: input.short(),
        csum_start: input.short(),
        csum_offset: input.short(),
        num_buffers: 1,
    }
}

fn give(pair: &mut Pair, link: &VirtioNetHdr, frame: &[u8]) {
    let mut frame = frame.to_vec();
    let now = pair.now();
    pair.engine.handle_guest_frame(link, &mut frame, now);
    if frame.len().is_multiple_of(3) {
        pair.exchange();
    }
}

/// Records of one run.
const MAX_RECORDS: usize = 300;
