//! The report as Markdown. It states medians and their spread, the ratio to the reference and
//! to the best peer, and what was not measured and why.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Findings,
    engine::{PORTREEVE, REFERENCE},
    goals,
    metric::{Better, Metric, Section},
    session::PEER_IDLE,
    statistics::{Summary, summary},
};

/// One whole report, of findings that belong to it.
pub(crate) fn markdown(findings: &Findings, section: Section) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(findings, section, &mut text);
    text
}

fn write(findings: &Findings, section: Section, out: &mut String) -> std::fmt::Result {
    let title = match section {
        Section::Published => "Published ports, measured",
        Section::Outbound => "The guest's own connections, measured",
    };
    writeln!(out, "# {title}\n")?;
    writeln!(
        out,
        "Made by `cargo xtask bench{}`. Each value is the median of {} interleaved repeats \
         (least – most).\n",
        if findings.schedule.quick { " --quick" } else { "" },
        findings.completed
    )?;
    ours(findings, out)?;
    if section == Section::Outbound {
        goals::write(out, |engine, metric| {
            let found = summaries(findings, metric);
            found.into_iter().find(|(name, _)| *name == engine).map(|(_, summary)| summary)
        })?;
    }
    all(findings, out)?;
    gaps(findings, out)?;
    how(findings, section, out)
}

/// Summaries of a metric by engine, in the order of the engines.
fn summaries(findings: &Findings, metric: Metric) -> Vec<(&'static str, Summary)> {
    let of = |name: &'static str| {
        let values: Vec<f64> = findings
            .samples
            .iter()
            .filter(|sample| sample.engine == name && sample.metric == metric)
            .map(|sample| sample.value)
            .collect();
        Some((name, summary(&values)?))
    };
    findings.engines.iter().map(super::engine::Engine::name).filter_map(of).collect()
}

