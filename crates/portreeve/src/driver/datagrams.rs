//! Published UDP ports: datagrams in batches, both ways, and what ICMP says of them. Those of the
//! guest's own mappings are handed on to `mappings.rs`.
//!
//! Owns the batches. A client's datagrams are read only while the engine has room for them; what
//! does not fit waits in the kernel's own buffer, which is where UDP may drop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use portreeve_core::{Engine, HostDatagram, HostEvent, IncomingDatagram, Instant};
use portreeve_host::{RawIcmp, RecvBatch, RefusedDatagram, SendBatch, SocketErrorReport};
use portreeve_types::PublishId;
use portreeve_wire::icmp::{ErrorKind, Unreachable};
use portreeve_wire::udp::UDP_MAX_PAYLOAD;

use super::mappings::Departing;
use super::reports::error_kind;
use super::{Driver, LoopCounters};

/// Batches read from one socket in one turn.
const BATCHES: usize = 4;
/// Datagrams of the guest that may wait for a full host socket before they are dropped.
const WAITING: usize = 256;

pub(super) struct Datagrams {
    received: RecvBatch,
    outgoing: BTreeMap<PublishId, SendBatch>,
    /// Ports that got their first outgoing datagram in this turn.
    touched: Vec<PublishId>,
    /// Tells clients of refused datagrams; only a process that may open raw sockets has it.
    icmp: Option<RawIcmp>,
    copy: Vec<u8>,
}

impl Datagrams {
    pub(super) fn new() -> Self {
        let icmp = RawIcmp::open().unwrap_or_else(|error| {
            tracing::warn!(%error, "no raw sockets: refused datagrams are not reported to clients");
            None
        });
        Self {
            received: RecvBatch::new(),
            outgoing: BTreeMap::new(),
            touched: Vec::new(),
            icmp,
            copy: Vec::new(),
        }
    }

    /// Room for a batch of any socket's.
    pub(super) fn received(&mut self) -> &mut RecvBatch {
        &mut self.received
    }

    /// Whether datagrams wait for a published port's socket.
    pub(super) fn any_waiting(&self) -> bool {
        self.outgoing.values().any(|batch| !batch.is_empty())
    }

    fn push(
        &mut self,
        publish: PublishId,
        client: SocketAddr,
        local: SocketAddr,
        payload: &[u8],
        stats: &mut LoopCounters,
    ) {
        let batch = self.outgoing.entry(publish).or_default();
        if batch.len() >= WAITING {
            stats.datagram_errors += 1;
            return;
        }
        if batch.is_empty() {
            self.touched.push(publish);
        }
        batch.push(payload, client, Some(local.ip()));
    }

    fn is_full(&self, publish: PublishId) -> bool {
        self.outgoing.get(&publish).is_some_and(|batch| batch.len() >= WAITING)
    }

    pub(super) fn tell_unreachable(
        &self,
        _publish: PublishId,
        client: SocketAddr,
        local: SocketAddr,
        _kind: Unreachable,
    ) {
        let Some(icmp) = &self.icmp else { return };
        let refused = RefusedDatagram { client, local, payload: &[], payload_len: 0 };
        if let Err(error) = icmp.send_port_unreachable(&refused) {
            tracing::debug!(%error, "telling a client that its datagram was refused");
        }
    }
}

/// Room for one message of the kernel's: a datagram of the largest, or many that it has joined.
pub(super) fn has_room(core: &Engine) -> bool {
    core.datagram_room() >= 2 * UDP_MAX_PAYLOAD
}

impl Driver {
    /// Looks at every UDP socket that the kernel reported on or that a turn left unfinished.
    pub(super) fn take_datagrams(&mut self, now: Instant) {
        for slot in self.listeners.take_ready_udp() {
            self.receive_from(slot, now);
            self.flush_slot(slot);
            self.take_reports(slot, now);
        }
    }

