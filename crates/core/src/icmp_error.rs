//! ICMP errors in both directions: what a guest's error means to a flow, and the errors that tell a
//! guest what happened on the host.
//!
//! Owns the translation between flows and quoted packets. An error never creates a flow, and one
//! that quotes no live flow is dropped: errors are the easiest packets to forge.

use std::net::{IpAddr, SocketAddr};

use portreeve_types::PublishId;
use portreeve_wire::FlowKey;
use portreeve_wire::icmp::{self, ICMP_HEADER_LEN, IcmpError, Unreachable};
use portreeve_wire::packet::{DEFAULT_HOP_LIMIT, IpHeader, IpPacket, Protocol};
use portreeve_wire::udp::UDP_HEADER_LEN;

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::host::HostOp;
use crate::flow::state::Phase;
use crate::flow::{Body, Flow};
use crate::limits::ICMP_QUOTE;

impl Engine {
    /// An error message of the guest, its checksum verified.
    pub(crate) fn icmp_error_from_guest(&mut self, message: &[u8], v6: bool) {
        let Some(error) = IcmpError::parse(message, v6) else {
            return self.drop(DropReason::IcmpIgnored);
        };
        let Some(id) = self.flows.find(&error.quoted) else {
            return self.drop(DropReason::NoFlow);
        };
        let Some(flow) = self.flows.get(id) else { return };
        match &flow.body {
            // RFC 5927 §5.2: an established connection does not end for an ICMP message; one that
            // is being dialled may.
            Body::Tcp(tcp) if tcp.phase == Phase::DialingGuest => self.tcp_refused_by_icmp(id),
            Body::Udp(udp) => {
                let local = udp.local;
                if let (Some(publish), Some(client)) = (flow.publish, flow.client) {
                    let kind = error.unreachable;
                    // The datagram is lost, as datagrams are; the client's next attempt is not.
                    if self.udp_try_other_family(id) {
                        return;
                    }
                    self.ops.push_back(HostOp::Unreachable { publish, client, local, kind });
                }
            }
            Body::Tcp(_) | Body::TimeWait(_) => {}
        }
    }

    /// A datagram for `client` could not be delivered: the guest that sent it is told.
    pub(crate) fn udp_unreachable_for_guest(
        &mut self,
        publish: PublishId,
        client: SocketAddr,
        local: Option<SocketAddr>,
        kind: Unreachable,
    ) {
        let Some(id) = self.udp_client(publish, client, local) else { return };
        let Some(key) = self.flows.get(id).map(|flow: &Flow| flow.key) else { return };
        // What the guest had sent: its own header, with no payload to show.
        let quoted = IpHeader {
            source: key.guest.ip(),
            destination: key.remote.ip(),
            protocol: Protocol::UDP,
            hop_limit: DEFAULT_HOP_LIMIT,
            payload_len: UDP_HEADER_LEN,
            fragment: None,
        };
        let mut packet = vec![0; quoted.len() + UDP_HEADER_LEN];
        quoted.emit(&mut packet);
        let upper = &mut packet[quoted.len()..];
        upper[0..2].copy_from_slice(&key.guest.port().to_be_bytes());
        upper[2..4].copy_from_slice(&key.remote.port().to_be_bytes());
        upper[5] = 8;
        self.icmp_unreachable(key.remote.ip(), key.guest.ip(), kind, &packet);
    }

    /// A datagram of the guest for which there is no flow is refused audibly.
    pub(crate) fn udp_without_flow(&mut self, ip: &IpPacket, key: &FlowKey, datagram: &[u8]) {
        self.drop(DropReason::EgressDenied);
        // RFC 1122 §3.2.2: no errors about multicast or broadcast.
        if self.is_group(ip.destination) {
            return;
        }
        self.refuse_egress(key);
        let quoted = IpHeader {
            source: ip.source,
            destination: ip.destination,
            protocol: Protocol::UDP,
            hop_limit: ip.hop_limit,
            payload_len: datagram.len(),
            fragment: None,
        };
        let shown = datagram.len().min(ICMP_QUOTE);
        let mut packet = vec![0; quoted.len() + shown];
        quoted.emit(&mut packet);
        packet[quoted.len()..].copy_from_slice(&datagram[..shown]);
        self.icmp_unreachable(ip.destination, ip.source, Unreachable::Prohibited, &packet);
    }

    fn icmp_unreachable(
        &mut self,
        source: IpAddr,
        guest: IpAddr,
        kind: Unreachable,
        packet: &[u8],
    ) {
        let quote = packet.len().min(ICMP_QUOTE);
        let protocol = if guest.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMP };
        let length = ICMP_HEADER_LEN + quote;
        self.outbox.ip(source, guest, protocol, length, DEFAULT_HOP_LIMIT, |out| {
            icmp::emit_unreachable(source, guest, kind, &packet[..quote], out);
        });
    }
}
