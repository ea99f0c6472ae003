//! An engine with its ports, as every command needs it that serves a guest.
//!
//! Owns the order of it: every port is bound, and said, before anybody relies on one; at the end
//! what the guest sent last is delivered before the engine stops.

pub(crate) mod control;

use std::time::Duration;

use portreeve::{Announce, Drained, Engine, Handle, Link};
use portreeve_control::Server;
use portreeve_types::{Addressing, Configuration};

use crate::configuration::Origin;
use crate::ports::Ports;
use crate::reload::Reloader;
use crate::report::{self, Failure};
use control::Name;

/// An engine that runs, its ports published.
pub(crate) struct Serving {
    engine: Engine,
    control: Option<Server>,
    ports: Ports,
    reloader: Reloader,
    patience: Duration,
}

impl Serving {
    /// Starts the engine and publishes the ports.
    pub(crate) fn start(
        link: impl Link + 'static,
        addressing: Addressing,
        name: &Name,
        origin: Origin,
        configuration: Configuration,
    ) -> Result<Self, Failure> {
        let hostname = configuration.name.clone();
        let engine = Engine::builder()
            .link(link)
            .addressing(addressing)
            .limits(configuration.limits.clone())
            .source(configuration.source)
            .egress(configuration.egress.clone())
            .dns(Some(configuration.dns.clone()))
            .announce(Announce { hostname, ..Announce::default() })
            .start()
            .map_err(Failure::ours)?;
        for spec in &configuration.publish {
            for warning in spec.warnings() {
                report::warning(warning);
            }
        }
        let ports = Ports::publish_all(&engine, &configuration)?;
        let (patience, control) = (configuration.drain, configuration.control.clone());
        let reloader = Reloader::new(engine.handle(), ports.clone(), origin, configuration);
        // Whoever reads of a port may ask about it.
        let control = control::start(&engine, name, &control, &reloader)?;
        ports.announce()?;
        Ok(Self { engine, control, ports, reloader, patience })
    }

    pub(crate) fn engine(&self) -> &Handle {
        &self.engine
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// What rereads the configuration.
    pub(crate) fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// The guest is done: whoever looks for its ports is to find none.
    pub(crate) fn withdraw_ports_file(&self) {
        self.ports.withdraw_file();
    }

    /// Delivers what is under way, and stops.
    pub(crate) fn finish(self) {
        self.withdraw_ports_file();
        if let Drained::Stalled { flows } = self.engine.drain(self.patience) {
            report::warning(format_args!(
                "{flows} connections took nothing for {}; what they had not taken may be lost",
                humantime::format_duration(self.patience)
            ));
        }
        self.engine.stop();
        // Behind the engine, whose end is the last that its readers are told.
        drop(self.control);
    }
}

/// The sockets that a service manager has handed over, before anything else is opened: their
/// numbers are known only then.
pub(crate) fn take_activated_sockets() -> Result<(), Failure> {
    match portreeve::activated_sockets() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::ours(format_args!("socket activation: {error}"))),
    }
}

/// More open files, where that is allowed.
pub(crate) fn raise_fd_limit() {
    if let Err(error) = portreeve::raise_fd_limit() {
        report::warning(format_args!("raising the limit of open files: {error}"));
    }
}
