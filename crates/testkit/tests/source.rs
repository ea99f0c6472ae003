//! Which source the guest sees: the gateway, the client itself, or a PROXY header.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_testkit::{
    App, ClientSpec, End, Listener, Pair, PairSpec, Preamble, Service, client_spec,
};
use portreeve_types::{PublishId, SourceMode, Transport};

const SOON: Duration = Duration::from_millis(50);

/// A pair with an echo on both transports, and the published ports.
fn published(mode: SourceMode, offloaded: bool, preamble: Preamble) -> (Pair, PublishId) {
    let spec = PairSpec::default();
    let mut pair = Pair::new(if offloaded { spec.offloaded() } else { spec });
    pair.guest.listen(80, Listener::new(App { preamble, ..App::ECHO }));
    pair.guest.udp.serve(80, Service::Echo);
    let port = pair.publish(Transport::Tcp, 80, Some(mode));
    (pair, port)
}

fn client_at(publish: PublishId, address: Option<SocketAddr>, app: App) -> ClientSpec {
    let local = match address {
        Some(SocketAddr::V6(_)) => "[2001:db8::1]:8080".parse().ok(),
        Some(SocketAddr::V4(_)) => "192.0.2.1:8080".parse().ok(),
        None => None,
    };
    ClientSpec { address, local, ..client_spec(publish, app, false) }
}

/// The source that the guest sees of a client, after an echo of some length has gone through.
fn seen(mode: SourceMode, client: Option<SocketAddr>) -> SocketAddr {
    let mut last = None;
    for offloaded in [false, true] {
        let (mut pair, port) = published(mode, offloaded, Preamble::None);
        let id = pair.connect_with(client_at(port, client, App::source(100_000)));
        pair.run_until(Duration::from_secs(5), |pair| pair.client(id).is_done());
        assert_eq!(pair.client(id).peer.check.length(), 100_000);
        assert_eq!(pair.client(id).end(), End::Eof);
        let source = pair.client(id).ends.unwrap().1;
        assert!(last.is_none_or(|last| last == source));
        last = Some(source);
        pair.assert_quiescent();
    }
    last.unwrap()
}

fn gateway(v6: bool) -> IpAddr {
    Pair::new(PairSpec::default()).guest.gateway(v6)
}

#[test]
fn by_default_the_guest_sees_the_gateway() {
    for (client, v6) in [("192.0.2.7:40000", false), ("[2001:db8::7]:40000", true)] {
        let source = seen(SourceMode::Gateway, client.parse().ok());
        assert_eq!(source, SocketAddr::new(gateway(v6), 40_000), "with the client's own port");
    }
    assert_eq!(seen(SourceMode::Gateway, None).ip(), gateway(false), "a Unix socket");
}

#[test]
fn a_preserved_source_is_the_clients_own() {
    for client in ["192.0.2.7:40000", "8.8.8.8:1025", "[2001:db8::7]:40000", "[fd99::1]:65535"] {
        let client: SocketAddr = client.parse().unwrap();
        assert_eq!(seen(SourceMode::Preserve, Some(client)), client);
    }
}

#[test]
fn a_privileged_port_of_a_client_is_not_used_towards_the_guest() {
    let client: SocketAddr = "192.0.2.7:80".parse().unwrap();
    let source = seen(SourceMode::Preserve, Some(client));
    assert_eq!(source.ip(), client.ip());
    assert!(source.port() >= 1024);
}

#[test]
fn a_source_that_the_guest_could_not_answer_falls_back_to_the_gateway() {
    let own = Pair::new(PairSpec::default());
    let neighbor = |v6: bool| match own.guest.address(v6) {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + 40).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + 40).into()),
    };
    let unusable = [
        "127.0.0.1".parse().unwrap(),
        "127.9.9.9".parse().unwrap(),
        "0.0.0.0".parse().unwrap(),
        "169.254.1.1".parse().unwrap(),
        "240.0.0.1".parse().unwrap(),
        "::1".parse().unwrap(),
        "fe80::99".parse().unwrap(),
        "::ffff:192.0.2.7".parse().unwrap(),
        neighbor(false),
        neighbor(true),
        own.guest.address(false),
        own.guest.address(true),
        own.guest.gateway(false),
    ];
    for address in unusable {
        let source = seen(SourceMode::Preserve, Some(SocketAddr::new(address, 40_000)));
        assert_eq!(source.ip(), gateway(address.is_ipv6()), "for {address}");
    }
    assert_eq!(seen(SourceMode::Preserve, None).ip(), gateway(false), "a Unix socket");
}

#[test]
fn a_client_whose_family_the_service_does_not_serve_is_seen_as_the_gateway() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest
        .tcp
        .ports
        .insert((true, 80), portreeve_testkit::Port::Listen(Listener::new(App::ECHO)));
    let port = pair.publish(Transport::Tcp, 80, Some(SourceMode::Preserve));
    let client = client_at(port, "192.0.2.7:40000".parse().ok(), App::source(1000));
    let client = pair.connect_with(client);
    pair.run_until(SOON, |pair| pair.client(client).is_done());
    assert_eq!(pair.client(client).peer.check.length(), 1000);
    assert_eq!(pair.client(client).ends.unwrap().1.ip(), gateway(true));
}

