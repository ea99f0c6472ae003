//! A guest that is gone and the next one on the same link: what ends, what stays.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{CloseReason, EgressRefusal, Event, RefuseReason};
use portreeve_testkit::{
    App, ClientId, End, Listener, Outcome, Pair, PairSpec, Place, Service, client_spec,
};
use portreeve_types::{MacAddr, PublishId};

const SOON: Duration = Duration::from_millis(50);
const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x47, 0x99];
const KIB: u64 = 1 << 10;

fn at(v6: bool, host: u8, port: u16) -> SocketAddr {
    if v6 {
        SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into(), port)
    } else {
        SocketAddr::new([192, 0, 2, host].into(), port)
    }
}

/// A guest whose hardware address has to be learnt, as a virtual machine's.
fn learnt() -> PairSpec {
    let mut spec = PairSpec::default();
    spec.config.addressing.guest_mac = None;
    spec
}

fn closed_for(pair: &Pair) -> Vec<CloseReason> {
    let closed = |event: &Event| match event {
        Event::FlowClosed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.events.iter().filter_map(closed).collect()
}

fn seen(pair: &Pair) -> Vec<MacAddr> {
    let seen = |event: &Event| match event {
        Event::GuestSeen { mac } => Some(*mac),
        _ => None,
    };
    pair.events.iter().filter_map(seen).collect()
}

fn connect(pair: &mut Pair, port: PublishId, v6: bool) -> ClientId {
    pair.connect_with(client_spec(port, App::open(KIB), v6))
}

/// Nothing is left of the old guest, at once and not only in time.
fn assert_empty(pair: &Pair) {
    let left = pair.describe();
    assert_eq!(pair.engine.flows().count(), 0, "flows are left\n{left}");
    assert_eq!(pair.engine.time_wait_count(), 0, "4-tuples are left\n{left}");
    assert_eq!(pair.engine.mapping_count(), 0, "mappings are left\n{left}");
    assert_eq!(pair.engine.dial_count(), 0, "dials are left\n{left}");
    assert_eq!(pair.host.open_sockets(), 0, "sockets are left\n{left}");
    assert!(pair.engine.is_quiescent(), "frames or orders are left\n{left}");
}

#[test]
fn clients_are_reset_and_the_next_guest_is_served_whatever_its_address() {
    for v6 in [false, true] {
        for mac in [None, Some(OTHER_MAC)] {
            let mut pair = Pair::new(learnt());
            pair.guest.listen(80, Listener::new(App::ECHO));
            let port = pair.publish_tcp(80);
            let old: Vec<_> = (0..3).map(|_| connect(&mut pair, port, v6)).collect();
            pair.run_for(SOON);
            let first = pair.guest.nic.mac;
            pair.next_guest(mac);
            assert_empty(&pair);
            pair.run_for(SOON);
            for client in old {
                assert_eq!(pair.client(client).peer.check.length(), KIB, "the echo came before");
                assert_eq!(pair.client(client).end(), End::Reset);
            }
            assert_eq!(closed_for(&pair), [CloseReason::GuestGone; 3]);
            assert_eq!(pair.engine.published(port).unwrap().flows, 0);

            pair.guest.listen(80, Listener::new(App::ECHO));
            let new = connect(&mut pair, port, v6);
            pair.run_for(SOON);
            assert_eq!(pair.client(new).peer.check.length(), KIB);
            assert_eq!(seen(&pair), [MacAddr(first), MacAddr(mac.unwrap_or(first))]);
            pair.next_guest(None);
            pair.assert_quiescent();
        }
    }
}

#[test]
fn every_kind_and_phase_of_flow_ends() {
    let mut pair = Pair::new(learnt());
    pair.guest.listen(80, Listener::new(App::open(0)));
    pair.guest.listen(81, Listener::new(App::source(100)));
    pair.guest.listen(82, Listener::new(App::answer(100)));
    pair.guest.udp.serve(53, Service::Echo);
    let port = pair.publish_tcp(80);
    let finishes = pair.publish_tcp(81);
    let answers = pair.publish_tcp(82);
    let udp = pair.publish_udp(53);
    // Half closed by either side, and closed in order: TIME-WAIT.
    let half_by_client = pair.connect(port, App::source(100));
    let half_by_guest = pair.connect(finishes, App::open(0));
    let done = pair.connect(answers, App::source(100));
    pair.send_datagram(udp, at(false, 7, 4000), at(false, 1, 53), b"question");
    // The guest's own: connected, waiting for its destination, a datagram, an echo.
    pair.serve(at(false, 9, 443), App::ECHO);
    let own = pair.guest_connect(at(false, 9, 443), App::open(KIB));
    pair.host.world.udp.insert(at(false, 9, 7000), Place::ECHO);
    pair.guest_send_udp(5000, at(false, 9, 7000), b"there");
    pair.guest_ping(7, 1, at(false, 9, 0).ip(), b"ping");
    pair.run_for(SOON);
    assert_eq!(pair.outcome(own), Outcome::Connected);
    let server = pair.host.server_of(own).expect("it was dialled");
    assert_eq!(pair.client(done).end(), End::Eof);
    assert_eq!(pair.engine.mapping_count(), 2);
    // A client whom the guest has yet to answer.
    pair.guest.mute = true;
    let dialling = pair.connect(port, App::open(0));

    pair.lose_guest();
    assert_empty(&pair);
    pair.run_for(SOON);
    for client in [half_by_client, half_by_guest, dialling] {
        assert_eq!(pair.client(client).end(), End::Reset, "{client:?}");
    }
    assert_eq!(pair.client(server).end(), End::Reset);
    assert!(
        pair.events.iter().any(|event| matches!(
            event,
            Event::FlowRefused { reason: RefuseReason::GuestGone, .. }
        ))
    );
    for id in [port, finishes, answers, udp] {
        assert_eq!(pair.engine.published(id).unwrap().flows, 0);
    }
    pair.assert_quiescent();
}

#[test]
fn a_connection_that_waits_for_its_destination_is_given_up() {
    let mut pair = Pair::new(learnt());
    let nobody = at(false, 10, 443);
    pair.host.outside.place(nobody, portreeve_testkit::host::outside::Destination::Blackhole);
    let own = pair.guest_connect(nobody, App::SINK);
    pair.run_for(SOON);
    assert_eq!(pair.outcome(own), Outcome::Waiting);
    assert_eq!(pair.engine.dial_count(), 1);
    pair.lose_guest();
    assert_empty(&pair);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::GuestGone]);
    pair.assert_quiescent();
}

