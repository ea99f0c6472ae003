//! Where the guest's own traffic goes: the destination it named, judged in one normal form.
//!
//! Owns the protection of the host. A destination is the gateway (its name server, a published
//! port, or a port of the host's loopback that was opened), somewhere outside, or refused with a
//! reason. Every spelling of an address is reduced to what it means before it is judged, and what
//! is judged is what is dialled. Asks no policy: that is `admission.rs`.
//!
//! Spec: RFC 6890 (special-purpose addresses), RFC 6052 (IPv4 in IPv6), RFC 4291 §2.5.5.

mod refusal;
mod special;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portreeve_types::{PublishId, Transport};
use portreeve_wire::packet::DEFAULT_HOP_LIMIT;

use crate::engine::Engine;
use crate::engine::event::EgressRefusal;
use special::{Special, meaning};

/// Where a destination leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Out, to this address: the one to dial.
    Out(SocketAddr),
    /// The gateway's name server.
    NameServer,
}

impl Target {
    /// The address to dial.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Out(address) => Some(address),
            Self::NameServer => None,
        }
    }
}

/// What is known of the host at the moment.
#[derive(Default)]
pub(crate) struct HostView {
    addresses: BTreeSet<IpAddr>,
    /// Published host ports, for a guest that uses its own.
    published: BTreeSet<(Transport, u16, IpAddr, PublishId)>,
    /// Changes whenever a verdict may.
    epoch: u64,
}

impl HostView {
    pub(crate) fn set_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.addresses = addresses.into_iter().collect();
        self.epoch += 1;
    }

    pub(crate) fn port_added(&mut self, transport: Transport, host: SocketAddr, id: PublishId) {
        self.published.insert((transport, host.port(), host.ip(), id));
        self.epoch += 1;
    }

    pub(crate) fn port_removed(&mut self, id: PublishId) {
        self.published.retain(|&(.., other)| other != id);
        self.epoch += 1;
    }

    /// A number that stays the same as long as verdicts do.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether an address that was admitted is one of the host's.
    pub(crate) fn is_this_host(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.is_own(address)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Where a published port is to be dialled that listens on `address` or on all addresses.
    fn published_at(&self, transport: Transport, address: SocketAddr) -> bool {
        let ports = (transport, address.port());
        let unspecified = unspecified(address.is_ipv6());
        self.published
            .range((ports.0, ports.1, lowest(), PublishId(0))..)
            .take_while(|&&(transport, port, ..)| (transport, port) == ports)
            .any(|&(_, _, ip, _)| ip == address.ip() || ip == unspecified)
    }
}

impl Engine {
    /// The hop limit with which a packet for `remote` goes on that reached the gateway with
    /// `hop_limit`. A guest's ordinary packets leave with the host's own default; those that count
    /// hops keep counting, and what is for the gateway itself has no hops before it.
    pub(crate) fn hop_limit_beyond(&self, remote: IpAddr, hop_limit: u8) -> Option<u8> {
        let counts = hop_limit < DEFAULT_HOP_LIMIT && !self.is_gateway(remote);
        counts.then(|| hop_limit.saturating_sub(1))
    }

    /// Where the guest's `destination` leads, or why nowhere.
    pub(crate) fn egress_target(
        &self,
        transport: Transport,
        destination: SocketAddr,
    ) -> Result<Target, EgressRefusal> {
        let ip = destination.ip();
        if self.is_gateway(ip) {
            return self.gateway_target(transport, destination);
        }
        if self.is_group(ip) {
            return Err(EgressRefusal::Group);
        }
        if !self.config.egress.enabled {
            return Err(EgressRefusal::Disabled);
        }
        if destination.port() == 0 {
            return Err(EgressRefusal::Reserved);
        }
        self.judge_address(ip).or_else(|refusal| {
            // A guest reaches its own published port under the host's address.
            let hairpin = refusal == EgressRefusal::HostAddress
                && self.host.is_own(ip)
                && self.host.published_at(transport, destination);
            if hairpin { Ok(()) } else { Err(refusal) }
        })?;
        Ok(Target::Out(destination))
    }

    /// Whether an echo request may go to `destination`, which is not the gateway.
    pub(crate) fn echo_target(&self, destination: IpAddr) -> Result<SocketAddr, EgressRefusal> {
        if self.is_group(destination) {
            return Err(EgressRefusal::Group);
        }
        if !self.config.egress.enabled {
            return Err(EgressRefusal::Disabled);
        }
        self.judge_address(destination)?;
        Ok(SocketAddr::new(destination, 0))
    }

    fn gateway_target(
        &self,
        transport: Transport,
        destination: SocketAddr,
    ) -> Result<Target, EgressRefusal> {
        let port = destination.port();
        if port == NAME_SERVER_PORT && self.serves_names() {
            return Ok(Target::NameServer);
        }
        let loopback = SocketAddr::new(loopback(destination.is_ipv6()), port);
        let egress = &self.config.egress;
        let opened = egress.host.allows(port) || self.host.published_at(transport, loopback);
        if opened && port != 0 {
            Ok(Target::Out(loopback))
        } else {
            Err(EgressRefusal::GatewayPort)
        }
    }

    fn judge_address(&self, ip: IpAddr) -> Result<(), EgressRefusal> {
        // Every address that this one means: itself, and an IPv4 address that it carries.
        for meant in meaning(ip).into_iter().flatten() {
            match special::classify(meant) {
                Some(Special::Loopback | Special::Unspecified) => {
                    return Err(EgressRefusal::HostAddress);
                }
                Some(Special::LinkLocal) => return Err(EgressRefusal::LinkLocal),
                Some(Special::Metadata) => return Err(EgressRefusal::Metadata),
                Some(Special::Reserved) => return Err(EgressRefusal::Reserved),
                None => {}
            }
            if self.host.is_own(meant) {
                return Err(EgressRefusal::HostAddress);
            }
            if self.is_on_link(meant) {
                return Err(EgressRefusal::NobodyThere);
            }
        }
        Ok(())
    }
}

const fn loopback(v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

const fn unspecified(v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// The first in order: IPv4 sorts before IPv6.
const fn lowest() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

/// RFC 1035 §4.2.
const NAME_SERVER_PORT: u16 = 53;
