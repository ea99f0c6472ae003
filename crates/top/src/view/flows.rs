//! The pane of flows.

use portreeve_types::api::FlowOrigin;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Span;

use super::table::{self, Column, Rows};
use super::{Look, spark, text};
use crate::model::{FlowRow, Model, SortKey, Weight};
use crate::units;

/// What the title says besides the pane's name.
pub(super) fn summary(model: &Model) -> String {
    let flows = &model.flows;
    let known = flows.known() as u64;
    let mut text = match (flows.len() as u64, known) {
        (shown, known) if shown == known => units::count(known),
        (shown, known) => format!("{} of {}", units::count(shown), units::count(known)),
    };
    if flows.total() > known {
        text += &format!(" (the engine has {})", units::count(flows.total()));
    }
    text
}

/// The word for a list without rows.
pub(super) fn empty(model: &Model) -> &'static str {
    if model.flows.known() > 0 {
        "no flow matches the filter"
    } else {
        "no flows: nobody is connected to a published port, and the guest talks to nobody"
    }
}

/// Draws the list.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look, keys: bool) {
    let flows = &model.flows;
    let rows = Rows {
        len: flows.len(),
        selected: flows.place().filter(|_| keys),
        sort: Some(flows.sort()),
    };
    table::draw(frame, area, look, &columns(area.width), &rows, |first| flows.list(first));
}

/// In words of at most nine letters; an engine may know phases that are not known here.
pub(super) fn phase(phase: &str) -> &str {
    match phase {
        "dialing_guest" | "dialing_host" => "dialing",
        "relaying" => "open",
        "host_finished" => "host fin",
        "guest_finished" => "guest fin",
        "both_finished" => "both fin",
        "guest_gone" => "no guest",
        "host_gone" => "no host",
        other => other,
    }
}

/// The columns that fit: whom the guest talks to and how fast always, the rest as there is room.
fn columns(width: u16) -> Vec<Column<FlowRow>> {
    let peer = Column::text("PEER", Constraint::Fill(4), |row: &FlowRow, width, look| {
        Span::raw(text::fit(&row.peer, width, look))
    })
    .key(SortKey::Name);
    match width {
        0..40 => vec![peer, rate("RATE/s", |row| row.rate()).key(SortKey::Rate)],
        40..64 => vec![
            protocol(),
            peer,
            rate("TO/s", FlowRow::rate_to_guest).key(SortKey::Rate),
            rate("FROM/s", FlowRow::rate_from_guest),
        ],
        64..100 => {
            let guest = |row: &FlowRow, width, look| {
                Span::raw(text::cut(&format!(":{}", row.info.guest.port()), width, look))
            };
            vec![
                protocol(),
                direction(),
                peer,
                Column::text("GUEST", Constraint::Length(6), guest),
                rate("TO/s", FlowRow::rate_to_guest).key(SortKey::Rate),
                rate("FROM/s", FlowRow::rate_from_guest),
                total(),
                age(),
                Column::text("ACTIVITY", Constraint::Length(10), state_or_activity),
            ]
        }
        100.. => {
            let guest = |row: &FlowRow, width, look| {
                Span::raw(text::fit(&row.info.guest.to_string(), width, look))
            };
            let (guest_width, spark) = match width {
                100..120 => (Constraint::Length(17), 8),
                120..140 => (Constraint::Fill(2), 12),
                _ => (Constraint::Fill(2), 24),
            };
            vec![
                protocol(),
                direction(),
                peer,
                Column::text("GUEST", guest_width, guest),
                Column::text("STATE", Constraint::Length(9), state),
                rate("TO/s", FlowRow::rate_to_guest).key(SortKey::Rate),
                rate("FROM/s", FlowRow::rate_from_guest),
                total(),
                age(),
                Column::text("ACTIVITY", Constraint::Length(spark), activity),
            ]
        }
    }
}

/// Bytes a second, in the colour of the direction if it is one.
fn rate(title: &'static str, rate: fn(&FlowRow) -> f64) -> Column<FlowRow> {
    Column::number(title, 7, move |row, width, look: Look| {
        let style = match title {
            "TO/s" => look.toward_guest(),
            "FROM/s" => look.out_of_guest(),
            _ => look.plain(),
        };
        bytes(rate(row), width, look, style)
    })
}

/// Bytes a second; nothing steps back, so that what moves is seen.
pub(super) fn bytes(per_second: f64, width: usize, look: Look, style: Style) -> Span<'static> {
    if per_second > 0.0 {
        Span::styled(text::cut(&units::byte_rate(per_second), width, look), style)
    } else {
        Span::styled("-", look.quiet())
    }
}

fn protocol() -> Column<FlowRow> {
    Column::text("TYPE", Constraint::Length(4), |row: &FlowRow, width, look| {
        Span::raw(text::cut(&row.info.protocol, width, look))
    })
}

fn direction() -> Column<FlowRow> {
    Column::text("DIR", Constraint::Length(3), |row: &FlowRow, _, _| {
        Span::raw(match row.info.origin {
            FlowOrigin::Host => "in",
            FlowOrigin::Guest => "out",
        })
    })
}

fn total() -> Column<FlowRow> {
    Column::number("TOTAL", 7, |row: &FlowRow, width, look| {
        Span::raw(text::cut(&units::bytes(row.bytes()), width, look))
    })
    .key(SortKey::Total)
}

fn age() -> Column<FlowRow> {
    Column::number("AGE", 6, |row: &FlowRow, width, look| {
        Span::raw(text::cut(&units::age(row.age), width, look))
    })
    .key(SortKey::Age)
}

fn state(row: &FlowRow, width: usize, look: Look) -> Span<'static> {
    let word = row.info.phase.as_deref().map_or("-", phase);
    let style = match word {
        "open" => look.good(),
        "-" => look.quiet(),
        _ => look.weight(Weight::Notable),
    };
    Span::styled(text::cut(word, width, look), style)
}

fn activity(row: &FlowRow, width: usize, look: Look) -> Span<'static> {
    Span::raw(spark::line(row.history().newest(width), width, look))
}

/// The sparkline, or the state of a flow that does not move and is not simply open.
fn state_or_activity(row: &FlowRow, width: usize, look: Look) -> Span<'static> {
    let open = row.info.phase.as_deref().is_none_or(|phase| phase == "relaying");
    if open || row.rate() > 0.0 { activity(row, width, look) } else { state(row, width, look) }
}
