//! What happened, for whoever watches an engine.
//!
//! Owns the vocabulary of the library's events, and what of them goes into the program's log. How
//! they reach readers is `log.rs`.

mod log;

use std::time::SystemTime;

use portreeve_types::{PublishId, PublishedPort};

pub use log::Events;
pub(crate) use log::{EventLog, EventSource};

/// An event with its place in the engine's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// Rises by one with every event, from 1 on; whoever was told of a gap was told its length.
    pub seq: u64,
    /// When it happened.
    pub time: SystemTime,
    /// What happened.
    pub event: Event,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// From the engine itself: flows and refusals.
    Engine(portreeve_core::Event),
    /// A port was published.
    Published(PublishedPort),
    /// A port was unpublished; connections it has may go on.
    Unpublished(PublishedPort),
    /// A listener cannot accept for now and is tried again soon.
    ListenerPaused {
        /// Which.
        port: PublishId,
        /// What the kernel said.
        cause: String,
    },
    /// A listener accepts again.
    ListenerResumed {
        /// Which.
        port: PublishId,
    },
    /// The host's addresses, name servers or routes have changed, and are followed.
    HostNetwork(portreeve_core::HostNetwork),
    /// The guest pings, and this system lets nobody do that who is not privileged. Said once.
    EchoForbidden {
        /// Which setting it is, and what to set it to.
        cause: String,
    },
    /// A guest has come to the link. A link that was made with a guest at its other end does not
    /// announce that one.
    GuestArrived,
    /// The guest is gone: its connections were reset on the host's side, and what it had shown or
    /// been given is forgotten. What is published stays.
    GuestGone {
        /// What the link said.
        cause: String,
        /// The link is gone too: no other guest can come.
        for_good: bool,
    },
    /// Settings were changed while the engine runs.
    Reconfigured {
        /// Which, as paths in the configuration: `limits.max_flows`, `dns.records`.
        settings: Vec<String>,
    },
    /// This reader was too slow, or asked for events that are no longer kept. Its number is that
    /// of the last one it missed.
    Lost {
        /// How many events it missed here.
        count: u64,
    },
}

/// Puts decisions about the guest's own traffic into the program's log. Addresses and names stand
/// in it, so it is for whoever asked for that much.
pub(crate) fn trace(event: &portreeve_core::Event) {
    match event {
        portreeve_core::Event::EgressRefused { protocol, guest, destination, reason, .. } => {
            let reason = reason.label();
            tracing::debug!(protocol, %guest, %destination, reason, "refused to the guest");
        }
        portreeve_core::Event::Name(event) => tracing::debug!(?event, "name server"),
        portreeve_core::Event::Lease { .. } => tracing::debug!(?event, "address configuration"),
        _ => {}
    }
}
