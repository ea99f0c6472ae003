//! What an engine could say: canned answers for tests and for the example.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portreeve_types::api::{
    DnsStats, DnsStatus, DnsUpstream, DriverStats, DropCount, EventBody, EventRecord, FlowGauges,
    FlowInfo, FlowOrigin, Health, PortCounters, PortState, PortStatus, Stats, Timestamp, Traffic,
};
use portreeve_types::{HostEndpoint, PublishId, PublishedPort, SourceMode, Transport};

/// When the canned engine was started.
pub(crate) fn started() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// The engine, a while after its start.
pub(crate) fn health() -> Health {
    Health {
        status: "ok".to_owned(),
        name: "web".to_owned(),
        pid: 4_711,
        mode: "run".to_owned(),
        started: Timestamp(started()),
        guest: true,
    }
}

/// Counters after so many seconds of steady traffic.
pub(crate) fn stats(seconds: u64) -> Stats {
    Stats {
        traffic: Traffic {
            frames_from_guest: 4_200 * seconds,
            bytes_from_guest: 1_250_000 * seconds,
            frames_to_guest: 9_100 * seconds,
            bytes_to_guest: 12_400_000 * seconds,
            ..Traffic::default()
        },
        flows: FlowGauges {
            active: 5,
            dials: 1,
            time_wait: 12,
            opened: 14 * seconds,
            refused: seconds / 2,
            ..FlowGauges::default()
        },
        drops: vec![
            DropCount { reason: "source_mac".to_owned(), count: 3 * seconds },
            DropCount { reason: "egress_denied".to_owned(), count: seconds / 4 },
            DropCount { reason: "multicast".to_owned(), count: 17 },
        ],
        driver: DriverStats {
            busy_seconds: 0.21 * seconds as f64,
            open_sockets: 5,
            listeners: 3,
            descriptor_limit: 1_048_576,
            ..DriverStats::default()
        },
        ..Stats::default()
    }
}

/// A flow of the guest to `remote`, opened when the engine was started.
pub(crate) fn outbound(id: &str, remote: &str, name: Option<&str>) -> FlowInfo {
    let remote: SocketAddr = remote.parse().expect("an address");
    FlowInfo {
        id: id.to_owned(),
        protocol: "tcp".to_owned(),
        origin: FlowOrigin::Guest,
        phase: Some("relaying".to_owned()),
        port: None,
        client: None,
        guest: if remote.is_ipv4() {
            ([10, 0, 2, 15], 40_112).into()
        } else {
            "[fd00:70:6f72:7472::15]:40112".parse().expect("an address")
        },
        remote: Some(remote),
        target: None,
        name: name.map(str::to_owned),
        opened: Timestamp(started()),
        bytes_to_guest: 0,
        bytes_from_guest: 0,
    }
}

/// A flow of a client of the first published port.
pub(crate) fn inbound(id: &str, client: &str) -> FlowInfo {
    FlowInfo {
        origin: FlowOrigin::Host,
        port: Some(PublishId(1)),
        client: Some(client.parse().expect("an address")),
        guest: ([10, 0, 2, 15], 80).into(),
        remote: Some(([10, 0, 2, 2], 50_001).into()),
        ..outbound(id, "10.0.2.2:50001", None)
    }
}

/// A handful of flows of every sort, after so many seconds.
pub(crate) fn flows(seconds: u64) -> Vec<FlowInfo> {
    let mut flows = vec![
        inbound("1.1", "127.0.0.1:53122"),
        outbound(
            "2.1",
            "151.101.2.132:443",
            Some("a-rather-long-name.of-a-package-mirror.example.org"),
        ),
        outbound("3.4", "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:8443", None),
        outbound("4.1", "198.51.100.7:5432", None),
        outbound("5.2", "192.0.2.1:53", None),
    ];
    flows[0].bytes_from_guest = 1_100_000 * seconds;
    flows[0].bytes_to_guest = 12_000 * seconds;
    flows[1].bytes_to_guest = 12_345_000 * seconds;
    flows[1].bytes_from_guest = 96_000 * seconds;
    flows[2].bytes_to_guest = 830;
    flows[2].phase = Some("host_finished".to_owned());
    flows[3].phase = Some("dialing_host".to_owned());
    flows[3].opened = Timestamp(started() + Duration::from_secs(seconds.saturating_sub(2)));
    flows[4].protocol = "udp".to_owned();
    flows[4].phase = None;
    flows[4].remote = None;
    flows[4].bytes_from_guest = 64 * seconds;
    flows
}

