//! What lies over the panes: help, all of one row, a question.

use portreeve_types::PublishId;
use portreeve_types::api::FlowOrigin;
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

use super::{Look, flows, ports, text};
use crate::model::{Mode, Model, Overlay, Question};
use crate::units;

/// Every key and what it does, as the manual has it.
pub(crate) const KEYS: [(&str, &str); 15] = [
    ("1 2 3 4 5", "flows, ports, drops, DNS, events"),
    ("Tab, Shift-Tab", "the next pane, the one before"),
    ("arrows, j, k", "choose a row; Esc lets it go"),
    ("PgUp PgDn g G", "a screenful up or down, to the first row, the last"),
    ("Enter", "all of the chosen row"),
    ("r t a n", "sort by rate, total, age, name; again: the other way"),
    ("s", "sort by the next of these"),
    ("/", "show only rows with these words: addresses, names, tcp"),
    ("Esc", "let the row go, then the filter"),
    ("x, Del", "kill the chosen flow, unpublish the chosen port"),
    ("f", "events: hide that flows open and end"),
    ("Space, p", "stop the picture, go on"),
    ("+ -", "ask the engine less often, more often"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
];

/// Draws what there is to draw.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    match &model.mode {
        Mode::Browse | Mode::Filter { .. } => {}
        Mode::Overlay(Overlay::Help) => draw_box(frame, "Keys", help(look), look),
        Mode::Overlay(Overlay::Flow(id)) => {
            draw_box(frame, &format!("Flow {id}"), flow(model, id, look), look);
        }
        Mode::Overlay(Overlay::Port(id)) => {
            draw_box(frame, &format!("Port {id}"), port(model, *id, look), look);
        }
        Mode::Overlay(Overlay::Event(event)) => {
            let event = text::cut(event, usize::MAX, look);
            draw_box(frame, "Event", vec![Line::from(event)], look);
        }
        Mode::Confirm(question) => {
            let (title, lines) = confirm(question, look);
            draw_box(frame, &title, lines, look);
        }
    }
}

/// Draws lines in a frame in the middle of the screen; those that are too long are wrapped.
fn draw_box(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'static>>, look: Look) {
    let area = frame.area();
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(title.width() + 2);
    let width = (widest as u16).saturating_add(4).min(area.width);
    let inner = usize::from(width.saturating_sub(4)).max(1);
    let wrapped: usize = lines.iter().map(|line| line.width().div_ceil(inner).max(1)).sum();
    // Words are wrapped whole, which may take a line more than letters would.
    let more = usize::from(lines.iter().any(|line| line.width() > inner));
    let height = (wrapped + more).saturating_add(2).min(area.height.into()) as u16;
    let [row] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(area);
    let [place] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(row);
    let block = Block::bordered()
        .border_set(look.border())
        .title(Span::styled(format!(" {title} "), look.strong()))
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), place);
}

fn help(look: Look) -> Vec<Line<'static>> {
    KEYS.iter()
        .map(|(key, does)| {
            Line::from(vec![Span::styled(format!("{key:<15}"), look.strong()), Span::raw(*does)])
        })
        .collect()
}

fn confirm(question: &Question, look: Look) -> (String, Vec<Line<'static>>) {
    let key = |key: &'static str, does: &'static str| {
        Line::from(vec![Span::styled(format!("{key:>3}  "), look.strong()), Span::raw(does)])
    };
    let what = |what: &str| Line::from(text::cut(what, usize::MAX, look));
    match question {
        Question::Kill { id, what: flow } => {
            let lines = vec![
                what(flow),
                Line::from(""),
                key("y", "kill it: both ends are reset"),
                key("Esc", "leave it"),
            ];
            (format!("Kill flow {id}?"), lines)
        }
        Question::Unpublish { id, what: port, flows } => {
            let flows = match flows {
                0 => "it has no connections".to_owned(),
                1 => "it has 1 connection".to_owned(),
                more => format!("it has {} connections", units::count(*more)),
            };
            let lines = vec![
                what(&format!("{port}: {flows}")),
                Line::from(""),
                key("d", "drain: take no more clients, let connections go on"),
                key("r", "reset: take no more clients, end connections now"),
                key("Esc", "leave it"),
            ];
            (format!("Unpublish port {id}?"), lines)
        }
    }
}

/// One line of all of a row.
fn field(name: &str, value: impl AsRef<str>, look: Look) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name:<12}"), look.quiet()),
        Span::raw(text::cut(value.as_ref(), usize::MAX, look)),
    ])
}

fn flow(model: &Model, id: &str, look: Look) -> Vec<Line<'static>> {
    let Some(row) = model.flows.get(id) else {
        return vec![Line::from("this flow has ended")];
    };
    let info = &row.info;
    let mut lines = vec![field("protocol", &info.protocol, look)];
    if let Some(phase) = &info.phase {
        let word = flows::phase(phase);
        lines.push(field("state", if word == "open" { "open" } else { phase }, look));
    }
    lines.push(field(
        "opened by",
        match info.origin {
            FlowOrigin::Host => "a client of a published port",
            FlowOrigin::Guest => "the guest",
        },
        look,
    ));
    if let Some(port) = info.port {
        let port = model
            .ports
            .get(port)
            .map_or_else(|| format!("{port}"), |row| format!("{port}: {}", row.status.port));
        lines.push(field("port", port, look));
    }
    let addresses = [
        ("client", info.client),
        ("guest", Some(info.guest)),
        ("remote", info.remote),
        ("dialled", info.target),
    ];
    for (name, address) in addresses {
        if let Some(address) = address {
            lines.push(field(name, address.to_string(), look));
        }
    }
    if let Some(name) = &info.name {
        lines.push(field("name", name, look));
    }
    let opened = info.opened.to_string();
    lines.push(field("opened", format!("{opened} ({} ago)", units::age(row.age)), look));
    let moved = |bytes, rate| format!("{}, now {}/s", units::bytes(bytes), units::byte_rate(rate));
    lines.push(field("to guest", moved(info.bytes_to_guest, row.rate_to_guest()), look));
    lines.push(field("from guest", moved(info.bytes_from_guest, row.rate_from_guest()), look));
    lines
}

fn port(model: &Model, id: PublishId, look: Look) -> Vec<Line<'static>> {
    let Some(row) = model.ports.get(id) else {
        return vec![Line::from("this port is no longer published")];
    };
    let (port, counters) = (&row.status.port, &row.status.counters);
    let mut lines = vec![
        field("guest", format!("{}/{}", port.guest_port, port.transport), look),
        field("on the host", port.host.to_string(), look),
        field("state", format!("{:?}", row.status.state).to_lowercase(), look),
        field("guest sees", ports::source(port.source), look),
    ];
    if let Some(cause) = &row.status.cause {
        lines.push(field("cause", cause, look));
    }
    if let Some(name) = &port.name {
        lines.push(field("name", name, look));
    }
    lines.extend([
        field(
            "flows",
            format!(
                "{} now, {} in all",
                units::count(counters.flows),
                units::count(counters.opened)
            ),
            look,
        ),
        field("refused", units::count(counters.refused), look),
        field(
            "moved",
            format!("{}, now {}/s", units::bytes(row.bytes), units::byte_rate(row.rate)),
            look,
        ),
    ]);
    lines
}
