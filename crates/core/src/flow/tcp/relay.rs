//! Bytes through a flow: between the shell's socket and the rings, and from the rings to frames.
//!
//! Owns both directions for published and guest-opened flows alike. There is no buffer here and no
//! copy: the shell's read lands in the ring, its write reads from the ring, and a frame is written
//! in the link's own buffer.

use portreeve_wire::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Protocol};
use portreeve_wire::tcp::{self, TCP_CHECKSUM_OFFSET, TcpHeader};
use portreeve_wire::{GsoType, VirtioNetHdr, checksum};

use super::revive::revive_at;
use super::stack::StackFault;
use crate::engine::Engine;
use crate::flow::state::Phase;
use crate::flow::{Flow, FlowId};
use crate::limits::{GUEST_SILENT, RESET_LINGER, RING_IDLE};
use crate::outbox::PACKET_OFFSET;
use portreeve_types::Instant;
use std::time::Duration;

/// After this long in smoltcp's TIME-WAIT it is not polled any more: at the end of that state it
/// throws away what the host has not yet taken from the ring.
const TIME_WAIT_EGRESS: Duration = Duration::from_millis(300);

/// What a flow is to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Its own deadlines and those of its socket.
    Any,
    /// Its own deadlines: the socket will be asked for frames anyway.
    Phase,
}

