//! The guest's hardware address: given, learnt, or asked for.
//!
//! Owns the question that makes the first connection work before the guest has ever sent a frame:
//! as long as the address is unknown, frames for the guest wait and the gateway asks for it.

use portreeve_wire::arp::{ARP_LEN, Arp, ArpOperation};
use portreeve_wire::ethernet::{BROADCAST, EtherType};
use portreeve_wire::ndp::{Neighbor, multicast_mac, solicited_node};

use crate::engine::Engine;
use crate::engine::event::Event;
use crate::limits::NEIGHBOR_RETRY;

impl Engine {
    /// The guest has shown its hardware address.
    pub(crate) fn learn_guest_mac(&mut self, mac: [u8; 6]) {
        let unicast = mac[0] & 1 == 0 && mac != [0; 6];
        if self.outbox.guest_mac.is_none() && unicast {
            self.outbox.guest_mac = Some(mac);
            self.neighbor_retry = None;
            self.events.push(Event::GuestSeen { mac: portreeve_types::MacAddr(mac) });
        }
    }

    /// Frames wait and nobody knows where to: asks, now and then.
    pub(crate) fn seek_guest(&mut self) {
        if self.neighbor_retry.is_some_and(|at| self.now < at) {
            return;
        }
        self.neighbor_retry = Some(self.now + NEIGHBOR_RETRY);
        if self.outbox.has_addressed() {
            return;
        }
        let mac = self.config.addressing.gateway_mac.0;
        if let Some(link) = self.config.addressing.ipv4 {
            let request = Arp {
                operation: ArpOperation::Request,
                sender_mac: mac,
                sender_ip: link.gateway,
                target_mac: [0; 6],
                target_ip: link.guest,
            };
            self.outbox.raw(BROADCAST, EtherType::Arp, ARP_LEN, |out| request.emit(out));
        }
        if let Some((guest, link)) = self.guest_v6().zip(self.config.addressing.ipv6) {
            let group = solicited_node(guest);
            let solicitation =
                Neighbor { advertisement: false, target: guest, mac: Some(mac), solicited: false };
            let to = multicast_mac(group);
            self.neighbor_message(&solicitation, link.gateway_link_local, group, to);
        }
    }
}
