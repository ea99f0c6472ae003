//! The name of a flow on the guest's side: transport and both endpoints.
//!
//! Owns only the extraction; what a key means is the flow table's.

use std::net::{IpAddr, SocketAddr};

use crate::packet::Protocol;

/// Two endpoints and a protocol, seen from the guest: one flow has one key in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// IP protocol number, [`Protocol::TCP`] or [`Protocol::UDP`].
    pub protocol: u8,
    /// The guest's own address and port.
    pub guest: SocketAddr,
    /// The other end as the guest sees it.
    pub remote: SocketAddr,
}

impl FlowKey {
    /// Key of a TCP flow.
    pub const fn tcp(guest: SocketAddr, remote: SocketAddr) -> Self {
        Self { protocol: Protocol::TCP, guest, remote }
    }

    /// Key of a UDP flow.
    pub const fn udp(guest: SocketAddr, remote: SocketAddr) -> Self {
        Self { protocol: Protocol::UDP, guest, remote }
    }

    /// Key of a packet that the guest sent.
    pub const fn from_guest(
        protocol: u8,
        source: IpAddr,
        source_port: u16,
        destination: IpAddr,
        destination_port: u16,
    ) -> Self {
        Self {
            protocol,
            guest: SocketAddr::new(source, source_port),
            remote: SocketAddr::new(destination, destination_port),
        }
    }
}
