//! Rereading the configuration while the engine runs.
//!
//! Owns carrying a plan out, and what is in force. What can change is `portreeve-config`'s to say.
//! A configuration that is wrong changes nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use portreeve::{Handle, LimitsChangeError};
use portreeve_config::Plan;
use portreeve_types::api::{Change, ReloadReport};
use portreeve_types::{Configuration, PublishRequest, StaticRecord};

use crate::configuration::{ConfigurationError, Origin};
use crate::ports::Ports;
use crate::report::{self, Failure};

/// Rereads the configuration of one engine, from any thread; every clone is of the same.
#[derive(Clone)]
pub(crate) struct Reloader(Arc<Shared>);

struct Shared {
    engine: Handle,
    ports: Ports,
    origin: Origin,
    /// Held during a reload: one at a time.
    state: Mutex<State>,
}

struct State {
    in_force: Configuration,
    /// Wanted, and not to be had the last time.
    missing: Vec<PublishRequest>,
}

/// Why nothing was reloaded.
pub(crate) enum ReloadError {
    /// There is no file that could be read again.
    NoFile,
    /// The configuration cannot be used.
    Wrong(ConfigurationError),
}

impl Reloader {
    pub(crate) fn new(
        engine: Handle,
        ports: Ports,
        origin: Origin,
        configuration: Configuration,
    ) -> Self {
        let state = Mutex::new(State { in_force: configuration, missing: Vec::new() });
        Self(Arc::new(Shared { engine, ports, origin, state }))
    }

    /// Whether there is a file that can be read again.
    pub(crate) fn has_file(&self) -> bool {
        self.0.origin.path().is_some()
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Configuration {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_force.clone()
    }

    /// Reads the configuration again, and changes what can change.
    pub(crate) fn reload(&self) -> Result<ReloadReport, ReloadError> {
        if !self.has_file() {
            return Err(ReloadError::NoFile);
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.0.origin.resolve().map_err(ReloadError::Wrong)?;
        let plan = Plan::between(&state.in_force, &wanted);
        let mut report = ReloadReport::default();
        // Before the ports, of which more may be allowed now.
        self.change_limits(&plan, &mut state.in_force, &mut report);
        self.change_ports(&plan, &wanted, &mut state, &mut report);
        self.change_records(&plan, &mut state.in_force.dns.records, &mut report);
        report.needs_restart.extend(plan.needs_restart);
        Ok(report)
    }

    /// The same on a signal, when nobody waits for an answer.
    pub(crate) fn reload_and_say(&self) {
        match self.reload() {
            Ok(done) => report::reloaded(&done, self.current().quiet),
            Err(error) => {
                report::failure(&error.into());
                report::warning("nothing was reloaded: everything stays as it was");
            }
        }
    }

    /// What was changed through the API and is the same in both files stays as it is.
    fn change_limits(&self, plan: &Plan, in_force: &mut Configuration, report: &mut ReloadReport) {
        if plan.limits.is_empty() {
            return;
        }
        let engine = &self.0.engine;
        let Some(now) = engine.limits() else { return };
        let mut fixed = Vec::new();
        let mut outcome = engine.set_limits(plan.limits_over(&now, &fixed));
        if let Err(LimitsChangeError::NeedsRestart(names)) = outcome {
            fixed = names;
            outcome = engine.set_limits(plan.limits_over(&now, &fixed));
        }
        let outcome = outcome.map_err(|error| error.to_string());
        for (name, value) in &plan.limits {
            let setting = format!("limits.{name}");
            match &outcome {
                _ if fixed.contains(&name.as_str()) => {
                    let what = format!("{value} in the file; it sizes what is made at the start");
                    report.needs_restart.push(Change { setting, what });
                }
                Ok(_) => report.applied.push(Change { setting, what: format!("is {value}") }),
                Err(error) => report.failed.push(Change { setting, what: error.clone() }),
            }
        }
        if outcome.is_ok() {
            in_force.limits = plan.limits_over(&in_force.limits, &fixed);
        }
    }

    fn change_records(
        &self,
        plan: &Plan,
        in_force: &mut Vec<StaticRecord>,
        report: &mut ReloadReport,
    ) {
        let engine = &self.0.engine;
        for name in &plan.remove_records {
            let setting = format!("dns.records[{name}]");
            match engine.dns_remove_record(name) {
                Ok(was_there) => {
                    in_force.retain(|record| record.name != *name);
                    let what = if was_there { "removed" } else { "was removed already" };
                    report.applied.push(Change { setting, what: what.to_owned() });
                }
                Err(error) => report.failed.push(Change { setting, what: error.to_string() }),
            }
        }
        for record in &plan.set_records {
            let setting = format!("dns.records[{}]", record.name);
            match engine.dns_set_record(record.clone()) {
                Ok(()) => {
                    in_force.retain(|other| other.name != record.name);
                    in_force.push(record.clone());
                    let addresses: Vec<_> =
                        record.addresses.iter().map(|a| a.to_string()).collect();
                    let what = format!("is {}", addresses.join(", "));
                    report.applied.push(Change { setting, what });
                }
                Err(error) => report.failed.push(Change { setting, what: error.to_string() }),
            }
        }
    }

    fn change_ports(
        &self,
        plan: &Plan,
        wanted: &Configuration,
        state: &mut State,
        report: &mut ReloadReport,
    ) {
        let Shared { engine, ports, .. } = &*self.0;
        // First, as a host port may change hands.
        for request in &plan.unpublish {
            if let Some(at) = state.missing.iter().position(|missing| missing == request) {
                state.missing.remove(at);
                continue;
            }
            let was_there = ports.unpublish(engine, request);
            let what = if was_there { "unpublished" } else { "was unpublished already" };
            report.applied.push(change(request, what));
        }
        for request in std::mem::take(&mut state.missing).iter().chain(&plan.publish) {
            match ports.publish(engine, request.clone()) {
                Ok(published) => {
                    let places: Vec<_> = published.iter().map(|p| p.host.to_string()).collect();
                    let what = format!("published at {}", places.join(" and "));
                    report.applied.push(change(request, what));
                }
                Err(error) => {
                    report.failed.push(change(request, error.to_string()));
                    state.missing.push(request.clone());
                }
            }
        }
        state.in_force.publish.clone_from(&wanted.publish);
        if let Err(error) = ports.write_file() {
            let setting = "ports_file".to_owned();
            report.failed.push(Change { setting, what: error.to_string() });
        }
    }
}

fn change(request: &PublishRequest, what: impl Into<String>) -> Change {
    Change { setting: format!("publish[{request}]"), what: what.into() }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("there is no configuration file to read again"),
            Self::Wrong(error) => error.fmt(f),
        }
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::NoFile => Self::ours(error),
            ReloadError::Wrong(error) => error.into(),
        }
    }
}
