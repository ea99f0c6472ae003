//! What can be seen of a running engine: pages of flows, gauges, counts of ports, times.

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve_core::{FlowId, Histogram, Phase};
use portreeve_testkit::{
    App, Destination, Listener, Pair, PairSpec, Random, Script, ServerSpec, Service, client_spec,
};

const SOON: Duration = Duration::from_millis(50);

fn flow_ids(pair: &Pair) -> Vec<FlowId> {
    pair.engine.flows().map(|flow| flow.id).collect()
}

#[test]
fn pages_of_a_table_at_rest_are_the_table() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::open(1)));
    let port = pair.publish_tcp(80);
    assert_eq!(pair.engine.flows_after(None, 10), (vec![], None), "an empty table");
    for _ in 0..25 {
        pair.connect(port, App::open(1));
    }
    pair.run_for(SOON);
    let all: Vec<_> = pair.engine.flows().collect();
    assert_eq!(all.len(), 25);
    for limit in [0, 1, 7, 24, 25, 26, usize::MAX] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = pair.engine.flows_after(after, limit);
            assert!(page.len() <= limit.max(1));
            pages.extend(page);
            let Some(next) = next else { break };
            assert!(after.is_none_or(|after| after < next), "a page moves on");
            after = Some(next);
        }
        assert_eq!(pages, all, "in pages of {limit}");
    }
    assert_eq!(pair.engine.flows_after(Some(u32::MAX), 10), (vec![], None));
}

#[test]
fn pages_under_churn_show_what_stays_once_and_nothing_twice() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::open(1)));
    pair.guest.listen(81, Listener::new(App::ECHO));
    let (lasting, fleeting) = (pair.publish_tcp(80), pair.publish_tcp(81));
    // Flows that stay lie between flows that go.
    for _ in 0..20 {
        pair.connect(lasting, App::open(1));
        pair.connect(fleeting, App::source(2_000));
    }
    pair.run_until(SOON * 20, |pair| {
        pair.engine.published(fleeting).is_some_and(|entry| entry.flows == 0)
    });
    let staying = flow_ids(&pair);
    assert_eq!(staying.len(), 20);
    let (mut seen, mut after) = (BTreeMap::<FlowId, u32>::new(), None);
    loop {
        let (page, next) = pair.engine.flows_after(after, 3);
        for flow in page {
            *seen.entry(flow.id).or_default() += 1;
        }
        let Some(next) = next else { break };
        after = Some(next);
        for _ in 0..4 {
            pair.connect(fleeting, App::source(2_000));
        }
        pair.run_for(Duration::from_millis(1));
    }
    assert!(staying.iter().all(|id| seen.get(id) == Some(&1)), "each that stays, once");
    assert!(seen.values().all(|&times| times == 1), "none twice");
}

/// How many flows are in a phase.
fn in_phase(pair: &Pair, phase: Phase) -> u32 {
    pair.engine.tcp_by_phase()[phase as usize]
}

#[test]
fn flows_are_counted_by_phase() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.scripted.insert(81);
    pair.guest.listen(80, Listener::new(App::open(1)));
    let (answered, silent) = (pair.publish_tcp(80), pair.publish_tcp(81));
    for _ in 0..3 {
        pair.connect(answered, App::open(1));
    }
    pair.connect(silent, App::open(1));
    for _ in 0..2 {
        pair.guest_connect(([198, 51, 100, 1], 80).into(), App::open(1));
    }
    pair.run_for(SOON);
    assert_eq!(in_phase(&pair, Phase::Relaying), 3);
    assert_eq!(in_phase(&pair, Phase::DialingGuest), 1);
    assert_eq!(in_phase(&pair, Phase::DialingHost), 2);
    assert_eq!(pair.engine.dial_count(), 2);
    pair.lose_guest();
    assert_eq!(pair.engine.tcp_by_phase(), [0; Phase::ALL.len()]);
}

#[test]
fn gauges_are_what_a_walk_finds_whatever_happened() {
    for seed in 0..4 {
        let mut spec = PairSpec { seed, ..PairSpec::default() };
        spec.config.limits.max_flows_per_port = 40;
        spec.config.limits.max_mappings = 30;
        spec.config.limits.max_dials = 20;
        let mut pair = Pair::new(spec);
        pair.guest.listen(80, Listener::new(App::ECHO));
        pair.guest.listen(81, Listener::new(App::open(3)));
        pair.guest.udp.serve(53, Service::Echo);
        let tcp = [pair.publish_tcp(80), pair.publish_tcp(81), pair.publish_tcp(82)];
        let udp = pair.publish_udp(53);
        pair.serve(([198, 51, 100, 0], 443).into(), App::ECHO);
        let mut random = Random::new(seed ^ 9);
        for _ in 0..1_500 {
            let number = random.below(250) as u8;
            match random.below(8) {
                0 => {
                    pair.connect(tcp[random.below(3) as usize], App::source(4_000));
                }
                1 => {
                    pair.connect(tcp[1], App::open(1));
                }
                2 => {
                    let remote = ([198, 51, 100, number % 3], 443).into();
                    pair.guest_connect(remote, App::source(100));
                }
                3 => pair.guest_send_udp(4_000 + u16::from(number), OUTSIDE.into(), b"hello"),
                4 => pair.guest_ping(u16::from(number), 1, [198, 51, 100, 7].into(), b"hello"),
                5 => {
                    let client = ([192, 0, 2, 1], 1_000 + u16::from(number)).into();
                    pair.send_datagram(udp, client, ([192, 0, 2, 9], 53).into(), b"hello");
                }
                6 => {
                    let flows = flow_ids(&pair);
                    if !flows.is_empty() {
                        let flow = flows[random.below(flows.len() as u64) as usize];
                        let killed = pair.command(portreeve_core::Command::Kill(flow));
                        assert!(killed.is_ok(), "{killed:?}");
                    }
                }
                _ => pair.run_for(Duration::from_micros(random.below(3_000))),
            }
            pair.check_gauges();
        }
        pair.run_for(SOON);
        pair.check_gauges();
        pair.lose_guest();
        pair.check_gauges();
        assert_eq!(pair.engine.flow_count(), 0);
    }
}

