//! Datagrams through published ports: mappings, sizes, fragments, errors, floods.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{Config, DropReason, Event};
use portreeve_testkit::packet::{self, ip};
use portreeve_testkit::{Pair, PairSpec, Random, Service, content};
use portreeve_types::{PublishId, SourceMode, Transport};
use portreeve_wire::icmp::Unreachable;
use portreeve_wire::packet::{Fragment, Protocol};

const SOON: Duration = Duration::from_millis(20);

fn variants() -> Vec<(bool, PairSpec)> {
    let specs = [PairSpec::default(), PairSpec::default().offloaded()];
    specs.into_iter().flat_map(|spec| [(false, spec.clone()), (true, spec)]).collect()
}

fn addresses(v6: bool, port: u16) -> (SocketAddr, SocketAddr) {
    if v6 {
        (
            SocketAddr::new("2001:db8::7".parse().expect("an address"), port),
            "[2001:db8::1]:53".parse().expect("an address"),
        )
    } else {
        (([192, 0, 2, 7], port).into(), ([192, 0, 2, 1], 53).into())
    }
}

fn payload(length: usize) -> Vec<u8> {
    content::bytes(content::StreamId(length as u64), length)
}

fn served(spec: PairSpec, service: Service) -> (Pair, PublishId) {
    let mut pair = Pair::new(spec);
    pair.guest.udp.serve(53, service);
    let port = pair.publish_udp(53);
    (pair, port)
}

#[test]
fn every_size_goes_both_ways() {
    for (v6, spec) in variants() {
        for mtu in [1280, 1500, 9000] {
            let mut spec = spec.clone();
            spec.config.addressing.mtu = mtu;
            let (mut pair, port) = served(spec, Service::Echo);
            let (client, local) = addresses(v6, 4000);
            for length in [0, 1, 2, 1232, 1452, 1472, 1473, 9000, 65_507] {
                pair.send_datagram(port, client, local, &payload(length));
                pair.run_for(SOON);
                let at_guest = pair.guest.udp.received.pop().expect("it arrives");
                assert_eq!(at_guest.payload, payload(length));
                assert_eq!(at_guest.to.is_ipv6(), v6);
                assert_eq!(at_guest.from.port(), 4000);
                let header = if v6 { 48 } else { 28 };
                assert_eq!(at_guest.pieces == 1, length + header <= usize::from(mtu));
                let back = pair.host.udp.received.pop().expect("it is echoed");
                assert_eq!((back.client, back.local, back.publish), (client, local, port));
                assert_eq!(back.payload, payload(length), "{length} bytes at MTU {mtu}");
            }
            assert_eq!(pair.engine.counters().total_drops(), 0);
        }
    }
}

#[test]
fn every_client_has_a_mapping_of_its_own() {
    let (mut pair, port) = served(PairSpec::default(), Service::Echo);
    let (_, local) = addresses(false, 0);
    let other_local: SocketAddr = ([192, 0, 2, 2], 53).into();
    let clients: Vec<SocketAddr> = (0..50u8)
        .flat_map(|host| [4000, 4001].map(|port| ([192, 0, 2, host], port).into()))
        .collect();
    for round in 0..3u8 {
        for client in &clients {
            for local in [local, other_local] {
                let text = format!("{client} to {local}, round {round}");
                pair.send_datagram(port, *client, local, text.as_bytes());
            }
        }
        pair.run_for(SOON);
    }
    assert_eq!(pair.host.udp.received.len(), 3 * 2 * clients.len());
    for (nth, back) in pair.host.udp.received.iter().enumerate() {
        let round = nth / (2 * clients.len());
        let text = format!("{} to {}, round {round}", back.client, back.local);
        assert_eq!(back.payload, text.as_bytes(), "everybody gets his own answer");
    }
    assert_eq!(pair.engine.flow_count(), 2 * clients.len());
    let mut sources: Vec<_> =
        pair.guest.udp.received.iter().map(|datagram| datagram.from).collect();
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), 2 * clients.len(), "each is somebody else to the guest");
}

