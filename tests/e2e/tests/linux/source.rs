//! Whom the guest sees: the gateway, the client itself, or the client in a PROXY header.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};

use portreeve_e2e::client::{ask, connect, read_text, udp};
use portreeve_e2e::network::{Elsewhere, Family, isolated};
use portreeve_e2e::run::{Run, Running};

const PUBLISHED: u16 = 7000;

fn run(source: &str, udp: bool) -> Running {
    let run = Run::usual().with(&["--source", source]);
    let run = run.publish("0.0.0.0:7000:80").publish("[::]:7000:80");
    let run = run.publish("0.0.0.0:7001:81").publish("[::]:7001:81");
    let run =
        if udp { run.publish("0.0.0.0:7000:82/udp").publish("[::]:7000:82/udp") } else { run };
    run.serve(&["peer@80", "hex@81", "udp-hex@82"]).up()
}

/// `PEER LOCAL` as the guest saw them.
fn seen(to: SocketAddr) -> (SocketAddr, SocketAddr, SocketAddr) {
    let mut stream = connect(to);
    let line = read_text(&mut stream).unwrap();
    let (peer, local) = line.trim().split_once(' ').unwrap_or_else(|| panic!("{line}"));
    (peer.parse().unwrap(), local.parse().unwrap(), stream.local_addr().unwrap())
}

#[test]
fn by_default_it_is_the_gateway() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        let run = run("gateway", true);
        for family in Family::BOTH {
            let [host, _] = Elsewhere::host(family);
            let (near, local, _) = seen((family.loopback(), PUBLISHED).into());
            let (far, _, _) = elsewhere.run(|| seen((host, PUBLISHED).into()));
            assert_eq!(near.ip(), far.ip());
            assert!(family.has(near.ip()));
            assert_ne!(far.ip(), Elsewhere::address(family));
            assert!(on_one_link(near.ip(), local.ip()), "{near} and {local}");
        }
        run.finish();
    });
}

/// The default subnets are a /24 and a /64.
fn on_one_link(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..8] == b.octets()[..8],
        _ => false,
    }
}

#[test]
fn preserved_it_is_the_client() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        for user in portreeve_e2e::machine::User::all() {
            let run = Run::by(user).with(&["--source", "preserve"]);
            let run = run.publish("0.0.0.0:7000:80").publish("[::]:7000:80");
            let run = run.publish("0.0.0.0:7000:82/udp").publish("[::]:7000:82/udp");
            let run = run.serve(&["peer@80", "udp-peer@82"]).up();
            for family in Family::BOTH {
                for host in Elsewhere::host(family) {
                    elsewhere.run(|| {
                        for _ in 0..5 {
                            let (peer, _, client) = seen((host, PUBLISHED).into());
                            assert_eq!(peer, client);
                            assert_eq!(peer.ip(), Elsewhere::address(family));
                        }
                        let socket = udp((host, PUBLISHED).into());
                        let peer = ask(&socket, b"who").unwrap();
                        let client = socket.local_addr().unwrap().to_string();
                        assert_eq!(String::from_utf8_lossy(&peer), client);
                    });
                }
                // The guest could not answer a loopback address: the gateway stands in for it.
                let (near, local, _) = seen((family.loopback(), PUBLISHED).into());
                assert!(on_one_link(near.ip(), local.ip()), "{near} and {local}");
                let socket = udp((family.loopback(), PUBLISHED).into());
                let peer = String::from_utf8(ask(&socket, b"who").unwrap()).unwrap();
                assert_eq!(peer.parse::<SocketAddr>().unwrap().ip(), near.ip());
            }
            run.finish();
        }
    });
}

/// A link-local client means nothing in the guest: there it is the gateway; and it is answered.
#[test]
fn a_link_local_client_is_served() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        for source in ["gateway", "preserve"] {
            let run = Run::usual().with(&["--source", source]);
            let run = run.publish("[::]:7000:80").publish("[::]:7000:82/udp");
            let run = run.serve(&["peer@80", "udp-peer@82"]).up();
            elsewhere.run(|| {
                let to = Elsewhere::host_link_local(PUBLISHED);
                let (peer, local, client) = seen(to);
                assert_eq!(client.ip(), Elsewhere::address_link_local());
                assert!(on_one_link(peer.ip(), local.ip()), "{peer} and {local}");
                let seen = String::from_utf8(ask(&udp(to), b"who").unwrap()).unwrap();
                assert_eq!(seen.parse::<SocketAddr>().unwrap().ip(), peer.ip());
            });
            run.finish();
        }
    });
}

