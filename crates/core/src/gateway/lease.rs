//! Leases of the guest's addresses: one for each family, for there is one guest.
//!
//! Owns who holds an address and until when, and what is reported of it. A lease refuses nobody:
//! whoever asks through the guest's hardware address is the guest, which may change its client
//! identifier between its boot loader and its system.

use std::net::IpAddr;
use std::time::Duration;

use portreeve_types::Instant;

use crate::engine::Engine;
use crate::engine::event::Event;

/// By which protocol an address was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseProtocol {
    /// DHCP (RFC 2131).
    Dhcp4,
    /// DHCPv6 (RFC 8415).
    Dhcp6,
}

impl LeaseProtocol {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dhcp4 => "dhcp4",
            Self::Dhcp6 => "dhcp6",
        }
    }
}

/// What happened to a lease. Renewals are not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseChange {
    /// The guest has the address now.
    Given,
    /// The guest gave it back.
    Released,
    /// The guest says that somebody else has it.
    Declined,
}

impl LeaseChange {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Released => "released",
            Self::Declined => "declined",
        }
    }
}

/// The leases of both families.
#[derive(Default)]
pub(crate) struct Leases {
    v4: Option<Lease>,
    v6: Option<Lease>,
}

struct Lease {
    /// The client's identifier, at most [`MAX_CLIENT_ID`](crate::limits::MAX_CLIENT_ID) bytes.
    client: Vec<u8>,
    until: Instant,
}

impl Leases {
    fn of(&mut self, protocol: LeaseProtocol) -> &mut Option<Lease> {
        match protocol {
            LeaseProtocol::Dhcp4 => &mut self.v4,
            LeaseProtocol::Dhcp6 => &mut self.v6,
        }
    }
}

impl Engine {
    /// `client` has the address now, or has it for longer.
    pub(crate) fn lease_given(&mut self, protocol: LeaseProtocol, address: IpAddr, client: &[u8]) {
        let until = self.now + Duration::from_secs(u64::from(self.config.announce.lease_secs));
        let now = self.now;
        let lease = self.gateway.leases.of(protocol);
        match lease {
            Some(held) if held.client == client && now < held.until => held.until = until,
            _ => {
                *lease = Some(Lease { client: client.to_vec(), until });
                let change = LeaseChange::Given;
                self.events.push(Event::Lease { protocol, address, change });
            }
        }
    }

    /// `client` gives the address back or cannot use it; whether it was its own.
    pub(crate) fn lease_ended(
        &mut self,
        protocol: LeaseProtocol,
        address: IpAddr,
        client: &[u8],
        change: LeaseChange,
    ) -> bool {
        let lease = self.gateway.leases.of(protocol);
        if lease.as_ref().is_none_or(|held| held.client != client) {
            return false;
        }
        *lease = None;
        if protocol == LeaseProtocol::Dhcp6 {
            self.gateway.addresses.forget_configured();
        }
        if change == LeaseChange::Declined {
            self.counters.leases_declined += 1;
        }
        self.events.push(Event::Lease { protocol, address, change });
        true
    }

    /// Lifetime, T1 and T2 of what is given now, in seconds; T2 is so many eighths of the first.
    pub(crate) fn lease_times(&self, eighths: u32) -> (u32, u32, u32) {
        let whole = self.config.announce.lease_secs;
        (whole, whole / 2, whole / 8 * eighths)
    }
}
