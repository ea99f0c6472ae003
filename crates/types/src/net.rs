//! Link-layer addresses and transport protocols, with their text forms.
//!
//! Never touches a frame: views of frames live in `portreeve-wire`.
//! Spec: IEEE 802-2014 §8.2 (address bits); RFC 7042 §2.1 (written form).

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 48-bit Ethernet address, written `02:00:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a MAC address: write six hexadecimal pairs, as in 02:00:00:00:00:01", .0.escape_debug())]
pub struct ParseMacAddrError(String);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether this is a group address, broadcast included (the I/G bit).
    pub const fn is_multicast(&self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether one station can own this address: not a group address and not all zero.
    pub const fn is_unicast(&self) -> bool {
        !self.is_multicast() && !self.is_unspecified()
    }

    /// Whether this is `ff:ff:ff:ff:ff:ff`.
    pub const fn is_broadcast(&self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a & b & c & d & e & f == 0xff
    }

    /// Whether this is `00:00:00:00:00:00`.
    pub const fn is_unspecified(&self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a | b | c | d | e | f == 0
    }

    /// Whether the address is locally administered rather than a vendor's (the U/L bit).
    pub const fn is_local(&self) -> bool {
        self.0[0] & 0x02 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_mac(text).ok_or_else(|| ParseMacAddrError(text.to_owned()))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MacAddr {
    fn schema_name() -> Cow<'static, str> {
        "MacAddr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A 48-bit Ethernet address, written 02:00:00:00:00:01.",
            "type": "string",
            "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
        })
    }
}

/// A transport protocol a port can be published for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, RFC 9293.
    Tcp,
    /// UDP, RFC 768.
    Udp,
}

/// The text names no transport protocol that is supported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a supported protocol: choose tcp or udp", .0.escape_debug())]
pub struct ParseTransportError(String);

impl Transport {
    /// The lower-case name: `tcp` or `udp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = ParseTransportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Tcp, Self::Udp]
            .into_iter()
            .find(|transport| text.eq_ignore_ascii_case(transport.as_str()))
            .ok_or_else(|| ParseTransportError(text.to_owned()))
    }
}

fn parse_mac(text: &str) -> Option<MacAddr> {
    let mut octets = [0; 6];
    let mut pairs = text.split(':');
    for octet in &mut octets {
        let pair = pairs.next()?;
        // `from_str_radix` takes a sign, which a MAC address never has.
        if pair.len() != 2 || !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(MacAddr(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips() {
        let mac = MacAddr([0x02, 0x50, 0x52, 0, 0, 0xfe]);
        assert_eq!(mac.to_string(), "02:50:52:00:00:fe");
        assert_eq!("02:50:52:00:00:fe".parse(), Ok(mac));
        assert_eq!("02:50:52:00:00:FE".parse(), Ok(mac));
        let json = serde_json::to_string(&mac).unwrap();
        assert_eq!(json, "\"02:50:52:00:00:fe\"");
        assert_eq!(serde_json::from_str::<MacAddr>(&json).unwrap(), mac);
        // An escape makes the deserializer hand out an owned string.
        assert_eq!(serde_json::from_str::<MacAddr>(r#""\u00302:50:52:00:00:fe""#).unwrap(), mac);
    }

    #[test]
    fn mac_rejects_what_is_not_one() {
        for text in [
            "",
            "02",
            "02:50:52:00:00",
            "02:50:52:00:00:01:02",
            "02:50:52:00:00:0g",
            "2:50:52:00:00:01",
            "+2:50:52:00:00:01",
            "02-50-52-00-00-01",
            "02:50:52:00:00:01 ",
            "02:50:52:00:00:é",
        ] {
            let error = text.parse::<MacAddr>().unwrap_err();
            assert!(error.to_string().contains("six hexadecimal pairs"), "{error}");
        }
    }

    #[test]
    fn mac_bits() {
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(MacAddr([0x33, 0x33, 0, 0, 0, 1]).is_multicast());
        assert!(!MacAddr([0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]).is_broadcast());
        assert!(MacAddr([0; 6]).is_unspecified() && !MacAddr([0; 6]).is_unicast());
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_unicast() && MacAddr([2, 0, 0, 0, 0, 1]).is_local());
        assert!(!MacAddr([0x52, 0x54, 0, 0, 0, 1]).is_multicast());
        assert!(!MacAddr([0x00, 0x1b, 0x21, 0, 0, 1]).is_local());
    }

    #[test]
    fn transport_text() {
        for text in ["tcp", "TCP", "Tcp"] {
            assert_eq!(text.parse(), Ok(Transport::Tcp));
        }
        assert_eq!("uDP".parse(), Ok(Transport::Udp));
        assert_eq!(format!("[{:>5}]", Transport::Udp), "[  udp]");
        assert_eq!(serde_json::to_string(&Transport::Tcp).unwrap(), "\"tcp\"");
        for text in ["", "sctp", "tcp ", "ＴＣＰ"] {
            assert!(text.parse::<Transport>().is_err(), "{text:?}");
        }
    }
}
