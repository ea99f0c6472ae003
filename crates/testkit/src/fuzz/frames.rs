//! Arbitrary frames into an engine with live flows in different phases.
//!
//! The input is a sequence of records: a kind byte, then what it needs. Some records are frames
//! as they are, some are packets that only their headers are right of, so that the fuzzer gets
//! behind the checks quickly; some let time pass or a client act.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_wire::packet::{Fragment, Protocol};
use portreeve_wire::{GsoType, VirtioNetHdr};

use super::Input;
use crate::app::App;
use crate::guest::port::{Listener, Port};
use crate::guest::udp::Service;
use crate::packet::{ethernet, ip};
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
    pair.run_for(Duration::from_secs(200));
    for at in 0..pair.host.clients().len() {
        pair.host.reset(crate::host::ClientId(at));
    }
    // The guest must be heard again for a flow to end in any other way than by time.
    pair.run_for(Duration::from_secs(400));
    assert_eq!(pair.host.open_sockets(), 0, "{}", pair.describe());
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
    let port = pair.publish_udp(53);
    pair.send_datagram(port, ([192, 0, 2, 7], 3000).into(), ([192, 0, 2, 1], 53).into(), b"hello");
    pair.run_for(Duration::from_millis(10));
    // From here on the guest's own stack is out of the way: its answers would hide the engine's.
    pair.guest.mute = true;
    pair
}

fn record(pair: &mut Pair, input: &mut Input<'_>) {
    let kind = input.byte();
    match kind % 8 {
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
        _ => {
            let port = [80, 81, 82][input.below(3)];
            let publish = portreeve_types::PublishId(u32::from(port - 80u16));
            pair.connect(publish, App::open(u64::from(input.byte())));
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