#[test]
fn a_mapping_lives_by_traffic_in_either_direction() {
    let (mut pair, port) = served(PairSpec::default(), Service::Echo);
    let (client, local) = addresses(false, 4000);
    pair.send_datagram(port, client, local, b"hello");
    pair.run_for(SOON);
    let (guest, seen) = (pair.guest.udp.received[0].to, pair.guest.udp.received[0].from);
    for _ in 0..10 {
        pair.run_for(Duration::from_secs(170));
        pair.guest.send_datagram(guest, seen, b"still here");
    }
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.len(), 11);
    for _ in 0..10 {
        pair.run_for(Duration::from_secs(170));
        pair.guest.udp.serve(53, Service::Sink);
        pair.send_datagram(port, client, local, b"so am I");
    }
    pair.run_for(SOON);
    assert!(pair.guest.udp.received.iter().all(|datagram| datagram.from == seen));
    assert_eq!(pair.engine.flow_count(), 1);
    pair.run_for(Duration::from_secs(179));
    assert_eq!(pair.engine.flow_count(), 1);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.engine.flow_count(), 0);
    pair.guest.send_datagram(guest, seen, b"too late");
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.len(), 11);
    assert_eq!(pair.guest.unreachable.len(), 1, "refused audibly");
    pair.assert_quiescent();
}

#[test]
fn a_mapping_without_an_answer_ends_sooner() {
    let (mut pair, port) = served(PairSpec::default(), Service::Sink);
    let (client, local) = addresses(false, 4000);
    pair.send_datagram(port, client, local, b"hello");
    pair.run_for(Duration::from_secs(29));
    assert_eq!(pair.engine.flow_count(), 1);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.engine.flow_count(), 0);
    pair.assert_quiescent();
}

#[test]
fn unreachable_is_reflected_both_ways() {
    for (v6, spec) in variants() {
        let (mut pair, port) = served(spec, Service::Closed);
        let (client, local) = addresses(v6, 4000);
        // The first refusal sends the next datagram to the other family, the second is final.
        for _ in 0..2 {
            pair.send_datagram(port, client, local, &payload(3000));
            pair.run_for(SOON);
        }
        assert_eq!(pair.host.udp.unreachable, [(port, client, local, Unreachable::Port)]);
        pair.send_datagram(port, client, local, &payload(3000));
        pair.run_for(SOON);
        assert_eq!(pair.host.udp.unreachable.len(), 2, "every later one is reflected");
        // And the other way: the client is gone when the guest answers.
        pair.guest.udp.serve(53, Service::Echo);
        pair.send_datagram(port, client, local, b"again");
        pair.run_for(SOON);
        for known in [Some(local), None] {
            let event = portreeve_core::HostEvent::ClientUnreachable {
                publish: port,
                client,
                local: known,
                kind: Unreachable::Port,
            };
            pair.engine.handle_host_event(event, pair.now());
            pair.run_for(SOON);
            let (kind, key) = pair.guest.unreachable.pop().expect("the guest is told");
            assert_eq!(kind, Unreachable::Port);
            // The quote is the guest's own datagram, so its source is the guest.
            assert_eq!(key.remote, pair.guest.udp.received[0].to);
            assert_eq!(key.guest, pair.guest.udp.received[0].from);
        }
    }
}

#[test]
fn a_forged_unreachable_names_no_flow() {
    let (mut pair, port) = served(PairSpec::default(), Service::Echo);
    let (client, local) = addresses(false, 4000);
    pair.send_datagram(port, client, local, b"hello");
    pair.run_for(SOON);
    let (guest, seen) = (pair.guest.udp.received[0].to, pair.guest.udp.received[0].from);
    let strangers: [(SocketAddr, SocketAddr); 3] = [
        (seen, SocketAddr::new(guest.ip(), 54)),
        (SocketAddr::new(seen.ip(), 1), guest),
        (([8, 8, 8, 8], 53).into(), guest),
    ];
    for (from, to) in strangers {
        let quoted = ip(from.ip(), to.ip(), Protocol::UDP, &packet::datagram(from, to, b"x"), None);
        pair.guest.report_unreachable(&quoted);
    }
    pair.run_for(SOON);
    assert!(pair.host.udp.unreachable.is_empty());
    assert_eq!(pair.engine.counters().drops(DropReason::NoFlow), 3);
}

