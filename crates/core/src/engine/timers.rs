//! Deadlines keyed by flow: a heap with at most one live entry a flow, re-armed lazily.
//!
//! Owns when a flow is looked at again. Moving a deadline later costs nothing: the old entry comes
//! up, sees that it is early, and goes back in. So a busy flow touches the heap about once per
//! interval and not once per segment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::Engine;
use crate::flow::{Body, FlowId};
use portreeve_types::Instant;

/// The heap. An entry is live when its time is the one that its flow is armed for.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, FlowId)>>,
}

impl Timers {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

impl Engine {
    /// Forgets entries that are no longer live. Walks them: for a change of limits, which moves
    /// every deadline at once.
    pub(crate) fn timers_tidy(&mut self) {
        let flows = &self.flows;
        let live = |at, id| flows.get(id).is_some_and(|flow| flow.armed == Some(at));
        self.timers.heap.retain(|&Reverse((at, id))| live(at, id));
    }

    /// Wants the flow looked at no later than `at`; replaces an earlier wish.
    pub(crate) fn arm(&mut self, id: FlowId, at: Instant) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.deadline = Some(at);
        if flow.armed.is_none_or(|armed| at < armed) {
            flow.armed = Some(at);
            self.timers.heap.push(Reverse((at, id)));
        }
    }

    /// When [`Engine::handle_timeout`] next has something to do; `None` when never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let flows = self.timers.heap.peek().map(|Reverse((at, _))| *at);
        let seeking = self.neighbor_retry.filter(|_| self.frames_wait());
        let fragments = self.fragments.poll_timeout();
        let rings = self.stack.release_timeout();
        let names = self.names.poll_timeout();
        let losses = self.losses.poll_timeout();
        [seeking, fragments, rings, names, losses].into_iter().fold(flows, earlier)
    }

    pub(crate) fn run_timers(&mut self) {
        let now = self.now;
        // Here and not only when the link asks for a frame: a link that is full asks for none, and
        // the deadline would never pass.
        if self.neighbor_retry.is_some_and(|at| at <= now) && self.frames_wait() {
            self.seek_guest();
        }
        self.stack.release_pooled(now);
        self.names_timeout();
        while let Some(&Reverse((at, id))) = self.timers.heap.peek() {
            if at > now {
                break;
            }
            self.timers.heap.pop();
            // A flow that is gone, or was armed anew for an earlier time, left this entry behind.
            let Some(flow) = self.flows.get_mut(id).filter(|flow| flow.armed == Some(at)) else {
                continue;
            };
            flow.armed = None;
            match flow.deadline {
                Some(deadline) if deadline > now => self.arm(id, deadline),
                Some(_) => {
                    flow.deadline = None;
                    self.flow_deadline(id);
                }
                None => {}
            }
        }
    }

    fn flow_deadline(&mut self, id: FlowId) {
        match self.flows.get(id).map(|flow| &flow.body) {
            Some(Body::Tcp(_)) => self.tcp_deadline(id),
            Some(Body::Udp(_)) => self.udp_deadline(id),
            Some(Body::Mapping(_)) => self.mapping_deadline(id),
            Some(Body::TimeWait(_)) => {
                self.flows.remove(id);
            }
            None => {}
        }
    }
}

/// The earlier of two times that may never come.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
