//! The sans-IO network engine: flows, publishing and the virtual gateway.
//!
//! One [`Engine`] serves one guest. It owns all network state and does nothing by itself: frames,
//! host events and the time come in through `handle_*`, frames, orders for host sockets and events
//! come out through `poll_*`, and bytes of TCP flows pass through [`Engine::from_guest`] and
//! [`Engine::to_guest`] between the caller's socket and the engine's rings. No socket, no thread,
//! no clock lives here.
//!
//! The order of calls stands on [`Engine`].

#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

mod admission;
mod config;
mod drop_reason;
mod egress;
mod engine;
mod flow;
mod fragment;
mod gateway;
mod icmp_error;
mod limits;
mod metrics;
mod outbox;
mod publish;
mod rings;
mod seed;

pub use config::{Config, LinkOffloads};
pub use drop_reason::DropReason;
pub use engine::Engine;
pub use engine::command::{Command, CommandError, Reply, Unpublish};
pub use engine::event::{CloseReason, EgressRefusal, Event, FlowInfo, RefuseReason};
pub use engine::host::{
    Accepted, DialFailure, HostDatagram, HostEvent, HostNetwork, HostOp, IncomingDatagram,
    MappedDatagram, MappingKind, Undeliverable,
};
pub use flow::state::{Action, Phase, PhaseEvent, transition};
pub use flow::{FlowId, FlowIdError, FlowKind, FlowSummary};
pub use gateway::lease::{LeaseChange, LeaseProtocol};
pub use limits::MAX_FRAME_LEN;
pub use metrics::{Counters, Histogram};
pub use portreeve_dns::{
    AnswerSource, CachedAnswer, Carrier, DnsCounters, DnsEvent, DnsServer, ExchangeId, Framer,
    UpstreamOp, UpstreamStatus, frame, rcode_name, record_type_name,
};
pub use portreeve_types::Instant;
pub use publish::PublishedEntry;
pub use rings::{HeapRings, LeaseId, Ring, RingLease, RingSource};
