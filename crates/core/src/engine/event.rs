//! What happened, for whoever watches: facts with reasons.
//!
//! Owns the vocabulary and a bounded backlog. A watcher that does not keep up loses the oldest
//! events and is told how many; the engine never waits for one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portreeve_dns::DnsEvent;
use portreeve_types::MacAddr;

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::host::DialFailure;
use crate::flow::{FlowId, FlowSummary};
use crate::gateway::lease::{LeaseChange, LeaseProtocol};

use portreeve_types::PublishId;

/// A flow as an event describes it.
pub type FlowInfo = FlowSummary;

/// Why a connection never came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefuseReason {
    /// The port is not published, or takes no new clients.
    NotPublished,
    /// The port has as many flows as it may.
    PortLimit,
    /// The engine has as many flows as it may.
    FlowLimit,
    /// No free port towards the guest was found.
    NoPort,
    /// No memory for the flow's rings.
    NoMemory,
    /// The guest refused on every address family.
    GuestRefused,
    /// The guest did not answer within the connect timeout.
    GuestSilent,
    /// The client went away before the guest answered.
    ClientGone,
    /// The guest's machine was stopped before it answered.
    GuestGone,
    /// It was ordered to end.
    Killed,
}

impl RefuseReason {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotPublished => "not_published",
            Self::PortLimit => "port_limit",
            Self::FlowLimit => "flow_limit",
            Self::NoPort => "no_port",
            Self::NoMemory => "no_memory",
            Self::GuestRefused => "guest_refused",
            Self::GuestSilent => "guest_silent",
            Self::ClientGone => "client_gone",
            Self::GuestGone => "guest_gone",
            Self::Killed => "killed",
        }
    }
}

/// Why the guest did not get where it wanted to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EgressRefusal {
    /// The guest may open nothing.
    Disabled,
    /// An address of the host, its loopback included, in whatever spelling.
    HostAddress,
    /// An address of the link that the host is on.
    LinkLocal,
    /// A metadata service of the cloud that the host is in.
    Metadata,
    /// A multicast or broadcast address.
    Group,
    /// An address or a port that cannot be reached by anybody.
    Reserved,
    /// An address of the guest's own prefix that nobody has.
    NobodyThere,
    /// The gateway serves nothing on that port.
    GatewayPort,
    /// The engine has as many flows as it may.
    FlowLimit,
    /// Newer connections took the place of this one, whose destination had yet to answer.
    DialLimit,
    /// The hop limit was used up at the gateway.
    HopLimit,
    /// The host, the destination or the way to it refused.
    Failed(DialFailure),
    /// The guest gave up while the destination had yet to answer, or is no longer there.
    GuestGone,
    /// It was ordered to end.
    Killed,
}

impl EgressRefusal {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::HostAddress => "host_address",
            Self::LinkLocal => "link_local",
            Self::Metadata => "metadata",
            Self::Group => "group",
            Self::Reserved => "reserved",
            Self::NobodyThere => "nobody_there",
            Self::GatewayPort => "gateway_port",
            Self::FlowLimit => "flow_limit",
            Self::DialLimit => "dial_limit",
            Self::HopLimit => "hop_limit",
            Self::GuestGone => "guest_gone",
            Self::Killed => "killed",
            Self::Failed(failure) => failure.label(),
        }
    }
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both sides finished in order.
    Finished,
    /// The guest reset it.
    GuestReset,
    /// The host's side reset it.
    HostReset,
    /// Nothing moved for too long.
    TimedOut,
    /// A UDP or echo mapping was idle.
    Idle,
    /// A UDP or echo mapping made room for a newer one.
    Evicted,
    /// The host's socket of a mapping could not be had.
    Failed(DialFailure),
    /// It was ordered to end.
    Killed,
    /// The stack of this flow failed.
    StackFault,
    /// The guest's machine was stopped, restarted or replaced.
    GuestGone,
}

