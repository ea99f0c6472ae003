//! How connections end: half-closed, reset, abandoned, and what is delivered before.

use std::time::Duration;

use portreeve_core::{CloseReason, Command, Event, Phase, Unpublish};
use portreeve_testkit::{
    App, ClientId, End, Finish, Listener, Pair, PairSpec, Reading, Writing, client_spec,
};

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_millis(50);

fn variants() -> Vec<(bool, PairSpec)> {
    let specs = [PairSpec::default(), PairSpec::default().offloaded()];
    specs.into_iter().flat_map(|spec| [(false, spec.clone()), (true, spec)]).collect()
}

/// A connection that is open and idle.
fn open(spec: PairSpec, v6: bool, guest: App, client: App) -> (Pair, ClientId) {
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(guest));
    let port = pair.publish_tcp(80);
    let client = pair.connect_with(client_spec(port, client, v6));
    pair.run_for(SOON);
    assert!(pair.client(client).ends.is_some(), "the connection is open");
    (pair, client)
}

fn closed_for(pair: &Pair) -> Vec<CloseReason> {
    let closed = |event: &Event| match event {
        Event::FlowClosed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(closed).collect()
}

#[test]
fn a_client_that_half_closes_gets_the_whole_answer() {
    for (v6, spec) in variants() {
        let (mut pair, client) = open(spec, v6, App::answer(3 * MIB), App::source(100));
        pair.run_until(Duration::from_secs(60), |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 3 * MIB);
        assert_eq!(pair.client(client).end(), End::Eof);
        assert_eq!(closed_for(&pair), [CloseReason::Finished]);
        pair.assert_quiescent();
    }
}

#[test]
fn a_guest_may_answer_hours_after_the_client_half_closed() {
    let (mut pair, client) = open(PairSpec::default(), false, App::open(0), App::source(100));
    let ends = pair.guest.tcp.ends()[0];
    assert!(pair.guest.tcp.find(ends).unwrap().peer.eof, "the guest sees the FIN");
    pair.run_for(Duration::from_secs(6 * 3600));
    pair.guest.tcp.peer_mut(ends).unwrap().app = App::source(2 * MIB);
    pair.run_until(Duration::from_secs(60), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 2 * MIB);
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_half_closes_still_gets_everything() {
    for (v6, spec) in variants() {
        let (mut pair, client) = open(spec, v6, App::source(100), App::open(0));
        assert_eq!(pair.client(client).end(), End::Eof, "the client sees the FIN");
        assert_eq!(pair.client(client).peer.check.length(), 100);
        pair.run_for(Duration::from_secs(3600));
        pair.host.peer_mut(client).app = App::source(3 * MIB);
        pair.run_until(Duration::from_secs(60), |pair| pair.client(client).is_done());
        pair.run_for(SOON);
        let stream = pair.client(client).peer.stream;
        let connection = pair.guest.tcp.reading(stream).unwrap();
        assert_eq!(connection.peer.check.length(), 3 * MIB);
        assert!(connection.fin && !connection.reset);
        pair.assert_quiescent();
    }
}

#[test]
fn half_closed_through_a_full_buffer_the_fin_comes_last() {
    // The FIN arrives while the client reads nothing at all; nothing may be cut off behind it.
    for (v6, spec) in variants() {
        let paused = App { reading: Reading::Paused, ..App::open(0) };
        let (mut pair, client) = open(spec, v6, App::source(MIB), paused);
        pair.run_for(Duration::from_secs(30));
        assert_eq!(pair.client(client).end(), End::Open);
        pair.host.peer_mut(client).app = App::SINK;
        pair.run_until(Duration::from_secs(60), |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), MIB);
        assert_eq!(pair.client(client).end(), End::Eof);
        pair.assert_quiescent();
    }
}

#[test]
fn a_reset_of_the_guest_is_a_reset_for_the_client() {
    for (v6, spec) in variants() {
        let (mut pair, client) = open(spec, v6, App::open(0), App::open(0));
        let ends = pair.guest.tcp.ends()[0];
        pair.guest.tcp.abort(ends);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).end(), End::Reset);
        assert_eq!(closed_for(&pair), [CloseReason::GuestReset]);
        pair.assert_quiescent();
    }
}

