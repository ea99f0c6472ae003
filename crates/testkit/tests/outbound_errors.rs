//! What becomes of the guest's datagrams and pings that do not arrive, and of those in fragments.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{CloseReason, DialFailure, DropReason, Event};
use portreeve_testkit::host::world::{Answer, router};
use portreeve_testkit::packet::{self, ip, with_dont_fragment};
use portreeve_testkit::{Pair, PairSpec, Place, Service};
use portreeve_wire::icmp::{ErrorKind, Unreachable};
use portreeve_wire::packet::{Fragment, Protocol};

const SOON: Duration = Duration::from_millis(5);

fn at(v6: bool, host: u8, port: u16) -> SocketAddr {
    if v6 {
        SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into(), port)
    } else {
        SocketAddr::new([192, 0, 2, host].into(), port)
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn errors_are_quoted_exactly_and_name_who_says_so() {
    let kinds =
        [Unreachable::Port, Unreachable::Host, Unreachable::Network, Unreachable::Prohibited];
    for v6 in [false, true] {
        for kind in kinds {
            for reporter in [None, Some(router(v6, 3)), Some(at(v6, 1, 0).ip())] {
                for size in [0, 1, 100, 400] {
                    let mut pair = Pair::new(PairSpec::default());
                    let to = at(v6, 1, 7000);
                    let answer = Answer::Unreachable(kind, reporter);
                    pair.host.world.udp.insert(to, Place { answer, ..Place::ECHO });
                    pair.guest_send_udp(5000, to, &payload(size));
                    pair.run_for(SOON);
                    let error = pair.guest.errors.pop().expect("the guest is told");
                    assert_eq!(error.kind, ErrorKind::Unreachable(kind));
                    let from = SocketAddr::new(pair.guest.address(v6), 5000);
                    assert_eq!((error.source, error.destination), (from, to));
                    assert_eq!(error.upper, packet::datagram(from, to, &payload(size)));
                    let gateway = pair.guest.gateway(v6);
                    let own = if kind == Unreachable::Port { to.ip() } else { gateway };
                    assert_eq!(error.from, reporter.unwrap_or(own), "{kind:?}");
                    assert!(pair.guest.errors.is_empty());
                    assert_eq!(pair.engine.mapping_count(), 1, "the port may try others");
                    pair.assert_quiescent();
                }
            }
        }
    }
}

#[test]
fn reporters_that_the_guest_must_not_see_are_not_shown() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let hidden: [&str; 3] = if v6 {
            ["::1", "fe80::1", "ff02::1"]
        } else {
            ["127.0.0.1", "169.254.1.1", "224.0.0.1"]
        };
        let guest = pair.guest.address(v6);
        let own = hidden.iter().map(|text| text.parse::<IpAddr>().unwrap()).chain([guest]);
        for (nth, reporter) in own.enumerate() {
            let to = at(v6, 1 + nth as u8, 7000);
            let answer = Answer::Unreachable(Unreachable::Host, Some(reporter));
            pair.host.world.udp.insert(to, Place { answer, ..Place::ECHO });
            pair.guest_send_udp(5000, to, b"hello");
            pair.run_for(SOON);
            let error = pair.guest.errors.pop().expect("the guest is told");
            assert_eq!(error.from, pair.guest.gateway(v6), "{reporter}");
        }
    }
}

#[test]
fn a_datagram_too_big_for_a_link_on_its_way_comes_back_with_its_mtu() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.guest.udp.serve(5000, Service::Sink);
        let to = at(v6, 1, 7000);
        pair.host.world.udp.insert(to, Place { mtu: 1300, routers: 2, ..Place::ECHO });
        pair.guest_send_udp(5000, to, &payload(1400));
        pair.run_for(SOON);
        let error = pair.guest.errors.pop().expect("too big");
        assert_eq!(error.kind, ErrorKind::TooBig { mtu: 1300 });
        assert_eq!(error.from, router(v6, 1));
        let from = SocketAddr::new(pair.guest.address(v6), 5000);
        assert_eq!((error.source, error.destination), (from, to));
        // Ports and the beginning of what was sent; whoever asks finds its socket by it.
        assert_eq!(error.upper[..4], packet::datagram(from, to, b"")[..4]);
        assert_eq!(error.upper[8..108], payload(1400)[..100]);
        // Cut by the guest, or allowed to be cut, it arrives.
        let datagram = packet::datagram(from, to, &payload(1400));
        for packet in packet::pieces(from.ip(), to.ip(), Protocol::UDP, &datagram, 1300, 77) {
            pair.guest.send_packet(&packet);
        }
        pair.run_for(SOON);
        assert!(pair.guest.udp.received.pop().expect("it came back").payload == payload(1400));
        if !v6 {
            let whole = ip(from.ip(), to.ip(), Protocol::UDP, &datagram, None);
            pair.guest.send_packet(&with_dont_fragment(whole, false));
            pair.run_for(SOON);
            assert!(pair.guest.udp.received.pop().is_some());
        }
        assert!(pair.guest.errors.is_empty());
        pair.assert_quiescent();
    }
}

