//! The last line: what is being written, what was said, or which keys there are.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{Look, text};
use crate::model::{Mode, Model, Tab};

/// Draws the one that matters most.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let width = usize::from(area.width);
    let line = match (&model.mode, &model.message) {
        (Mode::Filter { text, .. }, _) => {
            let hint = "  Enter keeps it, Esc takes it back";
            // The end is where letters are added.
            let room = width.saturating_sub(" filter: ".len() + 1);
            let skip = text.chars().count().saturating_sub(room);
            let shown: String = text.chars().skip(skip).collect();
            let mut spans = vec![
                Span::styled(" filter: ", look.strong()),
                Span::raw(text::cut(&shown, room, look)),
                Span::raw(look.cursor()),
            ];
            if " filter: ".len() + shown.width() + 1 + hint.len() <= width {
                spans.push(Span::styled(hint, look.quiet()));
            }
            Line::from(spans)
        }
        (_, Some((said, weight, _))) => {
            Line::styled(text::cut(&format!(" {said}"), width, look), look.weight(*weight))
        }
        (_, None) => hints(model, width, look),
    };
    frame.render_widget(line, area);
}

/// As many keys as fit.
fn hints(model: &Model, width: usize, look: Look) -> Line<'static> {
    let pane: &[(&str, &str)] = match model.tab {
        Tab::Flows => {
            &[("/", "filter"), ("r t a n", "sort"), ("x", "kill"), ("Enter", "all of it")]
        }
        Tab::Ports => {
            &[("/", "filter"), ("r t a n", "sort"), ("x", "unpublish"), ("Enter", "all of it")]
        }
        Tab::Drops => &[("/", "filter"), ("r t a n", "sort")],
        Tab::Dns => &[("/", "filter")],
        Tab::Events => &[("/", "filter"), ("f", "flows on/off"), ("Enter", "all of it")],
    };
    let always = [("q", "quit"), ("?", "help"), ("1-5", "panes"), ("Space", "pause")];
    let mut spans = vec![];
    let mut used = 0;
    for (key, does) in always[..3].iter().chain(pane).chain(&always[3..]) {
        let needed = 3 + key.len() + does.len();
        if used + needed > width {
            break;
        }
        used += needed;
        spans.push(Span::styled(format!(" {key}"), look.strong()));
        spans.push(Span::styled(format!(" {does} "), look.quiet()));
    }
    Line::from(spans)
}
