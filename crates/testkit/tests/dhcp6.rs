//! The gateway's DHCPv6 server.
//!
//! Asked and read through the codec it uses itself, so what the codec could get wrong both ways is
//! judged besides by whole replies written by hand.

use std::net::{Ipv6Addr, SocketAddr};

use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IATA, Message, MessageType, ORO, OptionCode,
    Status, StatusCode,
};
use dhcproto::{Decodable, Encodable};
use portreeve_core::{DropReason, Event, LeaseChange, LeaseProtocol};
use portreeve_testkit::ask::Answer;
use portreeve_testkit::packet::{datagram, ethernet, ip};
use portreeve_testkit::{Pair, PairSpec};
use portreeve_types::Announce;
use portreeve_wire::VirtioNetHdr;
use portreeve_wire::packet::Protocol;
use proptest::prelude::*;

const GUEST: Ipv6Addr = Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4d, 0, 0, 0, 2);
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4d, 0, 0, 0, 1);
const SELF_MADE: Ipv6Addr = Ipv6Addr::new(0xfd37, 0xa94c, 0x6e21, 0x4d, 0, 0, 0, 0x99);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x50, 0x52ff, 0xfe00, 2);
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const XID: [u8; 3] = [0xab, 0xcd, 0xef];
const CLIENT: [u8; 14] = [0, 1, 0, 1, 1, 2, 3, 4, 2, 0x50, 0x52, 0, 0, 2];
/// DUID-LL of the gateway's hardware address.
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0x50, 0x52, 0, 0, 1];

fn from_client() -> DhcpOption {
    DhcpOption::ClientId(CLIENT.to_vec())
}

fn for_server() -> DhcpOption {
    DhcpOption::ServerId(SERVER.to_vec())
}

fn association(id: u32, addresses: &[Ipv6Addr]) -> DhcpOption {
    let opts: DhcpOptions = addresses
        .iter()
        .map(|&addr| {
            let opts = DhcpOptions::new();
            DhcpOption::IAAddr(IAAddr { addr, preferred_life: 0, valid_life: 0, opts })
        })
        .collect();
    DhcpOption::IANA(IANA { id, t1: 0, t2: 0, opts })
}

fn wishes() -> DhcpOption {
    let opts = [23u16, 24, 32].map(OptionCode::from).to_vec();
    DhcpOption::ORO(ORO { opts })
}

fn message(kind: MessageType, options: impl IntoIterator<Item = DhcpOption>) -> Message {
    let mut message = Message::new_with_id(kind, XID);
    options.into_iter().for_each(|option| message.opts_mut().insert(option));
    message
}

/// What comes back, but for the advertisements that a guest gets along the way.
fn datagrams(pair: &mut Pair, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Vec<Answer> {
    let mut answers = pair.ask_datagram(from, to, bytes);
    answers.retain(|answer| answer.datagram().is_some());
    answers
}

fn ask(pair: &mut Pair, message: &Message) -> Option<Message> {
    let bytes = message.to_vec().expect("a message");
    let (from, to) = (SocketAddr::new(LOCAL.into(), 546), SocketAddr::new(SERVERS.into(), 547));
    let mut answers = datagrams(pair, from, to, &bytes);
    assert!(answers.len() <= 1);
    let answer = answers.pop()?;
    let (server, client, payload) = answer.datagram().expect("a datagram");
    assert_eq!(server, SocketAddr::new(ROUTER.into(), 547));
    assert_eq!((client, answer.to_mac), (from, pair.guest.nic.mac));
    let read = Message::from_bytes(payload).expect("a message");
    assert_eq!(read.xid(), XID);
    assert_eq!(read.opts().get(OptionCode::ServerId), Some(&for_server()));
    let id = message.opts().get(OptionCode::ClientId);
    assert_eq!(read.opts().get(OptionCode::ClientId), id, "the client's identifier comes back");
    Some(read)
}

fn granted(message: &Message) -> (&IANA, Vec<(Ipv6Addr, u32, u32)>) {
    let Some(DhcpOption::IANA(ia)) = message.opts().get(OptionCode::IANA) else {
        panic!("no association in {message:?}")
    };
    let addresses = ia.opts.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(a) => Some((a.addr, a.preferred_life, a.valid_life)),
        _ => None,
    });
    (ia, addresses.collect())
}

fn status(options: &DhcpOptions) -> Option<Status> {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(StatusCode { status, .. })) => Some(*status),
        _ => None,
    }
}

