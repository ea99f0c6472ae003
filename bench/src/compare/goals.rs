//! What the guest's own connections are meant to reach, and whether they do. A goal that is missed
//! is printed and fails nothing: on a machine with other work, one run proves little.

use std::fmt::{self, Write};

use super::{
    engine::{ETHERNET_REFERENCE, PORTREEVE, REFERENCE},
    metric::Metric,
    report::figure,
    statistics::Summary,
};

/// What a figure of ours is held against.
enum Bound {
    /// At least so many times the figure of this engine.
    Times(f64, &'static str),
    /// At least this.
    AtLeast(f64),
    /// At most this in the worst repeat.
    WorstAtMost(f64),
    /// At most so much above another figure of ours.
    Above(f64, Metric),
}

const GOALS: [(Metric, Bound); 12] = [
    (Metric::OutStreamFromGuest, Bound::Times(1.0, REFERENCE)),
    (Metric::OutStreamToGuest, Bound::Times(1.0, REFERENCE)),
    (Metric::OutStreamFromGuest, Bound::Times(5.0, ETHERNET_REFERENCE)),
    (Metric::OutStreamToGuest, Bound::Times(5.0, ETHERNET_REFERENCE)),
    (Metric::OutStallFromGuest, Bound::WorstAtMost(50.0)),
    (Metric::OutStallToGuest, Bound::WorstAtMost(50.0)),
    (Metric::OutConnectOne, Bound::Times(0.8, REFERENCE)),
    (Metric::OutConnectMany, Bound::Times(0.8, REFERENCE)),
    (Metric::OutFloodFromGuest, Bound::Times(1.0, REFERENCE)),
    (Metric::OutFloodToGuest, Bound::Times(1.0, REFERENCE)),
    (Metric::NamesCached, Bound::AtLeast(50_000.0)),
    (Metric::NamesTail, Bound::Above(1_000.0, Metric::NamesDirectTail)),
];

/// The table of goals; `found` gives an engine's figure.
pub(super) fn write(
    out: &mut String,
    found: impl Fn(&str, Metric) -> Option<Summary>,
) -> fmt::Result {
    writeln!(out, "## Goals\n")?;
    writeln!(out, "| | goal | measured | |")?;
    writeln!(out, "|---|---|---:|---|")?;
    for (metric, bound) in &GOALS {
        let own = found(PORTREEVE, *metric);
        let (goal, measured, met) = judge(metric, bound, own, &found);
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        writeln!(out, "| {} | {goal} | {measured} | {verdict} |", metric.label())?;
    }
    writeln!(out)
}

/// The goal in words, the figure it is about, and whether it is met.
fn judge(
    metric: &Metric,
    bound: &Bound,
    own: Option<Summary>,
    found: impl Fn(&str, Metric) -> Option<Summary>,
) -> (String, String, Option<bool>) {
    let median = own.map(|own| own.median);
    let ratio = |other: Option<Summary>| {
        let other = other.filter(|other| other.median > 0.0)?;
        Some(median? / other.median)
    };
    let (goal, value, unit, met): (_, _, _, fn(f64, f64) -> bool) = match *bound {
        Bound::Times(times, engine) => {
            let value = ratio(found(engine, *metric));
            (format!("at least {times} × {engine}"), value, "×", |value, bound| value >= bound)
        }
        Bound::AtLeast(least) => {
            (format!("at least {least}"), median, "", |value, bound| value >= bound)
        }
        Bound::WorstAtMost(most) => {
            let worst = own.map(|own| own.max);
            (format!("never above {most}"), worst, "", |value, bound| value <= bound)
        }
        Bound::Above(most, other) => {
            let above = median.zip(found(PORTREEVE, other)).map(|(own, other)| own - other.median);
            let goal = format!("at most {most} above: {}", other.label());
            (goal, above, "", |value, bound| value <= bound)
        }
    };
    let shown = value.map_or_else(|| "–".to_owned(), |value| format!("{}{unit}", figure(value)));
    (goal, shown, value.map(|value| met(value, bound.limit())))
}

impl Bound {
    fn limit(&self) -> f64 {
        match *self {
            Self::Times(limit, _)
            | Self::AtLeast(limit)
            | Self::WorstAtMost(limit)
            | Self::Above(limit, _) => limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(median: f64) -> Summary {
        Summary { median, min: median / 2.0, max: median * 2.0, count: 3 }
    }

    #[test]
    fn goals_are_met_missed_or_open() {
        let found = |engine: &str, metric: Metric| match (engine, metric) {
            (PORTREEVE, Metric::OutConnectOne) => Some(summary(90.0)),
            (REFERENCE, Metric::OutConnectOne) => Some(summary(100.0)),
            (PORTREEVE, Metric::OutStallToGuest) => Some(summary(30.0)),
            (PORTREEVE, Metric::NamesTail) => Some(summary(1_500.0)),
            (PORTREEVE, Metric::NamesDirectTail) => Some(summary(600.0)),
            _ => None,
        };
        let mut text = String::new();
        write(&mut text, found).expect("a string");
        let verdict = |start: &str| {
            let line = text.lines().find(|line| line.contains(start)).expect("a goal");
            line.rsplit('|').nth(1).expect("a cell").trim().to_owned()
        };
        assert_eq!(verdict("1 in flight"), "met");
        assert_eq!(verdict("64 in flight"), "not measured");
        assert_eq!(verdict("stall of the stream to guest"), "**missed**", "the worst counts");
        assert_eq!(verdict("not cached, p99"), "met");
    }
}
