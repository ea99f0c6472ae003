//! What can be seen of the name server from outside.
//!
//! Owns no state and changes none; every listing is bounded.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_types::{DnsName, Instant, StaticRecord};

use super::DnsServer;
use crate::NameIndex;
use crate::counters::DnsCounters;
use crate::key::Key;
use crate::wire::text;

/// An answer in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedAnswer {
    /// The name asked for.
    pub name: DnsName,
    /// The type asked for; [`record_type_name`](crate::record_type_name) has its name.
    pub record_type: u16,
    /// The response code; [`rcode_name`](crate::rcode_name) has its name.
    pub rcode: u16,
    /// Seconds it is good for.
    pub ttl: u64,
    /// The first addresses in it.
    pub addresses: Vec<IpAddr>,
}

/// A name server that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it has failed several times in a row, and has not answered since.
    pub down: bool,
    /// Its usual time to answer; `None` until it has answered.
    pub latency: Option<Duration>,
}

impl DnsServer {
    /// Answers in the cache that are still good at `now`: at most `limit`, the one used last first.
    ///
    /// The cost is bounded as well. Where the cache is full of answers that have expired, a listing
    /// may end before it has reached `limit`. A question that was asked with and without DNSSEC has
    /// an answer for each.
    pub fn cached_answers(&self, limit: usize, now: Instant) -> Vec<CachedAnswer> {
        let latest = self.cache.latest(limit, now).into_iter();
        let answers = latest.filter_map(|(key, stored, ttl)| {
            let (name, record_type) = Key::parts(key)?;
            let (rcode, addresses) = (stored.rcode, stored.addresses());
            Some(CachedAnswer { name: text(name), record_type, rcode, ttl, addresses })
        });
        answers.collect()
    }

    /// The local names that were configured or added, by name. Names of the gateway itself are not
    /// among them.
    pub fn records(&self) -> Vec<StaticRecord> {
        self.zone.records()
    }

    /// The name servers that are asked, the preferred ones in front and those that are down at the
    /// end.
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.upstreams.statuses()
    }

    /// Queries that wait for upstreams.
    pub fn waiting(&self) -> usize {
        self.pending.waiting()
    }

    /// Answers in the cache, and the bytes they take.
    pub fn cached(&self) -> (usize, usize) {
        (self.cache.len(), self.cache.bytes())
    }

    /// The search list for the guest.
    pub fn search(&self) -> &[String] {
        &self.search
    }

    /// The names that addresses were resolved from.
    pub fn names(&self) -> &NameIndex {
        &self.names
    }

    /// What has been counted.
    pub fn counters(&self) -> &DnsCounters {
        &self.counters
    }
}
