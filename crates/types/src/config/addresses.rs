//! The guest's link and its addresses, as far as somebody wants to say what they are.
//!
//! Never looks at the host's addresses: what is left open is filled from an [`Addressing`] that
//! the caller has found free.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::ConfigFault;
use crate::{Addressing, AddressingError, Ipv4Link, Ipv6Link, MacAddr};

/// The guest's link and its addresses. A field left out keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AddressesConfig {
    /// The largest packet on the guest's link, in bytes: 1280 to 65520, from 576 without IPv6.
    pub mtu: u16,
    /// Whether the guest has IPv4.
    pub ipv4: bool,
    /// Whether the guest has IPv6.
    pub ipv6: bool,
    /// The guest's address with the length of its prefix, at most one of each family; chosen so
    /// that it collides with none of the host's where there is none.
    pub address: Vec<GuestAddress>,
    /// The gateway's address in that prefix, at most one of each family; the first one of the
    /// prefix where there is none.
    pub gateway: Vec<IpAddr>,
    /// The guest's hardware address; left out, `serve` takes the one that the guest shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
}

/// An address with the length of its prefix, written `10.0.5.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestAddress {
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix, in bits.
    pub prefix_len: u8,
}

/// The text is no address with the length of its prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseGuestAddressError(String);

impl Default for AddressesConfig {
    fn default() -> Self {
        let (address, gateway) = (Vec::new(), Vec::new());
        Self { mtu: 1500, ipv4: true, ipv6: true, address, gateway, mac: None }
    }
}

impl AddressesConfig {
    /// The guest's addresses: those given, and for the rest what `free` has.
    ///
    /// # Errors
    /// What is wrong with those given, and which field it is in.
    pub fn addressing(&self, free: Addressing) -> Result<Addressing, ConfigFault> {
        let mut addressing = free;
        addressing.mtu = self.mtu;
        if let Some(mac) = self.mac {
            addressing.guest_mac = Some(mac);
        }
        self.check_families()?;
        for &GuestAddress { address, prefix_len } in &self.address {
            let gateway = self.gateway.iter().copied().find(|g| g.is_ipv6() == address.is_ipv6());
            match (address, gateway.unwrap_or_else(|| first_of(address, prefix_len))) {
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
        if !self.ipv6 {
            addressing.ipv6 = None;
        }
        if !self.ipv4 {
            addressing.ipv4 = None;
        }
        match addressing.validate() {
            Ok(()) => Ok(addressing),
            Err(error) => Err(ConfigFault::new(self.field_of(&error), error)),
        }
    }

    /// One address and one gateway of each family, and no gateway alone.
    fn check_families(&self) -> Result<(), ConfigFault> {
        for (nth, one) in self.address.iter().enumerate() {
            let same = |other: &&GuestAddress| other.address.is_ipv6() == one.address.is_ipv6();
            if let Some(other) = self.address[..nth].iter().find(same) {
                let what = format!("{other} and {one}: the guest has one address of each family");
                return Err(ConfigFault::new(format!("addresses.address[{nth}]"), what));
            }
        }
        for (nth, gateway) in self.gateway.iter().enumerate() {
            let field = format!("addresses.gateway[{nth}]");
            let same = |other: &&IpAddr| other.is_ipv6() == gateway.is_ipv6();
            if let Some(other) = self.gateway[..nth].iter().find(same) {
                let what = format!("{other} and {gateway}: there is one gateway of each family");
                return Err(ConfigFault::new(field, what));
            }
            if !self.address.iter().any(|guest| guest.address.is_ipv6() == gateway.is_ipv6()) {
                let what =
                    format!("gateway {gateway} needs the guest's `address` of the same family");
                return Err(ConfigFault::new(field, what));
            }
        }
        Ok(())
    }

    /// Where what is wrong was written.
    fn field_of(&self, error: &AddressingError) -> String {
        let address = |v6: bool| {
            let nth = self.address.iter().position(|guest| guest.address.is_ipv6() == v6);
            nth.map(|nth| format!("addresses.address[{nth}]"))
        };
        let gateway = |v6: bool| {
            let nth = self.gateway.iter().position(|gateway| gateway.is_ipv6() == v6);
            nth.map(|nth| format!("addresses.gateway[{nth}]"))
        };
        let field = match error {
            AddressingError::NoFamily => Some("addresses.ipv4".to_owned()),
            AddressingError::Mtu { .. } => Some("addresses.mtu".to_owned()),
            AddressingError::MacNotUnicast { .. } | AddressingError::SameMac(_) => {
                Some("addresses.mac".to_owned())
            }
            AddressingError::PrefixLen { family, .. } => address(*family == "IPv6"),
            AddressingError::Unusable { role: "guest", addr, .. } => address(addr.is_ipv6()),
            AddressingError::Unusable { addr, .. }
            | AddressingError::SameAddress(addr)
            | AddressingError::GatewayOutsidePrefix { gateway: addr, .. } => {
                gateway(addr.is_ipv6()).or_else(|| address(addr.is_ipv6()))
            }
        };
        field.unwrap_or_else(|| "addresses".to_owned())
    }
}

impl fmt::Display for GuestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for GuestAddress {
    type Err = ParseGuestAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |message: String| Err(ParseGuestAddressError(message));
        let Some((address, length)) = text.split_once('/') else {
            return refuse("the length of the prefix is missing, as in 10.0.5.2/24".to_owned());
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return refuse(format!("`{}` is no IP address", address.escape_debug()));
        };
        let most = if address.is_ipv6() { 128 } else { 32 };
        match length.parse() {
            Ok(prefix_len) if prefix_len <= most => Ok(Self { address, prefix_len }),
            _ => {
                refuse(format!("`{}` is no length of a prefix: 0 to {most}", length.escape_debug()))
            }
        }
    }
}

impl Serialize for GuestAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GuestAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for GuestAddress {
    fn schema_name() -> Cow<'static, str> {
        "GuestAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An IP address with the length of its prefix, as in 10.0.5.2/24.",
            "type": "string",
            "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
        })
    }
}

