//! Router advertisements, the addresses that a guest makes from them, and the noise of a link that
//! is for nobody here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portreeve_core::DropReason;
use portreeve_testkit::ask::Answer;
use portreeve_testkit::packet::{Segment, ethernet, flag, ip};
use portreeve_testkit::{App, Pair, PairSpec, client_spec};
use portreeve_types::Announce;
use portreeve_wire::checksum;
use portreeve_wire::ndp::{NEIGHBOR_LEN, Neighbor, multicast_mac, solicited_node};
use portreeve_wire::packet::{IpHeader, Protocol};

const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x50, 0x52ff, 0xfe00, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const UNSPECIFIED: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

fn in_prefix(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4d, 0, 0, 0, host)
}

/// An ICMPv6 message with a fitting checksum, as a frame.
fn icmp(pair: &Pair, from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let pseudo = checksum::pseudo_header(from.into(), to.into(), Protocol::ICMPV6, message.len());
    let sum = checksum::finish(pseudo + checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = ip(from.into(), to.into(), Protocol::ICMPV6, &message, None);
    packet[7] = hop_limit;
    ethernet(pair.guest.nic.mac, multicast_mac(to), &packet)
}

fn solicit(pair: &mut Pair, from: Ipv6Addr) -> Vec<Answer> {
    let frame = icmp(pair, from, ALL_ROUTERS, 255, &[133, 0, 0, 0, 0, 0, 0, 0]);
    pair.ask(&frame)
}

/// Duplicate address detection. RFC 4862 §5.4.2.
fn detect_duplicate(pair: &mut Pair, target: Ipv6Addr) -> Vec<Answer> {
    let mut message = [0; 24];
    message[0] = 135;
    message[8..].copy_from_slice(&target.octets());
    let frame = icmp(pair, UNSPECIFIED, solicited_node(target), 255, &message);
    pair.ask(&frame)
}

fn ping(pair: &mut Pair, from: Ipv6Addr) -> Vec<Answer> {
    let frame = icmp(pair, from, in_prefix(1), 64, &[128, 0, 0, 0, 0, 1, 0, 1]);
    pair.ask(&frame)
}

fn options(message: &[u8]) -> Vec<&[u8]> {
    let (mut options, mut rest) = (Vec::new(), &message[16..]);
    while let Some(&units) = rest.get(1) {
        let (option, behind) = rest.split_at(usize::from(units) * 8);
        options.push(option);
        rest = behind;
    }
    options
}

#[test]
fn a_solicitation_is_answered_with_everything() {
    let mut spec = PairSpec::default();
    spec.config.announce = Announce { search: vec!["corp".into()], ..Announce::default() };
    let mut pair = Pair::new(spec);
    let (own, all) = (pair.guest.nic.mac, [0x33, 0x33, 0, 0, 0, 1]);
    let guest = in_prefix(2);
    for (from, to, to_mac) in
        [(LOCAL, LOCAL, own), (guest, guest, own), (UNSPECIFIED, ALL_NODES, all)]
    {
        let answers = solicit(&mut pair, from);
        assert_eq!(answers.len(), 1);
        let answer = &answers[0];
        assert_eq!((answer.ip.source, answer.ip.destination), (ROUTER.into(), to.into()));
        assert_eq!((answer.ip.hop_limit, answer.to_mac), (255, to_mac));
        let advert = &answer.upper;
        assert_eq!(advert[..2], [134, 0]);
        assert_eq!(advert[4..16], [64, 0xc0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        let [mac, mtu, prefix, dns, search] = options(advert)[..] else { panic!("{advert:?}") };
        assert_eq!(mac, [&[1, 1][..], &pair.guest.nic.gateway_mac].concat());
        assert_eq!(mtu, [5, 1, 0, 0, 0, 0, 0x05, 0xdc]);
        assert_eq!(prefix[..4], [3, 4, 64, 0xc0]);
        assert_eq!(prefix[4..8], 2_592_000u32.to_be_bytes());
        assert_eq!(prefix[8..12], 604_800u32.to_be_bytes());
        assert_eq!(prefix[16..], in_prefix(0).octets());
        assert_eq!(dns[..8], [25, 3, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(dns[8..], in_prefix(1).octets());
        assert_eq!(search[..8], [31, 2, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(search[8..], [4, b'c', b'o', b'r', b'p', 0, 0, 0]);
    }
    let forwarded = icmp(&pair, LOCAL, ALL_ROUTERS, 254, &[133, 0, 0, 0, 0, 0, 0, 0]);
    let cut = icmp(&pair, LOCAL, ALL_ROUTERS, 255, &[133, 0, 0, 0, 0, 0, 0]);
    let no_length = icmp(&pair, LOCAL, ALL_ROUTERS, 255, &[133, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    for bad in [forwarded, cut, no_length] {
        assert!(pair.ask(&bad).is_empty());
    }
    assert_eq!(pair.engine.counters().drops(DropReason::IcmpMalformed), 3);
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_listens_hears_again_and_no_other_does() {
    let mut pair = Pair::new(PairSpec::default());
    let guest = in_prefix(2);
    let only_echo = |pair: &mut Pair, from| {
        let answers = ping(pair, from);
        answers.iter().filter(|answer| answer.upper[0] == 134).count()
    };
    for _ in 0..3 {
        assert_eq!(only_echo(&mut pair, guest), 0, "it never asked");
        pair.run_for(Duration::from_secs(700));
    }
    assert_eq!(solicit(&mut pair, LOCAL).len(), 1);
    assert_eq!(only_echo(&mut pair, guest), 0, "it has just been told");
    pair.run_for(Duration::from_secs(599));
    assert_eq!(only_echo(&mut pair, guest), 0);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.engine.poll_timeout(), None, "no timer runs for it");
    let answers = ping(&mut pair, guest);
    let advert = answers.iter().find(|answer| answer.upper[0] == 134).expect("an advertisement");
    assert_eq!(advert.ip.destination, ALL_NODES);
    assert_eq!(only_echo(&mut pair, guest), 0);
    // An address of its own making says that the guest listened to an engine before this one.
    let mut pair = Pair::new(PairSpec::default());
    assert_eq!(only_echo(&mut pair, in_prefix(0x99)), 0);
    assert_eq!(only_echo(&mut pair, in_prefix(0x99)), 1);
    assert_eq!(only_echo(&mut pair, in_prefix(0x99)), 0);
    pair.assert_quiescent();
}

#[test]
fn a_guest_may_speak_from_its_prefix() {
    let mut pair = Pair::new(PairSpec::default());
    let eui = Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4d, 0x50, 0x52ff, 0xfe00, 2);
    for own in [in_prefix(2), eui, in_prefix(0xffff), LOCAL] {
        let answers = ping(&mut pair, own);
        let echo = answers.iter().find(|answer| answer.upper[0] == 129).expect("an echo");
        assert_eq!(echo.ip.destination, own);
    }
    let elsewhere = Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4e, 0, 0, 0, 2);
    let foreign = [in_prefix(0), in_prefix(1), ROUTER, elsewhere, Ipv6Addr::LOCALHOST];
    for source in foreign {
        assert!(ping(&mut pair, source).is_empty(), "{source}");
    }
    assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), foreign.len() as u64);
    // From link-local and from no address nothing leaves the link.
    let before = pair.engine.counters().drops(DropReason::SourceAddress);
    for source in [LOCAL, UNSPECIFIED] {
        let away = icmp(&pair, source, elsewhere, 64, &[128, 0, 0, 0, 0, 1, 0, 1]);
        assert!(pair.ask(&away).is_empty(), "{source}");
    }
    assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), before + 2);
    // Where no addresses can be made, none are accepted.
    let mut spec = PairSpec::default();
    spec.config.addressing.ipv6.as_mut().unwrap().prefix_len = 120;
    let mut pair = Pair::new(spec);
    assert_eq!(ping(&mut pair, in_prefix(2)).len(), 1);
    assert!(ping(&mut pair, in_prefix(3)).is_empty());
    let answers = solicit(&mut pair, LOCAL);
    assert_eq!(options(&answers[0].upper)[2][..4], [3, 4, 120, 0x80], "not autonomous");
}

#[test]
fn published_ports_dial_the_address_that_the_guest_has() {
    let mut spec = PairSpec::default();
    spec.config.addressing.ipv4 = None;
    let mut pair = Pair::new(spec);
    let tcp = pair.publish_tcp(80);
    let udp = pair.publish(portreeve_types::Transport::Udp, 53, None);
    let mut port = 3000;
    let mut dialled = |pair: &mut Pair| -> Vec<IpAddr> {
        let before: Vec<_> = pair.engine.flows().map(|flow| flow.id).collect();
        pair.guest.mute = true;
        pair.connect_with(client_spec(tcp, App::open(0), true));
        port += 1;
        let client = SocketAddr::new("2001:db8::7".parse().unwrap(), port);
        pair.send_datagram(udp, client, "[2001:db8::1]:53".parse().unwrap(), b"hello");
        pair.exchange();
        let flows = pair.engine.flows().filter(|flow| !before.contains(&flow.id));
        let mut guests: Vec<_> = flows.map(|flow| flow.guest.ip()).collect();
        assert_eq!(guests.len(), 2);
        guests.dedup();
        guests
    };
    assert_eq!(dialled(&mut pair), [in_prefix(2)], "nothing was shown yet");
    assert!(detect_duplicate(&mut pair, in_prefix(0x77)).is_empty(), "nobody objects");
    assert_eq!(dialled(&mut pair), [in_prefix(0x77)]);
    ping(&mut pair, in_prefix(0x99));
    assert_eq!(dialled(&mut pair), [in_prefix(0x99)]);
    for other in [LOCAL, in_prefix(1), in_prefix(0), "2001:db8::5".parse().unwrap()] {
        detect_duplicate(&mut pair, other);
        ping(&mut pair, other);
    }
    assert_eq!(dialled(&mut pair), [in_prefix(0x99)]);
    ping(&mut pair, in_prefix(2));
    ping(&mut pair, in_prefix(0x99));
    assert_eq!(dialled(&mut pair), [in_prefix(2)], "the configured one is in use");
}

#[test]
fn an_unknown_guest_is_sought_at_the_address_that_it_has() {
    let mut spec = PairSpec::default();
    spec.config.addressing.ipv4 = None;
    spec.config.addressing.guest_mac = None;
    let mut pair = Pair::new(spec);
    let shown = in_prefix(0x77);
    assert_eq!(solicit(&mut pair, LOCAL).len(), 1);
    assert!(detect_duplicate(&mut pair, shown).is_empty());
    let port = pair.publish_tcp(80);
    pair.guest.mute = true;
    pair.to_guest.spec.capacity = 0;
    pair.connect_with(client_spec(port, App::open(0), true));
    pair.run_for(Duration::from_millis(300));
    let answers = pair.ask(&ethernet(pair.guest.nic.mac, [0xff; 6], &[]));
    let sought = Neighbor::parse(&answers[0].upper).unwrap();
    assert_eq!((sought.target, sought.advertisement), (shown, false));
    assert_eq!(answers[0].ip.destination, solicited_node(shown));
    let answer = Neighbor {
        advertisement: true,
        target: shown,
        mac: Some(pair.guest.nic.mac),
        solicited: true,
    };
    let mut upper = [0; NEIGHBOR_LEN];
    answer.emit(shown, ROUTER, &mut upper);
    let frame = icmp(&pair, shown, ROUTER, 255, &upper);
    let answers = pair.ask(&frame);
    assert!(answers.iter().any(|answer| answer.ip.protocol == Protocol::TCP), "the SYN leaves");
}

#[test]
fn noise_is_counted_and_never_answered() {
    let mut pair = Pair::new(PairSpec::default());
    let (guest4, guest6) = (pair.guest.address(false), pair.guest.address(true));
    let noise: [(IpAddr, &str); 12] = [
        (guest4, "224.0.0.251:5353"),
        (guest4, "224.0.0.252:5355"),
        (guest4, "239.255.255.250:1900"),
        (guest4, "10.213.77.255:137"),
        (guest4, "255.255.255.255:138"),
        (guest4, "239.1.2.3:67"),
        (guest6, "[ff02::fb]:5353"),
        (guest6, "[ff02::1:3]:5355"),
        (guest6, "[ff02::1:2]:548"),
        (LOCAL.into(), "[ff02::fb]:5353"),
        (LOCAL.into(), "[ff02::c]:1900"),
        (LOCAL.into(), "[ff05::1:3]:547"),
    ];
    for (from, to) in noise {
        let to: SocketAddr = to.parse().unwrap();
        let answers = pair.ask_datagram(SocketAddr::new(from, 68), to, b"hello");
        assert!(answers.is_empty(), "{from} to {to}");
    }
    for (from, to) in [(guest4, "224.0.0.251:80"), (guest6, "[ff02::1]:80")] {
        let from = SocketAddr::new(from, 4000);
        let syn = Segment::new(from, to.parse().unwrap(), flag::SYN).packet();
        let frame = ethernet(pair.guest.nic.mac, [0xff; 6], &syn);
        assert!(pair.ask(&frame).is_empty(), "no reset for a group");
    }
    let multicast = pair.engine.counters().drops(DropReason::Multicast);
    assert_eq!(multicast, noise.len() as u64 + 2);
    // IGMP.
    let group = "224.0.0.22".parse().unwrap();
    let report = ip(guest4, group, 2, &[0x22, 0, 0xdd, 0xff, 0, 0, 0, 0], None);
    let frame = ethernet(pair.guest.nic.mac, [1, 0, 0x5e, 0, 0, 0x16], &report);
    assert!(pair.ask(&frame).is_empty());
    assert_eq!(pair.engine.counters().drops(DropReason::Protocol), 1);
}

/// RFC 3810 §5.2: with a router alert in front, from link-local or from no address.
#[test]
fn reports_of_multicast_listeners_are_ignored() {
    let mut pair = Pair::new(PairSpec::default());
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    for from in [LOCAL, UNSPECIFIED, in_prefix(2)] {
        let mut report = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
        report.extend_from_slice(&solicited_node(LOCAL).octets());
        let sum = checksum::finish(
            checksum::pseudo_header(from.into(), group.into(), Protocol::ICMPV6, report.len())
                + checksum::sum(&report),
        );
        report[2..4].copy_from_slice(&sum.to_be_bytes());
        let upper = [&[Protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0][..], &report].concat();
        let header = IpHeader {
            source: from.into(),
            destination: group.into(),
            protocol: 0,
            hop_limit: 1,
            payload_len: upper.len(),
            fragment: None,
        };
        let mut packet = vec![0; header.len()];
        header.emit(&mut packet);
        packet.extend_from_slice(&upper);
        let frame = ethernet(pair.guest.nic.mac, multicast_mac(group), &packet);
        assert!(pair.ask(&frame).is_empty());
    }
    assert_eq!(pair.engine.counters().total_drops(), 0, "nothing is lost that asked for anything");
}
