//! Events: what happened, with its reason.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FlowInfo, Timestamp};
use crate::{MacAddr, PublishId, PublishedPort};

/// One line of the event stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Rises by one with every event of the engine, whether it passes the reader's filter or not.
    /// A reader that gives the last one it saw as `since` goes on behind it.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened. `kind` is the variant's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventBody {
    /// A flow reached its other side.
    FlowOpened {
        /// The flow.
        flow: FlowInfo,
    },
    /// A flow ended.
    FlowClosed {
        /// The flow as it was at its end.
        flow: FlowInfo,
        /// Why: `finished`, `guest_reset`, `host_reset`, `timed_out`, `idle`, `evicted`,
        /// `killed`, `stack_fault`, `guest_gone`, or a dial's failure.
        reason: String,
        /// How long it lived, in microseconds.
        duration_us: u64,
    },
    /// A client of a published port was refused.
    FlowRefused {
        /// The port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<PublishId>,
        /// The client, where it has an address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        client: Option<SocketAddr>,
        /// Why: `guest_refused`, `guest_silent`, `port_limit`, `flow_limit` …
        reason: String,
    },
    /// The guest did not get where it wanted to go.
    EgressRefused {
        /// `tcp`, `udp`, `icmp` …
        protocol: String,
        /// The guest's endpoint.
        #[schemars(with = "String")]
        guest: SocketAddr,
        /// Where it wanted to go; port 0 for an echo.
        #[schemars(with = "String")]
        destination: SocketAddr,
        /// The name that the guest had resolved to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Why not: `host_address`, `metadata`, `disabled`, `refused`, `timed_out` …
        reason: String,
    },
    /// A limit of the whole engine or of a port turned clients or the guest away. At most once a
    /// second for each limit.
    LimitReached {
        /// The limit's name in the configuration, as in `max_flows_per_port`.
        limit: String,
        /// The port, where it is one of a port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<PublishId>,
        /// How often since it was last said.
        count: u64,
    },
    /// Frames, packets or datagrams were dropped. At most once a second for each reason.
    Dropped {
        /// The reason's stable name.
        reason: String,
        /// How many since it was last said.
        count: u64,
    },
    /// A port was published.
    Published {
        /// The port.
        port: PublishedPort,
    },
    /// A port was unpublished; connections it has may go on.
    Unpublished {
        /// The port.
        port: PublishedPort,
    },
    /// A listener cannot accept for now and is tried again.
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
    /// The name server answered a query; only where queries are logged.
    DnsAnswered {
        /// The name asked for.
        name: String,
        /// The type asked for, as in `A`, `HTTPS` or `TYPE300`.
        #[serde(rename = "type")]
        record_type: String,
        /// `NOERROR`, `NXDOMAIN` …
        rcode: String,
        /// `local`, `cache`, `nobody`, or the upstream's address.
        source: String,
        /// The first addresses in the answer.
        #[schemars(with = "Vec<String>")]
        addresses: Vec<IpAddr>,
        /// How long the guest waited, in microseconds.
        latency_us: u64,
    },
    /// The name server denied a name.
    DnsDenied {
        /// The name asked for.
        name: String,
        /// The type asked for.
        #[serde(rename = "type")]
        record_type: String,
    },
    /// An answer was withheld because of where it points.
    DnsRebindBlocked {
        /// The name asked for.
        name: String,
        /// The address it may not have.
        #[schemars(with = "String")]
        address: IpAddr,
        /// The upstream that said so.
        #[schemars(with = "String")]
        server: SocketAddr,
    },
    /// Something about an upstream: `down`, `up`, `changes_case`, `forgery_suspected`.
    DnsUpstream {
        /// The upstream.
        #[schemars(with = "String")]
        server: SocketAddr,
        /// What.
        state: String,
    },
    /// The guest was given an address, or gave it back.
    Lease {
        /// `dhcp4` or `dhcp6`.
        protocol: String,
        /// The address.
        #[schemars(with = "String")]
        address: IpAddr,
        /// `given`, `released` or `declined`.
        change: String,
    },
    /// The guest's hardware address became known.
    GuestSeen {
        /// The address.
        mac: MacAddr,
    },
    /// A guest came to the link.
    LinkUp,
    /// The guest is gone; its connections were reset.
    LinkDown {
        /// What the link said.
        cause: String,
        /// Whether no other guest can come over this link.
        for_good: bool,
    },
    /// The host's addresses, name servers or routes have changed.
    HostNetwork {
        /// Its addresses now.
        #[schemars(with = "Vec<String>")]
        addresses: Vec<IpAddr>,
        /// Its name servers now.
        #[schemars(with = "Vec<String>")]
        name_servers: Vec<SocketAddr>,
    },
    /// The guest pings, and this host lets nobody do that who is not privileged. Said once.
    EchoForbidden {
        /// Which setting it is, and what to set it to.
        cause: String,
    },
    /// Limits or settings were changed while the engine runs.
    Reconfigured {
        /// What, as paths in the configuration.
        settings: Vec<String>,
    },
    /// This reader was too slow, or asked for events that are no longer kept.
    Lost {
        /// How many it missed here.
        count: u64,
    },
}

