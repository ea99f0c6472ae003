//! How things look: colours or none, UTF-8 or ASCII.
//!
//! The one place that names a colour or a letter beyond ASCII. Colours are the terminal's own
//! sixteen, so that they suit its background; what they say is said by words too.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

use crate::model::Weight;

/// Letters and styles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    color: bool,
    unicode: bool,
}

impl Look {
    /// With colours or with modifiers only; with letters beyond ASCII or without.
    pub(crate) const fn new(color: bool, unicode: bool) -> Self {
        Self { color, unicode }
    }

    /// Levels of a sparkline, from nothing to the most.
    pub(super) const fn bars(self) -> [char; 9] {
        if self.unicode {
            [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            [' ', '.', ':', '-', '=', '+', '*', '%', '@']
        }
    }

    /// What stands for the middle of a text that is too long.
    pub(super) const fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Between things on one line.
    pub(super) const fn dot(self) -> &'static str {
        if self.unicode { " · " } else { " - " }
    }

    /// Behind the title of the column that is sorted by.
    pub(super) const fn order(self, rises: bool) -> &'static str {
        match (self.unicode, rises) {
            (true, true) => "↑",
            (true, false) => "↓",
            (false, true) => "^",
            (false, false) => "v",
        }
    }

    /// Microseconds.
    pub(super) const fn micro(self) -> &'static str {
        if self.unicode { "µs" } else { "us" }
    }

    /// Where the next letter goes.
    pub(super) const fn cursor(self) -> &'static str {
        if self.unicode { "▏" } else { "_" }
    }

    /// The frame of what lies over the panes.
    pub(super) const fn border(self) -> border::Set<'static> {
        if self.unicode { border::PLAIN } else { ASCII_BORDER }
    }

    /// Plain text.
    pub(super) const fn plain(self) -> Style {
        Style::new()
    }

    /// What stands out without being good or bad.
    pub(super) const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What steps back.
    pub(super) const fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The titles of columns.
    pub(super) const fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::UNDERLINED)
    }

    /// The selected row, the chosen pane.
    pub(super) const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What moves to the guest.
    pub(super) const fn toward_guest(self) -> Style {
        self.colored(Style::new(), Color::Cyan)
    }

    /// What moves from the guest.
    pub(super) const fn out_of_guest(self) -> Style {
        self.colored(Style::new(), Color::Green)
    }

    /// What is as it should be.
    pub(super) const fn good(self) -> Style {
        self.colored(Style::new(), Color::Green)
    }

    /// What matters this much.
    pub(super) const fn weight(self, weight: Weight) -> Style {
        match weight {
            Weight::Normal => self.plain(),
            Weight::Notable => self.colored(Style::new(), Color::Yellow),
            Weight::Trouble => self.colored(self.strong(), Color::Red),
        }
    }

    const fn colored(self, style: Style, color: Color) -> Style {
        if self.color { style.fg(color) } else { style }
    }
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
