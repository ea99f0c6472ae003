//! What is measured of the control API: its own latency, and what it takes from the data path.
//!
//! Runs with and without alternate, so that a machine that slows down slows both.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Schedule, http::Connection, subject::Subject};
use crate::client::Direction;

/// One figure: what is measured, in which unit, what it must reach, and what was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) values: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) goal: Option<Goal>,
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// Requests each second beside a stream.
const API_RATE: u32 = 1000;
/// Clients that share them.
const API_CLIENTS: u32 = 4;
/// What they ask for, in turn.
const API_PATHS: [&str; 4] = ["/v1/stats", "/v1/flows?limit=100", "/v1/ports", "/metrics"];
/// Captures, and whether each has to keep to the goal: a copy of every byte costs what it costs.
const CAPTURES: [(&str, &str, bool); 2] = [
    ("a capture as it is by default", "/v1/capture", true),
    ("a capture of every byte", "/v1/capture?snap_length=262144", false),
];

pub(super) fn all(subject: &Subject, schedule: &Schedule) -> io::Result<Vec<Figure>> {
    let mut figures = publications(subject, schedule)?;
    figures.extend(watchers(subject, schedule)?);
    figures.extend(connections(subject, schedule)?);
    figures.extend(requests(subject, schedule)?);
    Ok(figures)
}

/// Publishing and unpublishing beside idle connections.
fn publications(subject: &Subject, schedule: &Schedule) -> io::Result<Vec<Figure>> {
    let held = subject.hold(schedule.idle)?;
    let mut api = subject.connect()?;
    let (mut publish, mut unpublish) = (Vec::new(), Vec::new());
    for _ in 0..schedule.publications {
        let begun = Instant::now();
        let answer = api.ask("POST", "/v1/ports", r#"{"spec":"127.0.0.1:0:9"}"#)?;
        publish.push(millis(begun.elapsed()));
        let ports: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(io::Error::other)?;
        let id = ports["ports"][0]["id"].as_u64();
        let id = id.ok_or_else(|| io::Error::other(format!("publish: {}", answer.status)))?;
        let begun = Instant::now();
        let answer = api.ask("DELETE", &format!("/v1/ports/{id}"), "")?;
        unpublish.push(millis(begun.elapsed()));
        if answer.status != 204 {
            return Err(io::Error::other(format!("unpublish: {}", answer.status)));
        }
    }
    drop(held);
    let idle = schedule.idle;
    let figure = |what: &str, times: &mut Vec<f64>, part: f64, goal| Figure {
        what: format!("{what} beside {idle} idle connections"),
        unit: "ms",
        values: vec![quantile(times, part)],
        goal,
    };
    let goal = Some(Goal::AtMost(2.0));
    Ok(vec![
        figure("publish, median", &mut publish, 0.5, None),
        figure("publish, 99 of 100", &mut publish, 0.99, goal),
        figure("unpublish, median", &mut unpublish, 0.5, None),
        figure("unpublish, 99 of 100", &mut unpublish, 0.99, goal),
    ])
}

/// A stream each way, alone and while somebody watches.
fn watchers(subject: &Subject, schedule: &Schedule) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (direction, name) in
        [(Direction::Send, "to the guest"), (Direction::Receive, "from the guest")]
    {
        let reader = [("an event reader", "/v1/events", true)];
        let watchers = reader.into_iter().chain(CAPTURES);
        let mut watched: Vec<_> = watchers.map(|watcher| (watcher, Vec::new())).collect();
        // The first run finds cold caches and small buffers.
        subject.stream(direction, schedule.window)?;
        let mut alone = Vec::new();
        for _ in 0..schedule.repeats {
            let plain = subject.stream(direction, schedule.window)?.rate();
            alone.push(plain * 8.0 / 1e9);
            for ((_, path, _), ratios) in &mut watched {
                let with = followed(subject, path, || subject.stream(direction, schedule.window))?;
                ratios.push(with.rate() / plain);
            }
        }
        figures.push(Figure {
            what: format!("stream {name}, nobody watches"),
            unit: "Gbit/s",
            values: alone,
            goal: None,
        });
        for ((what, _, judged), values) in watched {
            figures.push(Figure {
                what: format!("stream {name} with {what}"),
                unit: "× alone",
                values,
                goal: judged.then_some(Goal::AtLeast(0.9)),
            });
        }
    }
    Ok(figures)
}

