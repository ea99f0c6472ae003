//! Dialling where nobody is, nothing is allowed or nothing comes back, in namespaces.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod namespace;
mod readiness;

use std::io;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use namespace::{Chain, Namespace};
use portreeve_host::{DialOptions, HostError, Refusal, Stream, dial, is_local};
use readiness::wait_writable;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Dials and waits for the end of it.
fn connect(address: &str, options: &DialOptions) -> Result<Stream, HostError> {
    let stream = dial(address.parse().unwrap(), options)?;
    wait_writable(&stream);
    stream.finish_connect().map(|()| stream)
}

fn refusal(host: &Namespace, address: &str) -> Refusal {
    host.run(|| connect(address, &DialOptions::default())).unwrap_err().refusal()
}

#[test]
fn refusals_of_routes_and_routers_are_told_apart() {
    let Some(chain) = Chain::new(1500) else { return };
    let near = &chain.near;
    for (route, v6) in [("10.8", ""), ("fd08:", "-6 ")] {
        let network = |number: u8, host: &str| {
            if v6.is_empty() {
                format!("{route}.{number}.{host}")
            } else {
                format!("{route}{number}::{host}")
            }
        };
        let end = if v6.is_empty() { "0/24" } else { "/32" };
        near.ip(&format!("{v6}route add prohibit {}", network(1, end)));
        near.ip(&format!("{v6}route add unreachable {}", network(2, end)));
        chain.router.ip(&format!("{v6}route add unreachable {}", network(3, end)));
        let port = |address: String| match address.contains(':') {
            true => format!("[{address}]:9"),
            false => format!("{address}:9"),
        };
        assert_eq!(refusal(near, &port(network(1, "1"))), Refusal::Prohibited);
        assert_eq!(refusal(near, &port(network(2, "1"))), Refusal::HostUnreachable);
        let far = refusal(near, &port(network(3, "1")));
        assert!(matches!(far, Refusal::HostUnreachable | Refusal::NetworkUnreachable), "{far:?}");
    }
    assert_eq!(refusal(near, "10.2.0.2:9"), Refusal::Refused);
    assert_eq!(refusal(near, "[fd02::2]:9"), Refusal::Refused);
    let alone = Namespace::new().unwrap();
    assert_eq!(refusal(&alone, "192.0.2.1:9"), Refusal::NetworkUnreachable);
    assert_eq!(refusal(&alone, "[2001:db8::1]:9"), Refusal::NetworkUnreachable);
}

#[test]
fn refusals_of_a_firewall_are_told_apart() {
    let Some(chain) = Chain::new(1500) else { return };
    let rules = "add table inet t; \
        add chain inet t out { type filter hook output priority 0; }; \
        add rule inet t out tcp dport 1 reject with tcp reset; \
        add rule inet t out tcp dport 2 reject with icmpx type admin-prohibited; \
        add rule inet t out tcp dport 3 reject; \
        add rule inet t out tcp dport 4 drop";
    if !chain.near.nft(rules) {
        return;
    }
    // Linux takes the prohibition of ICMP for an unreachable host and that of ICMPv6 for itself.
    for (address, prohibited) in
        [("10.2.0.2", Refusal::HostUnreachable), ("[fd02::2]", Refusal::Prohibited)]
    {
        let refusal = |port| refusal(&chain.near, &format!("{address}:{port}"));
        assert_eq!(refusal(1), Refusal::Refused);
        assert_eq!(refusal(2), prohibited);
        assert_eq!(refusal(3), Refusal::Refused, "port unreachable");
    }
    // What is dropped is silence, even where the host drops it itself.
    let dropped =
        chain.near.run(|| dial("10.2.0.2:4".parse().unwrap(), &DialOptions::default())).unwrap();
    assert_eq!(dropped.finish_connect().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_black_hole_is_noticed_by_time_alone() {
    let (Some(host), Some(hole)) = (Namespace::new(), Namespace::new()) else { return };
    host.join("h0", &hole, "b0");
    host.address("h0", "10.1.0.1/24");
    host.ip("neighbour add 10.1.0.2 lladdr 02:00:00:00:00:01 dev h0 nud permanent");
    host.set("ipv4/tcp_syn_retries", "1");
    let stream = host.run(|| dial("10.1.0.2:9".parse().unwrap(), &DialOptions::default())).unwrap();
    let error = stream.finish_connect().unwrap_err();
    assert_eq!((error.kind(), error.refusal()), (io::ErrorKind::WouldBlock, Refusal::Other));
    let soon = Timespec::try_from(Duration::from_millis(200)).unwrap();
    let mut fds = [PollFd::new(&stream, PollFlags::OUT)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&soon)).unwrap(), 0, "nothing is known yet");
    wait_writable(&stream);
    assert_eq!(stream.finish_connect().unwrap_err().refusal(), Refusal::TimedOut);
}

