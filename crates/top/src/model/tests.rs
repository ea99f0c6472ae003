//! The model from outside: rounds and actions in, what is shown out.

use std::time::{Duration, Instant, SystemTime};

use portreeve_client::Connections;
use portreeve_types::PublishId;
use portreeve_types::api::{EventBody, FlowInfo, Timestamp};
use proptest::prelude::*;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::canned;
use crate::input;

/// A model and the time by which it is fed.
struct Bench {
    model: Model,
    start: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { model: Model::new(Duration::from_secs(1)), start: Instant::now() }
    }

    /// A round after so many seconds, with these flows.
    fn round(&mut self, seconds: u64, flows: Vec<FlowInfo>) {
        let snapshot = self.snapshot(seconds, flows);
        self.model.update(snapshot);
    }

    fn snapshot(&self, seconds: u64, flows: Vec<FlowInfo>) -> Snapshot {
        Snapshot {
            at: self.start + Duration::from_secs(seconds),
            wall: wall(seconds),
            health: canned::health(),
            stats: canned::stats(seconds),
            ports: canned::ports(seconds),
            flows_total: flows.len() as u64,
            flows,
            dns: Some(canned::dns(seconds)),
            events: Vec::new(),
        }
    }

    fn press(&mut self, keys: &str) -> Option<Order> {
        let mut order = None;
        for letter in keys.chars() {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            let key = KeyEvent::new(code, KeyModifiers::NONE);
            let action = input::action(&self.model.mode, key).expect("a key that means something");
            order = self.model.act(self.start, action);
        }
        order
    }

    fn ids(&self) -> Vec<&str> {
        self.model.flows.list(0).map(|row| row.info.id.as_str()).collect()
    }

    fn selected(&self) -> Option<&str> {
        self.model.flows.selected().map(|row| row.info.id.as_str())
    }
}

fn wall(seconds: u64) -> SystemTime {
    canned::started() + Duration::from_secs(seconds)
}

/// A flow of this name that has moved so much.
fn moved(id: &str, bytes: u64) -> FlowInfo {
    FlowInfo { bytes_to_guest: bytes, ..canned::outbound(id, "192.0.2.1:80", None) }
}

#[test]
fn rates_are_what_has_moved_between_two_rounds() {
    let mut bench = Bench::new();
    bench.round(10, canned::flows(10));
    assert!(bench.model.flows.list(0).all(|row| row.rate() == 0.0), "one round is no rate");
    bench.round(12, canned::flows(12));
    let row = bench.model.flows.get("2.1").unwrap();
    assert_eq!(row.rate_to_guest(), 12_345_000.0);
    assert_eq!(row.rate_from_guest(), 96_000.0);
    assert_eq!(bench.model.totals.to_guest.per_second(), 12_400_000.0);
    assert_eq!(bench.model.totals.opened.per_second(), 14.0);
    assert_eq!(bench.model.dns.hit_rate(), Some(0.8));
    assert!((bench.model.totals.busy() - 0.21).abs() < 1e-6);
}

#[test]
fn a_flow_that_is_younger_than_the_last_round_began_at_zero() {
    let mut bench = Bench::new();
    bench.round(10, vec![]);
    let mut young = moved("1.1", 5_000);
    young.opened = Timestamp(wall(11));
    let old = moved("2.1", 5_000);
    bench.round(12, vec![young, old]);
    assert_eq!(bench.model.flows.get("1.1").unwrap().rate(), 2_500.0);
    assert_eq!(bench.model.flows.get("2.1").unwrap().rate(), 0.0, "it was not listed before");
}

