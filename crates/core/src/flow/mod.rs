//! One flow: what the engine knows of a connection or a UDP association.
//!
//! Owns the record and its name. The table that holds records is `table.rs`, what a TCP flow goes
//! through is `state.rs` and `tcp/`, what a client of a published UDP port goes through is `udp.rs`,
//! and what the guest itself sends is carried by `mapping.rs`.

pub(crate) mod mapping;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use portreeve_types::{Instant, PublishId};
use portreeve_wire::FlowKey;

use crate::engine::host::MappingKind;
use mapping::Mapping;
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

    /// The name as one number: generation above slot, and less than 2^63.
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The name that is this number.
    pub(crate) const fn from_u64(number: u64) -> Self {
        // Each half is meant.
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl FromStr for FlowId {
    type Err = FlowIdError;

    fn from_str(text: &str) -> Result<Self, FlowIdError> {
        // A flow has one name in text: neither signs nor leading zeros, which numbers would allow.
        let number = |digits: &str| digits.parse().ok().filter(|n: &u32| n.to_string() == digits);
        let (index, generation) = text.split_once('.').ok_or(FlowIdError)?;
        let id = number(index).zip(number(generation)).ok_or(FlowIdError)?;
        Ok(Self { index: id.0, generation: id.1 })
    }
}

/// A text that names no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowIdError;

impl fmt::Display for FlowIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flow is named by two numbers, SLOT.GENERATION, as in 12.3")
    }
}

impl std::error::Error for FlowIdError {}

/// The record of one flow.
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) key: FlowKey,
    /// The published port it came through; `None` for a flow that the guest opened.
    pub(crate) publish: Option<PublishId>,
    /// The client on the host's side; `None` for a client on a Unix socket.
    pub(crate) client: Option<SocketAddr>,
    /// The host's address that a flow of the guest was dialled to.
    pub(crate) target: Option<SocketAddr>,
    /// The name that resolved to the remote address.
    pub(crate) name: Option<Arc<str>>,
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
    Mapping(Box<Mapping>),
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
            target: None,
            name: None,
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
            Body::Udp(_) | Body::Mapping(_) | Body::TimeWait(_) => None,
        }
    }

    pub(crate) fn tcp_mut(&mut self) -> Option<&mut Tcp> {
        match &mut self.body {
            Body::Tcp(tcp) => Some(tcp),
            Body::Udp(_) | Body::Mapping(_) | Body::TimeWait(_) => None,
        }
    }

    pub(crate) fn summary(&self) -> Option<FlowSummary> {
        let (kind, phase) = match &self.body {
            Body::Tcp(tcp) => (FlowKind::Tcp, Some(tcp.phase)),
            Body::Udp(_) => (FlowKind::Udp, None),
            Body::Mapping(mapping) => match mapping.kind {
                MappingKind::Udp => (FlowKind::Udp, None),
                MappingKind::Echo => (FlowKind::Echo, None),
            },
            Body::TimeWait(_) => return None,
        };
        Some(FlowSummary {
            id: self.id,
            kind,
            phase,
            publish: self.publish,
            client: self.client,
            target: self.target,
            name: self.name.clone(),
            guest: self.key.guest,
            remote: self.key.remote,
            opened: self.opened,
            bytes_to_guest: self.bytes_to_guest,
            bytes_from_guest: self.bytes_from_guest,
        })
    }
}

/// What a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FlowKind {
    /// A TCP connection.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// ICMP or ICMPv6 echo messages.
    Echo,
}

impl FlowKind {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }
}

/// What can be told of a flow from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowSummary {
    /// Its name.
    pub id: FlowId,
    /// What it carries.
    pub kind: FlowKind,
    /// Where a TCP flow stands; `None` for UDP.
    pub phase: Option<Phase>,
    /// The published port it came through; `None` for a flow that the guest opened.
    pub publish: Option<PublishId>,
    /// The client on the host's side.
    pub client: Option<SocketAddr>,
    /// The host's address that a connection of the guest was dialled to.
    pub target: Option<SocketAddr>,
    /// The name that resolved to the remote address.
    pub name: Option<Arc<str>>,
    /// The guest's endpoint; of an echo flow the port is its identifier.
    pub guest: SocketAddr,
    /// The other endpoint as the guest sees it; unspecified for a mapping, which has many.
    pub remote: SocketAddr,
    /// When it was opened, on the engine's clock.
    pub opened: Instant,
    /// Payload bytes taken from the host for the guest.
    pub bytes_to_guest: u64,
    /// Payload bytes taken from the guest for the host.
    pub bytes_from_guest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_spelling() {
        for (index, generation) in [(0, 0), (12, 3), (u32::MAX, u32::MAX >> 1)] {
            let id = FlowId { index, generation };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in
            ["", ".", "1", "1.", ".1", "+1.2", "1.-2", "01.2", "1.2.3", "1 .2", "4294967296.0"]
        {
            assert_eq!(text.parse::<FlowId>(), Err(FlowIdError), "{text}");
        }
    }
}
