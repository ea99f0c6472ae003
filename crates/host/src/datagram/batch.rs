//! Batches of datagrams to receive into and to send from.
//!
//! Owns their memory, which is reused from call to call, and which datagrams travel as one
//! message; touches no socket options.
//!
//! Spec: recvmmsg(2), sendmmsg(2), udp(7) for `UDP_SEGMENT` and `UDP_GRO`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::can_be_source;
use crate::outbound::Fragmentation;
use crate::sys::{self, Outgoing, Received, SendControl};

/// Messages one call receives at most. Each is a datagram, or up to 64 KiB of datagrams of one
/// sender and length that the kernel has joined.
pub const BATCH_DATAGRAMS: usize = sys::MESSAGES;

/// Room for [`BATCH_DATAGRAMS`] messages of any length. One serves all sockets of a thread.
pub struct RecvBatch {
    /// A slot for each. Zeroed memory of this size comes from the kernel page by page as it is
    /// touched, so small datagrams cost one page each and not sixteen.
    memory: Vec<u8>,
    received: Vec<Received>,
    /// Datagrams in all of them.
    datagrams: usize,
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
            datagrams: 0,
            bound: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            errors_pending: false,
        }
    }

    /// How many datagrams the last call received.
    pub fn len(&self) -> usize {
        self.datagrams
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
        let bound = self.bound;
        self.received.iter().zip(self.memory.chunks_exact(SLOT)).flat_map(move |(entry, slot)| {
            let step = entry.segment.unwrap_or(usize::MAX);
            (0..pieces(entry)).filter_map(move |at| {
                let rest = &slot[at.saturating_mul(step)..entry.length];
                Some(Datagram {
                    payload: &rest[..rest.len().min(step)],
                    // Never absent on a UDP socket.
                    source: entry.source?,
                    local: entry.info.map_or(bound, |info| info.local),
                    interface: entry.info.map_or(0, |info| info.interface),
                    truncated: entry.truncated,
                })
            })
        })
    }

    pub(super) fn clear(&mut self) {
        self.received.clear();
        self.datagrams = 0;
        self.errors_pending = false;
    }

    pub(super) fn set_errors_pending(&mut self, pending: bool) {
        self.errors_pending = pending;
    }

    pub(super) fn fill(
        &mut self,
        fd: BorrowedFd<'_>,
        bound: SocketAddr,
        messages: usize,
    ) -> io::Result<()> {
        self.bound = bound.ip();
        let memory = &mut self.memory[..messages.min(BATCH_DATAGRAMS) * SLOT];
        sys::receive_many(fd, memory, SLOT, &mut self.received)?;
        self.datagrams = self.received.iter().map(pieces).sum();
        Ok(())
    }
}

/// How many datagrams a message is.
fn pieces(entry: &Received) -> usize {
    entry.segment.map_or(1, |size| entry.length.div_ceil(size).max(1))
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
    options: SendOptions,
}

/// How a datagram leaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendOptions {
    /// The address of this host to leave from; the socket's or the route's if absent. Groups and
    /// wildcards, from which nothing can leave, count as absent.
    pub source: Option<IpAddr>,
    /// TTL or hop limit, 1 to 255; the host's default if absent.
    pub hop_limit: Option<u8>,
    /// Whether it may be fragmented.
    pub fragmentation: Fragmentation,
}

impl SendBatch {
    /// Makes an empty batch. It grows as needed and keeps its memory when cleared.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a datagram, to leave from `source` if that is given, with fragments allowed.
    pub fn push(&mut self, payload: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        self.push_with(payload, destination, SendOptions { source, ..SendOptions::default() });
    }

    /// Adds a datagram. Consecutive ones with the same destination, options and length (the last
    /// may be shorter) cost the kernel little more than one.
    pub fn push_with(&mut self, payload: &[u8], destination: SocketAddr, options: SendOptions) {
        let start = self.memory.len();
        self.memory.extend_from_slice(payload);
        let source = options.source.filter(can_be_source);
        self.entries.push(Entry {
            payload: start..self.memory.len(),
            destination: sys::canonical(destination),
            options: SendOptions { source, ..options },
        });
    }

