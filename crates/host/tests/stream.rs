//! Streams over real loopback sockets: how they begin, move bytes and end.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod readiness;

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use portreeve_host::{Accepted, DialOptions, ListenOptions, Stream, TcpListener, dial};
use readiness::{eventually, has_ipv6, wait, wait_readable, wait_writable, when_readable};
use rustix::event::PollFlags;

const ANY: &str = "127.0.0.1:0";

fn listen(address: &str) -> TcpListener {
    TcpListener::bind(address.parse().unwrap(), &ListenOptions::default()).unwrap()
}

fn accept(listener: &TcpListener) -> Accepted {
    wait_readable(listener);
    listener.accept().unwrap().expect("a connection")
}

/// A dialled stream and the accepted one at its other end.
fn connected() -> (Stream, Stream) {
    let listener = listen(ANY);
    let near = dial(listener.local_addr(), &DialOptions::default()).unwrap();
    wait_writable(&near);
    near.finish_connect().unwrap();
    (near, accept(&listener).stream)
}

/// An accepted stream and a plain client at its other end.
fn with_client() -> (Stream, std::net::TcpStream) {
    let listener = listen(ANY);
    let client = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (accept(&listener).stream, client)
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(|_| ()).expect_err("an error is due").kind()
}

#[test]
fn bytes_cross_in_both_directions() {
    let (near, far) = connected();
    let mut buf = [0; 64];
    assert_eq!(kind(far.read(&mut buf)), io::ErrorKind::WouldBlock);
    assert_eq!(near.write(b"question").unwrap(), 8);
    wait_readable(&far);
    assert_eq!(far.read(&mut buf).unwrap(), 8);
    assert_eq!(&buf[..8], b"question");

    let pieces = [IoSlice::new(b"ans"), IoSlice::new(b""), IoSlice::new(b"wer")];
    assert_eq!(far.write_vectored(&pieces).unwrap(), 6);
    wait_readable(&near);
    let (mut first, mut second) = ([0; 4], [0; 4]);
    let length =
        near.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
    assert_eq!(length.unwrap(), 6);
    assert_eq!((&first, &second[..2]), (b"answ", &b"er"[..]));
}

#[test]
fn ipv6_connects_from_the_address_asked_for() {
    if !has_ipv6() {
        return;
    }
    let listener = listen("[::1]:0");
    let options = DialOptions { bind_address: Some("::1".parse().unwrap()), ..Default::default() };
    let near = dial(listener.local_addr(), &options).unwrap();
    wait_writable(&near);
    near.finish_connect().unwrap();
    let accepted = accept(&listener);
    assert_eq!(accepted.local, Some(listener.local_addr()));
    assert_eq!(accepted.peer, portreeve_host::Peer::Inet(near.local_addr().unwrap()));
}

#[test]
fn a_dial_leaves_from_the_address_and_interface_asked_for() {
    let listener = listen(ANY);
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
    let options = DialOptions {
        bind_address: Some(source),
        bind_interface: Some("lo".to_owned()),
        ..DialOptions::default()
    };
    let near = match dial(listener.local_addr(), &options) {
        Ok(near) => near,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return readiness::skip("no right to bind to an interface");
        }
        Err(error) => panic!("{error}"),
    };
    wait_writable(&near);
    near.finish_connect().unwrap();
    assert_eq!(near.local_addr().unwrap().ip(), source);
    let portreeve_host::Peer::Inet(peer) = accept(&listener).peer else { panic!("a TCP peer") };
    assert_eq!(peer.ip(), source);
}

#[test]
fn what_cannot_be_dialled_names_the_call_and_the_address() {
    let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let foreign = DialOptions { bind_address: Some("::1".parse().unwrap()), ..Default::default() };
    let error = dial(to, &foreign).unwrap_err();
    assert_eq!((error.operation, error.kind()), ("bind", io::ErrorKind::InvalidInput));
    assert_eq!(error.address, "::1");

    let not_ours =
        DialOptions { bind_address: Some("192.0.2.77".parse().unwrap()), ..Default::default() };
    let error = dial(to, &not_ours).unwrap_err();
    assert_eq!((error.operation, error.kind()), ("bind", io::ErrorKind::AddrNotAvailable));

    for interface in ["no-such-if", "", "much-too-long-name"] {
        let options =
            DialOptions { bind_interface: Some(interface.to_owned()), ..Default::default() };
        let error = dial(to, &options).unwrap_err();
        assert_eq!(error.operation, "SO_BINDTODEVICE");
        assert_eq!(error.address, interface);
    }
}

#[test]
fn a_refusal_shows_when_the_dial_ends() {
    let closed = listen(ANY).local_addr();
    let error = match dial(closed, &DialOptions::default()) {
        Ok(near) => {
            wait_writable(&near);
            near.finish_connect().unwrap_err()
        }
        Err(error) => error,
    };
    assert_eq!((error.operation, error.kind()), ("connect", io::ErrorKind::ConnectionRefused));
    assert_eq!(error.address, closed.to_string());
}

