//! The addresses on the guest's link: the guest's own and the virtual gateway's.
//!
//! Never configures anything and never looks at the host's addresses: a caller that knows them
//! picks one of [`Addressing::candidates`] that does not collide.
//! Spec: RFC 1918 (private IPv4), RFC 4193 (unique local IPv6), RFC 4291 (IPv6 addresses).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    MacAddr,
    family::{self, FamilySetting},
    guest_mac::{self, GuestMacSetting},
};

/// The IPv4 side of the guest's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ipv4Link {
    /// The guest's address.
    pub guest: Ipv4Addr,
    /// The gateway's address: the guest's router and DNS server.
    pub gateway: Ipv4Addr,
    /// Length of the prefix both are in.
    pub prefix_len: u8,
}

/// The IPv6 side of the guest's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ipv6Link {
    /// The guest's address; its link-local address is its own affair.
    pub guest: Ipv6Addr,
    /// The gateway's address in the prefix: the guest's DNS server.
    pub gateway: Ipv6Addr,
    /// Length of the prefix both are in.
    pub prefix_len: u8,
    /// The gateway's link-local address: what router advertisements come from (RFC 4861 §4.2).
    pub gateway_link_local: Ipv6Addr,
}

/// The addresses on the guest's link.
///
/// A family that is `None` is off. A field left out of a configuration keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Addressing {
    /// IPv4, or `None` (in configuration `false`) for a guest without it.
    #[serde(with = "family")]
    #[schemars(with = "FamilySetting<Ipv4Link>")]
    pub ipv4: Option<Ipv4Link>,
    /// IPv6, or `None` (in configuration `false`) for a guest without it.
    #[serde(with = "family")]
    #[schemars(with = "FamilySetting<Ipv6Link>")]
    pub ipv6: Option<Ipv6Link>,
    /// The guest's MAC address; `None` (in configuration `"learn"`) takes the source of its first
    /// frame.
    #[serde(with = "guest_mac")]
    #[schemars(with = "GuestMacSetting")]
    pub guest_mac: Option<MacAddr>,
    /// The gateway's MAC address.
    pub gateway_mac: MacAddr,
    /// The largest packet on the link, in bytes, Ethernet header not counted.
    pub mtu: u16,
}

/// Addresses that cannot work together on one link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressingError {
    /// Both families are off.
    #[error("neither IPv4 nor IPv6 is set: the guest would have no address")]
    NoFamily,
    /// The prefix has no room for two hosts, or is no prefix.
    #[error("{family} prefix length {prefix_len}: must be 1 to {most}")]
    PrefixLen {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// What was set.
        prefix_len: u8,
        /// The longest prefix two hosts fit in.
        most: u8,
    },
    /// An address that a host on the link cannot have.
    #[error("{role} address {addr}: {reason}")]
    Unusable {
        /// `guest`, `gateway` or `gateway link-local`.
        role: &'static str,
        /// The address.
        addr: std::net::IpAddr,
        /// Why not.
        reason: &'static str,
    },
    /// The gateway is outside the guest's prefix.
    #[error("gateway {gateway} is not in the guest's prefix {prefix}")]
    GatewayOutsidePrefix {
        /// The gateway's address.
        gateway: std::net::IpAddr,
        /// The guest's prefix.
        prefix: ipnet::IpNet,
    },
    /// Guest and gateway have the same IP address.
    #[error("guest and gateway have the same address {0}")]
    SameAddress(std::net::IpAddr),
    /// Not an address one station can own.
    #[error("{role} MAC address {mac} is not a unicast address")]
    MacNotUnicast {
        /// `guest` or `gateway`.
        role: &'static str,
        /// The address.
        mac: MacAddr,
    },
    /// Guest and gateway have the same MAC address.
    #[error("guest and gateway have the same MAC address {0}")]
    SameMac(MacAddr),
    /// The MTU is out of range.
    #[error("MTU {mtu}: must be {least} to {most}", most = MAX_MTU)]
    Mtu {
        /// What was set.
        mtu: u16,
        /// The least the families in use allow.
        least: u16,
    },
}

