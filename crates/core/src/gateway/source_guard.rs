//! The source guard: which addresses a guest may send from.
//!
//! Owns the one judgement about source addresses; the hardware address has been judged before. IPv4
//! is strict: the configured address, and none at all for a DHCP client. In IPv6 a guest makes
//! addresses of its own (RFC 4862), so any in its prefix is one, and link-local ones speak what
//! configures the link and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_wire::dhcp4::{DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT};
use portreeve_wire::dhcp6::{DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT};
use portreeve_wire::packet::{IpPacket, Protocol};

use crate::drop_reason::DropReason;
use crate::engine::Engine;

impl Engine {
    /// Whether the source is the guest's own address (`true`) or one it may use for a moment, such
    /// as its link-local address.
    pub(crate) fn guest_source(&self, ip: &IpPacket, packet: &[u8]) -> Result<bool, DropReason> {
        match ip.source {
            IpAddr::V4(source) => self.guest_source_v4(source, ip, packet),
            IpAddr::V6(source) => self.guest_source_v6(source, ip, packet),
        }
    }

    fn guest_source_v4(
        &self,
        source: Ipv4Addr,
        ip: &IpPacket,
        packet: &[u8],
    ) -> Result<bool, DropReason> {
        let link = self.config.addressing.ipv4.ok_or(DropReason::FamilyDisabled)?;
        if source == link.guest {
            return Ok(true);
        }
        // RFC 2131 §4.1: a client without an address sends from 0.0.0.0.
        let asks = source.is_unspecified()
            && (self.is_group(ip.destination) || self.is_gateway(ip.destination))
            && ports(ip, packet) == Some((DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT));
        if asks { Ok(false) } else { Err(DropReason::SourceAddress) }
    }

    fn guest_source_v6(
        &self,
        source: Ipv6Addr,
        ip: &IpPacket,
        packet: &[u8],
    ) -> Result<bool, DropReason> {
        if self.config.addressing.ipv6.is_none() {
            return Err(DropReason::FamilyDisabled);
        }
        if self.is_guest_v6(source) {
            return Ok(true);
        }
        // RFC 4291 §2.5.6: what comes from a link-local address stays on the link.
        let near = self.is_group(ip.destination) || self.is_gateway(ip.destination);
        let local = near && source.is_unicast_link_local() && !self.is_gateway(source.into());
        // Neighbour discovery and its kin speak from link-local or no address, and so do clients
        // of DHCPv6 (RFC 8415 §13); nothing else may.
        if ip.protocol == Protocol::ICMPV6 && (near && source.is_unspecified() || local) {
            return Ok(false);
        }
        if local && ports(ip, packet) == Some((DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT)) {
            return Ok(false);
        }
        // Names and services are announced from link-local addresses all day long.
        if local && ip.protocol == Protocol::UDP && self.is_group(ip.destination) {
            return Err(DropReason::Multicast);
        }
        Err(DropReason::SourceAddress)
    }
}

/// Source and destination port of an unfragmented UDP datagram.
fn ports(ip: &IpPacket, packet: &[u8]) -> Option<(u16, u16)> {
    if ip.protocol != Protocol::UDP || ip.fragment.is_some() {
        return None;
    }
    let &[a, b, c, d] = packet.get(ip.payload.clone())?.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}
