//! Frames from the guest, up to the transport layer.
//!
//! Owns the routing by protocol. Nothing a guest sends is an error here: every
//! path ends in a flow, in an answer, or in a counted [`DropReason`].

use std::net::{IpAddr, Ipv6Addr};

use portreeve_wire::VirtioNetHdr;
use portreeve_wire::ethernet::{ETHERNET_HEADER_LEN, EtherType, EthernetHeader};
use portreeve_wire::icmp::{self, ECHO_REQUEST_V4, ECHO_REQUEST_V6};
use portreeve_wire::ndp::{NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION};
use portreeve_wire::packet::{IpPacket, PacketError, Protocol};
use portreeve_wire::router_advert::ROUTER_SOLICITATION;

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::losses::Limit;
use crate::fragment::reassembly::{Joined, TurnedAway};
use crate::limits::MAX_FRAME_LEN;

impl Engine {
    pub(crate) fn ingest(&mut self, link: &VirtioNetHdr, frame: &mut [u8]) {
        self.counters.frames_from_guest += 1;
        self.counters.bytes_from_guest += frame.len() as u64;
        if frame.len() > MAX_FRAME_LEN {
            return self.drop(DropReason::FrameTooLong);
        }
        let Some(header) = EthernetHeader::parse(frame) else {
            return self.drop(DropReason::FrameTooShort);
        };
        if self.outbox.guest_mac.is_some_and(|mac| mac != header.source) {
            return self.drop(DropReason::SourceMac);
        }
        self.refresh_advert();
        let packet = &mut frame[ETHERNET_HEADER_LEN..];
        match header.ethertype {
            EtherType::Arp => self.arp_from_guest(&header, packet),
            EtherType::Ipv4 => {
                let parsed = IpPacket::parse_v4(packet);
                self.ip_from_guest(&header, link, packet, parsed);
            }
            EtherType::Ipv6 => {
                let parsed = IpPacket::parse_v6(packet);
                self.ip_from_guest(&header, link, packet, parsed);
            }
            EtherType::Other(_) => self.drop(DropReason::EtherType),
        }
    }

    fn ip_from_guest(
        &mut self,
        header: &EthernetHeader,
        link: &VirtioNetHdr,
        packet: &mut [u8],
        parsed: Result<IpPacket, PacketError>,
    ) {
        let ip = match parsed {
            Ok(ip) => ip,
            Err(PacketError::HeaderChecksum) => return self.drop(DropReason::HeaderChecksum),
            Err(PacketError::ExtensionHeader) => return self.drop(DropReason::ExtensionHeader),
            Err(PacketError::Truncated | PacketError::Version) => {
                return self.drop(DropReason::PacketMalformed);
            }
        };
        match self.guest_source(&ip, packet) {
            Ok(true) => self.guest_spoke(ip.source, header.source),
            Ok(false) => {}
            Err(reason) => return self.drop(reason),
        }
        let trusted = link.needs_csum || link.data_valid;
        if let Some(fragment) = ip.fragment {
            // Only what may be larger than the link's MTU by right: TCP never is.
            if !matches!(ip.protocol, Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6) {
                return self.drop(DropReason::FragmentUnexpected);
            }
            let data = &packet[ip.payload.clone()];
            match self.fragments.add(&ip, fragment, data, self.now) {
                // What a fragment's link header says of checksums holds for the fragment only.
                Joined::Whole(whole) => {
                    self.upper_from_guest(header, &VirtioNetHdr::default(), &ip, &whole);
                }
                Joined::Waiting => {}
                Joined::Dropped(reason) => self.drop(reason),
            }
            return self.fragments_turned_away();
        }
        if ip.protocol == Protocol::TCP {
            return self.tcp_from_guest(packet, &ip, trusted);
        }
        self.upper_from_guest(header, link, &ip, &packet[ip.payload.clone()]);
    }

    /// Gives up datagrams whose missing fragments did not come in time.
    pub(crate) fn fragments_expire(&mut self) {
        let expired = self.fragments.expire(self.now);
        self.lose(DropReason::FragmentTimeout, expired as u64);
    }

    /// Counts what the limits of fragments have turned away.
    pub(crate) fn fragments_turned_away(&mut self) {
        let TurnedAway { evicted, by_queues, by_bytes } = self.fragments.take_turned_away();
        self.lose(DropReason::FragmentLimit, evicted);
        self.limit_reached_times(Limit::FragmentQueues, by_queues);
        self.limit_reached_times(Limit::FragmentBytes, by_bytes);
    }

