//! Drops and limits as they are told of: each at once, floods in sums, nothing for ever.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{Command, DropReason, EgressRefusal, Event, HostNetwork, UpstreamOp};
use portreeve_testkit::ask::{answer_to, question};
use portreeve_testkit::packet::{Segment, datagram, ethernet, flag, ip, pieces};
use portreeve_testkit::{App, Listener, Pair, PairSpec, Service, client_spec};
use portreeve_types::{PublishId, Transport};
use portreeve_wire::VirtioNetHdr;
use portreeve_wire::packet::Protocol;

const SOON: Duration = Duration::from_millis(5);
const SECOND: Duration = Duration::from_secs(1);

/// What was told of drops for `reason`.
fn drops(pair: &Pair, reason: DropReason) -> Vec<u64> {
    let of_reason = |event: &Event| match event {
        Event::Dropped { reason: other, count } if *other == reason => Some(*count),
        _ => None,
    };
    pair.events.iter().filter_map(of_reason).collect()
}

/// What was told of a limit.
fn limits(pair: &Pair, name: &str) -> Vec<(Option<PublishId>, u64)> {
    let of_limit = |event: &Event| match event {
        Event::LimitReached { limit, publish, count } if *limit == name => Some((*publish, *count)),
        _ => None,
    };
    pair.events.iter().filter_map(of_limit).collect()
}

fn total(told: &[(Option<PublishId>, u64)]) -> u64 {
    told.iter().map(|(_, count)| count).sum()
}

/// A packet of a protocol that nobody here speaks.
fn unknown_protocol(pair: &Pair) -> Vec<u8> {
    ip(pair.guest.address(false), pair.guest.gateway(false), 99, &[0; 20], None)
}

#[test]
fn the_first_drop_is_told_at_once_and_the_rest_by_the_timer() {
    let mut pair = Pair::new(PairSpec::default());
    let packet = unknown_protocol(&pair);
    for _ in 0..5 {
        pair.guest.send_packet(&packet);
    }
    pair.run_for(SOON);
    assert_eq!(drops(&pair, DropReason::Protocol), [1]);
    pair.run_for(SECOND - SOON * 2);
    assert_eq!(drops(&pair, DropReason::Protocol), [1], "no sooner than after a second");
    pair.run_for(SOON * 2);
    assert_eq!(drops(&pair, DropReason::Protocol), [1, 4]);
    assert_eq!(pair.engine.poll_timeout(), None, "nothing is held back any more");
    let wakeups = pair.wakeups;
    pair.run_for(SECOND * 10);
    assert_eq!(pair.wakeups, wakeups);
    pair.guest.send_packet(&packet);
    pair.run_for(SOON);
    assert_eq!(drops(&pair, DropReason::Protocol), [1, 4, 1], "after a rest, at once again");
}

#[test]
fn a_flood_of_drops_is_told_of_once_a_second_and_completely() {
    let mut pair = Pair::new(PairSpec::default());
    let packet = unknown_protocol(&pair);
    for _ in 0..10_000 {
        pair.guest.send_packet(&packet);
        pair.run_for(Duration::from_millis(1));
    }
    pair.assert_quiescent();
    let told = drops(&pair, DropReason::Protocol);
    assert!((10..=12).contains(&told.len()), "{told:?}");
    assert_eq!(told.iter().sum::<u64>(), 10_000);
    assert_eq!(pair.engine.counters().drops(DropReason::Protocol), 10_000);
}

#[test]
fn what_the_full_queue_of_answers_loses_is_told_as_well() {
    let mut spec = PairSpec::default();
    spec.config.limits.control_frames = 16;
    let mut pair = Pair::new(spec);
    pair.to_guest.stalled = true;
    pair.to_guest.spec.capacity = 1;
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    let (from, to) = (SocketAddr::new(guest, 4000), SocketAddr::new(gateway, 9));
    // Nobody is there, and the guest would be told.
    let unwanted = ip(guest, gateway, Protocol::UDP, &datagram(from, to, b"hello"), None);
    for _ in 0..100 {
        pair.guest.send_packet(&unwanted);
    }
    pair.run_for(SECOND * 2);
    let lost = pair.engine.counters().drops(DropReason::ControlQueueFull);
    assert!(lost >= 80, "{lost}");
    assert_eq!(drops(&pair, DropReason::ControlQueueFull).iter().sum::<u64>(), lost);
    assert_eq!(total(&limits(&pair, "control_frames")), lost);
    assert!(drops(&pair, DropReason::ControlQueueFull).len() <= 3);
}

