//! The end of a guest whose link lives on: everything of its own is forgotten.
//!
//! Owns what belongs to a guest and not to the engine. Published ports, name servers, what the name
//! server has cached and the counters stay, for the next guest has them too; everything that the
//! old one had opened, shown or been given goes, so that the next one is served as the first was.

use portreeve_types::Instant;

use crate::engine::Engine;
use crate::engine::event::CloseReason;
use crate::engine::timers::Timers;
use crate::flow::{Body, FlowId};
use crate::gateway::GatewayState;

impl Engine {
    /// The guest is gone, and another may come: its machine was stopped, restarted or replaced.
    ///
    /// Every flow ends now. Clients of published ports are reset, the guest's own connections and
    /// mappings are closed; nothing is said to the guest, and frames that waited for it are
    /// forgotten, as are its leases, its addresses and, unless it was configured, its hardware
    /// address. Published ports stay.
    ///
    /// What the guest had sent and the host has not taken yet is lost: the caller moves bytes first
    /// (see [`poll_host_op`](Self::poll_host_op)).
    pub fn handle_guest_gone(&mut self, now: Instant) {
        self.advance(now);
        let flows: Vec<_> = self.flows.iter().map(|flow| flow.id).collect();
        for id in flows {
            self.forget_flow(id);
        }
        // These name flows, of which there are none.
        self.timers = Timers::default();
        self.relay.clear();
        self.egress.clear();
        self.udp_family.clear();
        self.fragments.clear();
        self.names.forget_clients();
        self.gateway = GatewayState::default();
        self.neighbor_retry = None;
        self.outbox.forget_guest(self.config.addressing.guest_mac.map(|mac| mac.0));
    }

    fn forget_flow(&mut self, id: FlowId) {
        match self.flows.get(id).map(|flow| &flow.body) {
            Some(Body::Tcp(_)) => self.tcp_guest_vanished(id),
            Some(Body::Udp(_)) => self.udp_remove(id, CloseReason::GuestGone),
            Some(Body::Mapping(_)) => self.mapping_remove(id, CloseReason::GuestGone),
            Some(Body::TimeWait(_)) => {
                self.flows.remove(id);
            }
            None => {}
        }
    }
}
