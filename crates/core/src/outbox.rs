//! Frames for the guest that do not come from a TCP socket, and the headers around all that do.
//!
//! Owns two bounded queues: complete small frames (answers of the gateway, resets, ICMP errors) and
//! datagrams on their way to the guest (`datagrams.rs`), which become frames only as the link takes
//! them. Knows the two hardware addresses. Never decides what is sent.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use portreeve_wire::ethernet::{ETHERNET_HEADER_LEN, EtherType, EthernetHeader};
use portreeve_wire::icmp;
use portreeve_wire::packet::{
    DEFAULT_HOP_LIMIT, IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpHeader, Protocol,
};
use portreeve_wire::tcp::{ControlSegment, TCP_HEADER_LEN, TcpHeader};
use portreeve_wire::{FlowKey, VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use crate::config::LinkOffloads;

mod datagrams;

use datagrams::{Datagrams, Written};

/// Where the IP packet starts in a frame buffer.
pub(crate) const PACKET_OFFSET: usize = VIRTIO_NET_HDR_LEN + ETHERNET_HEADER_LEN;

/// What waits for the link.
pub(crate) struct Outbox {
    gateway_mac: [u8; 6],
    pub(crate) guest_mac: Option<[u8; 6]>,
    frames: VecDeque<Vec<u8>>,
    max_frames: usize,
    spare: Spare,
    datagrams: Datagrams,
    /// Frames that found the queue full since this was last asked for.
    overflow: u64,
}

/// Buffers that have done their work and wait for more.
#[derive(Default)]
struct Spare(Vec<Vec<u8>>);

impl Outbox {
    pub(crate) fn new(
        gateway_mac: [u8; 6],
        guest_mac: Option<[u8; 6]>,
        mtu: u16,
        link: LinkOffloads,
        max_frames: usize,
        max_datagram_bytes: usize,
        identification: u32,
    ) -> Self {
        Self {
            gateway_mac,
            guest_mac,
            frames: VecDeque::new(),
            max_frames,
            spare: Spare::default(),
            datagrams: Datagrams::new(mtu, link, max_datagram_bytes, identification),
            overflow: 0,
        }
    }

    /// Distance from the start of the Ethernet frame to `offset` within the packet, as the
    /// virtio-net header counts.
    pub(crate) fn ethernet_offset(&self, offset: usize) -> u16 {
        ethernet_offset(offset)
    }

    /// Puts both headers in front of the packet that stands at [`PACKET_OFFSET`] and returns the
    /// length of the whole.
    pub(crate) fn finish(
        &self,
        frame: &mut [u8],
        packet_len: usize,
        v6: bool,
        offload: &VirtioNetHdr,
    ) -> usize {
        offload.emit(&mut frame[..VIRTIO_NET_HDR_LEN]);
        let header = EthernetHeader {
            destination: self.guest_mac.unwrap_or(UNKNOWN_GUEST),
            source: self.gateway_mac,
            ethertype: if v6 { EtherType::Ipv6 } else { EtherType::Ipv4 },
        };
        header.emit(&mut frame[VIRTIO_NET_HDR_LEN..PACKET_OFFSET]);
        PACKET_OFFSET + packet_len
    }

    /// Queues a segment without data for the guest's side of `key`.
    pub(crate) fn segment(&mut self, key: &FlowKey, segment: &ControlSegment) {
        let (source, destination) = (key.remote.ip(), key.guest.ip());
        self.ip(source, destination, Protocol::TCP, TCP_HEADER_LEN, DEFAULT_HOP_LIMIT, |out| {
            segment.emit(source, destination, out);
        });
    }

    /// Queues a packet that smoltcp answered with; TCP checksums are filled in here. Returns its
    /// TCP header, if it is TCP: whether or not there was room, its socket believes it has left.
    pub(crate) fn reply(&mut self, packet: &[u8]) -> Option<TcpHeader> {
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let (upper, protocol) = if v6 {
            (IPV6_HEADER_LEN, *packet.get(6)?)
        } else {
            (IPV4_HEADER_LEN, *packet.get(9)?)
        };
        let header =
            TcpHeader::parse(packet.get(upper..)?).filter(|_| protocol == Protocol::TCP)?;
        if let Some(mut frame) = self.buffer(PACKET_OFFSET + packet.len()) {
            frame[PACKET_OFFSET..].copy_from_slice(packet);
            crate::fragment::fill_tcp_checksum(&mut frame[PACKET_OFFSET..], upper);
            self.finish(&mut frame, packet.len(), v6, &VirtioNetHdr::default());
            self.frames.push_back(frame);
        }
        Some(header)
    }

    /// Queues one IP packet whose `length` upper-layer bytes `fill` writes.
    pub(crate) fn ip(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: usize,
        hop_limit: u8,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let header = IpHeader {
            source,
            destination,
            protocol,
            hop_limit,
            payload_len: length,
            fragment: None,
        };
        let packet_len = header.len() + length;
        let Some(mut frame) = self.buffer(PACKET_OFFSET + packet_len) else { return };
        header.emit(&mut frame[PACKET_OFFSET..]);
        fill(&mut frame[PACKET_OFFSET + header.len()..]);
        self.finish(&mut frame, packet_len, destination.is_ipv6(), &VirtioNetHdr::default());
        self.frames.push_back(frame);
    }

    /// Queues a frame that is not IP, or not for the guest's unicast address.
    pub(crate) fn raw(
        &mut self,
        destination: [u8; 6],
        ethertype: EtherType,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let Some(mut frame) = self.buffer(PACKET_OFFSET + length) else { return };
        VirtioNetHdr::default().emit(&mut frame[..VIRTIO_NET_HDR_LEN]);
        EthernetHeader { destination, source: self.gateway_mac, ethertype }
            .emit(&mut frame[VIRTIO_NET_HDR_LEN..PACKET_OFFSET]);
        fill(&mut frame[PACKET_OFFSET..]);
        self.frames.push_back(frame);
    }

    /// Frames that found the queue full and have not been taken over.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Takes over how many frames found the queue full.
    pub(crate) fn take_overflow(&mut self) -> u64 {
        std::mem::take(&mut self.overflow)
    }

    /// Frames that wait, datagrams not counted.
    pub(crate) fn frames_len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of datagrams that wait.
    pub(crate) fn datagram_bytes(&self) -> usize {
        self.datagrams.bytes()
    }

    /// Bytes of datagrams that may still be queued.
    pub(crate) fn datagram_room(&self) -> usize {
        self.datagrams.room()
    }

    /// Queues a datagram from `key.remote` to `key.guest`; `false` when there is no room.
    pub(crate) fn datagram(&mut self, key: &FlowKey, payloads: [&[u8]; 2]) -> bool {
        self.datagrams.udp(key, payloads, &mut self.spare)
    }

    /// Queues an echo message from `source` for the guest's socket; `false` when there is no room.
    pub(crate) fn echo(&mut self, source: IpAddr, guest: SocketAddr, message: &[u8]) -> bool {
        if !self.datagrams.has_room(message.len()) {
            return false;
        }
        let mut bytes = self.spare.take();
        bytes.extend_from_slice(message);
        if !icmp::set_echo_identifier(source, guest.ip(), guest.port(), &mut bytes) {
            return false;
        }
        let protocol = if source.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMP };
        self.datagrams.message(source, guest.ip(), protocol, bytes);
        true
    }

    /// So much may wait from now on. What waits already stays.
    pub(crate) fn set_limits(&mut self, max_frames: usize, max_datagram_bytes: usize) {
        self.max_frames = max_frames;
        self.datagrams.set_limit(max_datagram_bytes);
    }

    /// Forgets everything that waits; the next guest has this hardware address, if any is known.
    pub(crate) fn forget_guest(&mut self, mac: Option<[u8; 6]>) {
        self.guest_mac = mac;
        self.frames.clear();
        self.datagrams.clear();
    }

    /// Whether anything waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.datagrams.is_empty()
    }

    /// The next queued frame, copied or built into `frame`; 0 when none waits.
    pub(crate) fn poll(&mut self, frame: &mut [u8]) -> usize {
        if let Some(ready) = self.frames.pop_front() {
            frame[..ready.len()].copy_from_slice(&ready);
            let length = ready.len();
            self.spare.keep(ready);
            return length;
        }
        match self.datagrams.poll(&mut frame[PACKET_OFFSET..], &mut self.spare) {
            Some(Written { length, v6, offload }) => self.finish(frame, length, v6, &offload),
            None => 0,
        }
    }

    /// As [`Outbox::poll`], but only frames that name their destination themselves: what may leave
    /// while the guest's hardware address is unknown.
    pub(crate) fn poll_addressed(&mut self, frame: &mut [u8]) -> usize {
        match self.frames.iter().position(|frame| is_addressed(frame)) {
            Some(at) => {
                self.frames.swap(0, at);
                self.poll(frame)
            }
            None => 0,
        }
    }

    /// Whether a frame waits that [`Outbox::poll_addressed`] would hand out.
    pub(crate) fn has_addressed(&self) -> bool {
        self.frames.iter().any(|frame| is_addressed(frame))
    }

    fn buffer(&mut self, length: usize) -> Option<Vec<u8>> {
        if self.frames.len() >= self.max_frames {
            self.overflow += 1;
            return None;
        }
        let mut buffer = self.spare.take();
        buffer.resize(length, 0);
        Some(buffer)
    }
}

impl Spare {
    /// An empty buffer.
    fn take(&mut self) -> Vec<u8> {
        let mut buffer = self.0.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.0.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BUFFER_LEN {
            self.0.push(buffer);
        }
    }
}

fn ethernet_offset(offset: usize) -> u16 {
    u16::try_from(ETHERNET_HEADER_LEN + offset).unwrap_or(u16::MAX)
}

fn is_addressed(ready: &[u8]) -> bool {
    ready[VIRTIO_NET_HDR_LEN..][..6] != UNKNOWN_GUEST
}

/// Stands where the guest's hardware address is not known yet; such a frame does not leave.
const UNKNOWN_GUEST: [u8; 6] = [0; 6];
/// Buffers kept for the next frames, and the largest worth keeping.
const SPARE_BUFFERS: usize = 256;
const SPARE_BUFFER_LEN: usize = 16 * 1024;
