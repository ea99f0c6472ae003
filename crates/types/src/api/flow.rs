//! Flows.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Timestamp;
use crate::PublishId;

/// A page of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowList {
    /// Those of this page that match.
    pub flows: Vec<FlowInfo>,
    /// What to give as `after` for the next page; missing on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Flows alive now, whether they match or not.
    pub total: u64,
}

/// Who opened a flow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FlowOrigin {
    /// A client of a published port.
    Host,
    /// The guest.
    Guest,
}

/// One flow: a TCP connection, a client of a published UDP port, or a UDP port or echo
/// identifier of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowInfo {
    /// Its name, as in `12.3`; not used again for another flow.
    pub id: String,
    /// `tcp`, `udp` or `echo`.
    pub protocol: String,
    /// Who opened it.
    pub origin: FlowOrigin,
    /// Where a TCP flow stands: `dialing_guest`, `dialing_host`, `relaying`, `host_finished`,
    /// `guest_finished`, `both_finished`, `guest_gone`, `host_gone`, `closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The published port it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PublishId>,
    /// The client on the host's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client: Option<SocketAddr>,
    /// The guest's endpoint; of an echo flow the port is its identifier.
    #[schemars(with = "String")]
    pub guest: SocketAddr,
    /// The other endpoint as the guest sees it; missing for a UDP port of the guest, which may
    /// have many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub remote: Option<SocketAddr>,
    /// The address that was dialled for the guest, where it is not `remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub target: Option<SocketAddr>,
    /// The name that the guest had resolved to the remote address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was opened.
    pub opened: Timestamp,
    /// Payload bytes taken from the host for the guest.
    pub bytes_to_guest: u64,
    /// Payload bytes taken from the guest for the host.
    pub bytes_from_guest: u64,
}