#[test]
fn datagrams_keep_their_source_as_connections_do() {
    for (client, usable) in [
        ("192.0.2.7:40000", true),
        ("[2001:db8::7]:40000", true),
        ("127.0.0.1:40000", false),
        ("[::1]:40000", false),
    ] {
        let client: SocketAddr = client.parse().unwrap();
        let local: SocketAddr =
            if client.is_ipv6() { "[2001:db8::1]:80" } else { "192.0.2.1:80" }.parse().unwrap();
        let (mut pair, _) = published(SourceMode::Preserve, false, Preamble::None);
        let port = pair.publish(Transport::Udp, 80, Some(SourceMode::Preserve));
        pair.send_datagram(port, client, local, b"hello");
        pair.run_for(SOON);
        let expected = if usable { client.ip() } else { gateway(client.is_ipv6()) };
        let expected = SocketAddr::new(expected, 40_000);
        assert_eq!(pair.guest.udp.received[0].from, expected);
        assert_eq!(pair.host.udp.received[0].client, client);
        assert_eq!(pair.host.udp.received[0].local, local);
    }
}

/// What stands in front of the stream in the guest.
fn preamble(mode: SourceMode, preamble: Preamble, client: Option<SocketAddr>) -> Vec<u8> {
    let (mut pair, port) = published(mode, false, preamble);
    let id = pair.connect_with(client_at(port, client, App::source(50_000)));
    pair.run_until(Duration::from_secs(5), |pair| pair.client(id).is_done());
    assert_eq!(pair.client(id).peer.check.length(), 50_000, "the stream follows whole");
    let stream = pair.client(id).peer.stream;
    let header = pair.guest.tcp.reading(stream).unwrap().peer.header.clone();
    pair.assert_quiescent();
    header
}

#[test]
fn a_proxy_line_names_the_client() {
    let line = |client: &str| {
        let header = preamble(SourceMode::ProxyV1, Preamble::ProxyV1, client.parse().ok());
        String::from_utf8(header).unwrap()
    };
    assert_eq!(line("192.0.2.7:40000"), "PROXY TCP4 192.0.2.7 192.0.2.1 40000 8080\r\n");
    let v6 = line("[2001:db8::7]:40000");
    assert!(v6.starts_with("PROXY TCP6 2001:db8") && v6.ends_with(" 40000 8080\r\n"), "{v6}");
    assert_eq!(line(""), "PROXY UNKNOWN\r\n");
}

/// HAProxy's specification §2.2: signature, version and command, family, length, addresses.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[test]
fn a_proxy_header_names_the_client() {
    let header =
        |client: &str| preamble(SourceMode::ProxyV2, Preamble::ProxyV2, client.parse().ok());
    let v4 = header("192.0.2.7:40000");
    let ends = [192, 0, 2, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x1f, 0x90];
    assert_eq!(v4, [SIGNATURE, &[0x21, 0x11, 0, 12], &ends].concat());
    let v6 = header("[2001:db8::7]:40000");
    assert_eq!((v6.len(), &v6[..12], &v6[12..16]), (52, SIGNATURE, &[0x21, 0x21, 0, 36][..]));
    assert_eq!(header(""), [SIGNATURE, &[0x20, 0, 0, 0]].concat());
}

#[test]
fn every_datagram_has_a_proxy_header() {
    let (mut pair, _) = published(SourceMode::ProxyV2, false, Preamble::None);
    pair.guest.udp.serve(80, Service::Sink);
    let port = pair.publish(Transport::Udp, 80, Some(SourceMode::ProxyV2));
    let (client, local) = ("192.0.2.7:40000".parse().unwrap(), "192.0.2.1:80".parse().unwrap());
    for text in ["one", "two"] {
        pair.send_datagram(port, client, local, text.as_bytes());
    }
    pair.run_for(SOON);
    let ends = [192, 0, 2, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 80];
    for (datagram, text) in pair.guest.udp.received.iter().zip(["one", "two"]) {
        let expected = [SIGNATURE, &[0x21, 0x12, 0, 12], &ends, text.as_bytes()].concat();
        assert_eq!(datagram.payload, expected);
    }
}

#[test]
fn a_client_that_says_nothing_is_announced_all_the_same() {
    let (mut pair, port) = published(SourceMode::ProxyV1, false, Preamble::ProxyV1);
    let client = client_at(port, "192.0.2.7:40000".parse().ok(), App::source(0));
    let client = pair.connect_with(client);
    pair.run_until(SOON, |pair| pair.client(client).is_done());
    pair.run_for(SOON);
    assert!(pair.guest.tcp.ended[0].peer.header.ends_with(b"\r\n"));
    assert_eq!(pair.client(client).end(), End::Eof);
    pair.assert_quiescent();
}
