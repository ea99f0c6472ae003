//! Bounds on what a guest may have under way, and that reaching one harms nobody else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{Command, DialFailure, DropReason, EgressRefusal, Event};
use portreeve_testkit::guest::tcp::Ends;
use portreeve_testkit::packet::{Segment, ethernet, flag};
use portreeve_testkit::{
    App, Destination, End, Listener, Outcome, Pair, PairSpec, ServerSpec, client_spec,
};
use portreeve_wire::VirtioNetHdr;
use portreeve_wire::icmp::{ErrorKind, Unreachable};

const SOON: Duration = Duration::from_millis(5);

fn host(v6: bool, number: u16) -> IpAddr {
    if v6 {
        [0x2001, 0xdb8, 0, 0, 0, 0, 1, number].into()
    } else {
        let [high, low] = number.to_be_bytes();
        [198, 18, high, low].into()
    }
}

fn at(v6: bool, number: u16) -> SocketAddr {
    SocketAddr::new(host(v6, number), 443)
}

fn limited(dials: usize, per_destination: usize) -> PairSpec {
    let mut spec = PairSpec::default();
    spec.config.limits.max_dials = dials;
    spec.config.limits.max_dials_per_destination = per_destination;
    spec
}

fn outcomes(pair: &Pair, all: &[Ends]) -> Vec<Outcome> {
    all.iter().map(|&ends| pair.outcome(ends)).collect()
}

#[test]
fn beyond_the_limit_the_oldest_dial_is_refused() {
    for v6 in [false, true] {
        let mut pair = Pair::new(limited(8, 8));
        let mut all = Vec::new();
        for number in 0..12 {
            all.push(pair.guest_connect(at(v6, number), App::source(10)));
            pair.run_for(SOON);
            assert_eq!(pair.engine.dial_count(), 8.min(usize::from(number) + 1));
        }
        let expected = [[Outcome::Refused; 4].as_slice(), &[Outcome::Waiting; 8]].concat();
        assert_eq!(outcomes(&pair, &all), expected);
        assert_eq!(pair.egress_refusals(), [EgressRefusal::DialLimit; 4]);
        assert_eq!(pair.engine.counters().drops(DropReason::EgressDenied), 4);
        // Those that are left are still under way: each connects when its destination answers.
        assert_eq!(pair.host.outside.dialled.len(), 12);
        pair.run_for(Duration::from_secs(65));
        let unreachable = Outcome::Error(ErrorKind::Unreachable(Unreachable::Host));
        assert_eq!(outcomes(&pair, &all)[4..], [unreachable; 8]);
        pair.assert_quiescent();
    }
}

#[test]
fn one_destination_takes_no_more_than_its_share() {
    for v6 in [false, true] {
        let mut pair = Pair::new(limited(100, 3));
        let late = ServerSpec { delay: Duration::from_secs(1), ..ServerSpec::new(App::ECHO) };
        pair.host.outside.place(at(v6, 2), Destination::Listen(late));
        let good = pair.guest_connect(at(v6, 2), App::source(5000));
        let stuck: Vec<_> =
            (0..10).map(|_| pair.guest_connect(at(v6, 1), App::source(10))).collect();
        pair.run_for(SOON);
        assert_eq!(pair.engine.dial_count(), 4);
        let mut refused = vec![Outcome::Refused; 7];
        refused.extend([Outcome::Waiting; 3]);
        assert_eq!(outcomes(&pair, &stuck), refused);
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.outcome(good), Outcome::Connected, "others are undisturbed");
        assert_eq!(pair.connection(good).peer.check.length(), 5000);
        pair.run_for(Duration::from_secs(70));
        pair.assert_quiescent();
    }
}

#[test]
fn another_port_of_the_same_host_shares_its_limit() {
    let mut pair = Pair::new(limited(100, 3));
    for port in 1..=5 {
        pair.guest_connect(SocketAddr::new(host(false, 1), port), App::source(10));
    }
    pair.run_for(SOON);
    assert_eq!(pair.engine.dial_count(), 3);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::DialLimit; 2]);
}