    /// What stood behind the IP headers of a whole packet, joined from fragments or not, and is not
    /// TCP.
    fn upper_from_guest(
        &mut self,
        header: &EthernetHeader,
        link: &VirtioNetHdr,
        ip: &IpPacket,
        upper: &[u8],
    ) {
        match (ip.protocol, ip.source) {
            (Protocol::UDP, _) if self.configuration_from_guest(header, ip, upper, link) => {}
            (Protocol::UDP, _) => {
                self.udp_from_guest(ip, upper, link, link.needs_csum || link.data_valid);
            }
            (Protocol::ICMP, IpAddr::V4(_)) | (Protocol::ICMPV6, IpAddr::V6(_)) => {
                self.icmp_from_guest(header, ip, upper);
            }
            _ => self.drop(DropReason::Protocol),
        }
    }

    fn icmp_from_guest(&mut self, header: &EthernetHeader, ip: &IpPacket, message: &[u8]) {
        if !icmp::verify(ip.source, ip.destination, message) {
            return self.drop(DropReason::TransportChecksum);
        }
        let Some(&kind) = message.first() else {
            return self.drop(DropReason::IcmpMalformed);
        };
        match (ip.source.is_ipv6(), kind) {
            (false, ECHO_REQUEST_V4) | (true, ECHO_REQUEST_V6) => self.echo_from_guest(ip, message),
            (true, NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT) => {
                self.ndp_from_guest(header, ip, message);
            }
            (true, ROUTER_SOLICITATION) => self.router_solicited(header, ip, message),
            // Every IPv6 host tells which groups it listens to, and the gateway has none to offer:
            // the message has arrived, and asks for nothing.
            (true, LISTENER_REPORT | LISTENER_DONE | LISTENER_REPORT_V2) => {}
            (v6, _) => self.icmp_error_from_guest(message, v6),
        }
    }

    /// Whether `address` is one of the gateway's own.
    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        let addressing = &self.config.addressing;
        match address {
            IpAddr::V4(v4) => addressing.ipv4.is_some_and(|link| link.gateway == v4),
            IpAddr::V6(v6) => addressing
                .ipv6
                .is_some_and(|link| link.gateway == v6 || link.gateway_link_local == v6),
        }
    }

    /// Whether `address` is multicast, or broadcast on the guest's link.
    pub(crate) fn is_group(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let subnet = self.config.addressing.ipv4.is_some_and(|link| {
                    let host = u32::MAX.checked_shr(u32::from(link.prefix_len)).unwrap_or(0);
                    // RFC 3021 §2.2: a link of two has no broadcast address.
                    link.prefix_len < 31 && v4.to_bits() == link.guest.to_bits() | host
                });
                v4.is_multicast() || v4.is_broadcast() || subnet
            }
            IpAddr::V6(v6) => v6.is_multicast(),
        }
    }

    /// Whether `address` lies in the prefix of the guest's link.
    pub(crate) fn is_on_link(&self, address: IpAddr) -> bool {
        let addressing = &self.config.addressing;
        match address {
            IpAddr::V4(v4) => addressing.ipv4.is_some_and(|link| {
                let mask = !u32::MAX.checked_shr(u32::from(link.prefix_len)).unwrap_or(0);
                v4.to_bits() & mask == link.guest.to_bits() & mask
            }),
            IpAddr::V6(v6) => addressing.ipv6.is_some_and(|link| {
                let mask = !u128::MAX.checked_shr(u32::from(link.prefix_len)).unwrap_or(0);
                v6.to_bits() & mask == link.guest.to_bits() & mask
            }),
        }
    }

    /// Whether the guest can be shown `address` as the source of a connection: a unicast address
    /// that its routes lead back to the gateway.
    pub(crate) fn may_be_source(&self, address: IpAddr) -> bool {
        let special = match address {
            IpAddr::V4(v4) => {
                v4.is_loopback()
                    || v4.is_link_local()
                    || v4.is_unspecified()
                    || v4.octets()[0] == 0
                    || v4.octets()[0] >= 240
            }
            IpAddr::V6(v6) => {
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_unicast_link_local()
                    || is_mapped(v6)
            }
        };
        !special && !self.is_on_link(address) && !self.is_group(address)
    }
}

/// `::ffff:a.b.c.d`, which means an IPv4 address and is none of IPv6's. RFC 4291 §2.5.5.2.
fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// RFC 2710 §3.1.
const LISTENER_REPORT: u8 = 131;
/// RFC 2710 §3.1.
const LISTENER_DONE: u8 = 132;
/// RFC 3810 §5.2.
const LISTENER_REPORT_V2: u8 = 143;
