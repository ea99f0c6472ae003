//! The host is out of the guest's reach in every spelling of its addresses, but for what was
//! opened; and what was opened is reached in one way only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{Command, DropReason, EgressRefusal, Unpublish};
use portreeve_testkit::packet::{Segment, datagram, flag, ip};
use portreeve_testkit::{
    App, Finish, Listener, Outcome, Pair, PairSpec, Place, Reading, Service, client_spec,
};
use portreeve_types::{HostAccess, Transport};
use portreeve_wire::icmp::{ErrorKind, Unreachable};
use portreeve_wire::packet::Protocol;

const SOON: Duration = Duration::from_millis(5);

/// Addresses of the host in these tests.
const OWN: [&str; 4] = ["198.51.100.7", "192.168.77.7", "2001:db8:1::7", "fd77::7"];

/// Where nothing may ever go, and why.
const FORBIDDEN: &[(&str, EgressRefusal)] = {
    use EgressRefusal::{Group, HostAddress, LinkLocal, Metadata, NobodyThere, Reserved};
    &[
        // Loopback, and what means it.
        ("127.0.0.1", HostAddress),
        ("127.1.2.3", HostAddress),
        ("127.255.255.254", HostAddress),
        ("0.0.0.0", HostAddress),
        ("0.0.0.1", HostAddress),
        ("0.255.255.255", HostAddress),
        ("::1", HostAddress),
        ("::", HostAddress),
        ("::ffff:127.0.0.1", Reserved),
        ("::ffff:0.0.0.0", Reserved),
        ("::127.0.0.1", Reserved),
        ("::ffff:0:127.0.0.1", Reserved),
        ("64:ff9b::127.0.0.1", HostAddress),
        ("64:ff9b::0.0.0.0", HostAddress),
        ("64:ff9b:1::7f00:1", HostAddress),
        ("64:ff9b:1:7f00:0:100::", HostAddress),
        ("2002:7f00:1::1", HostAddress),
        ("2001:0:1:2:3:4:80ff:fffe", HostAddress),
        ("2001:db8::5efe:127.0.0.1", HostAddress),
        ("fd00::200:5efe:127.0.0.1", HostAddress),
        // The host's other addresses.
        ("198.51.100.7", HostAddress),
        ("192.168.77.7", HostAddress),
        ("2001:db8:1::7", HostAddress),
        ("fd77::7", HostAddress),
        ("::ffff:198.51.100.7", Reserved),
        ("64:ff9b::198.51.100.7", HostAddress),
        ("64:ff9b:1::c633:6407", HostAddress),
        ("64:ff9b:1:c633:64:700::", HostAddress),
        ("2002:c633:6407::1", HostAddress),
        ("2001:0:1:2:3:4:39cc:9bf8", HostAddress),
        ("2001:db8::5efe:192.168.77.7", HostAddress),
        // Its neighbours and its cloud.
        ("169.254.0.1", LinkLocal),
        ("169.254.169.253", LinkLocal),
        ("64:ff9b::169.254.1.1", LinkLocal),
        ("fe80::9", LinkLocal),
        ("febf:ffff::9", LinkLocal),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("100.100.100.200", Metadata),
        ("168.63.129.16", Metadata),
        ("192.0.0.192", Metadata),
        ("::ffff:169.254.169.254", Reserved),
        ("64:ff9b::a9fe:a9fe", Metadata),
        ("64:ff9b:1:a9fe:a9:fe00::", Metadata),
        ("2002:a9fe:a9fe::1", Metadata),
        ("fd00:ec2::254", Metadata),
        ("fd00:ec2::23", Metadata),
        ("fd20:ce::254", Metadata),
        // Nobody, and everybody.
        ("240.0.0.1", Reserved),
        ("255.255.255.254", Reserved),
        ("100::1", Reserved),
        ("224.0.0.1", Group),
        ("239.255.255.250", Group),
        ("255.255.255.255", Group),
        ("ff02::1", Group),
        ("ff0e::1:2", Group),
        ("guest", NobodyThere),
        ("neighbour", NobodyThere),
    ]
};