impl CloseReason {
    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::GuestReset => "guest_reset",
            Self::HostReset => "host_reset",
            Self::TimedOut => "timed_out",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Failed(failure) => failure.label(),
            Self::Killed => "killed",
            Self::StackFault => "stack_fault",
            Self::GuestGone => "guest_gone",
        }
    }
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A flow reached the guest.
    FlowOpened(FlowInfo),
    /// A flow ended.
    FlowClosed {
        /// The flow as it was at its end.
        flow: FlowInfo,
        /// Why.
        reason: CloseReason,
    },
    /// A client was refused.
    FlowRefused {
        /// The published port.
        publish: Option<PublishId>,
        /// The client, where it has an address.
        client: Option<SocketAddr>,
        /// Why.
        reason: RefuseReason,
    },
    /// The guest asked for a way out and did not get it.
    EgressRefused {
        /// What it asked with: [`Protocol::TCP`](portreeve_wire::packet::Protocol) and its kin.
        protocol: u8,
        /// The guest's endpoint; its port is the identifier of an echo.
        guest: SocketAddr,
        /// Where it wanted to go; port 0 for an echo.
        destination: SocketAddr,
        /// The name that lately resolved to that address for the guest.
        name: Option<Arc<str>>,
        /// Why not.
        reason: EgressRefusal,
    },
    /// Something from or for the guest went no further. For each reason this is said at most once
    /// a second: the first at once, and what follows together.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How often since it was last said.
        count: u64,
    },
    /// A limit turned something away, or ended something older. Said at most once a second for
    /// each limit, as drops are.
    LimitReached {
        /// The field of [`Limits`](portreeve_types::Limits).
        limit: &'static str,
        /// The port, of a limit that each published port has for itself; `None` where several
        /// ports are told of together.
        publish: Option<PublishId>,
        /// How often since it was last said.
        count: u64,
    },
    /// From the gateway's name server: queries, where they are logged, and its upstreams.
    Name(DnsEvent),
    /// The guest's hardware address became known.
    GuestSeen {
        /// The address.
        mac: MacAddr,
    },
    /// The guest was given an address, or gave it back.
    Lease {
        /// By which protocol.
        protocol: LeaseProtocol,
        /// The address.
        address: IpAddr,
        /// What happened.
        change: LeaseChange,
    },
    /// Events were lost because nobody took them in time.
    Lost {
        /// How many.
        count: u64,
    },
}

/// A bounded backlog of events.
pub(crate) struct EventLog {
    events: VecDeque<Event>,
    capacity: usize,
    lost: u64,
}

impl EventLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { events: VecDeque::new(), capacity, lost: 0 }
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.capacity == 0 {
            return;
        }
        self.make_room(1);
        self.events.push_back(event);
    }

    /// Keeps as many from now on; the oldest beyond that are lost.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.make_room(0);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        if self.lost != 0 {
            return Some(Event::Lost { count: std::mem::take(&mut self.lost) });
        }
        self.events.pop_front()
    }

    fn make_room(&mut self, more: usize) {
        while self.events.len() + more > self.capacity && self.events.pop_front().is_some() {
            self.lost += 1;
        }
    }
}

impl Engine {
    pub(crate) fn flow_info(&self, id: FlowId) -> Option<FlowInfo> {
        self.flows.get(id).and_then(super::super::flow::Flow::summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_backlog_loses_the_oldest_and_says_so() {
        let mut log = EventLog::new(2);
        for byte in 0..5 {
            log.push(Event::GuestSeen { mac: MacAddr([byte; 6]) });
        }
        assert_eq!(log.pop(), Some(Event::Lost { count: 3 }));
        assert_eq!(log.pop(), Some(Event::GuestSeen { mac: MacAddr([3; 6]) }));
        assert_eq!(log.pop(), Some(Event::GuestSeen { mac: MacAddr([4; 6]) }));
        assert_eq!(log.pop(), None);
        log.set_capacity(3);
        for byte in 0..3 {
            log.push(Event::GuestSeen { mac: MacAddr([byte; 6]) });
        }
        log.set_capacity(1);
        assert_eq!(log.pop(), Some(Event::Lost { count: 2 }));
        assert_eq!(log.pop(), Some(Event::GuestSeen { mac: MacAddr([2; 6]) }));
        assert_eq!(log.pop(), None);
    }
}
