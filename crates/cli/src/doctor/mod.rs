//! `portreeve doctor`: what this machine gives `portreeve run` and its guests, and what would
//! change that.
//!
//! Owns the order of it and what a check is. Changes nothing on the machine: what is tried is
//! taken away again, and the only thing sent is one question to each of the host's name servers.
//!
//! - `machine`: finds out; `name_servers`: asks them
//! - `verdicts`: what the findings mean; pure, so that every machine can be made up in tests
//! - `screen`: all that is printed

mod machine;
mod name_servers;
mod screen;
mod verdicts;

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::report::Failure;

/// How much of what is needed is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// All of it.
    Ok,
    /// `portreeve run` works, with less than it could have.
    Degraded,
    /// `portreeve run` does not work without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// As in docs/manual/doctor.md; programs rely on it.
    name: &'static str,
    status: Status,
    /// What there is.
    found: String,
    /// What does not work because of it.
    cost: Option<String>,
    /// What would change it; several ways are divided by `; `.
    fix: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
struct Diagnosis {
    version: &'static str,
    /// Whether `portreeve run` works.
    works: bool,
    checks: Vec<Check>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), cost: None, fix: None }
    }

    fn degraded(name: &'static str, found: impl Into<String>, cost: &str, fix: &str) -> Self {
        let (cost, fix) = (Some(cost.to_owned()), Some(fix.to_owned()));
        Self { name, status: Status::Degraded, found: found.into(), cost, fix }
    }

    fn missing(name: &'static str, found: impl Into<String>, fix: Option<String>) -> Self {
        let cost = Some("`portreeve run` does not work".to_owned());
        Self { name, status: Status::Missing, found: found.into(), cost, fix }
    }
}

impl Diagnosis {
    fn of(checks: Vec<Check>) -> Self {
        let works = checks.iter().all(|check| check.status != Status::Missing);
        Self { version: env!("CARGO_PKG_VERSION"), works, checks }
    }
}

/// Looks, and says what it found: exit code 0 when `portreeve run` works, else 1.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let machine = machine::look();
    let diagnosis = Diagnosis::of(verdicts::all(&machine));
    if args.json {
        screen::json(&diagnosis).map_err(Failure::ours)?;
    } else {
        screen::table(&diagnosis).map_err(Failure::ours)?;
    }
    Ok(u8::from(!diagnosis.works))
}
