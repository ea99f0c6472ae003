//! The guest's own pings: carried out by sockets that choose their own identifiers.

use std::net::IpAddr;
use std::time::Duration;

use portreeve_core::{DialFailure, DropReason, EgressRefusal, Event, FlowKind, MappingKind};
use portreeve_testkit::guest::icmp::echo_request;
use portreeve_testkit::host::world::{Answer, router};
use portreeve_testkit::packet::{ip, with_hop_limit};
use portreeve_testkit::{Pair, PairSpec, Place};
use portreeve_wire::icmp::{Echo, ErrorKind, Unreachable};
use portreeve_wire::packet::Protocol;

const SOON: Duration = Duration::from_millis(5);

fn host(v6: bool, number: u8) -> IpAddr {
    if v6 {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)].into()
    } else {
        [192, 0, 2, number].into()
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn pings_of_every_size_are_answered_under_their_own_identifier() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.host.world.echo.insert(host(v6, 1), Place::ECHO);
        for (sequence, size) in (7u16..).zip([0, 1, 56, 1452, 1453, 1472, 1473, 9000, 65_507]) {
            pair.guest_ping(0x1234, sequence, host(v6, 1), &payload(size));
            pair.run_for(SOON);
            let reply = pair.guest.echoes.pop().expect("an echo");
            assert_eq!(
                (reply.from, reply.identifier, reply.sequence),
                (host(v6, 1), 0x1234, sequence)
            );
            assert!(reply.payload == payload(size), "{size}");
            let fits = size <= if v6 { 1452 } else { 1472 };
            assert_eq!(reply.pieces == 1, fits, "{size}");
            let left = pair.host.world.departed.pop().expect("it left");
            assert_eq!((left.destination.ip(), left.destination.port()), (host(v6, 1), 0));
            let echo = Echo::parse(&left.payload, v6).expect("an echo request");
            assert!(echo.request && echo.sequence == sequence);
        }
        let flow = pair.engine.flows().next().expect("a mapping");
        assert_eq!((flow.kind, flow.guest.port()), (FlowKind::Echo, 0x1234));
        assert_eq!(pair.host.world.opened, 1);
        pair.run_for(Duration::from_secs(59));
        assert_eq!(pair.engine.mapping_count(), 1);
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.engine.mapping_count(), 0);
        pair.assert_quiescent();
    }
}

#[test]
fn each_identifier_is_a_socket_of_its_own_and_replies_find_theirs() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        for number in 1..=5 {
            pair.host.world.echo.insert(host(v6, number), Place::ECHO);
            for identifier in 1..=4 {
                pair.guest_ping(identifier, u16::from(number), host(v6, number), &[number]);
            }
        }
        pair.run_for(SOON);
        assert_eq!(pair.host.world.opened, 4);
        assert!(pair.host.world.sockets().values().all(|socket| socket.kind == MappingKind::Echo));
        assert_eq!(pair.guest.echoes.len(), 20);
        for (nth, reply) in pair.guest.echoes.iter().enumerate() {
            let (number, identifier) = (1 + nth as u8 / 4, 1 + nth as u16 % 4);
            assert_eq!((reply.from, reply.identifier), (host(v6, number), identifier));
        }
        // An identifier and a UDP port of the same number have nothing to do with each other.
        pair.guest_send_udp(1, std::net::SocketAddr::new(host(v6, 1), 9), b"hello");
        pair.run_for(SOON);
        assert_eq!(pair.engine.mapping_count(), 5);
        pair.assert_quiescent();
    }
}

#[test]
fn replies_that_nobody_asked_for_are_kept_out() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.guest_ping(7, 1, host(v6, 1), b"hello");
        pair.run_for(SOON);
        let flow = pair.host.world.departed[0].flow;
        let reply = [if v6 { 129 } else { 0 }, 0, 0, 0, 0, 0, 0, 1, b'x'];
        let request = [if v6 { 128 } else { 8 }, 0, 0, 0, 0, 0, 0, 1, b'x'];
        let at = |number| std::net::SocketAddr::new(host(v6, number), 0);
        pair.host.world.send(flow, at(2), &reply);
        pair.host.world.send(flow, at(1), &request);
        pair.host.world.send(flow, at(1), &reply[..7]);
        pair.host.world.send(flow, at(1), &[3, 3, 0, 0, 0, 0, 0, 0]);
        pair.run_for(SOON);
        assert!(pair.guest.echoes.is_empty());
        assert_eq!(pair.engine.counters().drops(DropReason::Filtered), 1);
        assert_eq!(pair.engine.counters().drops(DropReason::IcmpIgnored), 3);
        pair.host.world.send(flow, at(1), &reply);
        pair.run_for(SOON);
        assert_eq!(pair.guest.echoes.len(), 1);
        pair.assert_quiescent();
    }
}

