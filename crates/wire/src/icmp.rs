//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo messages and errors.
//!
//! Owns the layout of messages and of the packet quoted in an error. Which error answers what is
//! the core's to decide. Errors share one vocabulary across both families: [`ErrorKind`].

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
const TIME_EXCEEDED_V4: u8 = 11;
const TIME_EXCEEDED_V6: u8 = 3;
const TOO_BIG_V6: u8 = 2;
/// Code of a destination-unreachable message that says "fragmentation needed". RFC 1191 §4.
const FRAGMENTATION_NEEDED: u8 = 4;

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

/// What an ICMP error says of the packet it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It cannot reach its destination.
    Unreachable(Unreachable),
    /// It is too big for a link on its way, and may not be fragmented there.
    TooBig {
        /// The link's MTU in bytes; 0 when the reporter does not say.
        mtu: u32,
    },
    /// Its hop limit was used up on the way.
    TimeExceeded,
}

impl ErrorKind {
    /// Type, code and the four bytes behind the checksum.
    fn fields(self, v6: bool) -> (u8, u8, u32) {
        match (self, v6) {
            (Self::Unreachable(kind), false) => (UNREACHABLE_V4, kind.code(false), 0),
            (Self::Unreachable(kind), true) => (UNREACHABLE_V6, kind.code(true), 0),
            // RFC 1191 §4: the low half only.
            (Self::TooBig { mtu }, false) => {
                (UNREACHABLE_V4, FRAGMENTATION_NEEDED, mtu.min(0xffff))
            }
            (Self::TooBig { mtu }, true) => (TOO_BIG_V6, 0, mtu),
            (Self::TimeExceeded, false) => (TIME_EXCEEDED_V4, 0, 0),
            (Self::TimeExceeded, true) => (TIME_EXCEEDED_V6, 0, 0),
        }
    }

    /// `None` for what is no error of these kinds.
    fn from_header(header: &[u8; ICMP_HEADER_LEN], v6: bool) -> Option<Self> {
        let rest = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        match (header[0], header[1], v6) {
            (UNREACHABLE_V4, FRAGMENTATION_NEEDED, false) => {
                Some(Self::TooBig { mtu: rest & 0xffff })
            }
            (TOO_BIG_V6, _, true) => Some(Self::TooBig { mtu: rest }),
            (UNREACHABLE_V4, code, false) | (UNREACHABLE_V6, code, true) => {
                Some(Self::Unreachable(Unreachable::from_code(code, v6)))
            }
            // Code 1 speaks of reassembly, which is the receiver's own affair.
            (TIME_EXCEEDED_V4, 0, false) | (TIME_EXCEEDED_V6, 0, true) => Some(Self::TimeExceeded),
            _ => None,
        }
    }
}

/// What an ICMP error says, and of which flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The kind of error.
    pub kind: ErrorKind,
    /// Key of the flow whose packet is quoted, seen from the guest that received that packet:
    /// the quoted source is the remote, the quoted destination the guest.
    pub quoted: FlowKey,
}

impl IcmpError {
    /// Reads an error that a guest sent about a packet it received.
    ///
    /// `None` for every other message and for quotes too short to name a flow.
    pub fn parse(message: &[u8], v6: bool) -> Option<Self> {
        let header: &[u8; ICMP_HEADER_LEN] = message.first_chunk()?;
        Some(Self {
            kind: ErrorKind::from_header(header, v6)?,
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

/// Writes an error that quotes `packet` into `out` and returns its length.
///
/// As much of `packet` is quoted as `out` has room for; both addresses are those of the message.
///
/// # Panics
/// When `out` is shorter than [`ICMP_HEADER_LEN`].
pub fn emit_error(
    source: IpAddr,
    destination: IpAddr,
    kind: ErrorKind,
    packet: &[u8],
    out: &mut [u8],
) -> usize {
    let v6 = destination.is_ipv6();
    let quote = packet.len().min(out.len() - ICMP_HEADER_LEN);
    let out = &mut out[..ICMP_HEADER_LEN + quote];
    let (message_type, code, rest) = kind.fields(v6);
    out[..ICMP_HEADER_LEN].fill(0);
    out[0] = message_type;
    out[1] = code;
    out[4..8].copy_from_slice(&rest.to_be_bytes());
    out[ICMP_HEADER_LEN..].copy_from_slice(&packet[..quote]);
    fill_checksum(source, destination, out);
    out.len()
}

/// An echo request or reply: the fields that a translator looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whether it is a request.
    pub request: bool,
    /// Names the asker's socket.
    pub identifier: u16,
    /// Names the request among those of one identifier.
    pub sequence: u16,
}

impl Echo {
    /// Reads an echo message; `None` for every other.
    pub fn parse(message: &[u8], v6: bool) -> Option<Self> {
        let header: &[u8; ICMP_HEADER_LEN] = message.first_chunk()?;
        let request = match (header[0], header[1], v6) {
            (ECHO_REQUEST_V4, 0, false) | (ECHO_REQUEST_V6, 0, true) => true,
            (ECHO_REPLY_V4, 0, false) | (ECHO_REPLY_V6, 0, true) => false,
            _ => return None,
        };
        let identifier = u16::from_be_bytes([header[4], header[5]]);
        let sequence = u16::from_be_bytes([header[6], header[7]]);
        Some(Self { request, identifier, sequence })
    }
}

/// Gives an echo message another identifier, and the checksum that fits; the addresses are those
/// it will travel with. `false` when it is none.
pub fn set_echo_identifier(
    source: IpAddr,
    destination: IpAddr,
    identifier: u16,
    message: &mut [u8],
) -> bool {
    if Echo::parse(message, destination.is_ipv6()).is_none() {
        return false;
    }
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    fill_checksum(source, destination, message);
    true
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
                ErrorKind::Unreachable(Unreachable::Port),
                ErrorKind::Unreachable(Unreachable::Host),
                ErrorKind::Unreachable(Unreachable::Network),
                ErrorKind::Unreachable(Unreachable::Prohibited),
                ErrorKind::TooBig { mtu: 1280 },
                ErrorKind::TimeExceeded,
            ] {
                let length = emit_error(guest, gateway, kind, &packet, &mut out);
                assert!(verify(guest, gateway, &out[..length]));
                let error = IcmpError::parse(&out[..length], guest.is_ipv6()).unwrap();
                assert_eq!(error.kind, kind);
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

    #[test]
    fn an_echo_gets_another_identifier() {
        for (a, b, request) in [("10.0.0.1", "10.0.0.2", 8), ("fd00::1", "fd00::2", 128)] {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            let mut message = [request, 0, 0, 0, 1, 2, 3, 4, 5];
            assert!(set_echo_identifier(a, b, 0xbeef, &mut message));
            let echo = Echo::parse(&message, b.is_ipv6());
            assert_eq!(echo, Some(Echo { request: true, identifier: 0xbeef, sequence: 0x0304 }));
            assert!(verify(a, b, &message));
            assert!(!set_echo_identifier(a, b, 1, &mut message[..7]));
            assert_eq!(Echo::parse(&message, a.is_ipv4()), None, "the other family's type");
        }
    }
}
