//! Telling clients that a UDP port is closed.
//!
//! Owns two raw sockets that only send, and the making of port-unreachable messages. They need
//! `CAP_NET_RAW`; without it, clients of a closed port see silence. Does not limit its rate:
//! that is for the engine to do.
//!
//! Spec: RFC 792 and RFC 1812 §4.3.2 (ICMP), RFC 4443 §2.4 and §3.1 (ICMPv6), RFC 768.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use portreeve_wire::checksum;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto};

use crate::sys::{self, Outgoing, SendControl};

/// A client's datagram that nobody took.
#[derive(Clone, Copy, Debug)]
pub struct RefusedDatagram<'a> {
    /// Who sent it.
    pub client: SocketAddr,
    /// The address and port of this host that it was sent to. Of the client's family.
    pub local: SocketAddr,
    /// Its payload, or how it begins.
    pub payload: &'a [u8],
    /// The length of its whole payload.
    pub payload_len: usize,
}

/// Raw sockets for ICMP and ICMPv6.
#[derive(Debug)]
pub struct RawIcmp {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl RawIcmp {
    /// Opens the sockets; none when the process lacks the right (`CAP_NET_RAW`). A family the
    /// host does not have is left out.
    ///
    /// # Errors
    /// Anything else than a lacking right, such as a lack of descriptors.
    pub fn open() -> io::Result<Option<Self>> {
        let v4 = open(AddressFamily::INET, ipproto::ICMP);
        let v6 = open(AddressFamily::INET6, ipproto::ICMPV6);
        let forbidden = |opened: &io::Result<Option<OwnedFd>>| matches!(opened, Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
        if forbidden(&v4) || forbidden(&v6) {
            return Ok(None);
        }
        Ok(Some(Self { v4: v4?, v6: v6? }))
    }

    /// Tells the client of a datagram that its port is closed, from the address it was sent to.
    ///
    /// # Errors
    /// `InvalidInput` when client and local address are of different families, `Unsupported`
    /// when the host lacks that family, `WouldBlock` when there is no room; else the kernel's.
    pub fn send_port_unreachable(&self, refused: &RefusedDatagram<'_>) -> io::Result<()> {
        let client = sys::canonical(refused.client);
        let local = sys::canonical(refused.local);
        let (socket, family, message) = match (client.ip(), local.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (&self.v4, AddressFamily::INET, unreachable_v4(refused, from, to))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                (&self.v6, AddressFamily::INET6, unreachable_v6(refused, from, to))
            }
            _ => {
                let what = "client and local address are of different families";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
        };
        let socket = socket.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // On a raw socket the port of an address means a protocol.
        let mut destination = client;
        destination.set_port(0);
        let control = SendControl { source: Some(local.ip()), ..SendControl::default() };
        let outgoing = Outgoing { head: &[], payload: &message, destination, control };
        sys::send_many::<1>(socket.as_fd(), family, std::iter::once(outgoing))?;
        Ok(())
    }
}

fn open(family: AddressFamily, protocol: Protocol) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = match rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol)) {
        Ok(fd) => fd,
        Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // A raw socket is given a copy of all ICMP the host receives.
    sys::drop_incoming(fd.as_fd())?;
    Ok(Some(fd))
}