#[test]
fn a_service_on_the_other_family_is_found_once_it_has_spoken() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.udp.services.insert((true, 53), Service::Echo);
    let port = pair.publish_udp(53);
    let (v6_client, v6_local) = addresses(true, 4000);
    pair.send_datagram(port, v6_client, v6_local, b"over IPv6");
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.len(), 1);
    let (client, local) = addresses(false, 4000);
    pair.send_datagram(port, client, local, b"over IPv4");
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.len(), 2);
    assert_eq!(pair.host.udp.received[1].client, client);
}

#[test]
fn an_ipv4_client_reaches_a_service_on_ipv6_only_and_the_other_way_round() {
    for serves_v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.guest.udp.services.insert((serves_v6, 53), Service::Echo);
        let port = pair.publish_udp(53);
        let (client, local) = addresses(!serves_v6, 4000);
        // The first is answered by an ICMP error, which says which family it is not.
        for _ in 0..3 {
            pair.send_datagram(port, client, local, b"anybody?");
            pair.run_for(SOON);
        }
        assert!(!pair.host.udp.received.is_empty(), "reached on whichever family answers");
        assert_eq!(pair.host.udp.received[0].client, client);
    }
}

#[test]
fn fragments_of_a_guest_join_in_any_order() {
    for v6 in [false, true] {
        let (mut pair, port) = served(PairSpec::default(), Service::Sink);
        let (client, local) = addresses(v6, 4000);
        pair.send_datagram(port, client, local, b"hello");
        pair.run_for(SOON);
        let (guest, seen) = (pair.guest.udp.received[0].to, pair.guest.udp.received[0].from);
        let mut random = Random::new(3);
        for identification in 0..20 {
            let whole = payload(20_000 + identification as usize);
            let mut pieces = packet::fragments(guest, seen, &whole, 1500, identification);
            for at in (1..pieces.len()).rev() {
                pieces.swap(at, random.below(at as u64 + 1) as usize);
            }
            // Some come twice, which is harmless as long as others are missing.
            let again = pieces[0].clone();
            pieces.insert(pieces.len() - 1, again);
            for piece in &pieces {
                pair.guest.send_packet(piece);
            }
            pair.run_for(SOON);
            assert_eq!(pair.host.udp.received.pop().expect("whole").payload, whole);
        }
        assert_eq!(pair.engine.counters().total_drops(), 0);
    }
}

#[test]
fn missing_and_overlapping_fragments_are_dropped_and_counted() {
    for v6 in [false, true] {
        let (mut pair, port) = served(PairSpec::default(), Service::Sink);
        let (client, local) = addresses(v6, 4000);
        pair.send_datagram(port, client, local, b"hello");
        pair.run_for(SOON);
        let (guest, seen) = (pair.guest.udp.received[0].to, pair.guest.udp.received[0].from);
        let missing = packet::fragments(guest, seen, &payload(9000), 1500, 1);
        for piece in &missing[1..] {
            pair.guest.send_packet(piece);
        }
        pair.run_for(Duration::from_secs(20));
        assert_eq!(pair.engine.counters().drops(DropReason::FragmentTimeout), 1);
        let overlapping = packet::fragments(guest, seen, &payload(9000), 1500, 2);
        pair.guest.send_packet(&overlapping[0]);
        let shifted = Fragment { identification: 2, offset: 8, more: true };
        pair.guest.send_packet(&ip(guest.ip(), seen.ip(), Protocol::UDP, &[0; 64], Some(shifted)));
        for piece in &overlapping[1..] {
            pair.guest.send_packet(piece);
        }
        pair.run_for(Duration::from_secs(20));
        assert_eq!(pair.engine.counters().drops(DropReason::FragmentOverlap), 1);
        assert!(pair.host.udp.received.is_empty());
        pair.run_for(Duration::from_secs(200));
        pair.assert_quiescent();
    }
}

