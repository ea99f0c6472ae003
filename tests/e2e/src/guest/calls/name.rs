//! Names: asked of a server by hand, or of the C library as any program does.
//!
//! | call | what it does, and what it answers |
//! |---|---|
//! | `ask SERVER NAME TYPE [tcp] [edns=N]` | `RCODE [tc] RECORD…`, the records by text |
//! | `look NAME` | getaddrinfo(3): the addresses in order, or `none` |
//! | `gateway v4\|v6` | the default gateway; the global one of its two for IPv6 |
//! | `resolvers` | the name servers of `/etc/resolv.conf` |
//! | `look-and-line NAME PORT` | the same, then a line to the first of them and its answer |

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use portreeve_e2e::dns::{Answer, query, type_number};

use super::{PATIENCE, Words, any};

/// A query that is not answered is asked again after this.
const AGAIN: Duration = Duration::from_secs(8);

pub(super) fn call(words: &Words) -> io::Result<String> {
    match words.text(1) {
        "ask" => ask(words),
        "look" => {
            let found = look(words.text(2), 0)?;
            let mut found: Vec<_> = found.iter().map(|at| at.ip().to_string()).collect();
            found.dedup();
            Ok(found.join(" "))
        }
        "look-and-line" => {
            let to = look(words.text(2), words.parsed(3))?[0];
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"hello\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.trim().to_owned())
        }
        "gateway" => {
            let v6 = words.has("v6");
            let found = resolvers()?.into_iter().find(|server| server.is_ipv6() == v6);
            Ok(found.map_or_else(|| "none".into(), |server| server.to_string()))
        }
        "resolvers" => {
            let found: Vec<_> = resolvers()?.iter().map(ToString::to_string).collect();
            Ok(found.join(" "))
        }
        what => panic!("{what}: no such call"),
    }
}

/// The gateway is the guest's name server, too.
fn resolvers() -> io::Result<Vec<IpAddr>> {
    let text = std::fs::read_to_string("/etc/resolv.conf")?;
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
    Ok(servers.filter_map(|server| server.trim().parse().ok()).collect())
}

fn look(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((name, port).to_socket_addrs()?.collect())
}

fn ask(words: &Words) -> io::Result<String> {
    let server: SocketAddr = words.address();
    let kind = type_number(words.text(4)).expect("a type");
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or(0) ^ 0x5aa5;
    let query = query(id, words.text(3), kind, words.named("edns"));
    let answer =
        if words.has("tcp") { over_tcp(server, &query)? } else { over_udp(server, &query)? };
    let answer = Answer::read(&answer).ok_or_else(|| io::Error::other("not an answer"))?;
    if answer.id != id {
        return Ok("another id".into());
    }
    Ok(answer.to_string())
}

fn over_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((any(server.ip()), 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(AGAIN))?;
    socket.send(query)?;
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// RFC 7766 §8: a length in front of each message.
fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
