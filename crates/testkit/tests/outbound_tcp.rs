//! Connections of the guest's own while they are being opened: what it is told, exactly, and when.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{CloseReason, DialFailure, DropReason, EgressRefusal, Event, HostEvent};
use portreeve_testkit::packet::{Segment, flag, segment_size_option, window_scale_option};
use portreeve_testkit::{
    App, Destination, End, Listener, Outcome, Pair, PairSpec, RingSpy, ServerSpec, content,
};
use portreeve_wire::icmp::{ErrorKind, Unreachable};

const SOON: Duration = Duration::from_millis(5);
const ISN: u32 = 0xffff_fff0;

fn variants() -> Vec<(bool, PairSpec)> {
    let specs = [PairSpec::default(), PairSpec::default().offloaded()];
    specs.into_iter().flat_map(|spec| [(false, spec.clone()), (true, spec)]).collect()
}

fn somewhere(v6: bool) -> SocketAddr {
    if v6 { "[2001:db8::9]:443" } else { "192.0.2.9:443" }.parse().unwrap()
}

/// A scripted guest's SYN.
fn syn(pair: &mut Pair, port: u16, to: SocketAddr, sequence: u32) -> Segment {
    pair.guest.scripted.insert(port);
    let from = SocketAddr::new(pair.guest.address(to.is_ipv6()), port);
    let mut syn = Segment::new(from, to, flag::SYN);
    syn.sequence = sequence;
    syn.options = [segment_size_option(1460), window_scale_option(7)].concat();
    syn
}

/// The one segment that a scripted guest got.
fn only_answer(pair: &mut Pair) -> Segment {
    let (_, answer) = pair.guest.segments.pop_front().expect("an answer");
    assert!(pair.guest.segments.is_empty(), "{:?}", pair.guest.segments);
    answer
}

fn closed_for(pair: &Pair) -> Vec<CloseReason> {
    let closed = |event: &Event| match event {
        Event::FlowClosed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(closed).collect()
}

#[test]
fn every_failure_has_its_answer_at_once_and_its_reason() {
    let error = |kind| Outcome::Error(ErrorKind::Unreachable(kind));
    let table = [
        (DialFailure::Refused, Outcome::Refused),
        (DialFailure::NetworkUnreachable, error(Unreachable::Network)),
        (DialFailure::HostUnreachable, error(Unreachable::Host)),
        (DialFailure::TimedOut, error(Unreachable::Host)),
        (DialFailure::Prohibited, error(Unreachable::Prohibited)),
        (DialFailure::HostAddress, Outcome::Refused),
        (DialFailure::Exhausted, Outcome::Refused),
        (DialFailure::Other, Outcome::Refused),
    ];
    for (v6, spec) in variants() {
        for (failure, outcome) in table {
            let mut pair = Pair::new(spec.clone());
            let after = Duration::from_millis(300);
            pair.host.outside.place(somewhere(v6), Destination::Fail(failure, after));
            let ends = pair.guest_connect(somewhere(v6), App::source(100));
            pair.run_for(Duration::from_millis(299));
            assert_eq!(pair.outcome(ends), Outcome::Waiting, "{failure:?}");
            assert_eq!(pair.engine.dial_count(), 1);
            pair.run_for(Duration::from_millis(3));
            assert_eq!(pair.outcome(ends), outcome, "{failure:?}");
            assert_eq!(pair.egress_refusals(), [EgressRefusal::Failed(failure)]);
            assert!(closed_for(&pair).is_empty(), "it never was a flow");
            assert_eq!(pair.engine.counters().egress_refused, 1);
            assert_eq!(pair.engine.counters().total_drops(), 0, "what the world said");
            assert_eq!(pair.connection(ends).peer.check.length(), 0);
            pair.assert_quiescent();
        }
    }
}

#[test]
fn an_error_comes_from_the_gateway_and_quotes_the_syn() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let failure = Destination::Fail(DialFailure::HostUnreachable, Duration::ZERO);
        pair.host.outside.place(somewhere(v6), failure);
        let mut syn = syn(&mut pair, 5000, somewhere(v6), ISN);
        syn.payload = vec![7; 100];
        pair.guest.send_segment(&syn);
        pair.run_for(SOON);
        let error = pair.guest.errors.pop().expect("an error");
        assert!(pair.guest.errors.is_empty() && pair.guest.segments.is_empty());
        assert_eq!(error.from, pair.guest.gateway(v6));
        assert_eq!((error.source, error.destination), (syn.from, syn.to));
        assert_eq!(error.upper[4..8], ISN.to_be_bytes(), "the number by which Linux knows it");
        assert_eq!(error.hop_limit, 64);
        pair.assert_quiescent();
    }
}

