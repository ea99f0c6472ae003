//! `control`: what the control API costs the data path, and how fast it answers.
//!
//! `subject.rs` is the engine that is measured, `http.rs` speaks to it, `measure.rs` measures,
//! `report.rs` writes. Everything runs on loopback, is bounded in time, and ends by itself.

mod http;
mod measure;
mod report;
mod subject;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use measure::Figure;
use subject::Subject;

use crate::compare::{engine::Engine, environment::Environment};

/// What to measure, and where the result goes.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Short windows and three repeats.
    #[arg(long)]
    quick: bool,
    /// Write `control.md` and `control.json` into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Idle connections beside which ports are published.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// The `portreeve` command.
    #[arg(long, value_name = "PATH")]
    portreeve: PathBuf,
}

/// How long and how often.
#[derive(Debug, Clone, Copy, Serialize)]
struct Schedule {
    repeats: usize,
    /// Of a stream or a rate.
    window: Duration,
    /// Ports published and unpublished, one after the other.
    publications: usize,
    idle: usize,
}

/// Measures, prints the report and writes it.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    crate::socket::raise_fd_limit()?;
    let schedule = Schedule {
        repeats: if options.quick { 3 } else { 7 },
        window: Duration::from_millis(if options.quick { 1000 } else { 3000 }),
        publications: if options.quick { 300 } else { 2000 },
        idle: options.idle,
    };
    let engine = Engine::Portreeve { program: options.portreeve.clone() };
    let environment = Environment::read(&[engine]);
    let subject = Subject::start(&options.portreeve)?;
    let figures: Vec<Figure> = measure::all(&subject, &schedule)?;
    drop(subject);
    let machine =
        format!("{}; load average before the run: {}", environment.machine(), environment.load);
    let text = report::markdown(&machine, &schedule, &figures);
    io::stdout().lock().write_all(text.as_bytes())?;
    if let Some(folder) = &options.out {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("control.md"), &text)?;
        fs::write(folder.join("control.json"), report::json(&environment, &schedule, &figures)?)?;
    }
    Ok(())
}