/// Two clients may have one port number between them.
#[test]
fn preserved_clients_with_the_same_port_are_two() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        let run = Run::usual().with(&["--source", "preserve"]);
        let run = run.publish("0.0.0.0:7000:80").publish("0.0.0.0:7001:80");
        let run = run.serve(&["echo@80"]).up();
        let [first, second] = Elsewhere::host(Family::V4);
        elsewhere.run(|| {
            let to = [(first, 7000), (first, 7001), (second, 7000), (second, 7001)];
            let mut streams = to.map(|to| {
                let kind = socket2::Type::STREAM;
                let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
                socket.set_reuse_address(true).unwrap();
                let from = SocketAddr::new(Elsewhere::address(Family::V4), 5555);
                socket.bind(&from.into()).unwrap();
                socket.connect(&SocketAddr::from(to).into()).unwrap();
                std::net::TcpStream::from(socket)
            });
            for (at, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&[u8::try_from(at).unwrap()]).unwrap();
            }
            for (at, stream) in streams.iter_mut().enumerate() {
                let mut byte = [0xff];
                stream.read_exact(&mut byte).unwrap();
                assert_eq!(usize::from(byte[0]), at);
            }
        });
        run.finish();
    });
}

/// What stands in front of the client's own bytes.
fn header(to: SocketAddr) -> (Vec<u8>, SocketAddr) {
    let mut stream = connect(to);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let hex = read_text(&mut stream).unwrap();
    (unhex(hex.as_bytes()), stream.local_addr().unwrap())
}

fn unhex(hex: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(hex).unwrap();
    let pairs = (0..text.len() / 2).map(|at| &text[2 * at..2 * at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn a_proxy_line_names_the_client() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        // Version 1 has no form for datagrams.
        let run = run("proxy-v1", false);
        for family in Family::BOTH {
            let [host, _] = Elsewhere::host(family);
            let to = SocketAddr::new(host, 7001);
            let (bytes, client) = elsewhere.run(|| header(to));
            let text = String::from_utf8(bytes).unwrap();
            let protocol = if family == Family::V4 { "TCP4" } else { "TCP6" };
            let (ip, port) = (client.ip(), client.port());
            let line = format!("PROXY {protocol} {ip} {host} {port} 7001\r\n");
            assert_eq!(text, format!("{line}hello"));
        }
        run.finish();
        let outcome = Run::usual()
            .with(&["--source", "proxy-v1"])
            .publish("0:80/udp")
            .command(&["echo", "started"])
            .outcome();
        assert_eq!((outcome.code, &*outcome.out), (Some(125), ""), "{outcome:?}");
    });
}

#[test]
fn a_proxy_header_names_the_client() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        let run = run("proxy-v2", true);
        for family in Family::BOTH {
            let [host, _] = Elsewhere::host(family);
            let (bytes, client) = elsewhere.run(|| header((host, 7001).into()));
            let expected = version_2(0x1, client, (host, 7001).into());
            assert_eq!(bytes, [&*expected, b"hello"].concat());

            let (bytes, client) = elsewhere.run(|| {
                let socket = udp((host, PUBLISHED).into());
                (ask(&socket, b"hello").unwrap(), socket.local_addr().unwrap())
            });
            let expected = version_2(0x2, client, (host, PUBLISHED).into());
            assert_eq!(unhex(&bytes), [&*expected, b"hello"].concat());
        }
        run.finish();
    });
}

/// The header of the specification (haproxy `doc/proxy-protocol.txt` §2.2), put together by hand.
fn version_2(transport: u8, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let mut addresses = Vec::new();
    for ip in [client.ip(), local.ip()] {
        match ip {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    for port in [client.port(), local.port()] {
        addresses.extend(port.to_be_bytes());
    }
    header.push(if client.is_ipv4() { 0x10 } else { 0x20 } | transport);
    header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    header.extend(addresses);
    header
}