#[test]
fn a_reset_acknowledges_the_syn_and_what_it_carried() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let refusal = Destination::Fail(DialFailure::Refused, Duration::ZERO);
        pair.host.outside.place(somewhere(v6), refusal);
        for data in [0, 100] {
            let mut syn = syn(&mut pair, 5000, somewhere(v6), ISN);
            syn.payload = vec![7; data];
            pair.guest.send_segment(&syn);
            pair.run_for(SOON);
            let answer = only_answer(&mut pair);
            assert_eq!(answer.flags, flag::RST | flag::ACK);
            assert_eq!((answer.from, answer.to), (syn.to, syn.from));
            // RFC 9293 §3.10.7.1 counts data; one who held the data back counts the SYN alone.
            // Either lies within what the guest has sent, which is what it checks.
            let acknowledged = answer.acknowledgement.wrapping_sub(ISN);
            assert!((1..=1 + data as u32).contains(&acknowledged), "{acknowledged}");
        }
        pair.assert_quiescent();
    }
}

#[test]
fn a_destination_that_says_nothing_is_given_up_in_time() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.host.outside.place(somewhere(v6), Destination::Blackhole);
        let ends = pair.guest_connect(somewhere(v6), App::source(100));
        pair.run_for(Duration::from_secs(59));
        assert_eq!(pair.outcome(ends), Outcome::Waiting);
        pair.run_for(Duration::from_secs(2));
        let unreachable = ErrorKind::Unreachable(Unreachable::Host);
        assert_eq!(pair.outcome(ends), Outcome::Error(unreachable));
        assert_eq!(pair.egress_refusals(), [EgressRefusal::Failed(DialFailure::TimedOut)]);
        assert_eq!(pair.host.outside.dials_for(ends), 1, "every repeated SYN found the first");
        pair.assert_quiescent();
    }
}

#[test]
fn a_repeated_syn_is_one_dial_and_a_late_answer_is_one_connection() {
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        let delay = Duration::from_secs(20);
        let server = ServerSpec { delay, ..ServerSpec::new(App::ECHO) };
        pair.host.outside.place(somewhere(v6), Destination::Listen(server));
        let ends = pair.guest_connect(somewhere(v6), App::source(100_000));
        pair.run_for(Duration::from_secs(19));
        assert!(pair.from_guest.sent() > 3, "the guest has asked again");
        assert_eq!(pair.outcome(ends), Outcome::Waiting);
        pair.run_for(Duration::from_secs(20));
        assert_eq!(pair.host.outside.dialled.len(), 1);
        assert_eq!(pair.outcome(ends), Outcome::Connected);
        assert_eq!(pair.connection(ends).peer.check.length(), 100_000);
        assert_eq!(closed_for(&pair), [CloseReason::Finished]);
        pair.assert_quiescent();
    }
}

#[test]
fn a_guest_that_gives_up_while_dialling_leaves_nothing() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.host.outside.place(somewhere(v6), Destination::Blackhole);
        let ends = pair.guest_connect(somewhere(v6), App::source(100));
        pair.run_for(SOON);
        pair.guest.tcp.abort(ends);
        pair.run_for(SOON);
        assert_eq!(pair.engine.flow_count(), 0);
        assert_eq!(pair.host.open_sockets(), 0);
        assert_eq!(pair.egress_refusals(), [EgressRefusal::GuestGone]);
        assert!(pair.guest.errors.is_empty(), "nobody is left to be told");
        pair.assert_quiescent();
    }
}

