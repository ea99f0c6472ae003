//! ICMP errors in both directions: what a guest's error means to a flow, and the errors that tell a
//! guest what happened on the host.
//!
//! Owns the translation between flows and quoted packets. An error never creates a flow, and one
//! that quotes no live flow is dropped: errors are the easiest packets to forge.

use std::net::{IpAddr, SocketAddr};

use portreeve_types::PublishId;
use portreeve_wire::icmp::{self, ErrorKind, ICMP_HEADER_LEN, IcmpError, Unreachable};
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
        // What a guest cannot take whole or in time is its own affair: the link has one MTU and
        // one hop.
        let ErrorKind::Unreachable(kind) = error.kind else {
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
                    // The datagram is lost, as datagrams are; the client's next attempt is not.
                    if self.udp_try_other_family(id) {
                        return;
                    }
                    self.ops.push_back(HostOp::Unreachable { publish, client, local, kind });
                }
            }
            Body::Tcp(_) | Body::Mapping(_) | Body::TimeWait(_) => {}
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
        let error = ErrorKind::Unreachable(kind);
        self.icmp_error(key.remote.ip(), key.guest.ip(), error, &packet);
    }

    /// An error about a packet that the guest sent, quoting it: `upper` is what stood behind its IP
    /// header, cut or whole, of `length` bytes.
    pub(crate) fn icmp_error_about(
        &mut self,
        ip: &IpPacket,
        reporter: IpAddr,
        error: ErrorKind,
        upper: &[u8],
        length: usize,
    ) {
        // RFC 1122 §3.2.2, RFC 4443 §2.4 (e): no errors about multicast, broadcast or errors.
        if self.is_group(ip.destination) || ip.source.is_unspecified() {
            return;
        }
        let quoted = IpHeader {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            hop_limit: ip.hop_limit,
            payload_len: length,
            fragment: None,
        };
        let shown = upper.len().min(ICMP_QUOTE);
        let mut packet = vec![0; quoted.len() + shown];
        quoted.emit(&mut packet);
        packet[quoted.len()..].copy_from_slice(&upper[..shown]);
        self.icmp_error(reporter, ip.source, error, &packet);
    }

    /// The gateway's own address of a family, which reports what happens on this hop.
    pub(crate) fn gateway_address(&self, v6: bool) -> Option<IpAddr> {
        let addressing = &self.config.addressing;
        if v6 {
            addressing.ipv6.map(|link| link.gateway.into())
        } else {
            addressing.ipv4.map(|link| link.gateway.into())
        }
    }

    pub(crate) fn icmp_error(
        &mut self,
        source: IpAddr,
        guest: IpAddr,
        kind: ErrorKind,
        packet: &[u8],
    ) {
        let quote = packet.len().min(ICMP_QUOTE);
        let protocol = if guest.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMP };
        let length = ICMP_HEADER_LEN + quote;
        self.outbox.ip(source, guest, protocol, length, DEFAULT_HOP_LIMIT, |out| {
            icmp::emit_error(source, guest, kind, &packet[..quote], out);
        });
    }
}
