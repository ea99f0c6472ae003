//! Segments from the guest: checked, kept within the window, handed to the flow's socket.
//!
//! Owns what happens between the IP layer and smoltcp, and the answers to segments for which there
//! is no flow.

use portreeve_wire::packet::{self, IpPacket, Protocol};
use portreeve_wire::tcp::{self, ControlSegment, TcpHeader};
use portreeve_wire::{FlowKey, checksum};

use super::Tcp;
use super::stack::{Endpoint, StackFault};
use super::time_wait::Late;
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::flow::state::Phase;
use crate::flow::{Body, Flow, FlowId};

impl Engine {
    /// A TCP packet of the guest. `trusted` says that the link vouches for the checksum.
    pub(crate) fn tcp_from_guest(&mut self, packet: &mut [u8], ip: &IpPacket, trusted: bool) {
        let segment = &packet[ip.payload.clone()];
        let Some(header) = TcpHeader::parse(segment) else {
            return self.drop(DropReason::SegmentMalformed);
        };
        if !trusted && !checksum::verify(ip.source, ip.destination, Protocol::TCP, segment) {
            return self.drop(DropReason::TransportChecksum);
        }
        let key = FlowKey::from_guest(
            Protocol::TCP,
            ip.source,
            header.source_port,
            ip.destination,
            header.destination_port,
        );
        let Some(id) = self.flows.find(&key) else {
            return self.tcp_without_flow(packet, ip, &header);
        };
        let Some(flow) = self.flows.get(id) else { return };
        match &flow.body {
            Body::Tcp(tcp) if tcp.phase == Phase::DialingHost => {
                self.tcp_held_segment(id, ip, packet);
            }
            Body::Tcp(_) => self.tcp_segment(id, packet, ip, &header),
            Body::TimeWait(closed) => match closed.judge(&header) {
                Late::Acknowledge(answer) => self.outbox.segment(&key, &answer),
                Late::Recycle => {
                    self.flows.remove(id);
                    self.tcp_without_flow(packet, ip, &header);
                }
                Late::Ignore => {}
            },
            Body::Udp(_) | Body::Mapping(_) => {}
        }
    }

    /// A segment that belongs to nothing: a SYN opens a flow, the rest is refused.
    fn tcp_without_flow(&mut self, packet: &mut [u8], ip: &IpPacket, header: &TcpHeader) {
        if header.syn && !header.ack && !header.rst {
            return self.tcp_dial(packet, ip, header);
        }
        self.drop(DropReason::NoFlow);
        let key = FlowKey::from_guest(
            Protocol::TCP,
            ip.source,
            header.source_port,
            ip.destination,
            header.destination_port,
        );
        // Refuse audibly: silence would look like a broken network.
        let length = ip.payload.len() - header.header_len;
        if let Some(reset) = ControlSegment::reset_for(header, length) {
            self.outbox.segment(&key, &reset);
        }
    }

    /// A segment of a flow that has a socket.
    pub(super) fn tcp_segment(
        &mut self,
        id: FlowId,
        packet: &mut [u8],
        ip: &IpPacket,
        header: &TcpHeader,
    ) {
        // smoltcp reads extension headers its own way; no guest puts one before TCP.
        if ip.destination.is_ipv6() && ip.payload.start != packet::IPV6_HEADER_LEN {
            return self.drop(DropReason::ExtensionHeader);
        }
        let now = self.now;
        let link_segment = self.link_segment(ip.destination.is_ipv6());
        let offload = self.segments_offloaded(ip.destination.is_ipv6());
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        let Some(tcp) = flow.tcp_mut() else { return };
        tcp.last_heard = now;
        if let Some(answer) = tcp.challenge(header) {
            return self.outbox.segment(&key, &answer);
        }
        let segment = &mut packet[ip.payload.clone()];
        // Only the SYN that the socket will take may say where the window is and how large segments
        // are; any other would lead the guard astray.
        if header.syn && tcp.takes_syn(header) {
            let shift = tcp::window_scale(segment);
            tcp.guard.on_guest_syn(header, shift.is_some());
            tcp.heard.on_syn(header, shift);
            tcp.guest_segment = tcp::max_segment_size(segment)
                .unwrap_or(super::DEFAULT_SEGMENT)
                .clamp(SMALLEST_SEGMENT, link_segment);
            // smoltcp cuts at what the SYN says. Where the link cuts super-segments itself it may
            // fill a whole packet; the guest's real size stays in the flow's record.
            let size = if offload { SUPER_SEGMENT } else { tcp.guest_segment };
            tcp::set_max_segment_size(segment, size);
        }
        let length = segment.len() - header.header_len;
        let largest = if offload { SUPER_SEGMENT } else { tcp.guest_segment };
        if length == 0 && tcp.is_uncounted_duplicate(header, usize::from(largest)) {
            return;
        }
        tcp.heard.on_segment(header);
        let data = header.sequence.wrapping_add(u32::from(header.syn));
        let allowed = tcp.guard.allowed(data, length);
        let mut end = ip.payload.end;
        if allowed < length {
            tcp::clear_end_flags(segment);
            packet::truncate(packet, ip, header.header_len + allowed);
            end = ip.payload.start + header.header_len + allowed;
            // RFC 9293 §3.8.6.1: a probe into a closed window must be answered, or a guest that
            // has missed the update would wait for ever. The socket sees no data to answer for.
            let answer = tcp.guard.acknowledgement(header, tcp.last_sent);
            if let Some(answer) = answer.filter(|_| allowed == 0 && !header.rst && !header.syn) {
                self.outbox.segment(&key, &answer);
            }
            self.drop(DropReason::BeyondWindow);
        }
        // The low 32 bits are meant: sequence numbers wrap.
        self.tcp_ingest(id, &packet[..end], header, data.wrapping_add(allowed as u32));
    }

