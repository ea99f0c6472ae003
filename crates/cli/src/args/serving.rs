//! The options that every command takes which serves a guest.
//!
//! Owns their names and texts, and what each of them is in a configuration; those that say what
//! the guest's network is are in `network.rs`. What is not given changes nothing: the defaults are
//! the configuration's.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portreeve_types::{Configuration, PublishSpec, SourceMode, parse_duration};

use super::control::ControlArgs;
use super::network::{AddressArgs, DnsArgs, EgressArgs};
use crate::configuration::ConfigurationError;

/// What is published, how, and for whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServingArgs {
    /// Publish a guest port: `[HOST_IP:][HOST_PORT[-LAST]:]GUEST_PORT[-LAST][/PROTO]`
    ///
    /// As Docker's. Binds 127.0.0.1 and ::1 unless an address is given; host port 0 or none lets
    /// the kernel choose. Also `unix:PATH:GUEST_PORT`, `fd:N:GUEST_PORT`, `fd:NAME:GUEST_PORT` for
    /// sockets of socket activation, `auto` for whatever the guest listens on, `~22` to leave a
    /// port out of `auto`, and `key=value,…` as in Compose.
    #[arg(short = 'p', long = "publish", value_name = "SPEC")]
    pub(crate) publish: Vec<String>,
    /// Whom the guest sees as the client of a published port [default: gateway]
    #[arg(long, value_name = "MODE")]
    pub(crate) source: Option<Source>,
    /// How long the guest may take to answer a connection before the client is refused [default:
    /// 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// At the end: how long clients may take nothing before what the guest sent last is given up
    /// [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) drain: Option<Duration>,
    /// Write the published ports to this file, one a line as `80/tcp -> 127.0.0.1:8080`, or as
    /// JSON if its name ends in `.json`; it is removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ports_file: Option<PathBuf>,
    /// Do not print the published ports
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) egress: EgressArgs,
    #[command(flatten)]
    pub(crate) dns: DnsArgs,
    #[command(flatten)]
    pub(crate) addresses: AddressArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

impl ServingArgs {
    /// Puts what was given in place of what is there; what is to be published is added.
    pub(crate) fn apply(&self, to: &mut Configuration) -> Result<(), ConfigurationError> {
        for text in &self.publish {
            to.publish.push(text.parse::<PublishSpec>()?);
        }
        if let Some(source) = self.source {
            to.source = source.into();
        }
        if let Some(timeout) = self.connect_timeout {
            let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            to.limits.connect_timeout_ms = timeout;
        }
        if let Some(drain) = self.drain {
            to.drain = drain;
        }
        if let Some(path) = &self.ports_file {
            to.ports_file = Some(path.clone());
        }
        to.quiet |= self.quiet;
        self.egress.apply(&mut to.egress);
        self.dns.apply(&mut to.dns);
        self.addresses.apply(&mut to.addresses);
        self.control.apply(&mut to.control);
        Ok(())
    }
}

/// Source of published connections, as the guest sees it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Source {
    /// The gateway's address
    Gateway,
    /// The client's own address and port, wherever the guest's routes lead back to it
    Preserve,
    /// The gateway's address, with a PROXY protocol version 1 line in front (TCP only)
    ProxyV1,
    /// The gateway's address, with a PROXY protocol version 2 header in front
    ProxyV2,
}

impl From<Source> for SourceMode {
    fn from(source: Source) -> Self {
        match source {
            Source::Gateway => Self::Gateway,
            Source::Preserve => Self::Preserve,
            Source::ProxyV1 => Self::ProxyV1,
            Source::ProxyV2 => Self::ProxyV2,
        }
    }
}
