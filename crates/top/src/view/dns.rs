//! The pane of the name server: how well it answers, whom it asks, what it was asked lately.

use portreeve_types::api::{DnsStatus, DnsUpstream};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::table::{self, Column, Rows};
use super::{Look, events, spark, text};
use crate::model::{Model, Record, Weight};
use crate::units;

/// What the title says besides the pane's name.
pub(super) fn summary(model: &Model) -> String {
    match &model.dns.status {
        None => "none".to_owned(),
        Some(status) => {
            let queries = units::count(status.counters.queries);
            format!("{queries} queries, {}/s", units::rate(model.dns.queries.per_second()))
        }
    }
}

/// The word for an engine without one.
pub(super) const EMPTY: &str = "this engine has no name server";

/// Draws figures, upstreams and the last queries and denials.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let Some(status) = &model.dns.status else { return };
    let upstreams = status.upstreams.len().min(usize::from(area.height / 4).max(1)) as u16;
    let [figures, asked, _, recent] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(1 + upstreams),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(area);
    draw_figures(frame, figures, model, status, look);
    let rows = Rows { len: status.upstreams.len(), selected: None, sort: None };
    table::draw(frame, asked, look, &upstream_columns(), &rows, |first| {
        status.upstreams.iter().skip(first)
    });
    draw_recent(frame, recent, model, look);
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, model: &Model, status: &DnsStatus, look: Look) {
    let counters = &status.counters;
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), units::percent);
    let spark = usize::from(area.width).saturating_sub(50).min(60);
    let lines = [
        Line::from(vec![
            Span::raw(" cache hits "),
            Span::styled(share(model.dns.hit_rate()), look.strong()),
            Span::raw(format!(", now {}", share(model.dns.hit_rate_now()))),
            Span::styled(look.dot(), look.quiet()),
            Span::raw(format!("queries {}/s ", units::rate(model.dns.queries.per_second()))),
            Span::raw(spark::line(model.dns.queries.history().newest(spark), spark, look)),
        ]),
        join(
            look,
            &[
                ("cache", counters.cache_hits, Weight::Normal),
                ("upstreams", counters.answered, Weight::Normal),
                ("local", counters.local, Weight::Normal),
                ("waiting", status.waiting, Weight::Normal),
                ("cached names", status.cache_entries, Weight::Normal),
            ],
        ),
        join(
            look,
            &[
                ("failed", counters.failed + counters.overflowed, Weight::Trouble),
                ("denied", counters.denied, Weight::Notable),
                ("withheld", counters.rebind_blocked, Weight::Notable),
                ("rejected", counters.rejected + counters.dropped, Weight::Notable),
                ("timeouts", counters.upstream_timeouts, Weight::Notable),
            ],
        ),
    ];
    for (line, place) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, place);
    }
}

/// Figures on one line; those that should be nothing and are not stand out.
fn join(look: Look, figures: &[(&str, u64, Weight)]) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    for (at, (name, count, weight)) in figures.iter().enumerate() {
        if at > 0 {
            spans.push(Span::styled(look.dot(), look.quiet()));
        }
        let style = if *count > 0 { look.weight(*weight) } else { look.quiet() };
        spans.push(Span::styled(format!("{name} {}", units::short_count(*count)), style));
    }
    Line::from(spans)
}

fn upstream_columns() -> [Column<DnsUpstream>; 3] {
    [
        Column::text("UPSTREAM", Constraint::Max(48), |row: &DnsUpstream, width, look| {
            Span::raw(text::fit(&row.address.to_string(), width, look))
        }),
        Column::text("STATE", Constraint::Length(5), |row: &DnsUpstream, _, look| {
            if row.down {
                Span::styled("down", look.weight(Weight::Trouble))
            } else {
                Span::styled("up", look.good())
            }
        }),
        Column::number("ANSWERS IN", 10, |row: &DnsUpstream, width, look| match row.latency_us {
            Some(latency) => {
                Span::raw(text::cut(&units::latency(latency, look.micro()), width, look))
            }
            None => Span::styled("-", look.quiet()),
        }),
    ]
}

fn draw_recent(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let records: Vec<&Record> = model
        .events
        .of_names()
        .filter(|record| record.passes(&model.filter))
        .take(area.height.into())
        .collect();
    let rows = Rows { len: records.len(), selected: None, sort: None };
    table::draw(frame, area, look, &events::columns(), &rows, |first| {
        records.iter().copied().skip(first)
    });
    if records.is_empty() && area.height > 1 {
        let note = if model.filter.is_empty() {
            "nothing lately; queries are shown where the engine logs them, denials always"
        } else {
            "nothing lately matches the filter"
        };
        let note = text::cut(note, usize::from(area.width).saturating_sub(1), look);
        let place = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(Line::styled(format!(" {note}"), look.quiet()), place);
    }
}
