//! Guests that refuse, stay silent, or serve one address family only; limits; ports.

use std::collections::BTreeSet;
use std::time::Duration;

use portreeve_core::{Event, RefuseReason};
use portreeve_testkit::guest::tcp::Ends;
use portreeve_testkit::{
    App, ClientId, ClientSpec, End, LinkSpec, Listener, Pair, PairSpec, Port, client_spec,
};
use portreeve_types::SourceMode;

const SOON: Duration = Duration::from_millis(50);

fn variants() -> Vec<(bool, PairSpec)> {
    let specs = [PairSpec::default(), PairSpec::default().offloaded()];
    specs.into_iter().flat_map(|spec| [(false, spec.clone()), (true, spec)]).collect()
}

fn refused_for(pair: &Pair) -> Vec<RefuseReason> {
    let refused = |event: &Event| match event {
        Event::FlowRefused { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(refused).collect()
}

fn assert_refused(pair: &mut Pair, client: ClientId, reason: RefuseReason) {
    assert_eq!(pair.client(client).end(), End::Reset);
    assert_eq!(pair.client(client).peer.check.length(), 0);
    assert_eq!(refused_for(pair), [reason]);
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_refuses_resets_the_client_at_once() {
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(100), v6));
        pair.run_for(SOON);
        assert_refused(&mut pair, client, RefuseReason::GuestRefused);
    }
}

#[test]
fn a_silent_guest_resets_the_client_after_the_connect_timeout() {
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        pair.guest.set_port(80, Port::Silent);
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(100), v6));
        pair.run_for(Duration::from_millis(9_990));
        assert_eq!(pair.client(client).end(), End::Open);
        pair.run_for(Duration::from_millis(20));
        assert_refused(&mut pair, client, RefuseReason::GuestSilent);
    }
}

#[test]
fn a_client_that_leaves_while_the_guest_is_dialled_leaves_nothing() {
    for port in [Port::Silent, Port::Listen(late())] {
        let mut pair = Pair::new(PairSpec::default());
        pair.guest.set_port(80, port);
        let publish = pair.publish_tcp(80);
        let client = pair.connect(publish, App::source(100));
        pair.run_for(SOON);
        pair.host.reset(client);
        pair.run_for(Duration::from_millis(5));
        assert_eq!(pair.engine.flow_count(), 0);
        assert_eq!(refused_for(&pair), [RefuseReason::ClientGone]);
        pair.assert_quiescent();
        assert_eq!(pair.guest.tcp.live(), 0, "a late answer of the guest is reset");
    }
}

fn late() -> Listener {
    Listener { delay: Duration::from_millis(500), ..Listener::new(App::SINK) }
}

#[test]
fn a_client_that_sends_and_closes_before_the_guest_answers_is_still_served() {
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        let listener = Listener { app: App::answer(5000), ..late() };
        pair.guest.listen(80, listener);
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(300), v6));
        pair.run_until(Duration::from_secs(5), |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 5000);
        assert_eq!(pair.client(client).end(), End::Eof);
        pair.assert_quiescent();
    }
}

/// A guest that serves on one family and does `other` on the other.
fn one_family(v6_serves: bool, other: Port) -> Pair {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.tcp.ports.insert((v6_serves, 80), Port::Listen(Listener::new(App::ECHO)));
    pair.guest.tcp.ports.insert((!v6_serves, 80), other);
    pair
}

#[test]
fn a_service_on_one_family_is_reached_from_both() {
    for serves in [false, true] {
        for other in [Port::Refuse, Port::Silent] {
            for client_v6 in [false, true] {
                let mut pair = one_family(serves, other);
                let port = pair.publish_tcp(80);
                let client = pair.connect_with(client_spec(port, App::source(10_000), client_v6));
                let limit = match other {
                    Port::Silent => Duration::from_millis(400),
                    Port::Refuse | Port::Listen(_) => Duration::from_millis(20),
                };
                pair.run_until(limit, |pair| pair.client(client).is_done());
                assert_eq!(pair.client(client).peer.check.length(), 10_000);
                assert_eq!(pair.client(client).end(), End::Eof);
                let ends = pair.client(client).ends.unwrap();
                assert_eq!(ends.0.is_ipv6(), serves);
                pair.assert_quiescent();
            }
        }
    }
}

