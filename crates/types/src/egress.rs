//! What a guest's own connections may do, as far as it is configured and not a policy.
//!
//! Owns the switch for all of them, the door to the host's loopback and the filtering of UDP.
//! Judges nothing: that is the core's. Spec: RFC 4787 §5 (filtering behaviour).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The guest's way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Whether the guest may open connections of its own at all. Its gateway answers either way.
    pub enabled: bool,
    /// Which ports of the host's loopback the guest reaches under its gateway's address.
    pub host: HostAccess,
    /// From whom datagrams are let in to a port that the guest has sent from.
    pub udp_filtering: UdpFiltering,
    /// Addresses of the host that the guest's traffic leaves from, at most one of each family; the
    /// kernel's choice for each destination where there is none.
    pub bind_addresses: Vec<IpAddr>,
    /// The interface that the guest's traffic leaves through, whatever the routes say.
    pub bind_interface: Option<String>,
}

/// Two addresses of one family to leave from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} and {1}: the guest's traffic leaves from one address of each family")]
pub struct EgressError(IpAddr, IpAddr);

impl Default for Egress {
    fn default() -> Self {
        Self {
            enabled: true,
            host: HostAccess::None,
            udp_filtering: UdpFiltering::default(),
            bind_addresses: Vec::new(),
            bind_interface: None,
        }
    }
}

impl Egress {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// When two addresses to leave from are of one family.
    pub fn validate(&self) -> Result<(), EgressError> {
        for (at, one) in self.bind_addresses.iter().enumerate() {
            let same = |other: &&IpAddr| other.is_ipv6() == one.is_ipv6();
            if let Some(other) = self.bind_addresses[at + 1..].iter().find(same) {
                return Err(EgressError(*one, *other));
            }
        }
        Ok(())
    }

    /// The address to leave from over IPv6 or IPv4.
    pub fn bind_address(&self, v6: bool) -> Option<IpAddr> {
        self.bind_addresses.iter().copied().find(|address| address.is_ipv6() == v6)
    }
}

/// Which ports of the host's loopback a guest reaches. Every other way to the host's own
/// addresses stays closed whatever this says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostAccess {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// These, TCP and UDP.
    Ports(BTreeSet<NonZeroU16>),
}

impl HostAccess {
    /// Whether a port of the host's loopback may be reached.
    pub fn allows(&self, port: u16) -> bool {
        match self {
            Self::None => false,
            Self::All => port != 0,
            Self::Ports(ports) => NonZeroU16::new(port).is_some_and(|port| ports.contains(&port)),
        }
    }

    /// Whether any port may be reached.
    pub fn is_open(&self) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Ports(ports) => !ports.is_empty(),
        }
    }
}

/// The text is not `all`, `none` or a list of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: write `all`, or ports and ranges as in 80,8000-8010", .0.escape_debug())]
pub struct ParseHostAccessError(String);

impl FromStr for HostAccess {
    type Err = ParseHostAccessError;

    /// `all`, `none`, or ports and ranges with commas between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseHostAccessError(text.to_owned());
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let mut ports = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let port = |text: &str| text.parse::<NonZeroU16>().map_err(|_| wrong());
            let (first, last) = (port(first)?, port(last)?);
            if first > last {
                return Err(wrong());
            }
            ports.extend((first.get()..=last.get()).filter_map(NonZeroU16::new));
        }
        Ok(Self::Ports(ports))
    }
}

/// From whom datagrams are let in to a port that the guest has sent from (RFC 4787 §5). Whatever
/// it is, one port of the guest has one port on the host for all destinations (§4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UdpFiltering {
    /// From anybody: the port is as open as a published one.
    EndpointIndependent,
    /// From addresses that the guest has sent to.
    #[default]
    AddressDependent,
    /// From addresses and ports that the guest has sent to.
    AddressAndPortDependent,
}

impl UdpFiltering {
    /// The name in configuration and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

impl fmt::Display for UdpFiltering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_closed_by_default() {
        let egress = Egress::default();
        assert!(egress.enabled && !egress.host.is_open());
        assert!(!egress.host.allows(80));
        assert_eq!(serde_json::from_str::<Egress>("{}").unwrap(), egress);
        assert!(serde_json::from_str::<Egress>(r#"{"hosts":"all"}"#).is_err());
    }

    #[test]
    fn one_address_of_each_family_to_leave_from() {
        let at = |texts: &[&str]| Egress {
            bind_addresses: texts.iter().map(|text| text.parse().unwrap()).collect(),
            ..Egress::default()
        };
        let both = at(&["192.0.2.1", "2001:db8::1"]);
        assert_eq!(both.validate(), Ok(()));
        assert_eq!(both.bind_address(true), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(at(&[]).bind_address(false), None);
        let error = at(&["192.0.2.1", "::1", "192.0.2.2"]).validate().unwrap_err().to_string();
        assert!(error.starts_with("192.0.2.1 and 192.0.2.2"), "{error}");
    }

    #[test]
    fn ports_of_the_host_are_listed_or_all() {
        let access: HostAccess = "80,8000-8002".parse().unwrap();
        assert!(access.is_open() && access.allows(80) && access.allows(8002));
        assert!(!access.allows(81) && !access.allows(0));
        assert!("all".parse::<HostAccess>().unwrap().allows(65_535));
        assert!(!"none".parse::<HostAccess>().unwrap().is_open());
        for wrong in ["", "0", "80,", "9-8", "http", "70000", "1-2-3"] {
            let error = wrong.parse::<HostAccess>().unwrap_err().to_string();
            assert!(error.contains("ports and ranges"), "{error}");
        }
        let json = serde_json::to_string(&access).unwrap();
        assert_eq!(serde_json::from_str::<HostAccess>(&json).unwrap(), access);
    }
}
