//! The options that say what a guest's network is and what it may reach.
//!
//! Owns their names and texts, and turns them into the library's types; what contradicts itself is
//! found there. Shared by every command that makes a guest.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use portreeve::{
    Addressing, DnsConfig, DnsName, Egress, HostAccess, MacAddr, NameServerAddr, StaticRecord,
    UdpFiltering, free_addressing,
};
use portreeve_types::{AddressingError, Ipv4Link, Ipv6Link};

use crate::report::Failure;

/// The guest's link and its addresses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Addresses")]
pub(crate) struct AddressArgs {
    /// Largest packet on the guest's link, in bytes
    #[arg(long, value_name = "N", default_value_t = 1500,
          value_parser = clap::value_parser!(u16).range(576..=65_520))]
    pub(crate) mtu: u16,
    /// Give the guest no IPv6
    #[arg(long, conflicts_with = "ipv6_only")]
    pub(crate) ipv4_only: bool,
    /// Give the guest no IPv4
    #[arg(long)]
    pub(crate) ipv6_only: bool,
    /// The guest's address with the length of its prefix, as in 10.0.5.2/24; once for each family
    ///
    /// By default they are chosen so that they collide with none of this host's.
    #[arg(long, value_name = "IP/LEN", value_parser = network)]
    pub(crate) address: Vec<(IpAddr, u8)>,
    /// The gateway's address in that prefix; the first of it by default
    #[arg(long, value_name = "IP")]
    pub(crate) gateway: Vec<IpAddr>,
    /// The guest's hardware address
    #[arg(long, value_name = "MAC")]
    pub(crate) mac: Option<MacAddr>,
}

/// What the guest may reach.
#[derive(Debug, Args)]
#[command(next_help_heading = "The guest's own connections")]
pub(crate) struct EgressArgs {
    /// Let the guest open no connections of its own; published ports work all the same
    #[arg(long)]
    pub(crate) no_outbound: bool,
    /// Let the guest reach services on this host's loopback, all or these ports, under its
    /// gateway's address and as host.portreeve.internal
    ///
    /// Everything else that leads to this host stays closed: its own addresses, link-local ones,
    /// the cloud's metadata.
    #[arg(long, value_name = "PORTS", num_args = 0..=1, require_equals = true,
          default_missing_value = "all")]
    pub(crate) allow_host: Option<HostAccess>,
    /// The address that the guest's traffic leaves from; once for each family
    #[arg(long, value_name = "IP")]
    pub(crate) bind_address: Vec<IpAddr>,
    /// The interface that the guest's traffic leaves through
    #[arg(long, value_name = "IF")]
    pub(crate) bind_interface: Option<String>,
    /// From whom datagrams reach a port that the guest has sent from (RFC 4787)
    #[arg(long, value_name = "MODE", default_value = "address-dependent")]
    pub(crate) udp_filtering: Filtering,
}

/// How the guest's names are resolved.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct DnsArgs {
    /// A name server to ask in place of this host's own, as in `1.1.1.1` or `[::1]:5353`
    #[arg(long, value_name = "SERVER")]
    pub(crate) dns: Vec<NameServerAddr>,
    /// A domain that the guest's resolver appends to short names, in place of this host's own
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<DnsName>,
    /// A name that the guest's name server answers by itself, as in db.test:10.0.0.7
    #[arg(long, value_name = "NAME:IP", value_parser = host_entry)]
    pub(crate) add_host: Vec<(DnsName, IpAddr)>,
}

/// From whom datagrams are let in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Filtering {
    /// From anybody, as through a published port
    EndpointIndependent,
    /// From addresses that the guest has sent to
    AddressDependent,
    /// From addresses and ports that the guest has sent to
    AddressAndPortDependent,
}

impl AddressArgs {
    /// The guest's addresses: those given, and for the rest what is free on this host.
    pub(crate) fn addressing(&self) -> Result<Addressing, Failure> {
        let mut addressing = free_addressing();
        addressing.mtu = self.mtu;
        if let Some(mac) = self.mac {
            addressing.guest_mac = Some(mac);
        }
        for &(address, prefix_len) in &self.address {
            let gateway = self.gateway.iter().copied().find(|g| g.is_ipv6() == address.is_ipv6());
            let gateway = gateway.unwrap_or_else(|| first_of(address, prefix_len));
            match (address, gateway) {
                (IpAddr::V4(guest), IpAddr::V4(gateway)) => {
                    addressing.ipv4 = Some(Ipv4Link { guest, gateway, prefix_len });
                }
                (IpAddr::V6(guest), IpAddr::V6(gateway)) => {
                    let link = addressing.ipv6.unwrap_or_default();
                    addressing.ipv6 = Some(Ipv6Link { guest, gateway, prefix_len, ..link });
                }
                _ => {}
            }
        }
        for gateway in &self.gateway {
            if !self.address.iter().any(|(address, _)| address.is_ipv6() == gateway.is_ipv6()) {
                return Err(Failure::ours(format_args!(
                    "--gateway {gateway} needs the guest's --address of the same family"
                )));
            }
        }
        if self.ipv4_only {
            addressing.ipv6 = None;
        }
        if self.ipv6_only {
            addressing.ipv4 = None;
        }
        addressing.validate().map_err(|error| match error {
            AddressingError::Mtu { .. } => Failure::ours(format_args!("--mtu: {error}")),
            _ => Failure::ours(format_args!("the guest's addresses: {error}")),
        })?;
        Ok(addressing)
    }
}