#[test]
fn both_families_refused_or_silent_in_any_mixture() {
    for (v4, v6) in [(Port::Refuse, Port::Silent), (Port::Silent, Port::Refuse)] {
        for client_v6 in [false, true] {
            let mut pair = Pair::new(PairSpec::default());
            pair.guest.tcp.ports.insert((false, 80), v4);
            pair.guest.tcp.ports.insert((true, 80), v6);
            let port = pair.publish_tcp(80);
            let client = pair.connect_with(client_spec(port, App::source(10), client_v6));
            pair.run_for(Duration::from_secs(11));
            assert_refused(&mut pair, client, RefuseReason::GuestSilent);
        }
    }
}

#[test]
fn a_guest_that_answers_slower_than_the_fallback_is_still_reached() {
    // Both families answer after longer than one attempt is given at first.
    let mut pair = Pair::new(PairSpec::default());
    let listener = Listener { delay: Duration::from_millis(400), ..Listener::new(App::ECHO) };
    pair.guest.listen(80, listener);
    let port = pair.publish_tcp(80);
    let client = pair.connect(port, App::source(1000));
    pair.run_until(Duration::from_secs(9), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 1000);
    pair.assert_quiescent();
    let accepted = pair.guest.tcp.ended.iter().filter(|c| c.peer.check.length() != 0).count();
    assert_eq!(accepted, 1, "one service has read the stream");
}

#[test]
fn one_family_switched_off() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        if v6 {
            spec.config.addressing.ipv4 = None;
        } else {
            spec.config.addressing.ipv6 = None;
        }
        for client_v6 in [false, true] {
            let mut pair = Pair::new(spec.clone());
            let port = pair.publish_tcp(80);
            let refused = pair.connect_with(client_spec(port, App::source(9), client_v6));
            pair.run_for(SOON);
            assert_eq!(pair.client(refused).end(), End::Reset);
            pair.guest.listen(80, Listener::new(App::ECHO));
            let client = pair.connect_with(client_spec(port, App::source(9000), client_v6));
            pair.run_until(SOON, |pair| pair.client(client).is_done());
            assert_eq!(pair.client(client).peer.check.length(), 9000);
            pair.assert_quiescent();
        }
    }
}

#[test]
fn a_refusal_by_icmp_counts_as_one() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.scripted = true;
        pair.guest.scripted.insert(80);
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(9), v6));
        for _ in 0..2 {
            pair.run_for(Duration::from_millis(5));
            let (_, syn) = pair.guest.segments.pop_front().expect("a SYN on each family");
            pair.guest.refuse_by_icmp(&syn);
        }
        pair.run_for(Duration::from_millis(5));
        assert_refused(&mut pair, client, RefuseReason::GuestRefused);
    }
}

#[test]
fn limits_refuse_and_release() {
    for per_port in [false, true] {
        let mut spec = PairSpec::default();
        if per_port {
            spec.config.limits.max_flows_per_port = 3;
        } else {
            spec.config.limits.max_flows = 3;
        }
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::ECHO));
        let (port, other) = (pair.publish_tcp(80), pair.publish_tcp(80));
        let clients: Vec<_> = (0..3).map(|_| pair.connect(port, App::open(1000))).collect();
        let turned_away = pair.connect(port, App::open(1000));
        pair.run_for(SOON);
        let reason = if per_port { RefuseReason::PortLimit } else { RefuseReason::FlowLimit };
        assert_eq!(pair.host.refused(turned_away), Some(reason));
        assert_eq!(refused_for(&pair), [reason], "counted and reported");
        assert_eq!(pair.engine.counters().flows_refused, 1);
        let elsewhere = pair.connect(other, App::source(1000));
        assert_eq!(pair.host.refused(elsewhere).is_none(), per_port, "other ports are unaffected");
        for &client in &clients {
            assert_eq!(pair.client(client).end(), End::Open);
        }
        pair.host.shutdown(clients[0]);
        pair.run_until(SOON, |pair| pair.client(clients[0]).is_done());
        let served = pair.connect(port, App::source(1000));
        pair.run_until(SOON, |pair| pair.client(served).is_done());
        assert_eq!(pair.client(served).peer.check.length(), 1000);
        for &client in &clients[1..] {
            pair.host.shutdown(client);
        }
        pair.assert_quiescent();
    }
}

