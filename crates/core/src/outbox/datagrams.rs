//! Datagrams on their way to the guest, as packets only once the link takes them.
//!
//! Owns their bounded queue and how each leaves: whole, cut into fragments, or with its neighbours
//! of the same flow in one frame that the link cuts (USO). Order never changes. Knows neither
//! hardware addresses nor what else waits.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §5.1.6.2 for what the link is told.

use std::collections::VecDeque;
use std::net::IpAddr;

use portreeve_wire::packet::{
    DEFAULT_HOP_LIMIT, IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpHeader, Protocol,
};
use portreeve_wire::udp::{self, UDP_CHECKSUM_OFFSET, UDP_HEADER_LEN};
use portreeve_wire::{FlowKey, GsoType, VirtioNetHdr, checksum};

use super::{Spare, ethernet_offset};
use crate::config::LinkOffloads;
use crate::fragment::Pieces;

#[cfg(test)]
mod tests;

/// The queue.
pub(super) struct Datagrams {
    mtu: usize,
    link: LinkOffloads,
    queue: VecDeque<Datagram>,
    bytes: usize,
    max_bytes: usize,
    identification: u32,
}

/// A packet that has been written, and what its frame's virtio-net header says.
pub(super) struct Written {
    pub(super) length: usize,
    pub(super) v6: bool,
    pub(super) offload: VirtioNetHdr,
}

struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Everything behind the IP header.
    bytes: Vec<u8>,
    pieces: Pieces,
    /// Whether the checksum field holds the pseudo-header's sum only.
    partial: bool,
}

impl Datagrams {
    pub(super) fn new(mtu: u16, link: LinkOffloads, max_bytes: usize, identification: u32) -> Self {
        let (mtu, queue) = (usize::from(mtu), VecDeque::new());
        Self { mtu, link, queue, bytes: 0, max_bytes, identification }
    }

    /// Queues a UDP datagram from `key.remote` to `key.guest`, its payload in two parts; `false`
    /// when there is no room.
    pub(super) fn udp(&mut self, key: &FlowKey, payloads: [&[u8]; 2], spare: &mut Spare) -> bool {
        let length = UDP_HEADER_LEN + payloads[0].len() + payloads[1].len();
        if !self.has_room(length) {
            return false;
        }
        let (source, destination) = (key.remote.ip(), key.guest.ip());
        let pieces = self.pieces(length, destination.is_ipv6());
        // A checksum of fragments has to be complete: no link sees the datagram as a whole.
        let partial = self.link.checksum && pieces.is_whole();
        let mut bytes = spare.take();
        bytes.resize(UDP_HEADER_LEN, 0);
        bytes.extend_from_slice(payloads[0]);
        bytes.extend_from_slice(payloads[1]);
        let (header, payload) = bytes.split_at_mut(UDP_HEADER_LEN);
        let (from, to) = ((source, key.remote.port()), (destination, key.guest.port()));
        if partial {
            emit_partial(from, to, length, header);
        } else {
            udp::emit_header(from, to, payload, header);
        }
        self.push(Datagram {
            source,
            destination,
            protocol: Protocol::UDP,
            bytes,
            pieces,
            partial,
        });
        true
    }

    /// Queues a finished message of another protocol. The caller has asked [`Self::has_room`].
    pub(super) fn message(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        bytes: Vec<u8>,
    ) {
        let pieces = self.pieces(bytes.len(), destination.is_ipv6());
        self.push(Datagram { source, destination, protocol, bytes, pieces, partial: false });
    }

