//! Opening a flow: a host client was accepted and the guest is dialled.
//!
//! Owns the choice of the guest's address family, of the source the guest sees, and of the
//! ephemeral port. A published port reaches a service on either family, whichever answers: a
//! refusal moves on to the other family at once, silence after a moment (RFC 8305's idea, one
//! attempt at a time), and only when every family has refused is the client refused.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_types::SourceMode;
use portreeve_wire::FlowKey;

use super::Tcp;
use super::relay::Wake;
use super::window::WindowGuard;
use crate::engine::Engine;
use crate::engine::event::{Event, RefuseReason};
use crate::engine::host::Accepted;
use crate::flow::state::{Phase, PhaseEvent};
use crate::flow::{Body, Flow, FlowId};
use crate::limits::FAMILY_FALLBACK;
use portreeve_types::Instant;

/// The guest addresses a flow may be dialled at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    targets: Vec<Target>,
    current: usize,
    switches: u32,
    started: Instant,
}

/// One way to reach the guest.
#[derive(Clone, Copy, Debug)]
struct Target {
    guest: SocketAddr,
    source: IpAddr,
    /// Port to use if it is free: the client's own.
    port: u16,
    refused: bool,
}

impl Attempts {
    /// The target to try next, other than the present one, that has not refused.
    fn next(&self) -> Option<usize> {
        (1..self.targets.len())
            .map(|step| (self.current + step) % self.targets.len())
            .find(|&at| !self.targets[at].refused)
    }
}

impl Engine {
    /// A host listener accepted a client. On success the flow is being dialled; on failure the
    /// caller resets the client.
    pub(crate) fn open_published(&mut self, accepted: &Accepted) -> Result<FlowId, RefuseReason> {
        let (guest_port, mode) = self.admit_published(accepted)?;
        let attempts = self.targets(accepted.client, guest_port, mode);
        let preamble = crate::publish::proxy::preamble(mode, accepted);
        let (key, endpoint) = self.dial(&attempts).ok_or(RefuseReason::NoPort)?;
        let endpoint = endpoint.ok_or(RefuseReason::NoMemory)?;
        let now = self.now;
        let deadline = now + Duration::from_millis(self.config.limits.connect_timeout_ms);
        let mut tcp = Tcp::new(Phase::DialingGuest, now);
        tcp.guard = WindowGuard::new(endpoint.receive_capacity());
        tcp.endpoint = Some(endpoint);
        tcp.phase_deadline = Some(deadline);
        tcp.preamble = preamble;
        tcp.attempts = attempts;
        let body = Body::Tcp(Box::new(tcp));
        let id = self.flows.insert(key, |id| Flow {
            publish: Some(accepted.publish),
            client: accepted.client,
            ..Flow::new(id, key, now, body)
        });
        self.published.flow_added(accepted.publish);
        self.mark_egress(id);
        self.tcp_rearm(id, Wake::Phase);
        Ok(id)
    }

    /// The guest refused the present attempt: try the other family, or give up.
    pub(super) fn tcp_attempt_refused(&mut self, id: FlowId) {
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let current = tcp.attempts.current;
        if let Some(target) = tcp.attempts.targets.get_mut(current) {
            target.refused = true;
        }
        if tcp.attempts.next().is_some() {
            self.tcp_next_attempt(id);
        } else {
            self.tcp_event(id, PhaseEvent::GuestRefused);
        }
    }

    /// The present attempt has been silent for as long as it may be.
    pub(super) fn tcp_attempt_silent(&mut self, id: FlowId) {
        self.tcp_next_attempt(id);
    }

    fn tcp_next_attempt(&mut self, id: FlowId) {
        let now = self.now;
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let Some(next) = tcp.attempts.next() else { return };
        tcp.attempts.current = next;
        tcp.attempts.switches += 1;
        tcp.attempts.started = now;
        let attempts = tcp.attempts.clone();
        if let Some(endpoint) = tcp.endpoint.take() {
            self.stack.recycle(endpoint, now);
        }
        let Some((key, Some(endpoint))) = self.dial(&attempts) else {
            return self.tcp_event(id, PhaseEvent::GuestRefused);
        };
        self.flows.rekey(id, key);
        if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) {
            tcp.guard = WindowGuard::new(endpoint.receive_capacity());
            tcp.endpoint = Some(endpoint);
            tcp.reset_seen = false;
            tcp.syn_sent = None;
        }
        self.mark_egress(id);
    }

    /// When the present attempt will have been silent too long; `None` when no other is left.
    pub(super) fn tcp_attempt_silence(&self, id: FlowId) -> Option<Instant> {
        let flow = self.flows.get(id)?;
        let tcp = flow.tcp().filter(|tcp| tcp.phase == Phase::DialingGuest)?;
        tcp.attempts.next()?;
        Some(tcp.attempts.started + FAMILY_FALLBACK * (1 << tcp.attempts.switches.min(6)))
    }

    /// Picks a free key for the present attempt and starts its handshake.
    fn dial(&mut self, attempts: &Attempts) -> Option<(FlowKey, Option<super::stack::Endpoint>)> {
        let target = attempts.targets.get(attempts.current)?;
        let flows = &self.flows;
        let key = |port| FlowKey::tcp(target.guest, SocketAddr::new(target.source, port));
        let port = self.ports.pick(target.port, |port| flows.find(&key(port)).is_none())?;
        let key = key(port);
        let sequence = self.seed.initial_sequence(&key, self.now);
        Some((key, self.stack.connect(&key, sequence)))
    }

    /// Guest addresses to dial, the client's own family first.
    fn targets(&self, client: Option<SocketAddr>, port: u16, mode: SourceMode) -> Attempts {
        let addressing = &self.config.addressing;
        let v4 = addressing.ipv4.map(|v4| (IpAddr::V4(v4.guest), IpAddr::V4(v4.gateway)));
        let v6 = self.guest_v6().zip(addressing.ipv6);
        let v6 = v6.map(|(guest, v6)| (IpAddr::V6(guest), IpAddr::V6(v6.gateway)));
        let v6_first = client.is_some_and(|client| client.is_ipv6());
        let families = if v6_first { [v6, v4] } else { [v4, v6] };
        let client_port = client.map_or(0, |client| client.port());
        let targets = families
            .into_iter()
            .flatten()
            .map(|(guest, gateway)| {
                let source = match client {
                    Some(client)
                        if mode == SourceMode::Preserve
                            && client.is_ipv4() == guest.is_ipv4()
                            && self.may_be_source(client.ip()) =>
                    {
                        client.ip()
                    }
                    _ => gateway,
                };
                let guest = SocketAddr::new(guest, port);
                Target { guest, source, port: client_port, refused: false }
            })
            .collect();
        Attempts { targets, current: 0, switches: 0, started: self.now }
    }

    pub(super) fn note_refused(&mut self, id: FlowId, reason: RefuseReason) {
        let Some(flow) = self.flows.get(id) else { return };
        let event = Event::FlowRefused { publish: flow.publish, client: flow.client, reason };
        self.counters.flows_refused += 1;
        if let Some(publish) = flow.publish {
            self.published.refused(publish);
        }
        self.events.push(event);
    }
}
