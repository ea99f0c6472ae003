//! What the guest's messages get: refusals, local names, rules, sizes, flags.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use portreeve_dns::{AnswerSource, Carrier, DnsEvent, NameVerdict, QueryToken};
use portreeve_types::{DnsConfig, DnsName, Limits, StaticRecord};

use support::*;

fn edited(message: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = message;
    edit(&mut message);
    message
}

#[test]
fn what_is_not_looked_up_is_refused_audibly() {
    let plain = || query("a.test", A);
    let end = plain().len();
    let table: [(&str, Vec<u8>, ResponseCode); 13] = [
        ("status", edited(plain(), |m| m[2] = 0x10), ResponseCode::NotImp),
        ("notify", edited(plain(), |m| m[2] = 0x20), ResponseCode::NotImp),
        ("update", edited(plain(), |m| m[2] = 0x28), ResponseCode::NotImp),
        ("no question", edited(plain(), |m| m[5] = 0), ResponseCode::FormErr),
        ("two questions", edited(plain(), |m| m[5] = 2), ResponseCode::FormErr),
        ("an answer", edited(plain(), |m| m[7] = 1), ResponseCode::FormErr),
        ("cut off", plain()[..20].to_vec(), ResponseCode::FormErr),
        ("chaos", edited(plain(), |m| m[end - 1] = 3), ResponseCode::Refused),
        ("any class", edited(plain(), |m| m[end - 1] = 255), ResponseCode::Refused),
        ("AXFR", query("a.test", 252), ResponseCode::Refused),
        ("IXFR", query("a.test", 251), ResponseCode::Refused),
        ("TKEY", query("a.test", 249), ResponseCode::Refused),
        ("OPT as a question", query("a.test", 41), ResponseCode::FormErr),
    ];
    for (what, message, expected) in table {
        for carrier in [Carrier::Udp, Carrier::Tcp] {
            let mut scene = Scene::new(1);
            scene.send_as(QueryToken(1), carrier, &message);
            let answer = scene.answer();
            assert_eq!(code(&answer), expected, "{what}");
            assert_eq!(answer.metadata.id, 0x1234, "{what}");
            assert_eq!(scene.server.counters().rejected, 1, "{what}");
            scene.nothing_asked();
            scene.quiet();
        }
    }
}

#[test]
fn responses_and_scraps_are_dropped() {
    let mut scene = Scene::new(1);
    scene.send(&edited(query("a.test", A), |m| m[2] |= 0x80));
    scene.send(&query("a.test", A)[..11]);
    scene.send(b"");
    assert!(scene.answers.is_empty());
    assert_eq!(scene.server.counters().dropped, 3);
    scene.quiet();
}

#[test]
fn unknown_edns_versions_are_told_ours() {
    let mut scene = Scene::new(1);
    let message = edited(with_edns(query("a.test", A), 1232, true, b""), |m| {
        let version = m.len() - 5;
        m[version] = 1;
    });
    scene.send(&message);
    let answer = scene.answer();
    // The number has two names, of which hickory prefers the other.
    assert_eq!(u16::from(code(&answer)), 16);
    assert_eq!(answer.edns.unwrap().version(), 0);
}

fn local() -> Scene {
    let record = |name: &str, addresses: &[&str]| StaticRecord {
        name: name.parse().expect("a name"),
        addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
        ttl: 30,
    };
    let config = DnsConfig {
        records: vec![
            record("host.portreeve.internal", &["10.0.2.2"]),
            record("box", &["fd00::15"]),
            // A local name may point anywhere.
            record("here", &["127.0.0.1"]),
        ],
        ..config(1)
    };
    Scene::with(&config, &Limits::default())
}

#[test]
fn local_names_are_answered_here() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let table = [
        ("HOST.Portreeve.internal", A, ResponseCode::NoError, vec![ip("10.0.2.2")]),
        ("host.portreeve.internal", AAAA, ResponseCode::NoError, vec![]),
        ("other.portreeve.internal", A, ResponseCode::NXDomain, vec![]),
        ("box", AAAA, ResponseCode::NoError, vec![ip("fd00::15")]),
        ("box", A, ResponseCode::NoError, vec![]),
        ("here", A, ResponseCode::NoError, vec![ip("127.0.0.1")]),
        ("localhost", A, ResponseCode::NoError, vec![ip("127.0.0.1")]),
        ("db.localhost", AAAA, ResponseCode::NoError, vec![ip("::1")]),
        ("localhost", TXT, ResponseCode::NoError, vec![]),
        ("a.invalid", A, ResponseCode::NXDomain, vec![]),
        ("a.onion", A, ResponseCode::NXDomain, vec![]),
    ];
    for (name, kind, expected, found) in table {
        let mut scene = local();
        scene.send(&query(name, kind));
        let answer = scene.answer();
        assert_eq!(code(&answer), expected, "{name}");
        assert_eq!(addresses(&answer), found, "{name}");
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        let shown = answer.queries[0].name().to_string();
        assert_eq!(shown.trim_end_matches('.'), name, "as it was spelled");
        // RFC 2308 §3: absence comes with an SOA record.
        assert_eq!(answer.authorities.len(), usize::from(found.is_empty()), "{name}");
        scene.nothing_asked();
        scene.quiet();
    }
    let mut scene = local();
    scene.send(&query("2.2.0.10.in-addr.arpa", PTR));
    assert_eq!(scene.answer().answers[0].data.to_string(), "host.portreeve.internal.");
}

