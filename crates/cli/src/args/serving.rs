//! The options that every command takes which serves a guest.
//!
//! Owns their names, defaults and texts; those that say what the guest's network is are in
//! `network.rs`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portreeve_types::SourceMode;

use super::control::ControlArgs;
use super::duration;
use super::network::{AddressArgs, DnsArgs, EgressArgs};

/// What is published, how, and for whom.
#[derive(Debug, Args)]
pub(crate) struct ServingArgs {
    /// Publish a guest port: `[HOST_IP:][HOST_PORT[-LAST]:]GUEST_PORT[-LAST][/PROTO]`
    ///
    /// As Docker's. Binds 127.0.0.1 and ::1 unless an address is given; host port 0 or none lets
    /// the kernel choose. Also `unix:PATH:GUEST_PORT`, `fd:N:GUEST_PORT`, `auto` for whatever the
    /// guest listens on, `~22` to leave a port out of `auto`, and `key=value,…` as in Compose.
    #[arg(short = 'p', long = "publish", value_name = "SPEC")]
    pub(crate) publish: Vec<String>,
    /// Whom the guest sees as the client of a published port
    #[arg(long, value_name = "MODE", default_value = "gateway")]
    pub(crate) source: Source,
    /// How long the guest may take to answer a connection before the client is refused
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// At the end: how long clients may take nothing before what the guest sent last is given up
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) drain: Duration,
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
