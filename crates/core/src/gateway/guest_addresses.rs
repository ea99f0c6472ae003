//! The IPv6 addresses a guest has shown: what it made for itself in its prefix (RFC 4862 §5.5).
//!
//! Owns a short memory of them, and with it where published ports dial. Never decides whether a
//! packet is taken: that is `source_guard.rs`.

use std::net::{IpAddr, Ipv6Addr};

use crate::engine::Engine;
use crate::limits::GUEST_ADDRESSES;

/// The addresses seen so far, but for link-local ones.
#[derive(Default)]
pub(crate) struct GuestAddresses {
    /// Whether the configured one was among them.
    configured: bool,
    /// Others, the latest last; at most [`GUEST_ADDRESSES`].
    others: Vec<Ipv6Addr>,
}

impl GuestAddresses {
    fn show(&mut self, address: Ipv6Addr, configured: Ipv6Addr) {
        if address == configured {
            self.configured = true;
            return;
        }
        if self.others.last() == Some(&address) {
            return;
        }
        if let Some(at) = self.others.iter().position(|&known| known == address) {
            self.others.remove(at);
        } else if self.others.len() >= GUEST_ADDRESSES {
            self.others.remove(0);
        }
        self.others.push(address);
    }

    /// The guest gave the configured address back.
    pub(crate) fn forget_configured(&mut self) {
        self.configured = false;
    }

    fn target(&self, configured: Ipv6Addr) -> Ipv6Addr {
        match self.others.last() {
            Some(&latest) if !self.configured => latest,
            _ => configured,
        }
    }
}

impl Engine {
    /// Where the guest is reached over IPv6: at the configured address unless it has shown only
    /// others, then at the latest of them.
    pub(crate) fn guest_v6(&self) -> Option<Ipv6Addr> {
        let link = self.config.addressing.ipv6?;
        Some(self.gateway.addresses.target(link.guest))
    }

    /// The guest has spoken from an address of its own.
    pub(crate) fn guest_spoke(&mut self, source: IpAddr, mac: [u8; 6]) {
        self.learn_guest_mac(mac);
        if let IpAddr::V6(source) = source {
            self.guest_claims(source);
        }
    }

    /// The guest uses `address`, or is about to.
    pub(crate) fn guest_claims(&mut self, address: Ipv6Addr) {
        let Some(link) = self.config.addressing.ipv6 else { return };
        if !self.is_guest_v6(address) {
            return;
        }
        if address != link.guest {
            // It made that address from an advertisement, so it wants to hear the next one.
            self.wants_adverts();
        }
        self.gateway.addresses.show(address, link.guest);
    }

    /// Whether the guest may have `address`: the configured one, or one in a prefix it may make
    /// addresses in.
    pub(crate) fn is_guest_v6(&self, address: Ipv6Addr) -> bool {
        let Some(link) = self.config.addressing.ipv6 else { return false };
        if address == link.guest {
            return true;
        }
        // RFC 4291 §2.6.1: the address without an interface identifier is the router's.
        let anycast = address.to_bits() & u128::from(u64::MAX) == 0;
        self.is_autonomous() && self.on_link_v6(address) && address != link.gateway && !anycast
    }

    /// Whether the guest can make addresses in its prefix. RFC 4862 §5.5.3 (d), RFC 2464 §4: the
    /// interface identifier takes 64 bits.
    pub(crate) fn is_autonomous(&self) -> bool {
        self.config.addressing.ipv6.is_some_and(|link| link.prefix_len == 64)
    }

    /// Whether `address` is in the link's prefix.
    pub(crate) fn on_link_v6(&self, address: Ipv6Addr) -> bool {
        self.config.addressing.ipv6.is_some_and(|link| {
            let mask = !u128::MAX.checked_shr(u32::from(link.prefix_len)).unwrap_or(0);
            address.to_bits() & mask == link.guest.to_bits() & mask
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)
    }

    #[test]
    fn the_configured_address_wins_once_shown_and_else_the_latest() {
        let mut shown = GuestAddresses::default();
        let configured = address(2);
        assert_eq!(shown.target(configured), configured);
        shown.show(address(3), configured);
        shown.show(address(4), configured);
        shown.show(address(3), configured);
        assert_eq!(shown.target(configured), address(3));
        shown.show(configured, configured);
        assert_eq!(shown.target(configured), configured);
        shown.forget_configured();
        assert_eq!(shown.target(configured), address(3));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut shown = GuestAddresses::default();
        for host in 3..1000 {
            shown.show(address(host), address(2));
        }
        assert_eq!(shown.others.len(), GUEST_ADDRESSES);
        assert_eq!(shown.target(address(2)), address(999));
    }
}
