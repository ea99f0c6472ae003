//! The gateway's presence on the link: ARP, neighbour discovery, echo, and whom it hears.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use portreeve_core::{DropReason, Event};
use portreeve_testkit::packet::{ethernet, ip};
use portreeve_testkit::{App, Listener, Pair, PairSpec, client_spec};
use portreeve_wire::VirtioNetHdr;
use portreeve_wire::arp::{ARP_LEN, Arp, ArpOperation};
use portreeve_wire::ethernet::{BROADCAST, ETHERNET_HEADER_LEN, EtherType, EthernetHeader};
use portreeve_wire::ndp::{NEIGHBOR_LEN, Neighbor, multicast_mac, solicited_node};
use portreeve_wire::packet::{IpPacket, Protocol};

const SOON: Duration = Duration::from_millis(5);

/// Sends one frame and returns what comes back, as Ethernet frames.
fn answers(pair: &mut Pair, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut frame = frame.to_vec();
    pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, pair.now());
    let mut out = Vec::new();
    let mut buffer = vec![0; portreeve_core::MAX_FRAME_LEN];
    loop {
        let length = pair.engine.poll_guest_frame(&mut buffer, pair.now());
        if length == 0 {
            return out;
        }
        pair.guest.nic.receive(&buffer[..length]).expect("a valid frame");
        out.push(buffer[12..length].to_vec());
    }
}

fn arp_frame(pair: &Pair, arp: &Arp) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_HEADER_LEN + ARP_LEN];
    let header = EthernetHeader {
        destination: BROADCAST,
        source: pair.guest.nic.mac,
        ethertype: EtherType::Arp,
    };
    header.emit(&mut frame);
    arp.emit(&mut frame[ETHERNET_HEADER_LEN..]);
    frame
}

fn v4(address: IpAddr) -> std::net::Ipv4Addr {
    match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(_) => panic!("an IPv4 address"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(_) => panic!("an IPv6 address"),
    }
}

#[test]
fn arp_is_answered_for_the_gateway_only() {
    let mut pair = Pair::new(PairSpec::default());
    let (guest, gateway) = (v4(pair.guest.address(false)), v4(pair.guest.gateway(false)));
    let request = |sender_ip, target_ip| Arp {
        operation: ArpOperation::Request,
        sender_mac: [0; 6],
        sender_ip,
        target_mac: [0; 6],
        target_ip,
    };
    let ask = |pair: &mut Pair, sender, target| {
        let mut arp = request(sender, target);
        arp.sender_mac = pair.guest.nic.mac;
        let frame = arp_frame(pair, &arp);
        answers(pair, &frame)
    };
    let back = ask(&mut pair, guest, gateway);
    assert_eq!(back.len(), 1);
    let reply = Arp::parse(&back[0][14..]).unwrap();
    assert_eq!(reply.operation, ArpOperation::Reply);
    assert_eq!((reply.sender_ip, reply.sender_mac), (gateway, pair.guest.nic.gateway_mac));
    assert_eq!((reply.target_ip, reply.target_mac), (guest, pair.guest.nic.mac));
    assert_eq!(back[0][..6], pair.guest.nic.mac);
    // The guest's own probe (RFC 5227), other hosts, and a stranger's question.
    let unspecified = "0.0.0.0".parse().unwrap();
    let stranger = "10.9.9.9".parse().unwrap();
    assert!(ask(&mut pair, unspecified, guest).is_empty());
    assert_eq!(ask(&mut pair, unspecified, gateway).len(), 1, "a probe for the gateway's address");
    assert!(ask(&mut pair, guest, stranger).is_empty());
    assert!(ask(&mut pair, stranger, gateway).is_empty());
    assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), 1);
    let mut forged = request(guest, gateway);
    forged.sender_mac = [2; 6];
    let frame = arp_frame(&pair, &forged);
    assert!(answers(&mut pair, &frame).is_empty());
    assert_eq!(pair.engine.counters().drops(DropReason::SourceMac), 1);
    for length in 14..14 + ARP_LEN {
        let mut arp = request(guest, gateway);
        arp.sender_mac = pair.guest.nic.mac;
        let frame = arp_frame(&pair, &arp);
        assert!(answers(&mut pair, &frame[..length]).is_empty());
    }
}

