//! Every metric: its name, its unit, what it means, and where it is read.
//!
//! The one place for all of it: the exposition and the table in `docs/manual/control.md` are made
//! from here. Names are by Prometheus' conventions: `portreeve_`, the thing, its unit, and `_total`
//! for what only rises.

use portreeve_types::api::{DnsStats, Histogram, PortState, PortStatus};

use super::Snapshot;

/// One metric, with all its series.
pub(super) struct Metric {
    /// Without the prefix, the unit and `_total`.
    pub(super) name: &'static str,
    pub(super) unit: Option<&'static str>,
    pub(super) kind: Kind,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the manual's table"))]
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    pub(super) read: for<'a> fn(&'a Snapshot) -> Vec<Sample<'a>>,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One series.
pub(super) struct Sample<'a> {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value<'a>,
}

/// What a series shows.
pub(super) enum Value<'a> {
    Whole(u64),
    Real(f64),
    Times(&'a Histogram),
}

const fn counter(
    name: &'static str,
    help: &'static str,
    read: for<'a> fn(&'a Snapshot) -> Vec<Sample<'a>>,
) -> Metric {
    Metric { name, unit: None, kind: Kind::Counter, labels: &[], help, read }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    read: for<'a> fn(&'a Snapshot) -> Vec<Sample<'a>>,
) -> Metric {
    Metric { name, unit: None, kind: Kind::Gauge, labels: &[], help, read }
}

const fn times(
    name: &'static str,
    help: &'static str,
    read: for<'a> fn(&'a Snapshot) -> Vec<Sample<'a>>,
) -> Metric {
    Metric { name, unit: Some("seconds"), kind: Kind::Histogram, labels: &[], help, read }
}

impl Metric {
    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    const fn in_unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }
}

/// All of them, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
    counter("link_frames", "Frames on the guest's link.", |s| {
        let traffic = s.stats.traffic;
        both_ways(traffic.frames_from_guest, traffic.frames_to_guest)
    })
    .by(DIRECTION),
    counter("link", "Bytes in frames on the guest's link, Ethernet headers included.", |s| {
        let traffic = s.stats.traffic;
        both_ways(traffic.bytes_from_guest, traffic.bytes_to_guest)
    })
    .in_unit("bytes")
    .by(DIRECTION),
    counter("datagrams", "UDP datagrams and echo messages relayed between guest and host.", |s| {
        let traffic = s.stats.traffic;
        both_ways(traffic.datagrams_from_guest, traffic.datagrams_to_guest)
    })
    .by(DIRECTION),
    counter("drops", "Frames, packets and datagrams dropped, by reason.", |s| {
        let drops = s.stats.drops.iter();
        drops.map(|drop| labelled(&[("reason", &drop.reason)], drop.count)).collect()
    })
    .by(&["reason"]),
    gauge("flows", "Flows alive now: TCP by phase, clients of published UDP ports, the guest's own UDP ports and echo identifiers.", |s| {
        let flows = &s.stats.flows;
        let tcp = flows.tcp_by_phase.iter();
        let tcp = tcp.map(|(phase, count)| labelled(&[("kind", "tcp"), ("state", phase)], *count));
        let others = [("udp_client", flows.udp_clients), ("mapping", flows.mappings)];
        let others = others
            .into_iter()
            .map(|(kind, count)| labelled(&[("kind", kind), ("state", "open")], count));
        tcp.chain(others).collect()
    })
    .by(&["kind", "state"]),
    gauge("dials", "Connections of the guest whose destinations have yet to answer.", |s| {
        one(s.stats.flows.dials)
    }),
    gauge("time_wait", "TCP connections that are over and whose numbers are kept for a moment.", |s| {
        one(s.stats.flows.time_wait)
    }),
    counter("flows_opened", "TCP connections that reached the guest or its destination.", |s| {
        one(s.stats.flows.opened)
    }),
    counter("flows_closed", "TCP connections that ended.", |s| one(s.stats.flows.closed)),
    counter("flows_refused", "Clients of published ports that were refused.", |s| {
        one(s.stats.flows.refused)
    }),
    counter("egress_refused", "Connections, datagrams and echoes of the guest that did not get where they wanted to go.", |s| {
        one(s.stats.flows.egress_refused)
    }),
    times("dial_duration", "Time between the guest's SYN and the answer of its destination.", |s| {
        histogram(&s.stats.dial_seconds)
    }),
    times("guest_rtt", "Time between our SYN to the guest and its answer.", |s| {
        histogram(&s.stats.guest_rtt_seconds)
    }),
    gauge("port_flows", "Flows alive now through a published port.", |s| {
        ports(s, |port| port.counters.flows)
    })
    .by(PORT),
    counter("port_flows_opened", "Flows of a published port that reached the guest.", |s| {
        ports(s, |port| port.counters.opened)
    })
    .by(PORT),
    counter("port_flows_refused", "Clients of a published port that were refused.", |s| {
        ports(s, |port| port.counters.refused)
    })
    .by(PORT),
    counter("port", "Payload bytes through a published port; of an open flow they are counted at its end.", |s| {
        s.ports.iter().flat_map(port_bytes).collect()
    })
    .in_unit("bytes")
    .by(&["port", "transport", "guest_port", "host", "direction"]),
    gauge("port_listening", "1 while a published port takes clients, 0 while it is paused or draining.", |s| {
        ports(s, |port| u64::from(port.state == PortState::Listening))
    })
    .by(PORT),
    gauge("listeners", "Listeners open now.", |s| one(s.stats.driver.listeners)),
    counter("accepts", "Clients accepted.", |s| one(s.stats.driver.accepted)),
    counter("accept_errors", "Failed accepts, whatever the reason.", |s| {
        one(s.stats.driver.accept_errors)
    }),
    counter("datagram_errors", "Datagrams that a host socket would not send.", |s| {
        one(s.stats.driver.datagram_errors)
    }),
    counter("link_errors", "Frames that the link refused for another reason than being full.", |s| {
        one(s.stats.driver.link_errors)
    }),
    counter("link_discarded", "What reached the link and could be no frame of the guest's.", |s| {
        one(s.stats.driver.link_discarded)
    }),
    counter("guests_gone", "Guests that went while the link lived on.", |s| {
        one(s.stats.driver.guests_gone)
    }),
    gauge("control_queue_frames", "Frames of the gateway itself that wait for the link.", |s| {
        one(s.stats.driver.control_queue)
    }),
    gauge("datagram_queue", "Bytes of datagrams that wait for the guest.", |s| {
        one(s.stats.driver.datagram_queue_bytes)
    })
    .in_unit("bytes"),
    gauge("flow_sockets", "Sockets of flows open now.", |s| one(s.stats.driver.open_sockets)),
    gauge("open_fds", "Descriptors that the process has open.", |s| {
        s.open_descriptors.map(one).unwrap_or_default()
    }),
    gauge("max_fds", "Descriptors that the process may have.", |s| {
        one(s.stats.driver.descriptor_limit)
    }),
    counter("loop_turns", "Turns of the event loop.", |s| one(s.stats.driver.turns)),
    counter("loop_busy", "Time the event loop was busy, that is, not waiting.", |s| {
        vec![Sample { labels: Vec::new(), value: Value::Real(s.stats.driver.busy_seconds) }]
    })
    .in_unit("seconds"),
    counter("dns_queries", "Messages of the guest to its name server, of whatever kind.", |s| {
        dns(s, |dns| dns.queries)
    }),
    counter("dns_answers", "What became of the guest's queries.", |s| {
        let Some(dns) = s.stats.dns else { return Vec::new() };
        let outcomes = [
            ("local", dns.local),
            ("cache", dns.cache_hits),
            ("upstream", dns.answered),
            ("failed", dns.failed),
            ("overflowed", dns.overflowed),
            ("denied", dns.denied),
            ("rejected", dns.rejected),
            ("dropped", dns.dropped),
            ("rebind_blocked", dns.rebind_blocked),
        ];
        outcomes.map(|(outcome, count)| labelled(&[("outcome", outcome)], count)).into()
    })
    .by(&["outcome"]),
    counter("dns_upstream_asks", "Questions sent to upstreams.", |s| {
        dns(s, |dns| dns.upstream_asks)
    }),
    counter("dns_upstream_timeouts", "Questions that no upstream answered in time.", |s| {
        dns(s, |dns| dns.upstream_timeouts)
    }),
    counter("dns_upstream_failures", "Questions to upstreams that failed.", |s| {
        dns(s, |dns| dns.upstream_failures)
    }),
    counter("events_lost", "Events that readers missed because they were too slow.", |s| {
        one(s.stats.driver.events_lost)
    }),
    gauge("captures", "Captures running now.", |s| one(s.stats.driver.captures)),
    counter("capture_frames_lost", "Frames that captures missed because their readers were too slow.", |s| {
        one(s.stats.driver.capture_lost)
    }),
];

