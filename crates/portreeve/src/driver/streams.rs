//! The host's side of TCP flows: sockets by flow, and the bytes between them and the rings.
//!
//! Owns what is known of each socket's readiness. Interest follows from state: a socket is read
//! while it is readable and the ring has room, written while it is writable and the ring has bytes,
//! each direction by itself, so neither can hold up the other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Event;
use mio::{Interest, Registry, Token};
use portreeve_core::{DialFailure, FlowId, HostEvent, Instant, Phase};
use portreeve_host::Stream;

use super::{Driver, FLOWS, register};

/// Bytes moved for one flow and direction before others have their turn.
const RELAY_SHARE: usize = 512 * 1024;

/// Sockets by the slot of their flow.
#[derive(Default)]
pub(super) struct Streams {
    slots: Vec<Option<HostStream>>,
    open: usize,
    /// Failed connections with bytes that wait for room, by when that has lasted too long.
    stuck: VecDeque<(Instant, FlowId)>,
}

pub(super) struct HostStream {
    id: FlowId,
    stream: Stream,
    /// Its destination has yet to answer.
    dialling: Option<Dialling>,
    readable: bool,
    writable: bool,
    /// The kernel has seen the other side end its stream, so a short read does not mean "empty".
    read_closed: bool,
    /// The connection has failed; only what was received before is left.
    failed: bool,
    /// The end has been read.
    ended: bool,
    /// The end was read just now and the core is to be told.
    read_ended_now: bool,
    /// Everything was written and the socket shut down for writing.
    shut_down: bool,
    /// Since when a failed connection has had bytes that the guest takes no room for.
    stuck_since: Option<Instant>,
}

/// What a dialled socket must turn out to be.
#[derive(Clone, Copy)]
struct Dialling {
    /// Its other end may be this very host.
    to_host: bool,
}

impl Streams {
    /// Takes the socket of a client.
    pub(super) fn insert(
        &mut self,
        registry: &Registry,
        id: FlowId,
        stream: Stream,
    ) -> io::Result<()> {
        self.add(registry, id, stream, None)
    }

    /// Takes a socket whose destination has yet to answer.
    pub(super) fn insert_dialled(
        &mut self,
        registry: &Registry,
        id: FlowId,
        stream: Stream,
        to_host: bool,
    ) -> io::Result<()> {
        self.add(registry, id, stream, Some(Dialling { to_host }))
    }

    fn add(
        &mut self,
        registry: &Registry,
        id: FlowId,
        stream: Stream,
        dialling: Option<Dialling>,
    ) -> io::Result<()> {
        let index = id.index();
        let fd = stream.as_fd().as_raw_fd();
        let both = Interest::READABLE | Interest::WRITABLE;
        register(registry, fd, Token(FLOWS + index), both)?;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let slot = &mut self.slots[index];
        debug_assert!(slot.is_none(), "orders of the slot's last flow were not carried out");
        self.open += usize::from(slot.is_none());
        *slot = Some(HostStream {
            id,
            stream,
            dialling,
            // Clients often send at once, and a fresh socket has room: trying is cheaper than
            // waiting for the kernel to say so.
            readable: true,
            writable: true,
            read_closed: false,
            failed: false,
            ended: false,
            read_ended_now: false,
            shut_down: false,
            stuck_since: None,
        });
        Ok(())
    }

    /// Whether a dial has been answered; `None` while it has not.
    pub(super) fn finish_dial(&mut self, id: FlowId) -> Option<Result<(), DialFailure>> {
        let host = self.get_mut(id)?;
        let Dialling { to_host } = host.dialling?;
        let outcome = match host.stream.finish_connect() {
            Ok(()) if !to_host && host.stream.peer_is_local().unwrap_or(false) => {
                Err(DialFailure::HostAddress)
            }
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => Err(super::dials::dial_failure(&error)),
        };
        host.dialling = None;
        // What the kernel reported of it until now was about the handshake.
        host.failed = false;
        Some(outcome)
    }

    /// The kernel reports on a slot: the flow to look at, if there is one.
    pub(super) fn note(&mut self, index: usize, event: &Event) -> Option<FlowId> {
        let host = self.slots.get_mut(index)?.as_mut()?;
        host.readable |= event.is_readable() || event.is_read_closed();
        host.writable |= event.is_writable();
        host.read_closed |= event.is_read_closed();
        host.failed |= event.is_error();
        Some(host.id)
    }

    pub(super) fn shutdown(&mut self, id: FlowId) {
        let Some(host) = self.get_mut(id) else { return };
        host.shut_down = true;
        if let Err(error) = host.stream.shutdown_write() {
            // The client is gone already: the next read says so.
            tracing::debug!(%error, flow = %id, "shutting a socket down");
        }
    }

