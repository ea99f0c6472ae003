//! What can be seen of a running engine: pages of flows while flows come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve_core::FlowId;
use portreeve_testkit::{App, Listener, Pair, PairSpec};

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
