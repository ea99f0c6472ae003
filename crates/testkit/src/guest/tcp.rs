//! The guest's TCP: smoltcp sockets, one set for each connection, and the ports they listen on.
//!
//! Owns the connections and their applications. Demultiplexing is by key, so that thousands of
//! connections stay cheap to simulate; everything that TCP itself says is smoltcp's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::Instant;
use portreeve_wire::packet::IpPacket;
use portreeve_wire::tcp::{self, ControlSegment, TcpHeader};
use smoltcp::iface::{Config, Interface};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::HardwareAddress;

use super::connection::{self, Connection, Revival};
use super::device::{GuestDevice, stack_time};
use super::nic::{self, Outgoing};
use super::port::{Listener, Port};
use crate::app::{Peer, Reading};
use crate::content::StreamId;

/// Guest and other end of a connection.
pub type Ends = (SocketAddr, SocketAddr);

/// All TCP of a guest.
pub struct GuestTcp {
    /// What each port does, by family (IPv6: true) and number. Others refuse.
    pub ports: BTreeMap<(bool, u16), Port>,
    /// Connections that are over, oldest first.
    pub ended: Vec<Connection>,
    pub(super) interface: Interface,
    pub(super) super_segments: bool,
    mtu: usize,
    pub(super) connections: BTreeMap<Ends, Connection>,
    pub(super) dirty: BTreeSet<Ends>,
    pub(super) timers: BTreeSet<(Instant, Ends)>,
    pub(super) delayed: BTreeMap<(Instant, u64), Vec<u8>>,
    /// Whose SYN waits: a repeated one waits only once.
    pub(super) waiting: BTreeSet<Ends>,
    pub(super) streams: u64,
}

/// Names of guests' streams start here; those of clients below.
pub const GUEST_STREAMS: u64 = 1 << 32;

impl GuestTcp {
    pub(super) fn new(mtu: usize, super_segments: bool, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut device = GuestDevice::new(if super_segments { 65_535 } else { mtu });
        let mut interface = Interface::new(config, &mut device, StackInstant::ZERO);
        interface.set_any_ip(true);
        Self {
            ports: BTreeMap::new(),
            ended: Vec::new(),
            interface,
            super_segments,
            mtu,
            connections: BTreeMap::new(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            delayed: BTreeMap::new(),
            waiting: BTreeSet::new(),
            streams: 0,
        }
    }

    /// Live connections.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// Number of live connections, those in TIME-WAIT not counted.
    pub fn live(&self) -> usize {
        self.connections.values().filter(|c| c.state() != State::TimeWait).count()
    }

    /// The latest connection with these ends, alive or over.
    pub fn find(&self, ends: Ends) -> Option<&Connection> {
        self.connections
            .get(&ends)
            .or_else(|| self.ended.iter().rev().find(|connection| connection.ends == ends))
    }

    /// The latest connection with these ends that was established.
    pub fn opened(&self, ends: Ends) -> Option<&Connection> {
        let own = |c: &&Connection| c.ends == ends && c.established;
        self.connections.get(&ends).filter(own).or_else(|| self.ended.iter().rev().find(own))
    }

    /// The latest connection that reads or has read from `stream`.
    pub fn reading(&self, stream: StreamId) -> Option<&Connection> {
        let reads = |connection: &&Connection| connection.peer.check.stream() == Some(stream);
        self.connections.values().find(reads).or_else(|| self.ended.iter().rev().find(reads))
    }

    /// The latest connection that writes or has written `stream`.
    pub fn writing(&self, stream: StreamId) -> Option<&Connection> {
        let writes = |connection: &&Connection| connection.peer.stream == stream;
        self.connections.values().find(writes).or_else(|| self.ended.iter().rev().find(writes))
    }

    /// The application of a live connection, to change its plan.
    pub fn peer_mut(&mut self, ends: Ends) -> Option<&mut Peer> {
        self.dirty.insert(ends);
        self.connections.get_mut(&ends).map(|connection| &mut connection.peer)
    }

    /// The applications of all live connections.
    pub fn peers_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.dirty.extend(self.connections.keys());
        self.connections.values_mut().map(|connection| &mut connection.peer)
    }

    /// Ends of the live connections.
    pub fn ends(&self) -> Vec<Ends> {
        self.connections.keys().copied().collect()
    }

