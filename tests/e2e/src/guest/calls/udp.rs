//! Datagrams of the guest's own.
//!
//! | call | what it does, and what it answers |
//! |---|---|
//! | `echo ADDR N [df]` | one and its answer, three times if it must: `ok`, `wrong`, or the errno |
//! | `ask ADDR WORD [port=P] [wait=MS]` | the text of the answer |
//! | `refused ADDR [word=W] [tries=N]` | sends until its connected socket hears why not: `ERRNO MS` |
//! | `mtu ADDR N` | sends N bytes that may not be cut until they are too long: `MTU` |
//! | `sources ADDR COUNT` | one datagram each from so many ports, which are closed: `sent COUNT` |
//! | `open PORT [v4\|v6]` | opens a socket that stays |
//! | `send PORT ADDR WORD` | sends from an open socket |
//! | `heard PORT wait=MS` | the next datagram of an open socket: `FROM TEXT`, or `timeout` |
//! | `close PORT` | closes an open socket |
//! | `group ADDR` | to a group or everybody: `sent`, or the errno |

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portreeve_e2e::content::{self, Way};
use portreeve_e2e::sys;
use socket2::SockRef;

use super::{Words, any, errno, timed};

static OPEN: Mutex<BTreeMap<u16, UdpSocket>> = Mutex::new(BTreeMap::new());

/// An answer that takes longer is asked for again.
const AGAIN: Duration = Duration::from_secs(3);

pub(super) fn call(words: &Words) -> io::Result<String> {
    match words.text(1) {
        "echo" => echo(words),
        "ask" => {
            let socket = connected(words)?;
            let wait = words.milliseconds("wait").unwrap_or(AGAIN);
            socket.set_read_timeout(Some(wait))?;
            socket.send(words.text(3).as_bytes())?;
            let mut answer = [0; 2048];
            let length = socket.recv(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
        }
        "refused" => refused(words),
        "mtu" => mtu(words),
        "sources" => {
            let to = words.address();
            for _ in 0..words.number(3) {
                UdpSocket::bind((any(to.ip()), 0))?.send_to(b"once", to)?;
            }
            Ok(format!("sent {}", words.number(3)))
        }
        "open" => {
            let address: IpAddr = if words.has("v6") {
                Ipv6Addr::UNSPECIFIED.into()
            } else {
                Ipv4Addr::UNSPECIFIED.into()
            };
            let socket = UdpSocket::bind((address, words.parsed(2)))?;
            let port = socket.local_addr()?.port();
            OPEN.lock().unwrap().insert(port, socket);
            Ok(format!("open {port}"))
        }
        "send" => {
            let to: SocketAddr = words.parsed(3);
            opened(words)?.send_to(words.text(4).as_bytes(), to)?;
            Ok("sent".into())
        }
        "heard" => {
            let socket = opened(words)?;
            socket.set_read_timeout(words.milliseconds("wait"))?;
            let mut text = [0; 2048];
            let (length, from) = socket.recv_from(&mut text)?;
            Ok(format!("{from} {}", String::from_utf8_lossy(&text[..length])))
        }
        "close" => {
            let closed = OPEN.lock().unwrap().remove(&words.parsed(2));
            Ok(closed.map_or("not open", |_| "closed").into())
        }
        "group" => {
            let to = words.address();
            let socket = UdpSocket::bind((any(to.ip()), 0))?;
            socket.set_broadcast(true)?;
            socket.send_to(b"group", to)?;
            Ok("sent".into())
        }
        what => panic!("{what}: no such call"),
    }
}

fn opened(words: &Words) -> io::Result<UdpSocket> {
    OPEN.lock().unwrap()[&words.parsed(2)].try_clone()
}

fn connected(words: &Words) -> io::Result<UdpSocket> {
    let to = words.address();
    let socket = UdpSocket::bind((any(to.ip()), words.named("port").unwrap_or(0)))?;
    // Room for the largest there is, on a machine that is busy with others.
    let _ = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    socket.connect(to)?;
    socket.set_read_timeout(Some(AGAIN))?;
    Ok(socket)
}

fn echo(words: &Words) -> io::Result<String> {
    let socket = connected(words)?;
    if words.has("df") {
        sys::forbid_fragments(&socket, words.address().is_ipv6())?;
    }
    let length = usize::try_from(words.number(3)).map_err(io::Error::other)?;
    let request = content::bytes(Way::FromGuest, length);
    let mut answer = vec![0; 65_536];
    let mut last = io::ErrorKind::TimedOut.into();
    // A datagram may be lost on a busy machine, but not three in a row.
    for _ in 0..3 {
        match socket.send(&request).and_then(|_| socket.recv(&mut answer)) {
            Ok(length) if answer[..length] == *request => return Ok("ok".into()),
            Ok(length) => return Ok(format!("wrong: {length} bytes")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => last = error,
            // ip(7): how a socket hears of the path's MTU. The kernel cuts the next one itself.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) && !words.has("df") => {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn refused(words: &Words) -> io::Result<String> {
    let socket = connected(words)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let word: String = words.named("word").unwrap_or_else(|| "anybody?".into());
    let started = Instant::now();
    for _ in 0..words.named("tries").unwrap_or(10) {
        // Whichever hears of it.
        let heard = socket.send(word.as_bytes()).and_then(|_| socket.recv(&mut [0; 2048]));
        match heard {
            Ok(_) => return Ok(timed(started, "answered")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Ok(timed(started, &errno(&error))),
        }
    }
    Ok(timed(started, "timeout"))
}

fn mtu(words: &Words) -> io::Result<String> {
    let socket = connected(words)?;
    let v6 = words.address().is_ipv6();
    sys::forbid_fragments(&socket, v6)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let length = usize::try_from(words.number(3)).map_err(io::Error::other)?;
    let datagram = content::bytes(Way::FromGuest, length);
    for _ in 0..20 {
        match socket.send(&datagram).and_then(|_| socket.recv(&mut [0; 2048])) {
            Ok(_) => return Ok(format!("answered at {}", sys::path_mtu(&socket, v6)?)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                return Ok(sys::path_mtu(&socket, v6)?.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(format!("never at {}", sys::path_mtu(&socket, v6)?))
}