#[test]
fn neighbour_solicitations_are_answered_for_both_gateway_addresses() {
    let mut pair = Pair::new(PairSpec::default());
    let (guest, gateway) = (v6(pair.guest.address(true)), v6(pair.guest.gateway(true)));
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let ask = |pair: &mut Pair, source: Ipv6Addr, target: Ipv6Addr, hop_limit: u8| {
        let mac = (!source.is_unspecified()).then_some(pair.guest.nic.mac);
        let question = Neighbor { advertisement: false, target, mac, solicited: false };
        let group = solicited_node(target);
        let mut upper = [0; NEIGHBOR_LEN];
        question.emit(source, group, &mut upper);
        let mut packet = ip(source.into(), group.into(), Protocol::ICMPV6, &upper, None);
        packet[7] = hop_limit;
        let frame = ethernet(pair.guest.nic.mac, multicast_mac(group), &packet);
        answers(pair, &frame)
    };
    for (source, target) in
        [(guest, gateway), (guest, link_local), ("fe80::47".parse().unwrap(), gateway)]
    {
        let back = ask(&mut pair, source, target, 255);
        assert_eq!(back.len(), 1, "{source} asks for {target}");
        let reply = Neighbor::parse(&back[0][54..]).unwrap();
        assert!(reply.advertisement && reply.solicited);
        assert_eq!((reply.target, reply.mac), (target, Some(pair.guest.nic.gateway_mac)));
        let header = IpPacket::parse_v6(&back[0][14..]).unwrap();
        assert_eq!((header.source, header.destination), (target.into(), source.into()));
        assert_eq!(header.hop_limit, 255);
    }
    let unspecified = Ipv6Addr::UNSPECIFIED;
    assert!(ask(&mut pair, unspecified, guest, 255).is_empty(), "the guest's own probe");
    let defended = ask(&mut pair, unspecified, gateway, 255);
    assert_eq!(defended.len(), 1, "an attempt to take the gateway's address");
    assert_eq!(defended[0][..6], [0x33, 0x33, 0, 0, 0, 1], "to all nodes");
    assert!(ask(&mut pair, guest, "2001:db8::9".parse().unwrap(), 255).is_empty());
    assert!(ask(&mut pair, guest, gateway, 64).is_empty(), "it was forwarded");
    assert!(ask(&mut pair, "2001:db8::9".parse().unwrap(), gateway, 255).is_empty());
}

#[test]
fn the_gateway_answers_echo_and_asks_the_world_for_the_rest() {
    let mut pair = Pair::new(PairSpec::default());
    for is_v6 in [false, true] {
        let (guest, gateway) = (pair.guest.address(is_v6), pair.guest.gateway(is_v6));
        let elsewhere: IpAddr =
            if is_v6 { "2001:db8::9".parse() } else { "192.0.2.9".parse() }.unwrap();
        let (kind, protocol) = if is_v6 { (128, Protocol::ICMPV6) } else { (8, Protocol::ICMP) };
        for length in [8, 9, 64, 1400] {
            for (to, answered) in [(gateway, true), (elsewhere, false)] {
                let mut message = vec![0u8; length];
                message[0] = kind;
                for (at, byte) in message.iter_mut().enumerate().skip(4) {
                    *byte = at as u8;
                }
                let sum = if is_v6 {
                    portreeve_wire::checksum::pseudo_header(guest, to, protocol, length)
                } else {
                    0
                } + portreeve_wire::checksum::sum(&message);
                let value = portreeve_wire::checksum::finish(sum).to_be_bytes();
                message[2..4].copy_from_slice(&value);
                let packet = ip(guest, to, protocol, &message, None);
                let frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet);
                let back = answers(&mut pair, &frame);
                assert_eq!(back.len(), usize::from(answered));
                assert_eq!(pair.engine.poll_datagram().is_some(), !answered, "sent on");
                if let Some(back) = back.first() {
                    let at = if is_v6 { 54 } else { 34 };
                    assert_eq!(back[at], if is_v6 { 129 } else { 0 });
                    assert_eq!(back[at + 4..], message[4..]);
                }
            }
        }
    }
}

