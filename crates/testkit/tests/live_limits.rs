//! Limits that change while an engine runs: lower, higher, and those that cannot.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{CloseReason, DropReason, EgressRefusal, Event, HostNetwork, RefuseReason};
use portreeve_testkit::ask::question;
use portreeve_testkit::packet::{datagram, ip, pieces};
use portreeve_testkit::{App, End, Listener, Outcome, Pair, PairSpec, Random, Service};
use portreeve_wire::packet::Protocol;

const SOON: Duration = Duration::from_millis(20);
const OUTSIDE: ([u8; 4], u16) = ([198, 51, 100, 1], 9);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Why clients were refused, in order.
fn refusals(pair: &Pair) -> Vec<RefuseReason> {
    let refusal = |event: &Event| match event {
        Event::FlowRefused { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(refusal).collect()
}

/// Why flows ended, in order.
fn ends(pair: &Pair) -> Vec<CloseReason> {
    let end = |event: &Event| match event {
        Event::FlowClosed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(end).collect()
}

#[test]
fn fewer_flows_end_none_and_more_let_clients_in() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::open(1)));
    let port = pair.publish_tcp(80);
    let clients: Vec<_> = (0..10).map(|_| pair.connect(port, App::open(1))).collect();
    pair.run_for(SOON);
    assert_eq!(pair.set_limits(|limits| limits.max_flows = 4), Ok(vec!["max_flows"]));
    pair.connect(port, App::open(1));
    let own = pair.guest_connect(OUTSIDE.into(), App::source(1));
    pair.guest_send_udp(4000, OUTSIDE.into(), b"hello");
    pair.run_for(SOON);
    assert_eq!(refusals(&pair), [RefuseReason::FlowLimit]);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::FlowLimit; 2]);
    assert_eq!(pair.outcome(own), Outcome::Refused);
    assert_eq!(pair.engine.flow_count(), 10, "those that were there stay");
    assert!(clients.iter().all(|&client| pair.client(client).peer.check.length() == 1));
    assert_eq!(
        pair.set_limits(|limits| (limits.max_flows, limits.max_flows_per_port) = (100, 11)),
        Ok(vec!["max_flows", "max_flows_per_port"])
    );
    pair.connect(port, App::open(1));
    pair.connect(port, App::open(1));
    pair.run_for(SOON);
    assert_eq!(refusals(&pair)[1..], [RefuseReason::PortLimit]);
    assert_eq!(pair.engine.flow_count(), 11);
}

#[test]
fn fewer_mappings_end_the_longest_idle_at_once() {
    let mut pair = Pair::new(PairSpec::default());
    for source in 0..10 {
        pair.guest_send_udp(4000 + source, OUTSIDE.into(), b"hello");
        pair.run_for(Duration::from_millis(1));
    }
    // The oldest has been used since.
    pair.guest_send_udp(4000, OUTSIDE.into(), b"hello");
    pair.run_for(SOON);
    assert_eq!(pair.engine.mapping_count(), 10);
    assert_eq!(pair.set_limits(|limits| limits.max_mappings = 3), Ok(vec!["max_mappings"]));
    assert_eq!(pair.engine.mapping_count(), 3);
    assert_eq!(ends(&pair), [CloseReason::Evicted; 7]);
    let mut left: Vec<_> = pair.engine.flows().map(|flow| flow.guest.port()).collect();
    left.sort_unstable();
    assert_eq!(left, [4000, 4008, 4009]);
    assert_eq!(pair.host.open_sockets(), 3, "their sockets are closed");
    assert!(pair.set_limits(|limits| limits.max_mappings = 5).is_ok());
    for source in 0..4 {
        pair.guest_send_udp(5000 + source, OUTSIDE.into(), b"hello");
    }
    pair.run_for(SOON);
    assert_eq!(pair.engine.mapping_count(), 5);
    pair.assert_quiescent();
}

#[test]
fn fewer_dials_refuse_the_oldest_at_once() {
    let mut pair = Pair::new(PairSpec::default());
    let mut dialled = Vec::new();
    for number in 0..9 {
        let destination: SocketAddr = ([198, 51, 100, number / 3], 80).into();
        dialled.push(pair.guest_connect(destination, App::source(1)));
        pair.run_for(Duration::from_millis(1));
    }
    assert_eq!(pair.engine.dial_count(), 9);
    let lower = pair.set_limits(|limits| {
        (limits.max_dials, limits.max_dials_per_destination) = (4, 2);
    });
    assert_eq!(lower, Ok(vec!["max_dials", "max_dials_per_destination"]));
    assert_eq!(pair.engine.dial_count(), 4);
    pair.run_for(SOON);
    // The first of each destination, and then the two oldest of all that were left.
    let outcomes: Vec<_> = dialled.iter().map(|&ends| pair.outcome(ends)).collect();
    let (gone, stays) = (Outcome::Refused, Outcome::Waiting);
    assert_eq!(outcomes, [gone, gone, gone, gone, stays, stays, gone, stays, stays]);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::DialLimit; 5]);
    pair.run_for(secs(70));
    pair.assert_quiescent();
}

