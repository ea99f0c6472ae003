//! Upstreams that lie, flood, loop and scramble: bounded cost, and an answer that is safe.

mod support;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use portreeve_dns::{Carrier, DnsEvent};
use portreeve_types::{DnsConfig, Limits};

use support::*;

/// What an upstream answers.
type Script = fn(&Asked) -> Vec<u8>;

/// What one upstream's answer to an A query amounts to.
fn amounts_to(reply: impl Fn(&Asked) -> Vec<u8>) -> (Scene, hickory_proto::op::Message) {
    let mut scene = Scene::new(1);
    scene.send(&with_edns(query("a.test", A), 1232, false, b""));
    let asked = scene.asked();
    scene.reply(&asked, &reply(&asked));
    let answer = scene.answer();
    scene.quiet();
    (scene, answer)
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    let table: [(&str, Script); 8] = [
        ("alias of itself", |asked| Reply::to(asked).record(CNAME, 60, &[0xc0, 12]).done()),
        ("alias loop", |asked| {
            let reply = Reply::to(asked).record(CNAME, 60, &wire("b.test"));
            reply.of(&wire("b.test"), CNAME, 60, &[0xc0, 12]).done()
        }),
        ("long chain", |asked| {
            let reply = Reply::to(asked).record(CNAME, 60, &wire("0.test"));
            (0..20)
                .fold(reply, |reply, nth| {
                    let owner = wire(&format!("{nth}.test"));
                    reply.of(&owner, CNAME, 60, &wire(&format!("{}.test", nth + 1)))
                })
                .done()
        }),
        ("pointer to itself", |asked| {
            let here = 0xc000 | (Reply::to(asked).done().len() as u16);
            Reply::to(asked).of(&here.to_be_bytes(), A, 60, &[1, 2, 3, 4]).done()
        }),
        ("record beyond the end", |asked| {
            Reply::to(asked).record(A, 60, &[1, 2, 3, 4]).edit(|m| m.truncate(m.len() - 1)).done()
        }),
        ("missing record", |asked| Reply::to(asked).edit(|m| m[7] = 1).done()),
        ("short address", |asked| Reply::to(asked).record(A, 60, &[1, 2, 3]).done()),
        ("name beyond its data", |asked| {
            Reply::to(asked).record(CNAME, 60, b"\x01b\xc0").record(A, 60, &[0; 4]).done()
        }),
    ];
    for (what, reply) in table {
        let (scene, answer) = amounts_to(reply);
        assert_eq!(code(&answer), ResponseCode::ServFail, "{what}");
        assert_eq!(scene.server.counters().malformed_responses, 1, "{what}");
        assert!(answer.answers.is_empty(), "{what}");
    }
}

#[test]
fn the_longest_answers_are_read_and_longer_ones_are_not() {
    for (octets, expected) in [(0, ResponseCode::NoError), (1, ResponseCode::ServFail)] {
        let (_, answer) = amounts_to(|asked| {
            let reply = Reply::to(asked).record(A, 60, &[93, 184, 216, 34]);
            let rest = 65_535 - reply.clone().done().len() - 12 + octets;
            reply.record(65_280, 60, &vec![7; rest]).done()
        });
        assert_eq!(code(&answer), expected);
    }
}

#[test]
fn answers_that_point_inside_are_withheld() {
    let mapped = "::ffff:169.254.169.254".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let hint = [b"\0\x01\0\0\x04\0\x08\x5d\xb8\xd8\x22".as_slice(), &[127, 0, 0, 1]].concat();
    let table: [(u16, &[u8]); 6] = [
        (A, &[127, 0, 0, 1]),
        (A, &[0, 0, 0, 0]),
        (A, &[169, 254, 169, 254]),
        (AAAA, &mapped),
        (AAAA, &[0; 16]),
        (HTTPS, &hint),
    ];
    for (kind, data) in table {
        let (scene, answer) = amounts_to(|asked| {
            Reply::to(asked).record(A, 60, &[93, 184, 216, 34]).record(kind, 60, data).done()
        });
        assert_eq!(code(&answer), ResponseCode::NoError);
        assert!(answer.answers.is_empty(), "the sound one too: its sender is not to be trusted");
        assert_eq!((answer.authorities.len(), extended_error(&answer)), (1, Some(15)));
        assert!(matches!(scene.events[..], [DnsEvent::RebindBlocked { .. }]));
        assert!(scene.server.names().is_empty());
    }
    // In the additional section it is left away, and the answer stays.
    let (_, answer) = amounts_to(|asked| {
        let reply = Reply::to(asked).record(A, 60, &[93, 184, 216, 34]).additional();
        reply.of(&wire("mx.test"), A, 60, &[127, 0, 0, 1]).edns(b"").done()
    });
    assert_eq!((answer.answers.len(), answer.additionals.len()), (1, 0));
    // Private addresses are a matter of configuration.
    for (rebind_private, found) in [(false, 1), (true, 0)] {
        let config = DnsConfig { rebind_private, ..config(1) };
        let mut scene = Scene::with(&config, &Limits::default());
        let answer = scene.resolve("intranet.test", [10, 1, 2, 3], 60);
        assert_eq!(answer.answers.len(), found);
    }
    let config = DnsConfig { rebind_allow: vec!["lvh.test".parse().unwrap()], ..config(1) };
    let mut scene = Scene::with(&config, &Limits::default());
    assert_eq!(scene.resolve("x.lvh.test", [127, 0, 0, 1], 60).answers.len(), 1);
}

