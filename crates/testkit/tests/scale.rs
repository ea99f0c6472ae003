//! Thousands of flows: nothing grows with them but the table, and their memory is given back.

use std::time::Duration;

use portreeve_core::RefuseReason;
use portreeve_testkit::{
    App, ClientId, ClientSpec, End, Listener, Pair, PairSpec, RingSpy, client_spec,
};
use portreeve_types::PublishId;

const SOON: Duration = Duration::from_millis(50);

fn small_rings(mut spec: PairSpec) -> PairSpec {
    spec.config.limits.to_guest_ring = 4096;
    spec.config.limits.from_guest_ring = 4096;
    spec.config.limits.max_flows = 100_000;
    spec.config.limits.max_flows_per_port = 100_000;
    spec
}

fn small(app: App) -> Listener {
    Listener { receive_buffer: 2048, send_buffer: 2048, ..Listener::new(app) }
}

/// A client of a port of its own, as clients of one host are.
fn client_at(publish: PublishId, number: u32, app: App) -> ClientSpec {
    let [_, _, high, low] = (number / 50_000).to_be_bytes();
    let port = 1024 + (number % 50_000) as u16;
    ClientSpec {
        address: Some(([198, 51, high, low], port).into()),
        ..client_spec(publish, app, false)
    }
}

#[test]
fn ten_thousand_flows_come_and_go() {
    let mut pair = Pair::new(small_rings(PairSpec::default()));
    pair.guest.listen(80, small(App::ECHO));
    let port = pair.publish_tcp(80);
    for batch in 0..20 {
        let clients: Vec<_> = (0..500)
            .map(|nth| pair.connect_with(client_at(port, batch * 500 + nth, App::source(100))))
            .collect();
        pair.run_until(Duration::from_secs(10), |pair| pair.engine.flow_count() == 0);
        for client in clients {
            assert_eq!(pair.client(client).peer.check.length(), 100);
            assert_eq!(pair.client(client).end(), End::Eof);
        }
        pair.guest.tcp.ended.clear();
    }
    assert_eq!(pair.engine.counters().flows_opened, 10_000);
    assert_eq!(pair.engine.counters().flows_closed, 10_000);
    assert_eq!(pair.engine.counters().total_drops(), 0);
    pair.assert_quiescent();
}

/// What one transfer costs beside so many idle flows: time, frames, wake-ups.
fn transfer_beside(idle: u32) -> (Duration, u64, u64) {
    let mut pair = Pair::new(small_rings(PairSpec::default()));
    pair.guest.listen(80, small(App::open(10)));
    let port = pair.publish_tcp(80);
    let clients: Vec<ClientId> =
        (0..idle).map(|nth| pair.connect_with(client_at(port, nth, App::open(10)))).collect();
    pair.run_for(Duration::from_secs(5));
    assert!(clients.iter().all(|&client| pair.client(client).peer.check.length() == 10));
    pair.guest.listen(81, Listener::new(App::ECHO));
    let busy = pair.publish_tcp(81);
    let (frames, wakeups) = (pair.to_guest.sent() + pair.from_guest.sent(), pair.wakeups);
    let start = std::time::Instant::now();
    let client = pair.connect_with(client_at(busy, 60_000, App::source(300_000)));
    pair.run_until(Duration::from_secs(60), |pair| pair.client(client).is_done());
    let time = start.elapsed();
    assert_eq!(pair.client(client).peer.check.length(), 300_000);
    let frames = pair.to_guest.sent() + pair.from_guest.sent() - frames;
    (time, frames, pair.wakeups - wakeups)
}

#[test]
fn a_packet_costs_the_same_beside_ten_and_ten_thousand_flows() {
    let (few_time, few_frames, few_wakeups) = transfer_beside(10);
    let (many_time, many_frames, many_wakeups) = transfer_beside(10_000);
    assert_eq!(few_wakeups, many_wakeups);
    // The cuts of reads and writes differ by chance.
    assert!(few_frames.abs_diff(many_frames) < few_frames / 10, "{few_frames}, {many_frames}");
    // A thousand times the flows: a cost that grew with them would be far beyond this.
    assert!(many_time < few_time * 20, "{few_time:?} and {many_time:?}");
}

