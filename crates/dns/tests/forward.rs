//! Forwarding: who is asked, when, what is kept, and what happens when upstreams fail.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use portreeve_dns::{Carrier, DnsEvent, QueryToken};
use portreeve_types::{DnsConfig, DnsStrategy, Limits};

use support::*;

const SOMEWHERE: [u8; 4] = [93, 184, 216, 34];

fn good(asked: &Asked) -> Vec<u8> {
    Reply::to(asked).record(A, 300, &SOMEWHERE).done()
}

#[test]
fn cached_answers_ask_nobody_and_count_down() {
    let mut scene = Scene::new(1);
    scene.resolve("www.Example.test", SOMEWHERE, 300);
    scene.millis(100_500);
    scene.send(&query("WWW.eXample.test", A));
    scene.nothing_asked();
    let answer = scene.answer();
    assert_eq!(answer.answers[0].ttl, 200);
    assert_eq!(answer.answers[0].name.to_string(), "WWW.eXample.test.");
    assert_eq!(answer.queries[0].name().to_string(), "WWW.eXample.test.");
    let counters = *scene.server.counters();
    assert_eq!((counters.cache_hits, counters.upstream_asks), (1, 1));
    // Other type, DO and CD are other answers.
    scene.send(&query("www.example.test", AAAA));
    scene.send(&with_edns(query("www.example.test", A), 1232, true, b""));
    assert_eq!(scene.asked.len(), 2);
    scene.millis(199_500);
    scene.asked.clear();
    scene.answers.clear();
    scene.send(&query("www.example.test", A));
    scene.asked();
}

#[test]
fn absence_is_kept_as_long_as_it_says() {
    for (reply_code, ttl, minimum, kept) in [(3, 900, 60, 60), (0, 30, 60, 30), (3, 0, 60, 0)] {
        let mut scene = Scene::new(1);
        scene.send(&query("no.test", A));
        let asked = scene.asked();
        scene.reply(&asked, &Reply::to(&asked).rcode(reply_code).soa(ttl, minimum).done());
        let answer = scene.answer();
        assert_eq!(answer.authorities[0].ttl, kept, "the lesser of both counts down");
        if kept > 0 {
            scene.pass(Duration::from_secs(u64::from(kept) - 1));
            scene.send(&query("no.test", A));
            scene.nothing_asked();
            assert_eq!(scene.answer().authorities[0].ttl, 1);
            scene.millis(1_000);
        }
        scene.send(&query("no.test", A));
        scene.asked();
    }
    // Without an SOA record it says nothing.
    let mut scene = Scene::new(1);
    scene.send(&query("no.test", A));
    let asked = scene.asked();
    scene.reply(&asked, &Reply::to(&asked).rcode(3).done());
    scene.answer();
    scene.send(&query("no.test", A));
    scene.asked();
}

#[test]
fn ttls_are_bounded() {
    for (ttl, shown) in [(1 << 30, 86_400), (u32::MAX, 0), (0, 0)] {
        let mut scene = Scene::new(1);
        let answer = scene.resolve("a.test", SOMEWHERE, ttl);
        assert_eq!(answer.answers[0].ttl, shown);
        assert_eq!(scene.server.cached().0, usize::from(shown > 0));
    }
}

#[test]
fn one_question_serves_all_who_ask_it() {
    let mut scene = Scene::new(1);
    let spellings = ["a.test", "A.test", "a.TEST"];
    for (nth, name) in spellings.iter().enumerate() {
        scene.send_as(QueryToken(nth as u64), Carrier::Udp, &query(name, A));
    }
    let asked = scene.asked();
    scene.reply(&asked, &good(&asked));
    for (nth, name) in spellings.iter().enumerate() {
        let answer = scene.answers.pop_front().unwrap();
        assert_eq!(answer.token, QueryToken(nth as u64));
        let message = Message::from_vec(&answer.message).unwrap();
        assert_eq!(message.queries[0].name().to_string(), format!("{name}."));
    }
    assert_eq!(scene.server.counters().joined, 2);
    scene.quiet();
    for _ in 0..300 {
        scene.send(&query("b.test", A));
    }
    scene.asked();
    assert_eq!(scene.server.counters().overflowed, 300 - 256);
}