#[test]
fn what_a_guest_sent_before_its_reset_is_delivered_first() {
    for (v6, spec) in variants() {
        let paused = App { reading: Reading::Paused, ..App::open(0) };
        let (mut pair, client) = open(spec, v6, App::open(200_000), paused);
        pair.run_for(SOON);
        let ends = pair.guest.tcp.ends()[0];
        assert_eq!(pair.guest.tcp.find(ends).unwrap().unacknowledged(), 0);
        pair.guest.tcp.abort(ends);
        pair.run_for(Duration::from_secs(5));
        assert_eq!(
            pair.engine.flow(pair.client(client).flow.unwrap()).unwrap().phase,
            Some(Phase::GuestGone)
        );
        pair.host.peer_mut(client).app = App::open(0);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).peer.check.length(), 200_000, "all that was acknowledged");
        assert_eq!(pair.client(client).end(), End::Reset);
        pair.assert_quiescent();
    }
}

#[test]
fn a_reset_of_the_client_is_a_reset_for_the_guest() {
    for (v6, spec) in variants() {
        let (mut pair, client) = open(spec, v6, App::open(0), App::open(0));
        let ends = pair.guest.tcp.ends()[0];
        pair.host.reset(client);
        pair.run_for(SOON);
        assert!(pair.guest.tcp.find(ends).unwrap().reset);
        assert_eq!(closed_for(&pair), [CloseReason::HostReset]);
        pair.assert_quiescent();
    }
}

#[test]
fn what_a_client_sent_before_its_reset_is_delivered_first() {
    for (v6, spec) in variants() {
        let slow = Reading::Slow { bytes: 20_000, every: Duration::from_millis(100) };
        let reader = App { reading: slow, ..App::open(0) };
        let (mut pair, client) = open(spec, v6, reader, App::open(300_000));
        let ends = pair.guest.tcp.ends()[0];
        assert_eq!(pair.client(client).unread(), 0, "the engine has taken it all");
        pair.host.reset(client);
        pair.run_for(Duration::from_millis(20));
        assert!(!pair.guest.tcp.find(ends).unwrap().reset);
        pair.run_for(Duration::from_secs(10));
        let connection = pair.guest.tcp.find(ends).unwrap();
        assert!(connection.reset);
        assert_eq!(connection.peer.check.length(), 300_000);
        pair.assert_quiescent();
    }
}

#[test]
fn a_client_that_vanishes_with_guest_data_queued_resets_the_guest_at_once() {
    for (v6, spec) in variants() {
        let paused = App { reading: Reading::Paused, ..App::open(0) };
        let (mut pair, client) = open(spec, v6, App::open(4 * MIB), paused);
        pair.run_for(Duration::from_secs(2));
        let ends = pair.guest.tcp.ends()[0];
        assert!(pair.guest.tcp.find(ends).unwrap().unacknowledged() > 0, "the window is closed");
        pair.host.reset(client);
        pair.run_for(Duration::from_millis(5));
        assert!(pair.guest.tcp.find(ends).unwrap().reset, "no zero-window limbo");
        pair.assert_quiescent();
    }
}

