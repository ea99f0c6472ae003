//! The guest: a machine on the other end of the link, well behaved or scripted.
//!
//! Owns its addresses and its ARP, and routes the rest to `tcp.rs`, `udp.rs` and `icmp.rs`. Every frame it gets is judged by its card (`nic.rs`).

mod active;
pub mod connection;
mod device;
pub mod icmp;
pub mod nic;
pub mod port;
pub mod tcp;
pub mod udp;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use portreeve_core::{Instant, LinkOffloads};
use portreeve_types::Addressing;
use portreeve_wire::VirtioNetHdr;
use portreeve_wire::arp::{ARP_LEN, Arp, ArpOperation};
use portreeve_wire::ethernet::{ETHERNET_HEADER_LEN, EtherType, EthernetHeader};
use portreeve_wire::icmp::{Unreachable, verify};
use portreeve_wire::packet::{IpPacket, Protocol};
use portreeve_wire::tcp::TcpHeader;

use crate::packet::{self, Segment};
use nic::{Arrived, Nic, Outgoing, framed};
use port::{Listener, Port};
use tcp::GuestTcp;
use udp::GuestUdp;

/// How a guest is made.
#[derive(Clone, Copy, Debug)]
pub struct GuestSpec {
    /// What its card takes, which is what the link offers the engine.
    pub offers: LinkOffloads,
    /// Whether it sends TCP super-segments itself.
    pub super_segments: bool,
}

impl Default for GuestSpec {
    fn default() -> Self {
        Self { offers: LinkOffloads::NONE, super_segments: false }
    }
}

/// A guest.
pub struct Guest {
    /// Its card.
    pub nic: Nic,
    /// Its TCP.
    pub tcp: GuestTcp,
    /// Its UDP.
    pub udp: GuestUdp,
    /// While set it hears nothing and says nothing.
    pub mute: bool,
    /// Ports whose segments are only recorded: a script plays this side.
    pub scripted: BTreeSet<u16>,
    /// Segments for scripted ports.
    pub segments: VecDeque<(TcpHeader, Segment)>,
    /// ICMP errors that the guest got, about whatever it had sent.
    pub errors: Vec<icmp::GuestError>,
    /// Echo replies that the guest got.
    pub echoes: Vec<icmp::GuestEcho>,
    /// Those of the errors that say of a segment or datagram that it cannot be delivered.
    pub unreachable: Vec<(Unreachable, portreeve_wire::FlowKey)>,
    addressing: Addressing,
    /// Frames that wait for room on the link.
    outgoing: VecDeque<Vec<u8>>,
}

impl Guest {
    /// A guest with these addresses, and its hardware address unless that is left open.
    pub fn new(spec: GuestSpec, addressing: &Addressing, seed: u64) -> Self {
        let mtu = usize::from(addressing.mtu);
        Self {
            nic: Nic {
                mac: addressing.guest_mac.map_or(MAC, |mac| mac.0),
                gateway_mac: addressing.gateway_mac.0,
                offers: spec.offers,
                mtu,
            },
            tcp: GuestTcp::new(mtu, spec.super_segments, seed),
            udp: GuestUdp::default(),
            mute: false,
            scripted: BTreeSet::new(),
            segments: VecDeque::new(),
            errors: Vec::new(),
            echoes: Vec::new(),
            unreachable: Vec::new(),
            addressing: addressing.clone(),
            outgoing: VecDeque::new(),
        }
    }

    /// Listens on both families.
    pub fn listen(&mut self, port: u16, listener: Listener) {
        self.set_port(port, Port::Listen(listener));
    }

    /// Says what a port does on both families.
    pub fn set_port(&mut self, port: u16, what: Port) {
        for v6 in [false, true] {
            self.tcp.ports.insert((v6, port), what);
        }
    }

    /// The guest's address of one family.
    ///
    /// # Panics
    /// When that family is off.
    pub fn address(&self, v6: bool) -> IpAddr {
        if v6 {
            self.addressing.ipv6.expect("IPv6 is on").guest.into()
        } else {
            self.addressing.ipv4.expect("IPv4 is on").guest.into()
        }
    }

    /// The gateway's address of one family.
    ///
    /// # Panics
    /// When that family is off.
    pub fn gateway(&self, v6: bool) -> IpAddr {
        if v6 {
            self.addressing.ipv6.expect("IPv6 is on").gateway.into()
        } else {
            self.addressing.ipv4.expect("IPv4 is on").gateway.into()
        }
    }

    /// Sends an IP packet as it is.
    pub fn send_packet(&mut self, packet: &[u8]) {
        let frame = packet::ethernet(self.nic.mac, self.nic.gateway_mac, packet);
        self.send_frame(&VirtioNetHdr::default(), &frame);
    }

    /// Sends a scripted segment.
    pub fn send_segment(&mut self, segment: &Segment) {
        self.send_packet(&segment.packet());
    }

    /// Answers a segment with the ICMP error that says that nobody listens.
    pub fn refuse_by_icmp(&mut self, segment: &Segment) {
        self.report_unreachable(&segment.packet());
    }

    /// Sends the ICMP error that says of `packet` that nobody listens.
    pub fn report_unreachable(&mut self, packet: &[u8]) {
        self.send_packet(&udp::unreachable(packet));
    }