impl Default for Addressing {
    fn default() -> Self {
        Self::on_subnets(CANDIDATES[0])
    }
}

impl Addressing {
    /// Disjoint defaults to try in order, so that a caller can avoid the host's own addresses.
    /// The first is [`Addressing::default`].
    pub fn candidates() -> impl Iterator<Item = Self> {
        CANDIDATES.into_iter().map(Self::on_subnets)
    }

    /// Checks that the addresses can work together on one link.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), AddressingError> {
        if self.ipv4.is_none() && self.ipv6.is_none() {
            return Err(AddressingError::NoFamily);
        }
        if let Some(link) = &self.ipv4 {
            link.validate()?;
        }
        if let Some(link) = &self.ipv6 {
            link.validate()?;
        }
        self.validate_macs()?;
        // RFC 8200 §5 and RFC 791 §3.2: the least a link must carry.
        let least = if self.ipv6.is_some() { 1280 } else { 576 };
        if !(least..=MAX_MTU).contains(&self.mtu) {
            return Err(AddressingError::Mtu { mtu: self.mtu, least });
        }
        Ok(())
    }

    fn validate_macs(&self) -> Result<(), AddressingError> {
        for (role, mac) in [("guest", self.guest_mac), ("gateway", Some(self.gateway_mac))] {
            if let Some(mac) = mac.filter(|mac| !mac.is_unicast()) {
                return Err(AddressingError::MacNotUnicast { role, mac });
            }
        }
        if self.guest_mac == Some(self.gateway_mac) {
            return Err(AddressingError::SameMac(self.gateway_mac));
        }
        Ok(())
    }

    fn on_subnets(candidate: Candidate) -> Self {
        Self {
            ipv4: Some(Ipv4Link::on_subnet(candidate)),
            ipv6: Some(Ipv6Link::on_subnet(candidate)),
            guest_mac: Some(MacAddr([0x02, 0x50, 0x52, 0, 0, 2])),
            gateway_mac: MacAddr([0x02, 0x50, 0x52, 0, 0, 1]),
            mtu: 1500,
        }
    }
}

impl Default for Ipv4Link {
    fn default() -> Self {
        Self::on_subnet(CANDIDATES[0])
    }
}

impl Ipv4Link {
    fn on_subnet((second, third, _): Candidate) -> Self {
        Self {
            guest: Ipv4Addr::new(10, second, third, 2),
            gateway: Ipv4Addr::new(10, second, third, 1),
            prefix_len: 24,
        }
    }

    fn validate(&self) -> Result<(), AddressingError> {
        let bad = |prefix_len| AddressingError::PrefixLen { family: "IPv4", prefix_len, most: 31 };
        if !(1..=31).contains(&self.prefix_len) {
            return Err(bad(self.prefix_len));
        }
        let net =
            Ipv4Net::new(self.guest, self.prefix_len).map_err(|_| bad(self.prefix_len))?.trunc();
        for (role, addr) in [("guest", self.guest), ("gateway", self.gateway)] {
            if let Some(reason) = unusable_v4(addr, net) {
                return Err(AddressingError::Unusable { role, addr: addr.into(), reason });
            }
        }
        if !net.contains(&self.gateway) {
            return Err(AddressingError::GatewayOutsidePrefix {
                gateway: self.gateway.into(),
                prefix: net.into(),
            });
        }
        if self.guest == self.gateway {
            return Err(AddressingError::SameAddress(self.guest.into()));
        }
        Ok(())
    }
}

impl Default for Ipv6Link {
    fn default() -> Self {
        Self::on_subnet(CANDIDATES[0])
    }
}