#[test]
fn resets_that_do_not_fit_end_no_dial() {
    let mut pair = Pair::new(PairSpec::default());
    let server = ServerSpec { delay: Duration::from_secs(1), ..ServerSpec::new(App::open(0)) };
    pair.host.outside.place(somewhere(false), Destination::Listen(server));
    let syn = syn(&mut pair, 5000, somewhere(false), ISN);
    pair.guest.send_segment(&syn);
    for ahead in [2, 1000, 1 << 31, u32::MAX] {
        let sequence = ISN.wrapping_add(ahead);
        let reset = Segment { flags: flag::RST, sequence, options: Vec::new(), ..syn.clone() };
        pair.guest.send_segment(&reset);
        let stray = Segment { flags: flag::ACK, acknowledgement: ahead, ..reset.clone() };
        pair.guest.send_segment(&stray);
        pair.guest.send_segment(&Segment { flags: flag::FIN | flag::ACK, ..stray });
    }
    pair.run_for(SOON);
    assert_eq!(pair.engine.dial_count(), 1);
    assert!(pair.guest.segments.is_empty(), "a held SYN says nothing");
    pair.run_for(Duration::from_secs(1));
    let answer = pair.guest.segments.pop_front().expect("an answer").1;
    assert_eq!(answer.flags, flag::SYN | flag::ACK);
    assert_eq!(answer.acknowledgement, ISN.wrapping_add(1));
    let reset = Segment { flags: flag::RST, sequence: ISN.wrapping_add(1), ..syn };
    pair.guest.send_segment(&reset);
    pair.run_for(SOON);
    pair.guest.segments.clear();
    pair.assert_quiescent();
}

#[test]
fn a_port_used_again_while_dialling_gets_the_new_answer() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let server = ServerSpec { delay: Duration::from_secs(1), ..ServerSpec::new(App::open(0)) };
        pair.host.outside.place(somewhere(v6), Destination::Listen(server));
        let first = syn(&mut pair, 5000, somewhere(v6), ISN);
        let second = Segment { sequence: 77, ..first.clone() };
        pair.guest.send_segment(&first);
        pair.run_for(SOON);
        pair.guest.send_segment(&second);
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.host.outside.dialled.len(), 1);
        while let Some((_, answer)) = pair.guest.segments.pop_front() {
            assert_eq!(answer.flags, flag::SYN | flag::ACK);
            assert_eq!(answer.acknowledgement, 78);
        }
        let reset = Segment { flags: flag::RST, sequence: 78, ..second };
        pair.guest.send_segment(&reset);
        pair.run_for(SOON);
        pair.assert_quiescent();
    }
}

#[test]
fn data_in_a_syn_is_left_to_be_sent_again() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.serve(somewhere(v6), App::open(0));
        let stream = content::bytes(content::StreamId(5), 700);
        let mut syn = syn(&mut pair, 5000, somewhere(v6), ISN);
        syn.payload = stream[..300].to_vec();
        pair.guest.send_segment(&syn);
        pair.run_for(SOON);
        let answer = only_answer(&mut pair);
        assert_eq!(answer.flags, flag::SYN | flag::ACK);
        assert_eq!(answer.acknowledgement, ISN.wrapping_add(1), "the SYN alone");
        let data = Segment {
            flags: flag::ACK,
            sequence: ISN.wrapping_add(1),
            acknowledgement: answer.sequence.wrapping_add(1),
            options: Vec::new(),
            payload: stream,
            ..syn.clone()
        };
        pair.guest.send_segment(&data);
        pair.run_for(SOON);
        let ends = (syn.from, syn.to);
        assert_eq!(pair.server(ends).unwrap().peer.check.length(), 700);
        let reset = Segment { flags: flag::RST, sequence: ISN.wrapping_add(701), ..data };
        pair.guest.send_segment(&reset);
        pair.run_for(SOON);
        assert_eq!(pair.server(ends).unwrap().end(), End::Reset);
        pair.assert_quiescent();
    }
}