fn leases(pair: &mut Pair) -> Vec<LeaseChange> {
    std::iter::from_fn(|| pair.engine.poll_event())
        .filter_map(|event| match event {
            Event::Lease { protocol, address, change } => {
                assert_eq!((protocol, address), (LeaseProtocol::Dhcp6, GUEST.into()));
                Some(change)
            }
            _ => None,
        })
        .collect()
}

fn ignored(pair: &Pair) -> u64 {
    pair.engine.counters().drops(DropReason::DhcpIgnored)
}

#[test]
fn four_messages_and_two() {
    let mut spec = PairSpec::default();
    spec.config.announce = Announce { search: vec!["corp.example".into()], ..Announce::default() };
    let mut pair = Pair::new(spec);
    let solicit = [from_client(), association(7, &[]), wishes()];
    let advert = ask(&mut pair, &message(MessageType::Solicit, solicit.clone())).unwrap();
    assert_eq!(advert.msg_type(), MessageType::Advertise);
    assert_eq!(advert.opts().get(OptionCode::Preference), Some(&DhcpOption::Preference(255)));
    assert_eq!(granted(&advert).1, [(GUEST, 3600, 3600)]);
    assert_eq!(leases(&mut pair), [], "an advertisement is no lease");
    let request = solicit.clone().into_iter().chain([for_server()]);
    let reply = ask(&mut pair, &message(MessageType::Request, request)).unwrap();
    assert_eq!(reply.msg_type(), MessageType::Reply);
    let (ia, addresses) = granted(&reply);
    assert_eq!((ia.id, ia.t1, ia.t2), (7, 1800, 2700));
    assert_eq!(addresses, [(GUEST, 3600, 3600)]);
    let servers = reply.opts().get(OptionCode::DomainNameServers);
    assert_eq!(servers, Some(&DhcpOption::DomainNameServers(vec![GATEWAY])));
    let Some(DhcpOption::DomainSearchList(names)) = reply.opts().get(OptionCode::DomainSearchList)
    else {
        panic!("no search list")
    };
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["corp.example."]);
    assert_eq!(leases(&mut pair), [LeaseChange::Given]);
    let rapid = solicit.into_iter().chain([DhcpOption::RapidCommit]);
    let reply = ask(&mut pair, &message(MessageType::Solicit, rapid)).unwrap();
    assert_eq!(reply.msg_type(), MessageType::Reply);
    assert_eq!(reply.opts().get(OptionCode::RapidCommit), Some(&DhcpOption::RapidCommit));
    assert_eq!(granted(&reply).1, [(GUEST, 3600, 3600)]);
    assert_eq!(leases(&mut pair), [], "it has it already");
    let plain = message(MessageType::Solicit, [from_client(), association(7, &[])]);
    let advert = ask(&mut pair, &plain).unwrap();
    assert_eq!(advert.opts().get(OptionCode::DomainNameServers), None, "nobody asked");
    pair.assert_quiescent();
}

/// An option in bytes.
fn raw(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0, code, 0, value.len() as u8][..], value].concat()
}

/// Sends bytes and compares the one answer with others.
fn assert_answer(pair: &mut Pair, request: &[Vec<u8>], expected: &[Vec<u8>]) {
    let (from, to) = (SocketAddr::new(LOCAL.into(), 546), SocketAddr::new(SERVERS.into(), 547));
    let answers = datagrams(pair, from, to, &request.concat());
    let (_, _, payload) = answers[0].datagram().expect("a datagram");
    assert_eq!(payload, expected.concat());
}