#[test]
fn each_port_is_told_of_by_itself() {
    let mut spec = PairSpec::default();
    spec.config.limits.max_flows_per_port = 2;
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::open(1)));
    let tcp = [pair.publish_tcp(80), pair.publish_tcp(80)];
    let udp = pair.publish_udp(53);
    for port in tcp {
        for _ in 0..7 {
            pair.connect(port, App::open(1));
        }
    }
    for port in 1..=6 {
        let (client, local) = (([192, 0, 2, 1], port).into(), ([192, 0, 2, 9], 53).into());
        pair.send_datagram(udp, client, local, b"hello");
    }
    pair.run_for(SOON);
    let first: Vec<_> = [tcp[0], tcp[1], udp].map(|port| (Some(port), 1)).into();
    assert_eq!(limits(&pair, "max_flows_per_port"), first);
    pair.run_for(SECOND);
    let later = [(Some(tcp[0]), 4), (Some(tcp[1]), 4), (Some(udp), 3)];
    assert_eq!(limits(&pair, "max_flows_per_port"), [&first[..], &later].concat());
}

#[test]
fn thousands_of_ports_at_their_limit_are_told_of_in_bounded_numbers() {
    let mut spec = PairSpec::default();
    spec.config.limits.max_flows_per_port = 1;
    let mut pair = Pair::new(spec);
    let local: SocketAddr = ([192, 0, 2, 9], 53).into();
    let ports: Vec<_> = (0..4_000).map(|_| pair.publish_udp(53)).collect();
    for &port in &ports {
        for client in 1..=3 {
            pair.send_datagram(port, ([192, 0, 2, 1], client).into(), local, b"hello");
        }
    }
    pair.run_for(SOON);
    pair.run_for(SECOND * 2);
    let told = limits(&pair, "max_flows_per_port");
    assert_eq!(total(&told), 8_000);
    assert!(told.len() <= 4 * 65, "{}", told.len());
    assert!(told.iter().any(|(port, _)| port.is_none()), "the rest, together");
}

#[test]
fn every_limit_is_told_of_by_its_name() {
    let mut spec = PairSpec::default();
    let most = &mut spec.config.limits;
    (most.max_flows, most.max_published, most.max_mappings) = (20, 3, 4);
    (most.max_dials, most.max_dials_per_destination) = (6, 2);
    (most.fragment_queues, most.fragment_bytes) = (8, 65_536);
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::open(1)));
    let port = pair.publish_tcp(80);
    for _ in 0..2 {
        pair.publish_udp(80);
    }
    let publish =
        Command::Publish { transport: Transport::Tcp, guest_port: 80, source: None, host: None };
    for _ in 0..5 {
        assert!(pair.command(publish).is_err());
    }
    for source in 0..7 {
        pair.guest_send_udp(4000 + source, ([198, 51, 100, 1], 9).into(), b"hello");
    }
    for number in 0..9 {
        pair.guest_connect(([198, 51, 100, number / 3], 443).into(), App::source(10));
        pair.run_for(SOON);
    }
    for number in 0..5 {
        pair.guest_connect(([198, 51, 100, 100 + number], 443).into(), App::source(10));
        pair.run_for(SOON);
    }
    for _ in 0..14 {
        pair.connect(port, App::open(1));
    }
    let (guest, remote) = (pair.guest.address(false), IpAddr::from([198, 51, 100, 9]));
    for identification in 0..20 {
        let whole = pieces(guest, remote, Protocol::UDP, &[0; 3000], 1500, identification);
        pair.guest.send_packet(&whole[0]);
    }
    // One whose first fragments fill all the room there is.
    let (from, to) = (SocketAddr::new(guest, 7), SocketAddr::new(remote, 7));
    for identification in 20..23 {
        let upper = datagram(from, to, &[0; 40_000]);
        let whole = pieces(guest, remote, Protocol::UDP, &upper, 1500, identification);
        for piece in &whole[..whole.len() - 1] {
            pair.guest.send_packet(piece);
        }
    }
    pair.run_for(SECOND * 2);
    for (limit, least) in [
        ("max_published", 5),
        ("max_mappings", 3),
        ("max_dials_per_destination", 3),
        ("max_dials", 5),
        ("max_flows", 4),
        ("fragment_queues", 12),
        ("fragment_bytes", 1),
    ] {
        let told = limits(&pair, limit);
        assert_eq!(told.first(), Some(&(None, 1)), "{limit}");
        assert!((1..=3).contains(&told.len()), "{limit}: {told:?}");
        assert!(total(&told) >= least, "{limit}: {told:?}");
    }
    assert_eq!(total(&limits(&pair, "max_published")), 5);
    assert_eq!(total(&limits(&pair, "max_mappings")), 3);
}

