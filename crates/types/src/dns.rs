//! The configuration of the name server on the guest's gateway.
//!
//! Never resolves and never reads the host's `resolv.conf`: what is `None` here is the caller's to
//! find out. Limits of the name server stand with all others in `limits.rs`.

use std::net::{IpAddr, SocketAddr};
use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::DnsName;

/// The name server on the guest's gateway. A field left out keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Name servers to forward to; `None`: the host's own.
    pub upstreams: Option<Vec<NameServerAddr>>,
    /// Search list handed to the guest; `None`: the host's own.
    pub search: Option<Vec<DnsName>>,
    /// Names answered here and never forwarded.
    pub records: Vec<StaticRecord>,
    /// How several name servers are used.
    pub strategy: DnsStrategy,
    /// Randomise the case of forwarded names, which makes forged answers harder.
    pub randomise_case: bool,
    /// Withhold answers of name servers that point at loopback, link-local and unspecified
    /// addresses.
    pub rebind_guard: bool,
    /// Withhold answers that point at private addresses as well.
    pub rebind_private: bool,
    /// Names, with all names below them, whose answers may point anywhere.
    pub rebind_allow: Vec<DnsName>,
    /// Report every answered query as an event.
    pub log_queries: bool,
}

/// A name answered by the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticRecord {
    /// The name.
    pub name: DnsName,
    /// Its addresses, of both families; the reverse names answer with `name`.
    pub addresses: Vec<IpAddr>,
    /// Seconds the guest may keep the answer.
    #[serde(default = "default_ttl")]
    pub ttl: u32,
}

/// How several name servers are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsStrategy {
    /// Ask the best one, and the next one too when it is slower than usual; the first usable
    /// answer counts.
    #[default]
    Race,
    /// Ask in the configured order, the next one only when one fails.
    Failover,
}

/// Address of a name server, written `1.1.1.1`, `1.1.1.1:5353`, `::1` or `[::1]:53`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameServerAddr(pub SocketAddr);

/// The text is not the address of a name server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a name server's address: write an IP address, with a port as in 1.1.1.1:53 or [::1]:53",
    .0.escape_debug()
)]
pub struct ParseNameServerAddrError(String);

/// A field of [`DnsConfig`] with a value it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dns {field}: {reason}")]
pub struct DnsConfigError {
    /// The field, with the position for a list, as in `records[2].ttl`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            upstreams: None,
            search: None,
            records: Vec::new(),
            strategy: DnsStrategy::Race,
            randomise_case: true,
            rebind_guard: true,
            rebind_private: false,
            rebind_allow: Vec::new(),
            log_queries: false,
        }
    }
}

impl DnsConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field, in declaration order, with a value it cannot have.
    pub fn validate(&self) -> Result<(), DnsConfigError> {
        let upstreams = self.upstreams.as_deref().unwrap_or_default();
        at_most("upstreams", upstreams.len(), MAX_UPSTREAMS)?;
        for (nth, NameServerAddr(server)) in upstreams.iter().enumerate() {
            check_upstream(*server).map_err(|reason| DnsConfigError {
                field: format!("upstreams[{nth}]"),
                reason: format!("{server} {reason}"),
            })?;
        }
        at_most("search", self.search.as_ref().map_or(0, Vec::len), MAX_SEARCH)?;
        at_most("records", self.records.len(), MAX_RECORDS)?;
        for (nth, record) in self.records.iter().enumerate() {
            record.check(nth)?;
        }
        if self.rebind_private && !self.rebind_guard {
            return Err(DnsConfigError {
                field: "rebind_private".to_owned(),
                reason: "has no effect while rebind_guard is off".to_owned(),
            });
        }
        at_most("rebind_allow", self.rebind_allow.len(), MAX_RECORDS)
    }
}

impl StaticRecord {
    /// Seconds the guest may keep an answer when a record does not say.
    pub const DEFAULT_TTL: u32 = 60;

    fn check(&self, nth: usize) -> Result<(), DnsConfigError> {
        let refuse = |field: &str, reason: String| {
            Err(DnsConfigError { field: format!("records[{nth}].{field}"), reason })
        };
        if self.addresses.is_empty() {
            return refuse("addresses", format!("{} has no address", self.name));
        }
        if self.addresses.len() > MAX_ADDRESSES {
            return refuse("addresses", format!("more than {MAX_ADDRESSES}"));
        }
        if self.ttl > MAX_TTL {
            return refuse("ttl", format!("{} is more than a day ({MAX_TTL} seconds)", self.ttl));
        }
        Ok(())
    }
}

