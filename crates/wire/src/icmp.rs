//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo and destination-unreachable messages.
//!
//! Owns the layout of messages and of the packet quoted in an error. Which error answers what is
//! the core's to decide. Error types share one vocabulary across both families: [`Unreachable`].

use std::net::{IpAddr, SocketAddr};

use crate::checksum;
use crate::flow_key::FlowKey;
use crate::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Protocol};

/// Bytes in front of the quoted packet.
pub const ICMP_HEADER_LEN: usize = 8;
/// ICMPv4 echo request; ICMPv6 has its own.
pub const ECHO_REQUEST_V4: u8 = 8;
/// ICMPv6 echo request.
pub const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;
const UNREACHABLE_V4: u8 = 3;
const UNREACHABLE_V6: u8 = 1;

/// Why a destination cannot be reached, in both families' codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route: ICMP net unreachable, ICMPv6 no route.
    Network,
    /// The host does not answer.
    Host,
    /// Nobody listens on the port.
    Port,
    /// A filter refused.
    Prohibited,
}

impl Unreachable {
    const fn code(self, v6: bool) -> u8 {
        match (self, v6) {
            (Self::Network, _) => 0,
            (Self::Host, false) | (Self::Prohibited, true) => 1,
            (Self::Host, true) => 3,
            (Self::Port, false) => 3,
            (Self::Port, true) => 4,
            (Self::Prohibited, false) => 13,
        }
    }

    const fn from_code(code: u8, v6: bool) -> Self {
        match (code, v6) {
            (3, false) | (4, true) => Self::Port,
            (9 | 10 | 13, false) | (1 | 5 | 6, true) => Self::Prohibited,
            (1 | 7 | 8 | 12, false) | (3, true) => Self::Host,
            _ => Self::Network,
        }
    }
}

/// What an ICMP error says, and of which flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The kind of error.
    pub unreachable: Unreachable,
    /// Key of the flow whose packet is quoted, seen from the guest that received that packet:
    /// the quoted source is the remote, the quoted destination the guest.
    pub quoted: FlowKey,
}

impl IcmpError {
    /// Reads a destination-unreachable message that a guest sent about a packet it received.
    ///
    /// `None` for every other message and for quotes too short to name a flow.
    pub fn parse(message: &[u8], v6: bool) -> Option<Self> {
        let header: &[u8; ICMP_HEADER_LEN] = message.first_chunk()?;
        if header[0] != if v6 { UNREACHABLE_V6 } else { UNREACHABLE_V4 } {
            return None;
        }
        Some(Self {
            unreachable: Unreachable::from_code(header[1], v6),
            quoted: quoted_key(&message[ICMP_HEADER_LEN..], v6)?,
        })
    }
}