#[test]
fn what_does_not_arrive_comes_back_as_it_was_sent() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let kind = Unreachable::Host;
        let answer = Answer::Unreachable(kind, Some(router(v6, 9)));
        pair.host.world.echo.insert(host(v6, 1), Place { answer, ..Place::ECHO });
        pair.guest_ping(0xbeef, 3, host(v6, 1), &payload(300));
        pair.run_for(SOON);
        let error = pair.guest.errors.pop().expect("an error");
        assert_eq!((error.kind, error.from), (ErrorKind::Unreachable(kind), router(v6, 9)));
        assert_eq!(error.destination.ip(), host(v6, 1));
        let sent = echo_request(pair.guest.address(v6), host(v6, 1), 0xbeef, 3, &payload(300));
        assert_eq!(error.upper, sent, "with the identifier by which the guest knows it");
        // Too big for a link on its way.
        pair.host.world.echo.insert(host(v6, 2), Place { mtu: 1280, ..Place::ECHO });
        let message = echo_request(pair.guest.address(v6), host(v6, 2), 1, 1, &payload(1400));
        let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
        let packet = ip(pair.guest.address(v6), host(v6, 2), protocol, &message, None);
        pair.guest.send_packet(&packet);
        pair.run_for(SOON);
        let error = pair.guest.errors.pop().expect("an error");
        assert_eq!(error.kind, ErrorKind::TooBig { mtu: 1280 });
        pair.assert_quiescent();
    }
}

#[test]
fn hops_are_counted() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.host.world.echo.insert(host(v6, 1), Place { routers: 3, ..Place::ECHO });
        let guest = pair.guest.address(v6);
        let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
        let mut way = Vec::new();
        for hops in 1..=5 {
            let message = echo_request(guest, host(v6, 1), 7, u16::from(hops), &payload(32));
            let packet = ip(guest, host(v6, 1), protocol, &message, None);
            pair.guest.send_packet(&with_hop_limit(packet, hops));
            pair.run_for(SOON);
            way.extend(pair.guest.errors.pop().map(|error| {
                assert_eq!(error.kind, ErrorKind::TimeExceeded);
                assert_eq!(error.upper, message);
                error.from
            }));
        }
        let mut expected = vec![pair.guest.gateway(v6)];
        expected.extend((1..=3).map(|nth| router(v6, nth)));
        assert_eq!(way, expected);
        assert_eq!(pair.guest.echoes.len(), 1);
        pair.assert_quiescent();
    }
}

#[test]
fn the_gateway_answers_for_itself() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.egress.enabled = false;
        let mut pair = Pair::new(spec);
        let gateway = pair.guest.gateway(v6);
        for size in [0, 56, 1400, 5000, 65_507] {
            pair.guest_ping(7, 1, gateway, &payload(size));
            pair.run_for(SOON);
            let reply = pair.guest.echoes.pop().expect("an echo");
            assert_eq!((reply.from, reply.identifier), (gateway, 7));
            assert!(reply.payload == payload(size), "{size}");
        }
        assert_eq!(pair.host.world.opened, 0);
        pair.assert_quiescent();
    }
}

#[test]
fn a_system_that_allows_no_echo_sockets_is_said_to_prohibit_it() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.host.world.no_sockets = Some(DialFailure::EchoForbidden);
        pair.guest_ping(7, 1, host(v6, 1), b"hello");
        pair.run_for(SOON);
        let error = pair.guest.errors.pop().expect("an error");
        assert_eq!(error.kind, ErrorKind::Unreachable(Unreachable::Prohibited));
        let failed = pair.events.iter().any(|event| {
            let reason = portreeve_core::CloseReason::Failed(DialFailure::EchoForbidden);
            matches!(event, Event::FlowClosed { reason: other, .. } if *other == reason)
        });
        assert!(failed, "and the event says why");
        pair.assert_quiescent();
    }
}

#[test]
fn pings_and_datagrams_share_the_limit_of_mappings() {
    let mut spec = PairSpec::default();
    spec.config.limits.max_mappings = 4;
    let mut pair = Pair::new(spec);
    for identifier in 0..100 {
        pair.guest_ping(identifier, 1, host(identifier % 2 == 1, 1), b"hello");
        pair.run_for(SOON);
    }
    assert_eq!((pair.host.world.most, pair.host.world.opened), (4, 100));
    pair.assert_quiescent();
}

#[test]
fn only_the_guests_own_address_may_ask() {
    let mut pair = Pair::new(PairSpec::default());
    for source in ["fe80::1234", "fe80::9", "::"] {
        let source: IpAddr = source.parse().unwrap();
        let message = echo_request(source, host(true, 1), 7, 1, b"hello");
        pair.guest.send_packet(&ip(source, host(true, 1), Protocol::ICMPV6, &message, None));
    }
    pair.run_for(SOON);
    assert_eq!(pair.engine.mapping_count(), 0, "RFC 4291 §2.5.6: no router carries it on");
    assert!(pair.host.world.departed.is_empty());
    assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), 3);
    pair.assert_quiescent();
}

#[test]
fn a_ping_to_a_group_is_answered_by_nobody() {
    let mut pair = Pair::new(PairSpec::default());
    for to in ["224.0.0.1", "255.255.255.255", "ff02::1", "ff0e::1"] {
        pair.guest_ping(7, 1, to.parse().unwrap(), b"hello");
    }
    pair.run_for(SOON);
    assert!(pair.guest.errors.is_empty() && pair.guest.echoes.is_empty());
    assert_eq!(pair.host.world.opened, 0);
    assert_eq!(pair.engine.counters().drops(DropReason::Multicast), 4);
    assert!(!pair.egress_refusals().contains(&EgressRefusal::Group));
    pair.assert_quiescent();
}
