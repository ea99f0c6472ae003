//! ARP (RFC 826): the gateway's IPv4 address, and the guest's hardware address.
//!
//! Answers for the gateway's address only; the guest's own probes (RFC 5227) get no answer, or its
//! address would look taken.

use portreeve_wire::arp::{ARP_LEN, Arp, ArpOperation};
use portreeve_wire::ethernet::{EtherType, EthernetHeader};

use crate::drop_reason::DropReason;
use crate::engine::Engine;

impl Engine {
    pub(crate) fn arp_from_guest(&mut self, header: &EthernetHeader, packet: &[u8]) {
        let Some(link) = self.config.addressing.ipv4 else {
            return self.drop(DropReason::FamilyDisabled);
        };
        let Some(arp) = Arp::parse(packet) else {
            return self.drop(DropReason::ArpMalformed);
        };
        if arp.sender_mac != header.source {
            return self.drop(DropReason::SourceMac);
        }
        if arp.sender_ip == link.guest {
            self.learn_guest_mac(arp.sender_mac);
        } else if !arp.sender_ip.is_unspecified() {
            return self.drop(DropReason::SourceAddress);
        }
        if arp.operation == ArpOperation::Request && arp.target_ip == link.gateway {
            let reply = Arp {
                operation: ArpOperation::Reply,
                sender_mac: self.config.addressing.gateway_mac.0,
                sender_ip: link.gateway,
                target_mac: arp.sender_mac,
                target_ip: arp.sender_ip,
            };
            self.outbox.raw(header.source, EtherType::Arp, ARP_LEN, |out| reply.emit(out));
        }
    }
}