#[test]
fn a_flood_of_fragments_harms_only_itself() {
    let (mut pair, port) = served(PairSpec::default(), Service::Sink);
    let (client, local) = addresses(false, 4000);
    pair.send_datagram(port, client, local, b"hello");
    pair.run_for(SOON);
    let (guest, seen) = (pair.guest.udp.received[0].to, pair.guest.udp.received[0].from);
    for identification in 0..5000u32 {
        let fragment = Fragment { identification, offset: 1480, more: true };
        pair.guest.send_packet(&ip(
            guest.ip(),
            seen.ip(),
            Protocol::UDP,
            &[0; 1480],
            Some(fragment),
        ));
        if identification % 100 == 0 {
            pair.run_for(Duration::from_millis(1));
        }
    }
    pair.guest.send_datagram(guest, seen, &payload(5000));
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.pop().expect("whole").payload, payload(5000));
    pair.run_for(Duration::from_secs(300));
    pair.assert_quiescent();
}

#[test]
fn the_longest_datagram_that_fragments_can_make_is_no_trap() {
    // Upper-layer bytes beyond what an unfragmented packet could carry, for no flow: the engine
    // quotes the packet in an ICMP error.
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.publish_udp(53);
        let (guest, gateway) = (pair.guest.address(v6), pair.guest.gateway(v6));
        for total in [65_507 + 8, 65_516, 65_528, 65_535] {
            for says in [8u16, 100, 65_535] {
                let mut upper = vec![0u8; total];
                upper[1] = 9;
                upper[3] = 9;
                upper[4..6].copy_from_slice(&says.to_be_bytes());
                if v6 {
                    let body = &upper[..usize::from(says).min(total)];
                    let sum = portreeve_wire::checksum::pseudo_header(
                        guest,
                        gateway,
                        Protocol::UDP,
                        body.len(),
                    ) + portreeve_wire::checksum::sum(body);
                    let value = portreeve_wire::checksum::finish(sum).to_be_bytes();
                    upper[6..8].copy_from_slice(&value);
                }
                let step = 1400;
                for (nth, piece) in upper.chunks(step).enumerate() {
                    let fragment = Fragment {
                        identification: total as u32 + u32::from(says),
                        offset: (nth * step) as u32,
                        more: (nth + 1) * step < total,
                    };
                    let piece = ip(guest, gateway, Protocol::UDP, piece, Some(fragment));
                    pair.guest.send_packet(&piece);
                }
                pair.run_for(SOON);
            }
        }
        assert!(!pair.guest.unreachable.is_empty(), "the guest is told");
        pair.assert_quiescent();
    }
}

#[test]
fn fragments_of_what_is_never_cut_are_refused() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let (guest, gateway) = (pair.guest.address(v6), pair.guest.gateway(v6));
        for protocol in [Protocol::TCP, 47, 50, 132] {
            let fragment = Fragment { identification: 1, offset: 0, more: true };
            pair.guest.send_packet(&ip(guest, gateway, protocol, &[0; 64], Some(fragment)));
        }
        pair.run_for(SOON);
        assert_eq!(pair.engine.counters().drops(DropReason::FragmentUnexpected), 4);
        pair.assert_no_timer();
    }
}

#[test]
fn a_link_that_is_full_keeps_datagrams_within_the_limit_and_loses_none() {
    let mut spec = PairSpec::default();
    spec.config.limits.datagram_queue_bytes = 100_000;
    spec.to_guest.capacity = 8;
    let (mut pair, port) = served(spec, Service::Sink);
    let (client, local) = addresses(false, 4000);
    pair.to_guest.stalled = true;
    for number in 0..1000u32 {
        pair.send_datagram(port, client, local, &[&number.to_be_bytes()[..], &[7; 500]].concat());
    }
    pair.run_for(SOON);
    assert!(pair.host.udp.waiting() > 700, "the rest waits in the socket");
    pair.to_guest.stalled = false;
    pair.run_for(Duration::from_secs(1));
    let numbers: Vec<_> =
        pair.guest.udp.received.iter().map(|datagram| datagram.payload[..4].to_vec()).collect();
    let all: Vec<_> = (0..1000u32).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(numbers, all);
}

