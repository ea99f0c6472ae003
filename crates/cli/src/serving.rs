//! An engine with its ports, as every command needs it that serves a guest.
//!
//! Owns the order of it: every port is bound, and said, before anybody relies on one; at the end
//! what the guest sent last is delivered before the engine stops.

pub(crate) mod control;

use std::time::Duration;

use portreeve::{Announce, DnsConfig, Drained, Engine, Handle, Link};
use portreeve_control::Server;
use portreeve_types::{Addressing, Limits, PublishItem, PublishSpec, PublishedPort};

use crate::args::serving::ServingArgs;
use crate::report::{self, Failure, PortsFile};
use control::Name;

/// An engine that runs, its ports published.
pub(crate) struct Serving {
    engine: Engine,
    control: Option<Server>,
    ports: Vec<PublishedPort>,
    ports_file: Option<PortsFile>,
    patience: Duration,
}

impl Serving {
    /// Starts the engine and publishes the ports.
    pub(crate) fn start(
        link: impl Link + 'static,
        addressing: Addressing,
        dns: DnsConfig,
        name: &Name,
        specs: &[PublishSpec],
        args: &ServingArgs,
    ) -> Result<Self, Failure> {
        let timeout = u64::try_from(args.connect_timeout.as_millis()).unwrap_or(u64::MAX);
        let engine = Engine::builder()
            .link(link)
            .addressing(addressing)
            .limits(Limits { connect_timeout_ms: timeout, ..Limits::default() })
            .source(args.source.into())
            .egress(args.egress.egress())
            .dns(Some(dns))
            .announce(Announce { hostname: name.hostname().map(Into::into), ..Announce::default() })
            .start()
            .map_err(Failure::ours)?;
        // Before the ports: whoever reads of one may ask about it, and its events are kept.
        let control = control::start(&engine, name, &args.control)?;
        let ports = publish(&engine, specs)?;
        if !args.quiet {
            report::published(&ports);
        }
        let ports_file = args.ports_file.as_deref().map(|path| {
            PortsFile::write(path, &ports)
                .map_err(|error| Failure::ours(format_args!("{}: {error}", path.display())))
        });
        let ports_file = ports_file.transpose()?;
        Ok(Self { ports_file, engine, control, ports, patience: args.drain })
    }

    pub(crate) fn engine(&self) -> &Handle {
        &self.engine
    }

    pub(crate) fn ports(&self) -> &[PublishedPort] {
        &self.ports
    }

    /// The guest is done: whoever looks for its ports is to find none.
    pub(crate) fn withdraw_ports_file(&mut self) {
        self.ports_file = None;
    }

    /// Delivers what is under way, and stops.
    pub(crate) fn finish(mut self) {
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

/// More open files, where that is allowed.
pub(crate) fn raise_fd_limit() {
    if let Err(error) = portreeve::raise_fd_limit() {
        report::warning(format_args!("raising the limit of open files: {error}"));
    }
}

/// Reads what is to be published.
pub(crate) fn parse_specs(texts: &[String]) -> Result<Vec<PublishSpec>, Failure> {
    let mut specs = Vec::new();
    for text in texts {
        let spec: PublishSpec = text.parse().map_err(Failure::diagnostic)?;
        for warning in spec.warnings() {
            report::warning(warning);
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn publish(engine: &Handle, specs: &[PublishSpec]) -> Result<Vec<PublishedPort>, Failure> {
    let mut ports = Vec::new();
    for item in specs.iter().flat_map(PublishSpec::items) {
        if let PublishItem::Request(request) = item {
            ports.extend(engine.publish(&request).map_err(Failure::ours)?);
        }
    }
    Ok(ports)
}
