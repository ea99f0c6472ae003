//! The gateway's name server as it is shown and changed from outside.
//!
//! Owns how it becomes the API's. Its exchanges with servers outside are `names.rs`.

use portreeve_core::{DnsServer, rcode_name, record_type_name};
use portreeve_types::api::{DnsCache, DnsCacheEntry, DnsRecords, DnsStats, DnsStatus, DnsUpstream};
use portreeve_types::{DnsConfig, DnsName, StaticRecord};

use super::Driver;
use crate::error::DnsChangeError;
use crate::event::Event;

impl Driver {
    pub(crate) fn name_server_stats(&mut self) -> Option<DnsStats> {
        self.core.name_server().map(|server| stats(server))
    }

    pub(crate) fn name_server_status(&mut self) -> Option<DnsStatus> {
        let server = self.core.name_server()?;
        let (cache_entries, cache_bytes) = server.cached();
        let upstreams = server.upstreams().into_iter().map(|upstream| DnsUpstream {
            address: upstream.address,
            down: upstream.down,
            latency_us: upstream
                .latency
                .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        });
        Some(DnsStatus {
            upstreams: upstreams.collect(),
            search: server.search().to_vec(),
            cache_entries: cache_entries as u64,
            cache_bytes: cache_bytes as u64,
            waiting: server.waiting() as u64,
            counters: stats(server),
        })
    }

    pub(crate) fn name_server_cache(&mut self, limit: usize) -> Option<DnsCache> {
        let now = self.clock.now();
        let server = self.core.name_server()?;
        let entries = server.cached_answers(limit, now).into_iter().map(|answer| DnsCacheEntry {
            name: answer.name,
            record_type: record_type_name(answer.record_type).into_owned(),
            rcode: rcode_name(answer.rcode).into_owned(),
            ttl: answer.ttl,
            addresses: answer.addresses,
        });
        Some(DnsCache { entries: entries.collect(), total: server.cached().0 as u64 })
    }

    /// Forgets every cached answer; says how many there were.
    pub(crate) fn name_server_flush(&mut self) -> Option<u64> {
        self.core.name_server().map(|server| server.flush() as u64)
    }

    pub(crate) fn name_server_records(&mut self) -> Option<DnsRecords> {
        self.core.name_server().map(|server| DnsRecords { records: server.records() })
    }

    /// Answers a name with these addresses and no others.
    pub(crate) fn set_name_server_record(
        &mut self,
        record: &StaticRecord,
    ) -> Result<(), DnsChangeError> {
        let config = DnsConfig { records: vec![record.clone()], ..DnsConfig::default() };
        config.validate()?;
        let server = self.core.name_server().ok_or(DnsChangeError::NoNameServer)?;
        if !server.set_record(record) {
            return Err(DnsChangeError::Full);
        }
        self.records_changed(&record.name);
        Ok(())
    }

    /// Answers a name no more; says whether it was answered.
    pub(crate) fn remove_name_server_record(
        &mut self,
        name: &DnsName,
    ) -> Result<bool, DnsChangeError> {
        let server = self.core.name_server().ok_or(DnsChangeError::NoNameServer)?;
        let removed = server.remove_record(name);
        if removed {
            self.records_changed(name);
        }
        Ok(removed)
    }

    fn records_changed(&mut self, name: &DnsName) {
        let settings = vec![format!("dns.records[{name}]")];
        self.publish_event(Event::Reconfigured { settings });
    }
}

fn stats(server: &DnsServer) -> DnsStats {
    let counters = server.counters();
    DnsStats {
        queries: counters.queries,
        local: counters.local,
        cache_hits: counters.cache_hits,
        answered: counters.answered,
        failed: counters.failed,
        overflowed: counters.overflowed,
        denied: counters.denied,
        rejected: counters.rejected,
        dropped: counters.dropped,
        rebind_blocked: counters.rebind_blocked,
        upstream_asks: counters.upstream_asks,
        upstream_timeouts: counters.upstream_timeouts,
        upstream_failures: counters.upstream_failures,
    }
}