impl fmt::Display for NameServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == DNS_PORT {
            return fmt::Display::fmt(&self.0.ip(), f);
        }
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for NameServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NameServerAddr {
    type Err = ParseNameServerAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = match unbracketed {
            Some(text) => text.parse::<std::net::Ipv6Addr>().map(IpAddr::V6),
            None => text.parse::<IpAddr>(),
        };
        address
            .map(|address| SocketAddr::new(address, DNS_PORT))
            .or_else(|_| text.parse::<SocketAddr>())
            .map(Self)
            .map_err(|_| ParseNameServerAddrError(text.to_owned()))
    }
}

impl Serialize for NameServerAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NameServerAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for NameServerAddr {
    fn schema_name() -> Cow<'static, str> {
        "NameServerAddr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A name server: 1.1.1.1, 1.1.1.1:5353, ::1 or [::1]:53; the port is 53 unless given.",
            "type": "string",
        })
    }
}

fn check_upstream(server: SocketAddr) -> Result<(), &'static str> {
    if server.port() == 0 {
        return Err("has port 0");
    }
    if server.ip().is_unspecified() {
        return Err("is the unspecified address");
    }
    if server.ip().is_multicast() || server.ip() == IpAddr::from([255; 4]) {
        return Err("is not the address of one server");
    }
    Ok(())
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), DnsConfigError> {
    if count <= most {
        return Ok(());
    }
    Err(DnsConfigError { field: field.to_owned(), reason: format!("{count} are more than {most}") })
}

fn default_ttl() -> u32 {
    StaticRecord::DEFAULT_TTL
}

const DNS_PORT: u16 = 53;
const MAX_UPSTREAMS: usize = 16;
const MAX_SEARCH: usize = 32;
const MAX_RECORDS: usize = 65_536;
/// So many AAAA records fit into the smallest datagram a client with EDNS takes.
const MAX_ADDRESSES: usize = 32;
const MAX_TTL: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(json: &str) -> DnsConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn defaults_are_valid_and_missing_fields_default() {
        assert_eq!(DnsConfig::default().validate(), Ok(()));
        assert_eq!(from("{}"), DnsConfig::default());
        let error = serde_json::from_str::<DnsConfig>(r#"{"upstream":[]}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `upstream`"), "{error}");
    }

    #[test]
    fn name_servers_are_written_with_or_without_a_port() {
        for (text, shown, expected) in [
            ("1.1.1.1", "1.1.1.1", "1.1.1.1:53"),
            ("1.1.1.1:53", "1.1.1.1", "1.1.1.1:53"),
            ("1.1.1.1:5353", "1.1.1.1:5353", "1.1.1.1:5353"),
            ("::1", "::1", "[::1]:53"),
            ("[::1]", "::1", "[::1]:53"),
            ("[::1]:53", "::1", "[::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ] {
            let server: NameServerAddr = text.parse().unwrap();
            assert_eq!(server.0, expected.parse().unwrap());
            assert_eq!(server.to_string(), shown);
            assert_eq!(shown.parse(), Ok(server));
        }
        for text in ["", "dns.example", "1.1.1", "1.1.1.1:", "[1.1.1.1]", "1.1.1.1:70000"] {
            assert!(text.parse::<NameServerAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (json, field) in [
            (r#"{"upstreams":["1.1.1.1","0.0.0.0"]}"#, "upstreams[1]"),
            (r#"{"upstreams":["1.1.1.1:0"]}"#, "upstreams[0]"),
            (r#"{"upstreams":["224.0.0.1"]}"#, "upstreams[0]"),
            (r#"{"records":[{"name":"a","addresses":[]}]}"#, "records[0].addresses"),
            (r#"{"records":[{"name":"a","addresses":["::1"],"ttl":86401}]}"#, "records[0].ttl"),
            (r#"{"rebind_guard":false,"rebind_private":true}"#, "rebind_private"),
        ] {
            assert_eq!(from(json).validate().unwrap_err().field, field, "{json}");
        }
        let error = from(r#"{"upstreams":["0.0.0.0"]}"#).validate().unwrap_err();
        assert_eq!(error.to_string(), "dns upstreams[0]: 0.0.0.0:53 is the unspecified address");
    }

    #[test]
    fn configuration_reads_as_documented() {
        let config: DnsConfig = toml::from_str(
            "upstreams = ['9.9.9.9', '[2620:fe::fe]:53']\nsearch = ['Corp.Example']\n\
             strategy = 'failover'\n[[records]]\nname = 'db.test'\naddresses = ['10.0.0.7']\n",
        )
        .unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.strategy, DnsStrategy::Failover);
        assert_eq!(config.records[0].ttl, StaticRecord::DEFAULT_TTL);
        assert_eq!(config.search.as_ref().unwrap()[0].as_str(), "corp.example");
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(from(&again), config);
    }

    #[test]
    fn schema_describes_every_field() {
        let schema = serde_json::to_value(schemars::schema_for!(DnsConfig)).unwrap();
        for (field, property) in schema["properties"].as_object().unwrap() {
            assert!(
                property["description"].is_string() || property["$ref"].is_string(),
                "{field}: {property}"
            );
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