#[test]
fn a_black_hole_delays_nobody() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::ECHO));
    let port = pair.publish_tcp(80);
    for _ in 0..100 {
        pair.guest_connect(at(false, 1), App::source(10));
    }
    pair.run_for(SOON);
    pair.serve(at(false, 2), App::ECHO);
    pair.serve(at(true, 2), App::ECHO);
    let start = pair.now();
    let client = pair.connect_with(client_spec(port, App::source(10_000), false));
    let own = [false, true].map(|v6| pair.guest_connect(at(v6, 2), App::source(10_000)));
    pair.run_until(Duration::from_secs(1), |pair| {
        pair.client(client).is_done() && own.iter().all(|&ends| pair.connection(ends).peer.eof)
    });
    assert!(pair.now() < start + Duration::from_millis(50), "{:?}", pair.now());
    assert_eq!(pair.engine.dial_count(), 100);
}

#[test]
fn a_dial_that_ends_makes_room() {
    let mut pair = Pair::new(limited(2, 2));
    let failing = Destination::Fail(DialFailure::Refused, Duration::from_millis(1));
    pair.host.outside.place(at(false, 1), failing);
    pair.serve(at(false, 2), App::SINK);
    for _ in 0..50 {
        pair.guest_connect(at(false, 1), App::source(10));
        pair.guest_connect(at(false, 2), App::source(10));
        pair.run_for(SOON);
    }
    assert_eq!(pair.egress_refusals(), [EgressRefusal::Failed(DialFailure::Refused); 50]);
    pair.assert_quiescent();
}

#[test]
fn a_flood_of_syns_stays_bounded() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.guest.scripted.extend(1000..2000);
        pair.serve(at(v6, 60_000), App::ECHO);
        let guest = pair.guest.address(v6);
        for number in 0..10_000u16 {
            let from = SocketAddr::new(guest, 1000 + number % 1000);
            let to = at(v6, number / 7);
            let syn = Segment::new(from, to, flag::SYN).packet();
            let mut frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &syn);
            let now = pair.now();
            pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
            assert!(pair.engine.dial_count() <= 512 && pair.engine.flow_count() <= 512);
            if number % 50 == 0 {
                pair.run_for(Duration::from_micros(50));
            }
        }
        pair.run_for(SOON);
        assert_eq!(pair.engine.dial_count(), 512);
        assert_eq!(pair.host.open_sockets(), 512);
        assert!(pair.host.outside.most_pending <= 512);
        let drops = pair.engine.counters().drops(DropReason::EgressDenied);
        assert_eq!(drops, 10_000 - 512, "each refused, counted and told");
        // In the midst of it a connection goes its way.
        let ends = pair.guest_connect(at(v6, 60_000), App::source(1000));
        pair.run_for(SOON);
        assert_eq!(pair.connection(ends).peer.check.length(), 1000);
        pair.guest.segments.clear();
        pair.assert_quiescent();
    }
}

#[test]
fn a_flood_that_is_not_taken_from_the_link_stays_bounded() {
    let mut spec = PairSpec::default();
    spec.config.limits.control_frames = 32;
    spec.config.limits.max_flows = 200;
    let mut pair = Pair::new(spec);
    pair.to_guest.stalled = true;
    pair.to_guest.spec.capacity = 4;
    let resets = ServerSpec::new(App::source(0));
    pair.host.outside.place(at(false, 1), Destination::Listen(resets));
    let guest = pair.guest.address(false);
    for number in 0..3000u16 {
        let from = SocketAddr::new(guest, 1000 + number);
        let to = at(false, 1 + number % 2);
        pair.guest.scripted.insert(from.port());
        pair.guest.send_segment(&Segment::new(from, to, flag::SYN));
        if number % 10 == 0 {
            pair.run_for(Duration::from_micros(100));
        }
        assert!(pair.engine.flow_count() <= 200);
    }
    pair.run_for(Duration::from_secs(200));
    pair.to_guest.stalled = false;
    pair.to_guest.spec.capacity = 64;
    pair.guest.segments.clear();
    pair.assert_quiescent();
}

