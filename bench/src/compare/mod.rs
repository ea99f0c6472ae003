//! `compare`: published ports and the guest's own connections through several engines, measured in
//! one run on one machine.
//!
//! `isolation.rs` makes the private namespaces everything runs in, `topology.rs` the network,
//! `engine.rs` knows how each engine is started, `metric.rs` what is measured, `session.rs`
//! and `outbound.rs` measure, `goals.rs` judges, `report.rs` writes. Nothing outside the namespaces is changed.

pub(crate) mod engine;
pub(crate) mod environment;
pub(crate) mod generator;
mod goals;
mod isolation;
mod metric;
mod outbound;
pub(crate) mod process;
mod report;
mod session;
pub(crate) mod statistics;
mod topology;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use engine::{Engine, Peer};
use environment::Environment;
use metric::{Metric, Section};
use session::Session;
use topology::Topology;

/// What to compare, and where the result goes.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Short windows, three repeats, the figures that matter most: under three minutes.
    #[arg(long)]
    quick: bool,
    /// What to measure beside portreeve; `none` is the bare link and bare loopback.
    #[arg(long, value_delimiter = ',', default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// Write `publish.md`, `outbound.md` and the same as `.json` into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Repeats of everything; default 7, with --quick 3.
    #[arg(long)]
    repeats: Option<usize>,
    /// Idle connections of portreeve's latency and memory figures; peers get 2000 at most.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// TCP buffer limits inside the namespaces of the comparison.
    #[arg(long, value_enum, default_value_t = Buffers::Default)]
    buffers: Buffers,
    /// The `portreeve` command; without it only the peers are measured.
    #[arg(long, value_name = "PATH")]
    portreeve: Option<PathBuf>,
}

/// Limits of TCP socket buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Buffers {
    /// As the machine has them.
    Default,
    /// Up to 64 MiB, in the private namespaces only.
    Raised,
}

/// How long and how often.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Schedule {
    pub(crate) quick: bool,
    pub(crate) repeats: usize,
    pub(crate) idle: usize,
    pub(crate) buffers: Buffers,
    /// Window of a stream.
    pub(crate) stream: Duration,
    /// Window of anything that is counted per second.
    pub(crate) rate: Duration,
    /// No repeat starts that would not end by then.
    pub(crate) deadline: Option<Duration>,
}

impl Schedule {
    fn new(options: &Options) -> Self {
        let quick = options.quick;
        Self {
            quick,
            repeats: options.repeats.unwrap_or(if quick { 3 } else { 7 }),
            idle: options.idle,
            buffers: options.buffers,
            stream: Duration::from_millis(if quick { 1200 } else { 5000 }),
            rate: Duration::from_millis(if quick { 800 } else { 5000 }),
            deadline: quick.then_some(Duration::from_secs(172)),
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) engine: &'static str,
    pub(crate) metric: Metric,
    pub(crate) repeat: usize,
    pub(crate) value: f64,
    /// Share of what was sent and did not arrive, where that can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<f64>,
}

/// Something that could not be measured, and why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Gap {
    pub(crate) engine: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metric: Option<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repeat: Option<usize>,
    pub(crate) reason: String,
}

/// Everything a report is made of.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    pub(crate) environment: Environment,
    pub(crate) schedule: Schedule,
    /// Repeats that were completed.
    pub(crate) completed: usize,
    pub(crate) engines: Vec<Engine>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) gaps: Vec<Gap>,
}

impl Findings {
    /// What belongs into one report; what concerns an engine as a whole belongs into each.
    fn of(&self, section: Section) -> Self {
        let belongs = |metric: Metric| metric.section() == section;
        Self {
            environment: self.environment.clone(),
            schedule: self.schedule,
            completed: self.completed,
            engines: self
                .engines
                .iter()
                .filter(|engine| section == Section::Published || engine.has_guest())
                .cloned()
                .collect(),
            samples: self.samples.iter().filter(|sample| belongs(sample.metric)).cloned().collect(),
            gaps: self.gaps.iter().filter(|gap| gap.metric.is_none_or(belongs)).cloned().collect(),
        }
    }
}

/// Runs the comparison in fresh namespaces, or says why that cannot be.
pub(crate) fn run(_options: &Options) -> io::Result<()> {
    isolation::run()
}

/// The comparison, inside its namespaces.
pub(crate) fn run_isolated(options: &Options) -> io::Result<()> {
    let ground = match isolation::prepare() {
        Ok(ground) => ground,
        Err(error) => return skipped(&error.to_string()),
    };
    let topology = match Topology::new(&ground, options.buffers) {
        Ok(topology) => topology,
        Err(error) => return skipped(&error.to_string()),
    };
    let findings = measure(options, &topology)?;
    for section in Section::ALL {
        let part = findings.of(section);
        let text = report::markdown(&part, section);
        write!(io::stdout().lock(), "{text}")?;
        if let Some(dir) = &options.out {
            let file = |end: &str| dir.join(format!("{}.{end}", section.file()));
            fs::create_dir_all(dir)?;
            fs::write(file("md"), &text)?;
            fs::write(file("json"), serde_json::to_string_pretty(&part)? + "\n")?;
        }
    }
    let ours = |sample: &Sample| sample.engine == engine::PORTREEVE;
    if options.portreeve.is_some() && !findings.samples.iter().any(ours) {
        return Err(io::Error::other("portreeve was to be measured and could not be"));
    }
    Ok(())
}

fn skipped(reason: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "benchmark skipped: {reason}")
}

/// All engines in turn, all repeats, in an order that changes from one repeat to the next.
fn measure(options: &Options, topology: &Topology) -> io::Result<Findings> {
    let schedule = Schedule::new(options);
    let mut gaps = Vec::new();
    let mut engines = Vec::new();
    for engine in engine::engines(&options.peers, options.portreeve.as_deref()) {
        match engine.available(topology.ground()) {
            Ok(()) if engine.loads(schedule.quick).is_empty() => {
                let reason = "left out of a quick run".to_owned();
                gaps.push(Gap { engine: engine.name(), metric: None, repeat: None, reason });
            }
            Ok(()) => engines.push(engine),
            Err(reason) => {
                gaps.push(Gap { engine: engine.name(), metric: None, repeat: None, reason });
            }
        }
    }
    let mut findings = Findings {
        environment: Environment::read(&engines),
        schedule,
        completed: 0,
        engines: engines.clone(),
        samples: Vec::new(),
        gaps,
    };
    let began = Instant::now();
    for repeat in 0..schedule.repeats {
        let spent = began.elapsed();
        let next = spent * u32::try_from(repeat + 1).unwrap_or(1)
            / u32::try_from(repeat.max(1)).unwrap_or(1);
        if repeat > 0 && schedule.deadline.is_some_and(|deadline| next > deadline) {
            progress(&format!("stopping after {repeat} repeats: the time is up"))?;
            break;
        }
        if repeat > 0 && !engines.is_empty() {
            engines.rotate_left(1);
        }
        for engine in &engines {
            progress(&format!("repeat {} of {}: {}", repeat + 1, schedule.repeats, engine.name()))?;
            Session { engine, repeat, schedule: &schedule, topology }.run(&mut findings);
        }
        findings.completed = repeat + 1;
    }
    Ok(findings)
}

/// Progress goes to stderr, so that stdout is the report alone.
fn progress(line: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{line}")
}