#[test]
fn queues_and_questions_beyond_their_limits_are_told_of() {
    let mut spec = PairSpec::default();
    spec.config.limits.datagram_queue_bytes = 65_536;
    spec.config.limits.dns_pending = 4;
    let mut pair = resolving(spec);
    pair.guest.udp.serve(5000, Service::Sink);
    let server = SocketAddr::new(pair.guest.gateway(false), 53);
    for number in 0..10 {
        pair.guest_send_udp(5000, server, &question(number, &format!("n{number}.test")));
    }
    pair.run_for(SOON);
    pair.to_guest.stalled = true;
    pair.to_guest.spec.capacity = 1;
    let port = pair.publish_udp(5000);
    for _ in 0..100 {
        let (client, local) = (([192, 0, 2, 1], 9).into(), ([192, 0, 2, 9], 53).into());
        pair.engine.handle_datagram(
            &portreeve_core::IncomingDatagram { publish: port, client, local, payload: &[0; 1400] },
            pair.now(),
        );
    }
    pair.run_for(SECOND * 2);
    assert_eq!(total(&limits(&pair, "dns_pending")), 6);
    let full = pair.engine.counters().drops(DropReason::DatagramQueueFull);
    assert!(full >= 50, "{full}");
    assert_eq!(total(&limits(&pair, "datagram_queue_bytes")), full);
    assert_eq!(drops(&pair, DropReason::DatagramQueueFull).iter().sum::<u64>(), full);
}

/// A pair whose name server has somebody to ask.
fn resolving(spec: PairSpec) -> Pair {
    let mut pair = Pair::new(spec);
    let network =
        HostNetwork { name_servers: vec![([192, 0, 2, 53], 53).into()], ..HostNetwork::default() };
    let now = pair.now();
    pair.engine.handle_host_network(&network, now);
    pair
}

#[test]
fn a_refusal_says_by_which_name_the_guest_knew_the_destination() {
    let mut spec = PairSpec::default();
    spec.config.egress.enabled = false;
    let mut pair = resolving(spec);
    let server = SocketAddr::new(pair.guest.gateway(false), 53);
    pair.guest_send_udp(5000, server, &question(9, "www.test"));
    pair.run_for(SOON);
    let Some(UpstreamOp::Ask { exchange, message, .. }) = pair.name_ops.first().cloned() else {
        panic!("nobody was asked")
    };
    let now = pair.now();
    pair.engine.handle_name_response(exchange, &answer_to(&message, [198, 51, 100, 7], 60), now);
    pair.run_for(SOON);
    for last in [7, 8] {
        pair.guest_connect(([198, 51, 100, last], 443).into(), App::source(10));
        pair.guest_send_udp(5001, ([198, 51, 100, last], 443).into(), b"hello");
        pair.guest_ping(1, 1, [198, 51, 100, last].into(), b"hello");
    }
    pair.run_for(SOON);
    let named = |event: &Event| match event {
        Event::EgressRefused { destination, name, reason, .. } => {
            assert_eq!(*reason, EgressRefusal::Disabled);
            let expected =
                (destination.ip() == IpAddr::from([198, 51, 100, 7])).then_some("www.test");
            assert_eq!(name.as_deref(), expected, "{destination}");
            true
        }
        _ => false,
    };
    assert_eq!(pair.events.iter().filter(|event| named(event)).count(), 6);
}

#[test]
fn a_dial_that_fails_is_told_of_by_name() {
    let mut pair = resolving(PairSpec::default());
    let server = SocketAddr::new(pair.guest.gateway(false), 53);
    pair.guest_send_udp(5000, server, &question(9, "www.test"));
    pair.run_for(SOON);
    let Some(UpstreamOp::Ask { exchange, message, .. }) = pair.name_ops.first().cloned() else {
        panic!("nobody was asked")
    };
    let now = pair.now();
    pair.engine.handle_name_response(exchange, &answer_to(&message, [198, 51, 100, 7], 60), now);
    pair.run_for(SOON);
    pair.guest_connect(([198, 51, 100, 7], 443).into(), App::source(10));
    pair.run_for(SECOND * 61);
    let named = |event: &Event| matches!(event, Event::EgressRefused { name, .. } if name.as_deref() == Some("www.test"));
    assert!(pair.events.iter().any(named), "{:?}", pair.events);
}

