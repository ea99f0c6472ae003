//! Orders to a running engine: publish, unpublish, kill.
//!
//! Owns what each order changes in the engine. Sockets are bound by the shell before and closed
//! by it after; an order that fails changes nothing.

use std::net::SocketAddr;

use portreeve_types::{PublishId, SourceMode, Transport};

use crate::engine::Engine;
use crate::engine::event::CloseReason;
use crate::engine::losses::Limit;
use crate::flow::state::PhaseEvent;
use crate::flow::{Body, FlowId};

/// What becomes of the connections of a port that is unpublished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unpublish {
    /// They go on until they end by themselves.
    #[default]
    Drain,
    /// They are reset now.
    Reset,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Carry clients of a port that the shell has bound.
    Publish {
        /// TCP or UDP.
        transport: Transport,
        /// The port in the guest.
        guest_port: u16,
        /// The source that the guest sees; `None` for the engine's default.
        source: Option<SourceMode>,
        /// The host's address and port; `None` for a Unix socket. Here the guest itself reaches it.
        host: Option<SocketAddr>,
    },
    /// Take no more clients of a port.
    Unpublish {
        /// Which.
        publish: PublishId,
        /// What becomes of those it has.
        connections: Unpublish,
    },
    /// End one flow now, with RST to both sides.
    Kill(FlowId),
}

/// The answer to an order that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The port's name and the source its guest will see.
    Published(PublishId, SourceMode),
    /// Done.
    Done,
}

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// As many ports are published as may be.
    TooManyPublished {
        /// The limit.
        limit: usize,
    },
    /// PROXY protocol version 1 has no form for datagrams.
    ProxyV1OverUdp,
    /// No such published port.
    UnknownPublish(PublishId),
    /// No such flow.
    UnknownFlow(FlowId),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyPublished { limit } => {
                write!(f, "{limit} ports are published already, the limit `max_published`")
            }
            Self::ProxyV1OverUdp => f.write_str(
                "PROXY protocol version 1 cannot carry UDP; use proxy-v2, preserve or gateway",
            ),
            Self::UnknownPublish(id) => write!(f, "no published port {}", id.0),
            Self::UnknownFlow(id) => write!(f, "no flow {id}"),
        }
    }
}

impl std::error::Error for CommandError {}

impl Engine {
    pub(crate) fn run_command(&mut self, command: Command) -> Result<Reply, CommandError> {
        match command {
            Command::Publish { transport, guest_port, source, host } => {
                let id = self.publish(transport, guest_port, source)?;
                if let (Reply::Published(id, _), Some(host)) = (id, host) {
                    self.host.port_added(transport, host, id);
                }
                Ok(id)
            }
            Command::Unpublish { publish, connections } => self.unpublish(publish, connections),
            Command::Kill(flow) => self.kill(flow, CloseReason::Killed),
        }
    }

    fn publish(
        &mut self,
        transport: Transport,
        guest_port: u16,
        source: Option<SourceMode>,
    ) -> Result<Reply, CommandError> {
        let limit = self.config.limits.max_published;
        if self.published.len() >= limit {
            self.limit_reached(Limit::MaxPublished);
            return Err(CommandError::TooManyPublished { limit });
        }
        let source = source.unwrap_or(self.config.source);
        if transport == Transport::Udp && source == SourceMode::ProxyV1 {
            return Err(CommandError::ProxyV1OverUdp);
        }
        Ok(Reply::Published(self.published.add(transport, guest_port, source), source))
    }

    fn unpublish(
        &mut self,
        publish: PublishId,
        connections: Unpublish,
    ) -> Result<Reply, CommandError> {
        if !self.published.drain(publish) {
            return Err(CommandError::UnknownPublish(publish));
        }
        self.host.port_removed(publish);
        if connections == Unpublish::Reset {
            let of_port = |flow: &&crate::flow::Flow| flow.publish == Some(publish);
            let flows: Vec<_> = self.flows.iter().filter(of_port).map(|flow| flow.id).collect();
            for id in flows {
                // A flow in TIME-WAIT has nothing left to end.
                let _ = self.kill(id, CloseReason::Killed);
            }
        }
        if self.published.get(publish).is_none() {
            self.udp_family.remove(&publish);
        }
        Ok(Reply::Done)
    }

    fn kill(&mut self, id: FlowId, reason: CloseReason) -> Result<Reply, CommandError> {
        match self.flows.get(id).map(|flow| &flow.body) {
            Some(Body::Tcp(_)) => self.tcp_event(id, PhaseEvent::Kill),
            Some(Body::Udp(_)) => self.udp_remove(id, reason),
            Some(Body::Mapping(_)) => self.mapping_remove(id, reason),
            Some(Body::TimeWait(_)) | None => return Err(CommandError::UnknownFlow(id)),
        }
        Ok(Reply::Done)
    }
}