#[test]
fn records_come_and_go() {
    let mut scene = Scene::new(1);
    let record = StaticRecord {
        name: "new.test".parse().unwrap(),
        addresses: vec![[10, 0, 0, 1].into()],
        ttl: 1,
    };
    assert!(scene.server.add_record(&record));
    scene.send(&query("new.test", A));
    assert_eq!(addresses(&scene.answer()), record.addresses);
    assert!(scene.server.remove_record(&record.name));
    scene.send(&query("new.test", A));
    scene.asked();
}

#[test]
fn any_is_answered_minimally() {
    let mut scene = Scene::new(1);
    scene.send(&query("a.test", 255));
    let answer = scene.answer();
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(u16::from(answer.answers[0].record_type()), 13);
    scene.nothing_asked();
}

#[test]
fn denied_names_do_not_exist_and_say_why() {
    let mut scene = Scene::new(1);
    scene.resolve("www.evil.test", [93, 184, 216, 34], 300);
    let evil: DnsName = "evil.test".parse().unwrap();
    scene.server.set_policy(Some(Box::new(move |name: &DnsName| {
        if name.is_within(&evil) { NameVerdict::Deny } else { NameVerdict::Allow }
    })));
    for name in ["WWW.evil.test", "evil.test"] {
        scene.send(&with_edns(query(name, A), 1232, false, b""));
        let answer = scene.answer();
        assert_eq!(code(&answer), ResponseCode::NXDomain);
        assert_eq!(extended_error(&answer), Some(15));
        assert!(matches!(scene.events.pop(), Some(DnsEvent::Denied { .. })));
        scene.nothing_asked();
    }
    assert_eq!(scene.server.counters().denied, 2);
    scene.send(&query("notevil.test", A));
    scene.asked();
}

#[test]
fn without_ipv6_on_the_host_names_have_none() {
    let mut scene = Scene::new(1);
    scene.server.set_ipv6_upstream(false);
    scene.send(&query("a.test", AAAA));
    let answer = scene.answer();
    assert_eq!((code(&answer), answer.authorities.len()), (ResponseCode::NoError, 1));
    scene.nothing_asked();
    scene.send(&query("localhost", AAAA));
    assert_eq!(addresses(&scene.answer()).len(), 1);
    scene.server.set_ipv6_upstream(true);
    scene.send(&query("a.test", AAAA));
    scene.asked();
}

/// Lets an upstream answer with so many addresses.
fn many(scene: &mut Scene, carrier: Carrier, query: &[u8], count: usize) -> (usize, Message) {
    scene.send_as(QueryToken(1), carrier, query);
    if let Some(asked) = scene.asked.pop_front() {
        let reply = (0..count)
            .fold(Reply::to(&asked), |reply, nth| reply.record(A, 60, &[192, 0, 2, nth as u8]));
        let reply = reply.additional().of(&wire("x.test"), 65_280, 60, &[b'x'; 200]);
        scene.reply(&asked, &reply.done());
    }
    let length = scene.answers.front().expect("an answer").message.len();
    (length, scene.answer())
}

#[test]
fn datagrams_are_as_long_as_the_client_takes() {
    // Question 24, record 16, additional record 218, OPT 11 octets.
    for (payload, count, truncated, complete) in [
        (None, 10, false, true),
        (None, 20, false, false),
        (None, 30, false, false),
        (None, 31, true, false),
        (Some(100), 29, false, false),
        (Some(1232), 30, false, true),
        (Some(1232), 80, true, false),
        (Some(4096), 80, false, true),
        (Some(65_535), 240, false, true),
        (Some(65_535), 255, true, false),
    ] {
        let mut scene = Scene::new(1);
        let plain = query("a.test", A);
        let message = match payload {
            Some(payload) => with_edns(plain.clone(), payload, false, b""),
            None => plain.clone(),
        };
        let (length, answer) = many(&mut scene, Carrier::Udp, &message, count);
        let most = usize::from(payload.unwrap_or(512).clamp(512, 4096));
        assert!(length <= most, "{payload:?}: {length}");
        assert_eq!(answer.metadata.truncation, truncated, "{payload:?} {count}");
        assert_eq!(answer.answers.len(), if truncated { 0 } else { count });
        assert_eq!(!answer.additionals.is_empty(), complete, "{payload:?} {count}");
        assert_eq!(answer.edns.is_some(), payload.is_some());
        // Over TCP there is always room, and the cache has it all.
        let (_, answer) = many(&mut scene, Carrier::Tcp, &plain, count);
        assert_eq!((answer.answers.len(), answer.additionals.len()), (count, 1));
    }
}

