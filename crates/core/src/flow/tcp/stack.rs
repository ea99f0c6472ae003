//! smoltcp as the TCP of one flow: the only file that knows its sockets.
//!
//! Owns the sharing rule: one `Interface` for all flows, one `SocketSet` of one socket per flow,
//! so that a packet costs the same at one flow and at a hundred thousand. Every call into smoltcp
//! is guarded: a panic ends that flow and no other. Demultiplexing, windows beyond the edge, MAC
//! addresses and checksums are dealt with before and behind it.

mod device;

use std::panic::{AssertUnwindSafe, catch_unwind};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpEndpoint, IpListenEndpoint};

use portreeve_wire::FlowKey;

use super::sequence::seed_for;
use crate::limits::{POOLED_STACKS, RING_IDLE, TCP_CLOCK_RATE};
use crate::rings::{LeaseId, Ring, RingSource};
use device::FlowDevice;
use portreeve_types::Instant;

/// smoltcp panicked within one flow, which must now end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackFault;

/// What all flows share.
pub(crate) struct TcpStack {
    interface: Interface,
    rings: Box<dyn RingSource>,
    ring_sizes: (usize, usize),
    /// Sockets for the next flows, each with the time since when it has waited.
    pool: Vec<(Instant, Endpoint)>,
    /// When the memory of the first of them may be given up.
    release_at: Option<Instant>,
    /// Where an immediate answer is put: a reset or an acknowledgement, never data.
    reply: Box<[u8]>,
}

/// One socket with its rings.
pub(crate) struct Endpoint {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    lease: LeaseId,
    /// Whether the rings have held anything since their memory was last given back.
    touched: bool,
    /// Sequence number with which the SYN will be answered that the socket listens for.
    initial_sequence: Option<u32>,
}

/// Longest answer smoltcp gives on the spot: IPv6 and TCP headers with all options.
const REPLY_LEN: usize = 128;

impl TcpStack {
    pub(crate) fn new(rings: Box<dyn RingSource>, to_guest: usize, from_guest: usize) -> Self {
        Self {
            interface: interface(0),
            rings,
            ring_sizes: (to_guest, from_guest),
            pool: Vec::new(),
            release_at: None,
            reply: vec![0; REPLY_LEN].into(),
        }
    }

    /// Starts a handshake towards the guest; `None` when there is no memory for rings.
    pub(crate) fn connect(&mut self, key: &FlowKey, initial_sequence: u32) -> Option<Endpoint> {
        let mut endpoint = self.take()?;
        let mut dialer = interface(seed_for(initial_sequence));
        let (guest, local) = (IpEndpoint::from(key.guest), IpListenEndpoint::from(key.remote));
        endpoint.socket_mut().connect(dialer.context(), guest, local).ok()?;
        Some(endpoint)
    }

    /// Prepares for the guest's SYN, to be handed over next, which will be answered with
    /// `initial_sequence`; `None` when there is no memory for rings.
    pub(crate) fn listen(&mut self, key: &FlowKey, initial_sequence: u32) -> Option<Endpoint> {
        let mut endpoint = self.take()?;
        endpoint.socket_mut().listen(IpListenEndpoint::from(key.remote)).ok()?;
        endpoint.initial_sequence = Some(initial_sequence);
        Some(endpoint)
    }

    /// Hands one packet from the guest to the flow's socket. Returns the answer it made at once.
    pub(crate) fn ingest(
        &mut self,
        endpoint: &mut Endpoint,
        packet: &[u8],
        now: Instant,
    ) -> Result<Option<&[u8]>, StackFault> {
        let Self { interface, reply, .. } = self;
        let mut device = FlowDevice { receive: Some(packet), transmit: Some(reply), sent: 0 };
        // A socket that listens draws its sequence number when the SYN comes.
        let mut listener = endpoint.initial_sequence.take().map(|n| self::interface(seed_for(n)));
        let interface = listener.as_mut().unwrap_or(interface);
        let result = catch_unwind(AssertUnwindSafe(|| {
            interface.poll_ingress_single(stack_time(now), &mut device, &mut endpoint.sockets)
        }));
        let sent = device.sent;
        endpoint.touched = true;
        match result {
            Ok(_) => Ok((sent != 0).then(|| &self.reply[..sent])),
            Err(_) => Err(StackFault),
        }
    }

    /// Writes the next packet for the guest into `out` and returns its length; 0 when there is
    /// none.
    pub(crate) fn emit(
        &mut self,
        endpoint: &mut Endpoint,
        out: &mut [u8],
        now: Instant,
    ) -> Result<usize, StackFault> {
        let mut device = FlowDevice { receive: None, transmit: Some(out), sent: 0 };
        catch_unwind(AssertUnwindSafe(|| {
            self.interface.poll_egress(stack_time(now), &mut device, &mut endpoint.sockets)
        }))
        .map_err(|_| StackFault)?;
        Ok(device.sent)
    }

    /// When the socket next has something to send by itself.
    pub(crate) fn poll_at(&mut self, endpoint: &Endpoint, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(stack_time(now), &endpoint.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Instant::from_micros(micros.div_ceil(TCP_CLOCK_RATE)))
    }

