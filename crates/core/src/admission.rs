//! What may open a flow: the only place that asks.
//!
//! Owns the order of the questions for every new flow, from either side, and the answer to a guest
//! that asks for a way out. Limits come first, for they cost least; a policy is asked here and
//! nowhere else. At present no policy admits a guest's own connections: they are refused audibly.

use portreeve_types::SourceMode;
use portreeve_wire::FlowKey;

use crate::engine::Engine;
use crate::engine::event::{Event, RefuseReason};
use crate::engine::host::Accepted;

impl Engine {
    /// Whether a client of a published port may be carried to the guest: the guest's port and the
    /// source it sees.
    pub(crate) fn admit_published(
        &mut self,
        accepted: &Accepted,
    ) -> Result<(u16, SourceMode), RefuseReason> {
        let limits = &self.config.limits;
        let (max_flows, max_per_port) = (limits.max_flows, limits.max_flows_per_port);
        let entry = self.published.get(accepted.publish).filter(|entry| !entry.draining);
        let Some(entry) = entry else { return Err(RefuseReason::NotPublished) };
        if entry.flows >= max_per_port {
            return Err(RefuseReason::PortLimit);
        }
        if self.flows.active() >= max_flows {
            return Err(RefuseReason::FlowLimit);
        }
        Ok((entry.guest_port, entry.source))
    }

    /// A guest asked for a connection of its own and is refused.
    pub(crate) fn refuse_egress(&mut self, key: &FlowKey) {
        self.events.push(Event::EgressRefused { guest: key.guest, destination: key.remote });
    }
}