#[test]
fn hop_limits_are_used_up_or_handed_on() {
    for v6 in [false, true] {
        for (given, handed) in [(2, Some(1)), (5, Some(4)), (63, Some(62)), (64, None), (255, None)]
        {
            let mut pair = Pair::new(PairSpec::default());
            let syn = syn(&mut pair, 5000, somewhere(v6), ISN);
            let packet = portreeve_testkit::packet::with_hop_limit(syn.packet(), given);
            pair.guest.send_packet(&packet);
            pair.run_for(SOON);
            assert_eq!(pair.host.outside.dialled[0].hop_limit, handed, "{given}");
        }
        for given in [0, 1] {
            let mut pair = Pair::new(PairSpec::default());
            let syn = syn(&mut pair, 5000, somewhere(v6), ISN);
            let packet = portreeve_testkit::packet::with_hop_limit(syn.packet(), given);
            pair.guest.send_packet(&packet);
            pair.run_for(SOON);
            assert!(pair.host.outside.dialled.is_empty());
            let error = pair.guest.errors.pop().expect("the gateway is the hop");
            assert_eq!((error.kind, error.from), (ErrorKind::TimeExceeded, pair.guest.gateway(v6)));
            assert_eq!(pair.engine.counters().drops(DropReason::HopLimit), 1);
            pair.assert_quiescent();
        }
    }
}

#[test]
fn a_syn_that_no_stack_would_take_is_not_dialled() {
    let mut pair = Pair::new(PairSpec::default());
    pair.serve(somewhere(false), App::open(0));
    for flags in [flag::SYN | flag::FIN, flag::SYN | flag::RST, flag::SYN | flag::RST | flag::FIN] {
        let mut syn = syn(&mut pair, 5000, somewhere(false), ISN);
        syn.flags = flags;
        pair.guest.send_segment(&syn);
        pair.run_for(Duration::from_secs(1));
        assert!(pair.host.outside.dialled.is_empty(), "{flags:#x}");
    }
    let bad: [&[u8]; 4] = [&[2, 0, 0, 0], &[2, 3, 0, 0], &[3, 4, 7, 0], &[2, 255, 5, 0xb4]];
    for options in bad {
        let mut syn = syn(&mut pair, 5000, somewhere(false), ISN);
        syn.options = options.to_vec();
        pair.guest.send_segment(&syn);
        pair.run_for(Duration::from_secs(1));
        assert!(pair.host.outside.dialled.is_empty(), "{options:?}");
    }
    let nowhere = syn(&mut pair, 0, somewhere(false), ISN);
    pair.guest.send_segment(&nowhere);
    pair.run_for(Duration::from_secs(1));
    assert!(pair.guest.segments.is_empty() && pair.guest.errors.is_empty());
    // Those with a reset belong to nothing; the others are none.
    assert_eq!(pair.engine.counters().drops(DropReason::SegmentMalformed), 6);
    assert_eq!(pair.engine.counters().drops(DropReason::NoFlow), 2);
    pair.assert_quiescent();
}

#[test]
fn a_connection_without_memory_is_refused_and_says_so() {
    let spy = RingSpy::new();
    let mut pair = Pair::with_rings(PairSpec::default(), Box::new(spy.clone()));
    spy.limit(0);
    pair.serve(somewhere(false), App::open(0));
    let ends = pair.guest_connect(somewhere(false), App::source(100));
    pair.run_for(SOON);
    assert_eq!(pair.outcome(ends), Outcome::Refused);
    assert_ne!(pair.server(ends).unwrap().end(), End::Open);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::FlowLimit]);
    assert_eq!(pair.engine.counters().flows_opened, 0);
    pair.assert_quiescent();
}

#[test]
fn an_answer_for_a_flow_that_is_gone_means_nothing() {
    let mut pair = Pair::new(PairSpec::default());
    pair.host.outside.place(somewhere(false), Destination::Blackhole);
    let ends = pair.guest_connect_with(somewhere(false), &Listener::new(App::source(1)));
    pair.run_for(SOON);
    let flow = pair.host.outside.pending_for(ends).expect("a dial");
    pair.guest.tcp.abort(ends);
    pair.run_for(SOON);
    for event in [
        HostEvent::Connected(flow),
        HostEvent::Failed { flow, reason: DialFailure::Refused },
        HostEvent::Eof(flow),
        HostEvent::Reset(flow),
    ] {
        pair.engine.handle_host_event(event, pair.now());
    }
    pair.run_for(SOON);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::GuestGone]);
    pair.assert_quiescent();
}