impl Ipv6Link {
    fn on_subnet((_, _, subnet): Candidate) -> Self {
        let addr = |host| Ipv6Addr::new(ULA[0], ULA[1], ULA[2], subnet, 0, 0, 0, host);
        Self {
            guest: addr(2),
            gateway: addr(1),
            prefix_len: 64,
            gateway_link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        }
    }

    fn validate(&self) -> Result<(), AddressingError> {
        let bad = |prefix_len| AddressingError::PrefixLen { family: "IPv6", prefix_len, most: 127 };
        if !(1..=127).contains(&self.prefix_len) {
            return Err(bad(self.prefix_len));
        }
        let net =
            Ipv6Net::new(self.guest, self.prefix_len).map_err(|_| bad(self.prefix_len))?.trunc();
        for (role, addr) in [("guest", self.guest), ("gateway", self.gateway)] {
            if let Some(reason) = unusable_v6(addr, net) {
                return Err(AddressingError::Unusable { role, addr: addr.into(), reason });
            }
        }
        if !net.contains(&self.gateway) {
            return Err(AddressingError::GatewayOutsidePrefix {
                gateway: self.gateway.into(),
                prefix: net.into(),
            });
        }
        if self.guest == self.gateway {
            return Err(AddressingError::SameAddress(self.guest.into()));
        }
        if !self.gateway_link_local.is_unicast_link_local() {
            return Err(AddressingError::Unusable {
                role: "gateway link-local",
                addr: self.gateway_link_local.into(),
                reason: "not in fe80::/10",
            });
        }
        Ok(())
    }
}

fn unusable_v4(addr: Ipv4Addr, net: Ipv4Net) -> Option<&'static str> {
    // RFC 3021: a /31 has neither a network nor a broadcast address.
    let has_reserved_ends = net.prefix_len() < 31;
    if addr.octets()[0] == 0 {
        Some("0.0.0.0/8 means \"this network\"")
    } else if addr.is_loopback() {
        Some("a loopback address never leaves its host")
    } else if addr.is_multicast() {
        Some("a multicast address")
    } else if addr.octets()[0] >= 240 {
        Some("240.0.0.0/4 is reserved")
    } else if has_reserved_ends && addr == net.network() {
        Some("the prefix's network address")
    } else if has_reserved_ends && addr == net.broadcast() {
        Some("the prefix's broadcast address")
    } else {
        None
    }
}

fn unusable_v6(addr: Ipv6Addr, net: Ipv6Net) -> Option<&'static str> {
    if addr.is_unspecified() {
        Some("the unspecified address")
    } else if addr.is_loopback() {
        Some("a loopback address never leaves its host")
    } else if addr.is_multicast() {
        Some("a multicast address")
    } else if addr.is_unicast_link_local() {
        Some("a link-local address; give a unique local or global one")
    } else if addr.to_ipv4_mapped().is_some() {
        Some("an IPv4 address in IPv6 spelling")
    } else if net.prefix_len() < 127 && addr == net.network() {
        // RFC 4291 §2.6.1; RFC 6164 §5 lifts it for a /127.
        Some("the prefix's subnet-router anycast address")
    } else {
        None
    }
}

/// The largest MTU a TAP accepts in practice: 65,535 less room for an Ethernet header.
const MAX_MTU: u16 = 65_520;

/// One unique local prefix (RFC 4193 §3.2), its global ID drawn at random once.
const ULA: [u16; 3] = [0xfd37, 0xa94c, 0x6e21];

/// `(x, y, s)`: 10.x.y.0/24 and the ULA's subnet s.
///
/// Chosen away from what else numbers private networks on a developer's host: 10.0.2.0/24 (slirp),
/// 10.42.0.0/15 (k3s), 10.88.0.0/16 (Podman), 10.96.0.0/12 and 10.244.0.0/16 (Kubernetes),
/// 172.16.0.0/12 (Docker), 192.168.0.0/16 (homes), 100.64.0.0/10 (CGNAT).
const CANDIDATES: [Candidate; 6] = [
    (213, 77, 0x4d),
    (167, 201, 0xc9),
    (139, 183, 0xb7),
    (229, 53, 0x35),
    (61, 157, 0x9d),
    (191, 119, 0x77),
];

