//! Router advertisements (RFC 4861 §6.2): the guest's prefix, router, MTU and name server.
//!
//! Owns when one is sent: in answer to a solicitation, and again when a guest that listens to them
//! sends anything and the last one is old. No timer runs, for lifetimes are so long (RFC 8319 §4)
//! that any frame of a day is in time; a guest that never asked is not configured against its will.

use std::net::{IpAddr, Ipv6Addr};

use portreeve_types::Ipv6Link;
use portreeve_wire::domain_list;
use portreeve_wire::ethernet::{EtherType, EthernetHeader};
use portreeve_wire::ndp::{NDP_HOP_LIMIT, multicast_mac};
use portreeve_wire::packet::{DEFAULT_HOP_LIMIT, IPV6_HEADER_LEN, IpHeader, IpPacket, Protocol};
use portreeve_wire::router_advert::{RouterAdvertisement, RouterSolicitation};

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::limits::{ADVERT_REFRESH, PREFIX_LIFETIMES, ROUTER_LIFETIME};

impl Engine {
    /// A router solicitation of the guest, its checksum verified.
    pub(crate) fn router_solicited(
        &mut self,
        header: &EthernetHeader,
        ip: &IpPacket,
        message: &[u8],
    ) {
        let (Some(link), IpAddr::V6(source)) = (self.config.addressing.ipv6, ip.source) else {
            return self.drop(DropReason::FamilyDisabled);
        };
        // RFC 4861 §6.1.1: a hop limit of 255 proves that it was not forwarded.
        if ip.hop_limit != NDP_HOP_LIMIT || RouterSolicitation::parse(source, message).is_none() {
            return self.drop(DropReason::IcmpMalformed);
        }
        if source.is_unspecified() {
            self.advertise_router(&link, ALL_NODES, multicast_mac(ALL_NODES));
        } else {
            self.advertise_router(&link, source, header.source);
        }
    }

    /// The guest has shown that it listens to advertisements.
    pub(crate) fn wants_adverts(&mut self) {
        self.gateway.next_advert.get_or_insert(self.now);
    }

    /// Something came from the guest: advertises again if that is due.
    pub(crate) fn refresh_advert(&mut self) {
        if self.gateway.next_advert.is_some_and(|at| at <= self.now)
            && let Some(link) = self.config.addressing.ipv6
        {
            self.advertise_router(&link, ALL_NODES, multicast_mac(ALL_NODES));
        }
    }

    fn advertise_router(&mut self, link: &Ipv6Link, destination: Ipv6Addr, to: [u8; 6]) {
        self.gateway.next_advert = Some(self.now + ADVERT_REFRESH);
        let search = domain_list::encode(self.config.announce.search.iter().map(String::as_str));
        let advert = RouterAdvertisement {
            mac: self.config.addressing.gateway_mac.0,
            lifetime: ROUTER_LIFETIME,
            hop_limit: DEFAULT_HOP_LIMIT,
            managed: true,
            other: true,
            prefix: (link.guest, link.prefix_len, self.is_autonomous()),
            prefix_lifetimes: PREFIX_LIFETIMES,
            mtu: self.config.addressing.mtu,
            dns: self.config.announce.dns.then_some(link.gateway),
            search: &search,
            dns_lifetime: u32::from(ROUTER_LIFETIME),
        };
        // RFC 4861 §4.2: hosts take advertisements from a link-local address only.
        let source = link.gateway_link_local;
        let message = advert.emit(source, destination);
        let header = IpHeader {
            source: source.into(),
            destination: destination.into(),
            protocol: Protocol::ICMPV6,
            hop_limit: NDP_HOP_LIMIT,
            payload_len: message.len(),
            fragment: None,
        };
        self.outbox.raw(to, EtherType::Ipv6, IPV6_HEADER_LEN + message.len(), |out| {
            header.emit(out);
            out[IPV6_HEADER_LEN..].copy_from_slice(&message);
        });
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
