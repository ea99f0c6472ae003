//! All that these commands print: tables that fit, lines, JSON.
//!
//! Owns standard output. Colours are for terminals, and never where `NO_COLOR` is set
//! (no-color.org). What an engine reports may have come from its guest, so no control character
//! of it reaches the terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Stdout, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const FAINT: Style = Style::new().dimmed();
pub(super) const STRONG: Style = Style::new().bold();

/// Where everything goes.
pub(super) struct Screen {
    out: AutoStream<Stdout>,
    /// Columns of the terminal; a pipe has no end.
    width: Option<u16>,
}

/// Rows under a head.
pub(super) struct Grid<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

/// A column of a [`Grid`].
#[derive(Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    right: bool,
    /// Its text may go on in the next line before a column is left out.
    wraps: bool,
    /// Where there is no room, the column with the highest number is left out first; those with 0
    /// stay.
    spare: u8,
}

impl Screen {
    pub(super) fn new() -> Self {
        let size = rustix::termios::tcgetwinsize(io::stdout());
        let width = size.ok().map(|size| size.ws_col).filter(|&columns| columns > 0);
        Self { out: AutoStream::auto(io::stdout()), width }
    }

    pub(super) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// A line; its parts are `clean` where they come from an engine.
    pub(super) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A line that is to be seen now, of a stream that goes on.
    pub(super) fn line_now(&mut self, text: impl Display) -> io::Result<()> {
        self.line(text)?;
        self.out.flush()
    }

    /// For programs.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)
    }

    /// The same in one line.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        self.line_now(text)
    }

    pub(super) fn grid<const COLUMNS: usize>(&mut self, grid: &Grid<COLUMNS>) -> io::Result<()> {
        for line in grid.lines(self.width) {
            self.line(line)?;
        }
        Ok(())
    }
}

impl Column {
    pub(super) const fn new(title: &'static str) -> Self {
        Self { title, right: false, wraps: false, spare: 0 }
    }

    /// For numbers.
    pub(super) const fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// For lists.
    pub(super) const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// May be left out, the earlier the higher the number.
    pub(super) const fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }
}

impl<const COLUMNS: usize> Grid<COLUMNS> {
    pub(super) const fn new(columns: [Column; COLUMNS]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.map(|cell| clean(&cell).into_owned()));
    }

    /// As it is printed, in at most so many columns of characters if that can be.
    fn lines(&self, width: Option<u16>) -> Vec<String> {
        let shown = self.shown(width);
        let mut table = Table::new();
        table.load_style(NOTHING).enforce_styling().style_text_only();
        let pick = |at: &usize, text: &str| {
            let right = self.columns[*at].right;
            let alignment = if right { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        };
        let head = |at: &usize| pick(at, self.columns[*at].title).add_attribute(Attribute::Bold);
        table.set_header(shown.iter().map(head).collect::<Vec<_>>());
        for row in &self.rows {
            table.add_row(shown.iter().map(|at| pick(at, &row[*at])).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        if let Some(width) = width {
            // The last gap is not printed.
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width.saturating_add(GAP));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The columns for which there is room.
    fn shown(&self, width: Option<u16>) -> Vec<usize> {
        let mut shown: Vec<_> = (0..COLUMNS).collect();
        let Some(width) = width else { return shown };
        let needs = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].chars().count());
            let widest = cells.chain([self.columns[at].title.len()]).max().unwrap_or(0);
            let most = if self.columns[at].wraps { WRAPPED } else { usize::MAX };
            widest.min(most) + usize::from(GAP)
        };
        while shown.iter().map(|&at| needs(at)).sum::<usize>() > usize::from(width + GAP) {
            let spare = shown.iter().copied().max_by_key(|&at| self.columns[at].spare);
            match spare.filter(|&at| self.columns[at].spare > 0) {
                Some(spare) => shown.retain(|&at| at != spare),
                None => break,
            }
        }
        shown
    }
}

/// Without control characters, which could do anything to a terminal.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|char| {
        if char.is_control() { char.escape_default().to_string() } else { char.to_string() }
    });
    Cow::Owned(shown.collect())
}

/// Between columns.
const GAP: u16 = 2;
/// What a column of lists needs at least.
const WRAPPED: usize = 30;

/// A grid as it is printed at a width, without colours: for tests.
#[cfg(test)]
pub(super) fn plain<const COLUMNS: usize>(grid: &Grid<COLUMNS>, width: Option<u16>) -> String {
    let text: String = grid.lines(width).iter().map(|line| format!("{line}\n")).collect();
    anstream::adapter::strip_str(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid<3> {
        let columns = [
            Column::new("NAME"),
            Column::new("WHAT").spare(1),
            Column::new("BYTES").right().spare(2),
        ];
        let mut grid = Grid::new(columns);
        grid.row(["one".into(), "a thing".into(), "7".into()]);
        grid.row(["another".into(), "b".into(), "1.2K".into()]);
        grid
    }

    #[test]
    fn what_has_no_room_is_left_out_in_order() {
        let wide = "NAME     WHAT     BYTES\none      a thing      7\nanother  b         1.2K\n";
        assert_eq!(plain(&grid(), None), wide);
        assert_eq!(plain(&grid(), Some(23)), wide);
        let less = "NAME     WHAT\none      a thing\nanother  b\n";
        assert_eq!(plain(&grid(), Some(22)), less);
        assert_eq!(plain(&grid(), Some(16)), less);
        assert_eq!(plain(&grid(), Some(15)), "NAME\none\nanother\n");
    }

    #[test]
    fn what_must_stay_is_wrapped() {
        let mut grid = Grid::new([Column::new("A"), Column::new("B")]);
        grid.row(["one".into(), "two three four".into()]);
        assert_eq!(plain(&grid, Some(14)), "A    B\none  two three\n     four\n");
    }

    #[test]
    fn nothing_a_guest_says_moves_the_cursor() {
        let mut grid = Grid::new([Column::new("NAME")]);
        grid.row(["a\x1b[2Jb\r\u{9b}c\n".into()]);
        assert_eq!(plain(&grid, None), "NAME\na\\u{1b}[2Jb\\r\\u{9b}c\\n\n");
        assert!(matches!(clean("ä ok"), Cow::Borrowed("ä ok")));
    }
}
