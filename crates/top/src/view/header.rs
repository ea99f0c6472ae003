//! The first lines: which engine it is, how it is, how much moves.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{Look, spark, text};
use crate::model::{Model, Rate, Tab, Weight, period_text};
use crate::units;

/// Lines that the header takes of so many.
pub(super) const fn height(lines: u16) -> u16 {
    match lines {
        ..8 => 1,
        8..14 => 3,
        _ => 4,
    }
}

/// Draws as much as fits.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let mut places = area.rows();
    let mut put = |frame: &mut Frame<'_>, draw: &dyn Fn(&mut Frame<'_>, Rect)| {
        if let Some(place) = places.next() {
            draw(frame, place);
        }
    };
    put(frame, &|frame, place| draw_engine(frame, place, model, look));
    let totals = &model.totals;
    put(frame, &|frame, place| {
        let direction = ("to guest", look.toward_guest());
        draw_traffic(frame, place, direction, &totals.to_guest, &totals.frames_to_guest, look);
    });
    put(frame, &|frame, place| {
        let direction = ("from guest", look.out_of_guest());
        draw_traffic(frame, place, direction, &totals.from_guest, &totals.frames_from_guest, look);
    });
    put(frame, &|frame, place| {
        let line = match &model.gone {
            Some(gone) => Line::styled(
                text::cut(&format!(" {}", gone.cause), place.width.into(), look),
                look.weight(Weight::Trouble),
            ),
            None => figures(model, place.width.into(), look),
        };
        frame.render_widget(line, place);
    });
}

/// Draws the names of the panes, the chosen one marked.
pub(super) fn draw_tabs(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let mut spans = vec![];
    for (tab, number) in Tab::ALL.into_iter().zip(1..) {
        let style = if tab == model.tab {
            look.selected()
        } else {
            match tab {
                Tab::Drops if model.drops.all().per_second() > 0.0 => look.weight(Weight::Notable),
                Tab::Ports if model.ports.paused() > 0 => look.weight(Weight::Trouble),
                _ => look.plain(),
            }
        };
        spans.push(Span::styled(format!(" {number} {} ", tab.title()), style));
        spans.push(Span::raw(" "));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_engine(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let (status, style) = status(model, look);
    let pace = format!("every {} ", period_text(model.period));
    let pace = if model.paused { Span::styled(" PAUSED ", look.selected()) } else { pace.into() };
    // Where there is little room, how the engine is matters more.
    let right = if area.width < 48 && !model.paused { 0 } else { pace.content.width() as u16 };
    let [left, corner] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(right)]).areas(area);
    let name = model.health.as_ref().map_or("portreeve", |health| health.name.as_str());
    let name = format!(" {} ", text::fit(name, 24, look));
    let room = usize::from(left.width).saturating_sub(name.width());
    let line = Line::from(vec![
        Span::styled(name, look.strong()),
        Span::styled(text::cut(&status, room, look), style),
    ]);
    frame.render_widget(line, left);
    frame.render_widget(Line::from(pace), corner);
}

/// How the engine is, in words.
fn status(model: &Model, look: Look) -> (String, Style) {
    if let Some(gone) = &model.gone {
        let text = format!("GONE for {}, trying again", units::age(gone.duration));
        return (text, look.weight(Weight::Trouble));
    }
    let Some(health) = &model.health else {
        return ("asking the engine".to_owned(), look.quiet());
    };
    let dot = look.dot();
    let state = format!("up {}{dot}{}, pid {}", units::age(model.uptime), health.mode, health.pid);
    match (health.status.as_str(), health.guest) {
        ("ok", true) => (format!("guest attached{dot}{state}"), look.good()),
        ("ok", false) => (format!("no guest{dot}{state}"), look.weight(Weight::Notable)),
        (status, _) => (format!("{status}{dot}{state}"), look.weight(Weight::Trouble)),
    }
}

/// One direction: bytes and frames a second, and the course of the bytes.
fn draw_traffic(
    frame: &mut Frame<'_>,
    area: Rect,
    (name, style): (&str, Style),
    bytes: &Rate,
    frames: &Rate,
    look: Look,
) {
    let figures = format!(
        " {name:<10} {:>7}/s {:>7} frames/s  ",
        units::byte_rate(bytes.per_second()),
        units::rate(frames.per_second()),
    );
    let width = usize::from(area.width).saturating_sub(figures.width() + 1);
    let line = Line::from(vec![
        Span::styled(figures, style),
        Span::styled(spark::line(bytes.history().newest(width), width, look), style),
    ]);
    frame.render_widget(line, area);
}

/// Counts and rates of the whole engine on one line, the most telling first.
fn figures(model: &Model, width: usize, look: Look) -> Line<'static> {
    let totals = &model.totals;
    let plain = look.plain();
    let if_any = |count: f64, weight| if count > 0.0 { look.weight(weight) } else { plain };
    let (refused, dropped) = (totals.refused.per_second(), model.drops.all().per_second());
    let busy = totals.busy();
    let flows = match totals.flows.active {
        1 => "1 flow".to_owned(),
        flows => format!("{} flows", units::count(flows)),
    };
    let items = [
        (flows, plain),
        (format!("opened {}/s", units::rate(totals.opened.per_second())), plain),
        (format!("refused {}/s", units::rate(refused)), if_any(refused, Weight::Notable)),
        (format!("dropped {}/s", units::rate(dropped)), if_any(dropped, Weight::Notable)),
        (format!("loop {}", units::percent(busy)), if_any(busy - 0.9, Weight::Notable)),
        (format!("dialing {}", units::short_count(totals.flows.dials)), plain),
        (
            format!("sockets {}", units::short_count(totals.driver.open_sockets)),
            if_any(
                totals.driver.open_sockets as f64 - 0.9 * totals.driver.descriptor_limit as f64,
                Weight::Trouble,
            ),
        ),
        (format!("TIME-WAIT {}", units::short_count(totals.flows.time_wait)), plain),
    ];
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (at, (text, style)) in items.into_iter().enumerate() {
        let dot = if at > 0 { look.dot() } else { "" };
        used += dot.width() + text.width();
        if used > width {
            break;
        }
        spans.extend([Span::styled(dot, look.quiet()), Span::styled(text, style)]);
    }
    Line::from(spans)
}
