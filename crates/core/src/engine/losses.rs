//! What went no further and what was turned away: counted at once, told of at most once a second.
//!
//! Owns the events about drops and limits, and the verdict on the guest's last frame. A flood costs
//! a count each: whoever watches hears of the first at once and of the rest in sums, by reason and
//! by limit. Decides nothing.

use portreeve_types::{Instant, PublishId};

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::throttle::Throttle;
use crate::engine::timers::earlier;

/// A limit that may turn something away; its name is that of the field of
/// [`Limits`](portreeve_types::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    MaxFlows,
    MaxFlowsPerPort,
    MaxPublished,
    MaxMappings,
    MaxDials,
    MaxDialsPerDestination,
    DnsPending,
    DatagramQueueBytes,
    FragmentQueues,
    FragmentBytes,
    ControlFrames,
}

impl Limit {
    const ALL: [Self; 11] = [
        Self::MaxFlows,
        Self::MaxFlowsPerPort,
        Self::MaxPublished,
        Self::MaxMappings,
        Self::MaxDials,
        Self::MaxDialsPerDestination,
        Self::DnsPending,
        Self::DatagramQueueBytes,
        Self::FragmentQueues,
        Self::FragmentBytes,
        Self::ControlFrames,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::MaxFlows => "max_flows",
            Self::MaxFlowsPerPort => "max_flows_per_port",
            Self::MaxPublished => "max_published",
            Self::MaxMappings => "max_mappings",
            Self::MaxDials => "max_dials",
            Self::MaxDialsPerDestination => "max_dials_per_destination",
            Self::DnsPending => "dns_pending",
            Self::DatagramQueueBytes => "datagram_queue_bytes",
            Self::FragmentQueues => "fragment_queues",
            Self::FragmentBytes => "fragment_bytes",
            Self::ControlFrames => "control_frames",
        }
    }
}

/// What has been told of drops and limits, and what is held back.
pub(crate) struct Losses {
    drops: Throttle,
    /// Limits by number, and behind them the places of `ports`.
    limits: Throttle,
    /// Ports that have reached their own limit, each in the place that its number gives it. Two
    /// that share a place within the same second are told of together, without a port.
    ports: [Option<PublishId>; PORT_PLACES],
    /// Why something of the frame in hand went no further: the first reason.
    dropped: Option<DropReason>,
    verdict: Option<DropReason>,
    /// How many questions the name server had turned away when it was last looked at.
    names_overflowed: u64,
}

impl Losses {
    pub(crate) fn new() -> Self {
        Self {
            drops: Throttle::new(DropReason::ALL.len()),
            limits: Throttle::new(Limit::ALL.len() + PORT_PLACES),
            ports: [None; PORT_PLACES],
            dropped: None,
            verdict: None,
            names_overflowed: 0,
        }
    }

    /// When something that is held back is to be told.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        earlier(self.drops.due(), self.limits.due())
    }

    /// A frame of the guest is taken up.
    pub(crate) fn begin_frame(&mut self) {
        self.dropped = None;
    }

    /// The frame has been dealt with.
    pub(crate) fn end_frame(&mut self) {
        self.verdict = self.dropped;
    }

    /// The place of a port among the limits: its own, unless another has it at the moment.
    fn place(&mut self, publish: PublishId, now: Instant) -> usize {
        let place = publish.0 as usize % PORT_PLACES;
        let kind = Limit::ALL.len() + place;
        if self.ports[place] == Some(publish) {
            return kind;
        }
        if !self.limits.is_at_rest(kind, now) {
            return Limit::MaxFlowsPerPort as usize;
        }
        self.ports[place] = Some(publish);
        kind
    }

    /// What a number among the limits stands for.
    fn limit(&self, kind: usize) -> (&'static str, Option<PublishId>) {
        match kind.checked_sub(Limit::ALL.len()) {
            Some(place) => (Limit::MaxFlowsPerPort.name(), self.ports[place]),
            None => (Limit::ALL[kind].name(), None),
        }
    }
}