#[test]
fn truncated_answers_are_fetched_whole() {
    let mut scene = Scene::new(1);
    scene.send(&query("a.test", A));
    let udp = scene.asked();
    scene.reply(&udp, &Reply::to(&udp).truncated().done());
    let tcp = scene.asked();
    assert_eq!((tcp.carrier, tcp.server), (Carrier::Tcp, udp.server));
    assert!(!scene.open.contains_key(&udp.exchange));
    let reply = (0..100).fold(Reply::to(&tcp), |r, nth| r.record(A, 60, &[192, 0, 2, nth]));
    scene.reply(&tcp, &reply.done());
    assert!(scene.answer().metadata.truncation);
    scene.send_as(QueryToken(2), Carrier::Tcp, &query("a.test", A));
    scene.nothing_asked();
    assert_eq!(scene.answer().answers.len(), 100);
    scene.quiet();
}

#[test]
fn racing_asks_the_next_when_the_first_is_slow() {
    let mut scene = Scene::new(3);
    scene.send(&query("a.test", A));
    let first = scene.asked();
    assert_eq!(first.server, upstream(0));
    scene.millis(149);
    scene.nothing_asked();
    scene.millis(1);
    let second = scene.asked();
    assert_eq!(second.server, upstream(1));
    scene.millis(10);
    scene.reply(&second, &good(&second));
    assert_eq!(addresses(&scene.answer()), [IpAddr::from(SOMEWHERE)]);
    scene.quiet();
    // Late answers change nothing, and the faster one is asked first from now on.
    scene.reply(&first, &Reply::to(&first).rcode(3).done());
    assert_eq!(scene.server.counters().late_responses, 1);
    scene.send(&query("b.test", A));
    assert_eq!(scene.asked().server, upstream(1));
}

#[test]
fn failing_over_keeps_to_the_order() {
    let config = DnsConfig { strategy: DnsStrategy::Failover, ..config(2) };
    let mut scene = Scene::with(&config, &Limits::default());
    for nth in 0..3 {
        scene.send(&query(&format!("n{nth}.test"), A));
        assert_eq!(scene.asked().server, upstream(0));
        scene.millis(1_000);
        let second = scene.asked();
        assert_eq!(second.server, upstream(1));
        scene.reply(&second, &good(&second));
        scene.answer();
    }
    let down = DnsEvent::UpstreamDown { server: upstream(0) };
    assert_eq!(scene.events, [down]);
    scene.send(&query("n3.test", A));
    let asked = scene.asked();
    assert_eq!(asked.server, upstream(1));
    scene.reply(&asked, &good(&asked));
    // After a while it has another chance.
    scene.millis(2_000);
    scene.send(&query("n4.test", A));
    let asked = scene.asked();
    assert_eq!(asked.server, upstream(0));
    scene.reply(&asked, &good(&asked));
    assert_eq!(scene.events.last(), Some(&DnsEvent::UpstreamUp { server: upstream(0) }));
    scene.quiet();
}

#[test]
fn failures_move_on_at_once_and_end_in_an_answer_that_says_why() {
    let mut scene = Scene::new(2);
    scene.send(&with_edns(query("a.test", A), 1232, false, b""));
    let first = scene.asked();
    scene.fail(&first);
    let second = scene.asked();
    assert_eq!((second.server, second.at), (upstream(1), first.at));
    scene.fail(&second);
    let answer = scene.answer();
    assert_eq!((code(&answer), extended_error(&answer)), (ResponseCode::ServFail, Some(23)));
    scene.quiet();
    // Kept for a moment, so that retries do not become a storm.
    scene.send(&query("a.test", A));
    scene.nothing_asked();
    scene.answer();
    scene.millis(1_000);
    scene.send(&query("a.test", A));
    scene.asked();
}

#[test]
fn silence_ends_in_time() {
    let mut scene = Scene::new(2);
    let begin = scene.now;
    scene.send(&with_edns(query("a.test", A), 1232, false, b""));
    scene.millis(5_999);
    assert!(scene.answers.is_empty());
    scene.millis(1);
    assert_eq!(scene.now.since(begin), Duration::from_secs(6));
    let answer = scene.answer();
    assert_eq!((code(&answer), extended_error(&answer)), (ResponseCode::ServFail, Some(22)));
    let asked: Vec<_> =
        scene.asked.iter().map(|asked| (asked.server, asked.at.since(begin).as_millis())).collect();
    let (one, two) = (upstream(0), upstream(1));
    let turns = [(one, 0), (two, 150), (one, 1_150), (two, 1_300), (one, 3_300), (two, 3_450)];
    assert_eq!(asked, turns);
    scene.quiet();
    let late = scene.asked[0].clone();
    scene.reply(&late, &good(&late));
    assert!(scene.answers.is_empty());
}

