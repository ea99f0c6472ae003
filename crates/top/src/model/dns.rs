//! The name server: what it has answered, and from where.

use std::time::Instant;

use portreeve_types::api;

use super::Rate;

/// The name server, as far as it is known.
#[derive(Debug)]
pub(crate) struct Dns {
    /// As the engine tells it; `None` where it has none.
    pub(crate) status: Option<api::DnsStatus>,
    /// Questions of the guest.
    pub(crate) queries: Rate,
    cache_hits: Rate,
    looked_up: Rate,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            status: None,
            queries: Rate::new(HISTORY),
            cache_hits: Rate::new(1),
            looked_up: Rate::new(1),
        }
    }
}

impl Dns {
    /// Takes in what the engine says.
    pub(crate) fn update(&mut self, now: Instant, status: Option<api::DnsStatus>) {
        if let Some(status) = &status {
            self.queries.read(now, status.counters.queries);
            self.cache_hits.read(now, status.counters.cache_hits);
            self.looked_up.read(now, looked_up(&status.counters));
        }
        self.status = status;
    }

    /// The share of names that the cache knew, of those that the gateway does not know by itself;
    /// since the engine was started, from 0 to 1. `None` until there was such a name.
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        let counters = &self.status.as_ref()?.counters;
        share(counters.cache_hits as f64, looked_up(counters) as f64)
    }

    /// The same between the last two readings.
    pub(crate) fn hit_rate_now(&self) -> Option<f64> {
        share(self.cache_hits.per_second(), self.looked_up.per_second())
    }
}

/// Questions that the cache or an upstream had to answer.
const fn looked_up(counters: &api::DnsStats) -> u64 {
    counters
        .cache_hits
        .saturating_add(counters.answered)
        .saturating_add(counters.failed)
        .saturating_add(counters.rebind_blocked)
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Rates that are remembered: as many as the sparkline is wide at most.
const HISTORY: usize = 240;
