//! What is measured, in which unit, and which way is better.

use serde::Serialize;

/// Which of the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Published ports: clients outside, the server in the guest.
    Published,
    /// The guest's own connections: the client in the guest, the server outside.
    Outbound,
}

impl Section {
    pub(crate) const ALL: [Self; 2] = [Self::Published, Self::Outbound];

    /// The name of its files.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Published => "publish",
            Self::Outbound => "outbound",
        }
    }
}

/// A figure of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// One stream, client to guest.
    StreamToGuest,
    /// One stream, guest to client.
    StreamFromGuest,
    /// CPU time of the engine for a GiB to the guest.
    CpuToGuest,
    /// CPU time of the engine for a GiB from the guest.
    CpuFromGuest,
    /// Connect, request, response, close; one at a time.
    ConnectOne,
    /// The same, 64 at a time.
    ConnectMany,
    /// Median round trip of a request and its response.
    RoundTripMedian,
    /// 99th percentile of the same.
    RoundTripTail,
    /// Median round trip beside idle connections.
    IdleRoundTripMedian,
    /// 99th percentile of the same.
    IdleRoundTripTail,
    /// Resident memory for each idle connection.
    IdleMemory,
    /// Datagrams of 64 bytes that arrive of a flood.
    Flood,
    /// Datagrams of 64 bytes, there and back, 64 at a time.
    Echo,
    /// One stream that the guest opened and sends.
    OutStreamFromGuest,
    /// One stream that the guest opened and receives.
    OutStreamToGuest,
    /// The longest time in which the receiver of the former got nothing.
    OutStallFromGuest,
    /// The longest time in which the receiver of the latter got nothing.
    OutStallToGuest,
    /// CPU time of the engine for a GiB from the guest.
    OutCpuFromGuest,
    /// CPU time of the engine for a GiB to the guest.
    OutCpuToGuest,
    /// Connect, request, response, close by the guest; one at a time.
    OutConnectOne,
    /// The same, 64 at a time.
    OutConnectMany,
    /// Datagrams of 64 bytes that arrive of the guest's flood.
    OutFloodFromGuest,
    /// Datagrams of 64 bytes that arrive of a flood the guest asked for.
    OutFloodToGuest,
    /// Datagrams of 64 bytes from the guest and back, 64 at a time.
    OutEcho,
    /// Answers of the gateway to questions about names it has answered before.
    NamesCached,
    /// Median time of an answer of the gateway that it has to ask for.
    NamesMedian,
    /// 99th percentile of the same.
    NamesTail,
    /// Median time of an answer of the server that the gateway asks, to the host.
    NamesDirectMedian,
    /// 99th percentile of the same.
    NamesDirectTail,
}

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Metric {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 29] = [
        Self::StreamToGuest,
        Self::StreamFromGuest,
        Self::CpuToGuest,
        Self::CpuFromGuest,
        Self::ConnectOne,
        Self::ConnectMany,
        Self::RoundTripMedian,
        Self::RoundTripTail,
        Self::IdleRoundTripMedian,
        Self::IdleRoundTripTail,
        Self::IdleMemory,
        Self::Flood,
        Self::Echo,
        Self::OutStreamFromGuest,
        Self::OutStreamToGuest,
        Self::OutStallFromGuest,
        Self::OutStallToGuest,
        Self::OutCpuFromGuest,
        Self::OutCpuToGuest,
        Self::OutConnectOne,
        Self::OutConnectMany,
        Self::OutFloodFromGuest,
        Self::OutFloodToGuest,
        Self::OutEcho,
        Self::NamesCached,
        Self::NamesMedian,
        Self::NamesTail,
        Self::NamesDirectMedian,
        Self::NamesDirectTail,
    ];

    /// Those of published ports come first.
    pub(crate) fn section(self) -> Section {
        if self < Self::OutStreamFromGuest { Section::Published } else { Section::Outbound }
    }

    /// Name and unit, as the report prints them.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::StreamToGuest | Self::OutStreamToGuest => "TCP to guest, one stream (Gbit/s)",
            Self::StreamFromGuest | Self::OutStreamFromGuest => {
                "TCP from guest, one stream (Gbit/s)"
            }
            Self::CpuToGuest | Self::OutCpuToGuest => "engine CPU, to guest (s/GiB)",
            Self::CpuFromGuest | Self::OutCpuFromGuest => "engine CPU, from guest (s/GiB)",
            Self::ConnectOne | Self::OutConnectOne => "connect–request–response, 1 in flight (1/s)",
            Self::ConnectMany | Self::OutConnectMany => {
                "connect–request–response, 64 in flight (1/s)"
            }
            Self::RoundTripMedian => "round trip p50 (µs)",
            Self::RoundTripTail => "round trip p99 (µs)",
            Self::IdleRoundTripMedian => "round trip p50 beside idle connections (µs)",
            Self::IdleRoundTripTail => "round trip p99 beside idle connections (µs)",
            Self::IdleMemory => "resident memory per idle connection (KiB)",
            Self::Flood | Self::OutFloodToGuest => "UDP 64 B to guest, delivered of a flood (1/s)",
            Self::OutFloodFromGuest => "UDP 64 B from guest, delivered of a flood (1/s)",
            Self::Echo | Self::OutEcho => "UDP 64 B echo, 64 in flight (1/s)",
            Self::OutStallFromGuest => "longest stall of the stream from guest (ms)",
            Self::OutStallToGuest => "longest stall of the stream to guest (ms)",
            Self::NamesCached => "DNS, answers from the cache (1/s)",
            Self::NamesMedian => "DNS, an answer not cached, p50 (µs)",
            Self::NamesTail => "DNS, an answer not cached, p99 (µs)",
            Self::NamesDirectMedian => "DNS, the same from the upstream itself, p50 (µs)",
            Self::NamesDirectTail => "DNS, the same from the upstream itself, p99 (µs)",
        }
    }

    pub(crate) fn better(self) -> Better {
        match self {
            Self::StreamToGuest
            | Self::StreamFromGuest
            | Self::ConnectOne
            | Self::ConnectMany
            | Self::Flood
            | Self::Echo
            | Self::OutStreamFromGuest
            | Self::OutStreamToGuest
            | Self::OutConnectOne
            | Self::OutConnectMany
            | Self::OutFloodFromGuest
            | Self::OutFloodToGuest
            | Self::OutEcho
            | Self::NamesCached => Better::Higher,
            Self::OutStallFromGuest
            | Self::OutStallToGuest
            | Self::OutCpuFromGuest
            | Self::OutCpuToGuest
            | Self::NamesMedian
            | Self::NamesTail
            | Self::NamesDirectMedian
            | Self::NamesDirectTail
            | Self::CpuToGuest
            | Self::CpuFromGuest
            | Self::RoundTripMedian
            | Self::RoundTripTail
            | Self::IdleRoundTripMedian
            | Self::IdleRoundTripTail
            | Self::IdleMemory => Better::Lower,
        }
    }
}