/// The ICMP message for a datagram from `client` to `local`, which it quotes.
fn unreachable_v4(refused: &RefusedDatagram<'_>, client: Ipv4Addr, local: Ipv4Addr) -> Vec<u8> {
    let udp_len = UDP_HEADER_LEN + refused.payload_len;
    let mut message = vec![ICMP_UNREACHABLE, ICMP_PORT, 0, 0, 0, 0, 0, 0];
    let ip = message.len();
    message.extend([0x45, 0]);
    message.extend(length_field(IPV4_HEADER_LEN + udp_len));
    message.extend([0, 0, 0, 0, QUOTED_TTL, ipproto::UDP.as_raw().get() as u8, 0, 0]);
    message.extend(client.octets());
    message.extend(local.octets());
    let header_sum = checksum::finish(checksum::sum(&message[ip..]));
    message[ip + 10..ip + 12].copy_from_slice(&header_sum.to_be_bytes());
    quote_udp(&mut message, refused, udp_len, IPV4_MESSAGE_MAX);
    let sum = checksum::finish(checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The ICMPv6 message for a datagram from `client` to `local`, which it quotes. The kernel fills
/// in the checksum (RFC 3542 §3.1).
fn unreachable_v6(refused: &RefusedDatagram<'_>, client: Ipv6Addr, local: Ipv6Addr) -> Vec<u8> {
    let udp_len = UDP_HEADER_LEN + refused.payload_len;
    let mut message = vec![ICMPV6_UNREACHABLE, ICMPV6_PORT, 0, 0, 0, 0, 0, 0];
    message.extend([0x60, 0, 0, 0]);
    message.extend(length_field(udp_len));
    message.extend([ipproto::UDP.as_raw().get() as u8, QUOTED_TTL]);
    message.extend(client.octets());
    message.extend(local.octets());
    quote_udp(&mut message, refused, udp_len, IPV6_MESSAGE_MAX);
    message
}

/// Appends the UDP header and as much of the payload as a message of `limit` bytes may have.
fn quote_udp(message: &mut Vec<u8>, refused: &RefusedDatagram<'_>, udp_len: usize, limit: usize) {
    message.extend(refused.client.port().to_be_bytes());
    message.extend(refused.local.port().to_be_bytes());
    message.extend(length_field(udp_len));
    // The client's checksum is not known any more; none looks at that of a quotation.
    message.extend([0, 0]);
    let room = limit.saturating_sub(message.len());
    message.extend(&refused.payload[..refused.payload.len().min(room)]);
}

fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

const ICMP_UNREACHABLE: u8 = 3;
const ICMP_PORT: u8 = 3;
const ICMPV6_UNREACHABLE: u8 = 1;
const ICMPV6_PORT: u8 = 4;
const IPV4_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const QUOTED_TTL: u8 = 64;
/// RFC 1812 §4.3.2.3: the packet should not exceed 576 bytes.
const IPV4_MESSAGE_MAX: usize = 576 - IPV4_HEADER_LEN;
/// RFC 4443 §2.4 (c): the packet must not exceed the least MTU of IPv6.
const IPV6_MESSAGE_MAX: usize = 1280 - 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<'a>(client: &str, local: &str, payload: &'a [u8]) -> RefusedDatagram<'a> {
        RefusedDatagram {
            client: client.parse().unwrap(),
            local: local.parse().unwrap(),
            payload,
            payload_len: payload.len(),
        }
    }

    #[test]
    fn the_message_quotes_the_datagram_and_stays_within_bounds() {
        let payload = vec![7; 2000];
        let v4 = refused("192.0.2.1:1000", "192.0.2.2:53", &payload);
        let message = unreachable_v4(&v4, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!(message.len(), IPV4_MESSAGE_MAX);
        assert_eq!(message[..2], [3, 3]);
        assert_eq!(checksum::finish(checksum::sum(&message)), 0, "the whole sums up");
        assert_eq!(checksum::finish(checksum::sum(&message[8..28])), 0, "so does the header");
        assert_eq!(message[10..12], 2028u16.to_be_bytes());
        assert_eq!(message[28..34], [0x03, 0xe8, 0, 53, 0x07, 0xd8]);

        let v6 = refused("[2001:db8::1]:1000", "[2001:db8::2]:53", &payload);
        let (from, to) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let message = unreachable_v6(&v6, from, to);
        assert_eq!(message.len(), IPV6_MESSAGE_MAX);
        assert_eq!(message[..2], [1, 4]);
        assert_eq!(message[12..14], 2008u16.to_be_bytes());
    }

    #[test]
    fn a_prefix_is_quoted_under_the_length_of_the_whole() {
        let mut datagram = refused("192.0.2.1:1000", "192.0.2.2:53", b"begin");
        datagram.payload_len = 1000;
        let message = unreachable_v4(&datagram, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert_eq!(message.len(), 8 + 20 + 8 + 5);
        assert_eq!(message[32..34], 1008u16.to_be_bytes());
    }
}
