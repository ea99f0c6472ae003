//! The gateway's DHCP server.
//!
//! Asked and read through the codec it uses itself, so what the codec could get wrong both ways is
//! judged besides by bytes written by hand: whole replies, and the order of the options in each.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};
use portreeve_core::{DropReason, Event, LeaseChange, LeaseProtocol};
use portreeve_testkit::ask::Answer;
use portreeve_testkit::packet::{datagram, ethernet, ip};
use portreeve_testkit::{Pair, PairSpec};
use portreeve_types::Announce;
use portreeve_wire::VirtioNetHdr;
use portreeve_wire::packet::Protocol;
use proptest::prelude::*;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 1);
const WRONG: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 50);
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const EVERYBODY: Ipv4Addr = Ipv4Addr::BROADCAST;
const XID: u32 = 0xdead_beef;

fn named() -> PairSpec {
    let mut spec = PairSpec::default();
    spec.config.announce = Announce {
        search: vec!["corp.example".into(), "example.org.".into()],
        hostname: Some("vm-1".into()),
        ..Announce::default()
    };
    spec
}

fn message(pair: &Pair, kind: MessageType) -> Message {
    let mac = pair.guest.nic.mac;
    let mut message = Message::new_with_id(XID, NOBODY, NOBODY, NOBODY, NOBODY, &mac);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message
}

fn with(mut message: Message, options: impl IntoIterator<Item = DhcpOption>) -> Message {
    for option in options {
        message.opts_mut().insert(option);
    }
    message
}

fn wishes(codes: &[u8]) -> DhcpOption {
    DhcpOption::ParameterRequestList(codes.iter().map(|&code| code.into()).collect())
}

