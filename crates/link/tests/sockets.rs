//! What is the same for every kind of socket, and what is particular to seqpacket and HyperKit.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use portreeve_link::{
    FramingFault, GoneCause, Link, LinkCause, SocketLink, SocketOptions, datagram, hyperkit,
    seqpacket, stream,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, socketpair,
};
use support::{Shell, Told, frame, kind, place, with_header};

const REQUEST: &[u8] = b"POST /connect HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

fn options() -> SocketOptions {
    SocketOptions::default()
}

fn seqpacket_to(path: &Path) -> OwnedFd {
    let fd = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::connect(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    fd
}

fn send(fd: &OwnedFd, frame: &[u8]) {
    assert_eq!(rustix::net::send(fd, frame, SendFlags::empty()).unwrap(), frame.len());
}

fn receive(fd: &OwnedFd) -> Vec<u8> {
    let mut buf = vec![0; 70_000];
    let (_, length) = rustix::net::recv(fd, &mut buf[..], RecvFlags::empty()).unwrap();
    buf.truncate(length);
    buf
}

#[test]
fn seqpacket_serves_one_guest_after_the_other() {
    let (_folder, path) = place();
    let mut shell = Shell::new(seqpacket::listen(&path, &options()).unwrap());
    for length in [14, 1514, 65_593] {
        let guest = seqpacket_to(&path);
        assert_eq!(shell.next(), Told::Arrived);
        send(&guest, &frame(length, length));
        assert_eq!(shell.frame(), frame(length, length));
        shell.send(&frame(length, length));
        assert_eq!(receive(&guest), frame(length, length));
        drop(guest);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
    }
}

#[test]
fn seqpacket_pushes_back_and_loses_nothing() {
    let (ours, guest) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut shell = Shell::new(seqpacket::from_fd(ours, &options()).unwrap());
    let taken = shell.fill(&frame(1, 1514));
    let reader = std::thread::spawn(move || {
        for _ in 0..taken {
            assert_eq!(receive(&guest), frame(1, 1514));
        }
        for number in 0..2000 {
            assert_eq!(receive(&guest), frame(number, 700));
        }
    });
    for number in 0..2000 {
        shell.send(&frame(number, 700));
    }
    reader.join().unwrap();
    assert!(matches!(shell.next(), Told::Ended(_)));
}

#[test]
fn a_message_longer_than_any_frame_ends_a_seqpacket_guest() {
    let (_folder, path) = place();
    let mut shell = Shell::new(seqpacket::listen(&path, &options()).unwrap());
    let guest = seqpacket_to(&path);
    assert_eq!(shell.next(), Told::Arrived);
    send(&guest, &frame(1, 65_594));
    let fault = FramingFault::Oversized { length: 65_594, limit: 65_593, text: None };
    assert_eq!(shell.next(), Told::Gone(GoneCause::Framing(fault)));
}

#[test]
fn hyperkit_begins_with_a_request_and_has_short_lengths() {
    let (_folder, path) = place();
    let mut shell = Shell::new(hyperkit::listen(&path, &options()).unwrap());
    let mut guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    for byte in REQUEST {
        guest.write_all(&[*byte]).unwrap();
        shell.silent_now();
    }
    guest.write_all(&[0x05, 0x01]).unwrap();
    guest.write_all(&frame(1, 0x105)).unwrap();
    assert_eq!(shell.frame(), frame(1, 0x105));
    shell.send(&frame(2, 0x203));
    let mut answer = vec![0; 2 + 0x203];
    guest.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..2], [0x03, 0x02], "a reply to the request?");
    assert_eq!(answer[2..], frame(2, 0x203));
    assert_eq!(kind(shell.link.send(&with_header(&[0; 65_536]))), ErrorKind::InvalidInput);
}

#[test]
fn hyperkit_speaks_to_itself() {
    let (_folder, path) = place();
    let mut server = Shell::new(hyperkit::listen(&path, &options()).unwrap());
    let mut client = Shell::new(hyperkit::connect(&path, &options()).unwrap());
    assert_eq!(server.next(), Told::Arrived);
    client.send(&frame(1, 60));
    assert_eq!(server.frame(), frame(1, 60));
    server.send(&frame(2, 65_535));
    assert_eq!(client.frame(), frame(2, 65_535));
}