    /// Whether the socket would send something at once.
    pub(crate) fn has_work(&mut self, endpoint: &Endpoint, now: Instant) -> bool {
        self.poll_at(endpoint, now).is_some_and(|at| at <= now)
    }

    /// Gives the memory behind empty rings back to the system.
    pub(crate) fn release_idle(&mut self, endpoint: &mut Endpoint) {
        if endpoint.holds_memory() {
            self.rings.idle(endpoint.lease);
            endpoint.touched = false;
        }
    }

    /// Takes back the socket of a flow that is over.
    pub(crate) fn recycle(&mut self, mut endpoint: Endpoint, now: Instant) {
        if self.pool.len() < POOLED_STACKS {
            endpoint.socket_mut().abort();
            endpoint.initial_sequence = None;
            if endpoint.touched {
                self.release_at.get_or_insert(now + RING_IDLE);
            }
            self.pool.push((now, endpoint));
        } else {
            self.discard(endpoint);
        }
    }

    /// Gives the memory behind pooled rings that nobody has needed for a while back to the system.
    pub(crate) fn release_pooled(&mut self, now: Instant) {
        if self.release_at.is_none_or(|at| now < at) {
            return;
        }
        self.release_at = None;
        for (since, endpoint) in self.pool.iter_mut().filter(|(_, e)| e.touched) {
            let due = *since + RING_IDLE;
            if due <= now {
                self.rings.idle(endpoint.lease);
                endpoint.touched = false;
            } else {
                self.release_at = Some(self.release_at.map_or(due, |at| at.min(due)));
            }
        }
    }

    /// When [`TcpStack::release_pooled`] next has something to do.
    pub(crate) fn release_timeout(&self) -> Option<Instant> {
        self.release_at
    }

    /// Gives up the socket of a flow whose stack failed: it must not be used again.
    pub(crate) fn discard(&mut self, endpoint: Endpoint) {
        let lease = endpoint.lease;
        drop(endpoint);
        self.rings.give_back(lease);
    }

    fn take(&mut self) -> Option<Endpoint> {
        if let Some((_, endpoint)) = self.pool.pop() {
            return Some(endpoint);
        }
        let (to_guest, from_guest) = self.ring_sizes;
        let lease = self.rings.lease(to_guest, from_guest)?;
        let mut socket = Socket::new(buffer(lease.from_guest), buffer(lease.to_guest));
        // A lone super-segment must be acknowledged at once, and small writes must leave at once:
        // both ends of this link are on one machine. Nothing is lost on it either, so there is
        // nothing for congestion control to learn.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let lease = lease.id;
        Some(Endpoint { sockets, handle, lease, touched: false, initial_sequence: None })
    }
}

/// What the socket says of the connection with the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndpointStatus {
    /// The handshake is complete (and may since have ended).
    pub(crate) established: bool,
    /// The guest's FIN has arrived.
    pub(crate) fin_received: bool,
    /// Both streams ended in order: the socket is in TIME-WAIT.
    pub(crate) time_wait: bool,
    /// The socket knows no connection any more.
    pub(crate) closed: bool,
    /// Bytes for the guest not yet acknowledged.
    pub(crate) to_guest: usize,
    /// The guest has bytes or our FIN to acknowledge.
    pub(crate) owed: bool,
    /// The guest has yet to answer our SYN-ACK.
    pub(crate) handshaking: bool,
    /// Bytes from the guest not yet taken.
    pub(crate) from_guest: usize,
}

impl EndpointStatus {
    /// Whether the guest has to say something, or counts as gone after a while.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.owed || self.handshaking
    }
}

impl Endpoint {
    pub(crate) fn status(&self) -> EndpointStatus {
        let socket = self.socket();
        let state = socket.state();
        // smoltcp goes back to listening when a reset ends a handshake that the guest began.
        let closed = matches!(state, State::Closed | State::Listen);
        EndpointStatus {
            established: !matches!(state, State::SynSent | State::SynReceived) && !closed,
            fin_received: matches!(
                state,
                State::CloseWait | State::Closing | State::LastAck | State::TimeWait
            ),
            time_wait: state == State::TimeWait,
            closed,
            to_guest: socket.send_queue(),
            owed: !closed
                && (socket.send_queue() != 0
                    || matches!(state, State::FinWait1 | State::Closing | State::LastAck)),
            handshaking: state == State::SynReceived,
            from_guest: socket.recv_queue(),
        }
    }

    /// Offers the longest stretch of bytes from the guest; `take` says how many it took.
    pub(crate) fn receive(&mut self, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let taken = self.socket_mut().recv(|bytes| {
            let taken = if bytes.is_empty() { 0 } else { take(bytes).min(bytes.len()) };
            (taken, taken)
        });
        taken.unwrap_or(0)
    }

    /// Offers the longest stretch of free space towards the guest; `fill` says how much it filled.
    pub(crate) fn send(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        self.touched = true;
        let filled = self.socket_mut().send(|space| {
            let filled = if space.is_empty() { 0 } else { fill(space).min(space.len()) };
            (filled, filled)
        });
        filled.unwrap_or(0)
    }

