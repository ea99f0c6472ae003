//! The gateway's name server.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DnsStats;
use crate::{DnsName, StaticRecord};

/// The name server as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsStatus {
    /// Whom it asks, in the order of preference.
    pub upstreams: Vec<DnsUpstream>,
    /// The search list handed to the guest.
    pub search: Vec<String>,
    /// Answers in the cache.
    pub cache_entries: u64,
    /// Bytes they take.
    pub cache_bytes: u64,
    /// Queries that wait for an upstream.
    pub waiting: u64,
    /// What it has counted.
    pub counters: DnsStats,
}

/// One name server that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsUpstream {
    /// Where it is.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Whether it failed several times in a row and is asked last for a while.
    pub down: bool,
    /// Its usual time to answer, in microseconds; missing until it has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
}

/// Names that the name server answers by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsRecords {
    /// Those configured and those added since; names of the gateway itself are not among them.
    pub records: Vec<StaticRecord>,
}

/// Addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsRecordBody {
    /// Of both families, 1 to 32.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
    /// Seconds the guest may keep the answer, at most 86400; 60 if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
}

/// Answers in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsCache {
    /// The most recently used first, as many as were asked for.
    pub entries: Vec<DnsCacheEntry>,
    /// How many there are.
    pub total: u64,
}

/// One answer in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsCacheEntry {
    /// The name asked for.
    pub name: DnsName,
    /// The type asked for, as in `A`, `HTTPS` or `TYPE300`.
    #[serde(rename = "type")]
    pub record_type: String,
    /// `NOERROR`, `NXDOMAIN` …
    pub rcode: String,
    /// Seconds it is good for.
    pub ttl: u64,
    /// Addresses in it.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
}
