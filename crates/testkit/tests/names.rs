//! The gateway's name server as the guest meets it: over datagrams and over streams.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{CloseReason, Event, HostNetwork, UpstreamOp};
use portreeve_testkit::ask::{answer_to, question};
use portreeve_testkit::packet::flag;
use portreeve_testkit::script::Script;
use portreeve_testkit::{App, Outcome, Pair, PairSpec, Service};
use portreeve_types::StaticRecord;

const SOON: Duration = Duration::from_millis(50);

/// A pair whose name server knows `db.test`.
fn pair() -> Pair {
    let mut spec = PairSpec::default();
    if let Some(dns) = &mut spec.config.dns {
        dns.records.push(StaticRecord {
            name: "db.test".parse().expect("a name"),
            addresses: vec![[10, 9, 8, 7].into()],
            ttl: 60,
        });
    }
    let mut pair = Pair::new(spec);
    let network = HostNetwork {
        name_servers: vec![([192, 0, 2, 53], 53).into()],
        has_ipv6: true,
        ..HostNetwork::default()
    };
    let now = pair.now();
    pair.engine.handle_host_network(&network, now);
    pair
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// Whether a message answers the question `id` with this address.
fn says(message: &[u8], id: u16, address: [u8; 4]) -> bool {
    message[..2] == id.to_be_bytes() && message[2] & 0x80 != 0 && message.ends_with(&address)
}

fn gateway(pair: &Pair, v6: bool) -> SocketAddr {
    SocketAddr::new(pair.guest.gateway(v6), 53)
}

#[test]
fn a_datagram_is_answered_where_it_came_from() {
    for v6 in [false, true] {
        let mut pair = pair();
        let server = gateway(&pair, v6);
        pair.guest.udp.serve(5000, Service::Sink);
        pair.guest_send_udp(5000, server, &question(7, "db.test"));
        pair.run_for(SOON);
        let [answer] = &pair.guest.udp.received[..] else { panic!("one answer") };
        assert_eq!(answer.from, server);
        assert!(says(&answer.payload, 7, [10, 9, 8, 7]));
        assert_eq!(pair.engine.mapping_count(), 0, "nothing left this engine");
        assert!(pair.name_ops.is_empty());
        pair.assert_quiescent();
    }
}

#[test]
fn a_stream_carries_questions_however_they_are_cut() {
    for v6 in [false, true] {
        let mut pair = pair();
        let server = gateway(&pair, v6);
        let mut script = Script::connecting(&mut pair, 4000, server, 100);
        let both = [framed(&question(1, "db.test")), framed(&question(2, "DB.test"))].concat();
        for piece in both.chunks(5) {
            script.say(&mut pair, piece);
        }
        let bytes: Vec<u8> = script.received.iter().flat_map(|s| s.payload.clone()).collect();
        let first = usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
        assert!(says(&bytes[2..2 + first], 1, [10, 9, 8, 7]));
        assert!(says(&bytes[4 + first..], 2, [10, 9, 8, 7]));
        // The guest ends its side; the server has nothing left to say and ends its own.
        let fin = script.segment(flag::FIN | flag::ACK, &[]);
        script.send(&mut pair, &fin);
        pair.run_for(SOON);
        let ended = script.listen(&mut pair).iter().any(|segment| segment.flags & flag::FIN != 0);
        assert!(ended, "the stream ends in order");
        let acknowledgement = script.segment(flag::ACK, &[]);
        script.send(&mut pair, &acknowledgement);
        pair.assert_quiescent();
        assert!(closed(&pair, CloseReason::Finished));
    }
}

#[test]
fn a_question_goes_out_and_its_answer_names_the_connection() {
    let mut pair = pair();
    let server = gateway(&pair, false);
    pair.guest.udp.serve(5000, Service::Sink);
    pair.guest_send_udp(5000, server, &question(9, "www.test"));
    pair.run_for(SOON);
    let Some(UpstreamOp::Ask { exchange, server: upstream, message, .. }) =
        pair.name_ops.first().cloned()
    else {
        panic!("nobody was asked: {:?}", pair.name_ops)
    };
    assert_eq!(upstream, ([192, 0, 2, 53], 53).into());
    let now = pair.now();
    pair.engine.handle_name_response(exchange, &answer_to(&message, [198, 51, 100, 7], 60), now);
    pair.run_for(SOON);
    let answer = pair.guest.udp.received.pop().expect("an answer");
    assert!(says(&answer.payload, 9, [198, 51, 100, 7]));
    let destination: SocketAddr = ([198, 51, 100, 7], 80).into();
    pair.serve(destination, App::SINK);
    let ends = pair.guest_connect(destination, App::source(10));
    pair.run_for(SOON);
    assert_eq!(pair.outcome(ends), Outcome::Connected);
    let named = pair.events.iter().any(|event| {
        matches!(event, Event::FlowOpened(flow) if flow.name.as_deref() == Some("www.test"))
    });
    assert!(named, "{:?}", pair.events);
}

#[test]
fn a_stream_that_dies_leaves_no_question_behind() {
    let mut pair = pair();
    let server = gateway(&pair, false);
    let mut script = Script::connecting(&mut pair, 4000, server, 100);
    script.say(&mut pair, &framed(&question(1, "www.test")));
    assert!(matches!(pair.name_ops[..], [UpstreamOp::Ask { .. }]));
    let reset = script.segment(flag::RST, &[]);
    script.send(&mut pair, &reset);
    pair.run_for(SOON);
    assert!(matches!(pair.name_ops[..], [UpstreamOp::Ask { .. }, UpstreamOp::Cancel { .. }]));
    pair.assert_quiescent();
}

#[test]
fn a_stream_on_which_nothing_moves_is_ended() {
    let mut pair = pair();
    let server = gateway(&pair, false);
    let mut script = Script::connecting(&mut pair, 4000, server, 100);
    pair.run_for(Duration::from_secs(29));
    assert_eq!(pair.engine.flow_count(), 1);
    pair.run_for(Duration::from_secs(2));
    script.listen(&mut pair);
    assert!(script.was_reset());
    pair.assert_quiescent();
    assert!(closed(&pair, CloseReason::TimedOut));
}

#[test]
fn garbage_on_a_stream_costs_nothing_but_the_stream() {
    let mut pair = pair();
    let server = gateway(&pair, false);
    let mut script = Script::connecting(&mut pair, 4000, server, 100);
    let mut state = 1u32;
    for _ in 0..300 {
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(1000)
        .collect();
        script.say(&mut pair, &garbage);
    }
    assert!(pair.engine.name_server().is_some_and(|server| server.waiting() <= 64));
    let reset = script.segment(flag::RST, &[]);
    script.send(&mut pair, &reset);
    pair.assert_quiescent();
}

#[test]
fn without_a_name_server_port_53_is_as_any_other() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.dns = None;
        let mut pair = Pair::new(spec);
        let server = gateway(&pair, v6);
        let ends = pair.guest_connect(server, App::source(10));
        pair.run_for(SOON);
        assert_eq!(pair.outcome(ends), Outcome::Refused);
    }
}

#[test]
fn names_work_where_nothing_else_does() {
    let mut spec = PairSpec::default();
    spec.config.egress.enabled = false;
    let mut pair = Pair::new(spec);
    let server = gateway(&pair, false);
    pair.guest.udp.serve(5000, Service::Sink);
    pair.guest_send_udp(5000, server, &question(7, "localhost"));
    pair.run_for(SOON);
    let loopback: IpAddr = [127, 0, 0, 1].into();
    let IpAddr::V4(v4) = loopback else { return };
    assert!(says(&pair.guest.udp.received[0].payload, 7, v4.octets()));
}

fn closed(pair: &Pair, expected: CloseReason) -> bool {
    pair.events
        .iter()
        .any(|event| matches!(event, Event::FlowClosed { reason, .. } if *reason == expected))
}
