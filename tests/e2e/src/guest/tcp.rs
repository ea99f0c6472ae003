//! TCP services, a thread for each connection.
//!
//! | kind | what it does |
//! |---|---|
//! | `echo` | sends back what it gets, until the end |
//! | `echo-small` | the same through the smallest socket buffers |
//! | `sink` | takes bytes to the end, checks them, says what came, answers `LENGTH ok` |
//! | `sink-small` | the same through the smallest socket buffers |
//! | `slow-sink=MS` | the same, at most 64 KiB every MS milliseconds |
//! | `source=N` | sends N bytes and closes |
//! | `slow-source=N` | the same, 16 KiB at a time with a millisecond between |
//! | `half=N` | sends N bytes and FIN, then takes bytes to the end and says what came |
//! | `answer=N` | takes bytes to the end, then sends N bytes |
//! | `trickle=N` | takes bytes to the end, then sends one byte every 10 ms, N times |
//! | `peer` | sends `PEER LOCAL`, a line, and closes |
//! | `hex` | takes bytes to the end and answers with them in hexadecimal |
//! | `line` | answers a line with the same line, and closes |
//! | `http=N` | answers every request with 200 and N bytes, and closes |
//! | `narrow` | the same with a queue for 16 connections, from which it takes one every 5 ms |
//! | `exit-tenth=N` | sends N bytes; after the tenth time the whole program exits at once |
//! | `exit=N` | sends N bytes, and the whole program exits at once |
//! | `reset` | resets what it accepts |
//! | `reset-after=N` | awaits a byte, sends N bytes, waits until they are acknowledged, and resets |
//! | `reset-on-byte` | resets at the first byte it gets |
//! | `hold` | takes nothing, and says how the connection ends |
//! | `flood` | sends until it cannot, and says how that ended |
//! | `silent` | does not even answer SYNs: its queue of connections is full |

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portreeve_e2e::content::{self, Way};
use portreeve_e2e::sys;
use socket2::{SockRef, Socket};

use crate::{Service, say, watch};

/// How often all was sent.
static SENT: AtomicUsize = AtomicUsize::new(0);

/// The least that the kernel takes for a buffer is a few KiB.
const SMALL: usize = 4096;

pub(crate) fn serve(service: &Service, socket: Socket) {
    if service.kind() == "silent" {
        socket.listen(0).unwrap();
        // listen(2) counts from zero: one connection that nobody accepts fills the queue, and the
        // kernel drops SYNs from then on.
        let own = SocketAddr::from((Ipv6Addr::LOCALHOST, service.port()));
        std::mem::forget((TcpStream::connect(own).unwrap(), socket));
        return;
    }
    if service.kind().ends_with("-small") {
        // Inherited by what is accepted; later it would not shrink the window any more.
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.set_send_buffer_size(SMALL).unwrap();
    }
    let narrow = service.kind() == "narrow";
    socket.listen(if narrow { 15 } else { 4096 }).unwrap();
    let listener = TcpListener::from(socket);
    let service = service.clone();
    std::thread::spawn(move || {
        let watch = watch::Watch::start(&service.name());
        for stream in listener.incoming() {
            // Closed by an order.
            let Ok(stream) = stream else { return };
            if narrow {
                std::thread::sleep(Duration::from_millis(5));
            }
            if service.kind() == "hold" {
                watch.add(stream);
                continue;
            }
            let service = service.clone();
            let small = std::thread::Builder::new().stack_size(256 << 10);
            small
                .spawn(move || {
                    if let Err(error) = connection(&service, stream) {
                        say(format_args!("{} failed {:?}", service.name(), error.kind()));
                    }
                })
                .unwrap();
        }
    });
}