#[test]
fn flows_that_wait_in_vain_do_not_use_up_the_limit_for_ever() {
    // The guest is not there yet, its address not known: nothing can leave, not even a reset.
    let mut spec = PairSpec::default();
    spec.config.addressing.guest_mac = None;
    spec.config.limits.max_flows = 10;
    let mut pair = Pair::new(spec);
    pair.guest.mute = true;
    let port = pair.publish_tcp(80);
    for _ in 0..10 {
        pair.connect(port, App::source(100));
    }
    pair.run_for(Duration::from_secs(20));
    assert_eq!(pair.engine.flow_count(), 0, "the connect timeout has passed");
    let wakeups = pair.wakeups;
    pair.run_for(Duration::from_secs(3600));
    assert!(pair.wakeups - wakeups < 10, "nobody is left who wants the guest");
    pair.assert_quiescent();
    pair.guest.mute = false;
    pair.guest.listen(80, Listener::new(App::ECHO));
    let client = pair.connect(port, App::source(1000));
    pair.run_until(Duration::from_secs(1), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 1000);
}

#[test]
fn a_link_that_takes_nothing_does_not_hold_clients() {
    // A guest that is paused: its queue is full and stays so.
    for stalled_before in [false, true] {
        let mut spec = PairSpec::default();
        spec.to_guest.capacity = 4;
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::ECHO));
        let port = pair.publish_tcp(80);
        let open = pair.connect(port, App::open(0));
        pair.run_for(SOON);
        pair.to_guest.stalled = true;
        if stalled_before {
            pair.host.peer_mut(open).app = App::open(100_000);
            pair.run_for(SOON);
            assert!(!pair.to_guest.has_room());
        }
        let clients: Vec<_> = (0..20).map(|_| pair.connect(port, App::source(100))).collect();
        pair.run_for(Duration::from_millis(10_100));
        for client in clients {
            assert_eq!(pair.client(client).end(), End::Reset, "after the connect timeout");
        }
        assert!(pair.wakeups < 1000, "{} wake-ups", pair.wakeups);
        pair.to_guest.stalled = false;
        pair.host.peer_mut(open).app = App::source(100_000);
        pair.run_until(Duration::from_secs(10), |pair| pair.client(open).is_done());
        assert_eq!(pair.client(open).peer.check.length(), 100_000);
        pair.assert_quiescent();
    }
}

/// A client of its own address and port.
fn client_at(publish: portreeve_types::PublishId, port: u16, app: App) -> ClientSpec {
    ClientSpec { address: Some(([192, 0, 2, 7], port).into()), ..client_spec(publish, app, false) }
}

#[test]
fn a_live_4_tuple_is_never_given_out_twice() {
    // Every client comes from the same port, so that every port but the first is chosen.
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::open(10)));
    let port = pair.publish_tcp(80);
    let mut seen: BTreeSet<Ends> = BTreeSet::new();
    for _ in 0..500 {
        let client = pair.connect_with(client_at(port, 40_000, App::open(10)));
        pair.run_for(Duration::from_millis(1));
        let ends = pair.client(client).ends.expect("open");
        assert!(seen.insert(ends), "{ends:?} is given out twice");
    }
    assert!(seen.iter().any(|ends| ends.1.port() == 40_000));
    assert_eq!(pair.guest.tcp.live(), 500);
}

#[test]
fn endpoints_in_time_wait_are_not_reused_and_come_free_again() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::answer(10)));
    let port = pair.publish_tcp(80);
    let mut ports = Vec::new();
    for _ in 0..3 {
        let client = pair.connect_with(client_at(port, 40_000, App::source(10)));
        pair.run_until(SOON, |pair| pair.client(client).is_done());
        pair.run_for(SOON);
        assert_eq!(pair.client(client).peer.check.length(), 10);
        ports.push(pair.client(client).ends.unwrap().1.port());
    }
    assert_eq!(pair.engine.time_wait_count(), 3, "the client closed first");
    assert_eq!(pair.engine.flow_count(), 0, "outside the budget");
    assert_eq!(BTreeSet::from_iter(ports).len(), 3);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.engine.time_wait_count(), 0);
    let client = pair.connect_with(client_at(port, 40_000, App::source(10)));
    pair.run_until(SOON, |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).ends.unwrap().1.port(), 40_000);
    pair.assert_quiescent();
}

#[test]
fn a_guest_in_time_wait_takes_the_same_endpoints_again() {
    // The guest closes first, so it holds the 4-tuple and the engine does not.
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::source(10)));
    let port = pair.publish_tcp(80);
    for _ in 0..20 {
        let client = pair.connect_with(client_at(port, 40_000, App::answer(10)));
        pair.run_until(SOON, |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 10);
        assert_eq!(pair.client(client).ends.unwrap().1.port(), 40_000);
        pair.run_for(Duration::from_millis(1));
    }
    pair.assert_quiescent();
}

