//! The demonstration's guest where there can be no namespace: a TCP/IP stack in this process, on
//! the other end of a link made of memory.
//!
//! Owns the guest's side of every frame. It is a smoltcp stack with a socket for each connection
//! and serves what `service` says; it knows its gateway's hardware address, so it has no ARP and no
//! neighbour discovery. The engine cannot tell it from any other guest.

mod device;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portreeve::{MAX_FRAME_LEN, MemoryPeer};
use portreeve_types::Addressing;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpEndpoint, IpListenEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpPacket, UdpPacket,
};

use self::device::Device;
use super::SMALL_BUFFER;
use super::service::{self, ECHO, Service, Storage};

/// The largest packet on the link: nothing in memory asks for a smaller one.
pub(super) const MTU: u16 = 65_520;

/// A guest in this process.
pub(super) struct InProcessGuest {
    interface: Interface,
    wire: Wire,
    connections: HashMap<Ends, Connection>,
    storage: Storage,
    begun: Instant,
    timers_seen: Instant,
}

/// The guest's own endpoint and the client's.
type Ends = (IpEndpoint, IpEndpoint);

/// One connection and what is served on it.
struct Connection {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    service: Box<dyn Service>,
    ended: bool,
}

/// The guest's end of the link.
struct Wire {
    peer: MemoryPeer,
    /// The next frame: its Ethernet header is there but for the type, the stack writes behind it.
    frame: Vec<u8>,
    /// Frames for which the link has no room yet.
    held: VecDeque<Vec<u8>>,
}

/// Length of the virtio-net header that the link puts in front of each frame.
const LINK_HEADER_LEN: usize = 12;
const ETHERNET_HEADER_LEN: usize = 14;
/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(10);
/// How soon a full link is tried again.
const HELD_TICK: Duration = Duration::from_millis(1);
/// Frames taken in a row before anything else.
const BATCH: usize = 64;
/// Buffers of each connection but the echo's.
const LARGE_BUFFER: usize = 1 << 20;

