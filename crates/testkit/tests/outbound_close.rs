//! Connections of the guest's own once their destination has accepted: bytes, and every way to end.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{CloseReason, Command, Event, HostEvent, Phase};
use portreeve_testkit::guest::tcp::Ends;
use portreeve_testkit::packet::{Segment, flag, window_scale_option};
use portreeve_testkit::{
    App, ClientId, Destination, End, Finish, Listener, Outcome, Pair, PairSpec, Reading,
    ServerSpec, Writing,
};

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_millis(50);
const SLOW: Reading = Reading::Slow { bytes: 3000, every: Duration::from_millis(7) };

fn variants() -> Vec<(bool, PairSpec)> {
    let specs = [PairSpec::default(), PairSpec::default().offloaded()];
    specs.into_iter().flat_map(|spec| [(false, spec.clone()), (true, spec)]).collect()
}

fn somewhere(v6: bool) -> SocketAddr {
    if v6 { "[2001:db8::9]:443" } else { "192.0.2.9:443" }.parse().unwrap()
}

/// A connection on its way to `server`.
fn opening(spec: PairSpec, v6: bool, guest: App, server: App) -> (Pair, Ends) {
    let mut pair = Pair::new(spec);
    pair.serve(somewhere(v6), server);
    let ends = pair.guest_connect(somewhere(v6), guest);
    (pair, ends)
}

/// A connection that is open.
fn open(spec: PairSpec, v6: bool, guest: App, server: App) -> (Pair, Ends, ClientId) {
    let (mut pair, ends) = opening(spec, v6, guest, server);
    pair.run_for(SOON);
    assert_eq!(pair.outcome(ends), Outcome::Connected);
    let server = pair.host.server_of(ends).unwrap();
    (pair, ends, server)
}

