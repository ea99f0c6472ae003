//! Neighbour discovery (RFC 4861 §7.2): the gateway's IPv6 addresses, and the guest's hardware
//! address.
//!
//! Answers for the gateway's own two addresses only. A solicitation from the unspecified address is
//! the guest's duplicate address detection (RFC 4862 §5.4): it is answered only should the guest
//! try to take the gateway's address.

use std::net::{IpAddr, Ipv6Addr};

use portreeve_wire::ethernet::{EtherType, EthernetHeader};
use portreeve_wire::ndp::{NDP_HOP_LIMIT, NEIGHBOR_LEN, Neighbor, multicast_mac};
use portreeve_wire::packet::{IPV6_HEADER_LEN, IpHeader, IpPacket, Protocol};

use crate::drop_reason::DropReason;
use crate::engine::Engine;

impl Engine {
    /// A neighbour solicitation or advertisement of the guest, its checksum verified.
    pub(crate) fn ndp_from_guest(
        &mut self,
        header: &EthernetHeader,
        ip: &IpPacket,
        message: &[u8],
    ) {
        let Some(link) = self.config.addressing.ipv6 else {
            return self.drop(DropReason::FamilyDisabled);
        };
        let IpAddr::V6(source) = ip.source else { return };
        // RFC 4861 §7.1.1: a hop limit of 255 proves that it was not forwarded.
        let Some(neighbor) = Neighbor::parse(message).filter(|_| ip.hop_limit == NDP_HOP_LIMIT)
        else {
            return self.drop(DropReason::IcmpMalformed);
        };
        if neighbor.advertisement {
            if self.is_guest_v6(neighbor.target) {
                let mac = neighbor.mac.unwrap_or(header.source);
                self.guest_spoke(neighbor.target.into(), mac);
            }
            return;
        }
        let target = neighbor.target;
        if source.is_unspecified() {
            // It is about to take the address, and nobody here will object.
            self.guest_claims(target);
        }
        if target == link.gateway || target == link.gateway_link_local {
            self.advertise(target, source, header.source);
        }
    }

    fn advertise(&mut self, target: Ipv6Addr, asker: Ipv6Addr, asker_mac: [u8; 6]) {
        let mac = self.config.addressing.gateway_mac.0;
        // RFC 4861 §7.2.4: an asker without an address is answered to all nodes.
        let solicited = !asker.is_unspecified();
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let destination = if solicited { asker } else { all_nodes };
        let to = if solicited { asker_mac } else { multicast_mac(all_nodes) };
        let neighbor = Neighbor { advertisement: true, target, mac: Some(mac), solicited };
        self.neighbor_message(&neighbor, target, destination, to);
    }

    /// Queues a neighbour solicitation or advertisement.
    pub(crate) fn neighbor_message(
        &mut self,
        neighbor: &Neighbor,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        to: [u8; 6],
    ) {
        let header = IpHeader {
            source: source.into(),
            destination: destination.into(),
            protocol: Protocol::ICMPV6,
            hop_limit: NDP_HOP_LIMIT,
            payload_len: NEIGHBOR_LEN,
            fragment: None,
        };
        self.outbox.raw(to, EtherType::Ipv6, IPV6_HEADER_LEN + NEIGHBOR_LEN, |out| {
            header.emit(out);
            neighbor.emit(source, destination, &mut out[IPV6_HEADER_LEN..]);
        });
    }
}
