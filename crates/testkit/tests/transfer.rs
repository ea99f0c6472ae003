//! Bytes through a published port, both ways: complete, in order, over every kind of link.

use std::time::Duration;

use portreeve_testkit::{
    App, ClientId, End, LinkSpec, Listener, Pair, PairSpec, Port, Reading, Writing, client_spec,
};

const MIB: u64 = 1 << 20;

/// Every pair of family and offload, over a perfect link.
fn variants() -> Vec<(bool, PairSpec)> {
    let specs = [PairSpec::default(), PairSpec::default().offloaded()];
    specs.into_iter().flat_map(|spec| [(false, spec.clone()), (true, spec)]).collect()
}

/// Runs until the client is done and everything is at rest, then compares both ends.
fn finish(pair: &mut Pair, client: ClientId, up: u64, down: u64) {
    pair.run_until(Duration::from_secs(600), |pair| pair.client(client).is_done());
    let stream = pair.client(client).peer.stream;
    assert_eq!(pair.client(client).end(), End::Eof);
    assert_eq!(pair.client(client).peer.check.length(), down);
    pair.run_until(Duration::from_secs(60), |pair| pair.guest.tcp.live() == 0);
    if up >= 8 {
        let connection = pair.guest.tcp.reading(stream).expect("the guest has read the stream");
        assert_eq!(connection.peer.check.length(), up);
        assert!(connection.fin);
        // Where the link loses the last acknowledgement, the guest may repeat its FIN for longer
        // than the engine remembers; by then both streams are complete.
        assert!(!connection.reset || pair.to_guest.lost() != 0);
    }
    pair.assert_quiescent();
}

#[test]
fn a_mebibyte_each_way_and_an_orderly_end() {
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::source(MIB)));
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(MIB), v6));
        finish(&mut pair, client, MIB, MIB);
        let connection = &pair.guest.tcp.ended[0];
        assert_eq!(connection.ends.0.is_ipv6(), v6, "the client's own family is tried first");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut pair = Pair::new(PairSpec::default().rough().seeded(seed));
        pair.guest.listen(80, Listener::new(App::ECHO));
        let port = pair.publish_tcp(80);
        let clients: Vec<_> = (0..5).map(|_| pair.connect(port, App::source(50_000))).collect();
        for client in clients {
            pair.run_until(Duration::from_secs(600), |pair| pair.client(client).is_done());
        }
        pair.finish_trace()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn rough_links_change_nothing_but_time() {
    let mut lost = 0;
    for seed in 0..6 {
        for (v6, spec) in variants() {
            let mut pair = Pair::new(spec.rough().seeded(seed));
            pair.guest.listen(80, Listener::new(App::source(200_000)));
            let port = pair.publish_tcp(80);
            let client = pair.connect_with(client_spec(port, App::source(200_000), v6));
            finish(&mut pair, client, 200_000, 200_000);
            lost += pair.to_guest.lost() + pair.from_guest.lost();
        }
    }
    assert!(lost > 100, "the links were rough");
}

#[test]
fn every_small_length_arrives() {
    let mut pair = Pair::new(PairSpec::default());
    let port = pair.publish_tcp(80);
    for length in 0..20 {
        pair.guest.listen(80, Listener::new(App::source(length)));
        let client = pair.connect(port, App::source(length));
        finish(&mut pair, client, length, length);
    }
}

#[test]
fn a_full_duplex_echo_through_small_buffers_never_stops() {
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        let app = App { writing: Writing::Echo(512), ..App::ECHO };
        let listener = Listener { receive_buffer: 4096, send_buffer: 4096, ..Listener::new(app) };
        pair.guest.listen(7, listener);
        pair.host.chunk = 700;
        let port = pair.publish_tcp(7);
        let mut client = client_spec(port, App::source(MIB), v6);
        client.send_buffer = 2048;
        client.receive_buffer = 2048;
        let client = pair.connect_with(client);
        finish(&mut pair, client, MIB, MIB);
        assert_eq!(
            pair.client(client).peer.check.stream(),
            Some(pair.client(client).peer.stream),
            "its own bytes came back"
        );
    }
}