fn protected(spec: PairSpec) -> Pair {
    let mut pair = Pair::new(spec);
    let own: Vec<IpAddr> = OWN.iter().map(|text| text.parse().unwrap()).collect();
    pair.set_host_addresses(&own);
    pair
}

/// An address by its text, or one of the guest's own prefix.
fn address(pair: &Pair, text: &str) -> IpAddr {
    match text {
        "guest" => pair.guest.address(false),
        "neighbour" => match pair.guest.address(true) {
            IpAddr::V6(v6) => std::net::Ipv6Addr::from_bits(v6.to_bits() ^ 8).into(),
            IpAddr::V4(_) => unreachable!("asked for IPv6"),
        },
        _ => text.parse().unwrap(),
    }
}

fn assert_nothing_left(pair: &mut Pair, what: &str) {
    assert!(pair.host.outside.dialled.is_empty(), "{what}: {:?}", pair.host.outside.dialled);
    assert_eq!(pair.host.world.opened, 0, "{what}");
    assert!(pair.host.world.departed.is_empty(), "{what}");
    assert_eq!(pair.engine.flow_count(), 0, "{what}");
}

/// Asks for an address in every way there is; nothing may leave.
fn assert_forbidden(pair: &mut Pair, text: &str, refusal: EgressRefusal) {
    let to = address(pair, text);
    let group = refusal == EgressRefusal::Group;
    let told = if refusal == EgressRefusal::NobodyThere {
        Unreachable::Host
    } else {
        Unreachable::Prohibited
    };
    for port in [1, 80, 53, 65_535] {
        let before = pair.egress_refusals().len();
        // By hand: no stack would connect to some of these.
        pair.guest.scripted.insert(4000);
        let from = SocketAddr::new(pair.guest.address(to.is_ipv6()), 4000);
        pair.guest.send_segment(&Segment::new(from, SocketAddr::new(to, port), flag::SYN));
        pair.run_for(SOON);
        let flags = pair.guest.segments.pop_front().map(|(_, answer)| answer.flags);
        let error = pair.guest.errors.pop().map(|error| error.kind);
        let expected = match refusal {
            EgressRefusal::Group => (None, None),
            EgressRefusal::NobodyThere => (None, Some(ErrorKind::Unreachable(told))),
            _ => (Some(flag::RST | flag::ACK), None),
        };
        assert_eq!((flags, error), expected, "{text}");
        assert_eq!(pair.egress_refusals()[before..], [refusal], "{text}");
        pair.guest_send_udp(5000, SocketAddr::new(to, port), b"hello");
        pair.run_for(SOON);
        let error = pair.guest.errors.pop().map(|error| error.kind);
        assert_eq!(error, (!group).then_some(ErrorKind::Unreachable(told)), "{text}");
    }
    pair.guest_ping(7, 1, to, b"hello");
    pair.run_for(SOON);
    let error = pair.guest.errors.pop().map(|error| error.kind);
    assert_eq!(error, (!group).then_some(ErrorKind::Unreachable(told)), "{text}");
    assert!(pair.guest.echoes.is_empty(), "{text}");
    assert_nothing_left(pair, text);
}

#[test]
fn no_spelling_of_what_is_forbidden_leaves_the_engine() {
    assert!(FORBIDDEN.len() >= 40);
    for &(text, refusal) in FORBIDDEN {
        let mut pair = protected(PairSpec::default());
        assert_forbidden(&mut pair, text, refusal);
        assert!(pair.engine.counters().total_drops() >= 5, "{text}: each is counted");
        pair.assert_quiescent();
    }
}

