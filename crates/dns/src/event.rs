//! What the name server reports, for logs and for whoever watches.
//!
//! A bounded backlog: when nobody reads, the oldest go first and are counted.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_types::DnsName;

use crate::QueryToken;

/// A fact about the name server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsEvent {
    /// A query has been answered; only when queries are logged.
    Answered {
        /// Who asked.
        token: QueryToken,
        /// For what name.
        name: DnsName,
        /// And type, as a number.
        record_type: u16,
        /// With this response code.
        rcode: u16,
        /// Where the answer came from.
        source: AnswerSource,
        /// The first addresses in it.
        addresses: Vec<IpAddr>,
        /// How long the client waited.
        latency: Duration,
    },
    /// The policy denied a name.
    Denied {
        /// Who asked.
        token: QueryToken,
        /// For what name.
        name: DnsName,
        /// And type, as a number.
        record_type: u16,
    },
    /// An answer was withheld because of where it points.
    RebindBlocked {
        /// The name asked for.
        name: DnsName,
        /// The address it may not have.
        address: IpAddr,
        /// The upstream that said so.
        server: SocketAddr,
    },
    /// An upstream has failed several times in a row and is asked last for a while.
    UpstreamDown {
        /// The upstream.
        server: SocketAddr,
    },
    /// An upstream that was down has answered.
    UpstreamUp {
        /// The upstream.
        server: SocketAddr,
    },
    /// An upstream does not keep the case of names; it is asked without that protection.
    UpstreamChangesCase {
        /// The upstream.
        server: SocketAddr,
    },
    /// Responses that do not match came in numbers: someone may be guessing.
    ForgerySuspected {
        /// The name asked for.
        name: DnsName,
        /// The upstream they pretend to come from.
        server: SocketAddr,
    },
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerSource {
    /// The local zone, or a rule.
    Local,
    /// The cache.
    Cache,
    /// This upstream.
    Upstream(SocketAddr),
    /// Nobody: no upstream had a usable answer.
    Nobody,
}

impl fmt::Display for AnswerSource {
    /// `local`, `cache`, `nobody`, or the upstream's address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Cache => f.write_str("cache"),
            Self::Upstream(server) => server.fmt(f),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// Events that wait to be read.
#[derive(Debug)]
pub(crate) struct Backlog {
    events: VecDeque<DnsEvent>,
    limit: usize,
}

impl Backlog {
    pub(crate) fn new(limit: usize) -> Self {
        Self { events: VecDeque::new(), limit }
    }

    /// Adds an event; gives how many were dropped for it.
    pub(crate) fn push(&mut self, event: DnsEvent) -> u64 {
        let dropped = self.keep(self.limit.saturating_sub(1));
        self.events.push_back(event);
        dropped
    }

    /// Keeps so many from now on; gives how many were dropped.
    pub(crate) fn set_limit(&mut self, limit: usize) -> u64 {
        self.limit = limit;
        self.keep(limit)
    }

    fn keep(&mut self, most: usize) -> u64 {
        let mut dropped = 0;
        while self.events.len() > most && self.events.pop_front().is_some() {
            dropped += 1;
        }
        dropped
    }

    pub(crate) fn pop(&mut self) -> Option<DnsEvent> {
        self.events.pop_front()
    }
}