#[test]
fn the_first_connection_finds_a_guest_that_never_spoke() {
    for (v6, mut spec) in variants() {
        spec.config.addressing.guest_mac = None;
        if v6 {
            spec.config.addressing.ipv4 = None;
        } else {
            spec.config.addressing.ipv6 = None;
        }
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::ECHO));
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(10_000), v6));
        pair.run_until(SOON, |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 10_000);
        assert!(matches!(pair.events[0], Event::GuestSeen { .. }));
        pair.assert_quiescent();
    }
}

#[test]
fn a_guest_that_boots_late_is_asked_for_until_it_answers() {
    let mut spec = PairSpec::default();
    spec.config.addressing.guest_mac = None;
    let mut pair = Pair::new(spec);
    pair.guest.mute = true;
    pair.guest.listen(80, Listener::new(App::ECHO));
    let port = pair.publish_tcp(80);
    let client = pair.connect(port, App::source(10_000));
    pair.run_for(Duration::from_secs(5));
    assert!(pair.to_guest.sent() < 100, "asked now and then");
    pair.guest.mute = false;
    pair.run_until(Duration::from_secs(1), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 10_000);
    pair.assert_quiescent();
}

#[test]
fn a_full_link_and_an_unknown_guest_keep_nobody_busy() {
    let mut spec = PairSpec::default();
    spec.config.addressing.guest_mac = None;
    spec.to_guest = LinkSpec { capacity: 1, ..LinkSpec::PERFECT };
    let mut pair = Pair::new(spec);
    pair.to_guest.stalled = true;
    let port = pair.publish_tcp(80);
    let client = pair.connect(port, App::source(10));
    pair.run_for(Duration::from_secs(5));
    assert!(pair.wakeups < 200, "{} wake-ups", pair.wakeups);
    pair.guest.listen(80, Listener::new(App::ECHO));
    pair.to_guest.stalled = false;
    pair.run_until(Duration::from_secs(2), |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 10);
}

#[test]
fn preserved_sources_that_collide_fall_back_to_another_port() {
    let mut spec = PairSpec::default();
    spec.config.source = SourceMode::Preserve;
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::open(0)));
    let (port, other) = (pair.publish_tcp(80), pair.publish_tcp(80));
    let first = pair.connect_with(client_at(port, 40_000, App::open(0)));
    let second = pair.connect_with(client_at(other, 40_000, App::open(0)));
    pair.run_for(SOON);
    let ends = [first, second].map(|client| pair.client(client).ends.unwrap().1);
    assert_eq!(ends[0], ([192, 0, 2, 7], 40_000).into());
    assert_eq!(ends[1].ip(), ends[0].ip());
    assert_ne!(ends[1].port(), 40_000);
}

#[test]
fn when_every_port_is_taken_the_client_is_refused_and_nothing_leaks() {
    // The first family refuses, and towards the second no port is free.
    let mut spec = PairSpec::default();
    spec.config.limits.max_flows = 70_000;
    spec.config.limits.max_flows_per_port = 70_000;
    spec.config.limits.to_guest_ring = 4096;
    spec.config.limits.from_guest_ring = 4096;
    let mut pair = Pair::new(spec);
    pair.guest.tcp.ports.insert((true, 80), Port::Silent);
    let port = pair.publish_tcp(80);
    pair.guest.tcp.ports.insert((false, 80), Port::Silent);
    // Take what a bounded search would look at.
    let holders: Vec<_> = (1024..1024 + 2000)
        .map(|number| {
            let mut spec = client_spec(port, App::open(0), true);
            spec.address = spec.address.map(|mut address| {
                address.set_port(number);
                address
            });
            pair.connect_with(spec)
        })
        .collect();
    pair.guest.tcp.ports.insert((false, 80), Port::Refuse);
    let client = pair.connect_with(client_at(port, 1500, App::open(0)));
    pair.run_for(Duration::from_millis(2));
    assert_eq!(pair.client(client).end(), End::Reset, "refused on IPv4, no port on IPv6");
    assert_eq!(pair.engine.flow_count(), holders.len());
    pair.run_for(Duration::from_secs(11));
    pair.assert_quiescent();
}