fn one<'a>(value: u64) -> Vec<Sample<'a>> {
    vec![Sample { labels: Vec::new(), value: Value::Whole(value) }]
}

fn labelled<'a>(labels: &[(&'static str, &str)], value: u64) -> Sample<'a> {
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Sample { labels, value: Value::Whole(value) }
}

fn both_ways<'a>(from_guest: u64, to_guest: u64) -> Vec<Sample<'a>> {
    let ways = [("from_guest", from_guest), ("to_guest", to_guest)];
    ways.map(|(way, count)| labelled(&[("direction", way)], count)).into()
}

fn histogram(histogram: &Histogram) -> Vec<Sample<'_>> {
    vec![Sample { labels: Vec::new(), value: Value::Times(histogram) }]
}

fn dns(snapshot: &Snapshot, read: impl Fn(&DnsStats) -> u64) -> Vec<Sample<'_>> {
    snapshot.stats.dns.as_ref().map(|dns| one(read(dns))).unwrap_or_default()
}

fn ports(snapshot: &Snapshot, read: impl Fn(&PortStatus) -> u64) -> Vec<Sample<'_>> {
    snapshot.ports.iter().map(|port| of_port(port, read(port))).collect()
}

fn port_bytes<'a>(port: &PortStatus) -> [Sample<'a>; 2] {
    let counters = &port.counters;
    let ways = [("to_guest", counters.bytes_to_guest), ("from_guest", counters.bytes_from_guest)];
    ways.map(|(way, bytes)| {
        let mut sample = of_port(port, bytes);
        sample.labels.push(("direction", way.to_owned()));
        sample
    })
}

fn of_port<'a>(status: &PortStatus, value: u64) -> Sample<'a> {
    let port = &status.port;
    labelled(
        &[
            ("port", &port.id.to_string()),
            ("transport", port.transport.as_str()),
            ("guest_port", &port.guest_port.to_string()),
            ("host", &port.host.to_string()),
        ],
        value,
    )
}

const DIRECTION: &[&str] = &["direction"];
const PORT: &[&str] = &["port", "transport", "guest_port", "host"];