    /// So many bytes may wait from now on. What waits already stays.
    pub(super) fn set_limit(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Writes the next packet; none when nothing waits.
    pub(super) fn poll(&mut self, packet: &mut [u8], spare: &mut Spare) -> Option<Written> {
        let joined = self.joinable();
        if joined > 1 {
            return self.poll_joined(joined, packet, spare);
        }
        let front = self.queue.front_mut()?;
        let Some((range, fragment)) = front.pieces.next() else {
            self.pop(spare);
            return self.poll(packet, spare);
        };
        let header = IpHeader {
            source: front.source,
            destination: front.destination,
            protocol: front.protocol,
            hop_limit: DEFAULT_HOP_LIMIT,
            payload_len: range.len(),
            fragment,
        };
        header.emit(packet);
        let at = header.len();
        packet[at..at + range.len()].copy_from_slice(&front.bytes[range.clone()]);
        let offload = if front.partial { partial_checksum(at) } else { VirtioNetHdr::default() };
        let v6 = header.destination.is_ipv6();
        if front.pieces.is_done() {
            self.pop(spare);
        }
        Some(Written { length: at + range.len(), v6, offload })
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that may still be queued.
    pub(super) fn room(&self) -> usize {
        self.max_bytes.saturating_sub(self.bytes)
    }

    /// Whether `length` bytes behind an IP header can be queued.
    pub(super) fn has_room(&self, length: usize) -> bool {
        length <= self.room() && length <= MAX_PACKET_LEN - IPV4_HEADER_LEN
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn pieces(&mut self, length: usize, v6: bool) -> Pieces {
        self.identification = self.identification.wrapping_add(1);
        Pieces::new(length, self.mtu, v6, self.identification)
    }

    fn push(&mut self, datagram: Datagram) {
        self.bytes += datagram.bytes.len();
        self.queue.push_back(datagram);
    }

    fn pop(&mut self, spare: &mut Spare) {
        if let Some(done) = self.queue.pop_front() {
            self.bytes -= done.bytes.len();
            spare.keep(done.bytes);
        }
    }

    /// How many datagrams at the front may leave as one frame: those of one flow, as long as the
    /// first, but for the last, which may be shorter.
    fn joinable(&self) -> usize {
        let Some(first) = self.queue.front() else { return 0 };
        if !self.link.uso || !first.can_join() {
            return 0;
        }
        let size = first.bytes.len();
        let mut length = first.header_len() + UDP_HEADER_LEN;
        let mut count = 0;
        for next in self.queue.iter().take(MAX_JOINED) {
            if !next.can_join() || !next.is_of_flow(first) || next.bytes.len() > size {
                break;
            }
            length += next.bytes.len() - UDP_HEADER_LEN;
            if length > MAX_PACKET_LEN {
                break;
            }
            count += 1;
            if next.bytes.len() < size {
                break;
            }
        }
        count
    }

    /// Writes the first `count` datagrams as one packet.
    fn poll_joined(
        &mut self,
        count: usize,
        packet: &mut [u8],
        spare: &mut Spare,
    ) -> Option<Written> {
        let first = self.queue.front()?;
        let (source, destination) = (first.source, first.destination);
        let header_len = first.header_len();
        let size = first.bytes.len() - UDP_HEADER_LEN;
        let port = |at: usize| u16::from_be_bytes([first.bytes[at], first.bytes[at + 1]]);
        let (from, to) = ((source, port(0)), (destination, port(2)));
        let mut end = header_len + UDP_HEADER_LEN;
        for next in self.queue.iter().take(count) {
            let payload = &next.bytes[UDP_HEADER_LEN..];
            packet[end..end + payload.len()].copy_from_slice(payload);
            end += payload.len();
        }
        for _ in 0..count {
            self.pop(spare);
        }
        let payload_len = end - header_len;
        emit_partial(from, to, payload_len, &mut packet[header_len..]);
        let protocol = Protocol::UDP;
        let hop_limit = DEFAULT_HOP_LIMIT;
        IpHeader { source, destination, protocol, hop_limit, payload_len, fragment: None }
            .emit(packet);
        let offload = VirtioNetHdr {
            gso: GsoType::UdpL4,
            // One of several in a packet whose length fits sixteen bits.
            gso_size: u16::try_from(size).unwrap_or(u16::MAX),
            hdr_len: ethernet_offset(header_len + UDP_HEADER_LEN),
            ..partial_checksum(header_len)
        };
        Some(Written { length: end, v6: destination.is_ipv6(), offload })
    }
}

impl Datagram {
    /// Whether it may share a frame: the link completes its checksum, it has a payload that shows
    /// where it ends, and it fits into one packet.
    fn can_join(&self) -> bool {
        self.partial && self.bytes.len() > UDP_HEADER_LEN
    }

    fn is_of_flow(&self, other: &Self) -> bool {
        (self.source, self.destination) == (other.source, other.destination)
            && self.bytes[..PORTS_LEN] == other.bytes[..PORTS_LEN]
    }

    fn header_len(&self) -> usize {
        if self.destination.is_ipv6() { IPV6_HEADER_LEN } else { IPV4_HEADER_LEN }
    }
}

/// Writes a UDP header whose checksum the link completes.
fn emit_partial(source: (IpAddr, u16), destination: (IpAddr, u16), length: usize, out: &mut [u8]) {
    let field = u16::try_from(length).unwrap_or(u16::MAX);
    let sum = checksum::pseudo_header(source.0, destination.0, Protocol::UDP, length);
    out[0..2].copy_from_slice(&source.1.to_be_bytes());
    out[2..4].copy_from_slice(&destination.1.to_be_bytes());
    out[4..6].copy_from_slice(&field.to_be_bytes());
    out[6..8].copy_from_slice(&checksum::fold(sum).to_be_bytes());
}

fn partial_checksum(upper: usize) -> VirtioNetHdr {
    VirtioNetHdr {
        needs_csum: true,
        csum_start: ethernet_offset(upper),
        csum_offset: UDP_CHECKSUM_OFFSET,
        ..VirtioNetHdr::default()
    }
}

/// Datagrams in one frame: Linux before 6.10 takes no more (`UDP_MAX_SEGMENTS`).
const MAX_JOINED: usize = 64;
/// What IPv4's length field can say.
const MAX_PACKET_LEN: usize = 65_535;
/// Both ports, at the front of a UDP header.
const PORTS_LEN: usize = 4;