#[test]
fn whole_replies_byte_by_byte() {
    let mut spec = PairSpec::default();
    let search = vec!["corp.example".into(), "b.example.".into()];
    spec.config.announce = Announce { search, ..Announce::default() };
    let mut pair = Pair::new(spec);
    let ours = |preferred: [u8; 4]| raw(5, &[&GUEST.octets()[..], &preferred, &preferred].concat());
    let hour = [0, 0, 14, 16];
    let (client, server) = (raw(1, &CLIENT), raw(2, &SERVER));
    // Two of every association and no more than four answered, options that nobody knows between.
    let solicit = [
        vec![1, 0xab, 0xcd, 0xef],
        raw(8, &[0, 0]),
        raw(6, &[0, 24, 0, 23, 0, 32, 0xfe, 0xfe]),
        raw(25, &[&[0, 0, 0, 9][..], &[0; 8]].concat()),
        raw(3, &[&[0, 0, 0, 7][..], &[0; 8]].concat()),
        raw(3, &[&[0, 0, 0, 6][..], &[0; 8]].concat()),
        raw(0xfe, &[1, 2, 3]),
        raw(4, &[0, 0, 0, 5]),
        raw(4, &[0, 0, 0, 4]),
        client.clone(),
    ];
    let none = raw(13, b"\x00\x02one address, for the first");
    // RFC 8415 §10: the names stand whole, however alike.
    let names = raw(24, b"\x04corp\x07example\x00\x01b\x07example\x00");
    let advertise = [
        vec![2, 0xab, 0xcd, 0xef],
        client.clone(),
        server.clone(),
        raw(7, &[255]),
        raw(25, &[&[0, 0, 0, 9][..], &[0; 8], &raw(13, b"\x00\x06no prefixes here")].concat()),
        raw(3, &[&[0, 0, 0, 7, 0, 0, 7, 8, 0, 0, 10, 140][..], &ours(hour)].concat()),
        raw(3, &[&[0, 0, 0, 6][..], &[0; 8], &none].concat()),
        raw(4, &[&[0, 0, 0, 5][..], &none].concat()),
        raw(23, &GATEWAY.octets()),
        names,
    ];
    assert_answer(&mut pair, &solicit, &advertise);
    // What is held wrongly comes back with no time left.
    let held = |address: Ipv6Addr| raw(5, &[&address.octets()[..], &[0; 8]].concat());
    let rebind = [
        vec![6, 0xab, 0xcd, 0xef],
        client.clone(),
        raw(3, &[&[0, 0, 0, 7][..], &[0; 8], &held(ELSEWHERE), &held(GUEST)].concat()),
    ];
    let lease = [&[0, 0, 0, 7, 0, 0, 7, 8, 0, 0, 10, 140][..], &ours(hour), &held(ELSEWHERE)];
    let reply = [vec![7, 0xab, 0xcd, 0xef], client, server.clone(), raw(3, &lease.concat())];
    assert_answer(&mut pair, &rebind, &reply);
    let inform = [vec![11, 0xab, 0xcd, 0xef], raw(6, &[0, 32])];
    let reply = [vec![7, 0xab, 0xcd, 0xef], server, raw(32, &hour)];
    assert_answer(&mut pair, &inform, &reply);
}

/// Associations in associations, as deep as a datagram holds: a decoder that follows them runs out
/// of stack.
#[test]
fn nesting_has_an_end() {
    let mut spec = PairSpec::default();
    spec.config.addressing.mtu = 65_520;
    let mut pair = Pair::new(spec);
    let mut nested = Vec::new();
    while nested.len() < 65_000 {
        let length = (nested.len() as u16 + 4).to_be_bytes();
        nested = [&[0, 4, length[0], length[1], 0, 0, 0, 1][..], &nested].concat();
    }
    let bytes = [vec![1, 0xab, 0xcd, 0xef], raw(1, &CLIENT), nested].concat();
    let (from, to) = (SocketAddr::new(LOCAL.into(), 546), SocketAddr::new(SERVERS.into(), 547));
    assert_eq!(datagrams(&mut pair, from, to, &bytes).len(), 1);
}

#[test]
fn what_is_not_there_is_refused_one_by_one() {
    let mut pair = Pair::new(PairSpec::default());
    let none = DhcpOptions::new;
    let options = [
        from_client(),
        association(1, &[]),
        association(2, &[]),
        DhcpOption::IATA(IATA { id: 3, opts: none() }),
        DhcpOption::IAPD(IAPD { id: 4, t1: 0, t2: 0, opts: none() }),
    ];
    let advert = ask(&mut pair, &message(MessageType::Solicit, options)).unwrap();
    let mut seen = Vec::new();
    for option in advert.opts().iter() {
        match option {
            DhcpOption::IANA(ia) => seen.push((ia.id, status(&ia.opts))),
            DhcpOption::IATA(ia) => seen.push((ia.id, status(&ia.opts))),
            DhcpOption::IAPD(ia) => seen.push((ia.id, status(&ia.opts))),
            _ => {}
        }
    }
    let (address, prefix) = (Some(Status::NoAddrsAvail), Some(Status::NoPrefixAvail));
    // The codec sorts by code and keeps no order besides.
    seen.sort_by_key(|&(id, status)| (id > 2, status.is_some(), id));
    let ids: Vec<_> = seen.iter().map(|&(id, _)| id).collect();
    assert!(ids == [1, 2, 3, 4] || ids == [2, 1, 3, 4]);
    let seen: Vec<_> = seen.iter().map(|&(_, status)| status).collect();
    assert_eq!(seen, [None, address, address, prefix], "one address for the first");
}

