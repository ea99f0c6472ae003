//! What can be seen of the name server, and what can be changed while it runs.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use portreeve_dns::{AnswerSource, CachedAnswer};
use portreeve_types::{DnsConfig, DnsStrategy, Limits, StaticRecord};

use support::*;

fn names(answers: &[CachedAnswer]) -> Vec<String> {
    answers.iter().map(|answer| answer.name.to_string()).collect()
}

fn record(name: &str, address: [u8; 4]) -> StaticRecord {
    StaticRecord { name: name.parse().expect("a name"), addresses: vec![address.into()], ttl: 60 }
}

#[test]
fn cached_answers_are_listed_by_their_last_use_as_long_as_they_are_good() {
    let mut scene = Scene::new(1);
    assert_eq!(scene.server.cached_answers(10, scene.now), []);
    scene.resolve("a.test", [198, 51, 100, 1], 30);
    scene.resolve("B.test", [198, 51, 100, 2], 300);
    scene.send(&query("none.test", AAAA));
    let asked = scene.asked();
    scene.reply(&asked, &Reply::to(&asked).rcode(3).authority().soa(600, 120).done());
    assert_eq!(code(&scene.answer()), ResponseCode::NXDomain);
    let listed = |scene: &Scene, limit| names(&scene.server.cached_answers(limit, scene.now));
    assert_eq!(listed(&scene, 10), ["none.test", "b.test", "a.test"]);
    scene.millis(10_000);
    scene.send(&query("a.test", A));
    scene.answer();
    assert_eq!(listed(&scene, 10), ["a.test", "none.test", "b.test"], "a use moves it up");
    assert_eq!(listed(&scene, 2), ["a.test", "none.test"]);
    assert_eq!(listed(&scene, 0), [""; 0]);
    let [first, second, third] = &scene.server.cached_answers(9, scene.now)[..] else {
        panic!("three answers")
    };
    assert_eq!((first.record_type, first.rcode, first.ttl), (A, 0, 20));
    assert_eq!(first.addresses, [IpAddr::from([198, 51, 100, 1])]);
    assert_eq!((second.record_type, second.rcode, second.ttl), (AAAA, 3, 110));
    assert!(second.addresses.is_empty());
    assert_eq!(third.ttl, 290);
    scene.millis(20_000);
    assert_eq!(listed(&scene, 10), ["none.test", "b.test"], "its time is over");
    // It is kept until somebody asks for it.
    assert_eq!(scene.server.flush(), 3);
    assert_eq!((listed(&scene, 10), scene.server.flush()), (vec![], 0));
}

#[test]
fn upstreams_are_listed_with_their_health() {
    let config = DnsConfig { strategy: DnsStrategy::Failover, ..config(2) };
    let mut scene = Scene::with(&config, &Limits::default());
    let listed = |scene: &Scene| {
        let of = scene.server.upstreams().into_iter();
        of.map(|server| (server.address, server.down, server.latency)).collect::<Vec<_>>()
    };
    assert_eq!(listed(&scene), [(upstream(0), false, None), (upstream(1), false, None)]);
    // The first fails three times in a row; the second answers.
    for nth in 0..3 {
        scene.send(&query(&format!("n{nth}.test"), A));
        let first = scene.asked();
        assert_eq!(first.server, upstream(0));
        assert!(!scene.server.upstreams()[0].down);
        scene.fail(&first);
        let second = scene.asked();
        scene.millis(20);
        scene.reply(&second, &Reply::to(&second).record(A, 60, &[198, 51, 100, 1]).done());
        scene.answer();
    }
    let fast = Some(Duration::from_millis(20));
    assert_eq!(listed(&scene), [(upstream(1), false, fast), (upstream(0), true, None)]);
}

#[test]
fn records_can_be_set_while_it_runs() {
    let config = DnsConfig { records: vec![record("db.test", [10, 0, 0, 1])], ..config(1) };
    let mut scene = Scene::with(&config, &Limits::default());
    assert!(scene.server.add_own_record(&record("gw.test", [10, 0, 2, 2])));
    assert_eq!(scene.server.records(), config.records);
    let address = |scene: &mut Scene, name: &str| {
        scene.send(&query(name, A));
        addresses(&scene.answer())
    };
    assert!(scene.server.set_record(&record("db.test", [10, 0, 0, 9])));
    assert!(scene.server.set_record(&record("app.test", [10, 0, 0, 5])));
    assert_eq!(address(&mut scene, "db.test"), [IpAddr::from([10, 0, 0, 9])]);
    assert_eq!(address(&mut scene, "gw.test"), [IpAddr::from([10, 0, 2, 2])]);
    let expected = [record("app.test", [10, 0, 0, 5]), record("db.test", [10, 0, 0, 9])];
    assert_eq!(scene.server.records(), expected);
    assert!(scene.server.remove_record(&"db.test".parse().unwrap()));
    assert!(!scene.server.remove_record(&"gw.test".parse().unwrap()));
    scene.send(&query("db.test", A));
    assert_eq!(scene.asked().server, upstream(0), "the name is somebody else's again");
}

#[test]
fn lower_limits_hold_for_what_comes() {
    let mut scene = Scene::new(1);
    for nth in 0..20 {
        scene.resolve(&format!("n{nth}.test"), [198, 51, 100, nth], 300);
    }
    let (entries, bytes) = scene.server.cached();
    assert_eq!((entries, scene.server.names().len()), (20, 20));
    scene.send(&query("slow.test", A));
    scene.asked();
    let limits = Limits {
        dns_pending: 1,
        dns_timeout_ms: 500,
        dns_cache_bytes: bytes / 2,
        dns_names: 3,
        ..Limits::default()
    };
    scene.server.set_limits(&limits);
    assert!(scene.server.cached().1 <= bytes / 2 && scene.server.cached().0 >= 9);
    assert_eq!(scene.server.names().len(), 3);
    assert_eq!(names(&scene.server.cached_answers(1, scene.now)), ["n19.test"]);
    scene.send(&query("more.test", A));
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    assert_eq!((scene.server.counters().overflowed, scene.server.counters().over_limit), (1, 1));
    scene.millis(1_000);
    assert_eq!(scene.server.waiting(), 1, "it keeps the time it was given");
    scene.pass(Duration::from_secs(10));
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail);
    scene.asked.clear();
    scene.send(&query("later.test", A));
    scene.millis(500);
    assert_eq!(code(&scene.answer()), ResponseCode::ServFail, "after the shorter time");
}

#[test]
fn a_source_is_told_as_in_the_api() {
    for (source, text) in [
        (AnswerSource::Local, "local"),
        (AnswerSource::Cache, "cache"),
        (AnswerSource::Upstream(upstream(0)), "192.0.2.1:53"),
        (AnswerSource::Nobody, "nobody"),
    ] {
        assert_eq!(source.to_string(), text);
    }
}
