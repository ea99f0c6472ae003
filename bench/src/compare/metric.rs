//! What is measured, in which unit, and which way is better.

use serde::Serialize;

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
}

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Metric {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 13] = [
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
    ];

    /// Name and unit, as the report prints them.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::StreamToGuest => "TCP to guest, one stream (Gbit/s)",
            Self::StreamFromGuest => "TCP from guest, one stream (Gbit/s)",
            Self::CpuToGuest => "engine CPU, to guest (s/GiB)",
            Self::CpuFromGuest => "engine CPU, from guest (s/GiB)",
            Self::ConnectOne => "connect–request–response, 1 in flight (1/s)",
            Self::ConnectMany => "connect–request–response, 64 in flight (1/s)",
            Self::RoundTripMedian => "round trip p50 (µs)",
            Self::RoundTripTail => "round trip p99 (µs)",
            Self::IdleRoundTripMedian => "round trip p50 beside idle connections (µs)",
            Self::IdleRoundTripTail => "round trip p99 beside idle connections (µs)",
            Self::IdleMemory => "resident memory per idle connection (KiB)",
            Self::Flood => "UDP 64 B to guest, delivered of a flood (1/s)",
            Self::Echo => "UDP 64 B echo, 64 in flight (1/s)",
        }
    }

    pub(crate) fn better(self) -> Better {
        match self {
            Self::StreamToGuest
            | Self::StreamFromGuest
            | Self::ConnectOne
            | Self::ConnectMany
            | Self::Flood
            | Self::Echo => Better::Higher,
            Self::CpuToGuest
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
    /// Last, for it leaves thousands of connections to be closed; directly behind the exchange
    /// it is compared with.
    Idle,
}

impl Load {
    pub(crate) const ALL: [Self; 8] = [
        Self::StreamToGuest,
        Self::StreamFromGuest,
        Self::ConnectOne,
        Self::ConnectMany,
        Self::Flood,
        Self::Echo,
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
        }
    }
}