#[test]
fn no_more_flows_than_allowed_whoever_opens_them() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.limits.max_flows = 3;
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::open(0)));
        let port = pair.publish_tcp(80);
        pair.serve(at(v6, 1), App::open(0));
        let client = pair.connect_with(client_spec(port, App::open(10), v6));
        let first = pair.guest_connect(at(v6, 1), App::open(10));
        pair.run_for(SOON);
        pair.guest_send_udp(5000, at(v6, 3), b"third");
        pair.run_for(SOON);
        let refused = pair.guest_connect(at(v6, 1), App::open(10));
        pair.guest_send_udp(5001, at(v6, 3), b"fifth");
        pair.run_for(SOON);
        assert_eq!(pair.outcome(refused), Outcome::Refused);
        assert_eq!(pair.egress_refusals(), [EgressRefusal::FlowLimit; 2]);
        let unreachable = ErrorKind::Unreachable(Unreachable::Host);
        assert_eq!(pair.guest.errors.pop().expect("told").kind, unreachable);
        let another = pair.connect_with(client_spec(port, App::open(10), v6));
        assert!(pair.client(another).refused.is_some());
        assert_eq!(pair.outcome(first), Outcome::Connected);
        // Room is room again.
        pair.guest.tcp.abort(first);
        pair.host.reset(client);
        pair.run_for(SOON);
        let again = pair.guest_connect(at(v6, 1), App::open(10));
        pair.run_for(SOON);
        assert_eq!(pair.outcome(again), Outcome::Connected);
        pair.guest.tcp.abort(again);
        pair.assert_quiescent();
    }
}

#[test]
fn a_dial_that_is_killed_is_refused() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        let ends = pair.guest_connect(at(v6, 1), App::source(10));
        pair.run_for(SOON);
        let flow = pair.engine.flows().next().expect("a dial is a flow").id;
        assert!(pair.command(Command::Kill(flow)).is_ok());
        pair.run_for(SOON);
        assert_eq!(pair.outcome(ends), Outcome::Refused);
        assert_eq!(pair.egress_refusals(), [EgressRefusal::Killed]);
        assert_eq!(pair.host.open_sockets(), 0);
        pair.assert_quiescent();
    }
}

#[test]
fn everything_can_be_ended_at_once() {
    let mut pair = Pair::new(PairSpec::default());
    pair.serve(at(false, 1), App::open(1000));
    let open = pair.guest_connect(at(false, 1), App::open(1000));
    let dialled = pair.guest_connect(at(false, 2), App::open(1000));
    pair.guest_send_udp(5000, at(false, 3), b"hello");
    pair.guest_ping(7, 1, host(true, 3), b"hello");
    pair.run_for(SOON);
    let all: Vec<_> = pair.engine.flows().map(|flow| flow.id).collect();
    assert_eq!(all.len(), 4);
    for flow in all {
        assert!(pair.command(Command::Kill(flow)).is_ok());
    }
    pair.run_for(SOON);
    assert_eq!(pair.host.open_sockets(), 0);
    assert_eq!(pair.server(open).unwrap().end(), End::Reset);
    assert!(pair.connection(open).reset);
    assert_eq!(pair.outcome(dialled), Outcome::Refused);
    let closed = pair.events.iter().filter(|e| matches!(e, Event::FlowClosed { .. })).count();
    assert_eq!(closed, 3, "a dial was never open");
    pair.assert_quiescent();
}

#[test]
fn hundreds_of_connections_come_and_go_through_few_dials() {
    let mut spec = limited(16, 16);
    spec.config.limits.to_guest_ring = 4096;
    spec.config.limits.from_guest_ring = 4096;
    let mut pair = Pair::new(spec);
    for number in 0..40 {
        let delay = Duration::from_micros(u64::from(number) * 200);
        let server = ServerSpec { delay, ..ServerSpec::new(App::ECHO) };
        pair.host.outside.place(at(number % 2 == 1, number), Destination::Listen(server));
    }
    let mut all = Vec::new();
    for round in 0..600u16 {
        let number = round * 7 % 40;
        all.push(pair.guest_connect(at(number % 2 == 1, number), App::source(3000)));
        if round % 8 == 0 {
            pair.run_for(Duration::from_millis(9));
        }
    }
    pair.run_for(Duration::from_secs(2));
    for &ends in &all {
        match pair.outcome(ends) {
            Outcome::Connected => assert_eq!(pair.connection(ends).peer.check.length(), 3000),
            Outcome::Refused => {}
            other @ (Outcome::Waiting | Outcome::Error(_)) => panic!("{other:?}"),
        }
    }
    let refused = outcomes(&pair, &all).iter().filter(|&&o| o == Outcome::Refused).count();
    assert_eq!(pair.egress_refusals(), vec![EgressRefusal::DialLimit; refused]);
    assert!(refused < 300, "{refused}");
    pair.assert_quiescent();
}
