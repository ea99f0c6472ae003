//! What can go wrong for a caller of the library, each with what was tried and what would help.

use std::io;
use std::net::SocketAddr;

use portreeve_core::{CommandError, FlowId};
use portreeve_host::HostError;
use portreeve_types::{
    AddressingError, AnnounceError, DnsConfigError, EgressError, LimitsError, PublishId,
    PublishRequestError,
};

/// The engine could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No link was given.
    #[error("an engine needs a link to its guest: EngineBuilder::link")]
    NoLink,
    /// The addresses contradict themselves.
    #[error("the guest's addresses: {0}")]
    Addressing(#[from] AddressingError),
    /// A limit is out of its range.
    #[error("the limits: {0}")]
    Limits(#[from] LimitsError),
    /// The system has no entropy to give.
    #[error("reading the system's entropy: {0}")]
    Entropy(String),
    /// What was asked of the guest's own connections contradicts itself.
    #[error("the guest's own connections: {0}")]
    Egress(#[from] EgressError),
    /// What is announced to the guest cannot be.
    #[error("what the guest is told: {0}")]
    Announce(#[from] AnnounceError),
    /// The name server's configuration contradicts itself.
    #[error("the name server: {0}")]
    Dns(#[from] DnsConfigError),
    /// The guest's own traffic cannot leave as asked.
    #[error("the guest's traffic cannot leave as asked: {0}")]
    Outbound(HostError),
    /// The host's network could not be read or watched.
    #[error("the host's network, {operation}: {source}")]
    HostNetwork {
        /// What was done.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The event loop could not be set up.
    #[error("setting up the event loop ({operation}): {source}")]
    EventLoop {
        /// The call.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A port could not be published. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The request contradicts itself.
    #[error("{0}")]
    Request(#[from] PublishRequestError),
    /// The host would not bind.
    #[error("cannot publish {what} on {address}: {cause}{}", hint(.help))]
    Bind {
        /// `80/tcp`.
        what: String,
        /// The host address and port.
        address: String,
        /// What the kernel said.
        cause: io::Error,
        /// What would help.
        help: Option<&'static str>,
    },
    /// All ports of a range are taken.
    #[error("cannot publish {what}: every host port from {first} to {last} is in use")]
    RangeInUse {
        /// `80/tcp`.
        what: String,
        /// The first port tried.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The engine refused.
    #[error("cannot publish {what}: {cause}")]
    Refused {
        /// `80/tcp`.
        what: String,
        /// Why.
        cause: CommandError,
    },
    /// The item means nothing to an engine: `auto` and exclusions are for whoever watches the
    /// guest's own listeners.
    #[error("`{0}` cannot be published by an engine alone: it needs a watched namespace guest")]
    NeedsWatcher(String),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// A port could not be unpublished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpublishError {
    /// There is no such port.
    #[error("no published port {0}")]
    Unknown(PublishId),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// A flow could not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KillError {
    /// There is no such flow; it may have ended.
    #[error("no flow {0}; it may have ended")]
    Unknown(FlowId),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Limits were not changed, none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsChangeError {
    /// A limit is out of its range.
    #[error(transparent)]
    Invalid(#[from] LimitsError),
    /// These size something that is made at the start.
    #[error("{} can be changed only by a restart", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// What the name server answers by itself was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DnsChangeError {
    /// This gateway has no name server.
    #[error("this engine's gateway has no name server")]
    NoNameServer,
    /// The record cannot be.
    #[error(transparent)]
    Invalid(#[from] DnsConfigError),
    /// There is no room for another record.
    #[error("the name server has as many records as it may")]
    Full,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

fn hint(help: &Option<&'static str>) -> String {
    help.map(|help| format!(" ({help})")).unwrap_or_default()
}

impl PublishError {
    /// A bind failed: finds the words that would help.
    pub(crate) fn bind(what: String, error: HostError) -> Self {
        // A path, or a descriptor's number, is no port.
        let is_port = error.address.parse::<SocketAddr>().is_ok();
        let help = match error.source.kind() {
            io::ErrorKind::AddrInUse if !is_port => Some("another process listens there"),
            io::ErrorKind::PermissionDenied if !is_port => None,
            io::ErrorKind::AddrInUse => Some("choose another host port, or 0 for any that is free"),
            io::ErrorKind::AddrNotAvailable => {
                Some("the address is not one of this host's; `ip addr` lists them")
            }
            io::ErrorKind::PermissionDenied => Some(
                "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE: \
                 publish on a port from 1024 up, or lower that sysctl",
            ),
            _ if error.class().is_exhaustion() => Some("raise the limit of open files: ulimit -n"),
            _ => None,
        };
        Self::Bind { what, address: error.address, cause: error.source, help }
    }
}
