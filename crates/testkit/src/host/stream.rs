//! A stream of the host: the shell's socket, and whoever is behind it — a client of a published
//! port, or a server that the guest dialled.
//!
//! Owns both buffers of the socket pair and how either end of it was closed. The plan is the
//! application's (`app.rs`); the shell's reads and writes are here, because the kernel would do
//! them. Which side connected makes no difference to any of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{FlowId, Instant, RefuseReason};
use portreeve_types::PublishId;

use crate::app::{App, Peer};
use crate::content::StreamId;
use crate::guest::tcp::Ends;

/// How a client is made.
#[derive(Clone, Copy, Debug)]
pub struct ClientSpec {
    /// The published port.
    pub publish: PublishId,
    /// Its address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// The address it uses; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// What the kernel holds of what it wrote.
    pub send_buffer: usize,
    /// What the kernel holds of what it has not read.
    pub receive_buffer: usize,
    /// What it does.
    pub app: App,
}

/// How a server that the guest may dial is made.
#[derive(Clone, Copy, Debug)]
pub struct ServerSpec {
    /// How long the connection takes.
    pub delay: Duration,
    /// What the kernel holds of what it wrote.
    pub send_buffer: usize,
    /// What the kernel holds of what it has not read.
    pub receive_buffer: usize,
    /// What it does.
    pub app: App,
}

impl ServerSpec {
    /// A server that answers at once, with buffers of 64 KiB.
    pub const fn new(app: App) -> Self {
        Self { delay: Duration::ZERO, send_buffer: 65_536, receive_buffer: 65_536, app }
    }
}

/// Who is behind the socket.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// A client of this published port.
    Client(PublishId),
    /// The server at this address.
    Server(SocketAddr),
}

/// How a stream ended, as the application behind it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has not.
    Open,
    /// In order.
    Eof,
    /// By reset.
    Reset,
}

/// What the application itself did to its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    Open,
    /// Closed for reading too: what still arrives is answered by a reset.
    Closed,
    Reset,
}

/// A stream and the application behind it.
#[derive(Debug)]
pub struct HostStream {
    /// Its application.
    pub peer: Peer,
    /// Who it is.
    pub role: Role,
    /// The flow that carries it, as long as the shell's socket is open.
    pub flow: Option<FlowId>,
    /// Why it was turned away at once.
    pub refused: Option<RefuseReason>,
    /// The ends of its connection as the guest sees them, once it is open.
    pub ends: Option<Ends>,
    buffers: Buffers,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    fin: bool,
    /// The socket was changed from outside the application.
    changed: bool,
    eof_told: bool,
    reset_told: bool,
    local: Local,
    /// How the shell left its socket.
    shell: End,
}

/// Most bytes that the kernel holds each way.
#[derive(Clone, Copy, Debug)]
struct Buffers {
    send: usize,
    receive: usize,
}

/// What a turn of the shell on a socket found out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) eof: bool,
    pub(super) reset: bool,
}

impl HostStream {
    pub(super) fn client(spec: &ClientSpec, stream: StreamId) -> Self {
        let buffers = Buffers { send: spec.send_buffer, receive: spec.receive_buffer };
        Self::new(Role::Client(spec.publish), buffers, Peer::new(spec.app, stream))
    }

    pub(super) fn server(
        address: SocketAddr,
        spec: &ServerSpec,
        stream: StreamId,
        (flow, ends): (FlowId, Option<Ends>),
    ) -> Self {
        let buffers = Buffers { send: spec.send_buffer, receive: spec.receive_buffer };
        let peer = Peer::new(spec.app, stream);
        let new = Self::new(Role::Server(address), buffers, peer);
        Self { flow: Some(flow), ends, ..new }
    }

    const fn new(role: Role, buffers: Buffers, peer: Peer) -> Self {
        Self {
            peer,
            role,
            flow: None,
            refused: None,
            ends: None,
            buffers,
            up: VecDeque::new(),
            down: VecDeque::new(),
            fin: false,
            changed: false,
            eof_told: false,
            reset_told: false,
            local: Local::Open,
            shell: End::Open,
        }
    }

    /// The published port of a client.
    ///
    /// # Panics
    /// When it is a server.
    pub fn publish(&self) -> PublishId {
        match self.role {
            Role::Client(publish) => publish,
            Role::Server(address) => panic!("{address} was dialled"),
        }
    }

    /// What the application has seen of the end of its stream.
    pub fn end(&self) -> End {
        if self.local == Local::Open && self.down.is_empty() { self.shell } else { End::Open }
    }

    /// Whether nothing more happens here.
    pub fn is_done(&self) -> bool {
        self.flow.is_none() && (self.local != Local::Open || self.down.is_empty())
    }

