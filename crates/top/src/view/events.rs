//! The pane of events.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Span;

use super::table::{self, Column, Rows};
use super::{Look, text};
use crate::model::{Model, Record};

/// What the title says besides the pane's name.
pub(super) fn summary(model: &Model) -> String {
    let events = &model.events;
    let mut text = match (events.len(), events.known()) {
        (shown, known) if shown == known => format!("the last {known}"),
        (shown, known) => format!("{shown} of the last {known}"),
    };
    if events.hides_flows() {
        text += ", without flows";
    }
    text
}

/// The word for a list without rows.
pub(super) fn empty(model: &Model) -> &'static str {
    if model.events.known() > 0 { "no event matches the filter" } else { "nothing has happened" }
}

/// Draws the list.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look, keys: bool) {
    let events = &model.events;
    let rows = Rows { len: events.len(), selected: events.place().filter(|_| keys), sort: None };
    table::draw(frame, area, look, &columns(), &rows, |first| events.list(first));
}

/// The columns, of the pane of the name server too.
pub(super) fn columns() -> [Column<Record>; 2] {
    [
        Column::text("UTC", Constraint::Length(8), |row: &Record, width, look| {
            Span::styled(text::cut(&row.clock(), width, look), look.quiet())
        }),
        Column::text("WHAT", Constraint::Fill(1), |row: &Record, width, look| {
            Span::styled(text::cut(&row.text, width, look), look.weight(row.weight))
        }),
    ]
}
