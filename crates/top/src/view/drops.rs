//! The pane of drops by reason.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Span;

use super::table::{self, Column, Rows};
use super::{Look, ports, spark, text};
use crate::model::{DropRow, Model, SortKey, Weight};
use crate::units;

/// What the title says besides the pane's name.
pub(super) fn summary(model: &Model) -> String {
    let all = model.drops.all();
    match (all.value(), all.per_second()) {
        (0, _) => "none".to_owned(),
        (count, rate) if rate > 0.0 => {
            format!("{} in all, {}/s", units::count(count), units::rate(rate))
        }
        (count, _) => format!("{} in all", units::count(count)),
    }
}

/// The word for a list without rows.
pub(super) fn empty(model: &Model) -> &'static str {
    if model.drops.known() > 0 {
        "no reason matches the filter"
    } else {
        "nothing has been dropped"
    }
}

/// Draws the list.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look, keys: bool) {
    let drops = &model.drops;
    let rows = Rows {
        len: drops.len(),
        selected: drops.place().filter(|_| keys),
        sort: Some(drops.sort()),
    };
    table::draw(frame, area, look, &columns(area.width), &rows, |first| drops.list(first));
}

fn columns(width: u16) -> Vec<Column<DropRow>> {
    let mut columns = vec![
        Column::text("REASON", Constraint::Length(22), |row: &DropRow, width, look| {
            Span::raw(text::fit(&row.reason, width, look))
        })
        .key(SortKey::Name),
        Column::number("RATE/s", 7, |row: &DropRow, width, look| {
            ports::rate(row.count.per_second(), width, look, Weight::Notable)
        })
        .key(SortKey::Rate),
        Column::number("TOTAL", 12, |row: &DropRow, width, look| {
            Span::raw(text::cut(&units::count(row.count.value()), width, look))
        })
        .key(SortKey::Total),
    ];
    if width >= 56 {
        columns.push(
            Column::number("LAST", 6, |row: &DropRow, width, look| match row.since {
                Some(since) => Span::raw(text::cut(&units::age(since), width, look)),
                None => Span::styled("-", look.quiet()),
            })
            .key(SortKey::Age),
        );
        columns.push(Column::text(
            "ACTIVITY",
            Constraint::Max(64),
            |row: &DropRow, width, look| {
                Span::raw(spark::line(row.count.history().newest(width), width, look))
            },
        ));
    }
    columns
}