    fn receive_from(&mut self, slot: usize, now: Instant) {
        let Some((port, socket, state)) = self.listeners.udp(slot) else { return };
        for _ in 0..BATCHES {
            if !state.readable || !has_room(&self.core) {
                break;
            }
            let (batch, room) = (&mut self.datagrams.received, self.core.datagram_room());
            if let Err(error) = socket.recv_batch_within(batch, room) {
                state.readable = false;
                state.failed |= error.kind() != io::ErrorKind::WouldBlock;
                break;
            }
            state.failed |= batch.errors_pending();
            let local_port = socket.local_addr().port();
            for datagram in batch.iter().filter(|datagram| !datagram.truncated) {
                let incoming = IncomingDatagram {
                    publish: port.id,
                    client: datagram.source,
                    local: SocketAddr::new(datagram.local, local_port),
                    payload: datagram.payload,
                };
                self.core.handle_datagram(&incoming, now);
            }
        }
        if state.readable {
            self.listeners.mark_udp(slot);
        }
    }

    fn take_reports(&mut self, slot: usize, now: Instant) {
        let Some((port, socket, state)) = self.listeners.udp(slot) else { return };
        if !std::mem::take(&mut state.failed) {
            return;
        }
        while let Ok(Some(report)) = socket.recv_error() {
            if let Some(event) = unreachable(port.id, socket.local_addr(), &report) {
                self.core.handle_host_event(event, now);
            }
        }
    }

    /// Sends what the guest has for clients, and through its own mappings.
    pub(super) fn send_datagrams(&mut self, now: Instant) {
        // A copy of one at a time, for a mapping's fault may at once become a frame for the guest.
        let mut payload_copy = std::mem::take(&mut self.datagrams.copy);
        while let Some(datagram) = self.core.poll_datagram() {
            match datagram {
                HostDatagram::Published { publish, client, local, payload } => {
                    self.datagrams.push(publish, client, local, payload, &mut self.counters);
                    if self.datagrams.is_full(publish)
                        && let Some(slot) = self.listeners.slot_of(publish)
                    {
                        self.flush_slot(slot);
                    }
                }
                HostDatagram::Mapped {
                    flow,
                    destination,
                    hop_limit,
                    may_fragment,
                    to_host,
                    payload,
                } => {
                    payload_copy.clear();
                    payload_copy.extend_from_slice(payload);
                    let payload = &payload_copy;
                    let out =
                        Departing { flow, destination, hop_limit, may_fragment, to_host, payload };
                    self.push_mapped(&out, now);
                }
            }
        }
        self.datagrams.copy = payload_copy;
        self.flush_touched(now);
        for id in std::mem::take(&mut self.datagrams.touched) {
            if let Some(slot) = self.listeners.slot_of(id) {
                self.flush_slot(slot);
            }
        }
    }

    fn flush_slot(&mut self, slot: usize) {
        let Some((port, socket, state)) = self.listeners.udp(slot) else { return };
        let Some(batch) = self.datagrams.outgoing.get_mut(&port.id) else { return };
        while state.writable && !batch.is_empty() {
            match socket.send_batch(batch) {
                Ok(sent) => batch.skip(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => state.writable = false,
                Err(error) => {
                    tracing::debug!(%error, %port, "sending a datagram to a client");
                    self.counters.datagram_errors += 1;
                    state.failed = true;
                    batch.skip(1);
                }
            }
        }
        if batch.is_empty() {
            batch.clear();
        }
        if state.failed {
            self.listeners.mark_udp(slot);
        }
    }

    /// Forgets what waits for a port that is no longer published.
    pub(super) fn forget_datagrams(&mut self, id: PublishId) {
        self.datagrams.outgoing.remove(&id);
    }
}

/// What a report from the error queue means to the guest.
fn unreachable(
    publish: PublishId,
    bound: SocketAddr,
    report: &SocketErrorReport,
) -> Option<HostEvent> {
    let Some(ErrorKind::Unreachable(kind)) = error_kind(report) else { return None };
    // Where the socket is bound to one address that is the one; else the report may know.
    let bound_to = (!bound.ip().is_unspecified()).then_some(bound);
    let local =
        bound_to.or_else(|| report.local.map(|address| SocketAddr::new(address, bound.port())));
    Some(HostEvent::ClientUnreachable { publish, client: report.destination, local, kind })
}