/// Sends a message and returns the answer, its addresses checked as far as they never vary.
fn exchange(
    pair: &mut Pair,
    message: &Message,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> Option<(Message, Answer)> {
    let bytes = message.to_vec().expect("a message");
    let mut answers =
        pair.ask_datagram(SocketAddr::new(from.into(), 68), SocketAddr::new(to.into(), 67), &bytes);
    assert!(answers.len() <= 1);
    let answer = answers.pop()?;
    let (server, client, payload) = answer.datagram().expect("a datagram");
    assert_eq!(server, SocketAddr::new(GATEWAY.into(), 67));
    assert_eq!(client.port(), 68);
    assert!((300..=548).contains(&payload.len()));
    let read = Message::from_bytes(payload).expect("a message");
    assert_eq!(read.opcode(), dhcproto::v4::Opcode::BootReply);
    assert_eq!((read.xid(), read.chaddr(), read.hops()), (message.xid(), message.chaddr(), 0));
    assert_eq!((read.flags(), read.secs()), (message.flags(), 0));
    assert_eq!((read.siaddr(), read.giaddr()), (NOBODY, NOBODY));
    assert_eq!((read.sname(), read.fname()), (None, None));
    Some((read, answer))
}

fn broadcast(pair: &mut Pair, message: &Message) -> Option<(Message, Answer)> {
    exchange(pair, message, NOBODY, EVERYBODY)
}

fn option(message: &Message, code: u8) -> Option<&DhcpOption> {
    message.opts().get(OptionCode::from(code))
}

/// The codes in the order in which they stand.
fn order(answer: &Answer) -> Vec<u8> {
    let (_, _, payload) = answer.datagram().expect("a message");
    let (mut codes, mut at) = (Vec::new(), 240);
    while payload[at] != 255 {
        codes.push(payload[at]);
        at += 2 + usize::from(payload[at + 1]);
    }
    assert!(payload[at + 1..].iter().all(|&byte| byte == 0), "padding");
    codes
}

fn leases(pair: &mut Pair) -> Vec<LeaseChange> {
    std::iter::from_fn(|| pair.engine.poll_event())
        .filter_map(|event| match event {
            Event::Lease { protocol, address, change } => {
                assert_eq!((protocol, address), (LeaseProtocol::Dhcp4, GUEST.into()));
                Some(change)
            }
            _ => None,
        })
        .collect()
}

fn drops(pair: &Pair, reason: DropReason) -> u64 {
    pair.engine.counters().drops(reason)
}

#[test]
fn four_messages_and_every_option_in_the_order_of_the_wish() {
    let mut spec = named();
    spec.config.addressing.guest_mac = None;
    let mut pair = Pair::new(spec);
    let wanted = [121, 1, 3, 6, 12, 15, 26, 28, 119, 42, 3];
    let id = DhcpOption::ClientIdentifier(vec![255, 1, 2, 3]);
    let discover = with(message(&pair, MessageType::Discover), [wishes(&wanted), id.clone()]);
    let (offer, answer) = broadcast(&mut pair, &discover).unwrap();
    assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
    assert_eq!((offer.yiaddr(), offer.ciaddr()), (GUEST, NOBODY));
    assert_eq!(answer.ip.destination, GUEST);
    assert_eq!(answer.to_mac, pair.guest.nic.mac);
    assert_eq!(leases(&mut pair), [], "an offer is no lease");
    let request = with(
        message(&pair, MessageType::Request),
        [
            wishes(&wanted),
            id.clone(),
            DhcpOption::RequestedIpAddress(GUEST),
            DhcpOption::ServerIdentifier(GATEWAY),
        ],
    );
    let (ack, answer) = broadcast(&mut pair, &request).unwrap();
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    assert_eq!(ack.yiaddr(), GUEST);
    let expected = [53, 54, 51, 58, 59, 61, 1, 121, 3, 6, 12, 15, 26, 28, 119];
    assert_eq!(order(&answer), expected);
    for expected in [
        DhcpOption::ServerIdentifier(GATEWAY),
        DhcpOption::AddressLeaseTime(3600),
        DhcpOption::Renewal(1800),
        DhcpOption::Rebinding(3150),
        id,
        DhcpOption::SubnetMask([255, 255, 255, 0].into()),
        DhcpOption::Router(vec![GATEWAY]),
        DhcpOption::DomainNameServer(vec![GATEWAY]),
        DhcpOption::Hostname("vm-1".into()),
        DhcpOption::DomainName("corp.example".into()),
        DhcpOption::InterfaceMtu(1500),
        DhcpOption::BroadcastAddr([10, 213, 77, 255].into()),
    ] {
        let code = OptionCode::from(&expected);
        assert_eq!(ack.opts().get(code), Some(&expected));
    }
    let Some(DhcpOption::DomainSearch(names)) = option(&ack, 119) else { panic!("no search") };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["corp.example.", "example.org."]);
    let Some(DhcpOption::ClasslessStaticRoute(routes)) = option(&ack, 121) else { panic!() };
    let routes: Vec<_> = routes.iter().map(|(net, via)| format!("{net} {via}")).collect();
    assert_eq!(routes, ["10.213.77.0/24 0.0.0.0", "0.0.0.0/0 10.213.77.1"]);
    let events: Vec<_> = std::iter::from_fn(|| pair.engine.poll_event()).collect();
    assert!(matches!(events[..], [Event::GuestSeen { .. }, Event::Lease { .. }]), "{events:?}");
    // From now on nobody else is the guest.
    let frame = ethernet([2, 9, 9, 9, 9, 9], pair.guest.nic.gateway_mac, &[0x45; 40]);
    assert!(pair.ask(&frame).is_empty());
    assert_eq!(drops(&pair, DropReason::SourceMac), 1);
    pair.assert_quiescent();
}

