//! Batches of datagrams to receive into and to send from.
//!
//! Owns their memory, which is reused from call to call; touches no socket options.
//!
//! Spec: recvmmsg(2), sendmmsg(2).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::can_be_source;
use crate::sys::{self, Outgoing, Received};

/// Datagrams one call receives at most.
pub const BATCH_DATAGRAMS: usize = sys::MESSAGES;

/// Room for [`BATCH_DATAGRAMS`] datagrams of any length. One serves all sockets of a thread.
pub struct RecvBatch {
    /// A slot for each. Zeroed memory of this size comes from the kernel page by page as it is
    /// touched, so small datagrams cost one page each and not sixteen.
    memory: Vec<u8>,
    received: Vec<Received>,
    /// For datagrams that do not say where they came to.
    bound: IpAddr,
    errors_pending: bool,
}

/// One received datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// What it carries.
    pub payload: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of this host that it came to, and that an answer has to come from.
    pub local: IpAddr,
    /// Index of the interface it came in through; zero if not known.
    pub interface: u32,
    /// It was longer than its slot and the rest is lost.
    pub truncated: bool,
}

impl RecvBatch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self {
            memory: vec![0; BATCH_DATAGRAMS * SLOT],
            received: Vec::with_capacity(BATCH_DATAGRAMS),
            bound: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            errors_pending: false,
        }
    }

    /// How many datagrams the last call received.
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether the last call received nothing.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// Whether the last call came upon a report of an error:
    /// [`recv_error`](super::UdpSocket::recv_error) has it.
    pub fn errors_pending(&self) -> bool {
        self.errors_pending
    }

    /// The datagrams, in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.received.iter().zip(self.memory.chunks_exact(SLOT)).filter_map(|(entry, slot)| {
            Some(Datagram {
                payload: &slot[..entry.length],
                // Never absent on a UDP socket.
                source: entry.source?,
                local: entry.info.map_or(self.bound, |info| info.local),
                interface: entry.info.map_or(0, |info| info.interface),
                truncated: entry.truncated,
            })
        })
    }

    pub(super) fn clear(&mut self) {
        self.received.clear();
        self.errors_pending = false;
    }

    pub(super) fn set_errors_pending(&mut self, pending: bool) {
        self.errors_pending = pending;
    }

    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<()> {
        self.bound = bound.ip();
        sys::receive_many(fd, &mut self.memory, SLOT, &mut self.received)
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Datagrams to send through one socket, with their bytes.
#[derive(Clone, Debug, Default)]
pub struct SendBatch {
    memory: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries at the front that are done with.
    skipped: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    payload: Range<usize>,
    destination: SocketAddr,
    source: Option<IpAddr>,
}

impl SendBatch {
    /// Makes an empty batch. It grows as needed and keeps its memory when cleared.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a datagram, to leave from `source` if that is given.
    pub fn push(&mut self, payload: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        let start = self.memory.len();
        self.memory.extend_from_slice(payload);
        self.entries.push(Entry {
            payload: start..self.memory.len(),
            destination,
            source: source.filter(can_be_source),
        });
    }

    /// How many datagrams are to be sent.
    pub fn len(&self) -> usize {
        self.entries.len() - self.skipped
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is done with the first `count` datagrams, sent or given up.
    pub fn skip(&mut self, count: usize) {
        self.skipped = self.entries.len().min(self.skipped + count);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.memory.clear();
        self.entries.clear();
        self.skipped = 0;
    }

    pub(super) fn outgoing(&self, from: usize) -> impl Iterator<Item = Outgoing<'_>> {
        self.entries.iter().skip(self.skipped + from).map(|entry| Outgoing {
            payload: &self.memory[entry.payload.clone()],
            destination: entry.destination,
            source: entry.source,
        })
    }
}

/// More than the longest UDP payload (65,507 bytes over IPv4, 65,527 over IPv6) and a whole
/// number of pages.
const SLOT: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_moves_on_and_ends_in_an_empty_batch() {
        let to: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let mut batch = SendBatch::new();
        for payload in [&b"one"[..], b"two", b"three"] {
            batch.push(payload, to, None);
        }
        let payloads = |batch: &SendBatch| -> Vec<Vec<u8>> {
            batch.outgoing(0).map(|outgoing| outgoing.payload.to_vec()).collect()
        };
        batch.skip(1);
        assert_eq!((batch.len(), payloads(&batch)), (2, vec![b"two".to_vec(), b"three".to_vec()]));
        batch.skip(1);
        assert_eq!(payloads(&batch), [b"three"]);
        batch.skip(9);
        assert!(batch.is_empty());
        batch.push(b"four", to, None);
        assert_eq!(payloads(&batch), [b"four"]);
    }

    #[test]
    fn an_address_nothing_can_leave_from_is_not_asked_for() {
        let to: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let mut batch = SendBatch::new();
        for source in ["224.0.0.251", "ff02::fb", "0.0.0.0", "::"] {
            batch.push(b"", to, Some(source.parse().unwrap()));
        }
        assert!(batch.outgoing(0).all(|outgoing| outgoing.source.is_none()));
    }
}