impl Engine {
    /// Lets the caller take bytes that the guest sent: `take` gets the longest contiguous stretch
    /// and returns how many it wrote to the host. Returns that number; 0 when there is nothing.
    ///
    /// Call again until it returns 0 or the host takes no more: a ring may hold two stretches.
    pub fn from_guest(&mut self, id: FlowId, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id) else { return 0 };
        let Some(tcp) = flow.tcp_mut().filter(|tcp| tcp.phase.gives_to_host()) else { return 0 };
        let Some(endpoint) = tcp.endpoint.as_mut() else { return 0 };
        let taken = endpoint.receive(take);
        if taken != 0 {
            tcp.last_moved = now;
            flow.bytes_from_guest += taken as u64;
            self.tcp_settle(id);
            self.mark_egress(id);
        }
        taken
    }

    /// Lets the caller add bytes for the guest: `fill` gets the longest contiguous free space and
    /// returns how many bytes it read into it. Returns that number; 0 when there is no room.
    pub fn to_guest(&mut self, id: FlowId, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id) else { return 0 };
        let Some(tcp) = flow.tcp_mut().filter(|tcp| tcp.phase.takes_from_host()) else { return 0 };
        let Some(endpoint) = tcp.endpoint.as_mut() else { return 0 };
        let owed = endpoint.status().owed;
        let filled = endpoint.send(fill);
        if filled != 0 {
            tcp.last_moved = now;
            if !owed {
                tcp.last_heard = now;
            }
            flow.bytes_to_guest += filled as u64;
            self.mark_egress(id);
        }
        filled
    }

    /// Bytes from the guest that wait for the host.
    pub fn from_guest_len(&self, id: FlowId) -> usize {
        let tcp = self.flows.get(id).and_then(Flow::tcp);
        let tcp = tcp.filter(|tcp| tcp.phase.gives_to_host());
        tcp.and_then(|tcp| tcp.endpoint.as_ref()).map_or(0, |e| e.status().from_guest)
    }

    /// Free room towards the guest. Zero as long as the stream to it is not open.
    pub fn to_guest_room(&self, id: FlowId) -> usize {
        let tcp = self.flows.get(id).and_then(Flow::tcp);
        let tcp = tcp.filter(|tcp| tcp.phase.takes_from_host() && tcp.preamble.is_empty());
        tcp.and_then(|tcp| tcp.endpoint.as_ref()).map_or(0, super::stack::Endpoint::room)
    }

    /// The next frame of this flow, written into `frame`; 0 when the flow has none, and then it is
    /// armed for its next deadline.
    pub(crate) fn tcp_emit(&mut self, id: FlowId, frame: &mut [u8]) -> usize {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id) else { return 0 };
        let key = flow.key;
        let Some(tcp) = flow.tcp_mut() else { return 0 };
        let stale = tcp.phase != Phase::Closed
            && tcp.time_wait_since.is_some_and(|since| now >= since + TIME_WAIT_EGRESS);
        let Some(endpoint) = tcp.endpoint.as_mut().filter(|_| !stale) else {
            self.tcp_rearm(id, Wake::Any);
            return 0;
        };
        let packet = &mut frame[PACKET_OFFSET..];
        let length = match self.stack.emit(endpoint, packet, now) {
            Ok(0) => {
                self.tcp_settle(id);
                self.tcp_rearm(id, Wake::Any);
                return 0;
            }
            Ok(length) => length,
            Err(StackFault) => {
                self.tcp_fault(id);
                return 0;
            }
        };
        let v6 = key.guest.is_ipv6();
        let upper = if v6 { IPV6_HEADER_LEN } else { IPV4_HEADER_LEN };
        let guest_segment = tcp.guest_segment;
        let Some(header) = TcpHeader::parse(&packet[upper..length]) else { return 0 };
        let payload = length - upper - header.header_len;
        tcp.on_sent(&header, payload, now);
        if header.syn {
            tcp::set_max_segment_size(&mut packet[upper..length], self.link_segment(v6));
        }
        let mut offload = VirtioNetHdr::default();
        let pseudo =
            checksum::pseudo_header(key.remote.ip(), key.guest.ip(), Protocol::TCP, length - upper);
        let at = upper + usize::from(TCP_CHECKSUM_OFFSET);
        if self.config.link.checksum {
            packet[at..at + 2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
            offload.needs_csum = true;
            offload.csum_start = self.outbox.ethernet_offset(upper);
            offload.csum_offset = TCP_CHECKSUM_OFFSET;
        } else {
            packet[at..at + 2].fill(0);
            let value = checksum::finish(pseudo + checksum::sum(&packet[upper..length]));
            packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        if payload > usize::from(guest_segment) {
            offload.gso = if v6 { GsoType::Tcp6 } else { GsoType::Tcp4 };
            offload.gso_size = guest_segment;
            offload.hdr_len = self.outbox.ethernet_offset(upper + header.header_len);
        }
        self.outbox.finish(frame, length, v6, &offload)
    }

    /// The flow may be idle for another time from now on.
    pub(crate) fn tcp_limits_changed(&mut self, id: FlowId) {
        self.tcp_rearm(id, Wake::Any);
    }

    /// Sets the flow's next deadline from everything that may wake it.
    pub(super) fn tcp_rearm(&mut self, id: FlowId, wake: Wake) {
        let now = self.now;
        let limits = &self.config.limits;
        let (tcp_idle, half_idle) = (limits.tcp_idle_secs, limits.half_close_idle_secs);
        let grace = Duration::from_millis(limits.close_grace_ms);
        let silence = self.tcp_attempt_silence(id);
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Some(tcp) = flow.tcp_mut() else { return };
        let (tcp_idle, half_idle) = tcp.idle_limits(tcp_idle, half_idle);
        let mut next: Option<Instant> = tcp.phase_deadline;
        let mut consider = |at: Instant| next = Some(next.map_or(at, |old| old.min(at)));
        let secs = |secs| Duration::from_secs(secs);
        match tcp.phase {
            Phase::GuestGone => consider(tcp.last_moved + RESET_LINGER),
            Phase::HostGone => consider(tcp.last_moved + grace),
            Phase::BothFinished => consider(tcp.last_heard + GUEST_SILENT),
            Phase::HostFinished | Phase::GuestFinished if half_idle != 0 => {
                consider(tcp.last_moved + secs(half_idle));
            }
            Phase::Relaying if tcp_idle != 0 => consider(tcp.last_moved + secs(tcp_idle)),
            Phase::DialingGuest => {
                if let Some(at) = silence {
                    consider(at);
                }
            }
            Phase::DialingHost
            | Phase::Relaying
            | Phase::HostFinished
            | Phase::GuestFinished
            | Phase::Closed => {}
        }
        if let Some(endpoint) = tcp.endpoint.as_mut() {
            let status = endpoint.status();
            // As `tcp_deadline` judges it; elsewhere this would be a deadline that never passes.
            let judged =
                matches!(tcp.phase, Phase::Relaying | Phase::HostFinished | Phase::GuestFinished);
            if status.is_waiting() && judged {
                consider(tcp.last_heard + GUEST_SILENT);
            }
            if endpoint.holds_memory() {
                consider(tcp.last_moved + RING_IDLE);
            }
            let polled = wake == Wake::Any
                && tcp.time_wait_since.is_none_or(|since| now < since + TIME_WAIT_EGRESS);
            if polled {
                let timer = self.stack.poll_at(endpoint, now);
                // smoltcp may say "now" for something it will not send; a loop that obeys spins.
                if let Some(at) = timer {
                    consider(at.max(now + Duration::from_millis(1)));
                }
                if let Some(at) = revive_at(tcp, timer, now) {
                    consider(at);
                }
            }
        }
        match next {
            Some(at) => self.arm(id, at),
            None => flow.deadline = None,
        }
    }
}
