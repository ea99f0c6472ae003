//! The options that say what a guest's network is and what it may reach.
//!
//! Owns their names and texts, and what each of them is in a configuration. Shared by every command
//! that makes a guest.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use portreeve::{
    DnsConfig, DnsName, Egress, HostAccess, MacAddr, NameServerAddr, StaticRecord, UdpFiltering,
};
use portreeve_types::{AddressesConfig, GuestAddress};

/// The guest's link and its addresses.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Addresses")]
pub(crate) struct AddressArgs {
    /// Largest packet on the guest's link, in bytes [default: 1500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(576..=65_520))]
    pub(crate) mtu: Option<u16>,
    /// Give the guest no IPv6
    #[arg(long, conflicts_with = "ipv6_only")]
    pub(crate) ipv4_only: bool,
    /// Give the guest no IPv4
    #[arg(long)]
    pub(crate) ipv6_only: bool,
    /// The guest's address with the length of its prefix, as in 10.0.5.2/24; once for each family
    ///
    /// By default they are chosen so that they collide with none of this host's.
    #[arg(long, value_name = "IP/LEN")]
    pub(crate) address: Vec<GuestAddress>,
    /// The gateway's address in that prefix; the first of it by default
    #[arg(long, value_name = "IP")]
    pub(crate) gateway: Vec<IpAddr>,
    /// The guest's hardware address
    #[arg(long, value_name = "MAC")]
    pub(crate) mac: Option<MacAddr>,
}

/// What the guest may reach.
#[derive(Clone, Debug, Args)]
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
    /// From whom datagrams reach a port that the guest has sent from (RFC 4787) [default:
    /// address-dependent]
    #[arg(long, value_name = "MODE")]
    pub(crate) udp_filtering: Option<Filtering>,
}

/// How the guest's names are resolved.
#[derive(Clone, Debug, Args)]
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
    /// Puts what was given in place of what is there.
    pub(crate) fn apply(&self, to: &mut AddressesConfig) {
        to.mtu = self.mtu.unwrap_or(to.mtu);
        replace(&mut to.address, &self.address);
        replace(&mut to.gateway, &self.gateway);
        to.mac = self.mac.or(to.mac);
        if self.ipv4_only {
            (to.ipv4, to.ipv6) = (true, false);
        }
        if self.ipv6_only {
            (to.ipv4, to.ipv6) = (false, true);
        }
    }
}

impl EgressArgs {
    /// Puts what was given in place of what is there.
    pub(crate) fn apply(&self, to: &mut Egress) {
        if self.no_outbound {
            to.enabled = false;
        }
        if let Some(host) = &self.allow_host {
            to.host = host.clone();
        }
        if let Some(filtering) = self.udp_filtering {
            to.udp_filtering = filtering.into();
        }
        replace(&mut to.bind_addresses, &self.bind_address);
        if let Some(interface) = &self.bind_interface {
            to.bind_interface = Some(interface.clone());
        }
    }
}

impl DnsArgs {
    /// Puts what was given in place of what is there; a name is added, with all its addresses.
    pub(crate) fn apply(&self, to: &mut DnsConfig) {
        if !self.dns.is_empty() {
            to.upstreams = Some(self.dns.clone());
        }
        if !self.dns_search.is_empty() {
            to.search = Some(self.dns_search.clone());
        }
        to.records.retain(|record| self.add_host.iter().all(|(name, _)| *name != record.name));
        for (name, address) in &self.add_host {
            match to.records.iter_mut().find(|record| record.name == *name) {
                Some(record) => record.addresses.push(*address),
                None => to.records.push(StaticRecord {
                    name: name.clone(),
                    addresses: vec![*address],
                    ttl: StaticRecord::DEFAULT_TTL,
                }),
            }
        }
    }
}

/// A list that was given stands for the whole of another.
fn replace<T: Clone>(list: &mut Vec<T>, given: &[T]) {
    if !given.is_empty() {
        *list = given.to_vec();
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

    fn entry(text: &str) -> (DnsName, IpAddr) {
        host_entry(text).unwrap()
    }

    #[test]
    fn a_name_of_the_command_line_replaces_one_of_the_file() {
        let mut dns = DnsConfig::default();
        let given = |entries: &[&str]| DnsArgs {
            dns: Vec::new(),
            dns_search: Vec::new(),
            add_host: entries.iter().map(|text| entry(text)).collect(),
        };
        given(&["a:10.0.0.1", "b:10.0.0.2"]).apply(&mut dns);
        given(&["b:10.0.0.3", "c:10.0.0.4", "c:::5"]).apply(&mut dns);
        let records = dns.records.iter().map(|r| (r.name.as_str(), r.addresses.len()));
        assert_eq!(records.collect::<Vec<_>>(), [("a", 1), ("b", 1), ("c", 2)]);
    }

    #[test]
    fn texts_that_are_wrong_say_what_would_be_right() {
        assert!(host_entry("db").unwrap_err().contains("NAME:IP"));
        let (name, address) = host_entry("db.test:[2001:db8::7]").unwrap();
        assert_eq!((name.as_str(), address.to_string().as_str()), ("db.test", "2001:db8::7"));
    }
}
