//! The guest's own datagrams and echoes: one socket for each mapping, in batches both ways.
//!
//! Owns the sockets by the slot of their flow and what is known of their readiness. A socket is
//! read only while the engine has room for what it holds; the rest waits in the kernel, which is
//! where UDP may drop. What does not arrive is reported with how it began, so that the guest gets
//! the error it would have got.

mod departures;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Event;
use mio::{Interest, Token};
use portreeve_core::{
    DialFailure, Engine, FlowId, Instant, MappedDatagram, MappingKind, Undeliverable,
};
use portreeve_host::{OutboundOptions, PingSocket, SendBatch, SocketErrorReport, UdpSocket};

use super::datagrams::has_room;
use super::dials::dial_failure;
use super::reports::error_kind;
use super::{Driver, FLOWS, register};

/// Batches, or echo replies, read from one socket in one turn.
const READS: usize = 16;
/// Datagrams that may wait for a full socket before they are dropped.
const WAITING: usize = 256;
/// What the kernel may hold for one mapping while others have their turn. Its default is some 270
/// small datagrams: less than arrives in the time a busy processor takes to come back.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Destinations of one mapping that are not looked up again while they are in use.
const AWAY: usize = 8;
/// Longest echo reply, with the IP header that raw sockets put in front.
const ECHO_BUFFER: usize = 65_536 + 64;

pub(super) use departures::Departing;

pub(super) struct Mappings {
    slots: Vec<Option<Mapping>>,
    open: usize,
    /// Mappings to look at.
    ready: VecDeque<FlowId>,
    /// Mappings that have datagrams to send.
    touched: Vec<FlowId>,
    /// Sockets that could not be had, until their first datagrams have been answered.
    failed: Vec<(FlowId, DialFailure)>,
    echo: Box<[u8]>,
    /// Whether it has been said that this system allows no echo.
    said_forbidden: bool,
}

struct Mapping {
    id: FlowId,
    socket: Socket,
    outgoing: SendBatch,
    /// Destinations that were seen not to be this host, the last one last.
    away: VecDeque<IpAddr>,
    readable: bool,
    writable: bool,
    failed: bool,
    ready: bool,
}

enum Socket {
    Udp(UdpSocket),
    Echo(PingSocket),
}

impl Default for Mappings {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            open: 0,
            ready: VecDeque::new(),
            touched: Vec::new(),
            failed: Vec::new(),
            echo: vec![0; ECHO_BUFFER].into(),
            said_forbidden: false,
        }
    }
}

impl Mappings {
    /// The kernel reports on a slot.
    pub(super) fn note(&mut self, index: usize, event: &Event) {
        let Some(Some(mapping)) = self.slots.get_mut(index) else { return };
        mapping.readable |= event.is_readable();
        mapping.writable |= event.is_writable();
        mapping.failed |= event.is_error();
        let id = mapping.id;
        self.mark(id);
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether datagrams wait for a socket.
    pub(super) fn any_waiting(&self) -> bool {
        self.slots.iter().flatten().any(|mapping| !mapping.outgoing.is_empty())
    }

    fn mark(&mut self, id: FlowId) {
        if let Some(mapping) = self.get_mut(id)
            && !std::mem::replace(&mut mapping.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    fn get_mut(&mut self, id: FlowId) -> Option<&mut Mapping> {
        self.slots.get_mut(id.index())?.as_mut().filter(|mapping| mapping.id == id)
    }
}

impl Driver {
    pub(super) fn open_mapping(&mut self, id: FlowId, kind: MappingKind, v6: bool) {
        let options = OutboundOptions {
            bind_address: self.egress.bind_address(v6),
            bind_interface: self.egress.bind_interface.clone(),
            receive_buffer: (kind == MappingKind::Udp).then_some(RECEIVE_BUFFER),
            ..OutboundOptions::default()
        };
        let opened = match kind {
            MappingKind::Udp => UdpSocket::outbound(v6, &options).map(Socket::Udp),
            MappingKind::Echo => PingSocket::open(v6, &options).map(Socket::Echo),
        };
        let failure = match opened {
            Ok(socket) => match self.watch_mapping(id, socket) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "watching a socket of the guest");
                    DialFailure::Exhausted
                }
            },
            Err(error) => {
                let failure = dial_failure(&error);
                if kind == MappingKind::Echo && failure == DialFailure::Prohibited {
                    self.say_echo_forbidden(&error);
                    DialFailure::EchoForbidden
                } else {
                    tracing::debug!(%error, flow = %id, "opening a socket for the guest");
                    failure
                }
            }
        };
        self.mappings.failed.push((id, failure));
    }

