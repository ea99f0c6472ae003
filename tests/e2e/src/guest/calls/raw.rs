//! Packets put together by hand. They need `CAP_NET_RAW`.
//!
//! | call | what it does |
//! |---|---|
//! | `udp ADDR SOURCE COUNT` | datagrams with another source address |
//! | `overlap ADDR COUNT` | datagrams to ADDR in two fragments that overlap |
//! | `missing ADDR COUNT` | first fragments of as many datagrams, and nothing else of them |
//! | `fragments ADDR N` | N bytes in fragments, the last one first |
//! | `syn ADDR` | a SYN to an address that the kernel's sockets would not go to |
//! | `datagram ADDR` | the same with a datagram |
//!
//! Spec: raw(7), RFC 791 §3.1, RFC 8200 §4.5.

use std::io;
use std::net::{IpAddr, SocketAddr};

use portreeve_e2e::content::{self, Way};
use socket2::{Domain, Protocol, Socket, Type};

use super::Words;

/// Bytes of a fragment here; a multiple of eight.
const FRAGMENT: usize = 1024;

const UDP: u8 = 17;
const TCP: u8 = 6;
/// RFC 8200 §4.5.
const FRAGMENT_HEADER: u8 = 44;

pub(super) fn call(words: &Words) -> io::Result<String> {
    let to = words.address();
    let own = own_address(to)?;
    let socket = Raw::open(to)?;
    match words.text(1) {
        "udp" => {
            let source: IpAddr = words.parsed(3);
            for at in 0..words.number(4) {
                let port = 20_000 + u16::try_from(at % 1000).unwrap_or(0);
                let datagram = udp(source, port, to, b"spoofed");
                socket.send(source, UDP, &datagram)?;
            }
        }
        "overlap" => {
            for at in 0..words.number(3) {
                let id = 0x1000 + u32::try_from(at).unwrap_or(0);
                let datagram = udp(own, 21_000, to, &content::bytes(Way::FromGuest, 2000));
                let middle = FRAGMENT - 8;
                socket.fragment(own, id, 0, true, &datagram[..FRAGMENT])?;
                socket.fragment(own, id, middle, false, &datagram[middle..])?;
            }
        }
        "missing" => {
            for at in 0..words.number(3) {
                let id = 0x2000 + u32::try_from(at).unwrap_or(0);
                let datagram = udp(own, 22_000, to, &content::bytes(Way::FromGuest, 2000));
                socket.fragment(own, id, 0, true, &datagram[..FRAGMENT])?;
            }
        }
        "fragments" => {
            let length = usize::try_from(words.number(3)).map_err(io::Error::other)?;
            let datagram = udp(own, 23_000, to, &content::bytes(Way::FromGuest, length));
            let pieces: Vec<_> = datagram.chunks(FRAGMENT).enumerate().collect();
            for (at, piece) in pieces.iter().rev() {
                let more = at + 1 != pieces.len();
                socket.fragment(own, 0x3000, at * FRAGMENT, more, piece)?;
            }
        }
        "syn" => socket.send(own, TCP, &syn(own, to))?,
        "datagram" => socket.send(own, UDP, &udp(own, 25_000, to, b"datagram"))?,
        what => panic!("{what}: no such call"),
    }
    Ok("sent".into())
}

/// The address this guest sends from.
fn own_address(to: SocketAddr) -> io::Result<IpAddr> {
    let socket = std::net::UdpSocket::bind((super::any(to.ip()), 0))?;
    // A prefix for documentation: everything leaves by the one default route.
    let somewhere = if to.is_ipv4() { "192.0.2.1:9" } else { "[2001:db8::9]:9" };
    socket.connect(somewhere)?;
    Ok(socket.local_addr()?.ip())
}

struct Raw {
    socket: Socket,
    to: SocketAddr,
}

impl Raw {
    fn open(to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(to),
            Type::RAW,
            Some(Protocol::from(libc::IPPROTO_RAW)),
        )?;
        socket.set_broadcast(true)?;
        // IPPROTO_RAW: the header comes with every packet, in both families.
        Ok(Self { socket, to })
    }

    /// A whole packet.
    fn send(&self, source: IpAddr, protocol: u8, upper: &[u8]) -> io::Result<()> {
        self.put(&header(source, self.to.ip(), protocol, upper.len(), 0x77, 0), upper)
    }

    /// A part of one.
    fn fragment(
        &self,
        source: IpAddr,
        id: u32,
        at: usize,
        more: bool,
        part: &[u8],
    ) -> io::Result<()> {
        let offset = u16::try_from(at / 8).map_err(io::Error::other)?;
        if self.to.is_ipv4() {
            let id = u16::try_from(id).map_err(io::Error::other)?;
            let flags = offset | if more { 0x2000 } else { 0 };
            return self.put(&header(source, self.to.ip(), UDP, part.len(), id, flags), part);
        }
        let mut upper = vec![UDP, 0];
        upper.extend((offset << 3 | u16::from(more)).to_be_bytes());
        upper.extend(id.to_be_bytes());
        upper.extend(part);
        self.put(&header(source, self.to.ip(), FRAGMENT_HEADER, upper.len(), 0, 0), &upper)
    }

    fn put(&self, header: &[u8], upper: &[u8]) -> io::Result<()> {
        // A raw socket takes no port.
        let to = SocketAddr::new(self.to.ip(), 0);
        self.socket.send_to(&[header, upper].concat(), &to.into()).map(drop)
    }
}

fn header(source: IpAddr, to: IpAddr, protocol: u8, length: usize, id: u16, flags: u16) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut header = Vec::new();
    match (source, to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            header.extend([0x45, 0]);
            header.extend(short(20 + length));
            header.extend(id.to_be_bytes());
            header.extend(flags.to_be_bytes());
            // The kernel fills in the checksum.
            header.extend([64, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(to.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            header.extend([0x60, 0, 0, 0]);
            header.extend(short(length));
            header.extend([protocol, 64]);
            header.extend(source.octets());
            header.extend(to.octets());
        }
        _ => panic!("{source} and {to}"),
    }
    header
}

fn udp(source: IpAddr, port: u16, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(port.to_be_bytes());
    datagram.extend(to.port().to_be_bytes());
    datagram.extend(u16::try_from(8 + data.len()).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let sum = transport_checksum(source, to.ip(), UDP, &datagram);
    // RFC 768: none is written as all ones.
    let sum = if sum == 0 { 0xffff } else { sum };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn syn(source: IpAddr, to: SocketAddr) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(24_000_u16.to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = transport_checksum(source, to.ip(), TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// With the pseudo-header of RFC 9293 §3.1 and RFC 8200 §8.1.
fn transport_checksum(source: IpAddr, to: IpAddr, protocol: u8, upper: &[u8]) -> u16 {
    let mut all = Vec::new();
    for address in [source, to] {
        match address {
            IpAddr::V4(address) => all.extend(address.octets()),
            IpAddr::V6(address) => all.extend(address.octets()),
        }
    }
    all.extend([0, protocol]);
    all.extend(u16::try_from(upper.len()).unwrap().to_be_bytes());
    all.extend(upper);
    checksum(&all)
}

/// RFC 1071.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
