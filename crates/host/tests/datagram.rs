//! UDP over real loopback sockets: addresses, lengths, batches and reports of errors.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod readiness;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as Client};
use std::os::fd::OwnedFd;
use std::time::Duration;

use portreeve_host::{
    BATCH_DATAGRAMS, ErrorOrigin, RecvBatch, SendBatch, SocketErrorReport, UdpOptions, UdpSocket,
};
use readiness::{eventually, has_ipv6, skip, wait, wait_readable};
use rustix::event::PollFlags;
use rustix::net::sockopt;

fn bind(address: &str) -> UdpSocket {
    UdpSocket::bind(address.parse().unwrap(), &UdpOptions::default()).unwrap()
}

fn client(address: &str) -> Client {
    let client = Client::bind(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(|_| ()).expect_err("an error is due").kind()
}

fn receive(socket: &UdpSocket, batch: &mut RecvBatch) {
    wait_readable(socket);
    assert_ne!(socket.recv_batch(batch).unwrap(), 0);
}

/// A port of this address on which nothing listens.
fn closed(address: &str) -> SocketAddr {
    Client::bind(address).unwrap().local_addr().unwrap()
}

fn report(socket: &UdpSocket) -> SocketErrorReport {
    wait(socket, PollFlags::ERR);
    socket.recv_error().unwrap().expect("a report")
}

#[test]
fn an_answer_comes_from_the_address_the_client_used() {
    let socket = bind("0.0.0.0:0");
    let port = socket.local_addr().port();
    let mut batch = RecvBatch::new();
    for address in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let client = client("127.0.0.1:0");
        client.connect((address, port)).unwrap();
        client.send(b"question").unwrap();
        receive(&socket, &mut batch);
        let datagram = batch.iter().next().unwrap();
        assert_eq!(datagram.payload, b"question");
        assert_eq!(datagram.source, client.local_addr().unwrap());
        assert_eq!(datagram.local, ip(address));
        assert_ne!(datagram.interface, 0);
        assert!(!datagram.truncated);
        socket.send_to(b"answer", datagram.source, Some(datagram.local)).unwrap();
        // Connected, the client takes nothing from another address.
        let mut buf = [0; 16];
        assert_eq!(client.recv(&mut buf).unwrap(), 6);
    }
    assert_eq!(kind(socket.recv_batch(&mut batch)), io::ErrorKind::WouldBlock);
    assert!(batch.is_empty(), "what it held before is gone");
}

#[test]
fn ipv6_tells_and_takes_addresses_too() {
    if !has_ipv6() {
        return;
    }
    let socket = bind("[::]:0");
    let port = socket.local_addr().port();
    let client = client("[::1]:0");
    client.connect(("::1", port)).unwrap();
    client.send(b"question").unwrap();
    let mut batch = RecvBatch::new();
    receive(&socket, &mut batch);
    let datagram = batch.iter().next().unwrap();
    assert_eq!((datagram.source, datagram.local), (client.local_addr().unwrap(), ip("::1")));
    socket.send_to(b"answer", datagram.source, Some(datagram.local)).unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 6);

    let v4 = Client::bind("127.0.0.1:0").unwrap();
    v4.send_to(b"to nobody", ("127.0.0.1", port)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let received = socket.recv_batch(&mut batch);
    assert_eq!(kind(received), io::ErrorKind::WouldBlock, "an IPv6 wildcard takes IPv6 only");
}

#[test]
fn the_longest_datagrams_pass_whole() {
    let mut batch = RecvBatch::new();
    let mut cases = vec![("127.0.0.1:0", 65_507)];
    if has_ipv6() {
        cases.push(("[::1]:0", 65_507));
        cases.push(("[::1]:0", 65_527));
    }
    for (address, length) in cases {
        let socket = bind(address);
        let client = client(address);
        let payload: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
        client.send_to(&payload, socket.local_addr()).unwrap();
        receive(&socket, &mut batch);
        let datagram = batch.iter().next().unwrap();
        assert_eq!(datagram.payload, payload);
        assert!(!datagram.truncated);
        socket.send_to(datagram.payload, datagram.source, None).unwrap();
        let mut buf = vec![0; 1 << 16];
        assert_eq!(client.recv(&mut buf).unwrap(), payload.len());
        assert!(buf.starts_with(&payload));
    }
}

