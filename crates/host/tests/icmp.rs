//! Port-unreachable messages, as clients on loopback see them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod readiness;

use std::io;
use std::net::{SocketAddr, UdpSocket as Client};
use std::time::Duration;

use portreeve_host::{RawIcmp, RecvBatch, RefusedDatagram, UdpOptions, UdpSocket};
use readiness::{has_ipv6, skip, wait_readable};

fn open() -> Option<RawIcmp> {
    let icmp = RawIcmp::open().unwrap();
    if icmp.is_none() {
        skip("raw sockets need CAP_NET_RAW");
    }
    icmp
}

/// Sends from a connected client to a socket of ours and refuses the datagram.
fn refuse(icmp: &RawIcmp, bound: &str, used: &str, payload: &[u8]) -> (Client, io::Error) {
    let socket = UdpSocket::bind(bound.parse().unwrap(), &UdpOptions::default()).unwrap();
    let local = SocketAddr::new(used.parse().unwrap(), socket.local_addr().port());
    let client = Client::bind((if local.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.connect(local).unwrap();
    client.send(payload).unwrap();
    wait_readable(&socket);
    let mut batch = RecvBatch::new();
    assert_eq!(socket.recv_batch(&mut batch).unwrap(), 1);
    let datagram = batch.iter().next().unwrap();
    icmp.send_port_unreachable(&RefusedDatagram {
        client: datagram.source,
        local: SocketAddr::new(datagram.local, local.port()),
        payload: datagram.payload,
        payload_len: datagram.payload.len(),
    })
    .unwrap();
    let error = client.recv(&mut [0; 16]).unwrap_err();
    (client, error)
}

#[test]
fn a_client_sees_its_datagram_refused() {
    let Some(icmp) = open() else { return };
    let mut cases = vec![("0.0.0.0:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2")];
    if has_ipv6() {
        cases.push(("[::1]:0", "::1"));
    }
    let long = vec![3; 20_000];
    for (bound, used) in cases {
        for payload in [&b"knock"[..], b"", &long] {
            let (_, error) = refuse(&icmp, bound, used, payload);
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{used}");
        }
    }
}

#[test]
fn nobody_else_is_refused() {
    let Some(icmp) = open() else { return };
    let bystander = Client::bind("127.0.0.1:0").unwrap();
    bystander.connect("127.0.0.1:9").unwrap();
    bystander.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    refuse(&icmp, "0.0.0.0:0", "127.0.0.1", b"knock");
    let error = bystander.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "it only timed out");
}

#[test]
fn mixed_families_are_refused() {
    let Some(icmp) = open() else { return };
    let mixed = RefusedDatagram {
        client: "127.0.0.1:1".parse().unwrap(),
        local: "[::1]:1".parse().unwrap(),
        payload: b"",
        payload_len: 0,
    };
    let error = icmp.send_port_unreachable(&mixed).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