#[test]
fn idle_times_hold_at_once_for_flows_that_are_there() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::open(1)));
    pair.guest.udp.serve(53, Service::Echo);
    let (tcp, udp) = (pair.publish_tcp(80), pair.publish_udp(53));
    let clients = [(); 2].map(|()| pair.connect(tcp, App::open(1)));
    pair.send_datagram(udp, ([192, 0, 2, 1], 9).into(), ([192, 0, 2, 9], 53).into(), b"hello");
    pair.guest_send_udp(4000, OUTSIDE.into(), b"hello");
    pair.guest_ping(1, 1, [198, 51, 100, 1].into(), b"hello");
    pair.run_for(secs(20));
    assert_eq!(pair.engine.flow_count(), 5, "nothing has been idle for too long");
    let lower = pair.set_limits(|limits| {
        (limits.udp_idle_secs, limits.echo_idle_secs, limits.tcp_idle_secs) = (15, 10, 30);
    });
    assert_eq!(lower, Ok(vec!["udp_idle_secs", "echo_idle_secs", "tcp_idle_secs"]));
    pair.run_for(SOON);
    assert_eq!(ends(&pair), [CloseReason::Idle; 3], "idle for too long already");
    pair.run_for(secs(5));
    assert_eq!(pair.engine.flow_count(), 2);
    assert!(pair.set_limits(|limits| limits.tcp_idle_secs = 60).is_ok());
    pair.run_for(secs(30));
    assert_eq!(pair.engine.flow_count(), 2, "the longer time holds");
    pair.run_for(secs(10));
    assert_eq!(ends(&pair)[3..], [CloseReason::TimedOut; 2]);
    assert!(clients.iter().all(|&client| pair.client(client).end() == End::Reset));
    pair.assert_quiescent();
}

#[test]
fn idle_times_can_become_endless() {
    let mut spec = PairSpec::default();
    spec.config.limits.tcp_idle_secs = 30;
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::open(1)));
    let port = pair.publish_tcp(80);
    pair.connect(port, App::open(1));
    pair.run_for(secs(20));
    assert!(pair.set_limits(|limits| limits.tcp_idle_secs = 0).is_ok());
    pair.run_for(secs(3_600));
    assert_eq!(pair.engine.flow_count(), 1);
    assert_eq!(pair.engine.poll_timeout(), None, "and nothing wakes for it");
}

#[test]
fn shorter_queues_keep_what_waits_and_take_no_more() {
    let mut pair = Pair::new(PairSpec::default());
    let udp = pair.publish_udp(5000);
    pair.guest.udp.serve(5000, Service::Sink);
    pair.to_guest.stalled = true;
    pair.to_guest.spec.capacity = 1;
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    let (from, to) = (SocketAddr::new(guest, 4000), SocketAddr::new(gateway, 9));
    let unwanted = ip(guest, gateway, Protocol::UDP, &datagram(from, to, b"hello"), None);
    let flood = |pair: &mut Pair| {
        for _ in 0..100 {
            pair.guest.send_packet(&unwanted);
            let (client, local) = (([192, 0, 2, 1], 9).into(), ([192, 0, 2, 9], 53).into());
            pair.send_datagram(udp, client, local, &[7; 1_000]);
        }
        pair.run_for(SOON);
    };
    flood(&mut pair);
    let waiting = (pair.engine.control_queue_len(), pair.engine.datagram_queue_bytes());
    assert!(waiting.0 >= 99 && waiting.1 >= 90_000, "{waiting:?}");
    let lower = pair.set_limits(|limits| {
        (limits.control_frames, limits.datagram_queue_bytes) = (16, 65_536);
    });
    assert_eq!(lower, Ok(vec!["datagram_queue_bytes", "control_frames"]));
    flood(&mut pair);
    let now = (pair.engine.control_queue_len(), pair.engine.datagram_queue_bytes());
    assert_eq!(now, waiting);
    assert_eq!(pair.engine.datagram_room(), 0);
    assert_eq!(pair.engine.counters().drops(DropReason::ControlQueueFull), 100);
    pair.to_guest.stalled = false;
    pair.run_for(secs(1));
    assert_eq!(pair.guest.udp.received.len(), 200, "what the queue had no room for has waited");
    pair.assert_quiescent();
}