/// The best of the peers; the bare link is none.
fn best_peer(
    findings: &Findings,
    metric: Metric,
    found: &[(&'static str, Summary)],
) -> Option<(&'static str, Summary)> {
    let is_peer = |name: &str| {
        findings
            .engines
            .iter()
            .any(|engine| engine.name() == name && name != PORTREEVE && !engine.is_bare())
    };
    let peers = found.iter().filter(|(name, _)| is_peer(name)).copied();
    match metric.better() {
        Better::Higher => peers.max_by(|a, b| a.1.median.total_cmp(&b.1.median)),
        Better::Lower => peers.min_by(|a, b| a.1.median.total_cmp(&b.1.median)),
    }
}

fn ours(findings: &Findings, out: &mut String) -> std::fmt::Result {
    if !findings.samples.iter().any(|sample| sample.engine == PORTREEVE) {
        return Ok(());
    }
    writeln!(out, "## Portreeve beside the others\n")?;
    writeln!(
        out,
        "Guest MTU 1500 for Portreeve, 65520 for pasta (its own default). Ratios are \
         Portreeve's value over the other's; ↑ higher is better, ↓ lower is better.\n"
    )?;
    writeln!(out, "| | Portreeve | {REFERENCE} | ratio | best peer | ratio |")?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|")?;
    for metric in Metric::ALL {
        let found = summaries(findings, metric);
        let of = |name| found.iter().find(|(engine, _)| *engine == name).map(|(_, s)| *s);
        let Some(own) = of(PORTREEVE) else { continue };
        let reference = of(REFERENCE);
        let best = best_peer(findings, metric, &found);
        writeln!(
            out,
            "| {} {} | {} | {} | {} | {} | {} |",
            metric.label(),
            arrow(metric),
            figure(own.median),
            reference.map_or_else(none, |summary| figure(summary.median)),
            ratio(Some(own), reference),
            best.map_or_else(none, |(name, s)| format!("{name} {}", figure(s.median))),
            ratio(Some(own), best.map(|(_, summary)| summary)),
        )?;
    }
    let of = |metric| {
        let found = summaries(findings, metric);
        found.into_iter().find(|(name, _)| *name == PORTREEVE).map(|(_, summary)| summary)
    };
    writeln!(out)?;
    if let Some(median) = of(Metric::IdleRoundTripMedian) {
        writeln!(
            out,
            "Portreeve's round trip beside {} idle connections over its round trip alone: p50 {}, \
             p99 {}.\n",
            findings.schedule.idle,
            ratio(Some(median), of(Metric::RoundTripMedian)),
            ratio(of(Metric::IdleRoundTripTail), of(Metric::RoundTripTail)),
        )?;
    }
    Ok(())
}

fn all(findings: &Findings, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## All figures\n")?;
    writeln!(out, "| | engine | median | least – most | repeats | lost |")?;
    writeln!(out, "|---|---|---:|---:|---:|---:|")?;
    for metric in Metric::ALL {
        for (name, summary) in summaries(findings, metric) {
            writeln!(
                out,
                "| {} {} | {name} | {} | {} – {} | {} | {} |",
                metric.label(),
                arrow(metric),
                figure(summary.median),
                figure(summary.min),
                figure(summary.max),
                summary.count,
                lost(findings, metric, name),
            )?;
        }
    }
    writeln!(out)
}

fn lost(findings: &Findings, metric: Metric, engine: &str) -> String {
    let values: Vec<f64> = findings
        .samples
        .iter()
        .filter(|sample| sample.engine == engine && sample.metric == metric)
        .filter_map(|sample| sample.lost)
        .collect();
    summary(&values).map_or(String::new(), |lost| format!("{:.1} %", lost.median * 100.0))
}

/// Every gap once, with the number of repeats it was seen in.
fn gaps(findings: &Findings, out: &mut String) -> std::fmt::Result {
    if findings.gaps.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Not measured\n")?;
    let mut counted: BTreeMap<(&str, Option<Metric>, &str), usize> = BTreeMap::new();
    for gap in &findings.gaps {
        *counted.entry((gap.engine, gap.metric, &gap.reason)).or_default() += 1;
    }
    for ((engine, metric, reason), times) in counted {
        let what = metric.map_or(String::new(), |metric| format!(", {}", metric.label()));
        let often = if times > 1 { format!(" ({times} times)") } else { String::new() };
        writeln!(out, "- {engine}{what}: {reason}{often}")?;
    }
    writeln!(out)
}

fn how(findings: &Findings, section: Section, out: &mut String) -> std::fmt::Result {
    let environment = &findings.environment;
    let schedule = &findings.schedule;
    writeln!(out, "## How\n")?;
    writeln!(
        out,
        "{}. Client, engine and server share these processors, so CPU time per GiB \
         says more than throughput. Load average before the run: {}.\n",
        environment.machine(),
        environment.load
    )?;
    writeln!(out, "- {}", places(section))?;
    writeln!(
        out,
        "- Windows: {:?} for a stream, {:?} for anything counted per second, after a warm-up. \
         Engines take turns within each repeat, in rotating order.",
        schedule.stream, schedule.rate
    )?;
    writeln!(
        out,
        "- Congestion control: {} on every socket of server and client; the machine's default, \
         which engines use for theirs, is {}.",
        environment.congestion_control, environment.default_congestion_control
    )?;
    writeln!(
        out,
        "- A stream is checked to its end: bytes received are bytes sent, or it counts as failed."
    )?;
    writeln!(
        out,
        "- CPU time is user and system time of the engine's own processes; memory is what their \
         resident size grows by, for each idle connection that has been answered once ({} with \
         Portreeve, {} with a peer).",
        schedule.idle,
        schedule.idle.min(PEER_IDLE)
    )?;
    let limits = |(name, value): (&String, &String)| format!("`{name}` {value}");
    let limits: Vec<_> = environment.buffers.iter().map(limits).collect();
    writeln!(out, "- Buffers ({:?}): {}.", schedule.buffers, limits.join(", "))?;
    let versions: Vec<_> =
        environment.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    writeln!(out, "- Versions: {}.\n", versions.join(", "))?;
    writeln!(out, "| engine | guest MTU | command |")?;
    writeln!(out, "|---|---|---|")?;
    for engine in &findings.engines {
        writeln!(out, "| {} | {} | `{}` |", engine.name(), engine.mtu(), engine.shown())?;
    }
    Ok(())
}

/// Who is where.
fn places(section: Section) -> &'static str {
    match section {
        Section::Published => {
            "Everything runs in a private network namespace; the client is in another one, joined \
             by a veth (MTU 1500), so that pasta takes its TAP path. Clients connect to the outer \
             address. Server and client are `portreeve-bench`; every engine carries the same bytes."
        }
        Section::Outbound => {
            "Everything runs in a private network namespace; the server is in another one, joined \
             by a veth (MTU 1500), and the client runs in the guest's. The engine is the one that \
             was started for published ports, in the same repeat. Server and client are \
             `portreeve-bench`; socket buffers of TCP are the default ones. A stall is the longest \
             time in which the receiving program got nothing, from the first byte to the end of \
             the window: it includes what other programs took of the processors."
        }
    }
}

fn arrow(metric: Metric) -> &'static str {
    match metric.better() {
        Better::Higher => "↑",
        Better::Lower => "↓",
    }
}

/// Three significant digits, or all before the point.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Where there is nothing to say.
fn none() -> String {
    "–".to_owned()
}

fn ratio(own: Option<Summary>, other: Option<Summary>) -> String {
    match (own, other) {
        (Some(own), Some(other)) if other.median > 0.0 => {
            format!("{}×", figure(own.median / other.median))
        }
        _ => none(),
    }
}
