//! Datagrams that share a frame on their way to the guest: what it gets is what was sent, in order.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::LinkOffloads;
use portreeve_testkit::{Pair, PairSpec, Random, Service};
use portreeve_types::PublishId;

const SOON: Duration = Duration::from_millis(20);

fn address(v6: bool, port: u16) -> (SocketAddr, SocketAddr) {
    if v6 {
        (
            SocketAddr::new("2001:db8::7".parse().expect("an address"), port),
            "[2001:db8::1]:53".parse().expect("an address"),
        )
    } else {
        (([192, 0, 2, 7], port).into(), ([192, 0, 2, 1], 53).into())
    }
}

fn served(spec: PairSpec) -> (Pair, PublishId) {
    let mut pair = Pair::new(spec);
    pair.guest.udp.serve(53, Service::Sink);
    let port = pair.publish_udp(53);
    for v6 in [false, true] {
        // The guest's hardware address is asked for once, and is no frame of what follows.
        let (client, local) = address(v6, 9);
        pair.send_datagram(port, client, local, b"hello");
    }
    pair.run_for(SOON);
    assert_eq!(pair.guest.udp.received.len(), 2);
    pair.guest.udp.received.clear();
    (pair, port)
}

/// Sends all at once from the client ports given, asserts that they arrive as sent, and returns
/// the number of frames they took.
fn frames(pair: &mut Pair, port: PublishId, v6: bool, sent: &[(u16, Vec<u8>)]) -> u64 {
    let before = pair.engine.counters().frames_to_guest;
    for (client_port, payload) in sent {
        let (client, local) = address(v6, *client_port);
        pair.send_datagram(port, client, local, payload);
    }
    pair.run_for(SOON);
    let arrived: Vec<(u16, Vec<u8>)> = pair
        .guest
        .udp
        .received
        .drain(..)
        .map(|datagram| (datagram.from.port(), datagram.payload))
        .collect();
    assert_eq!(arrived.len(), sent.len());
    assert!(arrived == *sent, "contents and order");
    pair.engine.counters().frames_to_guest - before
}

/// Datagrams of one client of these lengths, each with a content of its own.
fn of(lengths: &[usize]) -> Vec<(u16, Vec<u8>)> {
    let one = |(nth, length): (usize, &usize)| {
        (4000, (0..*length).map(|at| (at * 7 + nth * 31) as u8).collect())
    };
    lengths.iter().enumerate().map(one).collect()
}

#[test]
fn datagrams_of_one_flow_share_frames_and_arrive_as_sent() {
    for v6 in [false, true] {
        let (mut pair, port) = served(PairSpec::default().offloaded());
        assert_eq!(frames(&mut pair, port, v6, &of(&[64; 64])), 1);
        assert_eq!(frames(&mut pair, port, v6, &of(&[64, 64, 64, 63])), 1, "a shorter last one");
        assert_eq!(frames(&mut pair, port, v6, &of(&[1; 60])), 1, "a byte each");
        assert_eq!(frames(&mut pair, port, v6, &of(&[1, 0, 1, 1])), 3, "an empty one between");
        assert_eq!(frames(&mut pair, port, v6, &of(&[100, 101, 100])), 2);
        let full = if v6 { 1452 } else { 1472 };
        assert_eq!(frames(&mut pair, port, v6, &of(&[full; 40])), 1, "as long as the MTU allows");
        assert_eq!(frames(&mut pair, port, v6, &of(&[full + 1; 3])), 6, "fragments");
        assert_eq!(pair.engine.counters().total_drops(), 0);
    }
}

#[test]
fn mixed_flows_keep_the_order_in_which_they_were_sent() {
    for v6 in [false, true] {
        let (mut pair, port) = served(PairSpec::default().offloaded());
        let mut sent = of(&[64; 30]);
        for (nth, (client_port, _)) in sent.iter_mut().enumerate() {
            *client_port = if nth < 10 { 4000 } else { 4000 + (nth as u16 & 1) };
        }
        assert_eq!(frames(&mut pair, port, v6, &sent), 20, "ten neighbours, with the next of them");
    }
}

#[test]
fn a_link_without_uso_gets_a_frame_for_each() {
    let checksum = LinkOffloads { checksum: true, ..LinkOffloads::NONE };
    for offers in [LinkOffloads::NONE, checksum] {
        for v6 in [false, true] {
            let mut spec = PairSpec::default();
            spec.guest.offers = offers;
            let (mut pair, port) = served(spec);
            assert_eq!(frames(&mut pair, port, v6, &of(&[64; 20])), 20);
        }
    }
}

#[test]
fn whatever_is_sent_arrives_as_sent() {
    for seed in 1..60 {
        let mut random = Random::new(seed);
        let v6 = random.chance(500);
        let (mut pair, port) = served(PairSpec::default().offloaded().seeded(seed));
        for _ in 0..10 {
            let mut lengths = Vec::new();
            while lengths.len() < 100 {
                let length =
                    [0, 1, 2, 64, 64, 700, 1452, 1472, 1473, 4000][random.below(10) as usize];
                lengths.extend(vec![length; 1 + random.below(12) as usize]);
            }
            let mut sent = of(&lengths);
            for (client_port, _) in &mut sent {
                *client_port += u16::from(random.chance(100));
            }
            assert!(frames(&mut pair, port, v6, &sent) > 0);
        }
        assert_eq!(pair.engine.counters().total_drops(), 0);
    }
}
