//! What one measurement has found, as the line of JSON between client and comparison.

use serde::{Deserialize, Serialize};

/// The counters of one measurement; those it does not use stay zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Outcome {
    /// Bytes, connections, exchanges or datagrams within the window.
    pub(crate) within: u64,
    /// The window as measured.
    pub(crate) nanos: u64,
    /// Bytes or datagrams from first to last, as received.
    pub(crate) total: u64,
    /// Bytes or datagrams sent.
    pub(crate) sent: u64,
    /// Connections that failed, or datagrams without an answer.
    pub(crate) failed: u64,
    /// Half of the round trips took no longer.
    pub(crate) p50_nanos: u64,
    /// 99 of 100 round trips took no longer.
    pub(crate) p99_nanos: u64,
    /// The longest time in which a stream's receiver got nothing.
    pub(crate) stall_nanos: u64,
}

impl Outcome {
    /// The share of what was sent that did not arrive.
    pub(crate) fn lost(&self) -> f64 {
        self.failed as f64 / self.sent.max(1) as f64
    }

    /// Units per second within the window.
    pub(crate) fn rate(&self) -> f64 {
        if self.nanos == 0 { 0.0 } else { self.within as f64 * 1e9 / self.nanos as f64 }
    }
}