/// Reads the flow from a quoted packet, which may be cut behind the first eight upper bytes.
fn quoted_key(packet: &[u8], v6: bool) -> Option<FlowKey> {
    let (source, destination, protocol, upper): (IpAddr, IpAddr, u8, usize) = if v6 {
        let fixed: &[u8; IPV6_HEADER_LEN] = packet.first_chunk()?;
        let (mut a, mut b) = ([0; 16], [0; 16]);
        a.copy_from_slice(&fixed[8..24]);
        b.copy_from_slice(&fixed[24..40]);
        (a.into(), b.into(), fixed[6], IPV6_HEADER_LEN)
    } else {
        let fixed: &[u8; IPV4_HEADER_LEN] = packet.first_chunk()?;
        let address =
            |at: usize| IpAddr::from([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        (address(12), address(16), fixed[9], usize::from(fixed[0] & 0x0f) * 4)
    };
    if !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        return None;
    }
    let ports = packet.get(upper..upper + 4)?;
    Some(FlowKey {
        protocol,
        guest: SocketAddr::new(destination, u16::from_be_bytes([ports[2], ports[3]])),
        remote: SocketAddr::new(source, u16::from_be_bytes([ports[0], ports[1]])),
    })
}

/// Writes a destination-unreachable message that quotes `packet` into `out` and returns its length.
///
/// As much of `packet` is quoted as `out` has room for; both addresses are those of the message.
///
/// # Panics
/// When `out` is shorter than [`ICMP_HEADER_LEN`].
pub fn emit_unreachable(
    source: IpAddr,
    destination: IpAddr,
    kind: Unreachable,
    packet: &[u8],
    out: &mut [u8],
) -> usize {
    let v6 = destination.is_ipv6();
    let quote = packet.len().min(out.len() - ICMP_HEADER_LEN);
    let out = &mut out[..ICMP_HEADER_LEN + quote];
    out[..ICMP_HEADER_LEN].fill(0);
    out[0] = if v6 { UNREACHABLE_V6 } else { UNREACHABLE_V4 };
    out[1] = kind.code(v6);
    out[ICMP_HEADER_LEN..].copy_from_slice(&packet[..quote]);
    fill_checksum(source, destination, out);
    out.len()
}

/// Turns an echo request into its reply in place; `false` when it is none.
///
/// The addresses are those of the reply.
pub fn echo_reply_in_place(source: IpAddr, destination: IpAddr, message: &mut [u8]) -> bool {
    let v6 = destination.is_ipv6();
    let request = if v6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST_V4 };
    if message.len() < ICMP_HEADER_LEN || message[0] != request || message[1] != 0 {
        return false;
    }
    message[0] = if v6 { ECHO_REPLY_V6 } else { ECHO_REPLY_V4 };
    fill_checksum(source, destination, message);
    true
}

/// Whether the checksum of an ICMP or ICMPv6 message fits; only the latter covers the addresses.
pub fn verify(source: IpAddr, destination: IpAddr, message: &[u8]) -> bool {
    if destination.is_ipv6() {
        checksum::verify(source, destination, Protocol::ICMPV6, message)
    } else {
        checksum::fold(checksum::sum(message)) == 0xffff
    }
}

fn fill_checksum(source: IpAddr, destination: IpAddr, message: &mut [u8]) {
    message[2..4].fill(0);
    let pseudo = if destination.is_ipv6() {
        checksum::pseudo_header(source, destination, Protocol::ICMPV6, message.len())
    } else {
        0
    };
    let value = checksum::finish(pseudo + checksum::sum(message));
    message[2..4].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::IpHeader;

    #[test]
    fn an_error_names_the_flow_it_quotes() {
        for (gateway, guest) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (gateway, guest): (IpAddr, IpAddr) =
                (gateway.parse().unwrap(), guest.parse().unwrap());
            let header = IpHeader {
                source: gateway,
                destination: guest,
                protocol: Protocol::UDP,
                hop_limit: 64,
                payload_len: 8,
                fragment: None,
            };
            let mut packet = vec![0; header.len() + 8];
            header.emit(&mut packet);
            let at = header.len();
            packet[at..at + 4].copy_from_slice(&[0x10, 0x00, 0, 53]);
            let mut out = [0; 200];
            for kind in [
                Unreachable::Port,
                Unreachable::Host,
                Unreachable::Network,
                Unreachable::Prohibited,
            ] {
                let length = emit_unreachable(guest, gateway, kind, &packet, &mut out);
                assert!(verify(guest, gateway, &out[..length]));
                let error = IcmpError::parse(&out[..length], guest.is_ipv6()).unwrap();
                assert_eq!(error.unreachable, kind);
                assert_eq!(error.quoted.guest, SocketAddr::new(guest, 53));
                assert_eq!(error.quoted.remote, SocketAddr::new(gateway, 0x1000));
                for cut in 0..ICMP_HEADER_LEN + at + 4 {
                    assert_eq!(IcmpError::parse(&out[..cut], guest.is_ipv6()), None);
                }
            }
        }
    }

    #[test]
    fn an_echo_is_answered_in_place() {
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut message = [8, 0, 0, 0, 1, 2, 3, 4, 5];
        assert!(echo_reply_in_place(a, b, &mut message));
        assert_eq!(message[0], 0);
        assert!(verify(a, b, &message));
        assert!(!echo_reply_in_place(a, b, &mut message));
    }
}