impl EventBody {
    /// Every kind.
    pub const KINDS: &'static [&'static str] = &[
        "flow_opened",
        "flow_closed",
        "flow_refused",
        "egress_refused",
        "limit_reached",
        "dropped",
        "published",
        "unpublished",
        "listener_paused",
        "listener_resumed",
        "dns_answered",
        "dns_denied",
        "dns_rebind_blocked",
        "dns_upstream",
        "lease",
        "guest_seen",
        "link_up",
        "link_down",
        "host_network",
        "echo_forbidden",
        "reconfigured",
        "lost",
    ];

    /// The kind's name, as in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::FlowOpened { .. } => "flow_opened",
            Self::FlowClosed { .. } => "flow_closed",
            Self::FlowRefused { .. } => "flow_refused",
            Self::EgressRefused { .. } => "egress_refused",
            Self::LimitReached { .. } => "limit_reached",
            Self::Dropped { .. } => "dropped",
            Self::Published { .. } => "published",
            Self::Unpublished { .. } => "unpublished",
            Self::ListenerPaused { .. } => "listener_paused",
            Self::ListenerResumed { .. } => "listener_resumed",
            Self::DnsAnswered { .. } => "dns_answered",
            Self::DnsDenied { .. } => "dns_denied",
            Self::DnsRebindBlocked { .. } => "dns_rebind_blocked",
            Self::DnsUpstream { .. } => "dns_upstream",
            Self::Lease { .. } => "lease",
            Self::GuestSeen { .. } => "guest_seen",
            Self::LinkUp => "link_up",
            Self::LinkDown { .. } => "link_down",
            Self::HostNetwork { .. } => "host_network",
            Self::EchoForbidden { .. } => "echo_forbidden",
            Self::Reconfigured { .. } => "reconfigured",
            Self::Lost { .. } => "lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn the_kind_in_json_is_the_kind_in_filters() {
        let schema = serde_json::to_value(schemars::schema_for!(EventBody)).unwrap();
        let kinds: Vec<_> = schema["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variant| variant["properties"]["kind"]["const"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, EventBody::KINDS);
    }

    #[test]
    fn json_form() {
        let record = EventRecord {
            seq: 7,
            time: Timestamp(UNIX_EPOCH),
            body: EventBody::Dropped { reason: "source_mac".into(), count: 3 },
        };
        let json = serde_json::to_string(&record).unwrap();
        insta::assert_snapshot!(
            json,
            @r#"{"seq":7,"time":"1970-01-01T00:00:00.000000Z","kind":"dropped","reason":"source_mac","count":3}"#
        );
        assert_eq!(serde_json::from_str::<EventRecord>(&json).unwrap(), record);
        assert_eq!(record.body.kind(), "dropped");
    }
}