#[test]
fn errors_of_one_upstream_are_another_ones_chance() {
    for (reply_code, expected) in
        [(1, ResponseCode::ServFail), (2, ResponseCode::ServFail), (5, ResponseCode::Refused)]
    {
        let mut scene = Scene::new(2);
        scene.send(&query("a.test", A));
        let first = scene.asked();
        scene.reply(&first, &Reply::to(&first).rcode(reply_code).edns(b"").done());
        let second = scene.asked();
        assert_eq!(second.server, upstream(1));
        scene.reply(&second, &good(&second));
        assert_eq!(code(&scene.answer()), ResponseCode::NoError);
        scene.send(&query("b.test", A));
        for _ in 0..2 {
            let asked = scene.asked();
            scene.reply(&asked, &Reply::to(&asked).rcode(reply_code).edns(b"").done());
        }
        assert_eq!(code(&scene.answer()), expected);
        scene.quiet();
        scene.millis(4_999);
        scene.send(&query("b.test", A));
        scene.nothing_asked();
        scene.answer();
        scene.millis(1);
        scene.send(&query("b.test", A));
        scene.asked();
    }
}

#[test]
fn upstreams_explanations_reach_the_client() {
    let mut scene = Scene::new(1);
    scene.send(&with_edns(query("a.test", A), 1232, true, b""));
    let asked = scene.asked();
    scene.reply(&asked, &Reply::to(&asked).rcode(2).edns(b"\0\x0f\0\x05\0\x06sig").done());
    assert_eq!(extended_error(&scene.answer()), Some(6));
}

#[test]
fn upstreams_without_edns_are_asked_without() {
    for bare in [false, true] {
        let mut scene = Scene::new(1);
        scene.send(&query("a.test", A));
        let first = scene.asked();
        let reply = Reply::to(&first).rcode(1).done();
        // Some repeat the question, some send a header only.
        let header = [&reply[..4], &[0; 8]].concat();
        scene.reply(&first, if bare { &header } else { &reply });
        let second = scene.asked();
        assert_eq!(second.server, first.server);
        assert!(Message::from_vec(&second.message).unwrap().edns.is_none());
        scene.reply(&second, &good(&second));
        scene.answer();
        scene.send(&query("b.test", A));
        assert!(Message::from_vec(&scene.asked().message).unwrap().edns.is_none());
    }
}

#[test]
fn case_is_random_until_an_upstream_does_not_keep_it() {
    let mut scene = Scene::new(1);
    let lower = |asked: &Asked| Reply::to(asked).edit(|m| m[12..].make_ascii_lowercase());
    let name = "a-rather-long-name-with-letters.test";
    scene.send(&query(name, A));
    let mixed = scene.asked();
    assert_ne!(mixed.message[12..50], wire(name)[..38], "not a likely draw");
    scene.reply(&mixed, &lower(&mixed).record(A, 60, &[6, 6, 6, 6]).done());
    assert!(scene.answers.is_empty());
    let probe = scene.asked();
    assert_eq!(probe.message[12..50], wire(name)[..38]);
    // The first may still be answered in its own case: then it was someone else before.
    assert!(scene.open.contains_key(&mixed.exchange));
    scene.reply(&probe, &good(&probe));
    assert_eq!(addresses(&scene.answer()), [IpAddr::from(SOMEWHERE)]);
    assert_eq!(scene.events, [DnsEvent::UpstreamChangesCase { server: upstream(0) }]);
    scene.quiet();
    scene.send(&query("another-long-name-with-letters.test", A));
    let asked = scene.asked();
    assert_eq!(asked.message[12..], asked.message[12..].to_ascii_lowercase());
    scene.reply(&asked, &lower(&asked).record(A, 60, &SOMEWHERE).done());
    scene.answer();
}