impl EgressArgs {
    pub(crate) fn egress(&self) -> Egress {
        Egress {
            enabled: !self.no_outbound,
            host: self.allow_host.clone().unwrap_or_default(),
            udp_filtering: self.udp_filtering.into(),
            bind_addresses: self.bind_address.clone(),
            bind_interface: self.bind_interface.clone(),
        }
    }
}

impl DnsArgs {
    pub(crate) fn config(&self) -> DnsConfig {
        let mut records: Vec<StaticRecord> = Vec::new();
        for (name, address) in &self.add_host {
            match records.iter_mut().find(|record| record.name == *name) {
                Some(record) => record.addresses.push(*address),
                None => records.push(StaticRecord {
                    name: name.clone(),
                    addresses: vec![*address],
                    ttl: StaticRecord::DEFAULT_TTL,
                }),
            }
        }
        let given = |list: &[NameServerAddr]| (!list.is_empty()).then(|| list.to_vec());
        DnsConfig {
            upstreams: given(&self.dns),
            search: (!self.dns_search.is_empty()).then(|| self.dns_search.clone()),
            records,
            ..DnsConfig::default()
        }
    }
}

impl From<Filtering> for UdpFiltering {
    fn from(filtering: Filtering) -> Self {
        match filtering {
            Filtering::EndpointIndependent => Self::EndpointIndependent,
            Filtering::AddressDependent => Self::AddressDependent,
            Filtering::AddressAndPortDependent => Self::AddressAndPortDependent,
        }
    }
}

/// The first address of the prefix behind its own, which is what a gateway usually has; the next
/// one when that is the guest's.
fn first_of(address: IpAddr, prefix_len: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = !u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let first = (v4.to_bits() & mask) + 1;
            std::net::Ipv4Addr::from_bits(first + u32::from(first == v4.to_bits())).into()
        }
        IpAddr::V6(v6) => {
            let mask = !u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let first = (v6.to_bits() & mask) + 1;
            std::net::Ipv6Addr::from_bits(first + u128::from(first == v6.to_bits())).into()
        }
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) =
        text.split_once('/').ok_or("the length of the prefix is missing, as in 10.0.5.2/24")?;
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is no IP address"))?;
    let most = if address.is_ipv6() { 128 } else { 32 };
    match length.parse() {
        Ok(length) if length <= most => Ok((address, length)),
        _ => Err(format!("`{length}` is no length of a prefix: 0 to {most}")),
    }
}

fn host_entry(text: &str) -> Result<(DnsName, IpAddr), String> {
    let (name, address) =
        text.split_once([':', '=']).ok_or("write NAME:IP, as in db.test:10.0.0.7")?;
    let name = name.parse::<DnsName>().map_err(|error| error.to_string())?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().map_err(|_| format!("`{address}` is no IP address"))?;
    Ok((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(address: &[&str], gateway: &[&str]) -> AddressArgs {
        AddressArgs {
            mtu: 1500,
            ipv4_only: false,
            ipv6_only: false,
            address: address.iter().map(|text| network(text).unwrap()).collect(),
            gateway: gateway.iter().map(|text| text.parse().unwrap()).collect(),
            mac: None,
        }
    }

    #[test]
    fn addresses_are_taken_and_the_gateway_follows() {
        let addressing = args(&["10.9.8.7/24", "fd00:9::7/64"], &[]).addressing().unwrap();
        assert_eq!(addressing.ipv4.unwrap().gateway.to_string(), "10.9.8.1");
        assert_eq!(addressing.ipv6.unwrap().gateway.to_string(), "fd00:9::1");
        let addressing = args(&["10.9.8.1/24"], &[]).addressing().unwrap();
        assert_eq!(addressing.ipv4.unwrap().gateway.to_string(), "10.9.8.2");
        let addressing = args(&["10.9.8.7/24"], &["10.9.8.254"]).addressing().unwrap();
        assert_eq!(addressing.ipv4.unwrap().gateway.to_string(), "10.9.8.254");
        assert!(args(&[], &["10.9.8.254"]).addressing().is_err());
        assert!(args(&["10.9.8.7/24"], &["10.9.9.1"]).addressing().is_err());
    }

    #[test]
    fn texts_that_are_wrong_say_what_would_be_right() {
        assert!(network("10.0.0.2").unwrap_err().contains("10.0.5.2/24"));
        assert!(network("10.0.0.2/33").unwrap_err().contains("0 to 32"));
        assert!(host_entry("db").unwrap_err().contains("NAME:IP"));
        let (name, address) = host_entry("db.test:[2001:db8::7]").unwrap();
        assert_eq!((name.as_str(), address.to_string().as_str()), ("db.test", "2001:db8::7"));
    }
}