impl InProcessGuest {
    /// A guest that can take transfers of `bytes`.
    pub(super) fn new(peer: MemoryPeer, addressing: &Addressing, bytes: usize) -> Self {
        let mut frame = vec![0; MAX_FRAME_LEN - LINK_HEADER_LEN];
        frame[..6].copy_from_slice(&addressing.gateway_mac.0);
        if let Some(mac) = addressing.guest_mac {
            frame[6..12].copy_from_slice(&mac.0);
        }
        let mut device = Device { received: None, space: &mut [], sent: 0 };
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut device, StackInstant::ZERO);
        // The link carries nothing that is not for this guest.
        interface.set_any_ip(true);
        Self {
            interface,
            wire: Wire { peer, frame, held: VecDeque::new() },
            connections: HashMap::new(),
            storage: Storage::new(bytes),
            begun: Instant::now(),
            timers_seen: Instant::now(),
        }
    }

    /// Serves, on a thread of its own, until the engine has gone.
    pub(super) fn start(mut self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("guest".into()).spawn(move || {
            // The link's only error is its end.
            while self.turn().is_ok() {}
        })
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wire.resend()?;
        let mut wait = if self.wire.has_room() { TICK } else { HELD_TICK };
        for _ in 0..BATCH {
            let Some(frame) = self.wire.peer.recv(wait)? else { break };
            self.arrived(&frame)?;
            wait = Duration::ZERO;
        }
        if self.timers_seen.elapsed() >= TICK {
            self.timers_seen = Instant::now();
            self.drive_all()?;
        }
        Ok(())
    }

    fn arrived(&mut self, frame: &[u8]) -> io::Result<()> {
        let Some(packet) = frame.get(LINK_HEADER_LEN + ETHERNET_HEADER_LEN..) else {
            return Ok(());
        };
        match Upper::parse(packet) {
            Some(Upper::Tcp { ends, opens }) => self.segment_arrived(packet, ends, opens),
            Some(Upper::Udp { to: ECHO }) => self.wire.echo(packet),
            // Whatever else: router advertisements, say. A datagram for another port is not sent.
            Some(Upper::Udp { .. }) | None => Ok(()),
        }
    }

    fn segment_arrived(&mut self, packet: &[u8], ends: Ends, opens: bool) -> io::Result<()> {
        if opens
            && !self.connections.contains_key(&ends)
            && let Some(connection) = Connection::listen(ends.0, &self.storage)
        {
            self.connections.insert(ends, connection);
        }
        let now = self.now();
        let Self { interface, wire, connections, .. } = self;
        let mut connection = connections.get_mut(&ends);
        // Without a socket for it, the stack itself refuses a segment.
        let mut nobody = SocketSet::new(Vec::new());
        let sockets = connection.as_deref_mut().map_or(&mut nobody, |found| &mut found.sockets);
        let space = &mut wire.frame[ETHERNET_HEADER_LEN..];
        let mut device = Device { received: Some(packet), space, sent: 0 };
        interface.poll_ingress_single(now, &mut device, sockets);
        let answer = device.sent;
        wire.send(answer)?;
        if let Some(connection) = connection
            && connection.drive(interface, wire, now)?
        {
            connections.remove(&ends);
        }
        Ok(())
    }

    fn drive_all(&mut self) -> io::Result<()> {
        let now = self.now();
        let Self { interface, wire, connections, .. } = self;
        let mut over = Vec::new();
        for (&ends, connection) in &mut *connections {
            if connection.drive(interface, wire, now)? {
                over.push(ends);
            }
        }
        for ends in over {
            connections.remove(&ends);
        }
        Ok(())
    }

    fn now(&self) -> StackInstant {
        let micros = self.begun.elapsed().as_micros();
        StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl Connection {
    /// A socket that waits for its first segment; `None` where nobody serves.
    fn listen(end: IpEndpoint, storage: &Storage) -> Option<Self> {
        let service = service::start(end.port, storage)?;
        let size = if end.port == ECHO { SMALL_BUFFER } else { LARGE_BUFFER };
        let buffer = || SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(buffer(), buffer());
        // Nothing is lost on this link, and nobody far away shares it.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::None);
        socket.listen(IpListenEndpoint { addr: Some(end.addr), port: end.port }).ok()?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Some(Self { sockets, handle, service, ended: false })
    }

    /// Lets the service speak and listen, and sends what comes of it; true when it is all over.
    fn drive(
        &mut self,
        interface: &mut Interface,
        wire: &mut Wire,
        now: StackInstant,
    ) -> io::Result<bool> {
        self.converse();
        while wire.has_room() {
            let space = &mut wire.frame[ETHERNET_HEADER_LEN..];
            let mut device = Device { received: None, space, sent: 0 };
            interface.poll_egress(now, &mut device, &mut self.sockets);
            let length = device.sent;
            if length == 0 {
                // The link loses nothing: nobody has to wait for a stray segment.
                let state = self.sockets.get::<Socket<'_>>(self.handle).state();
                return Ok(matches!(state, State::Closed | State::TimeWait));
            }
            wire.send(length)?;
        }
        Ok(false)
    }

    fn converse(&mut self) {
        let Self { sockets, handle, service, ended } = self;
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        loop {
            if !service.pending().is_empty() {
                match socket.send_slice(service.pending()) {
                    Ok(count) if count != 0 => service.sent(count),
                    // No room, or nobody to say it to.
                    Ok(_) | Err(_) => return,
                }
            } else if *ended || service.is_done() {
                return socket.close();
            } else if socket.recv_queue() != 0 {
                let Ok(count) = socket.recv_slice(service.space()) else { return };
                service.received(count);
            } else if socket.state() == State::CloseWait {
                service.ended();
                *ended = true;
            } else {
                return;
            }
        }
    }
}

impl Wire {
    fn has_room(&self) -> bool {
        self.held.is_empty()
    }

    /// Sends the packet of this length that stands in `frame`; nothing if it has none.
    fn send(&mut self, length: usize) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let kind: [u8; 2] =
            if self.frame[ETHERNET_HEADER_LEN] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        self.frame[12..ETHERNET_HEADER_LEN].copy_from_slice(&kind);
        let frame = &self.frame[..ETHERNET_HEADER_LEN + length];
        if !self.held.is_empty() {
            self.held.push_back(frame.to_vec());
            return Ok(());
        }
        match self.peer.send_frame(frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.held.push_back(frame.to_vec());
                Ok(())
            }
            result => result,
        }
    }

    fn resend(&mut self) -> io::Result<()> {
        while let Some(frame) = self.held.front() {
            match self.peer.send_frame(frame) {
                Ok(()) => drop(self.held.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a datagram back to where it came from. Its checksums stay true: a sum does not
    /// change when two of its terms change places.
    fn echo(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(space) =
            self.frame.get_mut(ETHERNET_HEADER_LEN..ETHERNET_HEADER_LEN + packet.len())
        else {
            return Ok(());
        };
        space.copy_from_slice(packet);
        match packet[0] >> 4 {
            4 => {
                let mut ip = Ipv4Packet::new_unchecked(space);
                let (from, to) = (ip.src_addr(), ip.dst_addr());
                ip.set_src_addr(to);
                ip.set_dst_addr(from);
                exchange_ports(ip.payload_mut());
            }
            _ => {
                let mut ip = Ipv6Packet::new_unchecked(space);
                let (from, to) = (ip.src_addr(), ip.dst_addr());
                ip.set_src_addr(to);
                ip.set_dst_addr(from);
                exchange_ports(ip.payload_mut());
            }
        }
        self.send(packet.len())
    }
}

fn exchange_ports(datagram: &mut [u8]) {
    let mut udp = UdpPacket::new_unchecked(datagram);
    let (from, to) = (udp.src_port(), udp.dst_port());
    udp.set_src_port(to);
    udp.set_dst_port(from);
}

/// What the guest wants to know of a packet.
enum Upper {
    Tcp { ends: Ends, opens: bool },
    Udp { to: u16 },
}

impl Upper {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (from, to, protocol, upper): (IpAddress, IpAddress, _, _) = match packet.first()? >> 4 {
            4 => {
                let ip = Ipv4Packet::new_checked(packet).ok()?;
                (ip.src_addr().into(), ip.dst_addr().into(), ip.next_header(), ip.payload())
            }
            6 => {
                let ip = Ipv6Packet::new_checked(packet).ok()?;
                (ip.src_addr().into(), ip.dst_addr().into(), ip.next_header(), ip.payload())
            }
            _ => return None,
        };
        match protocol {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(upper).ok()?;
                let ends =
                    (IpEndpoint::new(to, tcp.dst_port()), IpEndpoint::new(from, tcp.src_port()));
                Some(Self::Tcp { ends, opens: tcp.syn() && !tcp.ack() })
            }
            IpProtocol::Udp => {
                Some(Self::Udp { to: UdpPacket::new_checked(upper).ok()?.dst_port() })
            }
            _ => None,
        }
    }
}