#[test]
fn hyperkit_tells_wrong_beginnings() {
    let no_preamble = GoneCause::Framing(FramingFault::NoPreamble);
    let endless = [&b"POST /connect "[..], &[b'a'; 5000]].concat();
    for (bytes, cause) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], no_preamble),
        (b"POST /connected HTTP/1.1\r\n\r\n", no_preamble),
        (b"POST /conn", no_preamble),
        (&endless, GoneCause::Framing(FramingFault::EndlessPreamble)),
        (&[REQUEST, &[0, 0]].concat(), GoneCause::Framing(FramingFault::Empty)),
        (&[REQUEST, &[9, 0, 1]].concat(), GoneCause::ClosedMidFrame),
        (REQUEST, GoneCause::Closed),
    ] {
        let (_folder, path) = place();
        let mut shell = Shell::new(hyperkit::listen(&path, &options()).unwrap());
        let mut guest = UnixStream::connect(&path).unwrap();
        guest.write_all(bytes).unwrap();
        drop(guest);
        assert_eq!(shell.next(), Told::Arrived);
        assert_eq!(shell.next(), Told::Gone(cause), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let (folder, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let link = stream::listen(&path, &options()).unwrap();
    assert_eq!(link.path(), Some(&*path));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for error in [
        stream::listen(&path, &options()).unwrap_err(),
        seqpacket::listen(&path, &options()).unwrap_err(),
        datagram::listen(&path, &options()).unwrap_err(),
    ] {
        assert_eq!(error.cause(), LinkCause::InUse, "{error}");
        assert!(error.to_string().contains("link.sock"), "{error}");
        assert!(error.help().is_some());
    }
    drop(link);
    assert!(!path.exists());
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert_eq!(stream::listen(&file, &options()).unwrap_err().cause(), LinkCause::InUse);
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_path_taken_by_another_socket_meanwhile_stays() {
    let (_folder, path) = place();
    let link = stream::listen(&path, &options()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(link);
    assert!(path.exists());
    drop(other);
}

#[test]
fn faults_name_the_path_and_the_cause() {
    let (folder, path) = place();
    let error = stream::connect(&path, &options()).unwrap_err();
    assert_eq!((error.cause(), error.operation()), (LinkCause::NotFound, "connect"));
    assert_eq!(error.place(), path.display().to_string());
    drop(UnixListener::bind(&path).unwrap());
    let error = stream::connect(&path, &options()).unwrap_err();
    assert_eq!(error.cause(), LinkCause::NobodyListens);
    let long = folder.path().join("x".repeat(200));
    let error = stream::listen(&long, &options()).unwrap_err();
    assert_eq!(error.cause(), LinkCause::PathTooLong);
    let error = seqpacket::listen(folder.path().join("none/link"), &options()).unwrap_err();
    assert_eq!(error.cause(), LinkCause::NotFound);
    let other = folder.path().join("stream");
    let _listener = UnixListener::bind(&other).unwrap();
    let error = seqpacket::connect(&other, &options()).unwrap_err();
    assert_eq!(error.cause(), LinkCause::WrongType);
}

type FromFd = fn(OwnedFd, &SocketOptions) -> Result<SocketLink, portreeve_link::LinkError>;

#[test]
fn descriptors_of_another_kind_are_refused() {
    let cause = |from_fd: FromFd, fd: OwnedFd| from_fd(fd, &options()).unwrap_err().cause();
    let datagram_cause = |fd| datagram::from_fd(fd, &options()).unwrap_err().cause();
    let file = || File::open("/dev/null").unwrap().into();
    let stream_pair = || UnixStream::pair().unwrap().0.into();
    let datagram_pair = || UnixDatagram::pair().unwrap().0.into();
    let lonely = |kind| rustix::net::socket(AddressFamily::UNIX, kind, None).unwrap();
    let udp = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
    for from_fd in [stream::from_fd, hyperkit::from_fd] as [FromFd; 2] {
        assert_eq!(cause(from_fd, file()), LinkCause::NotASocket);
        assert_eq!(cause(from_fd, datagram_pair()), LinkCause::WrongType);
        assert_eq!(cause(from_fd, lonely(SocketType::STREAM)), LinkCause::NotConnected);
        assert_eq!(cause(from_fd, lonely(SocketType::SEQPACKET)), LinkCause::WrongType);
    }
    assert_eq!(cause(seqpacket::from_fd, stream_pair()), LinkCause::WrongType);
    assert_eq!(cause(seqpacket::from_fd, lonely(SocketType::SEQPACKET)), LinkCause::NotConnected);
    assert_eq!(datagram_cause(file()), LinkCause::NotASocket);
    assert_eq!(datagram_cause(stream_pair()), LinkCause::WrongType);
    assert_eq!(datagram_cause(udp()), LinkCause::WrongType);
    assert_eq!(datagram_cause(lonely(SocketType::DGRAM)), LinkCause::NotConnected);
}

#[test]
fn a_listening_descriptor_serves_one_guest_after_the_other() {
    let (_folder, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let mut shell = Shell::new(stream::from_fd(listener.into(), &options()).unwrap());
    for _ in 0..2 {
        let guest = UnixStream::connect(&path).unwrap();
        assert_eq!(shell.next(), Told::Arrived);
        drop(guest);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
    }
    assert!(path.exists(), "a path that others made is theirs");
}

#[test]
fn a_listener_that_others_shut_down_is_the_end() {
    let listener: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    let copy = listener.try_clone().unwrap();
    let mut shell = Shell::new(stream::from_fd(listener, &options()).unwrap());
    shell.silent();
    rustix::net::shutdown(&copy, rustix::net::Shutdown::Both).unwrap();
    assert!(matches!(shell.next(), Told::Ended(_)));
}

#[test]
fn checksums_are_verified_where_asked_for() {
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let options = SocketOptions { verify_checksums: Some(true), ..SocketOptions::default() };
    let mut shell = Shell::new(stream::from_fd(ours.into(), &options).unwrap());
    guest.write_all(&[0, 0, 0, 1, 7]).unwrap();
    assert_eq!(shell.next(), Told::Frame(with_header(&[7])));
}