#[test]
fn a_lease_is_kept_confirmed_and_given_back() {
    let mut pair = Pair::new(PairSpec::default());
    let held = [from_client(), association(7, &[SELF_MADE, GUEST, ELSEWHERE])];
    let renew = message(MessageType::Renew, held.clone().into_iter().chain([for_server()]));
    let rebind = message(MessageType::Rebind, held.clone());
    for extend in [renew, rebind] {
        let reply = ask(&mut pair, &extend).unwrap();
        let expected = [(GUEST, 3600, 3600), (SELF_MADE, 0, 0), (ELSEWHERE, 0, 0)];
        assert_eq!(granted(&reply).1, expected);
    }
    assert_eq!(leases(&mut pair), [LeaseChange::Given]);
    let confirm = |addresses: &[Ipv6Addr]| {
        message(MessageType::Confirm, [from_client(), association(7, addresses)])
    };
    let reply = ask(&mut pair, &confirm(&[GUEST, SELF_MADE])).unwrap();
    assert_eq!(status(reply.opts()), Some(Status::Success));
    let reply = ask(&mut pair, &confirm(&[GUEST, ELSEWHERE])).unwrap();
    assert_eq!(status(reply.opts()), Some(Status::NotOnLink));
    assert!(ask(&mut pair, &confirm(&[])).is_none());
    assert_eq!(ignored(&pair), 1);
    for (kind, change) in [
        (MessageType::Release, LeaseChange::Released),
        (MessageType::Decline, LeaseChange::Declined),
    ] {
        let options = [from_client(), for_server(), association(7, &[GUEST])];
        let take = message(MessageType::Request, options.clone());
        ask(&mut pair, &take).unwrap();
        leases(&mut pair);
        let end = message(kind, options);
        let reply = ask(&mut pair, &end).unwrap();
        assert_eq!(status(reply.opts()), Some(Status::Success));
        assert_eq!(reply.opts().get(OptionCode::IANA), None);
        assert_eq!(leases(&mut pair), [change]);
        let reply = ask(&mut pair, &end).unwrap();
        assert_eq!(status(reply.opts()), Some(Status::Success));
        assert_eq!(status(&granted(&reply).0.opts), Some(Status::NoBinding));
    }
    assert_eq!(pair.engine.counters().leases_declined, 1);
}

#[test]
fn information_without_a_lease() {
    let mut pair = Pair::new(PairSpec::default());
    for options in [vec![wishes()], vec![wishes(), from_client(), for_server()]] {
        let request = message(MessageType::InformationRequest, options);
        let reply = ask(&mut pair, &request).unwrap();
        assert_eq!(reply.msg_type(), MessageType::Reply);
        let servers = reply.opts().get(OptionCode::DomainNameServers);
        assert_eq!(servers, Some(&DhcpOption::DomainNameServers(vec![GATEWAY])));
        // The codec does not know this one when it reads.
        let Some(DhcpOption::Unknown(refresh)) = reply.opts().get(OptionCode::from(32)) else {
            panic!("no refresh time in {reply:?}")
        };
        assert_eq!(refresh.data(), 3600u32.to_be_bytes());
        assert_eq!(reply.opts().get(OptionCode::DomainSearchList), None, "there is none");
    }
    assert_eq!(leases(&mut pair), []);
}