#[test]
fn guesses_are_ignored_and_drive_the_question_to_tcp() {
    let mut scene = Scene::new(1);
    scene.send(&query("bank.test", A));
    let asked = scene.asked();
    let forged = Reply::to(&asked).record(A, 60, &[6, 6, 6, 6]);
    for nth in 0..10_000_u16 {
        let message = match nth % 4 {
            0 => forged.clone().edit(|m| m[1] ^= 1),
            1 => forged.clone().edit(|m| m[2] &= 0x7f),
            2 => forged.clone().edit(|m| m[13] = b'x'),
            _ => forged.clone().edit(|m| m[5] = 2),
        };
        scene.reply(&asked, &message.done());
    }
    assert!(scene.answers.is_empty());
    assert_eq!(scene.server.counters().mismatched_responses, 10_000);
    assert!(matches!(scene.events[..], [DnsEvent::ForgerySuspected { .. }]));
    let tcp = scene.asked();
    assert_eq!(tcp.carrier, Carrier::Tcp);
    scene.reply(&tcp, &Reply::to(&tcp).record(A, 60, &[93, 184, 216, 34]).done());
    assert_eq!(addresses(&scene.answer()), [IpAddr::from([93, 184, 216, 34])]);
    scene.quiet();
}

#[test]
fn a_stream_that_answers_something_else_is_given_up() {
    let mut scene = Scene::new(1);
    scene.send(&query("a.test", A));
    let udp = scene.asked();
    scene.reply(&udp, &Reply::to(&udp).truncated().done());
    let tcp = scene.asked();
    scene.reply(&tcp, &Reply::to(&tcp).edit(|m| m[0] ^= 1).done());
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    scene.quiet();
}

#[test]
fn an_upstream_cannot_keep_a_question_alive() {
    // Truncated over UDP for ever, and refused over TCP.
    let mut scene = Scene::new(3);
    let begin = scene.now;
    scene.send(&query("a.test", A));
    let mut asks = 0;
    while let Some(asked) = scene.asked.pop_front() {
        asks += 1;
        if asked.carrier == Carrier::Udp {
            scene.reply(&asked, &Reply::to(&asked).truncated().done());
        } else {
            scene.fail(&asked);
        }
    }
    assert_eq!(asks, 6, "each upstream once by either carrier");
    assert_eq!(scene.now, begin);
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    scene.quiet();
}

#[test]
fn memory_is_bounded_whatever_is_answered() {
    let limits = Limits {
        dns_cache_bytes: 100_000,
        dns_names: 50,
        dns_pending: 10,
        event_backlog: 10,
        ..Limits::default()
    };
    let mut scene = Scene::with(&config(2), &limits);
    for nth in 0..600 {
        scene.send(&query(&format!("n{nth}.test"), A));
        let Some(asked) = scene.asked.pop_front() else { continue };
        let reply = (0..nth as u8).fold(Reply::to(&asked), |reply, last| {
            reply.record(A, 86_400, &[192, 0, (nth >> 8) as u8, last])
        });
        scene.reply(&asked, &reply.done());
        assert!(scene.server.cached().1 <= 100_000);
        assert!(scene.server.names().len() <= 50);
    }
    assert!(scene.server.cached().0 > 10);
    assert_eq!(scene.answers.len(), 600);
    scene.quiet();
}
