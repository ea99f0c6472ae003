//! The guest's own datagrams: out whole, back only to whom they are for, and no socket too many.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{CloseReason, DropReason, Event, FlowKind};
use portreeve_testkit::host::world::{Departed, router};
use portreeve_testkit::packet::{self, with_dont_fragment, with_hop_limit};
use portreeve_testkit::{Pair, PairSpec, Place, Random, Service};
use portreeve_types::UdpFiltering;
use portreeve_wire::icmp::ErrorKind;
use portreeve_wire::packet::Protocol;

const SOON: Duration = Duration::from_millis(5);

fn at(v6: bool, host: u8, port: u16) -> SocketAddr {
    if v6 {
        SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into(), port)
    } else {
        SocketAddr::new([192, 0, 2, host].into(), port)
    }
}

fn payload(length: usize) -> Vec<u8> {
    let mut random = Random::new(length as u64);
    (0..length).map(|_| random.next_u64() as u8).collect()
}

/// A pair whose guest takes what comes to port 5000.
fn listening(spec: PairSpec) -> Pair {
    let mut pair = Pair::new(spec);
    pair.guest.udp.serve(5000, Service::Sink);
    pair
}

fn closed_for(pair: &Pair) -> Vec<CloseReason> {
    let closed = |event: &Event| match event {
        Event::FlowClosed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(closed).collect()
}

#[test]
fn every_size_goes_there_and_back() {
    for v6 in [false, true] {
        let mut pair = listening(PairSpec::default());
        let echo = at(v6, 9, 7000);
        pair.host.world.udp.insert(echo, Place::ECHO);
        // 1,472 and 1,452 bytes fill a packet, 65,507 an IPv4 packet of the largest size.
        for size in [0, 1, 1452, 1453, 1472, 1473, 9000, 65_507] {
            pair.guest_send_udp(5000, echo, &payload(size));
            pair.run_for(SOON);
            let left = pair.host.world.departed.pop().expect("it left");
            assert!(left.payload == payload(size) && left.destination == echo);
            let back = pair.guest.udp.received.pop().expect("it came back");
            assert!(back.payload == payload(size), "{size}");
            assert_eq!(back.from, echo);
            let fits = size <= if v6 { 1452 } else { 1472 };
            assert_eq!(back.pieces == 1, fits, "{size}");
        }
        assert_eq!(pair.host.world.opened, 1, "one socket for all of them");
        let flow = pair.engine.flows().next().expect("a mapping");
        assert_eq!((flow.kind, flow.publish, flow.phase), (FlowKind::Udp, None, None));
        assert_eq!(flow.guest, SocketAddr::new(pair.guest.address(v6), 5000));
        assert_eq!(flow.bytes_from_guest, flow.bytes_to_guest);
        pair.assert_quiescent();
        assert_eq!(closed_for(&pair), [CloseReason::Idle]);
    }
}

#[test]
fn one_port_of_the_guest_is_one_socket_whatever_the_destinations() {
    for v6 in [false, true] {
        let mut pair = listening(PairSpec::default());
        pair.guest.udp.serve(5001, Service::Sink);
        for host in 1..=20 {
            pair.host.world.udp.insert(at(v6, host, 7000), Place::ECHO);
            pair.guest_send_udp(5000, at(v6, host, 7000), &[host]);
        }
        pair.guest_send_udp(5001, at(v6, 1, 7000), b"another");
        pair.run_for(SOON);
        let flows: Vec<_> = pair.host.world.departed.iter().map(|left| left.flow).collect();
        assert!(flows[..20].iter().all(|flow| *flow == flows[0]));
        assert_ne!(flows[20], flows[0]);
        assert_eq!(pair.host.world.sockets().len(), 2);
        assert_eq!(pair.engine.mapping_count(), 2);
        for got in &pair.guest.udp.received[..20] {
            assert_eq!(got.from, at(v6, got.payload[0], 7000), "each from whom it came");
            assert_eq!(got.to.port(), 5000);
        }
        // The other family is another endpoint.
        pair.guest_send_udp(5000, at(!v6, 1, 7000), b"other family");
        pair.run_for(SOON);
        assert_eq!(pair.engine.mapping_count(), 3);
        pair.assert_quiescent();
    }
}

#[test]
fn who_is_let_in_follows_the_filtering() {
    use UdpFiltering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for v6 in [false, true] {
        for (filtering, let_in) in [
            (AddressAndPortDependent, [true, false, false]),
            (AddressDependent, [true, true, false]),
            (EndpointIndependent, [true, true, true]),
        ] {
            let mut spec = PairSpec::default();
            spec.config.egress.udp_filtering = filtering;
            let mut pair = listening(spec);
            pair.guest_send_udp(5000, at(v6, 1, 7000), b"hello");
            pair.run_for(SOON);
            let flow = pair.host.world.departed[0].flow;
            let senders = [at(v6, 1, 7000), at(v6, 1, 7001), at(v6, 2, 7000)];
            for (sender, let_in) in senders.into_iter().zip(let_in) {
                pair.host.world.send(flow, sender, b"answer");
                pair.run_for(SOON);
                let got = pair.guest.udp.received.pop();
                assert_eq!(got.map(|got| got.from), let_in.then_some(sender), "{filtering}");
            }
            let kept_out = let_in.iter().filter(|&&let_in| !let_in).count() as u64;
            assert_eq!(pair.engine.counters().drops(DropReason::Filtered), kept_out);
        }
    }
}

#[test]
fn nobody_whom_the_guest_could_not_answer_is_let_in() {
    let mut spec = PairSpec::default();
    spec.config.egress.udp_filtering = UdpFiltering::EndpointIndependent;
    for v6 in [false, true] {
        let mut pair = listening(spec.clone());
        pair.guest_send_udp(5000, at(v6, 1, 7000), b"hello");
        pair.run_for(SOON);
        let flow = pair.host.world.departed[0].flow;
        let (guest, gateway) = (pair.guest.address(v6), pair.guest.gateway(v6));
        let mut forged = vec![SocketAddr::new(guest, 5000), SocketAddr::new(gateway, 53)];
        let others: [&str; 4] = if v6 {
            ["[::1]:53", "[fe80::1]:53", "[::]:53", "[ff02::1]:53"]
        } else {
            ["127.0.0.1:53", "169.254.169.254:53", "0.0.0.0:53", "255.255.255.255:53"]
        };
        forged.extend(others.iter().map(|text| text.parse::<SocketAddr>().unwrap()));
        for source in &forged {
            pair.host.world.send(flow, *source, b"trust me");
        }
        pair.run_for(SOON);
        assert!(pair.guest.udp.received.is_empty(), "{:?}", pair.guest.udp.received);
        assert_eq!(pair.engine.counters().drops(DropReason::Filtered), forged.len() as u64);
    }
}

#[test]
fn questions_about_names_are_forgotten_soon_and_all_else_later() {
    for v6 in [false, true] {
        for (port, idle) in [(53, 10), (54, 180)] {
            let mut pair = listening(PairSpec::default());
            pair.guest_send_udp(5000, at(v6, 1, port), b"hello");
            pair.run_for(Duration::from_secs(idle - 1));
            assert_eq!(pair.engine.mapping_count(), 1, "{port}");
            pair.run_for(Duration::from_secs(2));
            assert_eq!(pair.engine.mapping_count(), 0, "{port}");
            assert_eq!(closed_for(&pair), [CloseReason::Idle]);
            pair.assert_quiescent();
        }
        // A port that asks for a name and then talks to somebody is no mere question.
        let mut pair = listening(PairSpec::default());
        pair.guest_send_udp(5000, at(v6, 1, 53), b"hello");
        pair.run_for(Duration::from_secs(9));
        pair.guest_send_udp(5000, at(v6, 1, 123), b"hello");
        pair.run_for(Duration::from_secs(179));
        assert_eq!(pair.engine.mapping_count(), 1);
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.engine.mapping_count(), 0);
    }
}