#[test]
fn what_the_specification_discards_is_discarded() {
    use MessageType as M;
    let mut pair = Pair::new(PairSpec::default());
    let other = DhcpOption::ServerId(vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
    let ia = association(7, &[GUEST]);
    let mut bad = Vec::new();
    for kind in [M::Solicit, M::Confirm, M::Rebind] {
        bad.push(message(kind, [ia.clone()]));
        bad.push(message(kind, [from_client(), for_server(), ia.clone()]));
    }
    for kind in [M::Request, M::Renew, M::Release, M::Decline] {
        bad.push(message(kind, [from_client(), ia.clone()]));
        bad.push(message(kind, [for_server(), ia.clone()]));
        bad.push(message(kind, [from_client(), other.clone(), ia.clone()]));
    }
    bad.push(message(M::InformationRequest, [other]));
    bad.push(message(M::InformationRequest, [ia.clone()]));
    for kind in [M::Advertise, M::Reply, M::Reconfigure] {
        bad.push(message(kind, [from_client(), for_server(), ia.clone()]));
    }
    for (nth, message) in bad.iter().enumerate() {
        assert!(ask(&mut pair, message).is_none(), "{message:?}");
        assert_eq!(ignored(&pair), nth as u64 + 1, "{message:?}");
    }
    assert_eq!(leases(&mut pair), []);
}

#[test]
fn malformed_messages_and_wrong_places_are_counted() {
    let mut pair = Pair::new(PairSpec::default());
    let good = message(MessageType::Solicit, [from_client(), association(7, &[])]);
    let bytes = good.to_vec().unwrap();
    let at = |address: Ipv6Addr, port| SocketAddr::new(address.into(), port);
    let (from, to) = (at(LOCAL, 546), at(SERVERS, 547));
    let between = [4, 4 + 18];
    let mut bad: Vec<_> = (0..bytes.len()).filter(|cut| !between.contains(cut)).collect();
    bad.retain(|&cut| datagrams(&mut pair, from, to, &bytes[..cut]).is_empty());
    assert_eq!(bad.len(), bytes.len() - 2);
    let long = message(MessageType::Solicit, [DhcpOption::ClientId(vec![1; 131])]);
    assert!(ask(&mut pair, &long).is_none());
    let malformed = pair.engine.counters().drops(DropReason::DhcpMalformed);
    assert_eq!(malformed, bad.len() as u64 + 1);
    assert_eq!(ignored(&pair), 0);
    // The gateway itself may be asked, and a guest may ask from its own address.
    assert_eq!(datagrams(&mut pair, from, at(ROUTER, 547), &bytes).len(), 1);
    assert_eq!(datagrams(&mut pair, at(GUEST, 546), to, &bytes).len(), 1);
    // From link-local nothing else may be said, and nothing leaves the link.
    let wrong = [
        (at(LOCAL, 547), at(ROUTER, 547)),
        (at(LOCAL, 546), at(ROUTER, 53)),
        (at(LOCAL, 546), at(ELSEWHERE, 547)),
        (at(ROUTER, 546), to),
    ];
    for (from, to) in wrong {
        assert!(pair.ask_datagram(from, to, &bytes).is_empty(), "{from} to {to}");
    }
    assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), 4);
}

#[test]
fn an_answer_fits_the_smallest_link() {
    let mut spec = PairSpec::default();
    spec.config.addressing.mtu = 1280;
    spec.config.announce.search = vec!["x".repeat(60); 4];
    let mut pair = Pair::new(spec);
    let many = [ELSEWHERE; 40];
    let mut options: Vec<_> = (0..20).map(|id| association(id, &many)).collect();
    options.extend([DhcpOption::ClientId(vec![1; 130]), wishes()]);
    for kind in [MessageType::Rebind, MessageType::Solicit] {
        let bytes = message(kind, options.clone()).to_vec().unwrap();
        let (from, to) = (SocketAddr::new(LOCAL.into(), 546), SocketAddr::new(SERVERS.into(), 547));
        assert_eq!(datagrams(&mut pair, from, to, &bytes).len(), 1, "judged by the guest's card");
    }
}

/// A message whose options are any, of any length, some with the right one.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let codes = vec![1u16, 2, 3, 4, 5, 6, 14, 25, 32];
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(CLIENT.to_vec()),
        Just(SERVER.to_vec()),
    ];
    let option =
        (proptest::sample::select(codes), value, any::<u8>()).prop_map(|(code, value, lie)| {
            let length = value.len() as u16 + u16::from(lie == 0);
            [&code.to_be_bytes()[..], &length.to_be_bytes(), &value].concat()
        });
    (0u8..14, proptest::collection::vec(option, 0..8))
        .prop_map(|(kind, options)| [&[kind, 1, 2, 3][..], &options.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// 10,000 messages: whatever they are, answers are frames, and what waits is bounded.
    #[test]
    fn any_message_is_answered_or_counted(
        messages in proptest::collection::vec(any_message(), 100),
    ) {
        let mut spec = PairSpec::default();
        spec.config.limits.control_frames = 8;
        let mut pair = Pair::new(spec);
        let (from, to) = (SocketAddr::new(LOCAL.into(), 546), SocketAddr::new(SERVERS.into(), 547));
        for message in &messages {
            let packet = ip(from.ip(), to.ip(), Protocol::UDP, &datagram(from, to, message), None);
            let mut frame = ethernet(pair.guest.nic.mac, [0x33, 0x33, 0, 1, 0, 2], &packet);
            let now = pair.now();
            pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
        }
        let waiting = pair.ask(&ethernet(pair.guest.nic.mac, [0xff; 6], &[])).len();
        prop_assert!(waiting <= 8);
        for message in &messages {
            for answer in pair.ask_datagram(from, to, message) {
                let Some((_, _, payload)) = answer.datagram() else { continue };
                prop_assert!(Message::from_bytes(payload).is_ok());
            }
        }
        pair.assert_no_timer();
    }
}