#[test]
fn only_what_is_wished_for_and_what_must_be() {
    let mut pair = Pair::new(named());
    let discover = message(&pair, MessageType::Discover);
    let (_, answer) = broadcast(&mut pair, &with(discover.clone(), [wishes(&[42])])).unwrap();
    assert_eq!(order(&answer), [53, 54, 51, 58, 59, 1]);
    let (_, answer) = broadcast(&mut pair, &discover).unwrap();
    assert_eq!(order(&answer), [53, 54, 51, 58, 59, 1, 3, 6, 15, 26, 28]);
    let mut spec = PairSpec::default();
    spec.config.announce.dns = false;
    let link = spec.config.addressing.ipv4.as_mut().unwrap();
    (link.prefix_len, link.gateway, link.guest) = (31, GATEWAY, [10, 213, 77, 0].into());
    let mut pair = Pair::new(spec);
    let every: Vec<u8> = (1..255).collect();
    let (offer, answer) = broadcast(&mut pair, &with(discover, [wishes(&every)])).unwrap();
    assert_eq!(order(&answer), [53, 54, 51, 58, 59, 1, 3, 26, 121]);
    assert_eq!(option(&offer, 1), Some(&DhcpOption::SubnetMask([255, 255, 255, 254].into())));
}

/// The fixed fields of a reply, as RFC 2131 §2 draws them.
fn fixed(ciaddr: [u8; 4], yiaddr: [u8; 4], flags: u8) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, flags, 0];
    bytes.extend([ciaddr, yiaddr, [0; 4], [0; 4]].concat());
    bytes.extend([2, 0x50, 0x52, 0, 0, 2]);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    bytes
}

/// Sends bytes and compares the one answer with others.
fn assert_answer(pair: &mut Pair, from: Ipv4Addr, request: &[u8], expected: &[u8]) {
    let (from, to) = (SocketAddr::new(from.into(), 68), SocketAddr::new(EVERYBODY.into(), 67));
    let answers = pair.ask_datagram(from, to, request);
    let (_, _, payload) = answers[0].datagram().expect("a datagram");
    assert_eq!(payload, expected);
}

#[test]
fn whole_replies_byte_by_byte() {
    let mut spec = named();
    spec.config.announce.search = vec!["corp.example".into(), "a_b.example.".into()];
    let mut pair = Pair::new(spec);
    let ask = |ciaddr: [u8; 4], flags, options: &[u8]| {
        let mut bytes = fixed(ciaddr, [0; 4], flags);
        bytes[0] = 1;
        bytes.extend(options);
        bytes
    };
    // Every option there is, and two that nobody knows.
    let wishes = [55, 12, 121, 3, 6, 12, 15, 26, 28, 119, 42, 252, 3, 1];
    let discover = [&[53, 1, 1, 61, 3, 255, 0, 7][..], &wishes, &[255]].concat();
    let mut offer = fixed([0; 4], [10, 213, 77, 2], 0);
    offer.extend([53, 1, 2, 54, 4, 10, 213, 77, 1, 51, 4, 0, 0, 14, 16]);
    offer.extend([58, 4, 0, 0, 7, 8, 59, 4, 0, 0, 12, 78, 61, 3, 255, 0, 7]);
    offer.extend([1, 4, 255, 255, 255, 0]);
    offer.extend([121, 13, 24, 10, 213, 77, 0, 0, 0, 0, 0, 10, 213, 77, 1]);
    offer.extend([3, 4, 10, 213, 77, 1, 6, 4, 10, 213, 77, 1]);
    offer.extend(b"\x0c\x04vm-1\x0f\x0ccorp.example");
    offer.extend([26, 2, 5, 220, 28, 4, 10, 213, 77, 255]);
    // RFC 3397 §2: the end of the second name points at that of the first.
    offer.extend(b"\x77\x14\x04corp\x07example\x00\x03a_b\xc0\x05\xff");
    assert!(offer.len() > 300);
    assert_answer(&mut pair, NOBODY, &ask([0; 4], 0, &discover), &offer);
    // To a client that remembers another address, in words.
    let remembered = [53, 1, 3, 50, 4, 192, 168, 1, 50, 61, 2, 0, 1, 255];
    let mut refusal = fixed([0; 4], [0; 4], 0x80);
    refusal.extend([53, 1, 6, 54, 4, 10, 213, 77, 1]);
    refusal.extend(b"\x38\x25this link has another address for you\x3d\x02\x00\x01\xff");
    refusal.resize(300, 0);
    assert_answer(&mut pair, NOBODY, &ask([0; 4], 0x80, &remembered), &refusal);
    // To one that has its address and asks for the rest.
    let mut rest = fixed([10, 213, 77, 2], [0; 4], 0);
    rest.extend([53, 1, 5, 54, 4, 10, 213, 77, 1, 1, 4, 255, 255, 255, 0, 6, 4, 10, 213, 77, 1]);
    rest.push(255);
    rest.resize(300, 0);
    let inform = ask([10, 213, 77, 2], 0, &[53, 1, 8, 55, 1, 6, 255]);
    assert_answer(&mut pair, GUEST, &inform, &rest);
}