#[test]
fn a_neighbour_that_is_not_there_is_unreachable() {
    let (Some(host), Some(other)) = (Namespace::new(), Namespace::new()) else { return };
    host.join("h0", &other, "o0");
    host.address("h0", "10.1.0.1/24");
    host.set("ipv4/neigh/h0/retrans_time_ms", "50");
    assert_eq!(refusal(&host, "10.1.0.2:9"), Refusal::HostUnreachable);
}

#[test]
fn the_address_and_interface_asked_for_are_used() {
    let Some(chain) = Chain::new(1500) else { return };
    chain.near.address("n0", "10.1.0.9/24");
    let listener = chain.far.run(|| TcpListener::bind("10.2.0.2:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = |source: &str, interface: &str| DialOptions {
        bind_address: Some(ip(source)),
        bind_interface: Some(interface.to_owned()),
        ..DialOptions::default()
    };
    let connected = chain.near.run(|| connect(&address, &options("10.1.0.9", "n0"))).unwrap();
    assert_eq!(listener.accept().unwrap().1.ip(), ip("10.1.0.9"));
    assert!(!connected.peer_is_local().unwrap());
    let foreign = chain.near.run(|| connect(&address, &options("10.7.7.7", "n0"))).unwrap_err();
    assert_eq!((foreign.operation, foreign.refusal()), ("bind", Refusal::NoPorts));
    let missing = chain.near.run(|| connect(&address, &options("10.1.0.9", "n9"))).unwrap_err();
    assert_eq!(missing.operation, "SO_BINDTODEVICE");
    let wrong = chain.near.run(|| connect(&address, &options("fd01::1", "n0"))).unwrap_err();
    assert_eq!(wrong.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn the_hop_limit_holds_from_the_first_packet() {
    let Some(chain) = Chain::new(1500) else { return };
    for address in ["10.2.0.2:0", "[fd02::2]:0"] {
        let listener = chain.far.run(|| TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let options = |limit| DialOptions { hop_limit: Some(limit), ..DialOptions::default() };
        let stream = chain.near.run(|| connect(&address, &options(2))).unwrap();
        if listener.local_addr().unwrap().is_ipv4() {
            assert_eq!(sockopt::ip_ttl(&stream).unwrap(), 2);
        } else {
            assert_eq!(sockopt::ipv6_unicast_hops(&stream).unwrap(), 2);
        }
        // The router answers the SYN, and Linux does not wait for a better answer.
        let expired = chain.near.run(|| connect(&address, &options(1))).unwrap_err();
        assert_eq!(expired.refusal(), Refusal::HostUnreachable);
    }
}

#[test]
fn a_connection_to_this_host_is_told() {
    let Some(chain) = Chain::new(1500) else { return };
    for address in ["127.0.0.1:0", "[::1]:0", "10.1.0.1:0", "[fd01::1]:0"] {
        let listener = chain.near.run(|| TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stream = chain.near.run(|| connect(&address, &DialOptions::default())).unwrap();
        assert!(stream.peer_is_local().unwrap(), "{address}");
    }
    let listener = chain.near.run(|| TcpListener::bind("0.0.0.0:0")).unwrap();
    let address = format!("0.0.0.0:{}", listener.local_addr().unwrap().port());
    let stream = chain.near.run(|| connect(&address, &DialOptions::default())).unwrap();
    assert!(stream.peer_is_local().unwrap(), "the wildcard is loopback");
    // From one address of this host to another, the routes know before the dial.
    chain.near.address("n0", "10.1.0.9/24");
    for to in ["127.0.0.2", "10.1.0.1", "10.1.0.9", "fd01::1"] {
        assert!(chain.near.run(|| is_local(ip(to))).unwrap(), "{to}");
    }
    for to in ["10.1.0.2", "10.2.0.2", "fd01::2"] {
        assert!(!chain.near.run(|| is_local(ip(to))).unwrap(), "{to}");
    }
}
