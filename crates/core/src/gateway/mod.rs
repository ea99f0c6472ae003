//! What the virtual gateway answers by itself: ARP, neighbour and router discovery, DHCP, DHCPv6
//! and echo.
//!
//! Owns the gateway's presence on the link, and what it remembers of its guest. It answers for its
//! own addresses only, whatever else the engine carries.

pub(crate) mod arp;
pub(crate) mod dhcp;
pub(crate) mod dhcp4;
pub(crate) mod dhcp6;
pub(crate) mod echo;
pub(crate) mod guest_addresses;
pub(crate) mod lease;
pub(crate) mod names;
pub(crate) mod ndp;
pub(crate) mod neighbor;
pub(crate) mod router_advert;
pub(crate) mod source_guard;

/// What the gateway remembers of its guest.
#[derive(Default)]
pub(crate) struct GatewayState {
    pub(crate) addresses: guest_addresses::GuestAddresses,
    pub(crate) leases: lease::Leases,
    /// When the next router advertisement is due; `None` while the guest has shown no interest.
    pub(crate) next_advert: Option<portreeve_types::Instant>,
}