const OUTSIDE: ([u8; 4], u16) = ([198, 51, 100, 7], 9);

#[test]
fn each_port_counts_its_clients_and_their_bytes() {
    let mut spec = PairSpec::default();
    spec.config.limits.max_flows_per_port = 3;
    let mut pair = Pair::new(spec);
    pair.guest.listen(80, Listener::new(App::ECHO));
    pair.guest.udp.serve(53, Service::Echo);
    let (good, closed, udp) = (pair.publish_tcp(80), pair.publish_tcp(81), pair.publish_udp(53));
    for _ in 0..5 {
        pair.connect(good, App::source(1_000));
    }
    pair.connect(closed, App::source(1_000));
    for port in 1..=4 {
        let (client, local) = (([192, 0, 2, 1], port).into(), ([192, 0, 2, 9], 53).into());
        pair.send_datagram(udp, client, local, b"hello");
    }
    pair.run_for(SOON);
    let port = |pair: &Pair, id| pair.engine.published(id).cloned().expect("a port");
    let counts = |pair: &Pair, id| {
        let entry = port(pair, id);
        (entry.flows, entry.opened, entry.refused)
    };
    assert_eq!(counts(&pair, good), (0, 3, 2), "two were beyond the limit");
    assert_eq!(counts(&pair, closed), (0, 0, 1), "the guest refused");
    assert_eq!(counts(&pair, udp), (3, 3, 1));
    let bytes = |pair: &Pair, id| {
        let entry = port(pair, id);
        (entry.bytes_to_guest, entry.bytes_from_guest)
    };
    assert_eq!(bytes(&pair, good), (3_000, 3_000));
    assert_eq!(bytes(&pair, udp), (0, 0), "its flows are alive");
    pair.run_for(Duration::from_secs(600));
    assert_eq!(bytes(&pair, udp), (15, 15));
    let all: Vec<_> = pair.engine.published_all().map(|(id, _)| id).collect();
    assert_eq!(all, [good, closed, udp]);
}

#[test]
fn a_port_that_is_draining_is_still_listed() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.listen(80, Listener::new(App::open(1)));
    let publish = pair.publish_tcp(80);
    pair.connect(publish, App::open(1));
    pair.run_for(SOON);
    let connections = portreeve_core::Unpublish::Drain;
    let unpublish = portreeve_core::Command::Unpublish { publish, connections };
    assert!(pair.command(unpublish).is_ok());
    let draining: Vec<_> = pair.engine.published_all().map(|(_, entry)| entry.draining).collect();
    assert_eq!(draining, [true]);
}

/// The bound of the bucket that the only observation is in.
fn only(histogram: &Histogram) -> Duration {
    assert_eq!(histogram.count(), 1);
    let found = histogram.cumulative().find(|&(_, count)| count == 1);
    found.expect("within the bounds").0
}

#[test]
fn dials_are_timed_until_the_destination_answers() {
    let mut pair = Pair::new(PairSpec::default());
    let late = ServerSpec { delay: Duration::from_millis(300), ..ServerSpec::new(App::SINK) };
    pair.host.outside.place(OUTSIDE.into(), Destination::Listen(late));
    pair.guest_connect(OUTSIDE.into(), App::source(10));
    // Neither one that is never answered nor the gateway's name server counts.
    pair.guest_connect(([198, 51, 100, 8], 80).into(), App::source(10));
    let names = (pair.guest.gateway(false), 53).into();
    pair.guest_connect(names, App::source(10));
    pair.run_for(Duration::from_secs(100));
    let counters = pair.engine.counters();
    assert_eq!(only(&counters.dial), Duration::from_millis(500));
    assert!(counters.dial.sum() >= Duration::from_millis(300));
    assert!(counters.dial.sum() < Duration::from_millis(310));
}

#[test]
fn the_guest_is_timed_until_it_answers_a_syn() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.scripted = true;
        pair.guest.scripted.insert(80);
        let port = pair.publish_tcp(80);
        pair.connect_with(client_spec(port, App::open(0), v6));
        let mut script = Script::answering(&mut pair, 80, 7);
        let asked = pair.now();
        // Longer than our SYN waits until it is repeated: the first counts.
        pair.run_for(Duration::from_millis(190));
        assert_eq!(pair.engine.counters().guest_rtt.count(), 0);
        let answer = script.syn_ack();
        script.send(&mut pair, &answer);
        pair.run_for(Duration::from_millis(1));
        let rtt = pair.engine.counters().guest_rtt;
        assert_eq!(only(&rtt), Duration::from_millis(250));
        assert!(rtt.sum() <= pair.now().since(asked) + Duration::from_millis(1));
    }
}

#[test]
fn the_guest_is_timed_until_it_acknowledges_an_answer() {
    let mut pair = Pair::new(PairSpec::default());
    pair.to_guest.spec.latency = Duration::from_millis(15);
    pair.from_guest.spec.latency = Duration::from_millis(15);
    pair.serve(OUTSIDE.into(), App::SINK);
    pair.guest_connect(OUTSIDE.into(), App::source(10));
    pair.run_for(Duration::from_secs(1));
    let rtt = pair.engine.counters().guest_rtt;
    assert_eq!(only(&rtt), Duration::from_millis(50));
    assert_eq!(rtt.sum(), Duration::from_millis(30));
}
