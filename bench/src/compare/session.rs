//! One engine, started once, measured with each load in turn. A load that fails is a gap with
//! its reason and never stops the comparison.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Findings, Gap, Sample, Schedule,
    engine::{Engine, PORTREEVE, Running},
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
const STREAM_WARMUP: Duration = Duration::from_millis(400);
const RATE_WARMUP: Duration = Duration::from_millis(200);

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
            let Err(error) = self.client(&probe, Duration::ZERO, Duration::ZERO, None) else {
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
        let rate = |words: &[&str]| self.client(words, RATE_WARMUP, self.schedule.rate, None);
        let mut found = Vec::new();
        match load {
            Load::StreamToGuest => {
                found =
                    self.stream("to-guest", running, [Metric::StreamToGuest, Metric::CpuToGuest])?;
            }
            Load::StreamFromGuest => {
                let metrics = [Metric::StreamFromGuest, Metric::CpuFromGuest];
                found = self.stream("from-guest", running, metrics)?;
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
                let lost = outcome.failed as f64 / outcome.sent.max(1) as f64;
                found.push((Metric::Flood, outcome.rate(), Some(lost)));
            }
            Load::Echo => {
                let outcome = rate(&["echo"])?;
                let lost = outcome.failed as f64 / outcome.sent.max(1) as f64;
                found.push((Metric::Echo, outcome.rate(), Some(lost)));
            }
            Load::Idle => found = self.idle(running)?,
        }
        for (metric, value, lost) in found {
            let (engine, repeat) = (self.engine.name(), self.repeat);
            findings.samples.push(Sample { engine, metric, repeat, value, lost });
        }
        Ok(())
    }

    fn stream(
        &self,
        direction: &str,
        running: &Running,
        [speed, cpu]: [Metric; 2],
    ) -> Result<Vec<Found>, String> {
        let before = usage(&running.roots);
        let words = ["stream", "--direction", direction];
        let outcome = self.client(&words, STREAM_WARMUP, self.schedule.stream, None)?;
        let after = usage(&running.roots);
        let mut found = vec![(speed, outcome.rate() * 8.0 / 1e9, None)];
        if !self.engine.is_bare() && outcome.total > 0 {
            let gibibytes = outcome.total as f64 / f64::from(1 << 30);
            found.push((cpu, (after.cpu_seconds - before.cpu_seconds) / gibibytes, None));
        }
        Ok(found)
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
        let outcome = self.client(&words, RATE_WARMUP, self.schedule.rate, Some(&mut look))?;
        let grown = opened.resident_bytes as f64 - before.resident_bytes as f64;
        let mut found = vec![(Metric::IdleMemory, grown / count as f64 / 1024.0, None)];
        if ours {
            found.push((Metric::IdleRoundTripMedian, outcome.p50_nanos as f64 / 1e3, None));
            found.push((Metric::IdleRoundTripTail, outcome.p99_nanos as f64 / 1e3, None));
        }
        Ok(found)
    }

    /// Runs a client to its end; `at_opened` is called when it says that it has opened all.
    fn client(
        &self,
        words: &[&str],
        warmup: Duration,
        window: Duration,
        at_opened: Option<&mut dyn FnMut()>,
    ) -> Result<Outcome, String> {
        let mut command = self.topology.client(self.engine.place());
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

type Found = (Metric, f64, Option<f64>);

/// A path on which connections fail has no rate worth reporting.
fn connected(outcome: &Outcome) -> Result<f64, String> {
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

/// A running load generator; killed when dropped.
struct Client {
    child: Child,
    lines: Receiver<String>,
}

impl Client {
    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("client: {error}"))?;
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().ok_or("client without stdout")?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn line(&mut self, patience: Duration) -> Result<String, String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(format!("no result within {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => {
                let mut said = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                Err(said.trim().trim_start_matches("portreeve-bench: ").to_owned())
            }
        }
    }

    fn go_on(&mut self) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("client without stdin")?;
        stdin.write_all(b"go\n").map_err(|error| format!("client: {error}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has said its result ends by itself; any other has nothing to say any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