    /// Free space towards the guest; zero when the stream to it is not open.
    pub(crate) fn room(&self) -> usize {
        let socket = self.socket();
        if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 }
    }

    /// Whether the guest has yet to send a SYN: the answer to ours, or the one to be answered.
    pub(crate) fn awaits_syn(&self) -> bool {
        matches!(self.socket().state(), State::SynSent | State::Listen)
    }

    /// Ends the stream to the guest behind what is in the ring.
    pub(crate) fn finish(&mut self) {
        self.socket_mut().close();
    }

    /// Resets the connection with the guest.
    pub(crate) fn abort(&mut self) {
        self.socket_mut().abort();
    }

    /// Whether the rings hold memory that [`TcpStack::release_idle`] would give back.
    pub(crate) fn holds_memory(&self) -> bool {
        let socket = self.socket();
        self.touched && socket.send_queue() == 0 && socket.recv_queue() == 0
    }

    /// Whether the socket is closed but has not yet told the guest so.
    pub(crate) fn has_reset_to_send(&self) -> bool {
        let socket = self.socket();
        socket.state() == State::Closed && socket.remote_endpoint().is_some()
    }

    /// Size of the ring for bytes from the guest.
    pub(crate) fn receive_capacity(&self) -> usize {
        self.socket().recv_capacity()
    }

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

fn buffer(ring: Ring) -> SocketBuffer<'static> {
    match ring {
        Ring::Owned(memory) => SocketBuffer::new(memory),
        Ring::Mapped(memory) => SocketBuffer::new(memory),
    }
}

fn stack_time(now: Instant) -> StackInstant {
    let micros = now.as_micros().saturating_mul(TCP_CLOCK_RATE);
    StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

fn interface(random_seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = random_seed;
    let mut device = FlowDevice { receive: None, transmit: None, sent: 0 };
    let mut interface = Interface::new(config, &mut device, StackInstant::ZERO);
    // Which addresses are ours is the flow table's business, not smoltcp's.
    interface.set_any_ip(true);
    interface
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rings::HeapRings;
    use portreeve_wire::tcp::TcpHeader;

    #[test]
    fn a_dial_uses_exactly_the_sequence_number_asked_for() {
        let key = FlowKey::tcp(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], 4000).into());
        for wanted in [0, 1, 0xdead_beef, u32::MAX, 0x8000_0000, 77] {
            let mut stack = TcpStack::new(Box::new(HeapRings::default()), 4096, 4096);
            let mut endpoint = stack.connect(&key, wanted).unwrap();
            let mut out = [0; 128];
            let length = stack.emit(&mut endpoint, &mut out, Instant::ZERO).unwrap();
            let syn = TcpHeader::parse(&out[20..length]).unwrap();
            assert!(syn.syn && !syn.ack);
            assert_eq!(syn.sequence, wanted);
        }
    }

    #[test]
    fn a_held_syn_is_answered_with_exactly_the_sequence_number_asked_for() {
        let key = FlowKey::tcp(([10, 0, 0, 2], 4000).into(), ([192, 0, 2, 1], 80).into());
        for wanted in [0, 1, 0xdead_beef, u32::MAX, 0x8000_0000, 77] {
            let mut stack = TcpStack::new(Box::new(HeapRings::default()), 4096, 4096);
            let mut guest = stack.connect(&FlowKey::tcp(key.remote, key.guest), 5).unwrap();
            let (mut syn, mut out) = ([0; 128], [0; 128]);
            let length = stack.emit(&mut guest, &mut syn, Instant::ZERO).unwrap();
            let mut endpoint = stack.listen(&key, wanted).unwrap();
            assert!(endpoint.awaits_syn());
            stack.ingest(&mut endpoint, &syn[..length], Instant::ZERO).unwrap();
            assert!(!endpoint.awaits_syn());
            let length = stack.emit(&mut endpoint, &mut out, Instant::ZERO).unwrap();
            let answer = TcpHeader::parse(&out[20..length]).unwrap();
            assert!(answer.syn && answer.ack);
            assert_eq!((answer.sequence, answer.acknowledgement), (wanted, 6));
        }
    }

    #[test]
    fn a_recycled_socket_dials_afresh() {
        let key = FlowKey::tcp(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], 4000).into());
        let mut stack = TcpStack::new(Box::new(HeapRings::default()), 4096, 4096);
        let endpoint = stack.connect(&key, 5).unwrap();
        stack.recycle(endpoint, Instant::ZERO);
        let mut endpoint = stack.connect(&key, 9).unwrap();
        let mut out = [0; 128];
        let length = stack.emit(&mut endpoint, &mut out, Instant::ZERO).unwrap();
        assert_eq!(TcpHeader::parse(&out[20..length]).unwrap().sequence, 9);
        assert_eq!(stack.emit(&mut endpoint, &mut out, Instant::ZERO), Ok(0));
        let retry = stack.poll_at(&endpoint, Instant::ZERO).unwrap();
        assert_eq!(retry, Instant::from_micros(100_000), "a second, ten times as fast");
    }
}
