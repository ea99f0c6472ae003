//! Echo requests through both kinds of sockets, in namespaces where each is allowed or not.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod namespace;
mod readiness;

use std::io;
use std::net::IpAddr;

use namespace::{Chain, Namespace};
use portreeve_host::{
    ErrorOrigin, Fragmentation, HostError, OutboundOptions, PingKind, PingOptions, PingSocket,
    Refusal, SocketErrorReport, ping_access,
};
use readiness::{wait, wait_readable};
use rustix::event::PollFlags;
use rustix::io::Errno;

const KINDS: [(PingKind, &str); 2] = [(PingKind::Datagram, "0 2147483647"), (PingKind::Raw, "1 0")];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Opens a socket in a namespace that allows this kind only.
fn open(namespace: &Namespace, (kind, range): (PingKind, &str), v6: bool) -> PingSocket {
    namespace.set("ipv4/ping_group_range", range);
    let socket = namespace.run(|| PingSocket::open(v6, &OutboundOptions::default())).unwrap();
    assert_eq!(socket.kind(), kind);
    socket
}

/// An echo request as a guest writes it; its identifier is not the socket's.
fn request(v6: bool, data: &[u8]) -> Vec<u8> {
    let mut message = vec![if v6 { 128 } else { 8 }, 0, 0xab, 0xcd, 0x12, 0x34, 0, 7];
    message.extend(data);
    message
}

