//! What is published by hand, and the file that says so.
//!
//! Owns which published port came of which request, so that a request that is taken back takes its
//! ports along. What is published automatically or through the API is not among them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portreeve::{Handle, PublishError, Unpublish};
use portreeve_types::{Configuration, PublishItem, PublishRequest, PublishSpec, PublishedPort};

use crate::report::{self, Failure, PortsFile};

/// The published ports; every clone is of the same.
#[derive(Clone)]
pub(crate) struct Ports(Arc<Mutex<State>>);

struct State {
    by_request: Vec<(PublishRequest, Vec<PublishedPort>)>,
    path: Option<PathBuf>,
    file: Option<PortsFile>,
    quiet: bool,
}

impl Ports {
    /// Publishes what the configuration asks for, or fails and leaves that to the engine's end.
    pub(crate) fn publish_all(
        engine: &Handle,
        configuration: &Configuration,
    ) -> Result<Self, Failure> {
        let mut by_request = Vec::new();
        for item in configuration.publish.iter().flat_map(PublishSpec::items) {
            if let PublishItem::Request(request) = item {
                let ports = engine.publish(&request).map_err(Failure::ours)?;
                by_request.push((request, ports));
            }
        }
        let state = State {
            by_request,
            path: configuration.ports_file.clone(),
            file: None,
            quiet: configuration.quiet,
        };
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Says what is published, on standard error and in the file.
    pub(crate) fn announce(&self) -> Result<(), Failure> {
        let mut state = self.state();
        if !state.quiet {
            report::published(&state.list());
        }
        state.write_file()
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<PublishedPort> {
        self.state().list()
    }

    /// Publishes one more. The answer is what it is now.
    pub(crate) fn publish(
        &self,
        engine: &Handle,
        request: PublishRequest,
    ) -> Result<Vec<PublishedPort>, PublishError> {
        let ports = engine.publish(&request)?;
        let mut state = self.state();
        if !state.quiet {
            report::published(&ports);
        }
        state.by_request.push((request, ports.clone()));
        Ok(ports)
    }

    /// Takes back what came of a request; its connections end by themselves. The answer is whether
    /// anything had come of it and was still there.
    pub(crate) fn unpublish(&self, engine: &Handle, request: &PublishRequest) -> bool {
        let mut state = self.state();
        let at = state.by_request.iter().position(|(published, _)| published == request);
        let Some(at) = at else { return false };
        let (_, ports) = state.by_request.remove(at);
        // Somebody else may have unpublished it through the API.
        ports.iter().filter(|port| engine.unpublish(port.id, Unpublish::Drain).is_ok()).count() > 0
    }

    /// Writes the file anew, if there is one.
    pub(crate) fn write_file(&self) -> Result<(), Failure> {
        self.state().write_file()
    }

    /// The guest is done: whoever looks for its ports is to find none.
    pub(crate) fn withdraw_file(&self) {
        let mut state = self.state();
        (state.path, state.file) = (None, None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn list(&self) -> Vec<PublishedPort> {
        self.by_request.iter().flat_map(|(_, ports)| ports).cloned().collect()
    }

    fn write_file(&mut self) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let written = PortsFile::write(path, &self.list())
            .map_err(|error| Failure::ours(format_args!("{}: {error}", path.display())))?;
        match &mut self.file {
            // Removed at the end, not now: it has just been written.
            Some(_) => written.keep(),
            none => *none = Some(written),
        }
        Ok(())
    }
}
