//! The guest's UDP: services, and the datagrams it got.
//!
//! Owns reassembly on the guest's side, strict on purpose: fragments that overlap, are out of
//! place or of different datagrams end the test.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use portreeve_wire::checksum;
use portreeve_wire::icmp::{ErrorKind, ICMP_HEADER_LEN, Unreachable, emit_error};
use portreeve_wire::packet::{IpPacket, Protocol};
use portreeve_wire::udp::UdpHeader;

use crate::packet::ip as ip_packet;

/// What a port does with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends it back.
    Echo,
    /// Records it.
    Sink,
    /// Nobody listens: an ICMP error, and nothing recorded.
    Closed,
}

/// A datagram the guest got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestDatagram {
    /// The guest's address and port.
    pub to: SocketAddr,
    /// Who sent it, as the guest sees it.
    pub from: SocketAddr,
    /// The payload.
    pub payload: Vec<u8>,
    /// Packets it came in.
    pub pieces: usize,
}

/// All UDP of a guest.
#[derive(Debug, Default)]
pub struct GuestUdp {
    /// What each port does, by family (IPv6: true) and number. Others are closed.
    pub services: BTreeMap<(bool, u16), Service>,
    /// What arrived for services.
    pub received: Vec<GuestDatagram>,
    /// ICMP errors to be sent.
    pub(super) refusals: Vec<Vec<u8>>,
    unfinished: BTreeMap<(IpAddr, u32), Unfinished>,
    identification: u32,
}

#[derive(Debug, Default)]
struct Unfinished {
    bytes: Vec<u8>,
    pieces: usize,
}

impl GuestUdp {
    /// Says what a port does on both families.
    pub fn serve(&mut self, port: u16, service: Service) {
        for v6 in [false, true] {
            self.services.insert((v6, port), service);
        }
    }

    /// Datagrams of which fragments are missing.
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    pub(super) fn next_identification(&mut self) -> u32 {
        self.identification += 1;
        self.identification
    }

    /// The bytes behind the IP headers once they are whole, and of how many packets they came.
    pub(super) fn join(&mut self, packet: &[u8], ip: &IpPacket) -> Option<(Vec<u8>, usize)> {
        let data = &packet[ip.payload.clone()];
        let Some(fragment) = ip.fragment else { return Some((data.to_vec(), 1)) };
        let key = (ip.source, fragment.identification);
        let unfinished = self.unfinished.entry(key).or_default();
        assert_eq!(unfinished.bytes.len(), fragment.offset as usize, "fragments come in order");
        assert!(!fragment.more || data.len().is_multiple_of(8), "an odd fragment");
        unfinished.bytes.extend_from_slice(data);
        unfinished.pieces += 1;
        if fragment.more {
            return None;
        }
        self.unfinished.remove(&key).map(|whole| (whole.bytes, whole.pieces))
    }

    /// A whole datagram. Returns datagrams to send: from, to, payload.
    pub(super) fn datagram(
        &mut self,
        data: &[u8],
        ip: &IpPacket,
        pieces: usize,
    ) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let Some(header) = UdpHeader::parse(data) else { panic!("a malformed UDP header") };
        assert_eq!(header.payload.end, data.len(), "the UDP length fits");
        assert!(
            checksum::verify(ip.source, ip.destination, Protocol::UDP, data),
            "the checksum of a whole datagram fits"
        );
        let from = SocketAddr::new(ip.source, header.source_port);
        let to = SocketAddr::new(ip.destination, header.destination_port);
        let payload = data[header.payload].to_vec();
        let service = self.services.get(&(to.is_ipv6(), to.port())).copied();
        match service.unwrap_or(Service::Closed) {
            Service::Closed => {
                // What is quoted is the datagram, joined again, as a kernel does.
                let shown = &data[..data.len().min(500)];
                self.refusals.push(unreachable(&ip_packet(
                    ip.source,
                    ip.destination,
                    Protocol::UDP,
                    shown,
                    None,
                )));
                Vec::new()
            }
            Service::Sink => {
                self.received.push(GuestDatagram { to, from, payload, pieces });
                Vec::new()
            }
            Service::Echo => {
                let answer = vec![(to, from, payload.clone())];
                self.received.push(GuestDatagram { to, from, payload, pieces });
                answer
            }
        }
    }
}

/// The ICMP error that says of a packet that nobody listens.
pub(super) fn unreachable(packet: &[u8]) -> Vec<u8> {
    let v6 = packet[0] >> 4 == 6;
    let parsed = if v6 { IpPacket::parse_v6(packet) } else { IpPacket::parse_v4(packet) };
    let Ok(parsed) = parsed else { panic!("an error about no packet") };
    let quote = &packet[..packet.len().min(500)];
    let mut message = vec![0; ICMP_HEADER_LEN + quote.len()];
    let (guest, sender) = (parsed.destination, parsed.source);
    emit_error(guest, sender, ErrorKind::Unreachable(Unreachable::Port), quote, &mut message);
    let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
    ip_packet(guest, sender, protocol, &message, None)
}