#[test]
fn flags_are_those_of_a_resolver() {
    for (flags, dnssec_ok, authenticated) in [
        (0x0100, false, false),
        (0x0120, false, true),
        (0x0100, true, true),
        (0x0110, false, false),
    ] {
        let mut scene = Scene::new(1);
        let mut message = query("a.test", A);
        message[2..4].copy_from_slice(&u16::to_be_bytes(flags));
        scene.send(&with_edns(message, 1232, dnssec_ok, b"\0\x0a\0\x08cookie!!"));
        let asked = scene.asked();
        let question = Message::from_vec(&asked.message).unwrap();
        let edns = question.edns.as_ref().unwrap();
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, dnssec_ok));
        assert!(edns.options().as_ref().is_empty(), "cookies are between neighbours");
        assert!(question.metadata.recursion_desired && question.metadata.authentic_data);
        assert_eq!(question.metadata.checking_disabled, flags & 0x10 != 0);
        let reply = Reply::to(&asked).record(A, 60, &[192, 0, 2, 1]).edit(|m| {
            m[2] |= 4;
            m[3] |= 0x20;
        });
        scene.reply(&asked, &reply.edns(b"\0\x0a\0\x08cookie!!").done());
        let answer = scene.answer();
        assert!(!answer.metadata.authoritative, "we are not");
        assert!(answer.metadata.recursion_desired && answer.metadata.recursion_available);
        assert_eq!(answer.metadata.checking_disabled, flags & 0x10 != 0);
        assert_eq!(answer.metadata.authentic_data, authenticated, "{flags:x} {dnssec_ok}");
        let edns = answer.edns.unwrap();
        assert!(edns.options().as_ref().is_empty());
        assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
    }
}

#[test]
fn a_stream_has_so_many_queries_waiting_and_no_more() {
    let mut scene = Scene::new(1);
    let (stream, other) = (QueryToken(1), QueryToken(2));
    let mut taken = 0;
    while scene.server.has_room(stream) {
        scene.send_as(stream, Carrier::Tcp, &query(&format!("n{taken}.test"), A));
        taken += 1;
    }
    assert_eq!(taken, 64);
    assert!(scene.server.has_room(other));
    // A caller that does not ask is told by an answer.
    scene.send_as(stream, Carrier::Tcp, &query("more.test", A));
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    let asked = scene.asked.pop_front().unwrap();
    scene.reply(&asked, &Reply::to(&asked).record(A, 1, &[192, 0, 2, 1]).done());
    assert!(scene.server.has_room(stream));
    scene.answers.clear();
    scene.server.forget(stream);
    scene.drain();
    assert_eq!(scene.server.counters().forgotten, 63);
    assert!(scene.answers.is_empty());
    scene.quiet();
}

#[test]
fn too_many_waiting_are_told_at_once() {
    let limits = Limits { dns_pending: 3, ..Limits::default() };
    let mut scene = Scene::with(&config(1), &limits);
    for nth in 0..3 {
        scene.send(&query(&format!("n{nth}.test"), A));
    }
    assert!(!scene.server.has_room(QueryToken(9)));
    scene.send(&query("n3.test", A));
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    assert_eq!(scene.server.counters().overflowed, 1);
    // Local names go on.
    scene.send(&query("localhost", A));
    assert_eq!(code(&scene.answer()), ResponseCode::NoError);
}

#[test]
fn queries_are_logged_when_asked_for() {
    let config = DnsConfig { log_queries: true, ..config(1) };
    let mut scene = Scene::with(&config, &Limits { event_backlog: 4, ..Limits::default() });
    scene.send(&query("WWW.a.test", A));
    let asked = scene.asked();
    scene.millis(20);
    scene.reply(&asked, &Reply::to(&asked).record(A, 60, &[192, 0, 2, 1]).done());
    scene.send(&query("www.a.test", A));
    let sources: Vec<_> = scene
        .events
        .iter()
        .map(|event| match event {
            DnsEvent::Answered { name, source, addresses, latency, rcode: 0, .. } => {
                assert_eq!(name.as_str(), "www.a.test");
                assert_eq!(addresses[..], [IpAddr::from([192, 0, 2, 1])]);
                (*source, *latency)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (AnswerSource::Upstream(upstream(0)), Duration::from_millis(20)),
        (AnswerSource::Cache, Duration::ZERO),
    ];
    assert_eq!(sources, expected);
    // Unread events are bounded.
    for _ in 0..10 {
        scene.server.handle_query(QueryToken(1), Carrier::Udp, &query("localhost", A), scene.now);
    }
    assert_eq!(scene.server.counters().events_dropped, 6);
}
