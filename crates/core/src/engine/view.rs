//! What can be seen of an engine from outside: counts, flows, published ports.
//!
//! Owns no state and changes none. Listings walk the table; nothing here is for the packet path
//! but [`Engine::phase`].

use portreeve_types::PublishId;

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::flow::state::Phase;
use crate::flow::{FlowId, FlowSummary};
use crate::metrics::Counters;
use crate::publish::PublishedEntry;

impl Engine {
    /// Counters so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        // Those that no call has told of yet.
        counters.drop(DropReason::ControlQueueFull, self.outbox.overflow());
        counters
    }

    /// A published port, while it exists.
    pub fn published(&self, id: PublishId) -> Option<&PublishedEntry> {
        self.published.get(id)
    }

    /// All published ports, those that are draining included, in the order in which they were
    /// published.
    pub fn published_all(&self) -> impl Iterator<Item = (PublishId, &PublishedEntry)> {
        self.published.iter()
    }

    /// All live flows. Walks the table.
    pub fn flows(&self) -> impl Iterator<Item = FlowSummary> {
        self.flows.iter().filter_map(crate::flow::Flow::summary)
    }

    /// The live flows in the `limit` slots behind slot `after` (from the first one without it), in
    /// the order of slots, and the slot to go on behind; `None` at the end.
    ///
    /// One call looks at `limit` slots, and at one at least, however many of them are empty, so
    /// that its cost is bounded: a page may be short or have no flow at all. Over all pages a flow
    /// that lives all the time is met exactly once, and no other more than once.
    pub fn flows_after(&self, after: Option<u32>, limit: usize) -> (Vec<FlowSummary>, Option<u32>) {
        let (flows, next) = self.flows.page(after, limit.max(1));
        (flows.filter_map(crate::flow::Flow::summary).collect(), next)
    }

    /// One flow, while it lives.
    pub fn flow(&self, id: FlowId) -> Option<FlowSummary> {
        self.flows.get(id)?.summary()
    }

    /// Where a TCP flow stands, while it lives.
    pub fn phase(&self, id: FlowId) -> Option<Phase> {
        self.flows.get(id)?.tcp().map(|tcp| tcp.phase)
    }

    /// Number of live flows, TIME-WAIT not counted.
    pub fn flow_count(&self) -> usize {
        self.flows.active()
    }

    /// Number of live TCP flows in each phase, in the order of [`Phase::ALL`].
    pub fn tcp_by_phase(&self) -> [u32; Phase::ALL.len()] {
        self.flows.phases()
    }

    /// Number of live clients of published UDP ports.
    pub fn udp_client_count(&self) -> usize {
        self.clients.len()
    }

    /// Number of the guest's own UDP ports and echo identifiers, each with a host socket.
    pub fn mapping_count(&self) -> usize {
        self.mappings.count()
    }

    /// Number of the guest's connections whose destinations have yet to answer.
    pub fn dial_count(&self) -> usize {
        self.dials.len()
    }

    /// Number of 4-tuples in TIME-WAIT.
    pub fn time_wait_count(&self) -> usize {
        self.flows.time_wait()
    }

    /// Number of frames of the gateway itself that wait for the guest.
    pub fn control_queue_len(&self) -> usize {
        self.outbox.frames_len()
    }

    /// Bytes of datagrams that wait for the guest.
    pub fn datagram_queue_bytes(&self) -> usize {
        self.outbox.datagram_bytes()
    }

    /// Whether nothing is left to do or to wait for: no flow, no frame, no order.
    pub fn is_quiescent(&self) -> bool {
        self.flows.active() == 0
            && self.outbox.is_empty()
            && self.ops.is_empty()
            && self.datagrams.is_empty()
    }
}
