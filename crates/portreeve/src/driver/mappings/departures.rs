//! Datagrams and echo requests on their way out through a mapping's socket.
//!
//! Owns the batches: what the guest has sent in one turn leaves together. One that cannot leave is
//! reported at once, as the host's kernel explains it.

use std::io;
use std::net::SocketAddr;

use portreeve_core::{DialFailure, FlowId, HostEvent, Instant, Undeliverable};
use portreeve_host::{Fragmentation, PingOptions, SendOptions};
use portreeve_wire::icmp::{ErrorKind, Unreachable};

use super::{Socket, WAITING, tell};
use crate::driver::Driver;

/// A datagram of the guest on its way to a mapping's socket.
pub(in crate::driver) struct Departing<'a> {
    pub(in crate::driver) flow: FlowId,
    pub(in crate::driver) destination: SocketAddr,
    pub(in crate::driver) hop_limit: Option<u8>,
    pub(in crate::driver) may_fragment: bool,
    pub(in crate::driver) to_host: bool,
    pub(in crate::driver) payload: &'a [u8],
}

impl Departing<'_> {
    fn cut(&self) -> Fragmentation {
        if self.may_fragment { Fragmentation::Allowed } else { Fragmentation::Forbidden }
    }
}

impl Driver {
    /// Takes over a datagram of the guest: it leaves with the others of its mapping.
    pub(in crate::driver) fn push_mapped(&mut self, out: &Departing<'_>, now: Instant) {
        let Some(mapping) = self.mappings.get_mut(out.flow) else {
            return self.answer_for_missing(out, now);
        };
        if !out.to_host && !mapping.leads_away(out.destination.ip()) {
            let (flow, destination) = (out.flow, out.destination);
            self.core.handle_host_event(HostEvent::NotSent { flow, destination }, now);
            return self.report(out, Unreachable::Prohibited, now);
        }
        match &mapping.socket {
            Socket::Udp(_) => {
                if mapping.outgoing.len() >= WAITING {
                    self.counters.datagram_errors += 1;
                    return;
                }
                if mapping.outgoing.is_empty() {
                    self.mappings.touched.push(out.flow);
                }
                let options = SendOptions {
                    source: None,
                    hop_limit: out.hop_limit,
                    fragmentation: out.cut(),
                };
                let Some(mapping) = self.mappings.get_mut(out.flow) else { return };
                mapping.outgoing.push_with(out.payload, out.destination, options);
                if mapping.outgoing.len() >= WAITING {
                    self.flush_mapping(out.flow, now);
                }
            }
            Socket::Echo(socket) => {
                let options = PingOptions { hop_limit: out.hop_limit, fragmentation: out.cut() };
                match socket.send(out.payload, out.destination.ip(), &options) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.counters.datagram_errors += 1;
                    }
                    Err(error) => {
                        self.counters.datagram_errors += 1;
                        let report = socket.explain(out.payload, out.destination.ip(), &error);
                        if let Some(report) = report {
                            tell(&mut self.core, out.flow, &report, now);
                        }
                    }
                }
            }
        }
    }

    /// Sends what this turn's datagrams have left in their batches, and answers for the sockets
    /// that could not be had.
    pub(in crate::driver) fn flush_touched(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.mappings.touched) {
            self.flush_mapping(id, now);
        }
        for (flow, reason) in std::mem::take(&mut self.mappings.failed) {
            self.core.handle_host_event(HostEvent::Failed { flow, reason }, now);
        }
    }

    pub(super) fn flush_mapping(&mut self, id: FlowId, now: Instant) {
        let Some(Some(mapping)) = self.mappings.slots.get_mut(id.index()) else { return };
        if mapping.id != id {
            return;
        }
        let Socket::Udp(socket) = &mapping.socket else { return };
        while mapping.writable && !mapping.outgoing.is_empty() {
            match socket.send_batch(&mapping.outgoing) {
                Ok(sent) => mapping.outgoing.skip(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => mapping.writable = false,
                Err(error) => {
                    self.counters.datagram_errors += 1;
                    let report = socket.explain(&mapping.outgoing, &error);
                    mapping.outgoing.skip(1);
                    if let Some(report) = report {
                        tell(&mut self.core, id, &report, now);
                    }
                }
            }
        }
    }

    /// A datagram for whose mapping there is no socket.
    fn answer_for_missing(&mut self, out: &Departing<'_>, now: Instant) {
        self.counters.datagram_errors += 1;
        let failed = self.mappings.failed.iter().find(|(flow, _)| *flow == out.flow);
        let Some(&(_, failure)) = failed else { return };
        let kind = match failure {
            DialFailure::EchoForbidden | DialFailure::Prohibited => Unreachable::Prohibited,
            DialFailure::NetworkUnreachable => Unreachable::Network,
            _ => Unreachable::Host,
        };
        self.report(out, kind, now);
    }

    fn report(&mut self, out: &Departing<'_>, kind: Unreachable, now: Instant) {
        let Departing { flow, destination, payload, .. } = *out;
        let error = ErrorKind::Unreachable(kind);
        let report = Undeliverable { flow, destination, error, reporter: None, payload };
        self.core.handle_undeliverable(&report, now);
    }
}
