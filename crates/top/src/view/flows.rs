//! The pane of flows.

use portreeve_types::api::FlowOrigin;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Span;

use super::table::{self, Column, Rows};
use super::{Look, spark, text};
use crate::model::{FlowRow, Model, SortKey};
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

/// In words of at most ten letters; an engine may know phases that are not known here.
pub(super) fn phase(phase: &str) -> &str {
    match phase {
        "dialing_guest" | "dialing_host" => "dialing",
        "relaying" => "open",
        "host_finished" => "host done",
        "guest_finished" => "guest done",
        "both_finished" => "both done",
        "guest_gone" => "guest gone",
        "host_gone" => "host gone",
        other => other,
    }
}

/// The columns that fit.
fn columns(width: u16) -> Vec<Column<FlowRow>> {
    let roomy = width >= 100;
    let mut columns = vec![
        Column::text("PROTO", Constraint::Length(5), |row: &FlowRow, width, look| {
            Span::raw(text::cut(&row.info.protocol, width, look))
        }),
        Column::text("DIR", Constraint::Length(3), |row, _, _| {
            Span::raw(match row.info.origin {
                FlowOrigin::Host => "in",
                FlowOrigin::Guest => "out",
            })
        }),
        Column::text("PEER", Constraint::Fill(3), |row, width, look| {
            Span::raw(text::fit(&row.peer, width, look))
        })
        .key(SortKey::Name),
    ];
    if roomy {
        columns.push(Column::text("GUEST", Constraint::Fill(2), |row, width, look| {
            Span::raw(text::fit(&row.info.guest.to_string(), width, look))
        }));
        columns.push(Column::text("STATE", Constraint::Length(10), |row, width, look| {
            state(row, width, look)
        }));
    } else {
        columns.push(Column::text("GUEST", Constraint::Length(6), |row, width, look| {
            Span::raw(text::cut(&format!(":{}", row.info.guest.port()), width, look))
        }));
    }
    columns.extend([
        Column::number("TO GUEST", 9, |row, width, look| {
            bytes(row.rate_to_guest(), width, look, look.to_guest())
        })
        .key(SortKey::Rate),
        Column::number("FROM", 9, |row, width, look| {
            bytes(row.rate_from_guest(), width, look, look.from_guest())
        }),
        Column::number("TOTAL", 7, |row, width, look| {
            Span::raw(text::cut(&units::bytes(row.bytes()), width, look))
        })
        .key(SortKey::Total),
        Column::number("AGE", 6, |row, width, look| {
            Span::raw(text::cut(&units::age(row.age), width, look))
        })
        .key(SortKey::Age),
    ]);
    let spark = match width {
        ..56 => return columns,
        ..100 => 10,
        ..140 => 12,
        _ => 24,
    };
    columns.push(Column::text("ACTIVITY", Constraint::Length(spark), |row, width, look| {
        activity(row, width, look)
    }));
    columns
}

/// A rate; nothing steps back, so that what moves is seen.
pub(super) fn bytes(
    rate: f64,
    width: usize,
    look: Look,
    style: ratatui::style::Style,
) -> Span<'static> {
    if rate > 0.0 {
        Span::styled(text::cut(&units::byte_rate(rate), width, look), style)
    } else {
        Span::styled("-", look.quiet())
    }
}

fn state(row: &FlowRow, width: usize, look: Look) -> Span<'static> {
    let word = row.info.phase.as_deref().map_or("-", phase);
    let style = match word {
        "open" => look.good(),
        "-" => look.quiet(),
        _ => look.weight(crate::model::Weight::Notable),
    };
    Span::styled(text::cut(word, width, look), style)
}

/// The sparkline; where there is no column for the state, the state of a flow that does not move
/// and is not simply open.
fn activity(row: &FlowRow, width: usize, look: Look) -> Span<'static> {
    let quiet = row.rate() <= 0.0;
    if width == 10 && quiet && row.info.phase.as_deref().is_some_and(|phase| phase != "relaying") {
        return state(row, width, look);
    }
    Span::raw(spark::line(row.history().newest(width), width, look))
}
