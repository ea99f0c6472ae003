//! The guest's own datagrams: lengths, fragments, segments, hop limits and reports, over
//! loopback and through a router in namespaces.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod namespace;
mod readiness;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as Peer};
use std::os::fd::AsRawFd;
use std::time::Duration;

use namespace::{Chain, Namespace};
use portreeve_host::{
    ErrorOrigin, Fragmentation, OutboundOptions, RecvBatch, SendBatch, SendOptions,
    SocketErrorReport, UdpSocket,
};
use readiness::{has_ipv6, wait, wait_readable};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt;

const FORBIDDEN: SendOptions =
    SendOptions { source: None, hop_limit: None, fragmentation: Fragmentation::Forbidden };

fn outbound(v6: bool) -> UdpSocket {
    UdpSocket::outbound(v6, &OutboundOptions::default()).unwrap()
}

fn peer(address: &str) -> Peer {
    let peer = Peer::bind(address).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    peer
}

/// Receives, whatever interrupts it: with a timeout the kernel does not go on by itself.
fn recv_from(peer: &Peer, buf: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match peer.recv_from(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

fn recv(peer: &Peer, buf: &mut [u8]) -> usize {
    recv_from(peer, buf).0
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one(payload: &[u8], to: SocketAddr, options: SendOptions) -> SendBatch {
    let mut batch = SendBatch::new();
    batch.push_with(payload, to, options);
    batch
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn report(socket: &UdpSocket) -> SocketErrorReport {
    wait(socket, PollFlags::ERR);
    socket.recv_error().unwrap().expect("a report")
}

/// Receives until as many datagrams have come.
fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut batch = RecvBatch::new();
    let mut all = Vec::new();
    while all.len() < count {
        wait_readable(socket);
        if socket.recv_batch(&mut batch).is_ok() {
            assert_eq!(batch.iter().count(), batch.len());
            all.extend(batch.iter().map(|datagram| datagram.payload.to_vec()));
        }
    }
    all
}

/// Sends datagrams of all lengths to a peer and back.
fn all_lengths_pass(socket: &UdpSocket, peer: &Peer) {
    let to = peer.local_addr().unwrap();
    let mut buf = vec![0; 1 << 16];
    for length in [0, 1, 1472, 1473, 9000, 65_507] {
        let payload = pattern(length);
        assert_eq!(socket.send_batch(&one(&payload, to, SendOptions::default())).unwrap(), 1);
        let (received, from) = recv_from(peer, &mut buf);
        assert_eq!(&buf[..received], payload, "{length} bytes to {to}");
        assert_eq!(from.port(), socket.local_addr().port());
        peer.send_to(&payload, from).unwrap();
        assert_eq!(receive(socket, 1), [payload], "{length} bytes from {to}");
    }
}

#[test]
fn datagrams_of_all_lengths_pass_over_loopback() {
    all_lengths_pass(&outbound(false), &peer("127.0.0.1:0"));
    if has_ipv6() {
        all_lengths_pass(&outbound(true), &peer("[::1]:0"));
    }
}

#[test]
fn datagrams_of_all_lengths_pass_in_fragments() {
    let Some(chain) = Chain::new(1400) else { return };
    for (v6, address) in [(false, "10.2.0.2:0"), (true, "[fd02::2]:0")] {
        let peer = chain.far.run(|| peer(address));
        let socket = chain.near.run(|| outbound(v6));
        // The router's first "too big" costs IPv6 its first long datagram, as ever.
        if v6 {
            let to = peer.local_addr().unwrap();
            socket.send_to(&pattern(1440), to, None).unwrap();
            let report = report(&socket);
            assert_eq!((report.icmp_type, report.mtu), (2, Some(1400)));
        }
        all_lengths_pass(&socket, &peer);
    }
}

#[test]
fn an_outbound_socket_is_modest() {
    let socket = outbound(false);
    assert!(socket.local_addr().ip().is_unspecified());
    assert_ne!(socket.local_addr().port(), 0);
    let fresh = Peer::bind("127.0.0.1:0").unwrap();
    let size = sockopt::socket_recv_buffer_size(&fresh).unwrap();
    assert_eq!(sockopt::socket_recv_buffer_size(&socket).unwrap(), size);
    let broadcast = socket.send_to(b"x", "255.255.255.255:9".parse().unwrap(), None).unwrap_err();
    let errno = broadcast.raw_os_error().map(Errno::from_raw_os_error);
    assert!(matches!(errno, Some(Errno::ACCESS | Errno::NETUNREACH)), "{broadcast}");
    assert!(!sockopt::socket_broadcast(&socket).unwrap());

    let asked = OutboundOptions {
        bind_address: Some(ip("127.0.0.5")),
        receive_buffer: Some(50_000),
        ..OutboundOptions::default()
    };
    let socket = UdpSocket::outbound(false, &asked).unwrap();
    assert_eq!(socket.local_addr().ip(), ip("127.0.0.5"));
    assert_eq!(sockopt::socket_recv_buffer_size(&socket).unwrap(), 100_000, "twice, socket(7)");
    let other = OutboundOptions { bind_address: Some(ip("::1")), ..OutboundOptions::default() };
    let error = UdpSocket::outbound(false, &other).unwrap_err();
    assert_eq!((error.operation, error.kind()), ("bind", io::ErrorKind::InvalidInput));
    let missing =
        OutboundOptions { bind_interface: Some("no-such-if".to_owned()), ..Default::default() };
    let error = UdpSocket::outbound(false, &missing).unwrap_err();
    assert_eq!(error.operation, "SO_BINDTODEVICE");
}

/// Receives one datagram with its TTL or hop limit.
fn hop_limit_of_next(peer: &Peer) -> i32 {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut buf = [0; 2000];
    let mut vectors = [io::IoSliceMut::new(&mut buf)];
    let mut space = nix::cmsg_space!(i32);
    wait_readable(peer);
    let received =
        recvmsg::<()>(peer.as_raw_fd(), &mut vectors, Some(&mut space), MsgFlags::empty()).unwrap();
    let found = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Ttl(limit) | ControlMessageOwned::Ipv6HopLimit(limit) => {
            Some(limit)
        }
        _ => None,
    });
    found.unwrap()
}

#[test]
fn each_datagram_has_its_hop_limit() {
    use nix::sys::socket::{setsockopt, sockopt};
    let mut cases = vec![(false, "127.0.0.1:0")];
    if has_ipv6() {
        cases.push((true, "[::1]:0"));
    }
    for (v6, address) in cases {
        let (socket, peer) = (outbound(v6), peer(address));
        if v6 {
            setsockopt(&peer, sockopt::Ipv6RecvHopLimit, &true).unwrap();
        } else {
            setsockopt(&peer, sockopt::Ipv4RecvTtl, &true).unwrap();
        }
        let to = peer.local_addr().unwrap();
        let mut batch = SendBatch::new();
        let limits = [Some(1), Some(63), None, Some(255), Some(63), Some(63)];
        for (at, hop_limit) in limits.into_iter().enumerate() {
            let fragmentation =
                if at % 2 == 0 { Fragmentation::Allowed } else { Fragmentation::Forbidden };
            batch.push_with(b"x", to, SendOptions { hop_limit, fragmentation, source: None });
        }
        assert_eq!(socket.send_batch(&batch).unwrap(), limits.len());
        for limit in limits {
            assert_eq!(hop_limit_of_next(&peer), limit.map_or(64, i32::from));
        }
    }
}

#[test]
fn equal_lengths_leave_as_one_and_arrive_as_many() {
    let mut cases = vec![(false, "127.0.0.1:0")];
    if has_ipv6() {
        cases.push((true, "[::1]:0"));
    }
    for (v6, address) in cases {
        let (socket, plain) = (outbound(v6), peer(address));
        let joining = UdpSocket::bind(address.parse().unwrap(), &Default::default()).unwrap();
        let mut expected: Vec<Vec<u8>> =
            (0..70u8).map(|at| vec![at; if at % 50 == 49 { 700 } else { 1200 }]).collect();
        expected.push(vec![1; 1]);
        let mut batch = SendBatch::new();
        expected.iter().for_each(|payload| batch.push(payload, plain.local_addr().unwrap(), None));
        assert_eq!(socket.send_batch(&batch).unwrap(), expected.len());
        let mut buf = [0; 2000];
        for payload in &expected {
            let length = recv(&plain, &mut buf);
            assert_eq!(&buf[..length], payload);
        }
        batch.clear();
        expected.iter().for_each(|payload| batch.push(payload, joining.local_addr(), None));
        assert_eq!(socket.send_batch(&batch).unwrap(), expected.len());
        assert_eq!(receive(&joining, expected.len()), expected);
    }
}

#[test]
fn joined_datagrams_come_in_fewer_messages() {
    let (socket, other) = (outbound(false), outbound(false));
    let to = SocketAddr::new(ip("127.0.0.1"), other.local_addr().port());
    let mut batch = SendBatch::new();
    (0..64u8).for_each(|at| batch.push(&[at; 1000], to, None));
    assert_eq!(socket.send_batch(&batch).unwrap(), 64);
    let mut received = RecvBatch::new();
    wait_readable(&other);
    assert_eq!(other.recv_batch_within(&mut received, 1).unwrap(), 64, "one message");
    for (at, datagram) in received.iter().enumerate() {
        assert_eq!(datagram.payload, [at as u8; 1000]);
        assert_eq!(datagram.source.port(), socket.local_addr().port());
    }
}

#[test]
fn segments_that_do_not_fit_leave_one_by_one() {
    let Some(chain) = Chain::new(1500) else { return };
    for (v6, address) in [(false, "10.2.0.2:0"), (true, "[fd02::2]:0")] {
        let peer = chain.far.run(|| peer(address));
        let socket = chain.near.run(|| outbound(v6));
        let mut batch = SendBatch::new();
        let mut buf = [0; 4000];
        for length in [2000, 1200, 2000] {
            batch.clear();
            (0..10u8).for_each(|at| {
                batch.push(&vec![at; length], peer.local_addr().unwrap(), None);
            });
            assert_eq!(socket.send_batch(&batch).unwrap(), 10);
            for at in 0..10u8 {
                let received = recv(&peer, &mut buf);
                assert_eq!(buf[..received], vec![at; length]);
            }
        }
    }
}

#[test]
fn segments_keep_their_hop_limit_and_mode() {
    let Some(chain) = Chain::new(1500) else { return };
    for (v6, address) in [(false, "10.2.0.2:9"), (true, "[fd02::2]:9")] {
        let socket = chain.near.run(|| outbound(v6));
        let options = SendOptions { hop_limit: Some(1), ..FORBIDDEN };
        let mut batch = SendBatch::new();
        (0..5u8).for_each(|at| batch.push_with(&[at; 100], address.parse().unwrap(), options));
        assert_eq!(socket.send_batch(&batch).unwrap(), 5);
        let report = report(&socket);
        assert_eq!(report.icmp_type, if v6 { 3 } else { 11 });
    }
}

#[test]
fn a_router_that_sees_the_last_hop_is_named() {
    let Some(chain) = Chain::new(1500) else { return };
    for (v6, address, offender, local, kind) in [
        (false, "10.2.0.2:9", "10.1.0.2", "10.1.0.1", (ErrorOrigin::Icmp, 11)),
        (true, "[fd02::2]:9", "fd01::2", "fd01::1", (ErrorOrigin::Icmp6, 3)),
    ] {
        let socket = chain.near.run(|| outbound(v6));
        let to: SocketAddr = address.parse().unwrap();
        let options = SendOptions { hop_limit: Some(1), ..SendOptions::default() };
        socket.send_batch(&one(b"trace", to, options)).unwrap();
        let expired = report(&socket);
        assert_eq!((expired.origin, expired.icmp_type), kind);
        assert_eq!(expired.icmp_code, 0);
        assert_eq!(expired.errno, Errno::HOSTUNREACH.raw_os_error());
        assert_eq!(expired.offender, Some(ip(offender)));
        assert_eq!(expired.destination, to);
        assert!(expired.local.is_none_or(|found| found == ip(local)), "{expired:?}");
        assert_eq!(expired.payload, b"trace");
        // One hop more and the port is closed.
        let options = SendOptions { hop_limit: Some(2), ..SendOptions::default() };
        socket.send_batch(&one(b"closed", to, options)).unwrap();
        let closed = report(&socket);
        assert_eq!(closed.errno, Errno::CONNREFUSED.raw_os_error());
        assert_eq!((closed.offender, closed.payload.as_slice()), (Some(to.ip()), &b"closed"[..]));
    }
}

#[test]
fn what_is_too_long_for_a_router_is_reported_with_its_mtu() {
    let Some(chain) = Chain::new(1400) else { return };
    for (v6, address, header, offender) in
        [(false, "10.2.0.2:9", 28, "10.1.0.2"), (true, "[fd02::2]:9", 48, "fd01::2")]
    {
        let socket = chain.near.run(|| outbound(v6));
        let to: SocketAddr = address.parse().unwrap();
        let long = pattern(1450);
        assert_eq!(socket.send_batch(&one(&long, to, FORBIDDEN)).unwrap(), 1);
        let far = report(&socket);
        assert_eq!((far.errno, far.mtu), (Errno::MSGSIZE.raw_os_error(), Some(1400)));
        assert_eq!((far.offender, far.destination), (Some(ip(offender)), to));
        assert!(long.starts_with(&far.payload) && far.payload.len() >= 500, "{far:?}");

        // Now the kernel knows, and says so itself.
        let batch = one(&long, to, FORBIDDEN);
        let fault = socket.send_batch(&batch).unwrap_err();
        assert_eq!(fault.raw_os_error(), Some(Errno::MSGSIZE.raw_os_error()));
        let near = chain.near.run(|| socket.explain(&batch, &fault)).unwrap();
        assert_eq!((near.errno, near.mtu), (far.errno, Some(1400)));
        assert_eq!((near.origin, near.destination), (ErrorOrigin::Local, to));
        assert_eq!(near.payload, long[..1280]);
        assert_eq!(socket.recv_error().unwrap(), None, "told once");

        // At the limit it passes, and longer ones where fragments are allowed.
        let peer = chain.far.run(|| peer(&address.replace(":9", ":0")));
        let to = peer.local_addr().unwrap();
        let mut batch = one(&long, to, SendOptions::default());
        batch.push_with(&pattern(1400 - header), to, FORBIDDEN);
        batch.push_with(&pattern(1401 - header), to, FORBIDDEN);
        batch.push(&long, to, None);
        assert_eq!(socket.send_batch(&batch).unwrap(), 2);
        batch.skip(2);
        assert!(socket.send_batch(&batch).is_err());
        batch.skip(1);
        assert_eq!(socket.send_batch(&batch).unwrap(), 1);
        let mut buf = [0; 2000];
        for expected in [1450, 1400 - header, 1450] {
            assert_eq!(recv(&peer, &mut buf), expected);
        }
    }
}

#[test]
fn faults_belong_to_the_datagram_that_has_them() {
    let Some(host) = Namespace::new() else { return };
    host.ip("route add prohibit 192.0.2.1");
    host.ip("route add unreachable 192.0.2.2");
    host.ip("route add blackhole 192.0.2.3");
    let (socket, peer) = host.run(|| (outbound(false), peer("127.0.0.1:0")));
    let live = peer.local_addr().unwrap();
    let mut batch = SendBatch::new();
    let faults = [
        ("192.0.2.1:9", Errno::ACCESS),
        ("192.0.2.2:9", Errno::HOSTUNREACH),
        ("192.0.2.3:9", Errno::INVAL),
        ("192.0.2.4:9", Errno::NETUNREACH),
    ];
    for (address, _) in faults {
        batch.push(b"good", live, None);
        batch.push(b"good", live, None);
        batch.push(b"bad!", address.parse().unwrap(), None);
    }
    for (address, errno) in faults {
        assert_eq!(socket.send_batch(&batch).unwrap(), 2);
        batch.skip(2);
        let fault = socket.send_batch(&batch).unwrap_err();
        assert_eq!(fault.raw_os_error(), Some(errno.raw_os_error()), "{address}");
        let report = socket.explain(&batch, &fault).unwrap();
        assert_eq!(report.destination, address.parse().unwrap());
        assert_eq!((report.errno, report.mtu), (errno.raw_os_error(), None));
        assert_eq!(report.payload, b"bad!");
        batch.skip(1);
    }
    assert!(batch.is_empty());
    for _ in 0..8 {
        assert_eq!(recv(&peer, &mut [0; 8]), 4);
    }
}

#[test]
fn what_a_firewall_forbids_is_a_fault_of_that_datagram() {
    let Some(host) = Namespace::new() else { return };
    let rules = "add table inet t; \
        add chain inet t out { type filter hook output priority 0; }; \
        add rule inet t out udp dport 9 drop";
    if !host.nft(rules) {
        return;
    }
    for (v6, address) in [(false, "127.0.0.1"), (true, "::1")] {
        let (socket, peer) =
            host.run(|| (outbound(v6), peer(&SocketAddr::new(ip(address), 0).to_string())));
        let mut batch = SendBatch::new();
        batch.push(b"good", peer.local_addr().unwrap(), None);
        batch.push(b"bad!", SocketAddr::new(ip(address), 9), None);
        batch.push(b"bad!", SocketAddr::new(ip(address), 9), None);
        batch.push(b"good", peer.local_addr().unwrap(), None);
        assert_eq!(socket.send_batch(&batch).unwrap(), 1);
        batch.skip(1);
        for _ in 0..2 {
            let fault = socket.send_batch(&batch).unwrap_err();
            assert_eq!(fault.raw_os_error(), Some(Errno::PERM.raw_os_error()));
            let report = socket.explain(&batch, &fault).unwrap();
            assert_eq!((report.destination.port(), report.payload.as_slice()), (9, &b"bad!"[..]));
            batch.skip(1);
        }
        assert_eq!(socket.send_batch(&batch).unwrap(), 1);
        for _ in 0..2 {
            assert_eq!(recv(&peer, &mut [0; 8]), 4);
        }
    }
}

#[test]
fn an_exchange_is_between_two() {
    let server = peer("127.0.0.1:0");
    let options = OutboundOptions::default();
    let exchange = UdpSocket::exchange(server.local_addr().unwrap(), &options).unwrap();
    exchange.send(b"question").unwrap();
    let mut buf = [0; 16];
    let (_, from) = recv_from(&server, &mut buf);
    assert_eq!(from, exchange.local_addr().unwrap());
    peer("127.0.0.1:0").send_to(b"spoofed", from).unwrap();
    server.send_to(b"answer", from).unwrap();
    wait_readable(&exchange);
    assert_eq!(exchange.recv(&mut buf).unwrap(), 6);
    assert_eq!(exchange.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    let closed = Peer::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exchange = UdpSocket::exchange(closed, &options).unwrap();
    exchange.send(b"question").unwrap();
    wait_readable(&exchange);
    assert_eq!(exchange.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let other = UdpSocket::exchange(closed, &options).unwrap();
    assert_ne!(other.local_addr().unwrap().port(), exchange.local_addr().unwrap().port());
}