/// The first address of the prefix behind its own, which is what a gateway usually has; the next
/// one when that is the guest's.
fn first_of(address: IpAddr, prefix_len: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = !u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let first = (v4.to_bits() & mask).wrapping_add(1);
            let own = u32::from(first == v4.to_bits());
            Ipv4Addr::from_bits(first.wrapping_add(own)).into()
        }
        IpAddr::V6(v6) => {
            let mask = !u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let first = (v6.to_bits() & mask).wrapping_add(1);
            let own = u128::from(first == v6.to_bits());
            Ipv6Addr::from_bits(first.wrapping_add(own)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(address: &[&str], gateway: &[&str]) -> AddressesConfig {
        AddressesConfig {
            address: address.iter().map(|text| text.parse().unwrap()).collect(),
            gateway: gateway.iter().map(|text| text.parse().unwrap()).collect(),
            ..AddressesConfig::default()
        }
    }

    fn addressing(address: &[&str], gateway: &[&str]) -> Result<Addressing, ConfigFault> {
        given(address, gateway).addressing(Addressing::default())
    }

    #[test]
    fn addresses_are_taken_and_the_gateway_follows() {
        let both = addressing(&["10.9.8.7/24", "fd00:9::7/64"], &[]).unwrap();
        assert_eq!(both.ipv4.unwrap().gateway.to_string(), "10.9.8.1");
        assert_eq!(both.ipv6.unwrap().gateway.to_string(), "fd00:9::1");
        let first = addressing(&["10.9.8.1/24"], &[]).unwrap();
        assert_eq!(first.ipv4.unwrap().gateway.to_string(), "10.9.8.2");
        let last = addressing(&["10.9.8.7/24"], &["10.9.8.254"]).unwrap();
        assert_eq!(last.ipv4.unwrap().gateway.to_string(), "10.9.8.254");
        assert!(addressing(&["255.255.255.255/32"], &[]).is_err());
    }

    #[test]
    fn faults_name_their_field() {
        let field = |addresses: &AddressesConfig| {
            addresses.addressing(Addressing::default()).unwrap_err().setting
        };
        let base = AddressesConfig::default();
        for (addresses, expected) in [
            (given(&[], &["10.9.8.254"]), "addresses.gateway[0]"),
            (given(&["10.9.8.7/24"], &["10.9.9.1"]), "addresses.gateway[0]"),
            (given(&["10.9.8.7/24", "10.9.9.7/24"], &[]), "addresses.address[1]"),
            (given(&["fd00::7/64", "10.9.8.7/32"], &[]), "addresses.address[1]"),
            (given(&["fd00::7/64", "127.0.0.1/8"], &[]), "addresses.address[1]"),
            (AddressesConfig { mtu: 60, ..base.clone() }, "addresses.mtu"),
            (AddressesConfig { ipv4: false, ipv6: false, ..base.clone() }, "addresses.ipv4"),
            (AddressesConfig { mac: Some(MacAddr::BROADCAST), ..base }, "addresses.mac"),
        ] {
            assert_eq!(field(&addresses), expected, "{addresses:?}");
        }
    }

    #[test]
    fn texts_that_are_wrong_say_what_would_be_right() {
        let fault = |text: &str| text.parse::<GuestAddress>().unwrap_err().to_string();
        assert!(fault("10.0.0.2").contains("10.0.5.2/24"));
        assert!(fault("10.0.0.2/33").contains("0 to 32"));
        assert!(fault("x/33").contains("no IP address"));
    }
}
