//! How a refusal reaches the guest: RST, an ICMP error, or nothing where the RFCs forbid an answer.
//!
//! Owns the translation from reasons to answers. A guest's program sees at once that it was refused
//! and, as far as its kernel tells it, why; the exact reason is in the event.

use std::sync::Arc;

use portreeve_wire::FlowKey;
use portreeve_wire::icmp::{ErrorKind, Unreachable};
use portreeve_wire::packet::{IpPacket, Protocol};
use portreeve_wire::tcp::{ControlSegment, TcpHeader};

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::event::{EgressRefusal, Event};
use crate::engine::host::DialFailure;

/// An answer to a packet that goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// "Nobody listens there": RST, or ICMP port unreachable.
    Refused,
    /// An ICMP error.
    Error(ErrorKind),
    /// RFC 1122 §3.2.2: what goes to a group is not answered.
    Nothing,
}

/// What a guest is told. Denials of TCP look like a refusal, so that programs give up at once; a
/// datagram's denial can say what it is.
fn answer(refusal: EgressRefusal, protocol: u8) -> Answer {
    let unreachable = |kind| Answer::Error(ErrorKind::Unreachable(kind));
    match refusal {
        EgressRefusal::Group => Answer::Nothing,
        EgressRefusal::HopLimit => Answer::Error(ErrorKind::TimeExceeded),
        EgressRefusal::NobodyThere
        | EgressRefusal::Failed(DialFailure::HostUnreachable | DialFailure::TimedOut) => {
            unreachable(Unreachable::Host)
        }
        EgressRefusal::Failed(DialFailure::NetworkUnreachable) => unreachable(Unreachable::Network),
        EgressRefusal::Failed(DialFailure::Prohibited | DialFailure::EchoForbidden) => {
            unreachable(Unreachable::Prohibited)
        }
        EgressRefusal::GatewayPort | EgressRefusal::Failed(DialFailure::Refused) => Answer::Refused,
        EgressRefusal::Disabled
        | EgressRefusal::HostAddress
        | EgressRefusal::LinkLocal
        | EgressRefusal::Metadata
        | EgressRefusal::Reserved
        | EgressRefusal::Failed(DialFailure::HostAddress)
            if protocol != Protocol::TCP =>
        {
            unreachable(Unreachable::Prohibited)
        }
        EgressRefusal::FlowLimit
        | EgressRefusal::Failed(DialFailure::Exhausted | DialFailure::Other)
            if protocol != Protocol::TCP =>
        {
            unreachable(Unreachable::Host)
        }
        EgressRefusal::Disabled
        | EgressRefusal::HostAddress
        | EgressRefusal::LinkLocal
        | EgressRefusal::Metadata
        | EgressRefusal::Reserved
        | EgressRefusal::FlowLimit
        | EgressRefusal::DialLimit
        | EgressRefusal::GuestGone
        | EgressRefusal::Killed
        | EgressRefusal::Failed(
            DialFailure::HostAddress | DialFailure::Exhausted | DialFailure::Other,
        ) => Answer::Refused,
    }
}

/// Why what was refused counts as dropped: a decision of ours does, what the world said does not.
fn drop_reason(refusal: EgressRefusal) -> Option<DropReason> {
    match refusal {
        EgressRefusal::HopLimit => Some(DropReason::HopLimit),
        EgressRefusal::Failed(_) | EgressRefusal::Group | EgressRefusal::GuestGone => None,
        EgressRefusal::Disabled
        | EgressRefusal::HostAddress
        | EgressRefusal::LinkLocal
        | EgressRefusal::Metadata
        | EgressRefusal::Reserved
        | EgressRefusal::NobodyThere
        | EgressRefusal::GatewayPort
        | EgressRefusal::FlowLimit
        | EgressRefusal::DialLimit
        | EgressRefusal::Killed => Some(DropReason::EgressDenied),
    }
}

impl Engine {
    /// Refuses a SYN for which no flow was opened.
    pub(crate) fn refuse_syn(
        &mut self,
        ip: &IpPacket,
        header: &TcpHeader,
        segment: &[u8],
        refusal: EgressRefusal,
    ) {
        let key = FlowKey::from_guest(
            ip.protocol,
            ip.source,
            header.source_port,
            ip.destination,
            header.destination_port,
        );
        if refusal == EgressRefusal::Group {
            return self.drop(DropReason::Multicast);
        }
        self.note_packet_refused(&key, refusal);
        self.tell_refused_segment(ip, header, segment, refusal);
    }

    /// Tells the guest that its SYN was refused.
    pub(crate) fn tell_refused_segment(
        &mut self,
        ip: &IpPacket,
        header: &TcpHeader,
        segment: &[u8],
        refusal: EgressRefusal,
    ) {
        match answer(refusal, Protocol::TCP) {
            Answer::Refused => {
                let key = FlowKey::from_guest(
                    ip.protocol,
                    ip.source,
                    header.source_port,
                    ip.destination,
                    header.destination_port,
                );
                let length = segment.len() - header.header_len;
                if let Some(reset) = ControlSegment::reset_for(header, length) {
                    self.outbox.segment(&key, &reset);
                }
            }
            Answer::Error(error) => self.tell_error(ip, error, segment),
            Answer::Nothing => {}
        }
    }

    /// Refuses a datagram or an echo request, whose bytes behind the IP header are `upper`.
    pub(crate) fn refuse_datagram(
        &mut self,
        ip: &IpPacket,
        key: &FlowKey,
        upper: &[u8],
        refusal: EgressRefusal,
    ) {
        match answer(refusal, ip.protocol) {
            Answer::Refused => {
                self.note_packet_refused(key, refusal);
                let error = ErrorKind::Unreachable(Unreachable::Port);
                self.icmp_error_about(ip, ip.destination, error, upper, upper.len());
            }
            Answer::Error(error) => {
                self.note_packet_refused(key, refusal);
                self.tell_error(ip, error, upper);
            }
            // Discovery and the like: every guest sends it, and nobody is to be bothered.
            Answer::Nothing => self.drop(DropReason::Multicast),
        }
    }

    /// Counts and reports the refusal of something that the guest sent earlier.
    pub(crate) fn note_egress_refused(
        &mut self,
        key: &FlowKey,
        refusal: EgressRefusal,
        name: Option<Arc<str>>,
    ) {
        if let Some(reason) = drop_reason(refusal) {
            self.lose(reason, 1);
        }
        self.report_egress_refused(key, refusal, name);
    }

    /// Counts and reports the refusal of the packet in hand.
    fn note_packet_refused(&mut self, key: &FlowKey, refusal: EgressRefusal) {
        if let Some(reason) = drop_reason(refusal) {
            self.drop(reason);
        }
        let name = self.name_of(key.remote.ip());
        self.report_egress_refused(key, refusal, name);
    }

    fn report_egress_refused(
        &mut self,
        key: &FlowKey,
        reason: EgressRefusal,
        name: Option<Arc<str>>,
    ) {
        self.counters.egress_refused += 1;
        self.events.push(Event::EgressRefused {
            protocol: key.protocol,
            guest: key.guest,
            destination: key.remote,
            name,
            reason,
        });
    }

    /// An error from the gateway itself, which is the hop where the packet ended.
    fn tell_error(&mut self, ip: &IpPacket, error: ErrorKind, upper: &[u8]) {
        let reporter = self.gateway_address(ip.source.is_ipv6()).unwrap_or(ip.destination);
        self.icmp_error_about(ip, reporter, error, upper, upper.len());
    }
}