#[test]
fn a_new_resolver_is_asked_what_waits() {
    let mut scene = Scene::new(1);
    scene.resolve("old.test", SOMEWHERE, 300);
    scene.send(&query("a.test", A));
    let old = scene.asked();
    scene.millis(500);
    scene.server.set_upstreams(vec![upstream(7)], vec!["corp.test".to_owned()]);
    scene.drain();
    assert!(scene.open.is_empty());
    assert!(scene.server.poll_timeout().unwrap() <= scene.now);
    scene.millis(0);
    let asked = scene.asked();
    assert_eq!(asked.server, upstream(7));
    scene.reply(&old, &good(&old));
    assert!(scene.answers.is_empty());
    scene.reply(&asked, &good(&asked));
    assert_eq!(code(&scene.answer()), ResponseCode::NoError);
    scene.send(&query("old.test", A));
    assert_eq!(scene.asked().server, upstream(7), "another network, other answers");
    assert_eq!(scene.server.search(), ["corp.test"]);
    // No resolver at all: an answer at once, for those that wait as well.
    scene.server.set_upstreams(Vec::new(), Vec::new());
    scene.millis(0);
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    scene.send(&query("b.test", A));
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    scene.quiet();
}

#[test]
fn addresses_are_known_by_name() {
    let mut scene = Scene::new(1);
    scene.send(&query("WWW.a.test", A));
    let asked = scene.asked();
    let reply = Reply::to(&asked)
        .record(CNAME, 60, &wire("cdn.test"))
        .of(&wire("cdn.test"), A, 60, &SOMEWHERE)
        .of(&wire("unrelated.test"), A, 60, &[192, 0, 2, 9]);
    scene.reply(&asked, &reply.done());
    assert_eq!(scene.answer().answers.len(), 3);
    let name = |scene: &Scene, address: [u8; 4]| {
        scene.server.names().name_of(address.into(), scene.now).map(str::to_owned)
    };
    assert_eq!(name(&scene, SOMEWHERE).as_deref(), Some("www.a.test"));
    assert_eq!(name(&scene, [192, 0, 2, 9]), None, "not an answer to the question");
    scene.pass(Duration::from_secs(120));
    assert_eq!(name(&scene, SOMEWHERE), None);
}

#[test]
fn unknown_types_pass_as_they_are() {
    let mut scene = Scene::new(1);
    scene.send(&query("a.test", 65_280));
    let asked = scene.asked();
    scene.reply(&asked, &Reply::to(&asked).record(65_280, 60, b"\xc0\x0c\xff\x00").done());
    let answer = scene.answers.pop_front().unwrap().message;
    assert!(answer.ends_with(b"\0\x04\xc0\x0c\xff\x00"));
}

#[test]
fn questions_without_recursion_stay_apart() {
    let mut scene = Scene::new(1);
    let mut message = query("a.test", A);
    message[2] = 0;
    scene.send(&query("a.test", A));
    let with = scene.asked();
    scene.send(&message);
    let without = scene.asked();
    assert!(!Message::from_vec(&without.message).unwrap().metadata.recursion_desired);
    scene.reply(&without, &Reply::to(&without).soa(60, 60).done());
    scene.answer();
    assert_eq!(scene.server.cached().0, 0, "what an upstream knows by itself is not all");
    scene.reply(&with, &good(&with));
    scene.answer();
    scene.send(&message);
    scene.nothing_asked();
}

#[test]
fn an_upstream_loses_edns_only_when_that_helps() {
    let mut scene = Scene::new(1);
    scene.send(&query("a.test", A));
    let first = scene.asked();
    // All it takes to forge this is the id.
    let header = [&Reply::to(&first).rcode(1).done()[..4], &[0; 8]].concat();
    scene.reply(&first, &header);
    let second = scene.asked();
    scene.reply(&second, &Reply::to(&second).rcode(1).done());
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    scene.send(&query("b.test", A));
    assert!(Message::from_vec(&scene.asked().message).unwrap().edns.is_some());
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_other_ids() {
    let run = |seed| {
        let mut scene = Scene::new(2);
        scene.server = portreeve_dns::DnsServer::new(&config(2), &Limits::default(), seed);
        for nth in 0..20 {
            scene.send(&query(&format!("some-name-{nth}.test"), A));
        }
        scene.millis(7_000);
        let asked: Vec<_> = scene.asked.into_iter().map(|asked| asked.message).collect();
        (asked, scene.answers)
    };
    assert_eq!(run([1, 2]), run([1, 2]));
    let ids = |seed| -> Vec<_> { run(seed).0.iter().map(|m| [m[0], m[1]]).collect() };
    let (one, other) = (ids([1, 2]), ids([1, 3]));
    assert_eq!(one.len(), other.len());
    let equal = one.iter().zip(&other).filter(|(one, other)| one == other).count();
    assert!(equal <= 2, "{equal} of {} ids", one.len());
}