type Candidate = (u8, u8, u16);

#[cfg(test)]
mod tests {
    use super::*;

    fn default_v4() -> Ipv4Link {
        Addressing::default().ipv4.unwrap()
    }

    fn default_v6() -> Ipv6Link {
        Addressing::default().ipv6.unwrap()
    }

    fn v4(change: impl FnOnce(&mut Ipv4Link)) -> Addressing {
        let mut link = default_v4();
        change(&mut link);
        Addressing { ipv4: Some(link), ..Addressing::default() }
    }

    fn v6(change: impl FnOnce(&mut Ipv6Link)) -> Addressing {
        let mut link = default_v6();
        change(&mut link);
        Addressing { ipv6: Some(link), ..Addressing::default() }
    }

    fn fault(addressing: Addressing) -> String {
        addressing.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_default() {
        let addressing = Addressing::default();
        assert_eq!(addressing.validate(), Ok(()));
        insta::assert_snapshot!(serde_json::to_string_pretty(&addressing).unwrap(), @r#"
        {
          "ipv4": {
            "guest": "10.213.77.2",
            "gateway": "10.213.77.1",
            "prefix_len": 24
          },
          "ipv6": {
            "guest": "fd37:a94c:6e21:4d::2",
            "gateway": "fd37:a94c:6e21:4d::1",
            "prefix_len": 64,
            "gateway_link_local": "fe80::1"
          },
          "guest_mac": "02:50:52:00:00:02",
          "gateway_mac": "02:50:52:00:00:01",
          "mtu": 1500
        }
        "#);
    }

    #[test]
    fn candidates_are_valid_disjoint_and_out_of_the_way() {
        let all: Vec<_> = Addressing::candidates().collect();
        assert_eq!(all[0], Addressing::default());
        assert!(all.len() >= 4);
        let taken: Vec<Ipv4Net> = [
            "10.0.2.0/24",
            "10.42.0.0/15",
            "10.88.0.0/16",
            "10.96.0.0/12",
            "10.244.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
        ]
        .map(|net| net.parse().unwrap())
        .to_vec();
        for (n, a) in all.iter().enumerate() {
            assert_eq!(a.validate(), Ok(()));
            let guest4 = a.ipv4.unwrap().guest;
            assert!(!taken.iter().any(|net| net.contains(&guest4)), "{guest4}");
            for b in &all[n + 1..] {
                let (a4, b4) = (a.ipv4.unwrap(), b.ipv4.unwrap());
                let (a6, b6) = (a.ipv6.unwrap(), b.ipv6.unwrap());
                assert!(!Ipv4Net::new(a4.guest, 24).unwrap().contains(&b4.guest));
                assert!(!Ipv6Net::new(a6.guest, 64).unwrap().contains(&b6.guest));
            }
        }
    }

    #[test]
    fn one_family_is_enough_and_none_is_not() {
        let only4 = Addressing { ipv6: None, mtu: 576, ..Addressing::default() };
        assert_eq!(only4.validate(), Ok(()));
        assert_eq!(Addressing { ipv4: None, ..Addressing::default() }.validate(), Ok(()));
        assert_eq!(
            Addressing { ipv4: None, ipv6: None, ..Addressing::default() }.validate(),
            Err(AddressingError::NoFamily)
        );
    }

    #[test]
    fn mtu_bounds() {
        for (mtu, only4) in [(1280, false), (576, true), (65_520, false)] {
            let mut addressing = Addressing { mtu, ..Addressing::default() };
            if only4 {
                addressing.ipv6 = None;
            }
            assert_eq!(addressing.validate(), Ok(()), "{mtu}");
        }
        for mtu in [0, 576, 1279, 65_521, u16::MAX] {
            let error = fault(Addressing { mtu, ..Addressing::default() });
            assert_eq!(error, format!("MTU {mtu}: must be 1280 to 65520"));
        }
        let error = fault(Addressing { ipv6: None, mtu: 575, ..Addressing::default() });
        assert_eq!(error, "MTU 575: must be 576 to 65520");
    }

    #[test]
    fn mac_faults() {
        let gateway_mac = Addressing::default().gateway_mac;
        let same = Addressing { guest_mac: Some(gateway_mac), ..Addressing::default() };
        assert_eq!(same.validate(), Err(AddressingError::SameMac(gateway_mac)));
        for mac in [MacAddr::BROADCAST, MacAddr([0; 6]), MacAddr([1, 0, 0, 0, 0, 1])] {
            let guest = Addressing { guest_mac: Some(mac), ..Addressing::default() };
            assert!(fault(guest).starts_with("guest MAC address"));
            let gateway = Addressing { gateway_mac: mac, ..Addressing::default() };
            assert!(fault(gateway).starts_with("gateway MAC address"));
        }
        assert_eq!(Addressing { guest_mac: None, ..Addressing::default() }.validate(), Ok(()));
    }

    #[test]
    fn ipv4_faults() {
        for (addressing, expected) in [
            (v4(|link| link.prefix_len = 0), "IPv4 prefix length 0: must be 1 to 31"),
            (v4(|link| link.prefix_len = 32), "IPv4 prefix length 32: must be 1 to 31"),
            (v4(|link| link.prefix_len = 255), "IPv4 prefix length 255: must be 1 to 31"),
            (
                v4(|link| link.gateway = Ipv4Addr::new(10, 213, 78, 1)),
                "gateway 10.213.78.1 is not in the guest's prefix 10.213.77.0/24",
            ),
            (
                v4(|link| link.gateway = link.guest),
                "guest and gateway have the same address 10.213.77.2",
            ),
            (
                v4(|link| link.guest = Ipv4Addr::new(10, 213, 77, 0)),
                "guest address 10.213.77.0: the prefix's network address",
            ),
            (
                v4(|link| link.gateway = Ipv4Addr::new(10, 213, 77, 255)),
                "gateway address 10.213.77.255: the prefix's broadcast address",
            ),
            (
                v4(|link| link.guest = Ipv4Addr::LOCALHOST),
                "guest address 127.0.0.1: a loopback address never leaves its host",
            ),
            (
                v4(|link| link.guest = Ipv4Addr::UNSPECIFIED),
                "guest address 0.0.0.0: 0.0.0.0/8 means \"this network\"",
            ),
            (
                v4(|link| link.guest = Ipv4Addr::new(224, 0, 0, 1)),
                "guest address 224.0.0.1: a multicast address",
            ),
            (
                v4(|link| link.guest = Ipv4Addr::BROADCAST),
                "guest address 255.255.255.255: 240.0.0.0/4 is reserved",
            ),
        ] {
            assert_eq!(fault(addressing), expected);
        }
        let point_to_point = v4(|link| {
            link.guest = Ipv4Addr::new(10, 1, 1, 1);
            link.gateway = Ipv4Addr::new(10, 1, 1, 0);
            link.prefix_len = 31;
        });
        assert_eq!(point_to_point.validate(), Ok(()));
    }

    #[test]
    fn ipv6_faults() {
        for (addressing, expected) in [
            (v6(|link| link.prefix_len = 0), "IPv6 prefix length 0: must be 1 to 127"),
            (v6(|link| link.prefix_len = 128), "IPv6 prefix length 128: must be 1 to 127"),
            (
                v6(|link| link.gateway = "fd00::1".parse().unwrap()),
                "gateway fd00::1 is not in the guest's prefix fd37:a94c:6e21:4d::/64",
            ),
            (
                v6(|link| link.gateway = link.guest),
                "guest and gateway have the same address fd37:a94c:6e21:4d::2",
            ),
            (
                v6(|link| link.guest = "fe80::2".parse().unwrap()),
                "guest address fe80::2: a link-local address; give a unique local or global one",
            ),
            (
                v6(|link| link.guest = Ipv6Addr::LOCALHOST),
                "guest address ::1: a loopback address never leaves its host",
            ),
            (
                v6(|link| link.guest = Ipv6Addr::UNSPECIFIED),
                "guest address ::: the unspecified address",
            ),
            (
                v6(|link| link.guest = "ff02::1".parse().unwrap()),
                "guest address ff02::1: a multicast address",
            ),
            (
                v6(|link| link.guest = "::ffff:10.0.0.1".parse().unwrap()),
                "guest address ::ffff:10.0.0.1: an IPv4 address in IPv6 spelling",
            ),
            (
                v6(|link| link.gateway = "fd37:a94c:6e21:4d::".parse().unwrap()),
                "gateway address fd37:a94c:6e21:4d::: the prefix's subnet-router anycast address",
            ),
            (
                v6(|link| link.gateway_link_local = link.gateway),
                "gateway link-local address fd37:a94c:6e21:4d::1: not in fe80::/10",
            ),
        ] {
            assert_eq!(fault(addressing), expected);
        }
    }

    #[test]
    fn what_is_off_stays_off_in_toml_and_json() {
        let on = Addressing::default();
        let off = Addressing { ipv6: None, guest_mac: None, ..on.clone() };
        for addressing in [on, off] {
            let text = toml::to_string(&addressing).unwrap();
            assert_eq!(toml::from_str::<Addressing>(&text).unwrap(), addressing, "{text}");
            let json = serde_json::to_string(&addressing).unwrap();
            assert_eq!(serde_json::from_str::<Addressing>(&json).unwrap(), addressing);
        }
    }

    #[test]
    fn schema_has_both_families() {
        let schema = serde_json::to_value(schemars::schema_for!(Addressing)).unwrap();
        for name in ["Ipv4LinkOrSwitch", "Ipv6LinkOrSwitch"] {
            assert_eq!(schema["$defs"][name]["anyOf"][0]["type"], "boolean", "{schema:#}");
        }
    }

    #[test]
    fn configuration_keeps_defaults_and_refuses_the_unknown() {
        let only_mtu: Addressing = serde_json::from_str(r#"{"mtu":9000}"#).unwrap();
        assert_eq!(only_mtu, Addressing { mtu: 9000, ..Addressing::default() });
        for json in [r#"{"ipv6":null}"#, r#"{"ipv6":false}"#] {
            let off: Addressing = serde_json::from_str(json).unwrap();
            assert_eq!(off, Addressing { ipv6: None, ..Addressing::default() });
        }
        let on: Addressing = serde_json::from_str(r#"{"ipv6":true}"#).unwrap();
        assert_eq!(on, Addressing::default());
        for json in [r#"{"guest_mac":null}"#, r#"{"guest_mac":"learn"}"#] {
            assert_eq!(serde_json::from_str::<Addressing>(json).unwrap().guest_mac, None);
        }
        let error = serde_json::from_str::<Addressing>(r#"{"guest_mac":"no"}"#).unwrap_err();
        assert!(error.to_string().contains("`no` is not a MAC address"), "{error}");
        let error = serde_json::from_str::<Addressing>(r#"{"ipv4":4}"#).unwrap_err().to_string();
        assert!(error.contains("expected false, true, or the addresses"), "{error}");
        for json in [
            r#"{"mtuu":1}"#,
            r#"{"ipv4":{"guest":"10.0.0.2","gateway":"10.0.0.1","prefix_len":24,"x":1}}"#,
        ] {
            let error = serde_json::from_str::<Addressing>(json).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }
}
