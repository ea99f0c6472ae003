//! TCP flows, both those a host client opened and (through the same code) those a guest opens.
//!
//! Theory of operation. The guest's side of a flow is one smoltcp socket (`stack.rs`), the host's
//! side is one socket of the shell. `handshake.rs` brings the two together for a client of the
//! host, `dial.rs` for a connection of the guest's own, `relay.rs` moves bytes
//! and segments, `close.rs` feeds what happened into the table of `../state.rs` and carries out
//! what it says. `window.rs` keeps the guest within its window, `sequence.rs` chooses initial
//! sequence numbers, `time_wait.rs` is what remains afterwards.
//!
//! A flow costs its record here, about a kilobyte with the socket, and ring memory only while
//! bytes are in it.

mod close;
mod dial;
mod duplicate;
mod handshake;
mod pending;
mod relay;
mod revive;
mod segment;
mod sequence;
pub(crate) mod stack;
pub(crate) mod time_wait;
mod window;

pub(crate) use handshake::Attempts;
pub(crate) use pending::Dials;

use portreeve_wire::tcp::TcpHeader;

use crate::flow::state::Phase;
use crate::gateway::names::NameStream;
use dial::Held;
use duplicate::Heard;
use portreeve_types::Instant;
use stack::Endpoint;
use window::WindowGuard;

/// The TCP part of a flow's record.
pub(crate) struct Tcp {
    pub(crate) phase: Phase,
    /// The guest's side; `None` while its SYN is held and once its stack has failed.
    pub(crate) endpoint: Option<Endpoint>,
    /// The guest's SYN, until the destination has answered.
    pub(crate) held: Option<Held>,
    /// The host's side, where that is the gateway's name server and not a socket.
    pub(crate) names: Option<Box<NameStream>>,
    pub(crate) guard: WindowGuard,
    /// Payload bytes per segment that the guest accepts: its own maximum segment size within the
    /// link's MTU. Super-segments are cut to this by the link.
    pub(crate) guest_segment: u16,
    /// When the present phase must have ended.
    pub(crate) phase_deadline: Option<Instant>,
    /// When the guest was last heard on this flow, or since when it has owed an answer: an idle
    /// guest owes none, however long it has been silent.
    pub(crate) last_heard: Instant,
    /// When a byte last moved in either direction.
    pub(crate) last_moved: Instant,
    /// Since when the guest's socket has been in TIME-WAIT.
    pub(crate) time_wait_since: Option<Instant>,
    /// The guest's FIN has arrived.
    pub(crate) fin_seen: bool,
    /// A reset from the guest ended the connection.
    pub(crate) reset_seen: bool,
    /// Bytes that go to the guest before the client's own: a PROXY header.
    pub(crate) preamble: Box<[u8]>,
    /// Which guest addresses to dial, and what became of them.
    pub(crate) attempts: Attempts,
    /// When our SYN, alone or with an acknowledgement, first left for the guest.
    pub(crate) syn_sent: Option<Instant>,
    /// Our sequence and acknowledgement numbers behind the last segment sent; a repeated segment
    /// does not move the former back.
    pub(crate) last_sent: (u32, u32),
    /// Our stream to the guest is to be ended.
    pub(crate) finish_waits: bool,
    /// What the guest's last segment said of our stream.
    pub(crate) heard: Heard,
}

impl Tcp {
    /// A flow without a socket towards the guest.
    pub(crate) fn new(phase: Phase, now: Instant) -> Self {
        Self {
            phase,
            endpoint: None,
            held: None,
            names: None,
            guard: WindowGuard::default(),
            guest_segment: DEFAULT_SEGMENT,
            phase_deadline: None,
            last_heard: now,
            last_moved: now,
            time_wait_since: None,
            fin_seen: false,
            reset_seen: false,
            preamble: Box::default(),
            attempts: Attempts::default(),
            syn_sent: None,
            last_sent: (0, 0),
            finish_waits: false,
            heard: Heard::default(),
        }
    }

    /// A segment with so many bytes of data was sent.
    pub(crate) fn on_sent(&mut self, header: &TcpHeader, length: usize, now: Instant) {
        self.guard.on_sent(header);
        if header.syn {
            self.syn_sent.get_or_insert(now);
        }
        if header.rst {
            return;
        }
        // The low 32 bits are meant: sequence numbers wrap.
        let advance = length as u32 + u32::from(header.syn) + u32::from(header.fin);
        let end = header.sequence.wrapping_add(advance);
        let (before, _) = self.last_sent;
        let onward = header.syn || end.wrapping_sub(before) < 1 << 31;
        self.last_sent = (if onward { end } else { before }, header.acknowledgement);
    }
}

/// What a guest accepts that names no segment size. RFC 9293 §3.7.1.
const DEFAULT_SEGMENT: u16 = 536;