#[test]
fn opening_the_hosts_loopback_opens_no_other_way_to_it() {
    for &(text, refusal) in FORBIDDEN {
        let mut spec = PairSpec::default();
        spec.config.egress.host = HostAccess::All;
        let mut pair = protected(spec);
        assert_forbidden(&mut pair, text, refusal);
    }
}

#[test]
fn port_zero_leads_nowhere() {
    for text in ["192.0.2.9", "2001:db8::9"] {
        let mut pair = protected(PairSpec::default());
        let to = SocketAddr::new(text.parse().unwrap(), 0);
        pair.guest_send_udp(5000, to, b"hello");
        pair.run_for(SOON);
        assert_eq!(pair.egress_refusals(), [EgressRefusal::Reserved]);
        assert_nothing_left(&mut pair, text);
    }
}

#[test]
fn the_gateway_has_no_ports_but_those_that_were_opened() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.egress.host = "8000-8002,53".parse().unwrap();
        let mut pair = protected(spec);
        let gateway = pair.guest.gateway(v6);
        let loopback: IpAddr = if v6 { "::1" } else { "127.0.0.1" }.parse().unwrap();
        for port in [1, 22, 7999, 8003, 65_535] {
            let ends = pair.guest_connect(SocketAddr::new(gateway, port), App::source(10));
            pair.guest_send_udp(5000, SocketAddr::new(gateway, port), b"hello");
            pair.run_for(SOON);
            assert_eq!(pair.outcome(ends), Outcome::Refused);
            let error = pair.guest.errors.pop().expect("told");
            assert_eq!(error.kind, ErrorKind::Unreachable(Unreachable::Port));
            assert_eq!(error.from, gateway);
        }
        assert_eq!(pair.egress_refusals(), [EgressRefusal::GatewayPort; 10]);
        assert_nothing_left(&mut pair, "closed ports");
        for port in [8000, 8001, 8002, 53] {
            let service = SocketAddr::new(loopback, port);
            pair.serve(service, App::ECHO);
            pair.host.world.udp.insert(service, Place::ECHO);
            pair.guest.udp.serve(5000, Service::Sink);
            let to = SocketAddr::new(gateway, port);
            let ends = pair.guest_connect(to, App::source(1000));
            pair.guest_send_udp(5000, to, b"hello");
            pair.run_for(SOON);
            assert_eq!(pair.connection(ends).peer.check.length(), 1000);
            let flow = pair.host.outside.dialled.last().unwrap();
            assert_eq!((flow.destination, flow.ends), (service, Some(ends)));
            let got = pair.guest.udp.received.pop().expect("an answer");
            assert_eq!(got.from, to, "from whom it was asked");
        }
        pair.assert_quiescent();
    }
}

#[test]
fn what_was_opened_stays_open_where_nothing_else_is() {
    let mut spec = PairSpec::default();
    spec.config.egress.enabled = false;
    spec.config.egress.host = HostAccess::All;
    let mut pair = protected(spec);
    pair.serve(([127, 0, 0, 1], 8000).into(), App::ECHO);
    let gateway = pair.guest.gateway(false);
    let ends = pair.guest_connect(SocketAddr::new(gateway, 8000), App::source(100));
    let away = pair.guest_connect(([192, 0, 2, 9], 80).into(), App::source(100));
    pair.guest_send_udp(5000, ([192, 0, 2, 9], 80).into(), b"hello");
    pair.guest_ping(7, 1, [192, 0, 2, 9].into(), b"hello");
    pair.run_for(SOON);
    assert_eq!(pair.connection(ends).peer.check.length(), 100);
    assert_eq!(pair.outcome(away), Outcome::Refused);
    assert_eq!(pair.egress_refusals(), [EgressRefusal::Disabled; 3]);
    let prohibited = ErrorKind::Unreachable(Unreachable::Prohibited);
    assert_eq!(pair.guest.errors.iter().map(|e| e.kind).collect::<Vec<_>>(), [prohibited; 2]);
    assert_eq!(pair.host.outside.dialled.len(), 1);
    assert_eq!(pair.host.world.opened, 0);
    assert_eq!(pair.engine.counters().drops(DropReason::EgressDenied), 3);
    pair.assert_quiescent();
}