/// Published ports after so many seconds.
pub(crate) fn ports(seconds: u64) -> Vec<PortStatus> {
    let port = |id, transport, guest_port, host| PublishedPort {
        id: PublishId(id),
        transport,
        guest_port,
        host,
        source: SourceMode::Gateway,
        name: None,
    };
    let inet = |address: &str| HostEndpoint::Inet(address.parse().expect("an address"));
    let status =
        |port, state| PortStatus { port, state, cause: None, counters: PortCounters::default() };
    let mut web = status(port(1, Transport::Tcp, 80, inet("127.0.0.1:8080")), PortState::Listening);
    web.port.name = Some("web".to_owned());
    web.counters.flows = 1;
    web.counters.opened = 14 * seconds;
    web.counters.refused = seconds / 2;
    web.counters.bytes_from_guest = 88_000 * seconds;
    let mut paused = status(port(2, Transport::Tcp, 80, inet("[::1]:8080")), PortState::Paused);
    paused.cause = Some("too many open files".to_owned());
    let name_server =
        port(3, Transport::Udp, 53, inet("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:53"));
    let socket = HostEndpoint::Unix("/run/user/1000/a-project/its-database.sock".into());
    let mut database = status(port(4, Transport::Tcp, 5_432, socket), PortState::Draining);
    database.port.source = SourceMode::ProxyV2;
    vec![web, paused, status(name_server, PortState::Listening), database]
}

/// The name server after so many seconds.
pub(crate) fn dns(seconds: u64) -> DnsStatus {
    DnsStatus {
        upstreams: vec![
            DnsUpstream {
                address: ([192, 0, 2, 53], 53).into(),
                down: false,
                latency_us: Some(12_300),
            },
            DnsUpstream {
                address: "[2001:db8::53]:53".parse().expect("an address"),
                down: true,
                latency_us: None,
            },
        ],
        search: vec!["example.org".to_owned()],
        cache_entries: 456,
        cache_bytes: 123_456,
        waiting: 3,
        counters: DnsStats {
            queries: 12 * seconds,
            local: seconds,
            cache_hits: 8 * seconds,
            answered: 2 * seconds,
            denied: 4,
            ..DnsStats::default()
        },
    }
}

/// An event, so many seconds after the engine's start.
pub(crate) fn event(seq: u64, seconds: u64, body: EventBody) -> EventRecord {
    EventRecord { seq, time: Timestamp(started() + Duration::from_secs(seconds)), body }
}

/// One event of most sorts.
pub(crate) fn events() -> Vec<EventRecord> {
    let flow = flows(90).swap_remove(1);
    let port = ports(1).swap_remove(0).port;
    let guest = SocketAddr::from(([10, 0, 2, 15], 40_113));
    let bodies = vec![
        EventBody::LinkUp,
        EventBody::Lease {
            protocol: "dhcp4".to_owned(),
            address: [10, 0, 2, 15].into(),
            change: "given".to_owned(),
        },
        EventBody::Published { port: port.clone() },
        EventBody::FlowOpened { flow: flow.clone() },
        EventBody::FlowClosed { flow, reason: "host_reset".to_owned(), duration_us: 90_000_000 },
        EventBody::FlowRefused {
            port: Some(PublishId(1)),
            client: Some(([127, 0, 0, 1], 53_123).into()),
            reason: "guest_refused".to_owned(),
        },
        EventBody::EgressRefused {
            protocol: "tcp".to_owned(),
            guest,
            destination: ([169, 254, 169, 254], 80).into(),
            name: Some("metadata.example".to_owned()),
            reason: "metadata".to_owned(),
        },
        EventBody::LimitReached {
            limit: "max_flows_per_port".to_owned(),
            port: Some(PublishId(1)),
            count: 1_204,
        },
        EventBody::Dropped { reason: "source_mac".to_owned(), count: 3 },
        EventBody::ListenerPaused { port: PublishId(2), cause: "too many open files".to_owned() },
        EventBody::ListenerResumed { port: PublishId(2) },
        EventBody::DnsAnswered {
            name: "example.org".to_owned(),
            record_type: "A".to_owned(),
            rcode: "NOERROR".to_owned(),
            source: "cache".to_owned(),
            addresses: vec![[93, 184, 216, 34].into()],
            latency_us: 85,
        },
        EventBody::DnsDenied { name: "tracker.example".to_owned(), record_type: "AAAA".to_owned() },
        EventBody::DnsRebindBlocked {
            name: "rebind.example".to_owned(),
            address: [127, 0, 0, 1].into(),
            server: ([192, 0, 2, 53], 53).into(),
        },
        EventBody::DnsUpstream {
            server: "[2001:db8::53]:53".parse().expect("an address"),
            state: "down".to_owned(),
        },
        EventBody::Reconfigured { settings: vec!["limits.max_flows".to_owned()] },
        EventBody::Unpublished { port },
        EventBody::Lost { count: 4_096 },
        EventBody::LinkDown { cause: "the peer closed it".to_owned(), for_good: false },
    ];
    (1..).zip(bodies).map(|(seq, body)| event(seq, 4 * seq, body)).collect()
}