#[test]
fn what_the_guest_had_is_forgotten_and_what_it_was_given_from_outside_stays() {
    let mut spec = learnt();
    let mac = MacAddr(OTHER_MAC);
    spec.config.addressing.guest_mac = Some(mac);
    let mut pair = Pair::new(spec);
    let udp = pair.publish_udp(53);
    pair.guest.mute = true;
    // Frames that no link takes.
    pair.to_guest.stalled = true;
    for port in 0..2000 {
        pair.send_datagram(udp, at(false, 7, 4000 + port), at(false, 1, 53), &[7; 1400]);
    }
    pair.run_for(SOON);
    assert!(pair.engine.has_frames());
    pair.lose_guest();
    assert_empty(&pair);
    assert!(!pair.engine.has_frames());
    // A configured hardware address is not the guest's to change.
    pair.next_guest(None);
    pair.guest.udp.serve(53, Service::Echo);
    pair.send_datagram(udp, at(false, 7, 4000), at(false, 1, 53), b"question");
    pair.run_for(SOON);
    assert_eq!(pair.host.udp.received.pop().expect("an answer").payload, b"question");
    assert!(seen(&pair).is_empty());
}

#[test]
fn a_guest_that_goes_again_and_again_leaves_nothing() {
    let mut pair = Pair::new(learnt().rough());
    let port = pair.publish_tcp(80);
    for round in 0u8..20 {
        pair.guest.listen(80, Listener::new(App::ECHO));
        let clients: Vec<_> =
            (0..5).map(|number| connect(&mut pair, port, number % 2 == 1)).collect();
        pair.run_for(Duration::from_millis(u64::from(round)));
        pair.next_guest(Some([2, 0, 0, 0, 0, round]));
        assert_empty(&pair);
        pair.run_for(SOON);
        for client in clients {
            assert_eq!(pair.client(client).end(), End::Reset);
        }
    }
    pair.assert_quiescent();
}
