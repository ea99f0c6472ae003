//! What may open a flow: the only place that asks.
//!
//! Owns the order of the questions for every new flow, from either side. Where a destination leads
//! at all is `egress.rs`'s answer; a policy is asked here and nowhere else.

use std::net::{IpAddr, SocketAddr};

use portreeve_types::{SourceMode, Transport};
use portreeve_wire::FlowKey;

use crate::egress::Target;
use crate::engine::Engine;
use crate::engine::event::{EgressRefusal, RefuseReason};
use crate::engine::host::Accepted;
use crate::engine::losses::Limit;

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
        let admitted = (entry.guest_port, entry.source);
        if entry.flows >= max_per_port {
            self.port_limit_reached(accepted.publish);
            return Err(RefuseReason::PortLimit);
        }
        if self.flows.active() >= max_flows {
            self.limit_reached(Limit::MaxFlows);
            return Err(RefuseReason::FlowLimit);
        }
        Ok(admitted)
    }

    /// Whether the guest may open a connection of its own: where it leads.
    pub(crate) fn admit_dial(
        &mut self,
        key: &FlowKey,
        hop_limit: u8,
    ) -> Result<Target, EgressRefusal> {
        let target = self.egress_target(Transport::Tcp, key.remote)?;
        if self.ends_here(key.remote.ip(), hop_limit) {
            return Err(EgressRefusal::HopLimit);
        }
        if self.flows.active() >= self.config.limits.max_flows {
            self.limit_reached(Limit::MaxFlows);
            return Err(EgressRefusal::FlowLimit);
        }
        Ok(target)
    }

    /// Whether the guest may send a datagram to `remote`: where it leads.
    pub(crate) fn admit_datagram(
        &self,
        remote: SocketAddr,
        hop_limit: u8,
    ) -> Result<Target, EgressRefusal> {
        let target = self.egress_target(Transport::Udp, remote)?;
        if self.ends_here(remote.ip(), hop_limit) {
            return Err(EgressRefusal::HopLimit);
        }
        Ok(target)
    }

    /// Whether a packet on its way to `remote` gets no further than the gateway.
    fn ends_here(&self, remote: IpAddr, hop_limit: u8) -> bool {
        hop_limit <= 1 && !self.is_gateway(remote)
    }

    /// Whether the guest may ask `remote`, which is not the gateway, for an echo.
    pub(crate) fn admit_echo(
        &self,
        remote: IpAddr,
        hop_limit: u8,
    ) -> Result<SocketAddr, EgressRefusal> {
        let target = self.echo_target(remote)?;
        if hop_limit <= 1 { Err(EgressRefusal::HopLimit) } else { Ok(target) }
    }
}