#[test]
fn a_client_that_closes_without_reading_resets_the_guest() {
    let (mut pair, client) = open(PairSpec::default(), false, App::open(0), App::open(0));
    let ends = pair.guest.tcp.ends()[0];
    pair.host.close(client);
    pair.run_for(SOON);
    let connection = pair.guest.tcp.find(ends).unwrap();
    assert!(connection.fin && !connection.reset, "a close begins as a half-close");
    pair.guest.tcp.peer_mut(ends).unwrap().app = App::open(100);
    pair.run_for(SOON);
    assert!(pair.guest.tcp.find(ends).unwrap().reset, "nobody takes the answer");
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_never_reads_cannot_hold_a_client_that_is_gone() {
    let paused = App { reading: Reading::Paused, ..App::open(0) };
    let (mut pair, client) = open(PairSpec::default(), false, paused, App::open(3 * MIB));
    pair.run_for(Duration::from_secs(1));
    pair.host.reset(client);
    pair.run_for(Duration::from_secs(4));
    assert!(pair.guest.tcp.connections().next().is_none(), "the grace is over");
    pair.assert_quiescent();
}

#[test]
fn a_client_that_reads_slowly_after_the_guests_reset_keeps_nobody_busy() {
    // Longer than the guest may be silent: the engine must sleep between the reads.
    let slow = Reading::Slow { bytes: 4096, every: Duration::from_secs(10) };
    let (mut pair, client) = open(
        PairSpec::default(),
        false,
        App { reading: Reading::Paused, ..App::open(250_000) },
        App { reading: slow, ..App::open(200_000) },
    );
    // The guest leaves with bytes of the client unread, so that both rings hold something.
    let ends = pair.guest.tcp.ends()[0];
    pair.run_for(Duration::from_secs(1));
    pair.guest.tcp.abort(ends);
    let before = pair.wakeups;
    pair.run_until(Duration::from_secs(1000), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 250_000);
    assert!(pair.wakeups - before < 200, "{} wake-ups", pair.wakeups - before);
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_is_switched_off_is_noticed_while_data_waits() {
    let (mut pair, client) = open(PairSpec::default(), false, App::open(0), App::open(0));
    pair.guest.mute = true;
    pair.host.peer_mut(client).app = App::open(1000);
    pair.run_for(Duration::from_secs(100));
    assert_eq!(pair.client(client).end(), End::Open);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.client(client).end(), End::Reset);
    assert_eq!(closed_for(&pair), [CloseReason::TimedOut]);
    pair.guest.tcp.vanish();
    pair.guest.mute = false;
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_is_switched_off_is_noticed_while_its_fin_is_owed() {
    let (mut pair, client) = open(PairSpec::default(), false, App::open(0), App::open(0));
    pair.run_for(Duration::from_secs(3600));
    pair.guest.mute = true;
    pair.host.shutdown(client);
    pair.run_for(Duration::from_secs(100));
    assert_eq!(pair.client(client).end(), End::Open);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.client(client).end(), End::Reset);
}

#[test]
fn an_idle_connection_may_be_used_again_at_any_time() {
    for (v6, spec) in variants() {
        let (mut pair, client) = open(spec, v6, App::ECHO, App::open(100));
        for use_again in 1..4 {
            pair.run_for(Duration::from_secs(3 * 3600));
            pair.host.peer_mut(client).app = App::open(use_again * MIB);
            pair.run_for(Duration::from_secs(20));
            assert_eq!(pair.client(client).peer.check.length(), use_again * MIB);
        }
        pair.run_for(Duration::from_secs(3 * 3600));
        pair.host.shutdown(client);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).end(), End::Eof);
        pair.assert_quiescent();
    }
}

#[test]
fn a_client_reset_just_before_the_guest_counts_as_gone_does_not_spin() {
    // The guest is silent for nearly as long as it may be when the client goes: two deadlines,
    // one of which has no meaning any more in the new phase.
    let (mut pair, client) = open(PairSpec::default(), false, App::open(0), App::open(0));
    pair.guest.mute = true;
    pair.host.peer_mut(client).app = App::open(1000);
    pair.run_for(Duration::from_millis(119_900));
    pair.host.reset(client);
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.engine.flow_count(), 0);
    assert!(pair.wakeups < 1000, "{} wake-ups", pair.wakeups);
}

#[test]
fn simultaneous_ends_are_both_in_order() {
    for (v6, spec) in variants() {
        let (mut pair, client) = open(spec, v6, App::open(0), App::open(0));
        let ends = pair.guest.tcp.ends()[0];
        pair.guest.tcp.peer_mut(ends).unwrap().app = App::source(0);
        pair.host.peer_mut(client).app = App::source(0);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).end(), End::Eof);
        assert!(pair.guest.tcp.find(ends).is_some_and(|c| c.fin && !c.reset));
        pair.assert_quiescent();
    }
}

#[test]
fn an_idle_connection_costs_no_work() {
    let (mut pair, _) = open(PairSpec::default(), false, App::open(1000), App::open(1000));
    pair.run_for(Duration::from_secs(5));
    let before = pair.wakeups;
    pair.run_for(Duration::from_secs(7 * 24 * 3600));
    assert_eq!(pair.wakeups, before, "nothing wakes the engine");
    assert_eq!(pair.engine.poll_timeout(), None);
}

#[test]
fn unpublish_lets_connections_drain_or_resets_them() {
    for connections in [Unpublish::Drain, Unpublish::Reset] {
        let (mut pair, client) = open(PairSpec::default(), false, App::ECHO, App::open(5000));
        let publish = pair.client(client).publish();
        let other = pair.publish_tcp(80);
        let bystander = pair.connect(other, App::open(5000));
        pair.run_for(SOON);
        let order = Command::Unpublish { publish, connections };
        pair.command(order).unwrap();
        let late = pair.connect(publish, App::SINK);
        assert!(pair.host.refused(late).is_some(), "no new clients");
        pair.run_for(SOON);
        if connections == Unpublish::Reset {
            assert_eq!(pair.client(client).end(), End::Reset);
            assert!(pair.guest.tcp.ended.iter().any(|connection| connection.reset));
        } else {
            pair.host.peer_mut(client).app = App::source(200_000);
            pair.run_until(Duration::from_secs(10), |pair| pair.client(client).is_done());
            assert_eq!(pair.client(client).peer.check.length(), 200_000);
            assert_eq!(pair.client(client).end(), End::Eof);
        }
        assert!(pair.engine.published(publish).is_none(), "the port went with its last flow");
        assert_eq!(pair.client(bystander).end(), End::Open);
        pair.host.peer_mut(bystander).app.finish = Finish::AfterWriting;
        pair.run_until(Duration::from_secs(10), |pair| pair.client(bystander).is_done());
        assert_eq!(pair.client(bystander).peer.check.length(), 5000);
        pair.assert_quiescent();
        assert!(pair.command(order).is_err(), "it is gone");
    }
}