#[test]
fn idle_times_are_what_was_set() {
    for (udp, dns) in [(3, 2), (3, 20), (40, 20), (12, 1)] {
        for (port, idle) in [(53, dns), (54, udp)] {
            let mut spec = PairSpec::default();
            spec.config.limits.udp_idle_secs = udp;
            spec.config.limits.udp_idle_dns_secs = dns;
            let mut pair = listening(spec);
            pair.guest_send_udp(5000, at(false, 1, port), b"hello");
            pair.run_for(Duration::from_millis(idle * 1000 - 100));
            assert_eq!(pair.engine.mapping_count(), 1, "{udp} {dns} {port}");
            pair.run_for(Duration::from_millis(200));
            assert_eq!(pair.engine.mapping_count(), 0, "{udp} {dns} {port}");
        }
    }
}

#[test]
fn either_direction_keeps_a_mapping_alive() {
    for v6 in [false, true] {
        let mut pair = listening(PairSpec::default());
        pair.guest_send_udp(5000, at(v6, 1, 7000), b"hello");
        for _ in 0..5 {
            pair.run_for(Duration::from_secs(170));
            pair.guest_send_udp(5000, at(v6, 1, 7000), b"still here");
        }
        pair.run_for(SOON);
        let flow = pair.host.world.departed[0].flow;
        for _ in 0..5 {
            pair.run_for(Duration::from_secs(170));
            pair.host.world.send(flow, at(v6, 1, 7000), b"so am I");
        }
        pair.run_for(Duration::from_secs(179));
        assert_eq!(pair.engine.mapping_count(), 1);
        assert_eq!((pair.host.world.opened, pair.guest.udp.received.len()), (1, 5));
        // What is kept out keeps nothing alive.
        pair.host.world.send(flow, at(v6, 2, 7000), b"me too");
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.engine.mapping_count(), 0);
        pair.host.world.send(flow, at(v6, 1, 7000), b"too late");
        pair.run_for(SOON);
        assert_eq!(pair.engine.counters().drops(DropReason::NoMapping), 1);
        pair.assert_quiescent();
    }
}

