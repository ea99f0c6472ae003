//! Datagrams on the host's side: clients' sends, bounded as a socket's buffer is, and what came
//! back to them.

use std::collections::VecDeque;
use std::net::SocketAddr;

use portreeve_core::{Engine, IncomingDatagram, Instant};
use portreeve_types::PublishId;
use portreeve_wire::icmp::Unreachable;

/// A datagram between a client and a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDatagram {
    /// The published port.
    pub publish: PublishId,
    /// The client.
    pub client: SocketAddr,
    /// The host's address.
    pub local: SocketAddr,
    /// The payload.
    pub payload: Vec<u8>,
}

/// All datagrams of the host.
#[derive(Debug, Default)]
pub struct HostUdp {
    /// What reached clients.
    pub received: Vec<ClientDatagram>,
    /// Clients that were told that nobody listens.
    pub unreachable: Vec<(PublishId, SocketAddr, SocketAddr, Unreachable)>,
    waiting: VecDeque<ClientDatagram>,
}

impl HostUdp {
    /// A client sends a datagram; it waits in the socket until the engine has room.
    pub fn send(&mut self, datagram: ClientDatagram) {
        self.waiting.push_back(datagram);
    }

    /// Datagrams in the socket's buffer.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn poll(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let mut worked = false;
        while let Some(next) = self.waiting.front()
            // The largest datagram with the largest header in front of it.
            && engine.datagram_room() >= next.payload.len() + 64
            && let Some(next) = self.waiting.pop_front()
        {
            let datagram = IncomingDatagram {
                publish: next.publish,
                client: next.client,
                local: next.local,
                payload: &next.payload,
            };
            engine.handle_datagram(&datagram, now);
            worked = true;
        }
        worked
    }
}