#[test]
fn fewer_fragments_and_events_lose_the_oldest() {
    let mut pair = Pair::new(PairSpec::default());
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    for identification in 0..10 {
        let whole = pieces(guest, gateway, Protocol::UDP, &[0; 3_000], 1_500, identification);
        pair.guest.send_packet(&whole[0]);
    }
    pair.run_for(SOON);
    assert_eq!(pair.set_limits(|limits| limits.fragment_queues = 4), Ok(vec!["fragment_queues"]));
    assert_eq!(pair.engine.counters().drops(DropReason::FragmentLimit), 6);
    let told = pair.events.iter().any(|event| {
        matches!(event, Event::LimitReached { limit: "fragment_queues", count: 6, .. })
    });
    assert!(told, "{:?}", pair.events);
    assert!(pair.set_limits(|limits| limits.fragment_timeout_secs = 1).is_ok());
    pair.run_for(secs(1));
    assert_eq!(pair.engine.counters().drops(DropReason::FragmentTimeout), 4);
    assert!(pair.set_limits(|limits| limits.event_backlog = 1).is_ok());
    for port in 1..=3 {
        let now = pair.now();
        let mut frame = portreeve_testkit::packet::ethernet([2, 0, 0, 0, 0, port], [0xff; 6], &[]);
        let link = portreeve_wire::VirtioNetHdr::default();
        pair.engine.handle_guest_frame(&link, &mut frame[..usize::from(port)], now);
        pair.engine.handle_guest_frame(&link, &mut frame, now);
    }
    assert_eq!(pair.engine.poll_event(), Some(Event::Lost { count: 1 }));
    assert!(matches!(pair.engine.poll_event(), Some(Event::Dropped { .. })));
    assert_eq!(pair.engine.poll_event(), None);
}

#[test]
fn the_name_server_follows() {
    let mut pair = Pair::new(PairSpec::default());
    let network =
        HostNetwork { name_servers: vec![([192, 0, 2, 53], 53).into()], ..HostNetwork::default() };
    let now = pair.now();
    pair.engine.handle_host_network(&network, now);
    let server = SocketAddr::new(pair.guest.gateway(false), 53);
    let ask = |pair: &mut Pair, first: u16| {
        for number in first..first + 4 {
            pair.guest_send_udp(5000, server, &question(number, &format!("n{number}.test")));
        }
        pair.run_for(SOON);
        pair.engine.name_server().map_or(0, |server| server.waiting())
    };
    assert_eq!(ask(&mut pair, 0), 4);
    let lower = pair.set_limits(|limits| (limits.dns_pending, limits.dns_timeout_ms) = (6, 1_000));
    assert_eq!(lower, Ok(vec!["dns_pending", "dns_timeout_ms"]));
    assert_eq!(ask(&mut pair, 10), 6, "two more were turned away");
    pair.run_for(secs(2));
    let waiting = pair.engine.name_server().map_or(0, |server| server.waiting());
    assert_eq!(waiting, 4, "those that were asked before keep their time");
    pair.run_for(secs(10));
    assert_eq!(pair.engine.name_server().map_or(9, |server| server.waiting()), 0);
    pair.assert_quiescent();
}

#[test]
fn what_is_fixed_is_refused_and_nothing_else_happens() {
    let mut pair = Pair::new(PairSpec::default());
    for source in 0..5 {
        pair.guest_send_udp(4000 + source, OUTSIDE.into(), b"hello");
    }
    pair.run_for(SOON);
    let refused = pair.set_limits(|limits| {
        (limits.max_mappings, limits.to_guest_ring, limits.mailbox) = (1, 4_096, 1);
    });
    assert_eq!(refused, Err(vec!["to_guest_ring", "mailbox"]));
    assert_eq!(pair.engine.mapping_count(), 5);
    assert_eq!(pair.set_limits(|_| ()), Ok(vec![]));
}

#[test]
fn limits_that_change_under_load_harm_no_byte() {
    for seed in 0..3 {
        let run = || {
            let mut pair = Pair::new(PairSpec { seed, ..PairSpec::default() });
            pair.guest.listen(80, Listener::new(App::ECHO));
            let port = pair.publish_tcp(80);
            let mut random = Random::new(seed);
            let mut clients = Vec::new();
            for round in 0..200 {
                clients.push(pair.connect(port, App::source(20_000)));
                let source = 4_000 + random.below(100) as u16;
                pair.guest_send_udp(source, OUTSIDE.into(), b"hello");
                let mut below = |most| 1 + random.below(most);
                let changed = pair.set_limits(|limits| {
                    limits.max_flows = 10 + below(100) as usize;
                    limits.max_mappings = below(50) as usize;
                    limits.max_dials = below(50) as usize;
                    limits.control_frames = 16 + below(100) as usize;
                    limits.tcp_idle_secs = 10 + below(100);
                    limits.udp_idle_secs = 10 + below(100);
                    limits.fragment_queues = below(10) as usize;
                });
                assert!(changed.is_ok(), "{changed:?}");
                pair.run_for(Duration::from_micros(below(3_000)));
                assert!(pair.engine.mapping_count() <= 50, "in round {round}");
            }
            pair.run_for(secs(5));
            for client in clients {
                let client = pair.client(client);
                let whole = client.peer.check.length() == 20_000 && client.end() == End::Eof;
                assert!(whole || client.end() == End::Reset, "{client:?}");
            }
            pair.assert_quiescent();
            pair.finish_trace()
        };
        assert_eq!(run(), run());
    }
}