#[test]
fn empty_datagrams_are_datagrams() {
    let socket = bind("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    client.send_to(b"", socket.local_addr()).unwrap();
    client.send_to(b"full", socket.local_addr()).unwrap();
    let mut batch = RecvBatch::new();
    receive(&socket, &mut batch);
    let payloads: Vec<&[u8]> = batch.iter().map(|datagram| datagram.payload).collect();
    assert_eq!(payloads, [&b""[..], b"full"]);
    socket.send_to(b"", client.local_addr().unwrap(), None).unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_batch_is_received_with_one_call_and_the_rest_with_the_next() {
    let socket = bind("127.0.0.1:0");
    let clients = [client("127.0.0.1:0"), client("127.0.0.1:0")];
    for number in 0..40u8 {
        let from = &clients[usize::from(number) % 2];
        from.send_to(&[number; 100], socket.local_addr()).unwrap();
    }
    let mut batch = RecvBatch::new();
    wait_readable(&socket);
    assert_eq!(BATCH_DATAGRAMS, 32);
    let mut seen = 0u8;
    for expected in [32, 8] {
        assert_eq!(socket.recv_batch(&mut batch).unwrap(), expected);
        assert_eq!(batch.len(), expected);
        for datagram in batch.iter() {
            assert_eq!(datagram.payload, [seen; 100]);
            let from = clients[usize::from(seen) % 2].local_addr().unwrap();
            assert_eq!(datagram.source, from);
            seen += 1;
        }
    }
    assert_eq!(kind(socket.recv_batch(&mut batch)), io::ErrorKind::WouldBlock);
}

#[test]
fn a_batch_is_sent_in_order_to_many_from_many() {
    let socket = bind("0.0.0.0:0");
    let clients = [client("127.0.0.1:0"), client("127.0.0.1:0")];
    let sources = ["127.0.0.4", "127.0.0.5", "127.0.0.6"];
    let mut batch = SendBatch::new();
    for number in 0..80u8 {
        let to = clients[usize::from(number) % 2].local_addr().unwrap();
        batch.push(&[number; 50], to, Some(ip(sources[usize::from(number) % 3])));
    }
    assert_eq!(socket.send_batch(&batch).unwrap(), 80, "in as many calls as it takes");
    for number in 0..80u8 {
        let mut buf = [0; 100];
        let (length, from) = clients[usize::from(number) % 2].recv_from(&mut buf).unwrap();
        assert_eq!(buf[..length], [number; 50]);
        assert_eq!(from.ip(), ip(sources[usize::from(number) % 3]));
        assert_eq!(from.port(), socket.local_addr().port());
    }
    assert_eq!(socket.send_batch(&SendBatch::new()).unwrap(), 0);
}

#[test]
fn a_datagram_that_cannot_be_sent_stops_a_batch_without_loss() {
    let socket = bind("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    let to = client.local_addr().unwrap();
    let mut batch = SendBatch::new();
    batch.push(b"before", to, None);
    batch.push(&vec![0; 70_000], to, None);
    batch.push(b"after", to, None);
    assert_eq!(socket.send_batch(&batch).unwrap(), 1);
    batch.skip(1);
    let error = socket.send_batch(&batch).unwrap_err();
    let too_long = rustix::io::Errno::MSGSIZE.raw_os_error();
    assert_eq!(error.raw_os_error(), Some(too_long));
    batch.skip(1);
    assert_eq!(socket.send_batch(&batch).unwrap(), 1);
    let mut buf = [0; 16];
    for expected in [&b"before"[..], b"after"] {
        let length = client.recv(&mut buf).unwrap();
        assert_eq!(&buf[..length], expected);
    }
    let foreign = socket.send_to(b"x", to, Some(ip("192.0.2.77")));
    assert!(foreign.is_err(), "an address that is not this host's");
}

#[test]
fn a_closed_port_is_reported_with_what_was_sent() {
    let mut cases = vec![("127.0.0.1:0", ErrorOrigin::Icmp, (3, 3))];
    if has_ipv6() {
        cases.push(("[::1]:0", ErrorOrigin::Icmp6, (1, 4)));
    }
    for (address, origin, (icmp_type, icmp_code)) in cases {
        let socket = bind(address);
        let destination = closed(address);
        assert_eq!(socket.recv_error().unwrap(), None);
        socket.send_to(b"anybody there?", destination, None).unwrap();
        let report = report(&socket);
        assert_eq!(report.destination, destination);
        assert_eq!(report.errno, rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(report.origin, origin);
        assert_eq!((report.icmp_type, report.icmp_code), (icmp_type, icmp_code));
        assert_eq!(report.offender, Some(destination.ip()));
        assert_eq!(report.local, Some(socket.local_addr().ip()));
        assert_eq!(report.mtu, None);
        assert_eq!(report.payload, b"anybody there?");
        assert_eq!(socket.recv_error().unwrap(), None);
    }
}

#[test]
fn a_report_names_the_address_the_datagram_left_from() {
    let socket = bind("0.0.0.0:0");
    let destination = closed("127.0.0.1:0");
    socket.send_to(b"x", destination, Some(ip("127.0.0.8"))).unwrap();
    assert_eq!(report(&socket).local, Some(ip("127.0.0.8")));
}

#[test]
fn a_report_does_not_disturb_receiving_or_sending() {
    let socket = bind("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    let mut batch = RecvBatch::new();
    let destinations: HashSet<SocketAddr> = (0..3).map(|_| closed("127.0.0.1:0")).collect();
    for destination in &destinations {
        socket.send_to(b"x", *destination, None).unwrap();
    }
    wait(&socket, PollFlags::ERR);
    assert_eq!(kind(socket.recv_batch(&mut batch)), io::ErrorKind::WouldBlock);
    assert!(batch.errors_pending());

    socket.send_to(b"x", *destinations.iter().next().unwrap(), None).unwrap();
    client.send_to(b"alive", socket.local_addr()).unwrap();
    eventually("the datagram comes through", || {
        socket.recv_batch(&mut batch).is_ok_and(|count| count == 1)
    });
    assert_eq!(batch.iter().next().unwrap().payload, b"alive");
    socket.send_to(b"x", *destinations.iter().next().unwrap(), None).unwrap();
    socket.send_to(b"to the living", client.local_addr().unwrap(), None).unwrap();
    let mut buf = [0; 32];
    assert_eq!(client.recv(&mut buf).unwrap(), 13);

    let mut reported = HashSet::new();
    while let Some(report) = socket.recv_error().unwrap() {
        reported.insert(report.destination);
    }
    assert_eq!(reported, destinations);
}

#[test]
fn sockets_let_the_kernel_fragment_and_have_large_buffers() {
    let v4 = bind("127.0.0.1:0");
    let discover = sockopt::ip_mtu_discover(&v4).unwrap();
    assert_eq!(discover, sockopt::Ipv4PathMtuDiscovery::DONT);
    let fresh = Client::bind("127.0.0.1:0").unwrap();
    let before = sockopt::socket_recv_buffer_size(&fresh).unwrap();
    assert!(sockopt::socket_recv_buffer_size(&v4).unwrap() >= before);
    let flags = rustix::io::fcntl_getfd(&v4).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    if has_ipv6() {
        let v6 = bind("[::1]:0");
        let discover = sockopt::ipv6_mtu_discover(&v6).unwrap();
        assert_eq!(discover, sockopt::Ipv6PathMtuDiscovery::DONT);
        assert!(sockopt::ipv6_v6only(&v6).unwrap());
    }
}

#[test]
fn a_bind_that_fails_says_what_and_where() {
    let first = bind("127.0.0.1:0");
    let address = first.local_addr();
    let error = UdpSocket::bind(address, &UdpOptions::default()).unwrap_err();
    assert_eq!((error.operation, error.kind()), ("bind", io::ErrorKind::AddrInUse));
    assert_eq!(error.address, address.to_string());

    let missing = UdpOptions { interface: Some("no-such-if".to_owned()) };
    let error = UdpSocket::bind("0.0.0.0:0".parse().unwrap(), &missing).unwrap_err();
    assert_eq!((error.operation, error.address.as_str()), ("SO_BINDTODEVICE", "no-such-if"));
}

#[test]
fn a_socket_from_elsewhere_is_taken_over() {
    let made = Client::bind("0.0.0.0:0").unwrap();
    let socket = UdpSocket::from_fd(OwnedFd::from(made)).unwrap();
    let client = client("127.0.0.1:0");
    client.send_to(b"x", ("127.0.0.7", socket.local_addr().port())).unwrap();
    let mut batch = RecvBatch::new();
    receive(&socket, &mut batch);
    assert_eq!(batch.iter().next().unwrap().local, ip("127.0.0.7"));
    assert_eq!(kind(socket.recv_batch(&mut batch)), io::ErrorKind::WouldBlock);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = UdpSocket::from_fd(OwnedFd::from(listener)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (unix, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert!(UdpSocket::from_fd(OwnedFd::from(unix)).is_err());
    let unbound =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    let error = UdpSocket::from_fd(unbound.unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_dual_stack_socket_from_elsewhere_speaks_of_ipv4() {
    if !has_ipv6() {
        return;
    }
    let made = Client::bind("[::]:0").unwrap();
    if sockopt::ipv6_v6only(&made).unwrap() {
        return skip("this host makes IPv6 sockets IPv6-only");
    }
    let socket = UdpSocket::from_fd(OwnedFd::from(made)).unwrap();
    let client = client("127.0.0.1:0");
    client.connect(("127.0.0.7", socket.local_addr().port())).unwrap();
    client.send(b"question").unwrap();
    let mut batch = RecvBatch::new();
    receive(&socket, &mut batch);
    let datagram = batch.iter().next().unwrap();
    assert_eq!(datagram.source, client.local_addr().unwrap());
    assert_eq!(datagram.local, ip("127.0.0.7"));
    socket.send_to(b"answer", datagram.source, Some(datagram.local)).unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 6);

    let destination = closed("127.0.0.1:0");
    socket.send_to(b"x", destination, None).unwrap();
    let report = report(&socket);
    assert_eq!((report.destination, report.origin), (destination, ErrorOrigin::Icmp));
    assert_eq!(report.offender, Some(destination.ip()));
}
