//! Opening a flow that the guest asked for: its SYN is held until the destination has answered.
//!
//! Owns the held SYN and what becomes of it: replayed to a listening socket once the host's side is
//! connected, else answered with RST or the ICMP error that says why. So the guest's handshake
//! completes exactly when the destination's has, and a refusal is one. Dials that are under way are
//! bounded (`pending.rs`): a flood of SYNs costs the guest its own oldest ones.

use std::time::Duration;

use portreeve_wire::FlowKey;
use portreeve_wire::packet::{self, IPV6_HEADER_LEN, IpPacket};
use portreeve_wire::tcp::{TcpHeader, has_sound_options};

use super::Tcp;
use super::relay::Wake;
use super::window::WindowGuard;
use crate::drop_reason::DropReason;
use crate::egress::Target;
use crate::engine::Engine;
use crate::engine::event::EgressRefusal;
use crate::engine::host::{DialFailure, HostOp};
use crate::engine::losses::Limit;
use crate::flow::state::{Phase, PhaseEvent};
use crate::flow::{Body, Flow, FlowId};

/// The SYN of a flow whose destination has yet to answer.
pub(crate) struct Held {
    /// The packet, its payload cut off.
    packet: Box<[u8]>,
    header: TcpHeader,
    /// Why the flow ends, should it end now.
    refusal: EgressRefusal,
}

impl Engine {
    /// A SYN of the guest for which there is no flow: dials where it wants to go.
    pub(super) fn tcp_dial(&mut self, packet: &mut [u8], ip: &IpPacket, header: &TcpHeader) {
        let key = FlowKey::from_guest(
            ip.protocol,
            ip.source,
            header.source_port,
            ip.destination,
            header.destination_port,
        );
        let upper = &packet[ip.payload.clone()];
        if let Some(reason) = unusable_syn(ip, header, upper) {
            return self.drop(reason);
        }
        let target = match self.admit_dial(&key, ip.hop_limit) {
            Ok(target) => target,
            Err(refusal) => return self.refuse_syn(ip, header, upper, refusal),
        };
        // RFC 7413 and RFC 9293 §3.10.7.2 allow data in a SYN; what is not acknowledged is sent
        // again.
        packet::truncate(packet, ip, header.header_len);
        let held = Held {
            packet: packet[..ip.payload.start + header.header_len].into(),
            header: *header,
            refusal: EgressRefusal::Killed,
        };
        let now = self.now;
        let deadline = now + Duration::from_millis(self.config.limits.dial_timeout_ms);
        let mut tcp = Tcp::new(Phase::DialingHost, now);
        tcp.held = Some(held);
        tcp.phase_deadline = Some(deadline);
        let name = self.name_of(key.remote.ip());
        let id = self.flows.insert(key, |id| Flow {
            target: target.address(),
            name,
            ..Flow::new(id, key, now, Body::Tcp(Box::new(tcp)))
        });
        match target {
            Target::NameServer => self.tcp_serve_names(id),
            Target::Out(destination) => {
                self.make_room_for_dial(destination.ip());
                self.dials.add(id, destination.ip());
                let hop_limit = self.hop_limit_beyond(ip.destination, ip.hop_limit);
                let to_host = self.host.is_this_host(destination.ip());
                self.ops.push_back(HostOp::Dial { flow: id, destination, hop_limit, to_host });
                self.tcp_rearm(id, Wake::Phase);
            }
        }
    }

    /// A segment of the guest while its SYN is held.
    pub(super) fn tcp_held_segment(&mut self, id: FlowId, ip: &IpPacket, packet: &mut [u8]) {
        let Some(header) = TcpHeader::parse(&packet[ip.payload.clone()]) else { return };
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        tcp.last_heard = self.now;
        let Some(held) = tcp.held.as_mut() else { return };
        if header.rst {
            // RFC 9293 §3.10.7.4: a reset counts if it stands at the next byte; without an answer
            // of ours the guest's SYN is all there is.
            let distance = header.sequence.wrapping_sub(held.header.sequence);
            if distance <= 1 {
                held.refusal = EgressRefusal::GuestGone;
                self.tcp_event(id, PhaseEvent::GuestReset);
            }
        } else if header.syn && !header.ack && header.sequence != held.header.sequence {
            if let Some(reason) = unusable_syn(ip, &header, &packet[ip.payload.clone()]) {
                return self.drop(reason);
            }
            // The guest has forgotten the first one and uses its port again.
            packet::truncate(packet, ip, header.header_len);
            held.packet = packet[..ip.payload.start + header.header_len].into();
            held.header = header;
        }
    }

