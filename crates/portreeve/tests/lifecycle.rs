//! The library's promises about starting, stopping and failing: nothing half-started stays, every
//! port is free again, every thread is gone.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use portreeve::{
    Engine, Event, MemoryOptions, PublishError, PublishSpec, RefuseReason, Unpublish,
    UnpublishError, memory_link,
};

fn engine() -> (Engine, portreeve::MemoryPeer) {
    let (link, peer) = memory_link(&MemoryOptions::default()).unwrap();
    (Engine::builder().link(link).start().unwrap(), peer)
}

fn spec(text: &str) -> PublishSpec {
    text.parse().unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn dropping_an_engine_frees_its_ports_and_resets_its_clients() {
    let (engine, _guest) = engine();
    let port = engine.publish_spec(&spec("127.0.0.1::80")).unwrap().remove(0);
    let address = port.host.socket_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while engine.flows().is_empty() {
        assert!(Instant::now() < deadline, "the client was never accepted");
        std::thread::yield_now();
    }
    let handle = engine.handle();
    engine.stop();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "cut off must not look finished");
    TcpListener::bind(address).expect("the port is free again");
    assert!(matches!(handle.publish_spec(&spec("80")), Err(PublishError::Stopped)));
    assert!(handle.counters().is_none() && handle.ports().is_empty());
    assert_eq!(handle.events().next(), None);
}

#[test]
fn engines_come_and_go_without_leaving_threads() {
    let before = threads();
    for _ in 0..20 {
        let (engine, _guest) = engine();
        engine.publish_spec(&spec("127.0.0.1::80/tcp+udp")).unwrap();
    }
    // Other tests of this program run threads of their own.
    assert!(threads() <= before + 12, "{before} threads before, {} after", threads());
}

#[test]
fn a_port_in_use_fails_the_call_and_leaves_nothing() {
    let (engine, _guest) = engine();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let free = {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    };
    // The second of two ports fails: the first must not stay.
    if address.port() == free + 1 {
        let text = format!("127.0.0.1:{free}-{}:80-81", address.port());
        engine.publish_spec(&spec(&text)).unwrap_err();
    }
    let text = format!("{address}:80");
    let error = engine.publish_spec(&spec(&text)).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("80/tcp"), "{error}");
    assert!(error.contains("in use") && error.contains("another host port"), "{error}");
    assert!(engine.ports().is_empty());
    // Loopback means both families; one that is taken takes the other with it.
    engine.publish_spec(&spec(&format!("{}:80", address.port()))).unwrap_err();
    assert!(engine.ports().is_empty());
    TcpListener::bind(("::1", address.port())).expect("nothing half-started stays");
}

#[test]
fn a_range_gives_its_first_free_port_or_says_that_none_is() {
    let (engine, _guest) = engine();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!("127.0.0.1:{port}-{port}:53/udp");
    // A range of one is that port.
    engine.publish_spec(&spec(&text)).unwrap_err();
    let last = port.saturating_add(20);
    let published = engine.publish_spec(&spec(&format!("127.0.0.1:{port}-{last}:53/udp"))).unwrap();
    let got = published[0].host.socket_addr().unwrap().port();
    assert!(port < got && got <= last);
}

#[test]
fn unpublishing_frees_the_port_at_once_and_is_reported() {
    let (engine, _guest) = engine();
    let mut events = engine.events();
    let port = engine.publish_spec(&spec("127.0.0.1::80")).unwrap().remove(0);
    let address = port.host.socket_addr().unwrap();
    engine.unpublish(port.id, Unpublish::Drain).unwrap();
    TcpListener::bind(address).expect("the listener is closed when the call returns");
    assert_eq!(engine.unpublish(port.id, Unpublish::Drain), Err(UnpublishError::Unknown(port.id)));
    let wait = Duration::from_secs(5);
    let mut next = || events.next_timeout(wait).map(|record| (record.seq, record.event));
    assert_eq!(next(), Some((1, Event::Published(port.clone()))));
    assert_eq!(next(), Some((2, Event::Unpublished(port))));
}

#[test]
fn a_silent_guest_is_a_reset_after_the_connect_timeout() {
    let (link, _guest) = memory_link(&MemoryOptions::default()).unwrap();
    let limits = portreeve::Limits { connect_timeout_ms: 300, ..Default::default() };
    let engine = Engine::builder().link(link).limits(limits).start().unwrap();
    let events = engine.events();
    let port = engine.publish_spec(&spec("127.0.0.1::80")).unwrap().remove(0);
    let started = Instant::now();
    let mut client = TcpStream::connect(port.host.socket_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(290), "{took:?}");
    let refused = events.take(10).find_map(|record| match record.event {
        Event::Engine(portreeve::EngineEvent::FlowRefused { reason, .. }) => Some(reason),
        _ => None,
    });
    assert_eq!(refused, Some(RefuseReason::GuestSilent));
}