fn closed_for(pair: &Pair) -> Vec<CloseReason> {
    let closed = |event: &Event| match event {
        Event::FlowClosed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(closed).collect()
}

/// Runs until both sides have everything and an orderly end.
fn finish(pair: &mut Pair, ends: Ends, up: u64, down: u64) {
    pair.run_until(Duration::from_secs(3600), |pair| {
        pair.server(ends).is_some_and(|server| server.is_done() && server.peer.eof)
            && pair.connection(ends).peer.eof
    });
    assert_eq!(pair.server(ends).unwrap().peer.check.length(), up);
    assert_eq!(pair.connection(ends).peer.check.length(), down);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(closed_for(pair), [CloseReason::Finished]);
    pair.assert_quiescent();
}

#[test]
fn a_mebibyte_each_way_and_an_orderly_end() {
    for (v6, spec) in variants() {
        let (mut pair, ends) = opening(spec, v6, App::source(MIB), App::source(MIB + 7));
        finish(&mut pair, ends, MIB, MIB + 7);
        let opened = |event: &Event| match event {
            Event::FlowOpened(flow) => Some((flow.guest, flow.remote, flow.target, flow.publish)),
            _ => None,
        };
        let opened: Vec<_> = pair.events.iter().filter_map(opened).collect();
        assert_eq!(opened, [(ends.0, ends.1, Some(somewhere(v6)), None)]);
    }
}

#[test]
fn either_side_may_end_first_and_hear_the_rest() {
    for (v6, spec) in variants() {
        // The guest has asked and ended; the answer comes behind that.
        let (mut pair, ends) = opening(spec.clone(), v6, App::source(100), App::answer(MIB));
        finish(&mut pair, ends, 100, MIB);
        let (mut pair, ends) = opening(spec, v6, App::answer(MIB), App::source(100));
        finish(&mut pair, ends, MIB, 100);
    }
}

#[test]
fn slow_readers_on_both_sides_lose_nothing() {
    for (v6, spec) in variants() {
        let app = App { reading: SLOW, ..App::source(MIB / 2) };
        let (mut pair, ends) = opening(spec, v6, app, app);
        finish(&mut pair, ends, MIB / 2, MIB / 2);
    }
}

#[test]
fn an_echo_through_small_buffers_never_stops() {
    for (v6, mut spec) in variants() {
        spec.config.limits.to_guest_ring = 4096;
        spec.config.limits.from_guest_ring = 4096;
        let mut pair = Pair::new(spec);
        let echo = App { writing: Writing::Echo(100), ..App::ECHO };
        let server = ServerSpec { send_buffer: 500, receive_buffer: 300, ..ServerSpec::new(echo) };
        pair.host.chunk = 70;
        pair.host.outside.place(somewhere(v6), Destination::Listen(server));
        let small = Listener {
            send_buffer: 1500,
            receive_buffer: 900,
            ..Listener::new(App::source(100_000))
        };
        let ends = pair.guest_connect_with(somewhere(v6), &small);
        finish(&mut pair, ends, 100_000, 100_000);
    }
}

#[test]
fn rough_links_change_nothing_but_time() {
    for seed in 0..60 {
        let v6 = seed % 2 == 1;
        let mut spec = PairSpec::default().rough().seeded(seed);
        if seed % 4 > 1 {
            spec = spec.offloaded();
        }
        let (up, down) = (seed * 7919 % 150_000, seed * 104_729 % 150_000);
        let (mut pair, ends) = opening(spec, v6, App::source(up), App::answer(down));
        pair.run_until(Duration::from_secs(600), |pair| {
            pair.server(ends).is_some_and(|server| server.is_done())
                && pair.connection(ends).peer.eof
        });
        assert_eq!(pair.server(ends).unwrap().peer.check.length(), up, "seed {seed}");
        assert_eq!(pair.connection(ends).peer.check.length(), down, "seed {seed}");
        assert_eq!(pair.host.outside.dialled.len(), 1);
        pair.run_for(Duration::from_secs(300));
        assert_eq!(pair.engine.flow_count(), 0, "seed {seed}\n{}", pair.describe());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let spec = PairSpec::default().rough().seeded(5);
        let (mut pair, ends) = opening(spec, true, App::source(90_000), App::ECHO);
        pair.run_until(Duration::from_secs(600), |pair| pair.connection(ends).peer.eof);
        pair.finish_trace()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_reset_of_either_side_is_one_for_the_other() {
    for (v6, spec) in variants() {
        let (mut pair, ends, server) = open(spec.clone(), v6, App::open(3000), App::open(2000));
        pair.guest.tcp.abort(ends);
        pair.run_for(SOON);
        assert_eq!(pair.host.client(server).end(), End::Reset);
        assert_eq!(pair.host.client(server).peer.check.length(), 3000, "sent before");
        assert_eq!(closed_for(&pair), [CloseReason::GuestReset]);
        pair.assert_quiescent();

        let (mut pair, ends, server) = open(spec, v6, App::open(3000), App::open(2000));
        pair.host.reset(server);
        pair.run_for(SOON);
        assert!(pair.connection(ends).reset);
        assert_eq!(pair.connection(ends).peer.check.length(), 2000);
        assert_eq!(closed_for(&pair), [CloseReason::HostReset]);
        pair.assert_quiescent();
    }
}

#[test]
fn a_server_that_answers_and_closes_at_once_is_heard() {
    for (v6, spec) in variants() {
        for length in [0, 1, 5000, 60_000] {
            let (mut pair, ends) = opening(spec.clone(), v6, App::SINK, App::source(length));
            finish(&mut pair, ends, 0, length);
        }
    }
}

/// The server ends its connection in the very moment in which it accepts: before a SYN-ACK has
/// left, or before the guest has answered it.
fn ended_in_the_handshake(v6: bool, reset: bool, wait: bool) -> (Pair, Ends) {
    let (mut pair, ends) = opening(PairSpec::default(), v6, App::open(0), App::open(0));
    if wait {
        pair.guest.mute = true;
    }
    // Out of the guest, over the link, and no step further.
    let end = pair.now() + Duration::from_micros(25);
    pair.guest.mute = false;
    while pair.host.server_of(ends).is_none() {
        pair.to_guest.stalled = wait;
        pair.to_guest.spec.capacity = if wait { 64 } else { 0 };
        pair.run_for(Duration::from_micros(10));
        assert!(pair.now() < end + SOON);
    }
    let server = pair.host.server_of(ends).unwrap();
    let flow = pair.host.client(server).flow.unwrap();
    if reset {
        pair.host.reset(server);
    } else {
        pair.host.shutdown(server);
        // As a poller does that is told of the hang-up before there is room to read.
        pair.engine.handle_host_event(HostEvent::Eof(flow), pair.now());
    }
    pair.run_for(Duration::from_micros(10));
    assert_eq!(pair.outcome(ends), Outcome::Waiting);
    pair.to_guest.stalled = false;
    pair.to_guest.spec.capacity = 512;
    (pair, ends)
}

#[test]
fn a_server_that_resets_within_the_handshake_is_a_reset_at_once() {
    for v6 in [false, true] {
        for wait in [false, true] {
            let (mut pair, ends) = ended_in_the_handshake(v6, true, wait);
            pair.run_for(SOON);
            assert!(pair.connection(ends).reset, "{wait}: {}", pair.describe());
            assert_eq!(pair.host.outside.dialled.len(), 1, "{wait}");
            pair.assert_quiescent();
        }
    }
}

#[test]
fn a_server_that_ends_within_the_handshake_still_hears_the_guest() {
    for v6 in [false, true] {
        for wait in [false, true] {
            let (mut pair, ends) = ended_in_the_handshake(v6, false, wait);
            pair.run_for(Duration::from_secs(5));
            assert_eq!(pair.outcome(ends), Outcome::Connected, "{wait}: {}", pair.describe());
            assert!(pair.connection(ends).peer.eof, "{wait}: {}", pair.describe());
            let peer = pair.guest.tcp.peer_mut(ends).expect("its own half is open");
            peer.app = App::source(10_000);
            pair.run_for(Duration::from_secs(5));
            assert_eq!(pair.server(ends).unwrap().peer.check.length(), 10_000);
            let server = pair.host.server_of(ends).unwrap();
            pair.host.peer_mut(server).app.finish = Finish::AfterWriting;
            pair.assert_quiescent();
            assert_eq!(closed_for(&pair), [CloseReason::Finished]);
        }
    }
}

#[test]
fn a_guest_that_resets_in_syn_received_resets_the_server() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.serve(somewhere(v6), App::open(1000));
        pair.guest.scripted.insert(5000);
        let from = SocketAddr::new(pair.guest.address(v6), 5000);
        let mut syn = Segment::new(from, somewhere(v6), flag::SYN);
        syn.options = window_scale_option(7).to_vec();
        pair.guest.send_segment(&syn);
        pair.run_for(SOON);
        let (_, answer) = pair.guest.segments.pop_front().expect("accepted");
        assert_eq!(answer.flags, flag::SYN | flag::ACK);
        let reset = Segment { flags: flag::RST, sequence: 1, options: Vec::new(), ..syn };
        pair.guest.send_segment(&reset);
        pair.run_for(SOON);
        let server = pair.server((from, somewhere(v6))).unwrap();
        assert_eq!((server.end(), server.peer.check.length()), (End::Reset, 0));
        assert_eq!(closed_for(&pair), [CloseReason::GuestReset]);
        pair.assert_quiescent();
    }
}

#[test]
fn a_guest_that_never_completes_its_handshake_is_given_up() {
    for v6 in [false, true] {
        let (mut pair, ends) = opening(PairSpec::default(), v6, App::open(0), App::open(0));
        pair.run_for(Duration::from_micros(25));
        pair.guest.tcp.lose(ends);
        pair.guest.mute = true;
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.engine.flow_count(), 1);
        pair.run_for(Duration::from_secs(180));
        assert_eq!(pair.server(ends).unwrap().end(), End::Reset);
        assert_eq!(closed_for(&pair), [CloseReason::TimedOut]);
        pair.guest.mute = false;
        pair.assert_quiescent();
    }
}

