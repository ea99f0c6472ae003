//! What must hold: after every step, at rest, and how it is told when it does not.

use std::time::Duration;

use portreeve_core::{FlowKind, Phase};

use super::Pair;

impl Pair {
    /// Asserts that nothing is left: no flow, no frame, no socket, no 4-tuple, no timer.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_quiescent(&mut self) {
        self.settle(Duration::from_secs(600));
        let left = self.describe();
        assert!(self.engine.is_quiescent(), "the engine is not at rest\n{left}");
        assert_eq!(self.engine.time_wait_count(), 0, "4-tuples are left\n{left}");
        assert_eq!(self.engine.flows().count(), 0, "flows are left\n{left}");
        assert_eq!(self.engine.mapping_count(), 0, "mappings are left\n{left}");
        assert_eq!(self.engine.dial_count(), 0, "dials are left\n{left}");
        assert_eq!(self.host.open_sockets(), 0, "sockets are left\n{left}");
        let deadline = self.engine.poll_timeout();
        assert_eq!(deadline, None, "the engine waits for something\n{left}");
    }

    /// Asserts that the engine waits for nothing, but to tell of what it has held back of drops and
    /// limits, which it does within a second.
    ///
    /// # Panics
    /// When it waits for something else.
    pub fn assert_no_timer(&mut self) {
        self.run_for(Duration::from_secs(1));
        let deadline = self.engine.poll_timeout();
        assert_eq!(deadline, None, "the engine waits for something\n{}", self.describe());
    }

    /// What stands where, for a message.
    pub fn describe(&self) -> String {
        let flows: Vec<_> = self.engine.flows().collect();
        let clients: Vec<_> =
            self.host.clients().iter().filter(|client| !client.is_done()).take(5).collect();
        let guest: Vec<_> = self
            .guest
            .tcp
            .connections()
            .map(|c| (c.ends, c.state(), c.unacknowledged(), c.peer.check.length()))
            .take(10)
            .collect();
        format!(
            "at {:?}, {} flows: {:#?}\n{} TIME-WAIT; guest: {guest:#?}\nclients: {clients:#?}\nframes in \
             flight: {} to, {} from the guest; deadline {:?}\nlast events: {:?}",
            self.now,
            flows.len(),
            flows.iter().take(5).collect::<Vec<_>>(),
            self.engine.time_wait_count(),
            self.to_guest.sent(),
            self.from_guest.sent(),
            self.engine.poll_timeout(),
            self.events.iter().rev().take(4).collect::<Vec<_>>(),
        )
    }

    /// Asserts that what the engine counts as it goes is what a walk over all flows finds.
    ///
    /// # Panics
    /// When it is not.
    pub fn check_gauges(&self) {
        let engine = &self.engine;
        let (mut phases, mut clients, mut mappings) = ([0; Phase::ALL.len()], 0, 0);
        let mut by_port = std::collections::BTreeMap::<_, usize>::new();
        for flow in engine.flows() {
            match (flow.kind, flow.phase) {
                (FlowKind::Tcp, Some(phase)) => phases[phase as usize] += 1,
                _ if flow.publish.is_some() => clients += 1,
                _ => mappings += 1,
            }
            if let Some(publish) = flow.publish {
                *by_port.entry(publish).or_default() += 1;
            }
        }
        assert_eq!(engine.tcp_by_phase(), phases, "{}", self.describe());
        assert_eq!(engine.udp_client_count(), clients);
        assert_eq!(engine.mapping_count(), mappings);
        let tcp: u32 = phases.iter().sum();
        assert_eq!(engine.flow_count(), tcp as usize + clients + mappings);
        for (id, entry) in engine.published_all() {
            assert_eq!(entry.flows, by_port.remove(&id).unwrap_or(0), "{id:?}");
        }
        assert!(engine.control_queue_len() <= self.reached.control_frames);
        let most = self.config.limits.datagram_queue_bytes;
        let room = most.saturating_sub(engine.datagram_queue_bytes());
        assert_eq!(engine.datagram_room(), room);
    }

    /// What holds after every step.
    pub(super) fn check(&self) {
        let (limits, reached) = (&self.config.limits, &self.reached);
        assert!(self.engine.flow_count() <= reached.max_flows, "more flows than allowed");
        assert!(self.engine.mapping_count() <= limits.max_mappings, "more mappings than allowed");
        assert!(self.host.world.most <= reached.max_mappings, "more sockets of mappings");
        assert!(self.engine.dial_count() <= limits.max_dials, "more dials than allowed");
        assert!(self.host.outside.most_pending <= reached.max_dials, "more dials at once");
        assert_eq!(self.engine.dial_count(), self.host.outside.pending(), "dials are in step");
        assert!(self.engine.datagram_room() <= limits.datagram_queue_bytes);
        // A walk over many flows at every step would take all the time there is.
        if self.engine.flow_count() <= FEW_FLOWS {
            self.check_gauges();
        }
        assert_eq!(
            self.engine.counters().drops(portreeve_core::DropReason::StackFault),
            0,
            "a stack failed"
        );
    }
}

/// So many flows are walked at every step.
const FEW_FLOWS: usize = 64;
