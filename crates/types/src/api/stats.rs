//! Counters and gauges.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that is counted. Counters run from the engine's start and never fall.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Frames and bytes on the guest's link.
    pub traffic: Traffic,
    /// Flows.
    pub flows: FlowGauges,
    /// Drops by reason; reasons that never occurred are left out.
    pub drops: Vec<DropCount>,
    /// Time between the guest's SYN and the answer of its destination, in seconds.
    pub dial_seconds: Histogram,
    /// Time between our SYN to the guest and its answer, in seconds.
    pub guest_rtt_seconds: Histogram,
    /// The name server; missing where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStats>,
    /// The event loop and its sockets.
    pub driver: DriverStats,
}

/// Frames and bytes on the guest's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Frames received from the guest.
    pub frames_from_guest: u64,
    /// Bytes in those frames, Ethernet headers included.
    pub bytes_from_guest: u64,
    /// Frames sent to the guest.
    pub frames_to_guest: u64,
    /// Bytes in those frames, Ethernet headers included.
    pub bytes_to_guest: u64,
    /// Datagrams and echo messages taken from the host for the guest.
    pub datagrams_to_guest: u64,
    /// Datagrams and echo messages of the guest handed to the host.
    pub datagrams_from_guest: u64,
}

/// Flows, alive and past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowGauges {
    /// Alive now, TIME-WAIT not counted.
    pub active: u64,
    /// TCP flows alive now by phase.
    pub tcp_by_phase: BTreeMap<String, u64>,
    /// Clients of published UDP ports now.
    pub udp_clients: u64,
    /// UDP ports and echo identifiers of the guest now.
    pub mappings: u64,
    /// Connections of the guest whose destinations have yet to answer.
    pub dials: u64,
    /// 4-tuples in TIME-WAIT.
    pub time_wait: u64,
    /// TCP connections that reached the guest or its destination.
    pub opened: u64,
    /// TCP connections that ended.
    pub closed: u64,
    /// Clients of published ports that were refused.
    pub refused: u64,
    /// Connections, datagrams and echoes of the guest that did not get where they wanted to go.
    pub egress_refused: u64,
}

/// How often something was dropped for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropCount {
    /// The reason's stable name.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A distribution of times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Histogram {
    /// In rising order; the last bound is infinite and left out, `count` stands for it.
    pub buckets: Vec<Bucket>,
    /// Observations.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum: f64,
}

/// Observations up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// The bound, in seconds.
    pub le: f64,
    /// Observations of at most the bound.
    pub count: u64,
}

/// What the name server has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsStats {
    /// Messages of the guest, of whatever kind.
    pub queries: u64,
    /// Answered from the local zone.
    pub local: u64,
    /// Answered from the cache.
    pub cache_hits: u64,
    /// Answered with what an upstream said.
    pub answered: u64,
    /// Answered with SERVFAIL because no upstream gave a usable answer.
    pub failed: u64,
    /// Answered with SERVFAIL because too many waited.
    pub overflowed: u64,
    /// Answered with NXDOMAIN because the name is denied.
    pub denied: u64,
    /// Answered with an error without being looked up.
    pub rejected: u64,
    /// Dropped without an answer.
    pub dropped: u64,
    /// Answers withheld because they point at addresses of the host or the link.
    pub rebind_blocked: u64,
    /// Questions sent to upstreams.
    pub upstream_asks: u64,
    /// Questions that no upstream answered in time.
    pub upstream_timeouts: u64,
    /// Questions to upstreams that failed.
    pub upstream_failures: u64,
}

/// The event loop and its sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriverStats {
    /// Turns of the loop.
    pub turns: u64,
    /// Seconds the loop was busy, that is, not waiting.
    pub busy_seconds: f64,
    /// Clients accepted.
    pub accepted: u64,
    /// Failed accepts, whatever the reason.
    pub accept_errors: u64,
    /// Frames the link refused for another reason than being full.
    pub link_errors: u64,
    /// Guests that went while the link lived on.
    pub guests_gone: u64,
    /// What reached the link and could be no frame of the guest's.
    pub link_discarded: u64,
    /// Datagrams a host socket would not send.
    pub datagram_errors: u64,
    /// Sockets of flows open now.
    pub open_sockets: u64,
    /// Listeners open now.
    pub listeners: u64,
    /// Descriptors the process may have.
    pub descriptor_limit: u64,
    /// Frames of the gateway itself that wait for the link.
    pub control_queue: u64,
    /// Bytes of datagrams that wait for the guest.
    pub datagram_queue_bytes: u64,
    /// Events that readers missed because they were too slow.
    pub events_lost: u64,
    /// Captures running now.
    pub captures: u64,
    /// Frames that captures missed because their readers were too slow.
    pub capture_lost: u64,
}