#[test]
fn endpoints_in_time_wait_may_be_used_again() {
    for v6 in [false, true] {
        let (mut pair, ends) = opening(PairSpec::default(), v6, App::SINK, App::source(100));
        for round in 1..=5 {
            // Where the new sequence number lies behind the old, the wait is waited out.
            pair.run_until(Duration::from_secs(5), |pair| pair.connection(ends).peer.eof);
            pair.run_for(SOON);
            assert_eq!(pair.engine.time_wait_count(), 1, "the server's end came first");
            assert_eq!(pair.host.outside.dialled.len(), round);
            pair.guest.tcp.connect(ends, &Listener::new(App::SINK));
        }
        pair.assert_quiescent();
    }
}

#[test]
fn a_killed_connection_resets_both_sides() {
    for (v6, spec) in variants() {
        let (mut pair, ends, server) = open(spec, v6, App::open(10), App::open(10));
        let flow = pair.engine.flows().next().expect("a flow");
        assert_eq!(flow.phase, Some(Phase::Relaying));
        assert!(pair.command(Command::Kill(flow.id)).is_ok());
        pair.run_for(SOON);
        assert!(pair.connection(ends).reset);
        assert_eq!(pair.host.client(server).end(), End::Reset);
        assert_eq!(closed_for(&pair), [CloseReason::Killed]);
        assert!(pair.command(Command::Kill(flow.id)).is_err());
        pair.assert_quiescent();
    }
}

#[test]
fn idle_connections_cost_no_work_and_may_be_used_again() {
    let (mut pair, ends, server) = open(PairSpec::default(), false, App::open(10), App::open(10));
    pair.run_for(Duration::from_secs(60));
    let before = pair.wakeups;
    pair.run_for(Duration::from_secs(86_400));
    assert_eq!(pair.wakeups, before);
    pair.host.peer_mut(server).app = App::source(5000);
    pair.guest.tcp.peer_mut(ends).unwrap().app = App::source(5000);
    finish(&mut pair, ends, 5000, 5000);
}
