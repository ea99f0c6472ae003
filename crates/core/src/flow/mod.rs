//! One flow: what the engine knows of a connection or a UDP association.
//!
//! Owns the record and its name. The table that holds records is `table.rs`, what a TCP flow goes
//! through is `state.rs` and `tcp/`, what a UDP flow goes through is `udp.rs`.

pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::fmt;
use std::net::SocketAddr;

use portreeve_types::{PublishId, Transport};
use portreeve_wire::FlowKey;

use portreeve_types::Instant;
use state::Phase;
use tcp::Tcp;
use tcp::time_wait::TimeWait;
use udp::Udp;

/// Names a flow. A name is not used again for another flow while anybody can still hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl FlowId {
    /// Slot of the flow: dense, so the shell may use it as an index into a table of its own.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The name as one number: generation above slot.
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// The record of one flow.
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) key: FlowKey,
    /// The published port it came through; `None` for a flow that the guest opened.
    pub(crate) publish: Option<PublishId>,
    /// The client on the host's side; `None` for a client on a Unix socket.
    pub(crate) client: Option<SocketAddr>,
    pub(crate) opened: Instant,
    pub(crate) bytes_to_guest: u64,
    pub(crate) bytes_from_guest: u64,
    /// When the flow next wants to be looked at.
    pub(crate) deadline: Option<Instant>,
    /// When the timer heap will bring it up; never later than `deadline`.
    pub(crate) armed: Option<Instant>,
    pub(crate) in_egress: bool,
    pub(crate) in_relay: bool,
    pub(crate) body: Body,
}

/// What differs between transports.
pub(crate) enum Body {
    Tcp(Box<Tcp>),
    Udp(Udp),
    /// What is left of a TCP flow that we closed first.
    TimeWait(TimeWait),
}

impl Flow {
    /// A flow that has moved nothing yet.
    pub(crate) fn new(id: FlowId, key: FlowKey, opened: Instant, body: Body) -> Self {
        Self {
            id,
            key,
            publish: None,
            client: None,
            opened,
            bytes_to_guest: 0,
            bytes_from_guest: 0,
            deadline: None,
            armed: None,
            in_egress: false,
            in_relay: false,
            body,
        }
    }

    pub(crate) fn tcp(&self) -> Option<&Tcp> {
        match &self.body {
            Body::Tcp(tcp) => Some(tcp),
            Body::Udp(_) | Body::TimeWait(_) => None,
        }
    }

    pub(crate) fn tcp_mut(&mut self) -> Option<&mut Tcp> {
        match &mut self.body {
            Body::Tcp(tcp) => Some(tcp),
            Body::Udp(_) | Body::TimeWait(_) => None,
        }
    }

    pub(crate) fn summary(&self) -> Option<FlowSummary> {
        let (transport, phase) = match &self.body {
            Body::Tcp(tcp) => (Transport::Tcp, Some(tcp.phase)),
            Body::Udp(_) => (Transport::Udp, None),
            Body::TimeWait(_) => return None,
        };
        Some(FlowSummary {
            id: self.id,
            transport,
            phase,
            publish: self.publish,
            client: self.client,
            guest: self.key.guest,
            remote: self.key.remote,
            opened: self.opened,
            bytes_to_guest: self.bytes_to_guest,
            bytes_from_guest: self.bytes_from_guest,
        })
    }
}

/// What can be told of a flow from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowSummary {
    /// Its name.
    pub id: FlowId,
    /// TCP or UDP.
    pub transport: Transport,
    /// Where a TCP flow stands; `None` for UDP.
    pub phase: Option<Phase>,
    /// The published port it came through.
    pub publish: Option<PublishId>,
    /// The client on the host's side.
    pub client: Option<SocketAddr>,
    /// The guest's endpoint.
    pub guest: SocketAddr,
    /// The other endpoint as the guest sees it.
    pub remote: SocketAddr,
    /// When it was opened, on the engine's clock.
    pub opened: Instant,
    /// Payload bytes taken from the host for the guest.
    pub bytes_to_guest: u64,
    /// Payload bytes taken from the guest for the host.
    pub bytes_from_guest: u64,
}