    /// Hands a packet to the flow's socket; its data ends at the sequence number `end`.
    fn tcp_ingest(&mut self, id: FlowId, packet: &[u8], header: &TcpHeader, end: u32) {
        let now = self.now;
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let Some(endpoint) = tcp.endpoint.as_mut() else { return };
        let before = endpoint.status();
        let sent = match self.stack.ingest(endpoint, packet, now) {
            Ok(Some(answer)) => self.outbox.reply(answer),
            Ok(None) => None,
            Err(StackFault) => return self.tcp_fault(id),
        };
        let after = endpoint.status();
        if let Some(header) = sent {
            tcp.on_sent(&header, 0, now);
        }
        if after.established
            && !before.established
            && let Some(sent) = tcp.syn_sent
        {
            self.counters.guest_rtt.observe(now.since(sent));
        }
        tcp.reset_seen |= header.rst && after.closed && !before.closed;
        if after.fin_received && !tcp.fin_seen {
            tcp.fin_seen = true;
            tcp.guard.on_guest_fin(end);
        }
        if after.to_guest != before.to_guest || after.from_guest != before.from_guest {
            tcp.last_moved = now;
        }
        if after.time_wait {
            tcp.time_wait_since.get_or_insert(now);
        }
        self.tcp_settle(id);
        self.mark_relay(id);
        self.mark_egress(id);
    }
}

impl Tcp {
    /// The answer to a SYN on a connection that stands. RFC 5961 §4.2: a guest that has forgotten
    /// it, and opens it anew, answers in turn with a reset. smoltcp would say nothing at all.
    fn challenge(&self, header: &TcpHeader) -> Option<ControlSegment> {
        let (sequence, acknowledgement) = self.last_sent;
        // One that is repeated within the handshake is answered by the SYN-ACK, repeated too.
        let repeated = header.sequence.wrapping_add(1) == acknowledgement;
        let opens = header.syn && !header.ack && !header.rst && !repeated;
        let stands = self.last_sent != (0, 0)
            && self.endpoint.as_ref().is_some_and(|e| !e.awaits_syn() && !e.status().closed);
        (opens && stands).then(|| ControlSegment {
            source_port: header.destination_port,
            destination_port: header.source_port,
            sequence,
            acknowledgement: Some(acknowledgement),
            reset: false,
            fin: false,
            window: self.guard.window(acknowledgement),
        })
    }

    /// Whether a SYN is one that the socket takes: the one it listens for, the answer to ours, or
    /// one that crossed it.
    fn takes_syn(&self, header: &TcpHeader) -> bool {
        let answers = !header.ack || header.acknowledgement == self.last_sent.0;
        answers && self.endpoint.as_ref().is_some_and(Endpoint::awaits_syn)
    }
}

/// smoltcp raises smaller sizes to this as well, as Linux does.
const SMALLEST_SEGMENT: u16 = 48;
/// Payload of a full packet behind IPv4 or IPv6 and TCP headers; smoltcp takes the smaller of this
/// and its own MTU.
const SUPER_SEGMENT: u16 = 65_495;
