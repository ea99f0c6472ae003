//! The language between the engine and the shell that owns the host's sockets.
//!
//! Owns the types of facts from the shell ([`HostEvent`], [`Accepted`], [`IncomingDatagram`],
//! [`MappedDatagram`], [`Undeliverable`], [`HostNetwork`]) and orders to it ([`HostOp`],
//! [`HostDatagram`]). No descriptor appears here: flows have names.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use portreeve_types::PublishId;
use portreeve_wire::icmp::{ErrorKind, Unreachable};

use crate::flow::FlowId;

/// A listener of a published port accepted a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which port.
    pub publish: PublishId,
    /// The client; `None` on a Unix socket.
    pub client: Option<SocketAddr>,
    /// The address the client used; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
}

/// A datagram arrived on a published UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingDatagram<'a> {
    /// Which port.
    pub publish: PublishId,
    /// Who sent it.
    pub client: SocketAddr,
    /// The address it was sent to, from which replies must leave.
    pub local: SocketAddr,
    /// The payload.
    pub payload: &'a [u8],
}

/// A datagram, or an echo reply, arrived on the socket of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedDatagram<'a> {
    /// The mapping.
    pub flow: FlowId,
    /// Who sent it; port 0 for an echo reply.
    pub source: SocketAddr,
    /// The payload. Of an echo reply the whole ICMP message, whose identifier and checksum do not
    /// matter.
    pub payload: &'a [u8],
}

/// A datagram, or an echo request, of a mapping did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undeliverable<'a> {
    /// The mapping.
    pub flow: FlowId,
    /// Where it was sent; port 0 for an echo request.
    pub destination: SocketAddr,
    /// What became of it.
    pub error: ErrorKind,
    /// Who says so; `None` when it is this host.
    pub reporter: Option<IpAddr>,
    /// How its payload begins, as far as it came back. Of an echo request the ICMP message from its
    /// first byte, whose identifier does not matter.
    pub payload: &'a [u8],
}

/// What the host's network looks like now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNetwork {
    /// Every address of the host: none of them can be reached by the guest.
    pub addresses: Vec<IpAddr>,
    /// The name servers the host uses, best first.
    pub name_servers: Vec<SocketAddr>,
    /// The search list the host uses.
    pub search: Vec<String>,
    /// Whether the host has a way out over IPv6.
    pub has_ipv6: bool,
}

/// Why a socket for the guest could not be opened or connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DialFailure {
    /// The destination refused.
    Refused,
    /// No way to the destination's network.
    NetworkUnreachable,
    /// The destination's host does not answer.
    HostUnreachable,
    /// It did not answer in time.
    TimedOut,
    /// The host's own filter, or a filter on the way, forbids it.
    Prohibited,
    /// The connection ended up at this very host, which the guest may not reach.
    HostAddress,
    /// The process or the system is out of descriptors, memory or ports.
    Exhausted,
    /// The system allows no echo sockets.
    EchoForbidden,
    /// Anything else.
    Other,
}

impl DialFailure {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NetworkUnreachable => "network_unreachable",
            Self::HostUnreachable => "host_unreachable",
            Self::TimedOut => "timed_out",
            Self::Prohibited => "prohibited",
            Self::HostAddress => "host_address",
            Self::Exhausted => "exhausted",
            Self::EchoForbidden => "echo_forbidden",
            Self::Other => "failed",
        }
    }
}

/// What a mapping's socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MappingKind {
    /// UDP datagrams.
    Udp,
    /// ICMP or ICMPv6 echo messages.
    Echo,
}

/// What happened to the host's side of a flow or of a published UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostEvent {
    /// The host's stream ended: a read returned 0, and everything before is in the ring.
    Eof(FlowId),
    /// The host's connection was reset or failed.
    Reset(FlowId),
    /// The connection of a [`HostOp::Dial`] is there.
    Connected(FlowId),
    /// The connection of a [`HostOp::Dial`], or the socket of a [`HostOp::Open`], could not be had.
    /// [`HostOp::Close`] follows.
    Failed {
        /// Which flow.
        flow: FlowId,
        /// Why.
        reason: DialFailure,
    },
    /// A datagram or echo request of a mapping was not sent, since its destination has turned out
    /// to be this very host; [`Undeliverable`] says so to the guest.
    NotSent {
        /// The mapping.
        flow: FlowId,
        /// Where it was to go.
        destination: SocketAddr,
    },
    /// A datagram for this client came back as undeliverable.
    ClientUnreachable {
        /// Which port it left from.
        publish: PublishId,
        /// Whom it was for.
        client: SocketAddr,
        /// The address it left from, where known.
        local: Option<SocketAddr>,
        /// Why.
        kind: Unreachable,
    },
}