impl Engine {
    /// Why the last frame given to [`handle_guest_frame`](Self::handle_guest_frame), or something
    /// of it, went no further; `None` when nothing of it was dropped, and once it has been taken.
    ///
    /// Of several reasons it is the first. A frame that was answered with a refusal was dropped all
    /// the same; what else the engine dropped meanwhile does not count.
    pub fn take_verdict(&mut self) -> Option<DropReason> {
        self.losses.verdict.take()
    }

    /// Counts what went no further of the guest's frame in hand, or of a datagram of the host.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.losses.dropped.get_or_insert(reason);
        self.lose(reason, 1);
    }

    /// Counts what went no further and is nothing of the frame in hand.
    pub(crate) fn lose(&mut self, reason: DropReason, count: u64) {
        if count == 0 {
            return;
        }
        self.counters.drop(reason, count);
        if let Some(count) = self.losses.drops.note(reason as usize, count, self.now) {
            self.events.push(Event::Dropped { reason, count });
        }
    }

    /// A limit has turned something away.
    pub(crate) fn limit_reached(&mut self, limit: Limit) {
        self.limit_reached_times(limit, 1);
    }

    /// A limit has turned something away so many times.
    pub(crate) fn limit_reached_times(&mut self, limit: Limit, count: u64) {
        if count != 0 {
            self.note_limit(limit as usize, count);
        }
    }

    /// A published port carries as many flows as it may.
    pub(crate) fn port_limit_reached(&mut self, publish: PublishId) {
        let kind = self.losses.place(publish, self.now);
        self.note_limit(kind, 1);
    }

    /// A datagram found the queue for the guest full.
    pub(crate) fn datagram_queue_full(&mut self) {
        self.lose(DropReason::DatagramQueueFull, 1);
        self.limit_reached(Limit::DatagramQueueBytes);
    }

    /// Takes over what parts of the engine have turned away that cannot tell of it themselves.
    pub(crate) fn gather_losses(&mut self) {
        let overflow = self.outbox.take_overflow();
        self.lose(DropReason::ControlQueueFull, overflow);
        self.limit_reached_times(Limit::ControlFrames, overflow);
        let overflowed = self.names.overflowed();
        let before = std::mem::replace(&mut self.losses.names_overflowed, overflowed);
        self.limit_reached_times(Limit::DnsPending, overflowed - before);
    }

    /// Tells of what was held back and is due.
    pub(crate) fn tell_losses(&mut self) {
        while let Some((kind, count)) = self.losses.drops.take_due(self.now) {
            self.events.push(Event::Dropped { reason: DropReason::ALL[kind], count });
        }
        while let Some((kind, count)) = self.losses.limits.take_due(self.now) {
            let (limit, publish) = self.losses.limit(kind);
            self.events.push(Event::LimitReached { limit, publish, count });
        }
    }

    fn note_limit(&mut self, kind: usize, count: u64) {
        if let Some(count) = self.losses.limits.note(kind, count, self.now) {
            let (limit, publish) = self.losses.limit(kind);
            self.events.push(Event::LimitReached { limit, publish, count });
        }
    }
}

/// Ports whose own limits are told of apart: ports in a row have places of their own.
const PORT_PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn limits_are_numbered_in_order_and_named_as_the_fields_are() {
        let fields = format!("{:?}", portreeve_types::Limits::default());
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number);
            assert!(fields.contains(&format!(" {}: ", limit.name())), "{limit:?}");
        }
        let names: BTreeSet<_> = Limit::ALL.into_iter().map(Limit::name).collect();
        assert_eq!(names.len(), Limit::ALL.len());
        for (number, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }

    #[test]
    fn ports_that_share_a_place_are_told_of_without_a_port_and_take_it_over_in_time() {
        let mut losses = Losses::new();
        let (first, second) = (PublishId(3), PublishId(3 + PORT_PLACES as u32));
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        let kind = losses.place(first, at(1));
        assert_eq!(losses.limits.note(kind, 1, at(1)), Some(1));
        assert_eq!(losses.limit(kind), ("max_flows_per_port", Some(first)));
        let other = losses.place(second, at(1));
        assert_eq!(losses.limit(other), ("max_flows_per_port", None));
        assert_eq!(losses.place(first, at(1)), kind);
        let later = losses.place(second, at(2));
        assert_eq!((later, losses.limit(later).1), (kind, Some(second)));
    }
}
