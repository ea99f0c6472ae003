//! Questions of the gateway's name server to the host's: one socket each, by datagram or stream.
//!
//! Owns the sockets until the core has its answer or gives the question up. Each question leaves
//! from a port of its own, which the kernel chooses at random (RFC 5452 §9.2). What an answer is
//! worth is the core's judgement.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use mio::{Interest, Token};
use portreeve_core::{Carrier, ExchangeId, Framer, Instant, UpstreamOp, frame};
use portreeve_host::{DialOptions, OutboundOptions, Stream, UdpExchange, UdpSocket};

use super::{Driver, NAMES, register};

/// Longest answer by datagram.
const ANSWER: usize = 65_536;
/// Answers read from one socket in one turn: somebody may be flooding it.
const READS: usize = 32;

pub(super) struct NameExchanges {
    slots: Vec<Option<Exchange>>,
    free: Vec<usize>,
    by_id: BTreeMap<ExchangeId, usize>,
    /// Slots that the kernel reported on, or that have more to be read.
    ready: Vec<usize>,
    buffer: Box<[u8]>,
}

struct Exchange {
    id: ExchangeId,
    way: Way,
    /// In the list of slots to look at.
    ready: bool,
}

enum Way {
    Datagram(UdpExchange),
    Stream(Asking),
}

/// A question on a stream.
struct Asking {
    stream: Stream,
    connected: bool,
    /// The framed question, and how much of it has been written.
    question: Vec<u8>,
    written: usize,
    framer: Framer,
}

/// What looking at an exchange came to.
enum Step {
    /// Nothing more for now.
    Wait,
    /// There may be more.
    More,
    /// It has failed.
    Failed,
}

impl Default for NameExchanges {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            ready: Vec::new(),
            buffer: vec![0; ANSWER].into(),
        }
    }
}

impl NameExchanges {
    /// The kernel reports on a slot.
    pub(super) fn note(&mut self, slot: usize) {
        if let Some(Some(exchange)) = self.slots.get_mut(slot)
            && !std::mem::replace(&mut exchange.ready, true)
        {
            self.ready.push(slot);
        }
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn open(&self) -> usize {
        self.by_id.len()
    }

    fn remove(&mut self, id: ExchangeId) {
        if let Some(slot) = self.by_id.remove(&id) {
            self.slots[slot] = None;
            self.free.push(slot);
        }
    }
}

impl Driver {
    /// Carries out the name server's orders until there are none.
    pub(super) fn ask_name_servers(&mut self, now: Instant) {
        while let Some(op) = self.core.poll_name_op() {
            match op {
                UpstreamOp::Ask { exchange, server, carrier, message } => {
                    if let Err(error) = self.ask(exchange, server, carrier, &message) {
                        tracing::debug!(%error, %server, "asking a name server");
                        self.core.handle_name_failure(exchange, now);
                    }
                }
                UpstreamOp::Cancel { exchange } => self.names.remove(exchange),
            }
        }
    }

    fn ask(
        &mut self,
        id: ExchangeId,
        server: SocketAddr,
        carrier: Carrier,
        message: &[u8],
    ) -> io::Result<()> {
        // A name server on this host is not reached through another's interface.
        let near = server.ip().is_loopback();
        let bind_address = self.egress.bind_address(server.is_ipv6()).filter(|_| !near);
        let bind_interface = self.egress.bind_interface.clone().filter(|_| !near);
        let way = match carrier {
            Carrier::Udp => {
                let options =
                    OutboundOptions { bind_address, bind_interface, ..OutboundOptions::default() };
                let socket = UdpSocket::exchange(server, &options)?;
                socket.send(message)?;
                Way::Datagram(socket)
            }
            Carrier::Tcp => {
                let options = DialOptions { bind_address, bind_interface, hop_limit: None };
                let stream = portreeve_host::dial(server, &options)?;
                let question = frame(message).ok_or(io::ErrorKind::InvalidInput)?;
                let framer = Framer::new();
                Way::Stream(Asking { stream, connected: false, question, written: 0, framer })
            }
        };
        let names = &mut self.names;
        let slot = names.free.pop().unwrap_or(names.slots.len());
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = register(self.poll.registry(), way.raw_fd(), Token(NAMES + slot), both)
        {
            if slot < names.slots.len() {
                names.free.push(slot);
            }
            return Err(error);
        }
        let exchange = Some(Exchange { id, way, ready: false });
        if slot == names.slots.len() {
            names.slots.push(exchange);
        } else {
            names.slots[slot] = exchange;
        }
        names.by_id.insert(id, slot);
        Ok(())
    }

    /// Looks at every exchange that the kernel reported on.
    pub(super) fn take_name_answers(&mut self, now: Instant) {
        for slot in std::mem::take(&mut self.names.ready) {
            let Some(Some(exchange)) = self.names.slots.get_mut(slot) else { continue };
            exchange.ready = false;
            let id = exchange.id;
            for read in 0.. {
                if read == READS {
                    self.names.note(slot);
                    break;
                }
                let NameExchanges { slots, buffer, .. } = &mut self.names;
                // The core's answer to what it was told may have been to end the exchange.
                let Some(Some(exchange)) = slots
                    .get_mut(slot)
                    .filter(|slot| slot.as_ref().is_some_and(|exchange| exchange.id == id))
                else {
                    break;
                };
                let core = &mut self.core;
                let mut tell = |message: &[u8]| core.handle_name_response(id, message, now);
                let step = match &mut exchange.way {
                    Way::Datagram(socket) => receive(socket, buffer, &mut tell),
                    Way::Stream(asking) => asking.go_on(buffer, &mut tell),
                };
                match step {
                    Step::More => self.ask_name_servers(now),
                    Step::Wait => break,
                    Step::Failed => {
                        self.names.remove(id);
                        self.core.handle_name_failure(id, now);
                        break;
                    }
                }
            }
            self.ask_name_servers(now);
        }
    }
}

fn receive(socket: &UdpExchange, buffer: &mut [u8], tell: &mut dyn FnMut(&[u8])) -> Step {
    match socket.recv(buffer) {
        Ok(length) => {
            tell(&buffer[..length]);
            Step::More
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait,
        Err(_) => Step::Failed,
    }
}

impl Asking {
    fn go_on(&mut self, buffer: &mut [u8], tell: &mut dyn FnMut(&[u8])) -> Step {
        if !self.connected {
            match self.stream.finish_connect() {
                Ok(()) => self.connected = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait,
                Err(_) => return Step::Failed,
            }
        }
        while self.written < self.question.len() {
            match self.stream.write(&self.question[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait,
                Err(_) => return Step::Failed,
            }
        }
        match self.stream.read(buffer) {
            Ok(0) => Step::Failed,
            Ok(length) => {
                let mut rest = &buffer[..length];
                while !rest.is_empty() {
                    let (taken, message) = self.framer.feed(rest);
                    rest = &rest[taken..];
                    if let Some(message) = message {
                        tell(&message);
                    }
                }
                Step::More
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait,
            Err(_) => Step::Failed,
        }
    }
}

impl Way {
    fn raw_fd(&self) -> i32 {
        match self {
            Self::Datagram(socket) => socket.as_fd().as_raw_fd(),
            Self::Stream(asking) => asking.stream.as_fd().as_raw_fd(),
        }
    }
}