#[test]
fn a_port_moves_what_its_flows_do_whether_they_live_or_have_ended() {
    let mut bench = Bench::new();
    let flow = |id: &str, bytes| FlowInfo {
        bytes_from_guest: bytes,
        bytes_to_guest: 0,
        ..canned::inbound(id, "127.0.0.1:50000")
    };
    let mut round = |seconds, counted, flows: Vec<FlowInfo>| {
        let mut snapshot = bench.snapshot(seconds, flows);
        snapshot.ports.truncate(1);
        snapshot.ports[0].counters.bytes_from_guest = counted;
        bench.model.update(snapshot);
        let row = bench.model.ports.list(0).next().unwrap();
        (row.rate, row.bytes)
    };
    assert_eq!(round(1, 0, vec![flow("1.1", 1_000)]), (0.0, 1_000));
    assert_eq!(round(2, 0, vec![flow("1.1", 4_000)]), (3_000.0, 4_000));
    // It moves 500 more and ends: the engine counts all of it now, 500 are new.
    assert_eq!(round(3, 4_500, vec![]), (500.0, 4_500));
    // A flow that lives between two rounds shows in the port's counters only.
    assert_eq!(round(4, 6_500, vec![]), (2_000.0, 6_500));
    // A flow that ends between the two readings of one round is counted the next time.
    assert_eq!(round(5, 6_500, vec![flow("2.1", 9_000)]).1, 15_500);
    assert_eq!(round(6, 6_500, vec![]).0, 0.0);
    assert_eq!(round(7, 15_600, vec![]), (100.0, 15_600));
    assert_eq!(round(8, 15_700, vec![]), (100.0, 15_700), "a debt is owed once");
}

#[test]
fn the_order_of_equal_rows_does_not_change_from_round_to_round() {
    let mut bench = Bench::new();
    let flows: Vec<_> = (1..=40).rev().map(|slot| moved(&format!("{slot}.1"), 7)).collect();
    bench.round(1, flows.clone());
    let expected: Vec<_> = (1..=40).map(|slot| format!("{slot}.1")).collect();
    assert_eq!(bench.ids(), expected, "by number, not by hash and not as text");
    bench.round(2, flows);
    assert_eq!(bench.ids(), expected);
    bench.press("n");
    assert_eq!(bench.ids(), expected);
}

#[test]
fn rows_are_sorted_by_what_was_chosen() {
    let mut bench = Bench::new();
    let flows = |a, b, c| {
        let mut flows = vec![moved("1.1", a), moved("2.1", b), moved("3.1", c)];
        flows[1].name = Some("a.example".to_owned());
        flows[2].opened = Timestamp(wall(1));
        flows
    };
    bench.round(2, flows(100, 2_000, 30));
    bench.round(3, flows(150, 2_000, 31));
    assert_eq!(bench.ids(), ["1.1", "3.1", "2.1"], "the fastest first");
    bench.press("t");
    assert_eq!(bench.ids(), ["2.1", "1.1", "3.1"], "what has moved the most first");
    bench.press("t");
    assert_eq!(bench.ids(), ["3.1", "1.1", "2.1"]);
    bench.press("a");
    assert_eq!(bench.ids(), ["3.1", "1.1", "2.1"], "the youngest first");
    bench.press("n");
    assert_eq!(bench.ids(), ["1.1", "3.1", "2.1"], "192.0.2.1 before a.example");
}

#[test]
fn a_filter_shows_rows_with_all_its_words() {
    let mut bench = Bench::new();
    bench.round(10, canned::flows(10));
    bench.press("/TCP mirror");
    assert_eq!(bench.ids(), ["2.1"], "it filters while it is written");
    bench.press("\n");
    assert_eq!(bench.ids(), ["2.1"]);
    bench.round(11, canned::flows(11));
    assert_eq!(bench.ids(), ["2.1"]);
    bench.press("/ nothing");
    assert_eq!(bench.ids().len(), 0);
    bench.press("\x1b");
    assert_eq!(bench.ids(), ["2.1"], "Esc brings the filter from before back");
    bench.press("\x1b");
    assert_eq!(bench.ids().len(), 5, "and then lets it go");
    bench.press("/udp\n");
    assert_eq!(bench.ids(), ["5.2"]);
}

#[test]
fn the_selection_stays_with_its_flow() {
    let mut bench = Bench::new();
    bench.round(1, vec![moved("1.1", 10), moved("2.1", 20), moved("3.1", 30)]);
    bench.press("jj");
    assert_eq!(bench.selected(), Some("2.1"));
    bench.round(2, vec![moved("1.1", 10), moved("2.1", 9_000), moved("3.1", 31)]);
    assert_eq!((bench.selected(), bench.model.place()), (Some("2.1"), Some(0)));
    bench.round(3, vec![moved("1.1", 10), moved("3.1", 31)]);
    assert_eq!(bench.selected(), Some("3.1"), "the row that took its place");
    bench.press("/no such flow\n");
    assert_eq!(bench.selected(), None);
}