#[test]
fn options_in_pieces_and_in_overloaded_fields_count() {
    let mut pair = Pair::new(PairSpec::default());
    let mut bytes = fixed([0; 4], [0; 4], 0);
    bytes[0] = 1;
    // The identifier is cut in two with another option between (RFC 3396 §5), the message's type
    // stands in the file field, and the one wish in the field for the server's name.
    bytes.extend([61, 2, 0, 1, 52, 1, 3, 61, 1, 2, 255]);
    bytes[108..112].copy_from_slice(&[53, 1, 1, 255]);
    bytes[44..48].copy_from_slice(&[55, 1, 26, 255]);
    let mut offer = fixed([0; 4], [10, 213, 77, 2], 0);
    offer.extend([53, 1, 2, 54, 4, 10, 213, 77, 1, 51, 4, 0, 0, 14, 16]);
    offer.extend([58, 4, 0, 0, 7, 8, 59, 4, 0, 0, 12, 78, 61, 3, 0, 1, 2]);
    offer.extend([1, 4, 255, 255, 255, 0, 26, 2, 5, 220, 255]);
    offer.resize(300, 0);
    assert_answer(&mut pair, NOBODY, &bytes, &offer);
}

#[test]
fn the_broadcast_flag_is_heeded_until_the_client_has_an_address() {
    let mut pair = Pair::new(PairSpec::default());
    let mut discover = message(&pair, MessageType::Discover);
    discover.set_flags(Flags::default().set_broadcast());
    let (_, answer) = broadcast(&mut pair, &discover).unwrap();
    assert_eq!((answer.ip.destination, answer.to_mac), (EVERYBODY.into(), [0xff; 6]));
    let mut renew = message(&pair, MessageType::Request);
    renew.set_flags(Flags::default().set_broadcast()).set_ciaddr(GUEST);
    let (ack, answer) = exchange(&mut pair, &renew, GUEST, GATEWAY).unwrap();
    assert_eq!((answer.ip.destination, answer.to_mac), (GUEST.into(), pair.guest.nic.mac));
    assert_eq!(ack.ciaddr(), GUEST);
}

