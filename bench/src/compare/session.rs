//! One engine, started once, measured with each load in turn. A load that fails is a gap with
//! its reason and never stops the comparison.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    Findings, Gap, Sample, Schedule,
    engine::{Engine, PORTREEVE, Running},
    generator::Client,
    metric::{Load, Metric},
    process::{Usage, usage},
    topology::{SECOND_PORT, Topology},
};
use crate::client::Outcome;

/// Above its windows, what a client may need for draining and opening.
const PATIENCE: Duration = Duration::from_secs(45);
/// After this an engine's memory and queues have come to rest.
const SETTLE: Duration = Duration::from_millis(300);
/// For how long connections have been idle when their memory is looked at: an engine may keep
/// buffers warm for a moment after use, and that moment is not what idle connections cost.
const IDLE: Duration = Duration::from_millis(2500);
/// Time for an engine to come up.
const START: Duration = Duration::from_secs(10);
/// No peer measured here holds ten thousand connections under the usual limits; this many do
/// for the memory of one. Their round trips beside them would not compare.
pub(crate) const PEER_IDLE: usize = 2_000;
pub(super) const STREAM_WARMUP: Duration = Duration::from_millis(400);
pub(super) const RATE_WARMUP: Duration = Duration::from_millis(200);

/// One engine in one repeat.
pub(crate) struct Session<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) repeat: usize,
    pub(crate) schedule: &'a Schedule,
    pub(crate) topology: &'a Topology,
}

