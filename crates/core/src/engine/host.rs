//! The language between the engine and the shell that owns the host's sockets.
//!
//! Owns the types of facts from the shell ([`HostEvent`], [`Accepted`], [`IncomingDatagram`]) and
//! orders to it ([`HostOp`], [`HostDatagram`]). No descriptor appears here: flows have names.

use std::collections::VecDeque;
use std::net::SocketAddr;

use portreeve_types::PublishId;
use portreeve_wire::icmp::Unreachable;

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

/// What happened to the host's side of a flow or of a published UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostEvent {
    /// The host's stream ended: a read returned 0, and everything before is in the ring.
    Eof(FlowId),
    /// The host's connection was reset or failed.
    Reset(FlowId),
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

/// A datagram to send from a published UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostDatagram<'a> {
    /// The published port.
    pub publish: PublishId,
    /// Whom it is for.
    pub client: SocketAddr,
    /// The address it must leave from.
    pub local: SocketAddr,
    /// The payload.
    pub payload: &'a [u8],
}

/// Where an outgoing datagram goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutgoingDatagram {
    pub(crate) publish: PublishId,
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
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
        let OutgoingDatagram { publish, client, local } = to;
        Some(HostDatagram { publish, client, local, payload: &self.bytes[start..end] })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
