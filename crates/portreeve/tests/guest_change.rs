//! Guests that come and go while their link lives on, as whoever embeds the library sees them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use portreeve::{Engine, Event, Events, SocketOptions, stream};

const DEADLINE: Duration = Duration::from_secs(10);

/// The next event about the guest.
fn next(events: &mut Events) -> Event {
    loop {
        let event = events.next_timeout(DEADLINE).expect("an event").event;
        if matches!(event, Event::GuestArrived | Event::GuestGone { .. }) {
            return event;
        }
    }
}

fn gone(event: &Event) -> (&str, bool) {
    match event {
        Event::GuestGone { cause, for_good } => (cause, *for_good),
        other => panic!("{other:?}"),
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("portreeve-{name}-{}", std::process::id()))
}

#[test]
fn a_listening_link_outlives_its_guests_and_tells_why_they_went() {
    let path = path("listening");
    let link = stream::listen(&path, &SocketOptions::default()).unwrap();
    let engine = Engine::builder().link(link).start().unwrap();
    let mut events = engine.events();
    let ports = engine.publish_spec(&"127.0.0.1::80".parse().unwrap()).unwrap();
    for (bytes, why) in [
        (&b"hello there"[..], "(its length reads \"hell\": text?)"),
        (&[0; 4], "a frame of length 0"),
        (&[], "it closed the connection"),
    ] {
        let mut guest = UnixStream::connect(&path).unwrap();
        assert_eq!(next(&mut events), Event::GuestArrived);
        // A client that is still waiting for that guest to answer.
        let mut client = TcpStream::connect(ports[0].host.socket_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        while engine.flows().is_empty() {
            std::thread::yield_now();
        }
        guest.write_all(bytes).unwrap();
        drop(guest);
        let event = next(&mut events);
        let (cause, for_good) = gone(&event);
        assert!(cause.contains(why) && !for_good, "{cause}");
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(engine.flows().is_empty());
        assert_eq!(engine.ports(), ports);
    }
    assert_eq!(engine.stats().unwrap().driver.guests_gone, 3);
    engine.stop();
    assert!(!path.exists());
}

#[test]
fn a_connected_link_ends_with_its_guest() {
    let (guest, theirs) = UnixStream::pair().unwrap();
    let link = stream::from_fd(theirs.into(), &SocketOptions::default()).unwrap();
    let engine = Engine::builder().link(link).start().unwrap();
    let mut events = engine.events();
    drop(guest);
    let event = next(&mut events);
    assert_eq!(gone(&event), ("the guest is gone: it closed the connection", true));
    // Nothing is left to do, and nothing is done.
    let before = engine.stats().unwrap().driver.turns;
    std::thread::sleep(Duration::from_millis(200));
    let turns = engine.stats().unwrap().driver.turns - before;
    assert!(turns < 20, "{turns} turns of nothing");
    engine.stop();
}