    pub(super) fn close(&mut self, id: FlowId) {
        drop(self.take(id));
    }

    pub(super) fn take(&mut self, id: FlowId) -> Option<Stream> {
        self.get_mut(id)?;
        let host = self.slots.get_mut(id.index())?.take()?;
        self.open -= 1;
        Some(host.stream)
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Bytes written to a flow's socket that its client has not acknowledged.
    pub(super) fn unsent(&self, id: FlowId) -> usize {
        let slot = self.slots.get(id.index()).and_then(Option::as_ref);
        slot.filter(|host| host.id == id).map_or(0, |host| host.stream.unsent().unwrap_or(0))
    }

    /// Ends everything at once. A connection that is cut off must not look finished, so it is
    /// reset; one whose bytes and end are all written is left to the kernel to deliver.
    pub(super) fn end_all(&mut self) {
        for host in self.slots.drain(..).flatten() {
            if !host.shut_down {
                host.stream.reset();
            }
        }
        self.open = 0;
        self.stuck.clear();
    }

    /// When a failed connection whose bytes the guest does not take is to be looked at.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.stuck.front().map(|&(at, _)| at)
    }

    fn get_mut(&mut self, id: FlowId) -> Option<&mut HostStream> {
        self.slots.get_mut(id.index())?.as_mut().filter(|host| host.id == id)
    }
}

impl Driver {
    /// Moves what can be moved for one flow, in both directions.
    pub(super) fn relay(&mut self, id: FlowId, now: Instant) {
        let Some(host) = self.streams.get_mut(id) else { return };
        if host.dialling.is_some() {
            return self.finish_dial(id, now);
        }
        let mut over = false;
        let mut moved = 0;
        while host.writable && moved < RELAY_SHARE {
            let core = &mut self.core;
            let written = core.from_guest(id, |bytes| host.write(bytes));
            if written == 0 {
                break;
            }
            moved += written;
            over = moved >= RELAY_SHARE;
        }
        moved = 0;
        while host.readable && !host.ended && moved < RELAY_SHARE {
            let core = &mut self.core;
            if core.to_guest_room(id) == 0 {
                break;
            }
            let read = core.to_guest(id, |space| host.read(space));
            if read == 0 {
                break;
            }
            moved += read;
            over |= moved >= RELAY_SHARE;
        }
        if host.failed {
            self.relay_failed(id, now);
        } else if std::mem::take(&mut host.read_ended_now) {
            self.core.handle_host_event(HostEvent::Eof(id), now);
        } else if over {
            self.again.push_back(id);
        }
    }
}

impl Driver {
    /// The connection is dead; what the client sent before is delivered as long as the guest takes
    /// it, and a guest that takes nothing does not keep it.
    fn relay_failed(&mut self, id: FlowId, now: Instant) {
        let Some(host) = self.streams.get_mut(id) else { return };
        let dialing = self.core.phase(id) == Some(Phase::DialingGuest);
        let stuck_too_long = host.stuck_since.is_some_and(|since| now >= since + self.close_grace);
        if dialing || host.ended || !host.readable || stuck_too_long {
            self.core.handle_host_event(HostEvent::Reset(id), now);
        } else if self.core.to_guest_room(id) != 0 {
            host.stuck_since = None;
            self.again.push_back(id);
        } else if host.stuck_since.is_none() {
            host.stuck_since = Some(now);
            self.streams.stuck.push_back((now + self.close_grace, id));
        }
    }

    pub(super) fn check_stuck(&mut self, now: Instant) {
        while let Some(&(_, id)) = self.streams.stuck.front().filter(|(at, _)| *at <= now) {
            self.streams.stuck.pop_front();
            self.relay(id, now);
        }
    }
}

impl HostStream {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(written) => {
                // A short write means a full socket: the next edge comes when there is room.
                self.writable = written == bytes.len();
                written
            }
            Err(error) => {
                self.writable = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.failed = true;
                    // What was received before is still there, or the reason is.
                    self.readable = true;
                }
                0
            }
        }
    }

    fn read(&mut self, space: &mut [u8]) -> usize {
        match self.stream.read(space) {
            Ok(0) => {
                self.readable = false;
                self.ended = true;
                self.read_ended_now = true;
                0
            }
            Ok(read) => {
                // epoll(7): a short read of a stream empties it, unless the end stands behind.
                self.readable = read == space.len() || self.read_closed;
                read
            }
            Err(error) => {
                self.readable = false;
                self.failed |= error.kind() != io::ErrorKind::WouldBlock;
                0
            }
        }
    }
}