#[test]
fn an_unknown_guest_is_learnt_from_whatever_it_says_first() {
    for is_v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.addressing.guest_mac = None;
        let mut pair = Pair::new(spec);
        let guest = pair.guest.address(is_v6);
        let gateway = pair.guest.gateway(is_v6);
        // A stranger's address teaches nothing.
        let stranger: IpAddr = if is_v6 { "fd00::9".parse() } else { "10.1.1.1".parse() }.unwrap();
        let frame = |pair: &Pair, source: IpAddr, mac: [u8; 6]| {
            let packet = ip(source, gateway, 99, &[0; 20], None);
            ethernet(mac, pair.guest.nic.gateway_mac, &packet)
        };
        let wrong = frame(&pair, stranger, [2, 9, 9, 9, 9, 9]);
        answers(&mut pair, &wrong);
        // Nor does a group address as source.
        let group = frame(&pair, guest, [3, 9, 9, 9, 9, 9]);
        answers(&mut pair, &group);
        for reason in [DropReason::SourceAddress, DropReason::Protocol] {
            let dropped = Event::Dropped { reason, count: 1 };
            assert_eq!(pair.engine.poll_event(), Some(dropped));
        }
        assert_eq!(pair.engine.poll_event(), None);
        let right = frame(&pair, guest, pair.guest.nic.mac);
        answers(&mut pair, &right);
        let event = pair.engine.poll_event();
        assert!(matches!(event, Some(Event::GuestSeen { mac }) if mac.0 == pair.guest.nic.mac));
        // From now on nobody else is the guest.
        let late = frame(&pair, guest, [2, 9, 9, 9, 9, 9]);
        answers(&mut pair, &late);
        assert_eq!(pair.engine.counters().drops(DropReason::SourceMac), 1);
        pair.guest.listen(80, Listener::new(App::ECHO));
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(100), is_v6));
        pair.run_until(Duration::from_secs(1), |pair| pair.client(client).is_done());
        assert!(pair.to_guest.sent() < 10, "nothing was asked");
    }
}

#[test]
fn a_flood_of_questions_fills_one_queue_and_nothing_else() {
    let mut spec = PairSpec::default();
    spec.config.limits.control_frames = 16;
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::ECHO));
    let port = pair.publish_tcp(80);
    let client = pair.connect_with(client_spec(port, App::open(1000), false));
    pair.run_for(SOON);
    let arp = Arp {
        operation: ArpOperation::Request,
        sender_mac: pair.guest.nic.mac,
        sender_ip: v4(pair.guest.address(false)),
        target_mac: [0; 6],
        target_ip: v4(pair.guest.gateway(false)),
    };
    for _ in 0..1000 {
        let mut frame = arp_frame(&pair, &arp);
        pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, pair.now());
    }
    assert_eq!(pair.engine.counters().drops(DropReason::ControlQueueFull), 984);
    pair.host.peer_mut(client).app = App::source(100_000);
    pair.run_until(Duration::from_secs(5), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 100_000);
    pair.assert_quiescent();
}

/// RFC 3021: both addresses of a /31 are hosts', and neither is a broadcast address.
#[test]
fn a_link_of_two_addresses_works() {
    for (guest, gateway) in [(0, 1), (1, 0)] {
        let mut spec = PairSpec::default();
        let link = spec.config.addressing.ipv4.as_mut().unwrap();
        link.prefix_len = 31;
        (link.guest, link.gateway) = ([10, 1, 1, guest].into(), [10, 1, 1, gateway].into());
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::ECHO));
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(1000), false));
        pair.run_until(Duration::from_millis(200), |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 1000);
        pair.assert_quiescent();
    }
}
