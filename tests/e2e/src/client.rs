//! Clients of published ports: connections with deadlines, and how they end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::content::{self, Checker, Way};
use crate::machine::DEADLINE;

/// Opens a connection, on which nothing may take longer than the deadline.
///
/// # Errors
/// The connect's.
pub fn try_connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// As [`try_connect`], where it must succeed.
pub fn connect(to: SocketAddr) -> TcpStream {
    try_connect(to).unwrap_or_else(|error| panic!("connecting to {to}: {error}"))
}

/// A connection with these socket buffers, set before the handshake so that the window is small.
pub fn connect_with_buffers(to: SocketAddr, bytes: usize) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    socket.set_send_buffer_size(bytes).unwrap();
    socket.connect_timeout(&to.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Ends a connection with RST.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Everything until the end, as text.
pub fn read_text(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// How a stream ended after what it had given.
#[derive(Debug)]
pub enum End {
    /// In order.
    Fin,
    /// By RST.
    Reset,
    /// Not at all, within the deadline.
    Open,
}

/// Reads the guest's bytes until the stream ends, however it does.
pub fn receive(stream: &mut TcpStream) -> (Checker, End) {
    match content::receive(stream, Way::FromGuest) {
        Ok(checker) => (checker, End::Fin),
        Err((checker, error)) if error.kind() == io::ErrorKind::ConnectionReset => {
            (checker, End::Reset)
        }
        Err((checker, error)) if error.kind() == io::ErrorKind::WouldBlock => (checker, End::Open),
        Err((_, error)) => panic!("reading: {error}"),
    }
}

/// Sends the client's bytes and a FIN, and returns what a service that checks says of them.
pub fn upload(to: SocketAddr, length: u64) -> String {
    let mut stream = connect(to);
    content::send(&mut stream, Way::ToGuest, length).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    read_text(&mut stream).unwrap().trim().to_owned()
}

/// Takes what a service sends until it ends in order.
pub fn download(to: SocketAddr) -> String {
    let (checker, end) = receive(&mut connect(to));
    match end {
        End::Fin => checker.verdict(),
        End::Reset | End::Open => format!("{} then {end:?}", checker.verdict()),
    }
}

/// One request and its answer on a connection of its own.
///
/// # Errors
/// Whatever went wrong on it.
pub fn exchange(to: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = try_connect(to)?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    read_text(&mut stream)
}

/// What a client of a port that cannot be reached sees, and how soon: the connection is accepted
/// first, for the guest is asked only then.
pub fn refusal(to: SocketAddr) -> (io::ErrorKind, Duration) {
    let started = Instant::now();
    let kind = match try_connect(to).and_then(|mut stream| stream.read(&mut [0; 1])) {
        Ok(0) => panic!("{to}: a clean end"),
        Ok(_) => panic!("{to}: a byte"),
        Err(error) => error.kind(),
    };
    (kind, started.elapsed())
}

/// A UDP socket that talks to one port and hears of its refusals.
pub fn udp(to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() { [0_u8; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    let _ = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Sends a datagram and waits for its answer.
///
/// # Errors
/// The socket's; `WouldBlock` when none comes.
pub fn ask(socket: &UdpSocket, request: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(request)?;
    let mut answer = vec![0; 65_536];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}