#[test]
fn a_slow_client_and_a_slow_guest_only_slow_themselves() {
    let slow = Reading::Slow { bytes: 1000, every: Duration::from_millis(20) };
    for (v6, spec) in variants() {
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::source(MIB / 4)));
        let reader = App { reading: slow, ..App::SINK };
        pair.guest.listen(81, Listener::new(reader));
        pair.guest.listen(82, Listener::new(App::source(MIB)));
        let ports = [80, 81, 82].map(|port| pair.publish_tcp(port));
        let mut spec = client_spec(ports[0], reader, v6);
        spec.receive_buffer = 4096;
        let slow_client = pair.connect_with(spec);
        let slow_guest = pair.connect_with(client_spec(ports[1], App::source(MIB / 2), v6));
        pair.run_for(Duration::from_secs(1));
        let fast = pair.connect_with(client_spec(ports[2], App::source(MIB), v6));
        pair.run_until(Duration::from_secs(2), |pair| pair.client(fast).is_done());
        assert_eq!(pair.client(fast).peer.check.length(), MIB);
        assert!(!pair.client(slow_client).is_done() && !pair.client(slow_guest).is_done());
        pair.run_until(Duration::from_secs(60), |pair| {
            pair.client(slow_client).is_done() && pair.client(slow_guest).is_done()
        });
        assert_eq!(pair.client(slow_client).peer.check.length(), MIB / 4);
        let stream = pair.client(slow_guest).peer.stream;
        assert_eq!(pair.guest.tcp.reading(stream).unwrap().peer.check.length(), MIB / 2);
        pair.assert_quiescent();
    }
}

#[test]
fn a_slow_reader_over_a_rough_link_is_never_forgotten() {
    // A window update may be lost: probes must find out.
    let slow = Reading::Slow { bytes: 9000, every: Duration::from_millis(900) };
    for seed in 0..4 {
        for v6 in [false, true] {
            let mut spec = PairSpec::default().rough().seeded(seed);
            spec.to_guest.loss = 200;
            spec.from_guest.loss = 200;
            spec.config.limits.from_guest_ring = 8192;
            spec.config.limits.to_guest_ring = 8192;
            let mut pair = Pair::new(spec);
            let reader = App { reading: slow, ..App::source(60_000) };
            let listener =
                Listener { receive_buffer: 8192, send_buffer: 8192, ..Listener::new(reader) };
            pair.guest.listen(80, listener);
            let port = pair.publish_tcp(80);
            let mut spec = client_spec(port, reader, v6);
            spec.receive_buffer = 4096;
            let client = pair.connect_with(spec);
            finish(&mut pair, client, 60_000, 60_000);
        }
    }
}

#[test]
fn a_full_link_pushes_back_and_loses_nothing() {
    for (v6, mut spec) in variants() {
        spec.to_guest.capacity = 1;
        spec.from_guest.capacity = 1;
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::source(100_000)));
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::source(100_000), v6));
        pair.run_for(Duration::from_millis(2));
        pair.to_guest.stalled = true;
        pair.run_for(Duration::from_secs(5));
        pair.to_guest.stalled = false;
        pair.run_for(Duration::from_millis(1));
        pair.from_guest.stalled = true;
        pair.run_for(Duration::from_secs(5));
        pair.from_guest.stalled = false;
        finish(&mut pair, client, 100_000, 100_000);
    }
}

#[test]
fn small_and_large_mtus() {
    for mtu in [1280, 1500, 9000, 65_520] {
        for (v6, mut spec) in variants() {
            spec.config.addressing.mtu = mtu;
            let mut pair = Pair::new(spec);
            pair.guest.listen(80, Listener::new(App::source(300_000)));
            let port = pair.publish_tcp(80);
            let client = pair.connect_with(client_spec(port, App::source(300_000), v6));
            finish(&mut pair, client, 300_000, 300_000);
        }
    }
}

#[test]
fn a_guest_that_accepts_late_gets_everything() {
    let mut pair = Pair::new(PairSpec::default());
    let delay = Duration::from_millis(1200);
    pair.guest.set_port(80, Port::Listen(Listener { delay, ..Listener::new(App::ECHO) }));
    let port = pair.publish_tcp(80);
    let client = pair.connect(port, App::source(100_000));
    pair.run_for(Duration::from_millis(1100));
    assert_eq!(pair.client(client).peer.check.length(), 0);
    assert_eq!(pair.client(client).end(), End::Open, "nothing is said before the guest accepts");
    finish(&mut pair, client, 100_000, 100_000);
}

#[test]
fn a_busy_link_serves_many_flows_at_once() {
    let mut spec = PairSpec::default().offloaded();
    spec.to_guest = LinkSpec { capacity: 16, ..LinkSpec::PERFECT };
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::ECHO));
    let port = pair.publish_tcp(80);
    let clients: Vec<_> = (0..100).map(|_| pair.connect(port, App::source(10_000))).collect();
    for client in clients {
        pair.run_until(Duration::from_secs(60), |pair| pair.client(client).is_done());
        assert_eq!(pair.client(client).peer.check.length(), 10_000);
    }
    pair.assert_quiescent();
}