    /// Bytes the shell has not read yet.
    pub fn unread(&self) -> usize {
        self.up.len()
    }

    /// Bytes the application has not read yet.
    pub fn waiting(&self) -> usize {
        self.down.len()
    }

    /// Throws away what has arrived and was not read.
    pub(super) fn skip(&mut self) {
        self.changed |= !self.down.is_empty();
        self.down.clear();
    }

    /// Shuts down for writing.
    pub(super) fn shutdown(&mut self) {
        self.fin = true;
        self.changed = true;
    }

    /// Goes away with a reset.
    pub(super) fn reset(&mut self) {
        self.local = Local::Reset;
        self.down.clear();
    }

    /// Closes its socket in both directions.
    pub(super) fn close(&mut self) {
        // A close with bytes unread is a reset. RFC 2525 §2.17.
        if self.down.is_empty() {
            self.fin = true;
            self.changed = true;
            self.local = Local::Closed;
        } else {
            self.reset();
        }
    }

    /// One turn of the application; whether anything changed that the shell could notice.
    pub(super) fn run(&mut self, now: Instant) -> bool {
        let mut changed = std::mem::take(&mut self.changed);
        if self.local != Local::Open {
            return changed;
        }
        if self.shell == End::Reset {
            self.peer.stop_writing();
        }
        loop {
            let length = self.peer.appetite(now).min(self.down.as_slices().0.len());
            if length == 0 {
                break;
            }
            self.peer.read(&self.down.as_slices().0[..length], now);
            self.down.drain(..length);
            changed = true;
        }
        self.peer.eof |= self.shell == End::Eof && self.down.is_empty();
        if self.fin || self.shell == End::Reset {
            return changed;
        }
        while self.peer.to_write() != 0 && self.up.len() < self.buffers.send {
            let mut space = [0; 4096];
            let room = (self.buffers.send - self.up.len()).min(space.len());
            let length = self.peer.write(&mut space[..room]);
            self.up.extend(&space[..length]);
            changed = true;
        }
        if self.peer.wants_finish() {
            self.fin = true;
            changed = true;
        }
        changed
    }

    /// When the application reads again.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let reads = self.local == Local::Open && !self.down.is_empty();
        self.peer.next_read(now).filter(|_| reads)
    }

    /// The shell writes to its socket; returns how many bytes the kernel took.
    pub(super) fn shell_write(&mut self, bytes: &[u8], found: &mut Found) -> usize {
        assert_eq!(self.shell, End::Open, "a write after the stream was ended");
        match self.local {
            Local::Open => {
                let room = self.buffers.receive.saturating_sub(self.down.len());
                let length = bytes.len().min(room);
                self.down.extend(&bytes[..length]);
                length
            }
            Local::Closed => {
                // The kernel takes them, and the other end answers with a reset.
                self.local = Local::Reset;
                bytes.len()
            }
            Local::Reset => {
                found.reset = true;
                0
            }
        }
    }

    /// The shell reads from its socket into `space`.
    pub(super) fn shell_read(&mut self, space: &mut [u8], found: &mut Found) -> usize {
        let length = space.len().min(self.up.len());
        for (byte, read) in space.iter_mut().zip(self.up.drain(..length)) {
            *byte = read;
        }
        if length == 0 {
            if self.local == Local::Reset {
                found.reset = true;
            } else {
                found.eof |= self.fin;
            }
        }
        length
    }

    /// Whether the shell's poller would report an error on the socket now.
    pub(super) fn has_error(&self) -> bool {
        self.local == Local::Reset
    }

    /// Whether this end of stream is told for the first time.
    pub(super) fn tell_eof(&mut self) -> bool {
        !std::mem::replace(&mut self.eof_told, true)
    }

    /// Whether this reset is told for the first time.
    pub(super) fn tell_reset(&mut self) -> bool {
        !std::mem::replace(&mut self.reset_told, true)
    }

    /// The shell shuts its socket down for writing.
    pub(super) fn shell_shutdown(&mut self) {
        assert_eq!(self.shell, End::Open, "a second end of stream");
        self.shell = End::Eof;
    }

    /// The shell closes its socket.
    pub(super) fn shell_close(&mut self, reset: bool) {
        assert!(self.flow.take().is_some(), "a socket is closed once");
        // A close with bytes unread is a reset. RFC 2525 §2.17.
        self.shell = if reset || !self.up.is_empty() { End::Reset } else { End::Eof };
    }

    /// The listener turned the client away.
    pub(super) fn turn_away(&mut self, reason: RefuseReason) {
        self.refused = Some(reason);
        self.shell = End::Reset;
    }
}