/// One run of the load generator; it may give several figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    StreamToGuest,
    StreamFromGuest,
    ConnectOne,
    ConnectMany,
    Exchange,
    Flood,
    Echo,
    OutStreamFromGuest,
    OutStreamToGuest,
    OutConnectOne,
    OutConnectMany,
    OutFloodFromGuest,
    OutFloodToGuest,
    OutEcho,
    NamesCached,
    NamesFresh,
    /// Last, for it leaves thousands of connections to be closed; directly behind the exchange
    /// it is compared with.
    Idle,
}

impl Load {
    pub(crate) const ALL: [Self; 17] = [
        Self::StreamToGuest,
        Self::StreamFromGuest,
        Self::ConnectOne,
        Self::ConnectMany,
        Self::Flood,
        Self::Echo,
        Self::OutStreamFromGuest,
        Self::OutStreamToGuest,
        Self::OutConnectOne,
        Self::OutConnectMany,
        Self::OutFloodFromGuest,
        Self::OutFloodToGuest,
        Self::OutEcho,
        Self::NamesCached,
        Self::NamesFresh,
        Self::Exchange,
        Self::Idle,
    ];

    /// The figure that stands for the load when it could not be measured.
    pub(crate) fn metric(self) -> Metric {
        match self {
            Self::StreamToGuest => Metric::StreamToGuest,
            Self::StreamFromGuest => Metric::StreamFromGuest,
            Self::ConnectOne => Metric::ConnectOne,
            Self::ConnectMany => Metric::ConnectMany,
            Self::Exchange => Metric::RoundTripMedian,
            Self::Flood => Metric::Flood,
            Self::Echo => Metric::Echo,
            Self::Idle => Metric::IdleMemory,
            Self::OutStreamFromGuest => Metric::OutStreamFromGuest,
            Self::OutStreamToGuest => Metric::OutStreamToGuest,
            Self::OutConnectOne => Metric::OutConnectOne,
            Self::OutConnectMany => Metric::OutConnectMany,
            Self::OutFloodFromGuest => Metric::OutFloodFromGuest,
            Self::OutFloodToGuest => Metric::OutFloodToGuest,
            Self::OutEcho => Metric::OutEcho,
            Self::NamesCached => Metric::NamesCached,
            Self::NamesFresh => Metric::NamesTail,
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        matches!(
            self,
            Self::StreamToGuest
                | Self::StreamFromGuest
                | Self::OutStreamFromGuest
                | Self::OutStreamToGuest
        )
    }

    /// Whether the client is the guest.
    pub(crate) fn is_outbound(self) -> bool {
        self.metric().section() == Section::Outbound
    }
}
