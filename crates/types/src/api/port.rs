//! Published ports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PublishLongForm, PublishedPort};

/// What to publish: a specification as on the command line, or Compose's long form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PublishBody {
    /// As on the command line.
    Spec(SpecBody),
    /// As in Compose.
    Long(PublishLongForm),
}

/// A specification as on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecBody {
    /// For example `8080:80`, `0:80`, `127.0.0.1:5353:53/udp`, `8000-8010:8000-8010`.
    pub spec: String,
}

/// What was published by one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedPorts {
    /// A request for loopback makes two: one for each family.
    pub ports: Vec<PublishedPort>,
}

/// Every published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortList {
    /// In the order in which they were published.
    pub ports: Vec<PortStatus>,
}

/// A published port and what it has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortStatus {
    /// The port.
    #[serde(flatten)]
    pub port: PublishedPort,
    /// How it is.
    pub state: PortState,
    /// What the kernel said when `state` is `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What it has done.
    pub counters: PortCounters,
}

/// How a published port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// It takes clients.
    Listening,
    /// It cannot take clients for now (no descriptors, say) and is tried again.
    Paused,
    /// Unpublished: its listener is closed, its connections go on.
    Draining,
}

/// What a published port has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortCounters {
    /// Flows alive now.
    pub flows: u64,
    /// Flows that reached the guest.
    pub opened: u64,
    /// Clients that were refused, whatever the reason.
    pub refused: u64,
    /// Payload bytes for the guest. Of flows that are still open they are counted at their end.
    pub bytes_to_guest: u64,
    /// Payload bytes from the guest, counted in the same way.
    pub bytes_from_guest: u64,
}
