//! One connection of the guest: a smoltcp socket and the application on it.
//!
//! Owns what an application does with its socket, and the two places where the released smoltcp
//! stops although something is in flight: a real guest would not, and a test must not hang on it.

use std::net::SocketAddr;

use portreeve_core::Instant;
use portreeve_wire::icmp::ErrorKind;
use portreeve_wire::packet::Protocol;
use portreeve_wire::tcp::{ControlSegment, TCP_HEADER_LEN, TcpHeader};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::IpListenEndpoint;

use super::port::Listener;
use super::tcp::Ends;
use crate::app::Peer;
use crate::content::StreamId;
use crate::packet::ip;

/// One connection, alive or over.
#[derive(Debug)]
pub struct Connection {
    /// Both ends, the guest's first.
    pub ends: Ends,
    /// Its application.
    pub peer: Peer,
    /// Whether the handshake was completed.
    pub established: bool,
    /// Whether the other end reset it.
    pub reset: bool,
    /// The ICMP error that ended the attempt to connect.
    pub error: Option<ErrorKind>,
    /// Whether the other end's FIN has arrived.
    pub fin: bool,
    /// Whether the guest reset it.
    pub aborted: bool,
    pub(super) sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// Segment size of the other end, when it was hidden from smoltcp.
    pub(super) segment: Option<u16>,
    pub(super) armed: Option<Instant>,
    /// Next sequence and acknowledgement number of what it sends.
    pub(super) last_sent: (u32, u32),
    /// Acknowledgement number and window of the last segment it got.
    pub(super) heard: (u32, u16),
    /// When it is to be got going again, should it still be stopped.
    pub(super) stopped_at: Option<Instant>,
}

impl Connection {
    /// A connection that waits for the SYN which made it.
    pub(super) fn listening(
        ends: Ends,
        listener: &Listener,
        stream: StreamId,
        segment: Option<u16>,
    ) -> Self {
        let mut socket = socket(listener);
        let (address, port) = (ends.0.ip().into(), ends.0.port());
        let listening = socket.listen(IpListenEndpoint { addr: Some(address), port });
        assert!(listening.is_ok(), "a fresh socket listens");
        Self::new(ends, socket, Peer::new(listener.app, stream), segment)
    }

    /// A connection that is being opened.
    pub(super) fn connecting(
        ends: Ends,
        settings: &Listener,
        stream: StreamId,
        interface: &mut Interface,
    ) -> Self {
        let mut socket = socket(settings);
        let connecting = socket.connect(interface.context(), ends.1, ends.0);
        assert!(connecting.is_ok(), "a fresh socket connects");
        Self::new(ends, socket, Peer::new(settings.app, stream), None)
    }

    fn new(ends: Ends, socket: Socket<'static>, peer: Peer, segment: Option<u16>) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            ends,
            peer,
            established: false,
            reset: false,
            error: None,
            fin: false,
            aborted: false,
            sockets,
            handle,
            segment,
            armed: None,
            last_sent: (0, 0),
            heard: (0, 0),
            stopped_at: None,
        }
    }

    /// Whether the attempt to connect was answered with a reset.
    pub const fn refused(&self) -> bool {
        self.reset && !self.established
    }

    /// Where its socket stands.
    pub fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// Bytes of its own stream that the other end has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sockets.get::<Socket<'_>>(self.handle).send_queue()
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(super) fn readable(&self) -> bool {
        self.sockets.get::<Socket<'_>>(self.handle).recv_queue() != 0
    }

    /// Whether its socket must be left alone: at the end of TIME-WAIT smoltcp 0.14 throws away what
    /// its application has not read, which no kernel does.
    pub(super) fn keeps_unread(&self) -> bool {
        self.state() == State::TimeWait && self.readable()
    }

    /// Whether a segment says no more than that the FIN has not arrived. The third of these makes
    /// smoltcp 0.14 stop its timer, and the FIN would never be repeated.
    pub(super) fn awaits_only_fin_ack(&self, header: &TcpHeader, length: usize) -> bool {
        let finishing = matches!(self.state(), State::FinWait1 | State::Closing | State::LastAck);
        let bare = length == header.header_len && !header.syn && !header.fin && !header.rst;
        let (sequence, _) = self.last_sent;
        finishing
            && bare
            && self.unacknowledged() == 0
            && header.acknowledgement.wrapping_add(1) == sequence
    }

    pub(super) fn is_over(&self) -> bool {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        socket.state() == State::Closed && socket.remote_endpoint().is_none()
    }

    /// One turn of the application.
    pub(super) fn run(&mut self, now: Instant) {
        let Self { peer, sockets, handle, fin, .. } = self;
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        loop {
            let appetite = peer.appetite(now);
            if appetite == 0 || socket.recv_queue() == 0 {
                break;
            }
            let _ = socket.recv(|bytes| {
                let length = bytes.len().min(appetite);
                peer.read(&bytes[..length], now);
                (length, ())
            });
        }
        peer.eof |= *fin && socket.recv_queue() == 0;
        while peer.to_write() != 0 && socket.can_send() {
            let _ = socket.send(|space| (peer.write(space), ()));
        }
        // In LAST-ACK smoltcp 0.14 hears of no window but one that comes with an acknowledgement.
        let open = match socket.state() {
            State::Established => true,
            State::CloseWait => socket.send_queue() == 0,
            State::Closed
            | State::Listen
            | State::SynSent
            | State::SynReceived
            | State::FinWait1
            | State::FinWait2
            | State::Closing
            | State::LastAck
            | State::TimeWait => false,
        };
        if open && peer.wants_finish() {
            socket.close();
        }
    }

    /// Whether it waits for an acknowledgement and `timer`, its socket's, does not run.
    pub(super) fn is_stopped(&self, timer: Option<Instant>) -> bool {
        let finishing = matches!(self.state(), State::FinWait1 | State::Closing | State::LastAck);
        timer.is_none() && self.established && (finishing || self.unacknowledged() != 0)
    }

    /// What gets a stopped socket going: a packet for the link, or one for the socket that is to
    /// be taken three times.
    pub(super) fn revival(&self) -> Revival {
        let (guest, other) = self.ends;
        let (sequence, acknowledgement) = self.last_sent;
        if self.unacknowledged() == 0 {
            return Revival::Send(packet(
                guest,
                other,
                &ControlSegment {
                    source_port: guest.port(),
                    destination_port: other.port(),
                    sequence: sequence.wrapping_sub(1),
                    acknowledgement: Some(acknowledgement),
                    reset: false,
                    fin: true,
                    window: 0xffff,
                },
            ));
        }
        Revival::Hear(packet(
            other,
            guest,
            &ControlSegment {
                source_port: other.port(),
                destination_port: guest.port(),
                sequence: acknowledgement,
                acknowledgement: Some(self.heard.0),
                reset: false,
                fin: false,
                window: self.heard.1,
            },
        ))
    }
}

/// What gets a stopped socket going.
pub(super) enum Revival {
    /// The FIN once more.
    Send(Vec<u8>),
    /// A duplicate acknowledgement.
    Hear(Vec<u8>),
}

fn socket(settings: &Listener) -> Socket<'static> {
    let buffer = |length| SocketBuffer::new(vec![0; length]);
    Socket::new(buffer(settings.receive_buffer), buffer(settings.send_buffer))
}

pub(super) fn packet(from: SocketAddr, to: SocketAddr, segment: &ControlSegment) -> Vec<u8> {
    let mut upper = [0; TCP_HEADER_LEN];
    segment.emit(from.ip(), to.ip(), &mut upper);
    ip(from.ip(), to.ip(), Protocol::TCP, &upper, None)
}
