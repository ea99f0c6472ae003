//! What can be seen of a running engine and changed while it runs, as whoever embeds the library
//! does it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use portreeve::{
    CaptureError, CaptureFilter, CaptureOptions, DnsChangeError, Engine, EngineEvent, Event,
    EventRecord, KillError, Limits, LimitsChangeError, MemoryOptions, MemoryPeer, StaticRecord,
    Unpublish, memory_link,
};

const SOON: Duration = Duration::from_secs(5);

fn engine() -> (Engine, MemoryPeer) {
    let (link, peer) = memory_link(&MemoryOptions::default()).unwrap();
    (Engine::builder().link(link).start().unwrap(), peer)
}

fn publish(engine: &Engine) -> (portreeve::PublishedPort, SocketAddr) {
    let port = engine.publish_spec(&"127.0.0.1::80".parse().unwrap()).unwrap().remove(0);
    let address = port.host.socket_addr().unwrap();
    (port, address)
}

fn client(engine: &Engine, address: SocketAddr) -> TcpStream {
    let flows = engine.flows().len();
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    eventually("a flow", || engine.flows().len() > flows);
    client
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

/// A frame of the guest's with nothing but a header in front.
fn frame(source: [u8; 6], ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend([0xff; 6]);
    frame.extend(source);
    frame.extend(ethertype.to_be_bytes());
    frame.extend([0; 46]);
    frame
}

#[test]
fn a_reader_that_comes_late_sees_what_is_kept() {
    let (engine, _guest) = engine();
    let (first, _) = publish(&engine);
    engine.keep_events();
    let (second, _) = publish(&engine);
    engine.unpublish(first.id, Unpublish::Drain).unwrap();
    let mut events = engine.events_since(0);
    let mut next = || events.next_timeout(SOON).map(|record| (record.seq, record.event));
    assert_eq!(next(), Some((1, Event::Published(second))));
    assert_eq!(next(), Some((2, Event::Unpublished(first))));
    let mut again = engine.events_since(1);
    assert_eq!(again.next_timeout(SOON).map(|record| record.seq), Some(2));
    engine.stop();
    assert_eq!(again.next(), None);
}

#[test]
fn a_task_is_told_of_events() {
    let (engine, _guest) = engine();
    let mut events = engine.events();
    let mut context = Context::from_waker(Waker::noop());
    assert!(events.poll_next(&mut context).is_pending());
    publish(&engine);
    let mut seen = None;
    eventually("the event", || match events.poll_next(&mut context) {
        Poll::Ready(Some(EventRecord { event, .. })) => {
            seen = Some(event);
            true
        }
        Poll::Ready(None) => panic!("the engine has not stopped"),
        Poll::Pending => false,
    });
    assert!(matches!(seen, Some(Event::Published(_))), "{seen:?}");
}

#[test]
fn one_flow_is_ended_and_the_others_are_not() {
    let (engine, _guest) = engine();
    let (_, address) = publish(&engine);
    let mut doomed = client(&engine, address);
    let local = doomed.local_addr().unwrap();
    let mut other = client(&engine, address);
    other.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let flow = engine.flows().into_iter().find(|flow| flow.client == Some(local)).unwrap();
    assert_eq!(flow.id.to_string().parse(), Ok(flow.id));
    engine.kill(flow.id).unwrap();
    let error = doomed.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(engine.kill(flow.id), Err(KillError::Unknown(flow.id)));
    assert!(engine.flow(flow.id).is_none());
    assert_eq!(other.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn ports_and_counters_are_told() {
    let (engine, _guest) = engine();
    let (port, address) = publish(&engine);
    let held = client(&engine, address);
    let status = engine.port_status().unwrap();
    assert_eq!((status.len(), status[0].counters.flows), (1, 1));
    engine.unpublish(port.id, Unpublish::Drain).unwrap();
    let status = engine.port_status().unwrap();
    assert_eq!(status[0].state, portreeve::api::PortState::Draining);
    assert_eq!(status[0].port, port);
    let stats = engine.stats().unwrap();
    assert_eq!((stats.flows.active, stats.flows.tcp_by_phase["dialing_guest"]), (1, 1));
    assert_eq!((stats.driver.accepted, stats.driver.listeners), (1, 0));
    assert!(stats.driver.busy_seconds > 0.0);
    engine.kill(engine.flows()[0].id).unwrap();
    drop(held);
    eventually("the port is gone", || engine.port_status().unwrap().is_empty());
    assert_eq!(engine.stats().unwrap().flows.refused, 1);
}

#[test]
fn limits_change_while_the_engine_runs() {
    let (engine, _guest) = engine();
    let mut events = engine.events();
    let (_, address) = publish(&engine);
    let before = engine.limits().unwrap();
    let one = Limits { max_flows: 1, ..before.clone() };
    assert_eq!(engine.set_limits(one.clone()), Ok(vec!["max_flows"]));
    let _held = client(&engine, address);
    let mut refused = TcpStream::connect(address).unwrap();
    refused.set_read_timeout(Some(SOON)).unwrap();
    let error = refused.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let told: Vec<Event> = std::iter::from_fn(|| events.next_timeout(Duration::from_millis(200)))
        .map(|record| record.event)
        .collect();
    let settings = vec!["limits.max_flows".to_owned()];
    assert!(told.contains(&Event::Reconfigured { settings }), "{told:?}");
    let reached = |event: &Event| {
        matches!(event, Event::Engine(EngineEvent::LimitReached { limit: "max_flows", .. }))
    };
    assert!(told.iter().any(reached), "{told:?}");

    let wrong = Limits { max_flows: 0, ..before.clone() };
    assert!(matches!(engine.set_limits(wrong), Err(LimitsChangeError::Invalid(_))));
    let rings = Limits { to_guest_ring: 1 << 16, max_flows: 7, ..before };
    let error = engine.set_limits(rings).unwrap_err();
    assert_eq!(error, LimitsChangeError::NeedsRestart(vec!["to_guest_ring"]));
    assert_eq!(engine.limits(), Some(one), "all or nothing");
}

#[test]
fn names_are_added_and_removed() {
    let (engine, _guest) = engine();
    let record = StaticRecord {
        name: "db.test".parse().unwrap(),
        addresses: vec!["10.0.0.7".parse().unwrap()],
        ttl: 60,
    };
    engine.dns_set_record(record.clone()).unwrap();
    let moved = StaticRecord { addresses: vec!["10.0.0.8".parse().unwrap()], ..record };
    engine.dns_set_record(moved.clone()).unwrap();
    let records = engine.dns_records().unwrap().records;
    assert!(records.contains(&moved), "{records:?}");
    assert_eq!(records.iter().filter(|record| record.name == moved.name).count(), 1);
    assert_eq!(engine.dns_remove_record(&moved.name), Ok(true));
    assert_eq!(engine.dns_remove_record(&moved.name), Ok(false));
    let empty = StaticRecord { addresses: vec![], ..moved };
    assert!(matches!(engine.dns_set_record(empty), Err(DnsChangeError::Invalid(_))));
    assert_eq!(engine.dns_cache(10).unwrap().total, 0);
    assert_eq!(engine.dns_flush(), Some(0));
    assert!(engine.dns_status().is_some());
}

#[test]
fn a_capture_sees_frames_both_ways_and_what_was_dropped() {
    let (engine, mut guest) = engine();
    let mut capture = engine.capture(CaptureOptions::default()).unwrap();
    let filter: CaptureFilter = "dropped".parse().unwrap();
    let options = CaptureOptions { filter, snap_length: 20, ..CaptureOptions::default() };
    let mut dropped = engine.capture(options).unwrap();
    let guest_mac = [2, 0, 0, 0, 0, 9];
    guest.send_frame(&frame(guest_mac, 0x1234)).unwrap();
    let seen = capture.next_timeout(SOON).unwrap();
    assert_eq!((seen.from_guest, seen.length, seen.data.len()), (true, 60, 60));
    assert_eq!(seen.verdict, Some("source_mac"));
    let seen = dropped.next_timeout(SOON).unwrap();
    assert_eq!((seen.length, seen.data.len(), seen.verdict), (60, 20, Some("source_mac")));

    let (_, address) = publish(&engine);
    let _client = client(&engine, address);
    let seen = capture.next_timeout(SOON).unwrap();
    assert_eq!((seen.from_guest, seen.verdict), (false, None), "the engine looks for its guest");
    assert_eq!(engine.stats().unwrap().driver.captures, 2);
    assert!(dropped.next_timeout(Duration::from_millis(20)).is_none());

    let more: Vec<_> = (0..6).map(|_| engine.capture(CaptureOptions::default())).collect();
    assert!(more.iter().all(Result::is_ok));
    let error = engine.capture(CaptureOptions::default()).unwrap_err();
    assert_eq!(error, CaptureError::TooMany { limit: 8 });
    drop(more);
    eventually("there is room again", || {
        guest.send_frame(&frame(guest_mac, 0x1234)).unwrap();
        engine.capture(CaptureOptions::default()).is_ok()
    });
    let handle = engine.handle();
    engine.stop();
    assert!(capture.last().is_some_and(|frame| frame.verdict.is_some()));
    assert_eq!(handle.capture(CaptureOptions::default()).unwrap_err(), CaptureError::Stopped);
}