#[test]
fn the_mapping_that_was_idle_longest_makes_room() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.limits.max_mappings = 3;
        let mut pair = listening(spec);
        let mut send = |pair: &mut Pair, port: u16| {
            pair.guest_send_udp(port, at(v6, 1, 7000), b"hello");
            pair.run_for(Duration::from_millis(100));
        };
        let ports = |pair: &Pair| {
            let mut ports: Vec<_> = pair.engine.flows().map(|flow| flow.guest.port()).collect();
            ports.sort_unstable();
            ports
        };
        // In order of last use: 1, 2, 3. Used again, 1 and 2 keep their order; 3 is the last.
        for port in [1, 2, 1, 2, 3, 2, 3] {
            send(&mut pair, port);
        }
        for (next, left) in [(4, [2, 3, 4]), (5, [3, 4, 5])] {
            send(&mut pair, next);
            assert_eq!(ports(&pair), left);
        }
        send(&mut pair, 3);
        send(&mut pair, 6);
        assert_eq!(ports(&pair), [3, 5, 6]);
        // An answer is use as well.
        let five = pair.engine.flows().find(|flow| flow.guest.port() == 5).unwrap().id;
        pair.host.world.send(five, at(v6, 1, 7000), b"answer");
        pair.run_for(SOON);
        send(&mut pair, 7);
        assert_eq!(ports(&pair), [5, 6, 7]);
        assert_eq!(closed_for(&pair), [CloseReason::Evicted; 4]);
        assert_eq!(pair.engine.counters().drops(DropReason::MappingEvicted), 4);
        assert_eq!(pair.host.world.most, 3);
        pair.assert_quiescent();
    }
}

#[test]
fn whoever_is_used_stays_and_whoever_is_not_goes_at_random() {
    let mut spec = PairSpec::default();
    spec.config.limits.max_mappings = 8;
    let mut pair = listening(spec);
    let mut random = Random::new(3);
    let mut order: Vec<u16> = Vec::new();
    for _ in 0..3000 {
        let port = 100 + random.below(12) as u16;
        pair.guest_send_udp(port, at(false, 1, 7000), b"hello");
        pair.run_for(Duration::from_micros(200 * random.below(3)));
        pair.run_for(Duration::from_micros(30));
        order.retain(|&other| other != port);
        order.push(port);
        if order.len() > 8 {
            order.remove(0);
        }
        let mut expected = order.clone();
        expected.sort_unstable();
        let mut ports: Vec<_> = pair.engine.flows().map(|flow| flow.guest.port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, expected);
    }
}