#[test]
fn idle_flows_wake_nobody_however_many() {
    let mut pair = Pair::new(small_rings(PairSpec::default()));
    pair.guest.listen(80, small(App::open(10)));
    let port = pair.publish_tcp(80);
    for nth in 0..2000 {
        pair.connect_with(client_at(port, nth, App::open(10)));
    }
    pair.run_for(Duration::from_secs(10));
    let before = pair.wakeups;
    pair.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(pair.wakeups, before);
    assert_eq!(pair.engine.flow_count(), 2000);
}

#[test]
fn rings_that_are_idle_are_given_up_once_and_work_again() {
    for size in [10, 500_000] {
        let rings = RingSpy::new();
        let mut pair = Pair::with_rings(PairSpec::default(), Box::new(rings.clone()));
        pair.guest.listen(80, Listener::new(App::ECHO));
        let port = pair.publish_tcp(80);
        let client = pair.connect(port, App::open(size));
        pair.run_for(Duration::from_millis(500));
        assert_eq!(rings.log().held.values().sum::<u32>(), 0, "not while it is fresh");
        pair.run_for(Duration::from_secs(3));
        assert_eq!(rings.log().held.values().sum::<u32>(), 1);
        pair.run_for(Duration::from_secs(3600));
        assert_eq!(rings.log().held.values().sum::<u32>(), 1, "and not again");
        pair.host.peer_mut(client).app = App::open(2 * size);
        pair.run_for(Duration::from_secs(3));
        assert_eq!(pair.client(client).peer.check.length(), 2 * size);
        assert_eq!(rings.log().held.values().sum::<u32>(), 2, "used and idle again");
    }
}

#[test]
fn rings_of_closed_flows_are_kept_for_a_few_and_given_up() {
    let rings = RingSpy::new();
    let mut pair = Pair::with_rings(small_rings(PairSpec::default()), Box::new(rings.clone()));
    pair.guest.listen(80, small(App::ECHO));
    let port = pair.publish_tcp(80);
    let clients: Vec<_> =
        (0..1000).map(|nth| pair.connect_with(client_at(port, nth, App::open(100)))).collect();
    pair.run_for(SOON);
    assert_eq!(rings.log().held.len(), 1000);
    for &client in &clients {
        pair.host.shutdown(client);
    }
    pair.run_for(SOON);
    let log = rings.log();
    assert!((1..=256).contains(&log.held.len()), "{} are kept", log.held.len());
    assert_eq!(log.held.len() + log.returned.len(), 1000);
    pair.run_for(Duration::from_secs(10));
    let forgotten = rings.log().held.values().all(|&idle| idle == 1);
    assert!(forgotten, "what is kept for the next flow holds no memory");
    // The next flows use what was kept.
    for nth in 0..200 {
        pair.connect_with(client_at(port, nth, App::source(100)));
    }
    pair.run_until(SOON, |pair| pair.engine.flow_count() == 0);
    assert_eq!(rings.log().most, 1000);
    assert_eq!(rings.log().held.len() + rings.log().returned.len(), 1000, "none is new");
    pair.assert_quiescent();
}

#[test]
fn flows_without_memory_are_refused_and_others_live() {
    let rings = RingSpy::new();
    let mut pair = Pair::with_rings(PairSpec::default(), Box::new(rings.clone()));
    pair.guest.listen(80, Listener::new(App::ECHO));
    let port = pair.publish_tcp(80);
    rings.limit(2);
    let [first, second, third] = [0; 3].map(|_| pair.connect(port, App::open(1000)));
    pair.run_for(SOON);
    assert_eq!(pair.host.refused(third), Some(RefuseReason::NoMemory));
    for client in [first, second] {
        assert_eq!(pair.client(client).peer.check.length(), 1000);
    }
    pair.host.shutdown(first);
    pair.run_until(SOON, |pair| pair.client(first).is_done());
    let fourth = pair.connect(port, App::source(1000));
    pair.run_until(SOON, |pair| pair.client(fourth).is_done());
    assert_eq!(pair.client(fourth).peer.check.length(), 1000, "with the first one's rings");
    pair.host.shutdown(second);
    pair.assert_quiescent();
}
