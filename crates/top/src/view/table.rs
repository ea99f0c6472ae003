//! Lists as tables: columns that fit, the rows that can be seen, the selected one.
//!
//! Only rows on the screen are made into text: a list of thousands costs what a short one does.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{Look, text};
use crate::model::{Sort, SortKey};

/// One column of rows of type `R`.
pub(super) struct Column<R> {
    title: &'static str,
    width: Constraint,
    alignment: Alignment,
    key: Option<SortKey>,
    cell: Cell<R>,
}

/// What a row shows in a column that is so many letters wide.
type Cell<R> = Box<dyn Fn(&R, usize, Look) -> Span<'static>>;

/// Which rows there are.
pub(super) struct Rows {
    /// How many.
    pub(super) len: usize,
    /// The selected one.
    pub(super) selected: Option<usize>,
    /// Their order, where there is a choice.
    pub(super) sort: Option<Sort>,
}

impl<R> Column<R> {
    /// A column of text, from the left.
    pub(super) fn text(
        title: &'static str,
        width: Constraint,
        cell: impl Fn(&R, usize, Look) -> Span<'static> + 'static,
    ) -> Self {
        Self { title, width, alignment: Alignment::Left, key: None, cell: Box::new(cell) }
    }

    /// A column of numbers, to the right.
    pub(super) fn number(
        title: &'static str,
        width: u16,
        cell: impl Fn(&R, usize, Look) -> Span<'static> + 'static,
    ) -> Self {
        Self { alignment: Alignment::Right, ..Self::text(title, Constraint::Length(width), cell) }
    }

    /// The column shows what rows are sorted by.
    pub(super) fn key(self, key: SortKey) -> Self {
        Self { key: Some(key), ..self }
    }
}

impl Rows {
    /// The first row to show on so many lines: the selected one is in the middle, if it can be.
    fn first(&self, lines: usize) -> usize {
        let middle = self.selected.unwrap_or(0).saturating_sub(lines / 2);
        middle.min(self.len.saturating_sub(lines))
    }
}

/// Draws the titles and the rows; `list` gives the rows from a place on.
pub(super) fn draw<'r, R: 'r, I: Iterator<Item = &'r R>>(
    frame: &mut Frame<'_>,
    area: Rect,
    look: Look,
    columns: &[Column<R>],
    rows: &Rows,
    list: impl FnOnce(usize) -> I,
) {
    let [titles, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let places = Layout::horizontal(columns.iter().map(|column| column.width))
        .spacing(1)
        .split(Rect { x: 0, y: 0, width: area.width.saturating_sub(2), height: 1 });
    let line = |cell: &dyn Fn(&Column<R>, usize) -> Span<'static>| {
        let mut spans = vec![Span::raw(" ")];
        for (at, (column, place)) in columns.iter().zip(places.iter()).enumerate() {
            if at > 0 && place.width > 0 {
                spans.push(Span::raw(" "));
            }
            pad(&mut spans, cell(column, place.width.into()), place.width, column.alignment);
        }
        spans
    };
    let title = line(&|column, width| Span::raw(title(column, width, rows.sort, look)));
    frame.render_widget(Line::from(title).style(look.heading()), titles);
    // Underlined to the end of the line, not of the last title.
    frame.buffer_mut().set_style(titles, look.heading());

    let lines = usize::from(body.height);
    let first = rows.first(lines);
    for (offset, (row, place)) in list(first).zip(body.rows()).enumerate() {
        let selected = rows.selected == Some(first + offset);
        let spans = line(&|column, width| (column.cell)(row, width, look));
        frame.render_widget(Line::from(spans), place);
        if selected {
            frame.buffer_mut().set_style(place, look.selected());
        }
    }
}

fn title<R>(column: &Column<R>, width: usize, sort: Option<Sort>, look: Look) -> String {
    match sort.filter(|sort| column.key == Some(sort.key)) {
        Some(sort) => {
            let order = look.order(sort.rises());
            text::cut(column.title, width.saturating_sub(order.width()), look) + order
        }
        None => text::cut(column.title, width, look),
    }
}

/// Adds `span` and the blanks that make it as wide as its column.
fn pad(spans: &mut Vec<Span<'static>>, span: Span<'static>, width: u16, alignment: Alignment) {
    let blanks = " ".repeat(usize::from(width).saturating_sub(span.content.width()));
    let blanks = Span::styled(blanks, Style::new());
    match alignment {
        Alignment::Right => spans.extend([blanks, span]),
        Alignment::Left | Alignment::Center => spans.extend([span, blanks]),
    }
}
