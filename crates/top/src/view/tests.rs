//! The picture at several sizes, as text.

use std::time::{Duration, Instant};

use portreeve_types::api::{FlowInfo, Timestamp};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::*;
use crate::canned;
use crate::input;
use crate::model::Snapshot;

const PLAIN: Look = Look::new(false, true);
const ASCII: Look = Look::new(false, false);

/// What the model looks like on a screen of this size.
pub(crate) fn screen(model: &Model, width: u16, height: u16) -> Buffer {
    buffer(model, width, height, PLAIN)
}

fn buffer(model: &Model, width: u16, height: u16, look: Look) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, look)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(model: &Model, width: u16, height: u16, look: Look) -> String {
    let buffer = buffer(model, width, height, look);
    let lines: Vec<String> = buffer
        .content()
        .chunks(width.into())
        .map(|cells| {
            let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

/// A model after some rounds with these flows.
fn after(rounds: u64, flows: impl Fn(u64) -> Vec<FlowInfo>) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    let start = Instant::now();
    for seconds in 90..90 + rounds {
        let flows = flows(seconds);
        model.update(Snapshot {
            at: start + Duration::from_secs(seconds),
            wall: canned::started() + Duration::from_secs(seconds),
            health: canned::health(),
            stats: canned::stats(seconds),
            ports: canned::ports(seconds),
            flows_total: flows.len() as u64,
            flows,
            dns: Some(canned::dns(seconds)),
            events: if seconds == 90 { canned::events() } else { Vec::new() },
        });
    }
    model
}

fn press(model: &mut Model, keys: &str) {
    for letter in keys.chars() {
        let code = if letter == '\n' { KeyCode::Enter } else { KeyCode::Char(letter) };
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        let action = input::action(&model.mode, key).expect("a key that means something");
        model.act(Instant::now(), action);
    }
}

/// Thousands of flows, most of them idle.
fn crowd(seconds: u64) -> Vec<FlowInfo> {
    (1..=5_000)
        .map(|slot| {
            let mut flow = canned::inbound(&format!("{slot}.1"), &format!("192.0.2.7:{slot}"));
            if slot % 100 == 0 {
                flow.bytes_from_guest = slot * 1_000 * seconds;
            }
            flow
        })
        .collect()
}

#[test]
fn before_the_first_answer() {
    let model = Model::new(Duration::from_secs(1));
    insta::assert_snapshot!(text(&model, 80, 24, PLAIN));
}

#[test]
fn flows_at_80_by_24() {
    insta::assert_snapshot!(text(&after(4, canned::flows), 80, 24, PLAIN));
}

#[test]
fn flows_at_80_by_24_in_ascii() {
    let mut model = after(4, canned::flows);
    press(&mut model, "j?");
    insta::assert_snapshot!(text(&model, 80, 24, ASCII));
}

#[test]
fn flows_at_120_by_40() {
    insta::assert_snapshot!(text(&after(12, canned::flows), 120, 40, PLAIN));
}

#[test]
fn no_flows() {
    insta::assert_snapshot!(text(&after(2, |_| Vec::new()), 80, 24, PLAIN));
}

#[test]
fn a_crowd_of_flows_scrolled() {
    let mut model = after(3, crowd);
    press(&mut model, "G");
    model.act(Instant::now(), input::Action::PageUp);
    insta::assert_snapshot!(text(&model, 80, 24, PLAIN));
}

#[test]
fn a_filter_being_written() {
    let mut model = after(4, canned::flows);
    press(&mut model, "/tcp exam");
    insta::assert_snapshot!(text(&model, 80, 24, PLAIN));
}

#[test]
fn ports_drops_names_and_events() {
    let mut model = after(4, canned::flows);
    for (tab, name) in [("2", "ports"), ("3", "drops"), ("4", "dns"), ("5", "events")] {
        press(&mut model, tab);
        insta::assert_snapshot!(format!("{name}_80x24"), text(&model, 80, 24, PLAIN));
    }
    press(&mut model, "2");
    insta::assert_snapshot!("ports_180x30", text(&model, 180, 30, PLAIN));
}

#[test]
fn questions_and_details() {
    let mut model = after(4, canned::flows);
    press(&mut model, "j\n");
    insta::assert_snapshot!("details_of_a_flow", text(&model, 80, 24, PLAIN));
    press(&mut model, "x");
    insta::assert_snapshot!("kill", text(&model, 80, 24, PLAIN));
    press(&mut model, "n2jx");
    insta::assert_snapshot!("unpublish", text(&model, 80, 24, PLAIN));
    press(&mut model, "n\n");
    insta::assert_snapshot!("details_of_a_port", text(&model, 80, 24, PLAIN));
}

#[test]
fn an_engine_that_is_gone() {
    let mut model = after(4, canned::flows);
    model.lose(Instant::now(), "/run/web/control.sock: connecting: Connection refused".to_owned());
    model.paused = true;
    let text = text(&model, 80, 24, PLAIN);
    let first: Vec<_> = text.lines().take(4).collect();
    insta::assert_snapshot!(first.join("\n"));
}

#[test]
fn no_size_is_too_small() {
    let mut model = after(4, canned::flows);
    insta::assert_snapshot!("flows_20x6", text(&model, 20, 6, PLAIN));
    for keys in ["", "2", "3", "4", "5", "?"] {
        press(&mut model, keys);
        for (width, height) in [(0, 0), (1, 1), (20, 6), (3, 40), (200, 2), (300, 100)] {
            screen(&model, width, height);
        }
    }
}

#[test]
fn without_colours_nothing_is_coloured_and_the_same_is_said() {
    let mut model = after(4, canned::flows);
    press(&mut model, "j");
    let plain = buffer(&model, 120, 40, PLAIN);
    let colored = buffer(&model, 120, 40, Look::new(true, true));
    let is_colored = |buffer: &Buffer| {
        buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(!is_colored(&plain));
    assert!(is_colored(&colored));
    assert!(plain.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    for (a, b) in plain.content().iter().zip(colored.content()) {
        assert_eq!(a.symbol(), b.symbol());
    }
}

#[test]
fn ascii_is_ascii() {
    let mut model = after(4, canned::flows);
    for keys in ["", "2", "3", "4", "5", "1j\n", "x", "n?"] {
        press(&mut model, keys);
        let text = text(&model, 160, 50, ASCII);
        let beyond: String = text.chars().filter(|letter| !letter.is_ascii()).collect();
        assert_eq!(beyond, "", "after {keys:?}:\n{text}");
    }
}

#[test]
fn a_name_cannot_write_on_the_terminal() {
    let flows = |_| {
        let mut flow = canned::outbound("1.1", "192.0.2.1:80", Some("a\x1b[31m\u{202e}b"));
        flow.opened = Timestamp(canned::started());
        vec![flow]
    };
    let mut model = after(2, flows);
    press(&mut model, "j\n");
    let text = text(&model, 80, 24, PLAIN);
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
    assert!(text.contains("a?[31m?b"), "{text}");
}

#[test]
fn the_manual_knows_every_key() {
    let manual = include_str!("../../../../docs/manual/top.md");
    for (key, does) in overlay::KEYS {
        let row = format!("| `{key}` | {does} |");
        assert!(manual.contains(&row), "docs/manual/top.md lacks: {row}");
    }
}

/// An engine whose traffic comes and goes, as the manual shows it.
fn lively() -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    let start = Instant::now();
    let mut moved = 0;
    for seconds in 90..150 {
        moved += 4_000_000 + seconds * seconds * 7_919 % 13 * 900_000;
        let mut stats = canned::stats(seconds);
        stats.traffic.bytes_to_guest = moved + moved / 20;
        stats.traffic.bytes_from_guest = moved / 9 + seconds * 40_000;
        let mut flows = canned::flows(seconds);
        flows[0].bytes_from_guest = moved / 11;
        flows[1].bytes_to_guest = moved;
        model.update(Snapshot {
            at: start + Duration::from_secs(seconds),
            wall: canned::started() + Duration::from_secs(seconds),
            health: canned::health(),
            stats,
            ports: canned::ports(seconds),
            flows_total: flows.len() as u64,
            flows,
            dns: Some(canned::dns(seconds)),
            events: if seconds == 90 { canned::events() } else { Vec::new() },
        });
    }
    model
}

#[test]
fn the_manual_shows_what_is_drawn() {
    let manual = include_str!("../../../../docs/manual/top.md");
    let mut screen = text(&lively(), 100, 16, PLAIN);
    screen.push('\n');
    assert!(manual.contains(&screen), "docs/manual/top.md does not show:\n{screen}");
}