    /// A packet that arrived whole. Answers go to `out`.
    pub(super) fn receive(
        &mut self,
        mut packet: Vec<u8>,
        parsed: &IpPacket,
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) {
        let segment = &packet[parsed.payload.clone()];
        let Some(header) = TcpHeader::parse(segment) else { panic!("a malformed TCP header") };
        let ends = (
            SocketAddr::new(parsed.destination, header.destination_port),
            SocketAddr::new(parsed.source, header.source_port),
        );
        let opens = header.syn && !header.ack;
        if opens && self.connections.get(&ends).is_some_and(|c| c.state() == State::TimeWait) {
            // RFC 6191 §2, as Linux does: a new SYN takes over the endpoints.
            self.forget(ends);
        }
        if !self.connections.contains_key(&ends)
            && !self.opens(ends, &packet, parsed, &header, now, out)
        {
            return;
        }
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        if header.syn && header.ack && self.super_segments {
            connection.segment = tcp::max_segment_size(&packet[parsed.payload.clone()]);
        }
        if header.syn && connection.segment.is_some() {
            tcp::set_max_segment_size(&mut packet[parsed.payload.clone()], SUPER_SEGMENT);
            nic::fill_checksum(&mut packet, parsed);
        }
        if connection.awaits_only_fin_ack(&header, parsed.payload.len()) {
            return;
        }
        if header.ack && !header.rst {
            connection.heard = (header.acknowledgement, header.window);
        }
        let open = connection.state() != State::Closed;
        let mut device = GuestDevice::receiving(self.device_mtu(), packet);
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        self.interface.poll_ingress_single(stack_time(now), &mut device, &mut connection.sockets);
        let state = connection.state();
        connection.established |=
            !matches!(state, State::Listen | State::SynSent | State::SynReceived | State::Closed);
        connection.fin |=
            matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        // In LAST-ACK a reset and the last acknowledgement both lead to CLOSED.
        connection.reset |= header.rst && open && state == State::Closed;
        // A reset sends a half-open connection back to LISTEN; a fresh SYN finds the port anyway.
        let gone = state == State::Listen;
        self.send(ends, device, out);
        if gone {
            self.forget(ends);
        } else {
            self.dirty.insert(ends);
        }
    }

    /// A packet for no connection: whether there is one now that takes it.
    fn opens(
        &mut self,
        ends: Ends,
        packet: &[u8],
        parsed: &IpPacket,
        header: &TcpHeader,
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) -> bool {
        let segment = &packet[parsed.payload.clone()];
        let port = self.ports.get(&(ends.0.is_ipv6(), ends.0.port())).copied();
        match port.unwrap_or(Port::Refuse) {
            Port::Listen(listener) if header.syn && !header.ack => {
                if listener.delay == Duration::ZERO {
                    self.accept(ends, &listener, tcp::max_segment_size(segment));
                    return true;
                }
                if self.waiting.insert(ends) {
                    let number = self.streams;
                    self.streams += 1;
                    self.delayed.insert((now + listener.delay, number), packet.to_vec());
                }
            }
            Port::Silent => {}
            Port::Listen(_) | Port::Refuse => {
                let length = segment.len() - header.header_len;
                if let Some(reset) = ControlSegment::reset_for(header, length) {
                    out.push(Outgoing::plain(connection::packet(ends.0, ends.1, &reset)));
                }
            }
        }
        false
    }

    /// Lets applications and timers of connections run; frames go to `out`, of which no more than
    /// `room` may be made.
    pub(super) fn poll(&mut self, now: Instant, room: usize, out: &mut Vec<Outgoing>) {
        while let Some((&key, _)) = self.delayed.first_key_value()
            && key.0 <= now
            && let Some(packet) = self.delayed.remove(&key)
        {
            self.receive_delayed(packet, now, out);
        }
        while let Some(&(at, ends)) = self.timers.first()
            && at <= now
        {
            self.timers.remove(&(at, ends));
            if let Some(connection) = self.connections.get_mut(&ends) {
                connection.armed = None;
                self.dirty.insert(ends);
            }
        }
        while out.len() < room
            && let Some(ends) = self.dirty.pop_first()
        {
            self.drive(ends, now, room, out);
        }
    }