    /// Sends an Ethernet frame as it is.
    pub fn send_frame(&mut self, link: &VirtioNetHdr, frame: &[u8]) {
        self.outgoing.push_back(framed(link, frame));
    }

    /// Sends a datagram, in fragments where it must be.
    pub fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let identification = self.udp.next_identification();
        for packet in packet::fragments(from, to, payload, self.nic.mtu, identification) {
            self.send_packet(&packet);
        }
    }

    /// A frame from the link.
    ///
    /// # Panics
    /// When no real card would take it.
    pub fn receive(&mut self, frame: &[u8], now: Instant) {
        let arrived = match self.nic.receive(frame) {
            Ok(arrived) => arrived,
            Err(wrong) => {
                panic!("the engine made a frame that is wrong: {wrong}\n{:02x?}", head(frame))
            }
        };
        if self.mute {
            return;
        }
        for Arrived { header, packet } in arrived {
            match header.ethertype {
                EtherType::Arp => self.arp(&packet),
                EtherType::Ipv4 => self.ip(IpPacket::parse_v4(&packet).ok(), packet, now),
                EtherType::Ipv6 => self.ip(IpPacket::parse_v6(&packet).ok(), packet, now),
                EtherType::Other(_) => {}
            }
        }
    }

    /// Lets applications run.
    pub fn poll(&mut self, now: Instant) {
        if self.mute {
            return;
        }
        let mut out = Vec::new();
        // What waits already is enough for one turn of the link.
        let room = OUTGOING.saturating_sub(self.outgoing.len());
        self.tcp.poll(now, room, &mut out);
        self.queue(out);
    }

    /// The next frame for the link.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// Whether frames wait for the link.
    pub fn has_frames(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// When something happens here by itself.
    pub fn next_at(&self) -> Option<Instant> {
        if self.mute { None } else { self.tcp.next_at() }
    }

    fn queue(&mut self, out: Vec<Outgoing>) {
        for Outgoing { packet, segment } in out {
            self.outgoing.push_back(self.nic.transmit(&packet, segment));
        }
    }

    fn arp(&mut self, packet: &[u8]) {
        let Some(arp) = Arp::parse(packet) else { panic!("a malformed ARP packet") };
        let own = self.addressing.ipv4.is_some_and(|link| link.guest == arp.target_ip);
        if arp.operation != ArpOperation::Request || !own {
            return;
        }
        let reply = Arp {
            operation: ArpOperation::Reply,
            sender_mac: self.nic.mac,
            sender_ip: arp.target_ip,
            target_mac: arp.sender_mac,
            target_ip: arp.sender_ip,
        };
        let mut frame = vec![0; ETHERNET_HEADER_LEN + ARP_LEN];
        let header = EthernetHeader {
            destination: arp.sender_mac,
            source: self.nic.mac,
            ethertype: EtherType::Arp,
        };
        header.emit(&mut frame);
        reply.emit(&mut frame[ETHERNET_HEADER_LEN..]);
        self.send_frame(&VirtioNetHdr::default(), &frame);
    }

    fn ip(&mut self, parsed: Option<IpPacket>, packet: Vec<u8>, now: Instant) {
        let Some(ip) = parsed else { panic!("a packet that the card had judged") };
        let mut out = Vec::new();
        match ip.protocol {
            Protocol::TCP => {
                let upper = &packet[ip.payload.clone()];
                match TcpHeader::parse(upper) {
                    Some(header) if self.scripted.contains(&header.destination_port) => {
                        self.segments.push_back((header, recorded(&ip, upper, &header)));
                    }
                    _ => self.tcp.receive(packet, &ip, now, &mut out),
                }
            }
            Protocol::UDP => {
                let Some((whole, pieces)) = self.udp.join(&packet, &ip) else { return };
                let answers = self.udp.datagram(&whole, &ip, pieces);
                for (from, to, payload) in answers {
                    self.send_datagram(from, to, &payload);
                }
                for packet in self.udp.refusals.drain(..) {
                    out.push(Outgoing::plain(packet));
                }
            }
            Protocol::ICMP | Protocol::ICMPV6 => {
                let Some((whole, pieces)) = self.udp.join(&packet, &ip) else { return };
                assert!(verify(ip.source, ip.destination, &whole), "a wrong ICMP checksum");
                self.icmp(&ip, &whole, pieces);
            }
            _ => {}
        }
        self.queue(out);
    }
}

fn recorded(ip: &IpPacket, upper: &[u8], header: &TcpHeader) -> Segment {
    Segment {
        from: SocketAddr::new(ip.source, header.source_port),
        to: SocketAddr::new(ip.destination, header.destination_port),
        sequence: header.sequence,
        acknowledgement: header.acknowledgement,
        flags: upper[13],
        window: header.window,
        urgent: 0,
        options: upper[20..header.header_len].to_vec(),
        payload: upper[header.header_len..].to_vec(),
    }
}

/// The guest's hardware address where the configuration names none.
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0x47, 0x01];
/// Frames that may wait for the link before applications wait too.
const OUTGOING: usize = 64;

/// As much of a frame as its headers take.
fn head(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().min(100)]
}
