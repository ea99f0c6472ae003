//! The demonstration's guest as a process: `portreeve __demo-guest`, run inside the namespaces.
//!
//! Owns its listening sockets and a thread for each connection; what is said on them is
//! `service`'s. Plain blocking sockets, as any server's: nothing here knows that its network is
//! made in user space.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::SMALL_BUFFER;
use super::calls::{self, CALL};
use super::service::{self, ECHO, PORTS, Service, Storage};
use crate::report::Failure;

/// Serves until the guest is taken away.
pub(crate) fn serve(bytes: usize) -> Result<u8, Failure> {
    let storage = Storage::new(bytes);
    let udp = bind("UDP", ECHO, UdpSocket::bind)?;
    spawn("udp", move || echo_datagrams(&udp)).map_err(Failure::ours)?;
    let mut threads = Vec::new();
    for port in PORTS {
        let listener = bind("TCP", port, TcpListener::bind)?;
        if port == ECHO {
            // Accepted sockets inherit them, early enough for the window that is negotiated.
            let socket = SockRef::from(&listener);
            let small = socket.set_recv_buffer_size(SMALL_BUFFER);
            small
                .and_then(|()| socket.set_send_buffer_size(SMALL_BUFFER))
                .map_err(Failure::ours)?;
        }
        let storage = storage.clone();
        let accepting = spawn("tcp", move || accept(&listener, port, &storage));
        threads.push(accepting.map_err(Failure::ours)?);
    }
    let listener = bind("TCP", CALL, TcpListener::bind)?;
    let calling = spawn("calls", move || take_calls(&listener, &storage));
    threads.push(calling.map_err(Failure::ours)?);
    for thread in threads {
        // Ends only by a panic, which has been printed.
        let _ = thread.join();
    }
    Ok(0)
}

/// On every address of the guest: of both families where the kernel has IPv6.
fn bind<T>(
    transport: &str,
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, Failure> {
    bind((Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|_| bind((Ipv4Addr::UNSPECIFIED, port).into()))
        .map_err(|error| Failure::ours(format_args!("the guest, {transport} port {port}: {error}")))
}

fn accept(listener: &TcpListener, port: u16, storage: &Storage) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, at worst: they come back when clients leave.
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        // Without a thread for it a client is turned away, and says so.
        if let Some(service) = service::start(port, storage) {
            let _ = spawn("connection", move || converse(stream, service));
        }
    }
}

/// Makes the calls that clients ask for.
fn take_calls(listener: &TcpListener, storage: &Storage) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let storage = storage.clone();
        let _ = spawn("call", move || calls::make(stream, &storage));
    }
}

/// Speaks and listens in turn until either has had enough.
fn converse(mut stream: TcpStream, mut service: Box<dyn Service>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut ended = false;
    loop {
        while !service.pending().is_empty() {
            let count = stream.write(service.pending())?;
            service.sent(count);
        }
        if ended || service.is_done() {
            return Ok(());
        }
        match stream.read(service.space())? {
            0 => {
                service.ended();
                ended = true;
            }
            count => service.received(count),
        }
    }
}

fn echo_datagrams(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 65_535];
    loop {
        // An error is an ICMP message about some answer: that client has gone.
        if let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    }
}

/// Small stacks: there is one for each client.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.into()).stack_size(64 << 10).spawn(work)
}
