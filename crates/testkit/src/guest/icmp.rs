//! The guest's ICMP: pings, errors about what it sent, and neighbour discovery.
//!
//! Owns a reader of error messages of its own, so that a fault in the engine's writer is not
//! repeated here: the quoted packet must be one that the guest can have sent.

use std::net::{IpAddr, SocketAddr};

use portreeve_wire::checksum;
use portreeve_wire::icmp::{ErrorKind, IcmpError, Unreachable};
use portreeve_wire::ndp::{NEIGHBOR_LEN, Neighbor};
use portreeve_wire::packet::{IpPacket, Protocol};

use super::Guest;
use crate::packet;

/// An ICMP error that the guest got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestError {
    /// Who says so.
    pub from: IpAddr,
    /// What it says.
    pub kind: ErrorKind,
    /// Protocol of the quoted packet.
    pub protocol: u8,
    /// Who had sent it, the guest; the port is 0 where there is none.
    pub source: SocketAddr,
    /// Where it was sent.
    pub destination: SocketAddr,
    /// Hop limit of the quoted packet.
    pub hop_limit: u8,
    /// What stood behind its IP header, as far as it is quoted.
    pub upper: Vec<u8>,
}

/// An echo reply that the guest got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestEcho {
    /// Who sent it.
    pub from: IpAddr,
    /// Its identifier.
    pub identifier: u16,
    /// Its sequence number.
    pub sequence: u16,
    /// What stands behind both.
    pub payload: Vec<u8>,
    /// Packets it came in.
    pub pieces: usize,
}

impl Guest {
    /// Sends an echo request, in fragments where it must be.
    pub fn send_echo(&mut self, identifier: u16, sequence: u16, to: IpAddr, payload: &[u8]) {
        let from = self.address(to.is_ipv6());
        let message = echo_request(from, to, identifier, sequence, payload);
        let protocol = if to.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMP };
        let number = self.udp.next_identification();
        for packet in packet::pieces(from, to, protocol, &message, self.nic.mtu, number) {
            self.send_packet(&packet);
        }
    }

    pub(super) fn icmp(&mut self, ip: &IpPacket, message: &[u8], pieces: usize) {
        let v6 = ip.source.is_ipv6();
        if let Some(error) = IcmpError::parse(message, v6)
            && let ErrorKind::Unreachable(kind) = error.kind
        {
            self.unreachable.push((kind, error.quoted));
        }
        match (v6, message[0], message[1]) {
            (false, 0, 0) | (true, 129, 0) => self.echoes.push(GuestEcho {
                from: ip.source,
                identifier: u16::from_be_bytes([message[4], message[5]]),
                sequence: u16::from_be_bytes([message[6], message[7]]),
                payload: message[8..].to_vec(),
                pieces,
            }),
            (false, 3 | 11, _) | (true, 1..=4, _) => self.error(ip, message),
            (true, 135, _) => self.neighbor(ip, message),
            _ => {}
        }
    }

    fn error(&mut self, ip: &IpPacket, message: &[u8]) {
        let v6 = ip.source.is_ipv6();
        let rest = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
        let kind = kind(v6, message[0], message[1], rest);
        let quoted = &message[8..];
        assert!(message.len() <= if v6 { 1240 } else { 556 }, "an error of {}", message.len());
        let (source, destination, protocol, hop_limit, header) = quoted_header(quoted, v6);
        assert_eq!(source, self.address(v6), "an error about somebody else's packet");
        let upper = quoted[header..].to_vec();
        let ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
        let port = |at: usize| {
            if ports { u16::from_be_bytes([upper[at], upper[at + 1]]) } else { 0 }
        };
        let (source, destination) =
            (SocketAddr::new(source, port(0)), SocketAddr::new(destination, port(2)));
        if protocol == Protocol::TCP {
            let sequence = u32::from_be_bytes([upper[4], upper[5], upper[6], upper[7]]);
            self.tcp.error((source, destination), kind, sequence);
        }
        let from = ip.source;
        self.errors.push(GuestError {
            from,
            kind,
            protocol,
            source,
            destination,
            hop_limit,
            upper,
        });
    }

    fn neighbor(&mut self, ip: &IpPacket, message: &[u8]) {
        let (Some(neighbor), IpAddr::V6(source)) = (Neighbor::parse(message), ip.source) else {
            return;
        };
        let Some(link) = self.addressing.ipv6 else { return };
        if neighbor.advertisement || neighbor.target != link.guest {
            return;
        }
        let answer = Neighbor {
            advertisement: true,
            target: link.guest,
            mac: Some(self.nic.mac),
            solicited: true,
        };
        let mut upper = [0; NEIGHBOR_LEN];
        answer.emit(link.guest, source, &mut upper);
        let packet = packet::ip(link.guest.into(), source.into(), Protocol::ICMPV6, &upper, None);
        self.send_packet(&packet);
    }
}

/// An echo request from its ICMP header on.
pub fn echo_request(
    from: IpAddr,
    to: IpAddr,
    identifier: u16,
    sequence: u16,
    payload: &[u8],
) -> Vec<u8> {
    let v6 = to.is_ipv6();
    let mut message = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(payload);
    let pseudo =
        if v6 { checksum::pseudo_header(from, to, Protocol::ICMPV6, message.len()) } else { 0 };
    let sum = checksum::finish(pseudo + checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// RFC 792, RFC 1812 §5.2.7.1, RFC 4443 §3.
fn kind(v6: bool, message: u8, code: u8, rest: u32) -> ErrorKind {
    let unreachable = match (v6, message, code) {
        (false, 3, 0) | (true, 1, 0) => Unreachable::Network,
        (false, 3, 1) | (true, 1, 3) => Unreachable::Host,
        (false, 3, 3) | (true, 1, 4) => Unreachable::Port,
        (false, 3, 13) | (true, 1, 1) => Unreachable::Prohibited,
        (false, 3, 4) | (true, 2, 0) => return ErrorKind::TooBig { mtu: rest },
        (false, 11, 0) | (true, 3, 0) => return ErrorKind::TimeExceeded,
        other => panic!("an ICMP error that nobody knows: {other:?}"),
    };
    ErrorKind::Unreachable(unreachable)
}

/// Source, destination, protocol, hop limit and length of a quoted header.
fn quoted_header(quoted: &[u8], v6: bool) -> (IpAddr, IpAddr, u8, u8, usize) {
    if v6 {
        assert_eq!(quoted[0] >> 4, 6, "a quoted packet of the other family");
        let (mut a, mut b) = ([0; 16], [0; 16]);
        a.copy_from_slice(&quoted[8..24]);
        b.copy_from_slice(&quoted[24..40]);
        return (a.into(), b.into(), quoted[6], quoted[7], 40);
    }
    assert_eq!(quoted[0], 0x45, "a quoted header without options");
    assert_eq!(checksum::fold(checksum::sum(&quoted[..20])), 0xffff, "its checksum fits");
    let address =
        |at: usize| IpAddr::from([quoted[at], quoted[at + 1], quoted[at + 2], quoted[at + 3]]);
    (address(12), address(16), quoted[9], quoted[8], 20)
}