    /// When something happens here by itself.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let delayed = self.delayed.first_key_value().map(|(&(at, _), _)| at);
        delayed.into_iter().chain(self.timers.first().map(|&(at, _)| at)).min()
    }

    fn receive_delayed(&mut self, packet: Vec<u8>, now: Instant, out: &mut Vec<Outgoing>) {
        let v6 = packet[0] >> 4 == 6;
        let parsed = if v6 { IpPacket::parse_v6(&packet) } else { IpPacket::parse_v4(&packet) };
        let Ok(parsed) = parsed else { return };
        let Some(header) = TcpHeader::parse(&packet[parsed.payload.clone()]) else { return };
        let ends = (
            SocketAddr::new(parsed.destination, header.destination_port),
            SocketAddr::new(parsed.source, header.source_port),
        );
        self.waiting.remove(&ends);
        if let Some(&Port::Listen(listener)) = self.ports.get(&(v6, header.destination_port))
            && !self.connections.contains_key(&ends)
        {
            let size = tcp::max_segment_size(&packet[parsed.payload.clone()]);
            self.accept(ends, &listener, size);
            self.receive(packet, &parsed, now, out);
        }
    }

    fn accept(&mut self, ends: Ends, listener: &Listener, segment: Option<u16>) {
        let stream = StreamId(GUEST_STREAMS + self.streams);
        self.streams += 1;
        let segment = segment.filter(|_| self.super_segments);
        self.connections.insert(ends, Connection::listening(ends, listener, stream, segment));
    }

    fn drive(&mut self, ends: Ends, now: Instant, room: usize, out: &mut Vec<Outgoing>) {
        let mtu = self.device_mtu();
        self.revive(ends, now, out);
        loop {
            let Some(connection) = self.connections.get_mut(&ends) else { return };
            connection.run(now);
            if out.len() >= room {
                self.dirty.insert(ends);
                return;
            }
            if connection.keeps_unread() {
                break;
            }
            let mut device = GuestDevice::new(mtu);
            self.interface.poll_egress(stack_time(now), &mut device, &mut connection.sockets);
            if !self.send(ends, device, out) {
                break;
            }
        }
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        if connection.is_over() {
            // What arrived before the end can still be read.
            connection.peer.app.reading = Reading::Greedy;
            connection.run(now);
            self.forget(ends);
            return;
        }
        let stack = self.interface.poll_at(stack_time(now), &connection.sockets);
        let stack = stack.filter(|_| !connection.keeps_unread());
        let stack = stack.map(|at| Instant::from_micros(at.total_micros().unsigned_abs()));
        let stopped = connection.is_stopped(stack).then(|| now + STOPPED);
        connection.stopped_at = stopped.map(|at| connection.stopped_at.unwrap_or(at));
        let reading = connection.peer.next_read(now).filter(|_| connection.readable());
        let Some(at) = stack.into_iter().chain(reading).chain(connection.stopped_at).min() else {
            return;
        };
        let at = at.max(now + Duration::from_micros(100));
        if connection.armed.is_none_or(|armed| at < armed) {
            if let Some(armed) = connection.armed {
                self.timers.remove(&(armed, ends));
            }
            connection.armed = Some(at);
            self.timers.insert((at, ends));
        }
    }

    /// Gets a connection going again whose socket has stopped for long enough.
    fn revive(&mut self, ends: Ends, now: Instant, out: &mut Vec<Outgoing>) {
        let mtu = self.device_mtu();
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        if connection.stopped_at.is_none_or(|at| now < at) {
            return;
        }
        connection.stopped_at = None;
        let timer = self.interface.poll_at(stack_time(now), &connection.sockets);
        if !connection.is_stopped(timer.map(|_| now)) {
            return;
        }
        match connection.revival() {
            Revival::Send(packet) => out.push(Outgoing::plain(packet)),
            Revival::Hear(packet) => {
                for _ in 0..3 {
                    let mut device = GuestDevice::receiving(mtu, packet.clone());
                    let sockets = &mut connection.sockets;
                    self.interface.poll_ingress_single(stack_time(now), &mut device, sockets);
                }
            }
        }
    }

    fn send(&mut self, ends: Ends, device: GuestDevice, out: &mut Vec<Outgoing>) -> bool {
        let Some(mut packet) = device.sent() else { return false };
        let segment = self.connections.get(&ends).and_then(|connection| connection.segment);
        let v6 = packet[0] >> 4 == 6;
        let parsed = if v6 { IpPacket::parse_v6(&packet) } else { IpPacket::parse_v4(&packet) };
        if let Ok(parsed) = parsed
            && let Some(header) = TcpHeader::parse(&packet[parsed.payload.clone()])
        {
            if header.syn {
                let size = self.mtu - if v6 { 60 } else { 40 };
                let size = u16::try_from(size).unwrap_or(u16::MAX);
                tcp::set_max_segment_size(&mut packet[parsed.payload.clone()], size);
            }
            nic::fill_checksum(&mut packet, &parsed);
            if let Some(connection) = self.connections.get_mut(&ends) {
                let length = (parsed.payload.len() - header.header_len) as u32
                    + u32::from(header.syn)
                    + u32::from(header.fin);
                let (end, before) = (header.sequence.wrapping_add(length), connection.last_sent.0);
                // A repeated segment moves nothing back.
                let onward = header.syn || end.wrapping_sub(before) < 1 << 31;
                connection.last_sent = (if onward { end } else { before }, header.acknowledgement);
            }
        }
        out.push(Outgoing { packet, segment });
        true
    }

    pub(super) fn forget(&mut self, ends: Ends) {
        if let Some(connection) = self.connections.remove(&ends) {
            if let Some(armed) = connection.armed {
                self.timers.remove(&(armed, ends));
            }
            self.ended.push(connection);
        }
        self.dirty.remove(&ends);
    }

    fn device_mtu(&self) -> usize {
        if self.super_segments { 65_535 } else { self.mtu }
    }
}

/// How long a stopped socket is left alone: smoltcp's shortest retransmission timer.
const STOPPED: Duration = Duration::from_secs(1);
const SUPER_SEGMENT: u16 = 65_000;