impl Session<'_> {
    /// Starts the engine, measures, and ends it.
    pub(crate) fn run(&self, findings: &mut Findings) {
        let log = self.topology.ground().scratch.join("engine.log");
        let _ = fs::remove_file(&log);
        let started = self.engine.start(self.topology.ground(), &log);
        let mut running = match started.and_then(|running| self.await_answer(running)) {
            Ok(running) => running,
            Err(error) => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return self.gap(
                    None,
                    &format!("did not start: {error} {}", tail(&said)),
                    findings,
                );
            }
        };
        for load in self.engine.loads(self.schedule.quick) {
            if let Err(error) = self.measure(load, &running, findings) {
                self.gap(Some(load.metric()), &error, findings);
            }
            if let Some(ended) = running.ended() {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return self.gap(None, &format!("ended: {ended} {}", tail(&said)), findings);
            }
        }
    }

    /// Waits until a request has gone through to the server, for as long as the engine lives.
    fn await_answer(&self, mut running: Running) -> Result<Running, String> {
        let until = Instant::now() + START;
        loop {
            let probe = ["probe", "--patience-ms", "500"];
            let outside = self.outside();
            let Err(error) = self.client(outside, &probe, Duration::ZERO, Duration::ZERO, None)
            else {
                return Ok(running);
            };
            if let Some(ended) = running.ended() {
                return Err(ended);
            }
            if Instant::now() > until {
                return Err(error);
            }
        }
    }

    fn gap(&self, metric: Option<Metric>, reason: &str, findings: &mut Findings) {
        findings.gaps.push(Gap {
            engine: self.engine.name(),
            metric,
            repeat: Some(self.repeat),
            reason: reason.trim().to_owned(),
        });
    }

    fn measure(
        &self,
        load: Load,
        running: &Running,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let found = match load.is_outbound() {
            true => self.outbound(load, running),
            false => self.published(load, running),
        }?;
        for (metric, value, lost) in found {
            let (engine, repeat) = (self.engine.name(), self.repeat);
            findings.samples.push(Sample { engine, metric, repeat, value, lost });
        }
        Ok(())
    }

    fn published(&self, load: Load, running: &Running) -> Result<Vec<Found>, String> {
        let rate = |words: &[&str]| {
            self.client(self.outside(), words, RATE_WARMUP, self.schedule.rate, None)
        };
        let mut found = Vec::new();
        match load {
            Load::StreamToGuest => {
                let metrics = [Metric::StreamToGuest, Metric::CpuToGuest];
                found = self.stream(self.outside(), "send", running, metrics)?.0;
            }
            Load::StreamFromGuest => {
                let metrics = [Metric::StreamFromGuest, Metric::CpuFromGuest];
                found = self.stream(self.outside(), "receive", running, metrics)?.0;
            }
            Load::ConnectOne => {
                found.push((Metric::ConnectOne, connected(&rate(&["connect"])?)?, None));
            }
            Load::ConnectMany => {
                let outcome = rate(&["connect", "--in-flight", "64"])?;
                found.push((Metric::ConnectMany, connected(&outcome)?, None));
            }
            Load::Exchange => {
                let outcome = rate(&["exchange"])?;
                found.push((Metric::RoundTripMedian, outcome.p50_nanos as f64 / 1e3, None));
                found.push((Metric::RoundTripTail, outcome.p99_nanos as f64 / 1e3, None));
            }
            Load::Flood => {
                let outcome = rate(&["flood"])?;
                found.push((Metric::Flood, outcome.rate(), Some(outcome.lost())));
            }
            Load::Echo => {
                let outcome = rate(&["echo"])?;
                found.push((Metric::Echo, outcome.rate(), Some(outcome.lost())));
            }
            Load::Idle => found = self.idle(running)?,
            other => return Err(format!("{other:?} is not a load of published ports")),
        }
        Ok(found)
    }

    /// One stream, in the direction as the client sees it.
    pub(super) fn stream(
        &self,
        client: Command,
        direction: &str,
        running: &Running,
        [speed, cpu]: [Metric; 2],
    ) -> Result<(Vec<Found>, Outcome), String> {
        let before = usage(&running.roots);
        let words = ["stream", "--direction", direction];
        let outcome = self.client(client, &words, STREAM_WARMUP, self.schedule.stream, None)?;
        let after = usage(&running.roots);
        let mut found = vec![(speed, outcome.rate() * 8.0 / 1e9, None)];
        if !self.engine.is_bare() && outcome.total > 0 {
            let gibibytes = outcome.total as f64 / f64::from(1 << 30);
            found.push((cpu, (after.cpu_seconds - before.cpu_seconds) / gibibytes, None));
        }
        Ok((found, outcome))
    }

    fn idle(&self, running: &Running) -> Result<Vec<Found>, String> {
        let ours = self.engine.name() == PORTREEVE;
        let count = if ours { self.schedule.idle } else { self.schedule.idle.min(PEER_IDLE) };
        thread::sleep(SETTLE);
        let before = usage(&running.roots);
        let mut opened = Usage::default();
        let mut look = || {
            thread::sleep(IDLE);
            opened = usage(&running.roots);
        };
        let (count_word, port_word) = (count.to_string(), SECOND_PORT.to_string());
        let mut words = vec!["exchange", "--hold", "--idle", &count_word];
        if ours {
            words.extend(["--second-port", &port_word]);
        }
        let window = self.schedule.rate;
        let outcome = self.client(self.outside(), &words, RATE_WARMUP, window, Some(&mut look))?;
        let grown = opened.resident_bytes as f64 - before.resident_bytes as f64;
        let mut found = vec![(Metric::IdleMemory, grown / count as f64 / 1024.0, None)];
        if ours {
            found.push((Metric::IdleRoundTripMedian, outcome.p50_nanos as f64 / 1e3, None));
            found.push((Metric::IdleRoundTripTail, outcome.p99_nanos as f64 / 1e3, None));
        }
        Ok(found)
    }

    /// The client where the clients of published ports are.
    fn outside(&self) -> Command {
        self.topology.client(self.engine.place())
    }

    /// Runs a client to its end; `at_opened` is called when it says that it has opened all.
    pub(super) fn client(
        &self,
        mut command: Command,
        words: &[&str],
        warmup: Duration,
        window: Duration,
        at_opened: Option<&mut dyn FnMut()>,
    ) -> Result<Outcome, String> {
        command
            .args(["--warmup-ms", &warmup.as_millis().to_string()])
            .args(["--window-ms", &window.as_millis().to_string()])
            .args(words);
        let mut client = Client::start(command)?;
        let patience = warmup + window + PATIENCE;
        let mut line = client.line(patience)?;
        if let Some(at_opened) = at_opened
            && line == "opened"
        {
            at_opened();
            client.go_on()?;
            line = client.line(patience)?;
        }
        serde_json::from_str(&line).map_err(|error| format!("client said {line:?}: {error}"))
    }
}

/// A figure, with the share that was lost where that can be.
pub(super) type Found = (Metric, f64, Option<f64>);

/// A path on which connections fail has no rate worth reporting.
pub(super) fn connected(outcome: &Outcome) -> Result<f64, String> {
    if outcome.failed * 100 > outcome.total {
        return Err(format!("{} of {} connections failed", outcome.failed, outcome.total));
    }
    Ok(outcome.rate())
}

/// The end of what a program said, on one line.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_short() {
        assert_eq!(tail("a\nb\n\n c \nd\n"), "b / c / d");
        assert_eq!(tail(""), "");
    }

    #[test]
    fn failing_paths_have_no_rate() {
        let outcome = Outcome { within: 10, nanos: 1_000_000_000, total: 10, ..Outcome::default() };
        assert_eq!(connected(&outcome), Ok(10.0));
        assert!(connected(&Outcome { failed: 1, ..outcome }).is_err());
    }
}
