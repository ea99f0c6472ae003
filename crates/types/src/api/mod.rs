//! What the control API says, version 1: every body of every request and answer.
//!
//! Owns the vocabulary of the API and its JSON: names, units, which fields may be missing. The
//! server fills these types, the client reads them; neither has its own. A client ignores fields
//! it does not know, so a field may be added within a version; none is removed or changes its
//! meaning. Spec: RFC 9457 (errors), RFC 3339 (times).

mod dns;
mod event;
mod flow;
mod port;
mod problem;
mod state;
mod stats;

pub use dns::{DnsCache, DnsCacheEntry, DnsRecordBody, DnsRecords, DnsStatus, DnsUpstream};
pub use event::{EventBody, EventRecord};
pub use flow::{FlowInfo, FlowList, FlowOrigin};
pub use port::{
    PortCounters, PortList, PortState, PortStatus, PublishBody, PublishedPorts, SpecBody,
};
pub use problem::{Problem, ProblemType};
pub use state::{Change, Health, LimitsChange, ReloadReport, Timestamp, Version};
pub use stats::{Bucket, DnsStats, DriverStats, DropCount, FlowGauges, Histogram, Stats, Traffic};

/// The prefix of every path of this version.
pub const PREFIX: &str = "/v1";