    fn watch_mapping(&mut self, id: FlowId, socket: Socket) -> io::Result<()> {
        let index = id.index();
        let both = Interest::READABLE | Interest::WRITABLE;
        register(self.poll.registry(), socket.raw_fd(), Token(FLOWS + index), both)?;
        if self.mappings.slots.len() <= index {
            self.mappings.slots.resize_with(index + 1, || None);
        }
        let slot = &mut self.mappings.slots[index];
        self.mappings.open += usize::from(slot.is_none());
        *slot = Some(Mapping {
            id,
            socket,
            outgoing: SendBatch::new(),
            away: VecDeque::new(),
            readable: false,
            writable: true,
            failed: false,
            ready: false,
        });
        Ok(())
    }

    /// Closes a mapping's socket, once what the guest had sent through it has left.
    pub(super) fn close_mapping(&mut self, id: FlowId, now: Instant) {
        self.flush_mapping(id, now);
        if self.mappings.get_mut(id).is_some() {
            self.mappings.slots[id.index()] = None;
            self.mappings.open -= 1;
        }
    }

    /// Looks at every mapping that the kernel reported on or that a turn left unfinished.
    pub(super) fn take_mapped(&mut self, now: Instant) {
        for _ in 0..self.mappings.ready.len() {
            let Some(id) = self.mappings.ready.pop_front() else { return };
            let Some(mapping) = self.mappings.get_mut(id) else { continue };
            mapping.ready = false;
            self.flush_mapping(id, now);
            self.read_mapping(id, now);
        }
    }

    fn read_mapping(&mut self, id: FlowId, now: Instant) {
        let Self { mappings, core, datagrams, .. } = self;
        let Mappings { slots, echo, .. } = mappings;
        let Some(Some(mapping)) = slots.get_mut(id.index()) else { return };
        for _ in 0..READS {
            if !mapping.readable || !has_room(core) {
                break;
            }
            let outcome = match &mapping.socket {
                Socket::Udp(socket) => {
                    let batch = datagrams.received();
                    socket.recv_batch_within(batch, core.datagram_room()).map(|_| {
                        mapping.failed |= batch.errors_pending();
                        for datagram in batch.iter().filter(|datagram| !datagram.truncated) {
                            let (source, payload) = (datagram.source, datagram.payload);
                            let mapped = MappedDatagram { flow: id, source, payload };
                            core.handle_mapped_datagram(&mapped, now);
                        }
                    })
                }
                Socket::Echo(socket) => socket.recv(echo).map(|(length, source)| {
                    let (source, payload) = (SocketAddr::new(source, 0), &echo[..length]);
                    core.handle_mapped_datagram(&MappedDatagram { flow: id, source, payload }, now);
                }),
            };
            if let Err(error) = outcome {
                mapping.readable = false;
                mapping.failed |= error.kind() != io::ErrorKind::WouldBlock;
            }
        }
        if std::mem::take(&mut mapping.failed) {
            while let Ok(Some(report)) = mapping.socket.recv_error() {
                tell(core, id, &report, now);
            }
        }
        if mapping.readable {
            self.mappings.mark(id);
        }
    }

    fn say_echo_forbidden(&mut self, error: &portreeve_host::HostError) {
        if !std::mem::replace(&mut self.mappings.said_forbidden, true) {
            tracing::warn!(%error, "the guest cannot ping beyond its gateway");
            let cause = error.to_string();
            self.publish_event(crate::event::Event::EchoForbidden { cause });
        }
    }
}

impl Mapping {
    /// Whether an address is none of this host's, asked of the kernel when it is new to this
    /// mapping: the host may have got it a moment ago, and the core be told only soon.
    fn leads_away(&mut self, destination: IpAddr) -> bool {
        if self.away.contains(&destination) {
            return true;
        }
        // Who cannot ask does not know, and then it stays closed.
        let away = portreeve_host::is_local(destination).is_ok_and(|local| !local);
        if away {
            if self.away.len() == AWAY {
                self.away.pop_front();
            }
            self.away.push_back(destination);
        }
        away
    }
}

/// Tells the core what became of a datagram, where an ICMP error says it.
fn tell(core: &mut Engine, flow: FlowId, report: &SocketErrorReport, now: Instant) {
    let Some(error) = error_kind(report) else { return };
    let (destination, reporter) = (report.destination, report.offender);
    let payload = &report.payload;
    let undeliverable = Undeliverable { flow, destination, error, reporter, payload };
    core.handle_undeliverable(&undeliverable, now);
}

impl Socket {
    fn raw_fd(&self) -> i32 {
        match self {
            Self::Udp(socket) => socket.as_fd().as_raw_fd(),
            Self::Echo(socket) => socket.as_fd().as_raw_fd(),
        }
    }

    fn recv_error(&self) -> io::Result<Option<SocketErrorReport>> {
        match self {
            Self::Udp(socket) => socket.recv_error(),
            Self::Echo(socket) => socket.recv_error(),
        }
    }
}
