//! The picture: the model, drawn.
//!
//! A pure function of the model and the size of the screen. Never changes the model, never asks
//! the engine.

mod dns;
mod drops;
mod events;
mod flows;
mod footer;
mod header;
mod look;
mod overlay;
mod ports;
mod spark;
mod table;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

pub(crate) use look::Look;

use crate::model::{Model, SortKey, Tab};

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    let area = frame.area();
    let Areas { header, tabs, main, others, footer } = areas(area);
    header::draw(frame, header, model, look);
    header::draw_tabs(frame, tabs, model, look);
    draw_pane(frame, main, model.tab, model, look, true);
    // What is not chosen is seen too, where there is room.
    let mut rest = REST.into_iter().filter(|&tab| tab != model.tab);
    for &place in &others {
        if let Some(tab) = rest.next() {
            draw_pane(frame, place, tab, model, look, false);
        }
    }
    if model.gone.is_some() {
        // What is shown was so once.
        let panes = tabs.union(main);
        let panes = others.iter().fold(panes, |panes, &place| panes.union(place));
        frame.buffer_mut().set_style(panes, look.quiet());
    }
    footer::draw(frame, footer, model, look);
    overlay::draw(frame, model, look);
}

/// Rows of the chosen pane that are seen at once on a screen of this size.
pub(crate) fn page(area: Rect) -> usize {
    usize::from(areas(area).main.height.saturating_sub(2)).max(1)
}

struct Areas {
    header: Rect,
    tabs: Rect,
    main: Rect,
    /// For panes that are not chosen.
    others: Vec<Rect>,
    footer: Rect,
}

fn areas(area: Rect) -> Areas {
    let [header, tabs, body, footer] = Layout::vertical([
        Constraint::Length(header::height(area.height)),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    if body.height < ROOM_FOR_OTHERS {
        return Areas { header, tabs, main: body, others: Vec::new(), footer };
    }
    let [main, strip] =
        Layout::vertical([Constraint::Fill(2), Constraint::Fill(1)]).spacing(1).areas(body);
    let side_by_side = usize::from((area.width / PANE_WIDTH).max(1)).min(REST.len() - 1);
    let others =
        Layout::horizontal(vec![Constraint::Fill(1); side_by_side]).spacing(1).split(strip);
    Areas { header, tabs, main, others: others.to_vec(), footer }
}

/// Draws a pane with its title; `keys` tells whether keys are for it.
fn draw_pane(frame: &mut Frame<'_>, area: Rect, tab: Tab, model: &Model, look: Look, keys: bool) {
    let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(pane_title(tab, model, look, keys), title);
    let (len, empty) = match tab {
        Tab::Flows => {
            flows::draw(frame, body, model, look, keys);
            (model.flows.len(), flows::empty(model))
        }
        Tab::Ports => {
            ports::draw(frame, body, model, look, keys);
            (model.ports.len(), ports::empty(model))
        }
        Tab::Drops => {
            drops::draw(frame, body, model, look, keys);
            (model.drops.len(), drops::empty(model))
        }
        Tab::Dns => {
            dns::draw(frame, body, model, look);
            (usize::from(model.dns.status.is_some()), dns::EMPTY)
        }
        Tab::Events => {
            events::draw(frame, body, model, look, keys);
            (model.events.len(), events::empty(model))
        }
    };
    if len == 0 && body.height > 1 {
        let empty = if model.health.is_none() { "nothing is known yet" } else { empty };
        let room = usize::from(body.width).saturating_sub(1);
        let place = Rect { y: body.y + 1, height: 1, ..body };
        let line = Line::styled(format!(" {}", text::cut(empty, room, look)), look.quiet());
        frame.render_widget(line, place);
    }
}

/// The pane's name, how much is in it, in which order, and the filter.
fn pane_title(tab: Tab, model: &Model, look: Look, keys: bool) -> Line<'static> {
    let (summary, sort) = match tab {
        Tab::Flows => (flows::summary(model), Some(model.flows.sort())),
        Tab::Ports => (ports::summary(model), Some(model.ports.sort())),
        Tab::Drops => (drops::summary(model), Some(model.drops.sort())),
        Tab::Dns => (dns::summary(model), None),
        Tab::Events => (events::summary(model), None),
    };
    let mut spans = vec![
        Span::styled(format!(" {}", tab.title()), look.strong()),
        Span::raw(format!(" {summary}")),
    ];
    if let Some(sort) = sort.filter(|_| keys) {
        let order = match (sort.key, sort.rises()) {
            (SortKey::Age, true) => "youngest first",
            (SortKey::Age, false) => "oldest first",
            (SortKey::Name, true) => "A to Z",
            (SortKey::Name, false) => "Z to A",
            (SortKey::Rate | SortKey::Total, true) => "smallest first",
            (SortKey::Rate | SortKey::Total, false) => "largest first",
        };
        let text = format!("{}by {}, {order}", look.dot(), sort.key.word());
        spans.push(Span::styled(text, look.quiet()));
    }
    if keys && !model.filter.is_empty() {
        let filter = format!("{}filter: {}", look.dot(), text::cut(model.filter.text(), 40, look));
        spans.push(Span::styled(filter, look.strong()));
    }
    Line::from(spans)
}

/// Panes in the order in which they are shown beside the chosen one.
const REST: [Tab; 4] = [Tab::Flows, Tab::Events, Tab::Ports, Tab::Drops];

/// Lines below the header from which on other panes are shown below the chosen one.
const ROOM_FOR_OTHERS: u16 = 28;

/// Columns that a pane needs where several stand side by side.
const PANE_WIDTH: u16 = 60;