    /// The shell has connected the flow's host socket.
    pub(crate) fn tcp_connected(&mut self, id: FlowId) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (key, opened) = (flow.key, flow.opened);
        let Some(tcp) = flow.tcp_mut().filter(|tcp| tcp.phase == Phase::DialingHost) else {
            return;
        };
        // The gateway's own name server is not dialled.
        if tcp.names.is_none() {
            self.counters.dial.observe(now.since(opened));
        }
        let sequence = self.seed.initial_sequence(&key, now);
        let Some(endpoint) = self.stack.listen(&key, sequence) else {
            let refusal = EgressRefusal::FlowLimit;
            return self.tcp_dial_refused(id, refusal, PhaseEvent::HostRefused);
        };
        tcp.guard = WindowGuard::new(endpoint.receive_capacity());
        tcp.endpoint = Some(endpoint);
        self.tcp_event(id, PhaseEvent::HostConnected);
    }

    /// The shell could not.
    pub(crate) fn tcp_dial_failed(&mut self, id: FlowId, reason: DialFailure) {
        self.tcp_dial_refused(id, EgressRefusal::Failed(reason), PhaseEvent::HostRefused);
    }

    /// The flow's time to be connected is over.
    pub(super) fn tcp_dial_timed_out(&mut self, id: FlowId) {
        let refusal = EgressRefusal::Failed(DialFailure::TimedOut);
        self.tcp_dial_refused(id, refusal, PhaseEvent::Deadline);
    }

    fn tcp_dial_refused(&mut self, id: FlowId, refusal: EgressRefusal, event: PhaseEvent) {
        let tcp = self.flows.get_mut(id).and_then(Flow::tcp_mut);
        if let Some(held) = tcp.and_then(|tcp| tcp.held.as_mut()) {
            held.refusal = refusal;
            self.tcp_event(id, event);
        }
    }

    /// The action [`AnswerGuest`](crate::flow::state::Action::AnswerGuest): the held SYN meets the
    /// listening socket.
    pub(super) fn tcp_answer_guest(&mut self, id: FlowId) {
        self.dials.remove(id);
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let Some(mut held) = tcp.held.take() else { return };
        let Some(ip) = held.parsed() else { return };
        self.tcp_segment(id, &mut held.packet, &ip, &held.header);
    }

    /// The action [`RefuseGuest`](crate::flow::state::Action::RefuseGuest).
    pub(super) fn tcp_refuse_guest(&mut self, id: FlowId) {
        self.dials.remove(id);
        let tcp = self.flows.get_mut(id).and_then(Flow::tcp_mut);
        let Some(held) = tcp.and_then(|tcp| tcp.held.take()) else { return };
        self.tell_refused_syn(&held, held.refusal);
        if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) {
            tcp.held = Some(held);
        }
    }

    /// Notes why a flow that the guest asked for never came about.
    pub(super) fn tcp_note_dial_refused(&mut self, id: FlowId) {
        self.dials.remove(id);
        let Some(flow) = self.flows.get(id) else { return };
        let Some(held) = flow.tcp().and_then(|tcp| tcp.held.as_ref()) else { return };
        let (key, refusal, name) = (flow.key, held.refusal, flow.name.clone());
        self.note_egress_refused(&key, refusal, name);
    }

    fn tell_refused_syn(&mut self, held: &Held, refusal: EgressRefusal) {
        if let Some(ip) = held.parsed() {
            let upper = &held.packet[ip.payload.clone()];
            self.tell_refused_segment(&ip, &held.header, upper, refusal);
        }
    }

    /// Ends the oldest dials of those beyond the limits.
    pub(crate) fn dials_trim(&mut self) {
        let limits = &self.config.limits;
        let beyond = self.dials.beyond(limits.max_dials, limits.max_dials_per_destination);
        for (id, limit) in beyond {
            self.dial_gives_way(id, limit);
        }
    }

    /// Ends the oldest dials until one more to `destination` is within the limits.
    fn make_room_for_dial(&mut self, destination: std::net::IpAddr) {
        let limits = &self.config.limits;
        let (most, most_to_one) = (limits.max_dials, limits.max_dials_per_destination);
        while let Some((oldest, limit)) = self.dials.excess(destination, most, most_to_one) {
            self.dial_gives_way(oldest, limit);
        }
    }

    fn dial_gives_way(&mut self, id: FlowId, limit: Limit) {
        self.limit_reached(limit);
        self.dials.remove(id);
        self.tcp_dial_refused(id, EgressRefusal::DialLimit, PhaseEvent::Kill);
    }
}

/// Why a SYN is none that the flow's socket could be handed later. Nobody is dialled for it.
fn unusable_syn(ip: &IpPacket, header: &TcpHeader, segment: &[u8]) -> Option<DropReason> {
    // smoltcp reads extension headers its own way; no guest puts one before TCP.
    if ip.destination.is_ipv6() && ip.payload.start != IPV6_HEADER_LEN {
        return Some(DropReason::ExtensionHeader);
    }
    let sound = header.source_port != 0 && !header.fin && has_sound_options(segment);
    (!sound).then_some(DropReason::SegmentMalformed)
}

impl Tcp {
    /// Why the flow ends, if its SYN is still held.
    pub(super) fn held_refused(&mut self, refusal: EgressRefusal) {
        if let Some(held) = self.held.as_mut() {
            held.refusal = refusal;
        }
    }
}

impl Held {
    fn parsed(&self) -> Option<IpPacket> {
        let v6 = self.packet.first().is_some_and(|byte| byte >> 4 == 6);
        let parsed =
            if v6 { IpPacket::parse_v6(&self.packet) } else { IpPacket::parse_v4(&self.packet) };
        parsed.ok()
    }
}