#[test]
fn every_state_of_a_request() {
    use DhcpOption::{RequestedIpAddress as Wanted, ServerIdentifier as Server};
    let mut pair = Pair::new(PairSpec::default());
    let request = message(&pair, MessageType::Request);
    let holding = |address: Ipv4Addr| {
        let mut request = request.clone();
        request.set_ciaddr(address);
        request
    };
    let cases = [
        (
            "selecting",
            with(request.clone(), [Wanted(GUEST), Server(GATEWAY)]),
            NOBODY,
            EVERYBODY,
            true,
        ),
        (
            "selecting wrongly",
            with(request.clone(), [Wanted(WRONG), Server(GATEWAY)]),
            NOBODY,
            EVERYBODY,
            false,
        ),
        ("after a reboot", with(request.clone(), [Wanted(GUEST)]), NOBODY, EVERYBODY, true),
        ("after a move", with(request.clone(), [Wanted(WRONG)]), NOBODY, EVERYBODY, false),
        ("renewing", holding(GUEST), GUEST, GATEWAY, true),
        ("rebinding", holding(GUEST), GUEST, EVERYBODY, true),
        ("rebinding on the subnet", holding(GUEST), GUEST, [10, 213, 77, 255].into(), true),
        ("renewing wrongly", holding(WRONG), GUEST, GATEWAY, false),
    ];
    for (state, request, from, to, granted) in cases {
        let (answer, packet) = exchange(&mut pair, &request, from, to).expect(state);
        if granted {
            assert_eq!(answer.opts().msg_type(), Some(MessageType::Ack), "{state}");
            assert_eq!((answer.yiaddr(), answer.ciaddr()), (GUEST, request.ciaddr()), "{state}");
            assert_eq!(packet.ip.destination, GUEST, "{state}");
        } else {
            assert_eq!(answer.opts().msg_type(), Some(MessageType::Nak), "{state}");
            assert_eq!((answer.yiaddr(), answer.ciaddr()), (NOBODY, NOBODY), "{state}");
            assert_eq!(order(&packet), [53, 54, 56], "{state}");
            let everybody = (EVERYBODY.into(), [0xff; 6]);
            assert_eq!((packet.ip.destination, packet.to_mac), everybody, "{state}");
        }
    }
    assert_eq!(leases(&mut pair), [LeaseChange::Given], "renewals are not told");
    let other = with(request.clone(), [Wanted(WRONG), Server(WRONG)]);
    assert!(broadcast(&mut pair, &other).is_none(), "another server was chosen");
    assert_eq!(drops(&pair, DropReason::DhcpIgnored), 1);
    assert!(broadcast(&mut pair, &request).is_none(), "a request for nothing");
    assert_eq!(drops(&pair, DropReason::DhcpMalformed), 1);
    assert!(exchange(&mut pair, &holding(WRONG), WRONG, EVERYBODY).is_none());
    assert_eq!(drops(&pair, DropReason::SourceAddress), 1);
    pair.assert_quiescent();
}

#[test]
fn a_lease_is_declined_released_and_given_again() {
    use DhcpOption::{RequestedIpAddress as Wanted, ServerIdentifier as Server};
    let mut pair = Pair::new(PairSpec::default());
    let take = with(message(&pair, MessageType::Request), [Wanted(GUEST), Server(GATEWAY)]);
    let decline = with(message(&pair, MessageType::Decline), [Wanted(GUEST), Server(GATEWAY)]);
    let mut release = with(message(&pair, MessageType::Release), [Server(GATEWAY)]);
    release.set_ciaddr(GUEST);
    assert!(exchange(&mut pair, &release, GUEST, GATEWAY).is_none(), "never given");
    assert!(broadcast(&mut pair, &take).is_some());
    assert!(broadcast(&mut pair, &decline).is_none());
    assert_eq!(pair.engine.counters().leases_declined, 1);
    let discover = message(&pair, MessageType::Discover);
    let (offer, _) = broadcast(&mut pair, &discover).unwrap();
    assert_eq!(offer.yiaddr(), GUEST, "there is no other");
    assert!(broadcast(&mut pair, &take).is_some());
    let elsewhere = with(release.clone(), [Server(WRONG)]);
    assert!(exchange(&mut pair, &elsewhere, GUEST, GATEWAY).is_none());
    assert!(exchange(&mut pair, &release, GUEST, GATEWAY).is_none());
    assert_eq!(drops(&pair, DropReason::DhcpIgnored), 2);
    // The boot loader's identifier is not the system's, and both are the guest's.
    let id = |byte| DhcpOption::ClientIdentifier(vec![byte; 20]);
    for byte in [1, 2, 2] {
        assert!(broadcast(&mut pair, &with(take.clone(), [id(byte)])).is_some());
    }
    use LeaseChange::{Declined, Given, Released};
    let expected = [Given, Declined, Given, Released, Given, Given];
    assert_eq!(leases(&mut pair), expected);
    // A lease that ran out is given anew.
    pair.run_for(Duration::from_secs(3601));
    assert!(broadcast(&mut pair, &with(take, [id(2)])).is_some());
    assert_eq!(leases(&mut pair), [Given]);
}

