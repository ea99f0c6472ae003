//! Published UDP ports: datagrams in batches, both ways, and what ICMP says of them.
//!
//! Owns the batches. A client's datagrams are read only while the engine has room for them; what
//! does not fit waits in the kernel's own buffer, which is where UDP may drop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use portreeve_core::{Engine, HostEvent, IncomingDatagram, Instant};
use portreeve_host::{
    BATCH_DATAGRAMS, RawIcmp, RecvBatch, RefusedDatagram, SendBatch, SocketErrorReport,
};
use portreeve_types::PublishId;
use portreeve_wire::icmp::Unreachable;
use portreeve_wire::udp::UDP_MAX_PAYLOAD;

use super::Driver;
use super::listeners::Entry;
use crate::publish::Listener;

/// Batches read from one socket in one turn.
const BATCHES: usize = 4;
/// Datagrams that may wait for a full host socket before they are dropped.
const WAITING: usize = 1024;

pub(super) struct Datagrams {
    received: RecvBatch,
    outgoing: BTreeMap<PublishId, SendBatch>,
    /// Tells clients of refused datagrams; only a process that may open raw sockets has it.
    icmp: Option<RawIcmp>,
    any_readable: bool,
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
            icmp,
            any_readable: false,
        }
    }

    /// Whether a turn left datagrams behind that the engine has room for.
    pub(super) fn any_ready(&self, core: &Engine) -> bool {
        self.any_readable && has_room(core)
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

/// Room for a whole batch of ordinary datagrams, or for one of the largest.
fn has_room(core: &Engine) -> bool {
    core.datagram_room() >= UDP_MAX_PAYLOAD + BATCH_DATAGRAMS * 2048
}

impl Driver {
    pub(super) fn take_datagrams(&mut self, now: Instant) {
        self.datagrams.any_readable = false;
        for entry in self.listeners.entries_mut() {
            let Entry { port, listener: Listener::Udp(socket), .. } = entry else { continue };
            let publish = port.id;
            for _ in 0..BATCHES {
                if !entry.readable || !has_room(&self.core) {
                    break;
                }
                let batch = &mut self.datagrams.received;
                match socket.recv_batch(batch) {
                    Ok(_) => {}
                    Err(error) => {
                        entry.readable = false;
                        entry.failed |= error.kind() != io::ErrorKind::WouldBlock;
                        break;
                    }
                }
                entry.failed |= batch.errors_pending();
                let local_port = socket.local_addr().port();
                for datagram in batch.iter().filter(|datagram| !datagram.truncated) {
                    let incoming = IncomingDatagram {
                        publish,
                        client: datagram.source,
                        local: SocketAddr::new(datagram.local, local_port),
                        payload: datagram.payload,
                    };
                    self.core.handle_datagram(&incoming, now);
                }
            }
            self.datagrams.any_readable |= entry.readable;
            while std::mem::take(&mut entry.failed) {
                while let Ok(Some(report)) = socket.recv_error() {
                    if let Some(event) = unreachable(publish, socket.local_addr(), &report) {
                        self.core.handle_host_event(event, now);
                    }
                }
            }
        }
    }

    pub(super) fn send_datagrams(&mut self) {
        while let Some(datagram) = self.core.poll_datagram() {
            let batch = self.datagrams.outgoing.entry(datagram.publish).or_default();
            if batch.len() >= WAITING {
                self.stats.datagram_errors += 1;
                continue;
            }
            batch.push(datagram.payload, datagram.client, Some(datagram.local.ip()));
        }
        for entry in self.listeners.entries_mut() {
            let Entry { port, listener: Listener::Udp(socket), writable, failed, .. } = entry
            else {
                continue;
            };
            let Some(batch) = self.datagrams.outgoing.get_mut(&port.id) else { continue };
            while *writable && !batch.is_empty() {
                match socket.send_batch(batch) {
                    Ok(sent) => batch.skip(sent),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => *writable = false,
                    Err(error) => {
                        tracing::debug!(%error, %port, "sending a datagram to a client");
                        self.stats.datagram_errors += 1;
                        *failed = true;
                        batch.skip(1);
                    }
                }
            }
            if batch.is_empty() {
                batch.clear();
            }
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
    let kind = match io::Error::from_raw_os_error(report.errno).kind() {
        io::ErrorKind::ConnectionRefused => Unreachable::Port,
        io::ErrorKind::HostUnreachable => Unreachable::Host,
        io::ErrorKind::NetworkUnreachable => Unreachable::Network,
        io::ErrorKind::PermissionDenied => Unreachable::Prohibited,
        _ => return None,
    };
    // Where the socket is bound to one address that is the one; else the report may know.
    let bound_to = (!bound.ip().is_unspecified()).then_some(bound);
    let local = bound_to
        .or_else(|| report.local.map(|address| SocketAddr::new(address, bound.port())));
    Some(HostEvent::ClientUnreachable { publish, client: report.destination, local, kind })
}
