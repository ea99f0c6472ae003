//! Datagrams for the gateway's own DHCP servers, told from all others, and their answers' frames.
//!
//! Owns the ports and addresses the two servers listen on, and what becomes of multicast that
//! nobody listens to: it is counted, and never answered (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use portreeve_wire::dhcp4::{DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT};
use portreeve_wire::dhcp6::{DHCP6_CLIENT_PORT, DHCP6_GROUP, DHCP6_SERVER_PORT};
use portreeve_wire::ethernet::{EtherType, EthernetHeader};
use portreeve_wire::packet::{DEFAULT_HOP_LIMIT, IpHeader, IpPacket, Protocol};
use portreeve_wire::udp::{self, UDP_HEADER_LEN, UdpHeader};
use portreeve_wire::{VirtioNetHdr, checksum};

use crate::drop_reason::DropReason;
use crate::engine::Engine;

impl Engine {
    /// Takes datagrams for the gateway's DHCP servers, and those to groups, which are for
    /// nobody; whether it did.
    pub(crate) fn configuration_from_guest(
        &mut self,
        header: &EthernetHeader,
        ip: &IpPacket,
        datagram: &[u8],
        link: &VirtioNetHdr,
    ) -> bool {
        let group = self.is_group(ip.destination);
        if !group && !self.is_gateway(ip.destination) {
            return false;
        }
        let parsed = UdpHeader::parse(datagram);
        let Some(udp) = parsed.filter(|udp| is_for_server(ip, udp, group)) else {
            if group {
                self.drop(DropReason::Multicast);
            }
            return group;
        };
        let whole = &datagram[..udp.payload.end];
        // RFC 8200 §8.1: over IPv6 the checksum is not optional.
        let trusted = link.needs_csum || link.data_valid;
        let must_fit = !trusted && (udp.has_checksum || ip.source.is_ipv6());
        let fits = || checksum::verify(ip.source, ip.destination, Protocol::UDP, whole);
        if must_fit && !fits() {
            self.drop(DropReason::TransportChecksum);
            return true;
        }
        match ip.source {
            IpAddr::V4(source) => self.dhcp4_from_guest(header.source, source, &whole[udp.payload]),
            IpAddr::V6(source) => self.dhcp6_from_guest(header.source, source, &whole[udp.payload]),
        }
        true
    }

    /// Queues an answer of one of the servers.
    pub(crate) fn configuration_answer(
        &mut self,
        to: [u8; 6],
        (source, destination): (SocketAddr, SocketAddr),
        message: &[u8],
    ) {
        let header = IpHeader {
            source: source.ip(),
            destination: destination.ip(),
            protocol: Protocol::UDP,
            hop_limit: DEFAULT_HOP_LIMIT,
            payload_len: UDP_HEADER_LEN + message.len(),
            fragment: None,
        };
        let (upper, length) = (header.len(), header.len() + header.payload_len);
        debug_assert!(length <= usize::from(self.config.addressing.mtu), "{length} bytes");
        let ethertype = if source.is_ipv6() { EtherType::Ipv6 } else { EtherType::Ipv4 };
        self.outbox.raw(to, ethertype, length, |out| {
            header.emit(out);
            let (head, payload) = out[upper..].split_at_mut(UDP_HEADER_LEN);
            payload.copy_from_slice(message);
            let ends = (source.ip(), source.port());
            udp::emit_header(ends, (destination.ip(), destination.port()), payload, head);
        });
    }
}

fn is_for_server(ip: &IpPacket, udp: &UdpHeader, group: bool) -> bool {
    let ports = (udp.source_port, udp.destination_port);
    match ip.destination {
        IpAddr::V4(to) => ports == (DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT) && !to.is_multicast(),
        IpAddr::V6(to) => ports == (DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT) && listens(to, group),
    }
}

fn listens(to: Ipv6Addr, group: bool) -> bool {
    !group || to == DHCP6_GROUP
}