#[test]
fn a_killed_flow_resets_both_sides() {
    let (mut pair, client) = open(PairSpec::default(), false, App::ECHO, App::open(5000));
    let ends = pair.guest.tcp.ends()[0];
    let flow = pair.client(client).flow.unwrap();
    pair.command(Command::Kill(flow)).unwrap();
    pair.run_for(SOON);
    assert_eq!(pair.client(client).end(), End::Reset);
    assert!(pair.guest.tcp.find(ends).unwrap().reset);
    assert!(pair.command(Command::Kill(flow)).is_err());
    assert_eq!(closed_for(&pair), [CloseReason::Killed]);
    pair.assert_quiescent();
}

#[test]
fn idle_limits_end_what_they_should_and_nothing_else() {
    let mut spec = PairSpec::default();
    spec.config.limits.tcp_idle_secs = 100;
    spec.config.limits.half_close_idle_secs = 50;
    let (mut pair, open_client) = open(spec, false, App::open(0), App::open(0));
    let port = pair.client(open_client).publish();
    let half = pair.connect(port, App::source(10));
    let slow = Reading::Slow { bytes: 4096, every: Duration::from_secs(30) };
    pair.guest.listen(81, Listener::new(App::open(600_000)));
    let busy_port = pair.publish_tcp(81);
    let busy = pair.connect(busy_port, App { reading: slow, ..App::open(0) });
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.client(half).end(), End::Reset);
    assert_eq!(pair.client(open_client).end(), End::Open);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.client(open_client).end(), End::Reset);
    pair.run_for(Duration::from_secs(500));
    assert_eq!(pair.client(busy).end(), End::Open, "it moves, however slowly");
    assert_eq!(closed_for(&pair), [CloseReason::TimedOut, CloseReason::TimedOut]);
}

#[test]
fn echoes_end_in_order_whatever_the_link_does_to_the_last_segments() {
    for seed in 0..30 {
        let mut spec = PairSpec::default().rough().seeded(seed);
        spec.to_guest.loss = 150;
        spec.from_guest.loss = 150;
        let mut pair = Pair::new(spec);
        pair.guest.listen(7, Listener::new(App { writing: Writing::Echo(4096), ..App::SINK }));
        let port = pair.publish_tcp(7);
        let client = pair.connect(port, App::source(3000));
        pair.run_until(Duration::from_secs(300), |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 3000, "seed {seed}");
        assert_eq!(pair.client(client).end(), End::Eof, "seed {seed}");
        pair.assert_quiescent();
    }
}

#[test]
fn a_reset_after_both_ends_of_stream_takes_nothing_back() {
    // The guest's connection is over; what is left of it answers a stray segment (RFC 1337).
    use portreeve_testkit::packet::flag;
    let mut pair = Pair::new(PairSpec::default());
    pair.scripted = true;
    pair.guest.scripted.insert(80);
    let port = pair.publish_tcp(80);
    let paused = App { reading: Reading::Paused, ..App::source(0) };
    let mut spec = client_spec(port, paused, false);
    spec.receive_buffer = 1000;
    let client = pair.connect_with(spec);
    let mut script = portreeve_testkit::Script::accepting(&mut pair, 80, 1);
    let stream = portreeve_testkit::content::bytes(portreeve_testkit::StreamId(5), 5000);
    for piece in stream.chunks(1000) {
        script.say(&mut pair, piece);
    }
    let fin = script.segment(flag::ACK | flag::FIN, &[]);
    script.send(&mut pair, &fin);
    pair.run_for(SOON);
    script.listen(&mut pair);
    let reset = script.segment(flag::RST | flag::ACK, &[]);
    script.send(&mut pair, &reset);
    pair.run_for(SOON);
    pair.host.peer_mut(client).app = App::source(0);
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), 5000);
    assert_eq!(pair.client(client).end(), End::Eof);
    assert_eq!(closed_for(&pair), [CloseReason::Finished]);
    pair.assert_quiescent();
}