#[test]
fn a_dial_under_way_is_neither_done_nor_failed() {
    // A full backlog leaves further SYNs unanswered.
    let listener =
        TcpListener::bind(ANY.parse().unwrap(), &ListenOptions { interface: None, backlog: 0 })
            .unwrap();
    let dials: Vec<Stream> =
        (0..4).map(|_| dial(listener.local_addr(), &DialOptions::default()).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(50));
    let pending = dials
        .iter()
        .filter_map(|near| near.finish_connect().err())
        .inspect(|error| assert_eq!(error.kind(), io::ErrorKind::WouldBlock))
        .count();
    assert!(pending > 0, "a backlog of zero took four connections");
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    let (near, far) = connected();
    near.write(b"last").unwrap();
    near.shutdown_write().unwrap();
    let mut buf = [0; 64];
    wait_readable(&far);
    assert_eq!(far.read(&mut buf).unwrap(), 4);
    wait_readable(&far);
    assert_eq!(far.read(&mut buf).unwrap(), 0, "the end");
    assert_eq!(far.write(b"answer after the end").unwrap(), 20);
    wait_readable(&near);
    assert_eq!(near.read(&mut buf).unwrap(), 20);
    assert_eq!(kind(near.write(b"more")), io::ErrorKind::BrokenPipe);
    assert_eq!(kind(near.read(&mut buf)), io::ErrorKind::WouldBlock);
}

#[test]
fn reset_is_seen_as_a_reset() {
    let (stream, mut client) = with_client();
    stream.reset();
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let (stream, mut client) = with_client();
    client.write_all(b"half").unwrap();
    stream.shutdown_write().unwrap();
    stream.reset();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "the FIN came first");
    eventually("a reset after a half-close", || {
        client.take_error().unwrap().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        })
    });
}

#[test]
fn a_closed_stream_is_seen_as_the_end() {
    let (stream, mut client) = with_client();
    drop(stream);
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_reset_from_the_other_side_is_an_error_once() {
    let (near, far) = connected();
    far.reset();
    wait(&near, PollFlags::HUP);
    assert_eq!(near.take_error().unwrap().unwrap().kind(), io::ErrorKind::ConnectionReset);
    assert!(near.take_error().unwrap().is_none());
    assert_eq!(kind(near.write(b"x")), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_full_socket_pushes_back_and_nothing_is_lost() {
    let (near, far) = connected();
    let block: Vec<u8> = (0..1 << 16).map(|at: u32| at.to_le_bytes()[0]).collect();
    let mut written = 0;
    loop {
        match near.write(&block[written % block.len()..]) {
            Ok(length) => written += length,
            Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(near.unsent().unwrap() > 0);
    near.shutdown_write().unwrap();
    let mut buf = vec![0; 100_000];
    let mut seen = 0;
    loop {
        let length = when_readable(&far, || far.read(&mut buf)).unwrap();
        if length == 0 {
            break;
        }
        for (at, byte) in buf[..length].iter().enumerate() {
            assert_eq!(*byte, block[(seen + at) % block.len()]);
        }
        seen += length;
    }
    assert_eq!(seen, written);
    eventually("all is acknowledged, the FIN too", || near.unsent().unwrap() == 0);
}

/// The kernel goes on counting what it has thrown away, and nobody will ever acknowledge it.
#[test]
fn nothing_waits_on_a_socket_that_was_reset() {
    let (near, far) = connected();
    while near.write(&[0; 1 << 16]).is_ok() {}
    assert!(near.unsent().unwrap() > 0);
    far.reset();
    wait(&near, PollFlags::HUP);
    assert_eq!(near.unsent().unwrap(), 0);
}

#[test]
fn an_urgent_byte_stays_in_the_stream() {
    let (stream, client) = with_client();
    let flags = rustix::net::SendFlags::OOB;
    rustix::net::send(&client, b"abc", flags).unwrap();
    drop(client);
    let mut all = Vec::new();
    let mut buf = [0; 16];
    loop {
        match when_readable(&stream, || stream.read(&mut buf)).unwrap() {
            0 => break,
            length => all.extend_from_slice(&buf[..length]),
        }
    }
    assert_eq!(all, b"abc");
}

#[test]
fn dialled_and_accepted_streams_send_at_once_and_are_not_inherited() {
    let (near, far) = connected();
    for stream in [&near, &far] {
        assert!(rustix::net::sockopt::tcp_nodelay(stream).unwrap());
        let flags = rustix::io::fcntl_getfd(stream).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let flags = rustix::fs::fcntl_getfl(stream).unwrap();
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    }
    near.set_nodelay(false).unwrap();
    assert!(!rustix::net::sockopt::tcp_nodelay(near.as_fd()).unwrap());
}

#[test]
fn a_stream_from_elsewhere_is_made_non_blocking() {
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let stream = Stream::from_fd(OwnedFd::from(one)).unwrap();
    assert_eq!(kind(stream.read(&mut [0; 8])), io::ErrorKind::WouldBlock);
    assert_eq!(stream.write(b"words").unwrap(), 5);
    assert!(stream.unsent().unwrap() >= 5, "not read yet");
    (&other).read_exact(&mut [0; 5]).unwrap();
    assert_eq!(stream.unsent().unwrap(), 0);
    (&other).write_all(b"never read").unwrap();
    wait_readable(&stream);
    stream.reset();
    assert_eq!(kind((&other).read(&mut [0; 8])), io::ErrorKind::ConnectionReset);

    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let refused = Stream::from_fd(OwnedFd::from(datagram));
    assert_eq!(kind(refused), io::ErrorKind::InvalidInput);
}