#[test]
fn a_spray_of_one_shot_datagrams_needs_few_sockets_and_leaves_none() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.limits.max_mappings = 64;
        let mut pair = Pair::new(spec);
        for port in 0..1000 {
            pair.guest_send_udp(10_000 + port, at(v6, 1, 53), &port.to_be_bytes());
            if port % 50 == 49 {
                pair.run_for(Duration::from_micros(100));
            }
        }
        pair.run_for(SOON);
        assert_eq!(pair.host.world.most, 64);
        assert_eq!(pair.host.world.opened, 1000);
        assert_eq!(pair.host.world.late, 0, "each left before its socket was closed");
        let sent: Vec<_> = pair.host.world.departed.iter().map(|d| d.payload.clone()).collect();
        assert_eq!(sent, (0..1000u16).map(|port| port.to_be_bytes().to_vec()).collect::<Vec<_>>());
        pair.run_for(Duration::from_secs(11));
        assert!(pair.host.world.sockets().is_empty());
        pair.assert_quiescent();
    }
}

#[test]
fn hop_limits_and_the_permission_to_cut_are_handed_on() {
    for v6 in [false, true] {
        let mut pair = listening(PairSpec::default());
        let (from, to) = (SocketAddr::new(pair.guest.address(v6), 5000), at(v6, 1, 33_434));
        let whole = packet::ip(
            from.ip(),
            to.ip(),
            Protocol::UDP,
            &packet::datagram(from, to, b"probe"),
            None,
        );
        for (given, handed) in [(2, Some(1)), (63, Some(62)), (64, None), (65, None), (255, None)] {
            pair.guest.send_packet(&with_hop_limit(whole.clone(), given));
            pair.run_for(SOON);
            let left = pair.host.world.departed.pop().expect("it left");
            assert_eq!((left.hop_limit, left.may_fragment), (handed, false), "{given}");
        }
        if !v6 {
            pair.guest.send_packet(&with_dont_fragment(whole.clone(), false));
            pair.run_for(SOON);
            assert!(pair.host.world.departed.pop().expect("it left").may_fragment);
        }
        pair.guest_send_udp(5000, to, &payload(3000));
        pair.run_for(SOON);
        assert!(pair.host.world.departed.pop().expect("it left").may_fragment, "it was cut before");
        // The gateway is a hop as well, for a new destination and for a known one.
        for (given, to) in [(1, to), (0, to), (1, at(v6, 2, 33_434))] {
            let datagram = packet::datagram(from, to, b"probe");
            let probe = packet::ip(from.ip(), to.ip(), Protocol::UDP, &datagram, None);
            pair.guest.send_packet(&with_hop_limit(probe, given));
            pair.run_for(SOON);
            let error = pair.guest.errors.pop().expect("time exceeded");
            assert_eq!((error.kind, error.from), (ErrorKind::TimeExceeded, pair.guest.gateway(v6)));
            assert_eq!((error.source, error.destination, error.hop_limit), (from, to, given));
            assert_eq!(error.upper, datagram);
            assert!(pair.host.world.departed.is_empty());
        }
        assert_eq!(pair.engine.counters().drops(DropReason::HopLimit), 3);
    }
}

#[test]
fn every_router_on_the_way_can_be_found() {
    for v6 in [false, true] {
        let mut pair = listening(PairSpec::default());
        let (from, to) = (SocketAddr::new(pair.guest.address(v6), 5000), at(v6, 1, 33_434));
        pair.host.world.udp.insert(to, Place { routers: 5, ..Place::CLOSED });
        let mut way = Vec::new();
        for hops in 1..=9 {
            let datagram = packet::datagram(from, to, &[hops; 32]);
            let probe = packet::ip(from.ip(), to.ip(), Protocol::UDP, &datagram, None);
            pair.guest.send_packet(&with_hop_limit(probe, hops));
            pair.run_for(SOON);
            let error = pair.guest.errors.pop().expect("an answer");
            assert_eq!(error.upper, datagram, "the whole probe is quoted");
            way.push(error.from);
            if error.kind != ErrorKind::TimeExceeded {
                break;
            }
        }
        let mut expected = vec![pair.guest.gateway(v6)];
        expected.extend((1..=5).map(|nth| router(v6, nth)));
        expected.push(to.ip());
        assert_eq!(way, expected);
        let left: Vec<&Departed> = pair.host.world.departed.iter().collect();
        assert_eq!(left.len(), 6);
    }
}
