//! Events and captures against a server in this process: pieces, ends, breaks, waiting.

mod server;

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use portreeve_client::{CaptureOptions, Client, Error, EventFilter};
use portreeve_types::api::EventBody;
use server::{Server, say};

const NDJSON: &str = "application/x-ndjson";
const PCAPNG: &str = "application/x-pcapng";
const LONG: Duration = Duration::from_secs(10);

fn client(server: &Server) -> Client {
    Client::at(&server.socket).expect("a client").with_timeout(LONG)
}

/// A head and a body in chunks, without the end of the chunks.
fn chunked(media_type: &str, chunks: &[&str]) -> String {
    let mut text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for chunk in chunks {
        text.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    text
}

fn event(seq: u64) -> String {
    format!("{{\"seq\":{seq},\"time\":\"2026-01-02T03:04:05Z\",\"kind\":\"link_up\"}}\n")
}

#[test]
fn events_come_however_they_were_cut_until_the_engine_ends() {
    let server = Server::raw(|_, stream| {
        let (one, two) = (event(1), event(2));
        let later = "{\"seq\":3,\"time\":\"2026-01-02T03:04:05Z\",\"kind\":\"moon_up\"}\n";
        let pieces = [&one[..9], &format!("{}{}", &one[9..], &two[..5]), &two[5..], "\n", later];
        say(stream, &chunked(NDJSON, &pieces));
        say(stream, "0\r\n\r\n");
    });
    let filter = EventFilter { since: Some(0), ..EventFilter::default() };
    let mut events = client(&server).events(filter).expect("a stream");
    let seqs: Vec<_> = events.by_ref().map(|event| event.expect("an event").seq).collect();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(events.last_seq(), Some(2));
    assert!(events.next().is_none());
}

#[test]
fn a_reader_goes_on_behind_the_last_event_it_saw() {
    let server = Server::raw(|nth, stream| {
        let seq = 5 + nth as u64;
        // Whole lines, and a beginning that is not to be mixed up with what comes next.
        say(stream, &chunked(NDJSON, &[&event(seq), "{\"seq\":"]));
    });
    let mut events = client(&server).events(EventFilter::default()).expect("a stream");
    assert_eq!(events.next().expect("one").expect("an event").seq, 5);
    let broken = events.next().expect("one").expect_err("it broke off");
    assert!(matches!(broken, Error::Interrupted { .. }), "{broken:?}");
    assert!(events.next().is_none(), "an error is the end");
    events.resume().expect("a stream");
    assert_eq!(events.next().expect("one").expect("an event").seq, 6);
    let asked: Vec<_> = server.asked().into_iter().map(|(line, _)| line).collect();
    assert_eq!(asked, ["GET /v1/events?follow=true", "GET /v1/events?since=5&follow=true"]);
}

#[test]
fn waiting_for_an_event_has_a_bound_and_loses_nothing() {
    let (proceed, gate) = mpsc::channel::<()>();
    let server = Server::raw(move |_, stream| {
        let text = event(1);
        say(stream, &chunked(NDJSON, &[&text[..20]]));
        let _ = gate.recv_timeout(LONG);
        say(stream, &format!("{:x}\r\n{}\r\n0\r\n\r\n", text.len() - 20, &text[20..]));
    });
    let mut events = client(&server).events(EventFilter::default()).expect("a stream");
    for _ in 0..2 {
        assert!(events.next_timeout(Duration::from_millis(20)).is_pending());
    }
    proceed.send(()).expect("a server");
    let Poll::Ready(Some(Ok(record))) = events.next_timeout(LONG) else { panic!("no event") };
    assert_eq!((record.seq, record.body), (1, EventBody::LinkUp));
    assert!(matches!(events.next_timeout(LONG), Poll::Ready(None)));
}

#[test]
fn a_line_without_end_and_a_line_that_is_no_event_are_errors() {
    let server = Server::raw(|nth, stream| {
        say(stream, &chunked(NDJSON, &[]));
        let chunk = match nth {
            0 => "10000\r\n".to_owned() + &" x".repeat(1 << 15) + "\r\n",
            1 => "3\r\n{}\n\r\n".to_owned(),
            _ => "2\r\n{}\r\n0\r\n\r\n".to_owned(),
        };
        while stream.write_all(chunk.as_bytes()).is_ok() && nth == 0 {}
    });
    let mut events = client(&server).events(EventFilter::default()).expect("a stream");
    let error = events.next().expect("one").expect_err("too long");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    for what in ["no event", "no line end"] {
        events.resume().expect("a stream");
        let error = events.next().expect("one").expect_err(what);
        assert!(matches!(error, Error::Protocol { .. }), "{what}: {error:?}");
    }
}

#[test]
fn a_stream_of_another_kind_is_not_begun() {
    let server = Server::http(|_| (200, "text/html", "<p>".to_owned()));
    let client = client(&server);
    let events = client.events(EventFilter::default());
    assert!(matches!(events, Err(Error::Protocol { .. })), "{events:?}");
    let capture = client.capture(&CaptureOptions::default());
    assert!(matches!(capture, Err(Error::Protocol { .. })), "{capture:?}");
}

#[test]
fn a_capture_is_read_as_a_file_and_waits_as_long_as_was_said() {
    let (proceed, gate) = mpsc::channel::<()>();
    let server = Server::raw(move |_, stream| {
        say(stream, &chunked(PCAPNG, &["abc"]));
        let _ = gate.recv_timeout(LONG);
        say(stream, "3\r\ndef\r\n0\r\n\r\n");
    });
    let mut capture = client(&server).capture(&CaptureOptions::default()).expect("a capture");
    let mut buffer = [0; 2];
    assert_eq!(capture.read(&mut buffer).expect("bytes"), 2);
    assert_eq!((capture.read(&mut buffer).expect("bytes"), buffer[0]), (1, b'c'));
    capture.set_timeout(Some(Duration::from_millis(20)));
    let waited = capture.read(&mut buffer).expect_err("nothing there");
    assert_eq!(waited.kind(), ErrorKind::TimedOut);
    proceed.send(()).expect("a server");
    capture.set_timeout(Some(LONG));
    let mut rest = String::new();
    capture.read_to_string(&mut rest).expect("bytes");
    assert_eq!(rest, "def");
}

#[test]
fn a_capture_that_breaks_off_says_so_once() {
    let server = Server::raw(|_, stream| say(stream, &chunked(PCAPNG, &["abc"])));
    let mut capture = client(&server).capture(&CaptureOptions::default()).expect("a capture");
    let mut bytes = Vec::new();
    let error = capture.read_to_end(&mut bytes).expect_err("no end");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    assert!(matches!(inner, Some(Error::Interrupted { .. })), "{error:?}");
    assert_eq!(bytes, b"abc");
    assert_eq!(capture.read(&mut [0; 9]).expect("the end"), 0);
}

#[test]
fn a_dropped_stream_is_closed() {
    let (closed, gate) = mpsc::channel::<bool>();
    let server = Server::raw(move |_, stream| {
        say(stream, &chunked(NDJSON, &[&event(1)]));
        let ended = stream.read(&mut [0]).is_ok_and(|read| read == 0);
        let _ = closed.send(ended);
    });
    let client = client(&server);
    let mut events = client.events(EventFilter::default()).expect("a stream");
    assert!(events.next().expect("one").is_ok());
    drop(events);
    assert_eq!(gate.recv_timeout(LONG), Ok(true));
}