#[test]
fn what_is_confirmed_is_what_was_asked_about() {
    let mut bench = Bench::new();
    bench.round(1, vec![moved("1.1", 10), moved("2.1", 20)]);
    assert_eq!(bench.press("x"), None);
    assert_eq!(bench.model.mode, Mode::Browse, "nothing is selected");
    assert!(bench.model.message.is_some());
    bench.press("jx");
    // The flow ends while the question stands; the selection moves on, the question does not.
    bench.round(2, vec![moved("1.1", 10)]);
    assert_eq!(bench.selected(), Some("1.1"));
    let Some(Order::Kill { id, what }) = bench.press("y") else { panic!("nothing to kill") };
    assert_eq!((id.as_str(), what.as_str()), ("2.1", "tcp 10.0.2.15:40112 > 192.0.2.1:80"));
    assert_eq!(bench.model.mode, Mode::Browse);
    assert_eq!(bench.press("x\x1b"), None);
    assert_eq!(bench.model.mode, Mode::Browse);

    bench.press("2jx");
    let unpublish = |connections| {
        let what = "80/tcp -> 127.0.0.1:8080".to_owned();
        Some(Order::Unpublish { id: PublishId(1), what, connections })
    };
    assert_eq!(bench.press("r"), unpublish(Connections::Reset));
    bench.press("x");
    assert_eq!(bench.press("d"), unpublish(Connections::Drain));
}

#[test]
fn a_new_engine_begins_at_zero() {
    let mut bench = Bench::new();
    bench.round(100, vec![moved("1.1", 1_000_000)]);
    bench.round(101, vec![moved("1.1", 2_000_000)]);
    bench.press("t");
    bench.model.lose(bench.start, "connection refused".to_owned());
    assert!(bench.model.gone.is_some());
    let mut snapshot = bench.snapshot(103, vec![moved("1.1", 3_000_000)]);
    snapshot.health.started = Timestamp(wall(102));
    snapshot.stats = canned::stats(1);
    snapshot.ports = canned::ports(1);
    bench.model.update(snapshot);
    assert!(bench.model.gone.is_none());
    assert_eq!(bench.model.totals.to_guest.per_second(), 0.0);
    assert_eq!(bench.model.flows.get("1.1").unwrap().rate(), 0.0, "another flow of that name");
    assert_eq!(bench.model.flows.sort().key, SortKey::Total, "the order stays");
    assert!(bench.model.ports.list(0).all(|row| row.rate == 0.0));
}

#[test]
fn a_picture_that_stands_still_loses_no_event() {
    let mut bench = Bench::new();
    bench.round(1, vec![moved("1.1", 10)]);
    assert_eq!(bench.press(" "), Some(Order::Pause(true)));
    for seconds in 2..=3 {
        let mut snapshot = bench.snapshot(seconds, vec![]);
        snapshot.events = vec![canned::event(seconds, seconds, EventBody::LinkUp)];
        bench.model.update(snapshot);
    }
    assert_eq!(bench.ids(), ["1.1"]);
    assert_eq!(bench.model.events.known(), 0);
    assert_eq!(bench.press(" "), Some(Order::Pause(false)));
    assert_eq!(bench.ids().len(), 0);
    assert_eq!(bench.model.events.known(), 2);
}

#[test]
fn events_are_shown_newest_first_and_those_of_flows_can_be_hidden() {
    let mut bench = Bench::new();
    let mut snapshot = bench.snapshot(1, vec![]);
    snapshot.events = canned::events();
    let all = snapshot.events.len();
    bench.model.update(snapshot);
    assert_eq!(bench.model.events.len(), all);
    assert!(bench.model.events.list(0).next().unwrap().text.contains("guest gone"));
    bench.press("5f");
    assert_eq!(bench.model.events.len(), all - 2);
    bench.press("/dns\n");
    assert_eq!(bench.model.events.len(), 4, "kinds can be filtered by");
}