/// A guest that reaches its own published port by way of the host: what it sends to `to` arrives
/// at a client of the port, here the test.
fn hairpins(to: SocketAddr, host: SocketAddr, dialled: SocketAddr) {
    let mut pair = protected(PairSpec::default());
    let tcp = pair.publish_at(Transport::Tcp, 80, None, Some(host));
    let udp = pair.publish_at(Transport::Udp, 80, None, Some(host));
    pair.guest.listen(80, Listener::new(App::ECHO));
    pair.serve(dialled, App { finish: Finish::Never, reading: Reading::Greedy, ..App::SINK });
    pair.host.world.udp.insert(dialled, Place::ECHO);
    pair.guest.udp.serve(5000, Service::Sink);
    let ends = pair.guest_connect(to, App::open(100));
    pair.guest_send_udp(5000, to, b"hello");
    pair.run_for(SOON);
    assert_eq!(pair.outcome(ends), Outcome::Connected, "{to} by way of {host}");
    assert_eq!(pair.host.outside.dialled[0].destination, dialled);
    assert_eq!(pair.guest.udp.received[0].from, to);
    // The other half of the way is a client like any other.
    let client = pair.connect_with(client_spec(tcp, App::source(100), to.is_ipv6()));
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), 100);
    // Other ports stay closed, and so does this one once it is unpublished.
    let (other, before) = (SocketAddr::new(to.ip(), 81), pair.egress_refusals().len());
    pair.guest_connect(other, App::source(10));
    pair.guest_ping(7, 1, to.ip(), b"hello");
    pair.run_for(SOON);
    assert!(pair.egress_refusals().len() > before);
    for publish in [tcp, udp] {
        let order = Command::Unpublish { publish, connections: Unpublish::Drain };
        assert!(pair.command(order).is_ok());
    }
    let (left, opened) = (pair.host.world.departed.len(), pair.host.outside.dialled.len());
    let closed = pair.guest_connect(to, App::source(10));
    pair.guest_send_udp(5000, to, b"a mapping that knew the way");
    pair.run_for(SOON);
    assert_eq!(pair.outcome(closed), Outcome::Refused, "{to}");
    assert_eq!(pair.host.outside.dialled.len(), opened);
    assert_eq!(pair.host.world.departed.len(), left, "{to}");
    pair.guest.tcp.abort(ends);
    pair.assert_quiescent();
}

#[test]
fn a_guest_reaches_its_own_published_port_as_everybody_does() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    // Bound to the address itself, and to all of them.
    for host in ["198.51.100.7:8080", "0.0.0.0:8080"] {
        hairpins(at("198.51.100.7:8080"), at(host), at("198.51.100.7:8080"));
    }
    for host in ["[2001:db8:1::7]:8080", "[::]:8080"] {
        hairpins(at("[2001:db8:1::7]:8080"), at(host), at("[2001:db8:1::7]:8080"));
    }
    // Bound to loopback: the gateway's address is the one that stands for it.
    let pair = Pair::new(PairSpec::default());
    for host in ["127.0.0.1:8080", "0.0.0.0:8080"] {
        let gateway = SocketAddr::new(pair.guest.gateway(false), 8080);
        hairpins(gateway, at(host), at("127.0.0.1:8080"));
    }
    for host in ["[::1]:8080", "[::]:8080"] {
        let gateway = SocketAddr::new(pair.guest.gateway(true), 8080);
        hairpins(gateway, at(host), at("[::1]:8080"));
    }
}

