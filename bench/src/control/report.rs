//! The report: a table for people, the same as JSON for programs.

use std::{fmt::Write as _, io};

use serde::Serialize;

use super::{
    Schedule,
    measure::{Figure, Goal},
};
use crate::compare::{environment::Environment, statistics::summary};

#[derive(Serialize)]
struct Whole<'a> {
    environment: &'a Environment,
    schedule: &'a Schedule,
    figures: &'a [Figure],
}

pub(super) fn json(
    environment: &Environment,
    schedule: &Schedule,
    figures: &[Figure],
) -> io::Result<String> {
    let whole = Whole { environment, schedule, figures };
    Ok(serde_json::to_string_pretty(&whole).map_err(io::Error::other)? + "\n")
}

pub(super) fn markdown(machine: &str, schedule: &Schedule, figures: &[Figure]) -> String {
    let mut text = String::from(
        "# The control API: how fast it answers, and what it costs the data path\n\n\
         Written by `cargo xtask bench control`. Runs with and without a watcher alternate; a \
         ratio is of two runs next to each other. Client, server, engine, API and whoever watches \
         share the machine's cores. \
         A stream makes no events, so how far a stream with an event reader is from 1 is the \
         noise of the machine.\n\n",
    );
    let _ = writeln!(
        text,
        "{} repeats of {} s each; median, and the least and the most in brackets.\n",
        schedule.repeats,
        schedule.window.as_secs_f64()
    );
    text.push_str("| | found | | goal | |\n|---|---:|---|---|---|\n");
    for figure in figures {
        let Some(found) = summary(&figure.values) else { continue };
        let range = if found.count > 1 {
            format!("({} to {})", number(found.min), number(found.max))
        } else {
            String::new()
        };
        let (goal, met) = match figure.goal {
            Some(Goal::AtLeast(least)) => {
                (format!("at least {least}"), Some(found.median >= least))
            }
            Some(Goal::AtMost(most)) => (format!("at most {most}"), Some(found.median <= most)),
            None => (String::new(), None),
        };
        let met = met.map_or("", |met| if met { "met" } else { "**missed**" });
        let median = number(found.median);
        let _ = writeln!(
            text,
            "| {} | {median} {} | {range} | {goal} | {met} |",
            figure.what, figure.unit
        );
    }
    let _ = writeln!(text, "\n{machine}.");
    text
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        large if large >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_missed_goal_is_told() {
        let schedule =
            Schedule { repeats: 3, window: Duration::from_secs(1), publications: 1, idle: 0 };
        let figure = |values: &[f64], goal| Figure {
            what: "x".into(),
            unit: "ms",
            values: values.to_vec(),
            goal: Some(goal),
        };
        let text = markdown(
            "a machine",
            &schedule,
            &[figure(&[1.0, 3.0, 2.0], Goal::AtMost(2.0)), figure(&[0.5], Goal::AtLeast(0.9))],
        );
        assert!(text.contains("| x | 2.00 ms | (1.00 to 3.00) | at most 2 | met |"), "{text}");
        assert!(text.contains("| x | 0.500 ms |  | at least 0.9 | **missed** |"), "{text}");
    }
}