    /// The datagram that is the next to be sent: its payload, destination and options.
    pub fn first(&self) -> Option<(&[u8], SocketAddr, SendOptions)> {
        let entry = self.entries.get(self.skipped)?;
        Some((&self.memory[entry.payload.clone()], entry.destination, entry.options))
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

    /// What the datagrams are to be sent as, from the one at `from` on: as far as one family and,
    /// for IPv4, one mode of fragmentation reach, each message with the number of datagrams it
    /// is. Those of at least `unsegmented` bytes go one by one.
    pub(super) fn messages(
        &self,
        from: usize,
        unsegmented: usize,
    ) -> impl Iterator<Item = (Outgoing<'_>, usize)> {
        let mut rest = self.entries.get(self.skipped + from..).unwrap_or_default();
        let start = rest.first();
        std::iter::from_fn(move || {
            let first = rest.first()?;
            let same_mode = start.is_some_and(|start| {
                let v4 = start.destination.is_ipv4();
                first.destination.is_ipv4() == v4
                    && (!v4 || first.options.fragmentation == start.options.fragmentation)
            });
            if !same_mode {
                return None;
            }
            let count = if first.payload.len() < unsegmented { run(rest) } else { 1 };
            let payload = first.payload.start..rest[count - 1].payload.end;
            rest = &rest[count..];
            let segment = u16::try_from(first.payload.len()).ok().filter(|_| count > 1);
            let control = SendControl {
                source: first.options.source,
                hop_limit: first.options.hop_limit,
                forbid_fragments: first.options.fragmentation == Fragmentation::Forbidden,
                segment,
            };
            let destination = first.destination;
            let payload = &self.memory[payload];
            Some((Outgoing { head: &[], payload, destination, control }, count))
        })
    }
}

/// How many datagrams at the front can travel as one message: to the same destination in the
/// same way, and as long as the first one, but for the last, which may be shorter.
fn run(entries: &[Entry]) -> usize {
    let Some((first, rest)) = entries.split_first() else { return 0 };
    let size = first.payload.len();
    let mut count = 1;
    for entry in rest {
        let fits = !entry.payload.is_empty()
            && entry.payload.len() <= size
            && entry.destination == first.destination
            && entry.options == first.options
            && count < SEGMENTS
            && entry.payload.end - first.payload.start <= SEGMENTS_BYTES;
        if !fits {
            break;
        }
        count += 1;
        if entry.payload.len() < size {
            break;
        }
    }
    count
}

/// The kernel's `UDP_MAX_SEGMENTS` was 64 before it was 128.
const SEGMENTS: usize = 64;
/// All segments of one message together make one packet first, with a length of 16 bits in its
/// IPv4 header.
const SEGMENTS_BYTES: usize = 65_507;

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
            batch.messages(0, 0).map(|(outgoing, _)| outgoing.payload.to_vec()).collect()
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
        assert!(batch.messages(0, 0).all(|(outgoing, _)| outgoing.control.source.is_none()));
    }

    /// What the datagrams of these lengths and destinations leave as: datagrams per message.
    fn counts(batch: &SendBatch) -> Vec<usize> {
        batch.messages(0, usize::MAX).map(|(_, count)| count).collect()
    }

    #[test]
    fn equal_lengths_to_one_destination_are_one_message() {
        let to: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let other: SocketAddr = "192.0.2.1:54".parse().unwrap();
        let lengths = |lengths: &[usize]| {
            let mut batch = SendBatch::new();
            lengths.iter().for_each(|length| batch.push(&vec![0; *length], to, None));
            counts(&batch)
        };
        assert_eq!(lengths(&[5, 5, 5, 3, 5, 5]), [4, 2]);
        assert_eq!(lengths(&[5, 6, 6]), [1, 2]);
        assert_eq!(lengths(&[0, 0, 5, 0]), [1, 1, 1, 1], "an empty segment would be none");
        assert_eq!(lengths(&[1; 130]), [64, 64, 2]);
        assert_eq!(lengths(&[30_000; 3]), [2, 1]);
        let mut batch = SendBatch::new();
        for destination in [to, to, other, to] {
            batch.push(b"12345", destination, None);
        }
        assert_eq!(counts(&batch), [2, 1, 1]);
        assert!(
            batch
                .messages(0, 5)
                .all(|(outgoing, count)| { count == 1 && outgoing.control.segment.is_none() })
        );
    }

    #[test]
    fn the_mode_of_fragmentation_cuts_a_batch_of_ipv4() {
        let to: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let mut batch = SendBatch::new();
        let forbidden =
            SendOptions { fragmentation: Fragmentation::Forbidden, ..SendOptions::default() };
        batch.push(b"1", to, None);
        batch.push(b"2", to, None);
        batch.push_with(b"3", to, forbidden);
        assert_eq!(counts(&batch), [2]);
        assert_eq!(batch.messages(2, 0).count(), 1);
        assert_eq!(batch.messages(3, 0).count(), 0);
        let to: SocketAddr = "[2001:db8::1]:53".parse().unwrap();
        batch.clear();
        batch.push(b"1", to, None);
        batch.push_with(b"2", to, forbidden);
        assert_eq!(counts(&batch), [1, 1]);
        batch.push(b"3", "192.0.2.1:53".parse().unwrap(), None);
        assert_eq!(counts(&batch), [1, 1], "the socket's mode is for IPv4");
    }
}
