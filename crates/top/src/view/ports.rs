//! The pane of published ports.

use portreeve_types::SourceMode;
use portreeve_types::api::PortState;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Span;

use super::table::{self, Column, Rows};
use super::{Look, flows, spark, text};
use crate::model::{Model, PortRow, SortKey, Weight};
use crate::units;

/// What the title says besides the pane's name.
pub(super) fn summary(model: &Model) -> String {
    let ports = &model.ports;
    let mut text = match (ports.len(), ports.known()) {
        (shown, known) if shown == known => known.to_string(),
        (shown, known) => format!("{shown} of {known}"),
    };
    if ports.paused() > 0 {
        text += &format!(", {} paused", ports.paused());
    }
    text
}

/// The word for a list without rows.
pub(super) fn empty(model: &Model) -> &'static str {
    if model.ports.known() > 0 { "no port matches the filter" } else { "nothing is published" }
}

/// Draws the list.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look, keys: bool) {
    let ports = &model.ports;
    let rows = Rows {
        len: ports.len(),
        selected: ports.place().filter(|_| keys),
        sort: Some(ports.sort()),
    };
    table::draw(frame, area, look, &columns(area.width), &rows, |first| ports.list(first));
}

/// The columns that fit.
fn columns(width: u16) -> Vec<Column<PortRow>> {
    let (narrow, roomy) = (width < 64, width >= 100);
    let mut columns = vec![
        Column::text("GUEST", Constraint::Length(9), |row: &PortRow, width, look| {
            let port = &row.status.port;
            Span::raw(text::cut(&format!("{}/{}", port.guest_port, port.transport), width, look))
        })
        .key(SortKey::Name),
        Column::text("ON THE HOST", Constraint::Fill(2), |row: &PortRow, width, look| {
            Span::raw(text::fit(&row.status.port.host.to_string(), width, look))
        }),
        Column::text("STATE", Constraint::Length(9), state),
        number("FLOWS", 5, |row| units::short_count(row.status.counters.flows)),
    ];
    if roomy {
        columns.push(Column::number("NEW/s", 6, |row: &PortRow, width, look| {
            rate(row.opened.per_second(), width, look, Weight::Normal)
        }));
    }
    if !narrow {
        columns.push(number("REFUSED", 7, |row| units::short_count(row.refused.value())));
    }
    let speed =
        |row: &PortRow, width, look: Look| flows::bytes(row.rate, width, look, look.plain());
    columns.push(Column::number("RATE/s", 7, speed).key(SortKey::Rate));
    if !narrow {
        columns.push(number("TOTAL", 7, |row| units::bytes(row.bytes)).key(SortKey::Total));
    }
    if width >= 120 {
        columns.extend(wide_columns());
    }
    if roomy {
        let spark = Constraint::Length(if width >= 140 { 24 } else { 10 });
        columns.push(Column::text("ACTIVITY", spark, |row: &PortRow, width, look| {
            Span::raw(spark::line(row.history.newest(width), width, look))
        }));
    }
    columns
}

/// Columns for which there is room on wide screens only.
fn wide_columns() -> [Column<PortRow>; 2] {
    [
        Column::text("SOURCE", Constraint::Length(8), |row: &PortRow, width, look| {
            Span::raw(text::cut(source(row.status.port.source), width, look))
        }),
        Column::text("NAME", Constraint::Fill(1), |row: &PortRow, width, look| {
            Span::raw(text::fit(row.status.port.name.as_deref().unwrap_or("-"), width, look))
        }),
    ]
}

fn number(title: &'static str, width: u16, show: fn(&PortRow) -> String) -> Column<PortRow> {
    Column::number(title, width, move |row, width, look| {
        Span::raw(text::cut(&show(row), width, look))
    })
}

fn state(row: &PortRow, _: usize, look: Look) -> Span<'static> {
    match row.status.state {
        PortState::Listening => Span::styled("listening", look.good()),
        PortState::Paused => Span::styled("paused", look.weight(Weight::Trouble)),
        PortState::Draining => Span::styled("draining", look.weight(Weight::Notable)),
    }
}

/// Whom the guest sees as the client.
pub(super) const fn source(source: SourceMode) -> &'static str {
    match source {
        SourceMode::Gateway => "gateway",
        SourceMode::Preserve => "client",
        SourceMode::ProxyV1 => "proxy v1",
        SourceMode::ProxyV2 => "proxy v2",
    }
}

/// Occurrences a second; none steps back.
pub(super) fn rate(per_second: f64, width: usize, look: Look, weight: Weight) -> Span<'static> {
    if per_second > 0.0 {
        Span::styled(text::cut(&units::rate(per_second), width, look), look.weight(weight))
    } else {
        Span::styled("-", look.quiet())
    }
}