#[test]
fn a_port_published_elsewhere_opens_nothing() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (published, asked) in [
        ("127.0.0.1:8080", "198.51.100.7:8080"),
        ("198.51.100.7:8080", "192.168.77.7:8080"),
        ("198.51.100.7:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "[2001:db8:1::7]:8080"),
        ("0.0.0.0:8080", "[64:ff9b::198.51.100.7]:8080"),
        ("[::]:8080", "[2002:c633:6407::1]:8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "169.254.169.254:8080"),
    ] {
        let mut pair = protected(PairSpec::default());
        pair.publish_at(Transport::Tcp, 80, None, Some(at(published)));
        let ends = pair.guest_connect(at(asked), App::source(10));
        pair.guest_send_udp(5000, at(asked), b"hello");
        pair.run_for(SOON);
        assert_eq!(pair.outcome(ends), Outcome::Refused, "{published} {asked}");
        assert_nothing_left(&mut pair, asked);
    }
    // The other transport's port is another port.
    let mut pair = protected(PairSpec::default());
    pair.publish_at(Transport::Udp, 80, None, Some(at("198.51.100.7:8080")));
    let ends = pair.guest_connect(at("198.51.100.7:8080"), App::source(10));
    pair.run_for(SOON);
    assert_eq!(pair.outcome(ends), Outcome::Refused);
    assert_nothing_left(&mut pair, "tcp");
}

#[test]
fn an_address_that_the_host_gets_later_is_its_own_from_then_on() {
    for text in ["203.0.113.50", "2001:db8:2::50"] {
        let mut pair = protected(PairSpec::default());
        let to = SocketAddr::new(text.parse().unwrap(), 7000);
        pair.serve(to, App::open(0));
        pair.host.world.udp.insert(to, Place::ECHO);
        pair.host.world.echo.insert(to.ip(), Place::ECHO);
        pair.guest.udp.serve(5000, Service::Sink);
        pair.guest_send_udp(5000, to, b"before");
        pair.guest_ping(7, 1, to.ip(), b"before");
        let open = pair.guest_connect(to, App::open(10));
        pair.run_for(SOON);
        assert_eq!(pair.outcome(open), Outcome::Connected);
        assert_eq!((pair.guest.udp.received.len(), pair.guest.echoes.len()), (1, 1));
        pair.set_host_addresses(&[to.ip()]);
        // The mapping is there and knows the way; it must not be used.
        pair.guest_send_udp(5000, to, b"after");
        pair.guest_ping(7, 2, to.ip(), b"after");
        let refused = pair.guest_connect(to, App::open(10));
        pair.run_for(SOON);
        assert_eq!(pair.outcome(refused), Outcome::Refused);
        assert_eq!((pair.guest.udp.received.len(), pair.guest.echoes.len()), (1, 1));
        assert_eq!(pair.egress_refusals(), [EgressRefusal::HostAddress; 3]);
        assert_eq!(pair.host.world.departed.len(), 2);
        // And when it goes away again the way is open again.
        pair.set_host_addresses(&[]);
        pair.guest_send_udp(5000, to, b"again");
        pair.run_for(SOON);
        assert_eq!(pair.guest.udp.received.len(), 2);
        pair.guest.tcp.abort(open);
        pair.assert_quiescent();
    }
}

#[test]
fn a_packet_from_an_address_that_is_not_the_guests_goes_nowhere() {
    let mut pair = protected(PairSpec::default());
    let to: IpAddr = "192.0.2.9".parse().unwrap();
    for source in ["198.51.100.7", "127.0.0.1", "192.0.2.1", "0.0.0.0"] {
        let source: IpAddr = source.parse().unwrap();
        let (from, to) = (SocketAddr::new(source, 5000), SocketAddr::new(to, 7000));
        let upper = datagram(from, to, b"hello");
        pair.guest.send_packet(&ip(source, to.ip(), Protocol::UDP, &upper, None));
        pair.guest.send_segment(&Segment::new(from, to, flag::SYN));
    }
    pair.run_for(SOON);
    assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), 8);
    assert_nothing_left(&mut pair, "forged sources");
}
