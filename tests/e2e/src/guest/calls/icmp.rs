//! Echo requests, and hops counted by what comes back.
//!
//! | call | what it does, and what it answers |
//! |---|---|
//! | `ping ADDR [size=N] [wait=MS]` | through a ping socket, three times if it must: `ok`, `wrong`, or errno |
//! | `trace PROTO ADDR MOST [port=P]` | hop by hop by `udp` or `icmp` until there: `HOP HOP …` |
//!
//! Tracing reads errors from a raw socket and needs `CAP_NET_RAW`. A hop is an address, or `*`.
//! Spec: icmp(7), RFC 792, RFC 4443.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use portreeve_e2e::content::{self, Way};
use portreeve_e2e::sys;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Words, any};

/// An answer that takes longer is asked for again.
const AGAIN: Duration = Duration::from_secs(3);

/// What the first router is asked through, as traceroute(8) has it.
const TRACE_PORT: u16 = 33_434;

pub(super) fn call(words: &Words) -> io::Result<String> {
    match words.text(1) {
        "ping" => ping(words),
        "trace" => trace(words),
        what => panic!("{what}: no such call"),
    }
}

fn protocol(of: IpAddr) -> Protocol {
    if of.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 }
}

fn socket(to: IpAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address((to, 0).into()), kind, Some(protocol(to)))?;
    socket.set_read_timeout(Some(AGAIN))?;
    let _ = socket.set_recv_buffer_size(1 << 20);
    Ok(socket)
}

/// An echo request; the kernel fills in what a ping socket is known by, and ICMPv6 checksums.
fn request(v6: bool, id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let kind = if v6 { 128 } else { 8 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(data);
    if !v6 {
        let sum = super::raw::checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

fn ping(words: &Words) -> io::Result<String> {
    let to: IpAddr = words.parsed(2);
    let mut socket = socket(to, Type::DGRAM)?;
    socket.set_read_timeout(Some(words.milliseconds("wait").unwrap_or(AGAIN)))?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    let data = content::bytes(Way::FromGuest, words.named("size").unwrap_or(56));
    let mut last = io::ErrorKind::TimedOut.into();
    for sequence in 1..=3 {
        socket.send(&request(to.is_ipv6(), 0, sequence, &data))?;
        let mut answer = vec![0; 66_000];
        match socket.read(&mut answer) {
            Ok(length) if length >= 8 && answer[8..length] == *data => return Ok("ok".into()),
            Ok(length) => return Ok(format!("wrong: {length} bytes")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn trace(words: &Words) -> io::Result<String> {
    let by_udp = words.text(2) == "udp";
    let to: IpAddr = words.parsed(3);
    let listener = socket(to, Type::RAW)?;
    let port = words.named("port").unwrap_or(TRACE_PORT);
    let mut hops: Vec<String> = Vec::new();
    for hop in 1..=u32::try_from(words.number(4)).map_err(io::Error::other)? {
        let found = (0..3).find_map(|_| {
            let sent = if by_udp { probe_udp(to, port, hop) } else { probe_icmp(to, hop) };
            let marks = sent.map_err(|error| hops.push(super::errno(&error))).ok()?;
            hear(&listener, to.is_ipv6(), &marks)
        });
        hops.push(found.map_or_else(|| "*".to_owned(), |hop| hop.to_string()));
        if found == Some(to) {
            break;
        }
    }
    Ok(hops.join(" "))
}

/// What an answer to a probe can be known by.
enum Marks {
    /// In the quote: the port it came from.
    Port(u16),
    /// In the quote or the reply: identifier and sequence number.
    Echo(u16, u16),
}

fn probe_udp(to: IpAddr, port: u16, hop: u32) -> io::Result<Marks> {
    let socket = UdpSocket::bind((any(to), 0))?;
    set_hop_limit(&Socket::from(socket.try_clone()?), to, hop)?;
    socket.send_to(b"hop", (to, port))?;
    Ok(Marks::Port(socket.local_addr()?.port()))
}

fn probe_icmp(to: IpAddr, hop: u32) -> io::Result<Marks> {
    let socket = socket(to, Type::RAW)?;
    set_hop_limit(&socket, to, hop)?;
    // One identifier for all: each hop is a sequence number.
    let (id, sequence) = (0x7072, u16::try_from(hop).map_err(io::Error::other)?);
    socket.send_to(&request(to.is_ipv6(), id, sequence, b"hop"), &SocketAddr::new(to, 0).into())?;
    Ok(Marks::Echo(id, sequence))
}

fn set_hop_limit(socket: &Socket, to: IpAddr, hop: u32) -> io::Result<()> {
    if to.is_ipv4() { socket.set_ttl_v4(hop) } else { socket.set_unicast_hops_v6(hop) }
}

/// Who answered the probe with these marks.
fn hear(listener: &Socket, v6: bool, marks: &Marks) -> Option<IpAddr> {
    let until = Instant::now() + AGAIN;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        listener.set_read_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
        let mut buffer = [0_u8; 2048];
        let Ok((length, from)) = sys::receive_from(listener, &mut buffer) else { continue };
        let bytes = &buffer[..length];
        // A raw IPv4 socket shows the header, a raw IPv6 socket does not.
        let header = if v6 { 0 } else { usize::from(bytes[0] & 0xf) * 4 };
        if bytes.get(header..).is_some_and(|message| answers(message, v6, marks)) {
            return Some(from);
        }
    }
    None
}

fn answers(message: &[u8], v6: bool, marks: &Marks) -> bool {
    let pair = |at: usize| message.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (reply, errors): (u8, &[u8]) = if v6 { (129, &[1, 3]) } else { (0, &[3, 11]) };
    let Some(&kind) = message.first() else { return false };
    // Behind the error's own eight bytes stands the packet it is about.
    let inner = 8 + if v6 { 40 } else { usize::from(message.get(8).map_or(5, |b| b & 0xf)) * 4 };
    match marks {
        Marks::Port(port) => errors.contains(&kind) && pair(inner) == Some(*port),
        Marks::Echo(id, sequence) => {
            let at = if kind == reply { 4 } else { inner + 4 };
            (kind == reply || errors.contains(&kind))
                && (pair(at), pair(at + 2)) == (Some(*id), Some(*sequence))
        }
    }
}