/// Short connections, alone and while somebody reads an event for each end of each.
fn connections(subject: &Subject, schedule: &Schedule) -> io::Result<Vec<Figure>> {
    let (mut alone, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..schedule.repeats {
        let plain = subject.connections(schedule.window)?.rate();
        let read = || subject.connections(schedule.window);
        ratios.push(followed(subject, "/v1/events", read)?.rate() / plain);
        alone.push(plain);
    }
    let figure = |what: &str, unit, values, goal| Figure { what: what.into(), unit, values, goal };
    Ok(vec![
        figure("connections, nobody watches", "1/s", alone, None),
        figure("connections with an event reader", "× alone", ratios, Some(Goal::AtLeast(0.9))),
    ])
}

/// Many requests beside a stream at full speed.
fn requests(subject: &Subject, schedule: &Schedule) -> io::Result<Vec<Figure>> {
    let (mut quiet, mut stalls, mut rates, mut slowest) = (vec![], vec![], vec![], vec![]);
    for _ in 0..schedule.repeats {
        let alone = subject.stream(Direction::Receive, schedule.window)?;
        quiet.push(alone.stall_nanos as f64 / 1e6);
        let stop = AtomicBool::new(false);
        let done = AtomicU64::new(0);
        let begun = Instant::now();
        let (outcome, mut times) = thread::scope(|scope| {
            let clients: Vec<_> = (0..API_CLIENTS)
                .map(|client| {
                    scope.spawn({
                        let (stop, done) = (&stop, &done);
                        move || keep_asking(subject, client as usize, stop, done)
                    })
                })
                .collect();
            let outcome = subject.stream(Direction::Receive, schedule.window);
            stop.store(true, Ordering::Relaxed);
            let mut times = Vec::new();
            for client in clients {
                let asked = client.join().map_err(|_| io::Error::other("a client panicked"))?;
                times.extend(asked?);
            }
            Ok::<_, io::Error>((outcome?, times))
        })?;
        rates.push(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64());
        stalls.push(outcome.stall_nanos as f64 / 1e6);
        slowest.push(quantile(&mut times, 0.99));
    }
    let figure = |what: &str, unit, values, goal| Figure { what: what.into(), unit, values, goal };
    Ok(vec![
        figure("longest stall of a stream, no requests", "ms", quiet, None),
        figure(
            "longest stall of a stream beside 1,000 requests a second",
            "ms",
            stalls,
            Some(Goal::AtMost(10.0)),
        ),
        figure("requests answered beside it", "1/s", rates, None),
        figure("an answer beside it, 99 of 100", "ms", slowest, None),
    ])
}

/// Asks at its share of the rate until told to stop; returns how long each answer took.
fn keep_asking(
    subject: &Subject,
    first: usize,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> io::Result<Vec<f64>> {
    let mut api = subject.connect()?;
    let interval = Duration::from_secs(1) * API_CLIENTS / API_RATE;
    let mut next = Instant::now();
    let mut times = Vec::new();
    let mut turn = first;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = api.ask("GET", API_PATHS[turn % API_PATHS.len()], "")?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("{}: {}", API_PATHS[turn % 4], answer.status)));
        }
        times.push(millis(begun.elapsed()));
        done.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        next += interval;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(times)
}

/// Does `work` while an endless answer is read as fast as it comes.
fn followed<T>(
    subject: &Subject,
    path: &str,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let connection: Connection = subject.connect()?;
    let closer = connection.closer()?;
    thread::scope(|scope| {
        let reader = scope.spawn(move || connection.follow(path, |_| {}));
        let done = work();
        // Its reader then sees the end, which is no error of the measurement.
        closer.shutdown(std::net::Shutdown::Both)?;
        match reader.join() {
            Ok(Ok(())) => done,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("a reader panicked")),
        }
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value that this part of them does not exceed.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    // Both are small and not negative.
    let at = (part * last as f64).ceil() as usize;
    values.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), 51.0);
        assert_eq!(quantile(&mut values, 0.99), 100.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