fn connection(service: &Service, mut stream: TcpStream) -> io::Result<()> {
    let number = service.number();
    stream.set_nodelay(true)?;
    match service.kind() {
        "echo" | "echo-small" => echo(stream),
        "sink" | "sink-small" => sink(service, stream, Duration::ZERO),
        "slow-sink" => sink(service, stream, Duration::from_millis(number)),
        "source" => content::send(&mut stream, Way::FromGuest, number),
        "slow-source" => slow_source(stream, number),
        "half" => {
            content::send(&mut stream, Way::FromGuest, number)?;
            stream.shutdown(Shutdown::Write)?;
            let received = receive(&mut stream)?;
            say(format_args!("{} received {received}", service.name()));
            Ok(())
        }
        "answer" => {
            let received = receive(&mut stream)?;
            say(format_args!("{} received {received}", service.name()));
            content::send(&mut stream, Way::FromGuest, number)
        }
        "trickle" => {
            receive(&mut stream)?;
            (0..number).try_for_each(|at| {
                std::thread::sleep(Duration::from_millis(10));
                stream.write_all(content::piece(Way::FromGuest, at, 1))
            })
        }
        "peer" => {
            let line = format!("{} {}\n", plain(stream.peer_addr()?), plain(stream.local_addr()?));
            stream.write_all(line.as_bytes())
        }
        "hex" => {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            stream.write_all(hex.as_bytes())
        }
        "line" | "narrow" => {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            stream.write_all(line.as_bytes())
        }
        "http" => http(stream, number),
        "flood" => {
            flood(service, stream);
            Ok(())
        }
        _ => abrupt(service, stream),
    }
}

/// The kinds that end otherwise than in order.
fn abrupt(service: &Service, mut stream: TcpStream) -> io::Result<()> {
    let number = service.number();
    match service.kind() {
        "exit-tenth" => {
            content::send(&mut stream, Way::FromGuest, number)?;
            if SENT.fetch_add(1, Ordering::SeqCst) == 9 {
                std::process::exit(0);
            }
            // The end comes with that of the program.
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        "exit" => {
            content::send(&mut stream, Way::FromGuest, number)?;
            std::process::exit(0)
        }
        "reset" => reset(stream),
        "reset-after" => {
            // Else the reset may overtake the client's own return from connect.
            stream.read_exact(&mut [0; 1])?;
            content::send(&mut stream, Way::FromGuest, number)?;
            while sys::unacknowledged(&stream)? != 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            reset(stream)
        }
        "reset-on-byte" => {
            stream.read_exact(&mut [0; 1])?;
            reset(stream)
        }
        kind => panic!("{kind}: no such service"),
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.shutdown(Shutdown::Write),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn sink(service: &Service, mut stream: TcpStream, pause: Duration) -> io::Result<()> {
    let mut checker = content::Checker::new(Way::ToGuest);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => checker.feed(&buffer[..length]),
            Err(error) => {
                say(format_args!("{} had {}", service.name(), checker.verdict()));
                return Err(error);
            }
        }
        std::thread::sleep(pause);
    }
    say(format_args!("{} took {}", service.name(), checker.verdict()));
    stream.write_all(format!("{}\n", checker.verdict()).as_bytes())
}

fn slow_source(mut stream: TcpStream, length: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < length {
        let piece = content::piece(Way::FromGuest, sent, (length - sent).min(16 << 10));
        stream.write_all(piece)?;
        sent += piece.len() as u64;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// RFC 9112, as far as a client that asks for one thing can see.
fn http(mut stream: TcpStream, length: u64) -> io::Result<()> {
    let mut request = BufReader::new(&stream);
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    content::send(&mut stream, Way::FromGuest, length)
}

fn flood(service: &Service, mut stream: TcpStream) {
    let mut sent = 0_u64;
    let started = Instant::now();
    let error = loop {
        match stream.write(content::piece(Way::FromGuest, sent, u64::MAX)) {
            Ok(length) => sent += length as u64,
            Err(error) => break error.kind(),
        }
    };
    let ran = started.elapsed().as_millis();
    say(format_args!("{} failed {error:?} sent {sent} after {ran} ms", service.name()));
}

fn receive(stream: &mut TcpStream) -> io::Result<String> {
    content::receive(stream, Way::ToGuest).map(|checker| checker.verdict()).map_err(|(_, e)| e)
}

fn reset(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// An IPv4 peer of a socket for both families is an IPv4 peer.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