fn receive(socket: &PingSocket) -> (Vec<u8>, IpAddr) {
    let mut buf = vec![0; 1 << 16];
    loop {
        wait_readable(socket);
        match socket.recv(&mut buf) {
            Ok((length, from)) => return (buf[..length].to_vec(), from),
            // Woken by what was not ours.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

fn report(socket: &PingSocket) -> SocketErrorReport {
    loop {
        wait(socket, PollFlags::ERR);
        if let Some(report) = socket.recv_error().unwrap() {
            return report;
        }
    }
}

/// Whether `message` is the reply to, or the quotation of, a request with this data.
fn belongs(socket: &PingSocket, message: &[u8], kind: u8, data: &[u8]) -> bool {
    message[..2] == [kind, 0]
        && message[4..6] == socket.identifier().to_be_bytes()
        && message[6..8] == [0, 7]
        && data.starts_with(&message[8..])
}

#[test]
fn replies_come_back_whole() {
    let Some(host) = Namespace::new() else { return };
    for kind in KINDS {
        for (v6, address, reply) in [(false, "127.0.0.1", 0), (true, "::1", 129)] {
            let socket = open(&host, kind, v6);
            for length in [0, 1, 56, 1473, 9000, 65_000] {
                let data: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
                let options = PingOptions::default();
                socket.send(&request(v6, &data), ip(address), &options).unwrap();
                let (message, from) = receive(&socket);
                assert_eq!((message.len(), from), (data.len() + 8, ip(address)), "{kind:?}");
                assert!(belongs(&socket, &message, reply, &data), "{kind:?} {v6}");
                if !v6 {
                    assert_eq!(checksum(&message), 0, "the checksum goes with it");
                }
            }
            let error = socket.recv(&mut [0; 64]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "requests are not received");
            assert_eq!(socket.recv_error().unwrap(), None);
        }
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn others_replies_and_errors_are_not_ours() {
    let Some(chain) = Chain::new(1500) else { return };
    for (v6, address) in [(false, "10.2.0.2"), (true, "fd02::2")] {
        let sockets: Vec<PingSocket> =
            KINDS.into_iter().chain([KINDS[1]]).map(|kind| open(&chain.near, kind, v6)).collect();
        for socket in &sockets {
            socket.send(&request(v6, b"x"), ip(address), &PingOptions::default()).unwrap();
            let expired = PingOptions { hop_limit: Some(1), ..PingOptions::default() };
            socket.send(&request(v6, b"y"), ip(address), &expired).unwrap();
        }
        for socket in &sockets {
            receive(socket);
            report(socket);
        }
        for socket in &sockets {
            assert!(socket.recv(&mut [0; 128]).is_err());
            assert_eq!(socket.recv_error().unwrap(), None);
        }
    }
}

#[test]
fn errors_on_the_way_are_reported_alike() {
    let Some(chain) = Chain::new(1400) else { return };
    chain.router.ip("route add unreachable 10.9.0.0/16");
    chain.router.ip("-6 route add unreachable fd09::/16");
    for kind in KINDS {
        for (v6, far, gone, router, origin) in [
            (false, "10.2.0.2", "10.9.0.1", "10.1.0.2", ErrorOrigin::Icmp),
            (true, "fd02::2", "fd09::1", "fd01::2", ErrorOrigin::Icmp6),
        ] {
            let socket = open(&chain.near, kind, v6);
            let echo = if v6 { 128 } else { 8 };
            let options = PingOptions { hop_limit: Some(1), ..PingOptions::default() };
            socket.send(&request(v6, b"trace"), ip(far), &options).unwrap();
            let expired = report(&socket);
            assert_eq!(expired.origin, origin);
            assert_eq!((expired.icmp_type, expired.icmp_code), (if v6 { 3 } else { 11 }, 0));
            assert_eq!(expired.offender, Some(ip(router)), "{kind:?}");
            assert_eq!((expired.destination.ip(), expired.destination.port()), (ip(far), 0));
            assert!(belongs(&socket, &expired.payload, echo, b"trace"), "{kind:?} {expired:?}");

            socket.send(&request(v6, b"gone"), ip(gone), &PingOptions::default()).unwrap();
            let unreachable = report(&socket);
            assert_eq!(unreachable.icmp_type, if v6 { 1 } else { 3 });
            assert_eq!(unreachable.destination.ip(), ip(gone));
            assert_eq!(unreachable.offender, Some(ip(router)));
            assert!(belongs(&socket, &unreachable.payload, echo, b"gone"), "{kind:?}");

            let forbidden =
                PingOptions { fragmentation: Fragmentation::Forbidden, ..PingOptions::default() };
            let long = request(v6, &[7; 1420]);
            socket.send(&long, ip(far), &forbidden).unwrap();
            let too_long = report(&socket);
            assert_eq!(too_long.errno, Errno::MSGSIZE.raw_os_error());
            assert_eq!((too_long.mtu, too_long.offender), (Some(1400), Some(ip(router))));
            assert!(belongs(&socket, &too_long.payload, echo, &long[8..]));
            let fault = socket.send(&long, ip(far), &forbidden).unwrap_err();
            assert_eq!(fault.raw_os_error(), Some(Errno::MSGSIZE.raw_os_error()));
            let near = chain.near.run(|| socket.explain(&long, ip(far), &fault)).unwrap();
            assert_eq!((near.origin, near.mtu), (ErrorOrigin::Local, Some(1400)));
            assert_eq!(near.payload, long[..1280]);
            socket.send(&long, ip(far), &PingOptions::default()).unwrap();
            assert_eq!(receive(&socket).0.len(), long.len(), "in fragments it passes");
            // The kernel forgets the MTU it has learned, for the other kind of socket.
            chain.near.ip(if v6 { "-6 route flush cache" } else { "route flush cache" });
        }
    }
}

#[test]
fn what_is_no_echo_request_is_not_sent() {
    let Some(host) = Namespace::new() else { return };
    for kind in KINDS {
        let socket = open(&host, kind, false);
        let send = |message: &[u8], to| socket.send(message, ip(to), &PingOptions::default());
        for (message, to) in [
            (&[8, 0, 0, 0, 0, 0, 0][..], "127.0.0.1"),
            (&[0, 0, 0, 0, 0, 0, 0, 0], "127.0.0.1"),
            (&[8, 1, 0, 0, 0, 0, 0, 0], "127.0.0.1"),
            (&[8, 0, 0, 0, 0, 0, 0, 0], "::1"),
        ] {
            assert_eq!(send(message, to).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(send(&[8, 0, 0, 0, 0, 0, 0, 0], "192.0.2.1").is_err(), "no route");
        send(&[8, 0, 0, 0, 0, 0, 0, 0], "::ffff:127.0.0.1").unwrap();
        assert_eq!(receive(&socket).1, ip("127.0.0.1"));
    }
}

#[test]
fn where_none_is_allowed_the_error_says_what_to_do() {
    let Some(host) = Namespace::new() else { return };
    host.set("ipv4/ping_group_range", "1 0");
    let opened: [Result<PingSocket, HostError>; 2] = host.run(|| {
        // Of this thread only.
        rustix::thread::set_capabilities(None, no_capabilities()).unwrap();
        [false, true].map(|v6| PingSocket::open(v6, &OutboundOptions::default()))
    });
    for error in opened.map(Result::unwrap_err) {
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(error.refusal(), Refusal::Prohibited);
        let text = error.to_string();
        let fix = "sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"";
        assert!(text.contains(fix) && text.contains("CAP_NET_RAW"), "{text}");
    }
}

#[test]
fn which_kind_is_allowed_can_be_asked() {
    let Some(host) = Namespace::new() else { return };
    for (kind, range) in KINDS {
        host.set("ipv4/ping_group_range", range);
        for v6 in [false, true] {
            assert_eq!(host.run(|| ping_access(v6)).unwrap(), kind);
        }
    }
    let refused = host.run(|| {
        // Of this thread only.
        rustix::thread::set_capabilities(None, no_capabilities()).unwrap();
        ping_access(false)
    });
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

fn no_capabilities() -> rustix::thread::CapabilitySets {
    let none = rustix::thread::CapabilitySet::empty();
    rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none }
}