#[test]
fn flows_do_not_push_other_events_out() {
    let mut bench = Bench::new();
    let mut snapshot = bench.snapshot(1, vec![]);
    snapshot.events = vec![canned::event(1, 1, EventBody::LinkUp)];
    let flow = || EventBody::FlowOpened { flow: moved("1.1", 0) };
    snapshot.events.extend((2..3_000).map(|seq| canned::event(seq, seq, flow())));
    bench.model.update(snapshot);
    let events = &bench.model.events;
    assert_eq!(events.known(), 501);
    assert_eq!(events.list(0).next().unwrap().event.seq, 2_999);
    assert_eq!(events.list(500).next().unwrap().event.seq, 1);
}

#[test]
fn the_period_changes_in_steps_and_has_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.press("+"), Some(Order::Period(Duration::from_secs(2))));
    for _ in 0..20 {
        bench.press("+");
    }
    assert_eq!(bench.model.period, Duration::from_secs(60));
    for _ in 0..20 {
        bench.press("-");
    }
    assert_eq!(bench.model.period, Duration::from_millis(250));
}

#[test]
fn what_was_said_disappears() {
    let mut bench = Bench::new();
    bench.model.report(bench.start, Err("no such flow".to_owned()));
    assert!(!bench.model.pass(bench.start + Duration::from_secs(1)));
    assert!(bench.model.message.is_some());
    assert!(bench.model.pass(bench.start + Duration::from_secs(10)));
    assert!(bench.model.message.is_none());
}

/// Something that happens to the model.
#[derive(Clone, Debug)]
enum Happening {
    Key(KeyCode),
    Round { flows: Vec<(u8, u32)>, restart: bool },
    Gone,
    Pass,
}

fn happening() -> impl Strategy<Value = Happening> {
    let key = prop_oneof![
        8 => proptest::sample::select("qjkgGrtanshfxpy123456/?+-= dr".chars().collect::<Vec<_>>())
            .prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        4 => proptest::sample::select(vec![
            KeyCode::Up, KeyCode::Down, KeyCode::Left, KeyCode::Right, KeyCode::Home, KeyCode::End,
            KeyCode::PageUp, KeyCode::PageDown, KeyCode::Tab, KeyCode::BackTab, KeyCode::Enter,
            KeyCode::Esc, KeyCode::Backspace, KeyCode::Delete, KeyCode::F(1), KeyCode::F(5),
        ]),
    ];
    let flows = proptest::collection::vec((0u8..12, any::<u32>()), 0..12);
    prop_oneof![
        6 => key.prop_map(Happening::Key),
        2 => (flows, proptest::bool::weighted(0.1))
            .prop_map(|(flows, restart)| Happening::Round { flows, restart }),
        1 => Just(Happening::Gone),
        1 => Just(Happening::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn no_keys_and_no_rounds_break_it(
        happenings in proptest::collection::vec(happening(), 0..80),
        width in 0u16..130,
        height in 0u16..50,
    ) {
        let mut bench = Bench::new();
        let mut restarted = canned::started();
        for (seconds, happening) in (1u64..).zip(happenings) {
            let now = bench.start + Duration::from_secs(seconds);
            match happening {
                Happening::Key(code) => {
                    let key = KeyEvent::new(code, KeyModifiers::NONE);
                    if let Some(action) = input::action(&bench.model.mode, key) {
                        bench.model.act(now, action);
                    }
                }
                Happening::Round { flows, restart } => {
                    let flows = flows
                        .into_iter()
                        .map(|(slot, bytes)| moved(&format!("{slot}.1"), bytes.into()))
                        .collect();
                    let mut snapshot = bench.snapshot(seconds, flows);
                    if restart {
                        restarted = wall(seconds);
                    }
                    snapshot.health.started = Timestamp(restarted);
                    snapshot.events = vec![canned::event(seconds, seconds, EventBody::LinkUp)];
                    bench.model.update(snapshot);
                }
                Happening::Gone => bench.model.lose(now, "connection refused".to_owned()),
                Happening::Pass => {
                    bench.model.pass(now);
                }
            }
            let model = &bench.model;
            let lists = [
                (model.flows.place(), model.flows.len()),
                (model.ports.place(), model.ports.len()),
                (model.drops.place(), model.drops.len()),
                (model.events.place(), model.events.len()),
            ];
            for (place, len) in lists {
                prop_assert!(place.is_none_or(|place| place < len), "{place:?} of {len}");
            }
            prop_assert_eq!(model.flows.place().is_some(), model.flows.selected().is_some());
        }
        crate::view::tests::screen(&bench.model, width, height);
    }
}
