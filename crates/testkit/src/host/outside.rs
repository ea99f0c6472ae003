//! The world beyond the host: what is at the addresses that the guest wants to reach.
//!
//! Owns the map of it, the connections that are on their way there, and the record of who was
//! connected when: a guest must not be told of a connection before there is one. The streams
//! themselves are `stream.rs`'s, datagrams and echoes `world.rs`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{DialFailure, FlowId, Instant};

use super::stream::ServerSpec;
use crate::guest::tcp::Ends;

/// What is at an address.
#[derive(Clone, Copy, Debug)]
pub enum Destination {
    /// A server.
    Listen(ServerSpec),
    /// The connection fails after a time.
    Fail(DialFailure, Duration),
    /// Nothing ever comes back.
    Blackhole,
}

/// A connection of the guest that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// The flow.
    pub flow: FlowId,
    /// Where to.
    pub destination: SocketAddr,
    /// With which hop limit.
    pub hop_limit: Option<u8>,
    /// Guest and destination as the guest names them; `None` when the guest had given up before
    /// the order was taken.
    pub ends: Option<Ends>,
}

/// All places that connections can go to.
#[derive(Debug, Default)]
pub struct Outside {
    /// What is where; elsewhere is nothing at all.
    pub places: BTreeMap<SocketAddr, Destination>,
    /// Every connection that was ever ordered.
    pub dialled: Vec<Dialled>,
    /// Connections that are on their way.
    pending: BTreeMap<FlowId, Dialled>,
    due: BTreeSet<(Instant, FlowId)>,
    /// Whether the last dial for these ends has connected.
    connected: BTreeMap<Ends, bool>,
    /// Most connections that were on their way at once.
    pub most_pending: usize,
}

/// What became of a dial.
pub(super) enum Answered {
    Connected(Dialled, ServerSpec),
    Failed(FlowId, DialFailure),
}

impl Outside {
    /// Says what is at an address.
    pub fn place(&mut self, address: SocketAddr, what: Destination) {
        self.places.insert(address, what);
    }

    /// Connections that are on their way.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The flow of a connection that is on its way.
    pub fn pending_for(&self, ends: Ends) -> Option<FlowId> {
        self.pending.values().find(|dialled| dialled.ends == Some(ends)).map(|dialled| dialled.flow)
    }

    /// What was ordered for these ends, and how often.
    pub fn dials_for(&self, ends: Ends) -> usize {
        self.dialled.iter().filter(|dialled| dialled.ends == Some(ends)).count()
    }

    /// Whether these ends were dialled, and if so whether that has connected.
    pub fn connected(&self, ends: Ends) -> Option<bool> {
        self.connected.get(&ends).copied()
    }

    pub(super) fn dial(&mut self, dialled: Dialled, now: Instant) {
        self.dialled.push(dialled);
        self.pending.insert(dialled.flow, dialled);
        if let Some(ends) = dialled.ends {
            self.connected.insert(ends, false);
        }
        self.most_pending = self.most_pending.max(self.pending.len());
        let after = match self.places.get(&dialled.destination) {
            Some(Destination::Listen(server)) => server.delay,
            Some(&Destination::Fail(_, after)) => after,
            Some(Destination::Blackhole) | None => return,
        };
        self.due.insert((now + after, dialled.flow));
    }

    /// The shell gives a connection up that is on its way. Whether there was one.
    pub(super) fn give_up(&mut self, flow: FlowId) -> bool {
        self.due.retain(|&(_, other)| other != flow);
        self.pending.remove(&flow).is_some()
    }

    /// The next dial that is answered by now.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Answered> {
        let &(at, flow) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, flow));
        let dialled = *self.pending.get(&flow)?;
        // Whoever left the place meanwhile is not there when the connection arrives.
        Some(match self.places.get(&dialled.destination) {
            Some(&Destination::Listen(server)) => {
                self.pending.remove(&flow);
                if let Some(ends) = dialled.ends {
                    self.connected.insert(ends, true);
                }
                Answered::Connected(dialled, server)
            }
            Some(&Destination::Fail(reason, _)) => Answered::Failed(flow, reason),
            Some(Destination::Blackhole) | None => {
                Answered::Failed(flow, DialFailure::HostUnreachable)
            }
        })
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }
}