/// The verdict on a frame that holds `packet`.
fn verdict(pair: &mut Pair, packet: &[u8]) -> Option<DropReason> {
    let mut frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, packet);
    let now = pair.now();
    pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
    let verdict = pair.engine.take_verdict();
    assert_eq!(pair.engine.take_verdict(), None, "a verdict is taken once");
    verdict
}

#[test]
fn the_verdict_is_on_the_last_frame_alone() {
    let mut spec = PairSpec::default();
    (spec.config.limits.max_mappings, spec.config.limits.max_dials) = (1, 1);
    spec.config.limits.fragment_queues = 1;
    let mut pair = Pair::new(spec);
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    let outside = |port| SocketAddr::from(([198, 51, 100, 1], port));
    let from = |port| SocketAddr::new(guest, port);
    let udp = |port, to: SocketAddr| {
        ip(guest, to.ip(), Protocol::UDP, &datagram(from(port), to, b"hello"), None)
    };
    let syn = |port, to| Segment::new(from(port), to, flag::SYN).packet();
    assert_eq!(pair.engine.take_verdict(), None);
    let unknown = unknown_protocol(&pair);
    assert_eq!(verdict(&mut pair, &unknown), Some(DropReason::Protocol));
    assert_eq!(verdict(&mut pair, &udp(1, outside(1))), None, "forwarded");
    assert_eq!(verdict(&mut pair, &udp(2, outside(1))), None, "what made room is not the frame");
    assert_eq!(pair.engine.counters().drops(DropReason::MappingEvicted), 1);
    let no_port = udp(2, SocketAddr::new(gateway, 9));
    assert_eq!(verdict(&mut pair, &no_port), Some(DropReason::EgressDenied), "refused");
    assert_eq!(verdict(&mut pair, &syn(1, outside(1))), None);
    assert_eq!(verdict(&mut pair, &syn(2, outside(1))), None, "the older dial is not the frame");
    assert_eq!(pair.engine.counters().drops(DropReason::EgressDenied), 2);
    let refused = syn(3, SocketAddr::new(gateway, 9));
    assert_eq!(verdict(&mut pair, &refused), Some(DropReason::EgressDenied));
    let stray = Segment::new(from(4), outside(4), flag::ACK).packet();
    assert_eq!(verdict(&mut pair, &stray), Some(DropReason::NoFlow));
    for identification in [1, 2] {
        let whole = pieces(guest, gateway, Protocol::UDP, &[0; 3000], 1500, identification);
        assert_eq!(verdict(&mut pair, &whole[0]), None, "the older datagram is not the frame");
    }
    assert_eq!(pair.engine.counters().drops(DropReason::FragmentLimit), 1);
    assert_eq!(verdict(&mut pair, &unknown), Some(DropReason::Protocol));
    let ping = ip(guest, gateway, Protocol::ICMP, &PING, None);
    assert_eq!(verdict(&mut pair, &ping), None, "the verdict before has gone");
}

#[test]
fn the_same_run_tells_the_same() {
    let run = || {
        let mut spec = PairSpec::default();
        spec.config.limits.max_flows_per_port = 3;
        spec.config.limits.max_mappings = 2;
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::ECHO));
        let ports: Vec<_> = (0..100).map(|_| pair.publish_tcp(80)).collect();
        let packet = unknown_protocol(&pair);
        for number in 0..2_000u16 {
            let port = ports[usize::from(number) * 7 % ports.len()];
            pair.connect_with(client_spec(port, App::source(3_000), number % 2 == 0));
            pair.guest_send_udp(4000 + number % 9, ([198, 51, 100, 1], 9).into(), b"hello");
            pair.guest.send_packet(&packet);
            if number % 3 == 0 {
                pair.run_for(SOON);
            }
        }
        pair.run_for(SECOND * 2);
        let told: Vec<_> = pair
            .events
            .iter()
            .filter(|event| matches!(event, Event::Dropped { .. } | Event::LimitReached { .. }))
            .cloned()
            .collect();
        (told, pair.finish_trace())
    };
    let (first, second) = (run(), run());
    assert!(first.0.len() > 10, "{}", first.0.len());
    assert_eq!(first, second);
}

/// An echo request without data. RFC 792.
const PING: [u8; 8] = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