/// An order to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostOp {
    /// Connect a stream to a destination; [`HostEvent::Connected`] or [`HostEvent::Failed`] answers.
    Dial {
        /// The flow.
        flow: FlowId,
        /// Where to.
        destination: SocketAddr,
        /// Hop limit of its packets; `None` for the host's default.
        hop_limit: Option<u8>,
        /// Whether it may end at this very host: an opened port, or a published one. Any other
        /// connection that does is [`DialFailure::HostAddress`].
        to_host: bool,
    },
    /// Open the socket of a mapping. Its datagrams follow at once; when it cannot be had, each is
    /// reported as [`Undeliverable`] and then [`HostEvent::Failed`] once.
    Open {
        /// The mapping.
        flow: FlowId,
        /// What it carries.
        kind: MappingKind,
        /// Whether over IPv6.
        v6: bool,
    },
    /// Bytes or room have appeared: move what the socket allows through
    /// [`Engine::from_guest`](crate::Engine::from_guest) and
    /// [`Engine::to_guest`](crate::Engine::to_guest).
    Relay(FlowId),
    /// Shut the socket down for writing.
    Shutdown(FlowId),
    /// Close the socket in order. The flow's name is gone.
    Close(FlowId),
    /// Close the socket with RST, once what was written to it has been delivered.
    Reset(FlowId),
    /// Tell a client by ICMP that the guest refused its datagram, where the system allows it.
    Unreachable {
        /// The published port.
        publish: PublishId,
        /// Whom to tell.
        client: SocketAddr,
        /// The address the client used.
        local: SocketAddr,
        /// What to say.
        kind: Unreachable,
    },
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostDatagram<'a> {
    /// From a published UDP port.
    Published {
        /// The published port.
        publish: PublishId,
        /// Whom it is for.
        client: SocketAddr,
        /// The address it must leave from.
        local: SocketAddr,
        /// The payload.
        payload: &'a [u8],
    },
    /// From the socket of a mapping.
    Mapped {
        /// The mapping.
        flow: FlowId,
        /// Whom it is for; port 0 for an echo request.
        destination: SocketAddr,
        /// Hop limit of its packet; `None` for the host's default.
        hop_limit: Option<u8>,
        /// Whether it may be cut into fragments on the way.
        may_fragment: bool,
        /// Whether it may end at this very host: an opened port, or a published one.
        to_host: bool,
        /// The payload; of an echo request the whole ICMP message.
        payload: &'a [u8],
    },
}

/// Where an outgoing datagram goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutgoingDatagram {
    Published {
        publish: PublishId,
        client: SocketAddr,
        local: SocketAddr,
    },
    Mapped {
        flow: FlowId,
        destination: SocketAddr,
        hop_limit: Option<u8>,
        may_fragment: bool,
        to_host: bool,
    },
}

/// Outgoing datagrams in one buffer, so that a batch costs no allocation each.
#[derive(Default)]
pub(crate) struct DatagramBatch {
    entries: VecDeque<(OutgoingDatagram, usize, usize)>,
    bytes: Vec<u8>,
}

impl DatagramBatch {
    pub(crate) fn push(&mut self, to: OutgoingDatagram, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.entries.push_back((to, start, self.bytes.len()));
    }

    pub(crate) fn pop(&mut self) -> Option<HostDatagram<'_>> {
        let Some((to, start, end)) = self.entries.pop_front() else {
            self.bytes.clear();
            return None;
        };
        let payload = &self.bytes[start..end];
        Some(match to {
            OutgoingDatagram::Published { publish, client, local } => {
                HostDatagram::Published { publish, client, local, payload }
            }
            OutgoingDatagram::Mapped { flow, destination, hop_limit, may_fragment, to_host } => {
                HostDatagram::Mapped {
                    flow,
                    destination,
                    hop_limit,
                    may_fragment,
                    to_host,
                    payload,
                }
            }
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
