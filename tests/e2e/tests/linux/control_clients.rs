//! Clients of the control API that are idle, slow or send garbage: they neither hold up the guest's
//! traffic nor keep others from being answered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use portreeve_e2e::client::exchange;
use portreeve_e2e::control::{Api, Place};
use portreeve_e2e::machine::User;
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

/// The guest's traffic and the API both go on: within a time that no time limit can hide in.
fn both_answer(api: &Api, run: &portreeve_e2e::run::Running) {
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(exchange(run.tcp(80, Family::V4), "hello").unwrap(), "hello\n");
        api.get("/v1/health");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_thousand_idle_clients() {
    portreeve::raise_fd_limit().unwrap();
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text()]).publish("0:80");
        let run = run.serve(&["line@80"]).up();
        let api = place.api();
        let mut idle: Vec<UnixStream> = (0..1_000).map(|_| api.connect()).collect();
        both_answer(&api, &run);
        // As many again, half of them with half a head: whoever was idle for longest has to go.
        for number in 0..1_000 {
            let mut stream = api.connect();
            if number % 2 == 0 {
                stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n").unwrap();
            }
            idle.push(stream);
        }
        both_answer(&api, &run);
        let fds = std::fs::read_dir(format!("/proc/{}/fd", run.id())).map(|fds| fds.count());
        assert!(fds.unwrap_or(0) < 1_024 + 200, "the API's clients took the guest's descriptors");
        assert_eq!(idle[0].read(&mut [0; 1]).unwrap(), 0, "the oldest was closed");
        drop(idle);
        both_answer(&api, &run);
        run.finish();
    });
}

#[test]
fn slow_heads_and_slow_bodies_are_given_up() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text()]).publish("0:80");
        let run = run.serve(&["line@80"]).up();
        let api = place.api();
        let started = Instant::now();
        let mut head = api.connect();
        head.write_all(b"GET /v1/health HTTP/1.1\r\n").unwrap();
        let mut body = api.connect();
        let request = "POST /v1/ports HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                       content-length: 20\r\n\r\n{";
        body.write_all(request.as_bytes()).unwrap();
        // A byte now and then does not buy more time.
        let mut more = head.try_clone().unwrap();
        let drip = std::thread::spawn(move || {
            while started.elapsed() < Duration::from_secs(15) {
                if more.write_all(b"x").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        both_answer(&api, &run);
        let mut answer = Vec::new();
        body.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        match head.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        let took = started.elapsed();
        assert!((9..15).contains(&took.as_secs()), "{took:?}");
        drip.join().unwrap();
        run.finish();
    });
}

#[test]
fn garbage() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text()]).publish("0:80");
        let run = run.serve(&["line@80"]).up();
        let api = place.api();
        let long_line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
        let many_lines = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
        let garbage: &[&[u8]] = &[
            b"\0",
            &[0xff; 5_000],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /v1/health HTTP/9.9\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST /v1/ports HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            b"POST /v1/ports HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            b"POST /v1/ports HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
              transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            long_line.as_bytes(),
            many_lines.as_bytes(),
        ];
        for bytes in garbage {
            let mut stream = api.connect();
            // The server may have hung up before it has all.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            assert!(refused, "{shown:?}: {answer}");
        }
        both_answer(&api, &run);
        run.finish();
    });
}

#[test]
fn streams_have_a_bound_and_their_places_come_back() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text()]).publish("0:80");
        let run = run.serve(&["line@80"]).up();
        let api = place.api();
        for (path, most) in [("/v1/events", 32), ("/v1/capture", 4)] {
            let streams: Vec<_> = (0..most).map(|_| api.open(path)).collect();
            assert_eq!(api.ask("GET", path, None).problem(), "too-many");
            both_answer(&api, &run);
            drop(streams);
            portreeve_e2e::machine::eventually("a place is free again", || {
                let mut stream = api.connect();
                stream
                    .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
                    .unwrap();
                let mut status = [0; 12];
                stream.read_exact(&mut status).unwrap();
                &status == b"HTTP/1.1 200"
            });
        }
        run.finish();
    });
}
