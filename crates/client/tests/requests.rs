//! Requests against a server in this process: what is asked, what is made of answers, and of what
//! is no answer.

mod server;

use std::io::Write as _;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_client::{Client, Connections, Error, FlowFilter};
use portreeve_types::PublishId;
use portreeve_types::api::{DnsRecordBody, FlowOrigin, ProblemType};
use serde_json::json;
use server::{Server, say};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

fn client(server: &Server) -> Client {
    Client::at(&server.socket).expect("a client").with_timeout(Duration::from_secs(5))
}

/// Asks a server that says `text` to everybody and closes.
fn health_of(text: &'static str) -> Error {
    let server = Server::raw(move |_, stream| say(stream, text));
    client(&server).health().expect_err(text)
}

#[test]
fn every_method_asks_for_its_endpoint() {
    let server = Server::http(|_| (204, "", String::new()));
    let client = client(&server);
    let name = "db.internal".parse().expect("a name");
    let record = DnsRecordBody { addresses: vec!["10.0.0.1".parse().expect("one")], ttl: Some(5) };
    let limits = json!({"max_flows": 7}).as_object().cloned().expect("an object");
    // An empty answer is none of these types; what was asked is what counts.
    let _ = client.health();
    let _ = client.version();
    let _ = client.openapi();
    let _ = client.metrics();
    let _ = client.ports();
    let _ = client.port(PublishId(3));
    let _ = client.publish("0:80");
    client.unpublish(PublishId(3), Connections::Drain).expect("no content");
    client.unpublish(PublishId(3), Connections::Reset).expect("no content");
    let origin = Some(FlowOrigin::Host);
    let _ = client.flows(&FlowFilter { origin, after: Some(9), ..FlowFilter::default() });
    let _ = client.flow("12.3");
    client.kill_flow("../ports/3").expect("no content");
    let _ = client.dns();
    let _ = client.dns_cache(Some(5));
    client.flush_dns().expect("no content");
    let _ = client.dns_records();
    client.set_dns_record(&name, &record).expect("no content");
    client.remove_dns_record(&name).expect("no content");
    let _ = client.limits();
    let _ = client.change_limits(&limits);
    let _ = client.stats();
    let _ = client.config();
    let _ = client.reload();
    let asked: Vec<_> = server.asked().into_iter().map(|(line, body)| line + " " + &body).collect();
    let expected = [
        "GET /v1/health ",
        "GET /v1/version ",
        "GET /v1/openapi.json ",
        "GET /metrics ",
        "GET /v1/ports ",
        "GET /v1/ports/3 ",
        "POST /v1/ports {\"spec\":\"0:80\"}",
        "DELETE /v1/ports/3?connections=drain ",
        "DELETE /v1/ports/3?connections=reset ",
        "GET /v1/flows?origin=host&after=9 ",
        "GET /v1/flows/12.3 ",
        "DELETE /v1/flows/..%2Fports%2F3 ",
        "GET /v1/dns ",
        "GET /v1/dns/cache?limit=5 ",
        "DELETE /v1/dns/cache ",
        "GET /v1/dns/records ",
        "PUT /v1/dns/records/db.internal {\"addresses\":[\"10.0.0.1\"],\"ttl\":5}",
        "DELETE /v1/dns/records/db.internal ",
        "GET /v1/limits ",
        "PATCH /v1/limits {\"max_flows\":7}",
        "GET /v1/stats ",
        "GET /v1/config ",
        "POST /v1/reload ",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn an_answer_is_read_and_fields_of_later_versions_are_passed_over() {
    let server = Server::http(|_| {
        let body = json!({"status": "ok", "name": "web", "pid": 7, "mode": "run", "guest": true,
            "started": "2026-01-02T03:04:05Z", "mood": "fine"});
        (200, "Application/JSON; charset=utf-8", body.to_string())
    });
    let health = client(&server).health().expect("an answer");
    assert_eq!((health.name.as_str(), health.pid, health.guest), ("web", 7, true));
}

#[test]
fn a_refusal_keeps_its_words_whether_its_kind_is_known_or_not() {
    let server = Server::http(|line| {
        let kind = if line.contains("stats") { "unknown-moon" } else { "unknown-port" };
        let body = json!({"type": format!("urn:portreeve:problem:{kind}"), "title": "none",
            "status": 404, "detail": "no published port 7", "help": "look again"});
        (404, PROBLEM, body.to_string())
    });
    let client = client(&server);
    let error = client.port(PublishId(7)).expect_err("a problem");
    assert_eq!(error.problem(), Some(ProblemType::UnknownPort));
    let unknown = client.stats().expect_err("a problem");
    assert_eq!(unknown.problem(), Some(ProblemType::NotFound));
    for error in [error, unknown] {
        assert_eq!(error.to_string(), "no published port 7");
        assert_eq!(error.help().as_deref(), Some("look again"));
        assert!(!error.is_gone());
    }
}

#[test]
fn what_is_no_answer_of_the_api_is_told_as_that() {
    for (status, media_type, body) in [
        (200, JSON, "{"),
        (200, JSON, "[]"),
        (200, "text/html", "<p>"),
        (500, "text/plain", "oh\x1b[31m"),
        (404, PROBLEM, "{}"),
        (302, "", ""),
    ] {
        let server = Server::http(move |_| (status, media_type, body.to_owned()));
        let error = client(&server).health().expect_err(body);
        assert!(matches!(error, Error::Protocol { .. }), "{status} {body}: {error:?}");
        let text = error.to_string();
        assert!(text.starts_with("GET /v1/health: not an answer of this API: "), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
    for garbage in ["SSH-2.0-x\r\n", "\0\0\0\0", "HTTP/1.1 abc\r\n\r\n"] {
        let error = health_of(garbage);
        assert!(matches!(error, Error::Protocol { .. }), "{garbage:?}: {error:?}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let short: &'static str = format!("{head}content-length: 99\r\n\r\n{{\"status\"").leak();
    let chunk: &'static str = format!("{head}transfer-encoding: chunked\r\n\r\n2\r\n{{}}").leak();
    for cut in ["", "HTTP/1.1 200", short, chunk] {
        let error = health_of(cut);
        assert!(matches!(error, Error::Interrupted { .. }), "{cut:?}: {error:?}");
    }
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let server = Server::raw(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
        let spaces = [b' '; 1 << 16];
        while stream.write_all(&spaces).is_ok() {}
    });
    let error = client(&server).with_timeout(Duration::from_secs(60)).health();
    assert!(matches!(error, Err(Error::TooLarge { .. })), "{error:?}");
    let server = Server::raw(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"x-more: 0123456789abcdef\r\n").is_ok() {}
    });
    let error = client(&server).health().expect_err("endless headers");
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[test]
fn a_server_that_never_answers_is_waited_for_as_long_as_was_said() {
    let (_end, ended) = mpsc::channel::<()>();
    let ended = std::sync::Mutex::new(ended);
    let server = Server::raw(move |nth, stream| {
        if nth > 0 {
            say(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{");
        }
        // Holds the connection open until the test is over, or this client has gone.
        let _ = ended.lock().map(|ended| ended.recv_timeout(Duration::from_secs(2)));
    });
    let patience = Duration::from_millis(300);
    let client = client(&server).with_timeout(patience);
    for what in ["nothing", "the beginning of an answer"] {
        let begin = Instant::now();
        let error = client.health().expect_err(what);
        assert!(matches!(error, Error::TimedOut { .. }), "{what}: {error:?}");
        assert!((patience..patience * 5).contains(&begin.elapsed()), "{what}");
        assert_eq!(error.to_string(), "GET /v1/health: no answer within 300ms");
    }
}

#[test]
fn a_socket_that_nobody_serves_is_told_by_its_path() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("none.sock");
    let ask = || Client::at(&path).expect("a client").health().expect_err("nobody");
    for expected in ["No such file", "Connection refused"] {
        let error = ask();
        assert!(matches!(error, Error::Connect { .. }) && error.is_gone(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("none.sock: connecting: ") && text.contains(expected), "{text}");
        assert!(error.help().is_some());
        // A socket that was left behind.
        let _ = std::os::unix::net::UnixListener::bind(&path);
    }
}

#[test]
fn clones_ask_at_the_same_time() {
    let server = Server::raw(|_, stream| {
        say(stream, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    });
    let client = client(&server);
    thread::scope(|scope| {
        for _ in 0..8 {
            let client = client.clone();
            scope.spawn(move || {
                for _ in 0..20 {
                    client.flush_dns().expect("no content");
                }
            });
        }
    });
    assert_eq!(server.asked().len(), 160);
}