#[test]
fn limits_refuse_datagrams_of_new_clients_only() {
    let mut spec = PairSpec::default();
    spec.config.limits.max_flows_per_port = 10;
    let (mut pair, port) = served(spec, Service::Echo);
    let other = pair.publish_udp(53);
    for number in 0..30 {
        let (client, local) = addresses(false, 4000 + number);
        pair.send_datagram(port, client, local, b"hello");
    }
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.len(), 10);
    assert_eq!(pair.engine.counters().drops(DropReason::FlowLimit), 20);
    let (client, local) = addresses(false, 4000);
    pair.send_datagram(port, client, local, b"again");
    pair.send_datagram(other, client, local, b"elsewhere");
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.len(), 12);
    pair.run_for(Duration::from_secs(200));
    pair.assert_quiescent();
}

#[test]
fn unpublish_drains_or_ends_mappings() {
    use portreeve_core::{Command, Unpublish};
    for connections in [Unpublish::Drain, Unpublish::Reset] {
        let (mut pair, port) = served(PairSpec::default(), Service::Echo);
        let (client, local) = addresses(false, 4000);
        pair.send_datagram(port, client, local, b"hello");
        pair.run_for(SOON);
        pair.command(Command::Unpublish { publish: port, connections }).unwrap();
        let (stranger, _) = addresses(false, 4001);
        pair.send_datagram(port, client, local, b"known");
        pair.send_datagram(port, stranger, local, b"unknown");
        pair.run_for(SOON);
        let drained = connections == Unpublish::Drain;
        assert_eq!(pair.host.udp.received.len(), if drained { 2 } else { 1 });
        assert_eq!(pair.engine.flow_count(), usize::from(drained));
        assert_eq!(
            pair.engine.counters().drops(DropReason::NotPublished),
            if drained { 1 } else { 2 }
        );
        pair.run_for(Duration::from_secs(200));
        assert!(pair.engine.published(port).is_none());
        pair.assert_quiescent();
    }
}

#[test]
fn events_tell_of_each_mapping_once() {
    let (mut pair, port) = served(PairSpec::default(), Service::Echo);
    let (client, local) = addresses(true, 4000);
    for _ in 0..5 {
        pair.send_datagram(port, client, local, b"hello");
        pair.run_for(SOON);
    }
    pair.run_for(Duration::from_secs(300));
    let opened = pair.events.iter().filter(|event| matches!(event, Event::FlowOpened(_))).count();
    let closed: Vec<_> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            Event::FlowClosed { flow, .. } => Some((flow.bytes_to_guest, flow.bytes_from_guest)),
            _ => None,
        })
        .collect();
    assert_eq!(opened, 1);
    assert_eq!(closed, [(25, 25)]);
}

#[test]
fn a_guest_that_may_open_nothing_sends_no_datagrams_elsewhere() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.egress.enabled = false;
        let mut pair = Pair::new(spec);
        let from = SocketAddr::new(pair.guest.address(v6), 5000);
        let targets: [SocketAddr; 2] = if v6 {
            ["[2001:db8::99]:53".parse().unwrap(), "[ff02::fb]:5353".parse().unwrap()]
        } else {
            [([8, 8, 8, 8], 53).into(), ([224, 0, 0, 251], 5353).into()]
        };
        for to in targets {
            pair.guest.send_datagram(from, to, &payload(2000));
        }
        pair.run_for(SOON);
        assert_eq!(pair.guest.unreachable.len(), 1, "an error about the unicast one only");
        assert_eq!(pair.guest.unreachable[0].0, Unreachable::Prohibited);
        assert_eq!(pair.engine.flow_count(), 0);
        assert!(pair.host.world.departed.is_empty());
        assert_eq!(pair.engine.counters().drops(DropReason::EgressDenied), 1);
        assert_eq!(pair.engine.counters().drops(DropReason::Multicast), 1);
        assert_eq!(pair.egress_refusals().len(), 1, "discovery is counted and no more");
    }
}

#[test]
fn proxy_v1_cannot_carry_datagrams_and_says_so() {
    let mut pair = Pair::new(PairSpec {
        config: Config { source: SourceMode::ProxyV1, ..Config::default() },
        ..PairSpec::default()
    });
    let order = portreeve_core::Command::Publish {
        transport: Transport::Udp,
        guest_port: 53,
        source: None,
        host: None,
    };
    assert_eq!(pair.command(order), Err(portreeve_core::CommandError::ProxyV1OverUdp));
}