#[test]
fn a_guest_with_an_address_asks_for_the_rest() {
    let mut pair = Pair::new(named());
    let mut inform = with(message(&pair, MessageType::Inform), [wishes(&[6, 119, 51])]);
    inform.set_ciaddr(GUEST);
    let (ack, answer) = exchange(&mut pair, &inform, GUEST, EVERYBODY).unwrap();
    assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), NOBODY));
    assert_eq!(answer.ip.destination, GUEST);
    assert_eq!(order(&answer), [53, 54, 1, 6, 119], "and no lease");
    inform.set_ciaddr(WRONG);
    assert!(exchange(&mut pair, &inform, GUEST, GATEWAY).is_none());
    assert_eq!(leases(&mut pair), []);
}

#[test]
fn two_messages_where_the_client_likes() {
    let mut pair = Pair::new(PairSpec::default());
    let discover = with(message(&pair, MessageType::Discover), [DhcpOption::RapidCommit]);
    let (ack, answer) = broadcast(&mut pair, &discover).unwrap();
    assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), GUEST));
    assert!(order(&answer).contains(&80));
    assert_eq!(leases(&mut pair), [LeaseChange::Given]);
}

#[test]
fn an_answer_fits_the_smallest_client() {
    let mut spec = PairSpec::default();
    spec.config.announce.search = vec!["x".repeat(60); 4];
    assert_eq!(spec.config.announce.validate(), Ok(()));
    let mut pair = Pair::new(spec);
    let id = DhcpOption::ClientIdentifier(vec![7; 255]);
    let wanted = wishes(&[119, 3, 6, 121]);
    let small = with(message(&pair, MessageType::Discover), [wanted.clone(), id.clone()]);
    let (_, answer) = broadcast(&mut pair, &small).unwrap();
    assert_eq!(order(&answer), [53, 54, 51, 58, 59, 61, 1, 3, 6], "the longest are left out");
    let large = with(small, [DhcpOption::MaxMessageSize(1500)]);
    let bytes = large.to_vec().unwrap();
    let (from, to) = (SocketAddr::new(NOBODY.into(), 68), SocketAddr::new(EVERYBODY.into(), 67));
    let answers = pair.ask_datagram(from, to, &bytes);
    assert_eq!(order(&answers[0]), [53, 54, 51, 58, 59, 61, 1, 119, 3, 6, 121]);
}

#[test]
fn relays_strangers_and_servers_are_not_heard() {
    let mut pair = Pair::new(PairSpec::default());
    let mut relayed = message(&pair, MessageType::Discover);
    relayed.set_giaddr(GATEWAY);
    let mut stranger = message(&pair, MessageType::Discover);
    stranger.set_chaddr(&[2, 9, 9, 9, 9, 9]);
    for ignored in [
        relayed,
        stranger,
        message(&pair, MessageType::Offer),
        message(&pair, MessageType::Ack),
        message(&pair, MessageType::Nak),
    ] {
        assert!(broadcast(&mut pair, &ignored).is_none(), "{ignored:?}");
    }
    assert_eq!(drops(&pair, DropReason::DhcpIgnored), 5);
    // From no address nothing else may be said, and to nobody else.
    let bytes = message(&pair, MessageType::Discover).to_vec().unwrap();
    let at = |address: Ipv4Addr, port| SocketAddr::new(address.into(), port);
    for (from, to) in [
        (at(NOBODY, 68), at(EVERYBODY, 68)),
        (at(NOBODY, 67), at(EVERYBODY, 67)),
        (at(NOBODY, 68), at(WRONG, 67)),
        (at(WRONG, 68), at(EVERYBODY, 67)),
    ] {
        assert!(pair.ask_datagram(from, to, &bytes).is_empty(), "{from} to {to}");
    }
    assert_eq!(drops(&pair, DropReason::SourceAddress), 4);
}