#[test]
fn errors_about_strangers_and_after_the_end_tell_nobody() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.guest_send_udp(5000, at(v6, 1, 7000), b"hello");
        pair.run_for(SOON);
        let mut left = pair.host.world.departed[0].clone();
        left.destination = at(v6, 2, 7000);
        let kind = ErrorKind::Unreachable(Unreachable::Port);
        pair.host.world.report(&left, kind, None, 500);
        left.destination = at(v6, 1, 7001);
        pair.host.world.report(&left, kind, None, 500);
        pair.run_for(Duration::from_secs(200));
        left.destination = at(v6, 1, 7000);
        pair.host.world.report(&left, kind, None, 500);
        pair.run_for(SOON);
        assert!(pair.guest.errors.is_empty());
        pair.assert_quiescent();
    }
}

#[test]
fn a_socket_that_cannot_be_had_is_an_error_for_each_datagram_and_no_mapping() {
    let table = [
        (DialFailure::Exhausted, Unreachable::Host),
        (DialFailure::NetworkUnreachable, Unreachable::Network),
        (DialFailure::Prohibited, Unreachable::Prohibited),
    ];
    for v6 in [false, true] {
        for (failure, told) in table {
            let mut pair = Pair::new(PairSpec::default());
            pair.host.world.no_sockets = Some(failure);
            for _ in 0..3 {
                pair.guest_send_udp(5000, at(v6, 1, 7000), b"hello");
            }
            pair.guest_ping(9, 1, at(v6, 1, 0).ip(), b"hello");
            pair.run_for(SOON);
            assert_eq!(pair.guest.errors.len(), 4);
            for error in &pair.guest.errors {
                assert_eq!(error.kind, ErrorKind::Unreachable(told));
                assert_eq!(error.from, pair.guest.gateway(v6));
            }
            assert_eq!(pair.engine.mapping_count(), 0);
            let failed = |event: &&Event| {
                let reason = CloseReason::Failed(failure);
                matches!(event, Event::FlowClosed { reason: other, .. } if *other == reason)
            };
            assert!(pair.events.iter().filter(failed).count() >= 2);
            // Once there are sockets again the same port gets one.
            pair.host.world.no_sockets = None;
            pair.guest_send_udp(5000, at(v6, 1, 7000), b"hello");
            pair.run_for(SOON);
            assert_eq!(pair.engine.mapping_count(), 1);
            pair.assert_quiescent();
        }
    }
}

/// Sends pieces of one datagram, given as ranges of its upper-layer bytes.
fn send_pieces(pair: &mut Pair, v6: bool, upper: &[u8], pieces: &[(usize, usize)], id: u32) {
    let (from, to) = (pair.guest.address(v6), at(v6, 1, 0).ip());
    for &(start, end) in pieces {
        let more = end != upper.len();
        let fragment = Fragment { identification: id, offset: start as u32, more };
        let packet = ip(from, to, Protocol::UDP, &upper[start..end], Some(fragment));
        pair.guest.send_packet(&packet);
    }
}

#[test]
fn fragments_are_joined_in_any_order_and_overlaps_lose_the_datagram() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let from = SocketAddr::new(pair.guest.address(v6), 5000);
        let upper = packet::datagram(from, at(v6, 1, 7000), &payload(3000));
        let whole: [&[(usize, usize)]; 4] = [
            &[(0, 1000), (1000, 2000), (2000, 3008)],
            &[(2000, 3008), (1000, 2000), (0, 1000)],
            &[(1000, 2000), (0, 1000), (2000, 3008)],
            // A piece that comes twice, as a link may do, is no overlap.
            &[(0, 1000), (0, 1000), (1000, 2000), (2000, 3008)],
        ];
        for (id, pieces) in whole.into_iter().enumerate() {
            send_pieces(&mut pair, v6, &upper, pieces, id as u32);
            pair.run_for(SOON);
            let left = pair.host.world.departed.pop().expect("joined");
            assert!(left.payload == payload(3000) && left.may_fragment, "{pieces:?}");
        }
        let overlaps: [&[(usize, usize)]; 3] = [
            &[(0, 1000), (992, 2000), (2000, 3008)],
            &[(1000, 2000), (0, 1008), (2000, 3008)],
            &[(2000, 3008), (0, 2008)],
        ];
        for (id, pieces) in overlaps.into_iter().enumerate() {
            send_pieces(&mut pair, v6, &upper, pieces, 100 + id as u32);
            pair.run_for(Duration::from_secs(16));
            assert!(pair.host.world.departed.is_empty(), "{pieces:?}");
        }
        assert!(pair.engine.counters().drops(DropReason::FragmentOverlap) >= 3);
        send_pieces(&mut pair, v6, &upper, &[(0, 1000), (2000, 3008)], 200);
        let timeouts = pair.engine.counters().drops(DropReason::FragmentTimeout);
        pair.run_for(Duration::from_secs(16));
        assert_eq!(pair.engine.counters().drops(DropReason::FragmentTimeout), timeouts + 1);
        assert!(pair.host.world.departed.is_empty());
        pair.assert_quiescent();
    }
}

#[test]
fn a_refused_datagram_in_fragments_is_answered_once() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.egress.enabled = false;
        let mut pair = Pair::new(spec);
        for size in [3000, 65_507] {
            pair.guest_send_udp(5000, at(v6, 1, 7000), &payload(size));
            pair.guest_ping(5000, 1, at(v6, 1, 0).ip(), &payload(size));
            pair.run_for(SOON);
            assert_eq!(pair.guest.errors.len(), 2);
            for error in pair.guest.errors.drain(..) {
                assert_eq!(error.kind, ErrorKind::Unreachable(Unreachable::Prohibited));
                assert_eq!(error.upper.len(), 548 - if v6 { 40 } else { 20 });
            }
        }
        pair.assert_quiescent();
    }
}