#[test]
fn malformed_messages_are_counted() {
    let mut pair = Pair::new(PairSpec::default());
    let (from, to) = (SocketAddr::new(NOBODY.into(), 68), SocketAddr::new(EVERYBODY.into(), 67));
    let id = DhcpOption::ClientIdentifier(vec![1, 2]);
    let good = with(message(&pair, MessageType::Discover), [id]).to_vec().unwrap();
    // The cut behind the last option only loses the mark of the end.
    let whole = good.len() - 1;
    let mut bad: Vec<Vec<u8>> = (0..whole).map(|length| good[..length].to_vec()).collect();
    bad.retain(|message| message.len() != 243);
    for (at, value) in
        [(2, 255), (2, 16), (2, 0), (1, 32), (0, 2), (241, 200), (244, 0), (244, 255)]
    {
        let mut message = good.clone();
        message[at] = value;
        bad.push(message);
    }
    for options in [&[50, 3, 1, 2, 3][..], &[54, 0], &[57, 1, 9], &[52, 1, 9]] {
        let mut message = good[..whole].to_vec();
        message.extend_from_slice(options);
        bad.push(message);
    }
    for (nth, message) in bad.iter().enumerate() {
        let before = drops(&pair, DropReason::DhcpMalformed);
        assert!(pair.ask_datagram(from, to, message).is_empty(), "{nth}");
        assert_eq!(drops(&pair, DropReason::DhcpMalformed), before + 1, "{nth}: {message:?}");
    }
    // A wrong checksum is none of DHCP's.
    let mut upper = datagram(from, to, &good);
    upper[7] ^= 1;
    let packet = ip(from.ip(), to.ip(), Protocol::UDP, &upper, None);
    let frame = ethernet(pair.guest.nic.mac, [0xff; 6], &packet);
    assert!(pair.ask(&frame).is_empty());
    assert_eq!(drops(&pair, DropReason::TransportChecksum), 1);
}

/// A message with some bytes changed and its options replaced by any.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let option = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40));
    let known = proptest::sample::select(vec![1u8, 50, 51, 52, 53, 54, 55, 57, 61, 80, 0, 255]);
    let option = (option, known, any::<bool>()).prop_map(|((any, value), known, use_known)| {
        let code = if use_known { known } else { any };
        [&[code, value.len() as u8][..], &value].concat()
    });
    let options = proptest::collection::vec(option, 0..8).prop_map(|options| options.concat());
    let kind = 0u8..10;
    let changes = proptest::collection::vec((0usize..240, any::<u8>()), 0..4);
    (kind, options, changes, any::<u8>()).prop_map(|(kind, options, changes, cut)| {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[28..34].copy_from_slice(&[2, 0x50, 0x52, 0, 0, 2]);
        bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.extend_from_slice(&[53, 1, kind]);
        bytes.extend_from_slice(&options);
        bytes.truncate(bytes.len() - usize::from(cut % 8).min(bytes.len()));
        bytes
    })
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
        messages in proptest::collection::vec((any_message(), any::<bool>()), 100),
    ) {
        let mut spec = PairSpec::default();
        spec.config.limits.control_frames = 8;
        let mut pair = Pair::new(spec);
        let (bare, to) = (SocketAddr::new(NOBODY.into(), 68), SocketAddr::new(EVERYBODY.into(), 67));
        let own = SocketAddr::new(GUEST.into(), 68);
        for (message, has_address) in &messages {
            let from = if *has_address { own } else { bare };
            let packet = ip(from.ip(), to.ip(), Protocol::UDP, &datagram(from, to, message), None);
            let mut frame = ethernet(pair.guest.nic.mac, [0xff; 6], &packet);
            let now = pair.now();
            pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
        }
        let waiting = pair.ask(&ethernet(pair.guest.nic.mac, [0xff; 6], &[])).len();
        prop_assert!(waiting <= 8);
        for (message, _) in &messages {
            for answer in pair.ask_datagram(bare, to, message) {
                let (_, _, payload) = answer.datagram().expect("a datagram");
                prop_assert!(Message::from_bytes(payload).is_ok());
            }
        }
        pair.assert_no_timer();
    }
}
