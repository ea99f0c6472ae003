//! The commands that ask a running engine, as they are run, against a control API without an
//! engine: what they ask, what they print, how they end. Tables at several widths are tested where
//! they are made.

mod engine;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine::{Answer, End, Engines, LONG};
use serde_json::{Value, json};

fn port(id: u32, host: &str, guest_port: u16, transport: &str) -> Value {
    json!({"id": id, "transport": transport, "guest_port": guest_port, "host": {"inet": host},
        "source": "gateway"})
}

fn status(mut port: Value) -> Value {
    port["state"] = "listening".into();
    port["counters"] = json!({"flows": 1, "opened": 2, "refused": 3, "bytes_to_guest": 4,
        "bytes_from_guest": 5});
    port
}

fn ports() -> Value {
    json!({"ports": [
        status(port(1, "127.0.0.1:9090", 90, "tcp")),
        status(port(2, "[::1]:9090", 90, "tcp")),
        status(port(3, "127.0.0.1:53", 53, "udp")),
        status(port(4, "127.0.0.1:53", 53, "tcp")),
    ]})
}

fn flow(id: &str) -> Value {
    json!({"id": id, "protocol": "tcp", "origin": "host", "phase": "relaying", "port": 1,
        "client": "127.0.0.1:50412", "guest": "10.0.2.100:80", "opened": "2026-01-02T03:04:05Z",
        "bytes_to_guest": 512, "bytes_from_guest": 2048})
}

fn event(seq: u64, kind: &str, mut more: Value) -> Vec<u8> {
    more["seq"] = seq.into();
    more["kind"] = kind.into();
    more["time"] = "2026-01-02T03:04:05.678901Z".into();
    format!("{more}\n").into_bytes()
}

fn health() -> Value {
    json!({"status": "ok", "name": "web", "pid": 4711, "mode": "run",
        "started": "2026-01-02T03:04:05Z", "guest": true})
}

fn stats() -> Value {
    let histogram = json!({"buckets": [], "count": 0, "sum": 0.0});
    let numbers = |names: &str| -> Value {
        names.split_whitespace().map(|name| (name.to_owned(), json!(0))).collect()
    };
    let mut flows =
        numbers("udp_clients mappings dials time_wait opened closed refused egress_refused");
    flows["active"] = 7.into();
    flows["tcp_by_phase"] = json!({"relaying": 7});
    json!({
        "traffic": numbers("frames_from_guest bytes_from_guest frames_to_guest bytes_to_guest \
            datagrams_to_guest datagrams_from_guest"),
        "flows": flows, "drops": [], "dial_seconds": histogram, "guest_rtt_seconds": histogram,
        "driver": numbers("turns busy_seconds accepted accept_errors link_errors guests_gone \
            link_discarded datagram_errors open_sockets listeners descriptor_limit control_queue \
            datagram_queue_bytes events_lost captures capture_lost"),
    })
}

/// An engine that has answers for everything that is asked for whole.
fn whole(request: &str) -> Answer {
    let dns = json!({"upstreams": [{"address": "1.1.1.1:53", "down": false}], "search": [],
        "cache_entries": 1, "cache_bytes": 99, "waiting": 0, "counters": dns_counters()});
    let (method, rest) = request.split_once(' ').expect("a target");
    let target = rest.split(['?', ' ']).next().unwrap_or_default();
    match (method, target) {
        ("GET", "/v1/health") => Answer::Json(health()),
        ("GET", "/v1/ports") => Answer::Json(ports()),
        ("GET", "/v1/stats") => Answer::Json(stats()),
        ("GET", "/v1/flows") => Answer::Json(json!({"flows": [flow("0.1")], "total": 1})),
        ("GET", "/v1/dns") => Answer::Json(dns),
        ("GET", "/v1/dns/cache") => Answer::Json(json!({"entries": [], "total": 0})),
        ("GET", "/v1/dns/records") => Answer::Json(json!({"records": [
            {"name": "db.internal", "addresses": ["10.0.0.1"], "ttl": 60}]})),
        ("GET", "/v1/limits") => Answer::Json(json!({"max_flows": 100})),
        ("PATCH", "/v1/limits") => Answer::Json(json!({"max_flows": 50})),
        ("GET", "/v1/config") => Answer::Json(json!({"name": "web", "mtu": null})),
        ("POST", "/v1/reload") => Answer::Json(json!({"applied": [{"setting": "a", "what": "b"}],
            "needs_restart": [], "failed": []})),
        ("GET", "/metrics") => Answer::Text("text/plain; version=0.0.4", "a_total 1\n".into()),
        ("DELETE" | "PUT", _) => Answer::Nothing,
        _ => Answer::Problem("not-found", 404, "no such thing"),
    }
}

fn dns_counters() -> Value {
    let names = "queries local cache_hits answered failed overflowed denied rejected dropped \
        rebind_blocked upstream_asks upstream_timeouts upstream_failures";
    names.split_whitespace().map(|name| (name.to_owned(), json!(0))).collect()
}

#[test]
fn every_command_that_prints_json_prints_json() {
    let engines = Engines::one("web", whole);
    for command in [
        "ps",
        "port web",
        "flows web",
        "stats web",
        "dns web",
        "dns web cache",
        "dns web records",
        "dns web flush",
        "dns web set a.b 10.0.0.1",
        "dns web remove a.b",
        "limits web",
        "limits web max_flows=50",
        "reload web",
        "config web",
        "unpublish web 9090",
        "kill web 0.1",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--json"]).collect();
        let out = engines.out(&words);
        let value: Result<Value, _> = serde_json::from_str(&out);
        assert!(value.is_ok(), "{command}: {out}");
        // And people get something else, which is no JSON and has no colours in a pipe.
        let out = engines.out(&command.split(' ').collect::<Vec<_>>());
        assert!(!out.contains('\x1b') && !out.starts_with(['{', '[']), "{command}: {out}");
    }
}

#[test]
fn an_engine_is_found_by_name_by_socket_or_because_it_is_the_only_one() {
    let engines = Engines::one("web", whole);
    let socket = engines.socket("web");
    let socket = socket.to_str().expect("UTF-8");
    for command in ["port web 90", "port 90", &format!("port -s {socket} 90"), "port web 90/tcp"] {
        let out = engines.out(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(out, "127.0.0.1:9090\n[::1]:9090\n", "{command}");
    }
    assert!(engines.out(&["ps"]).contains("localhost:9090->90/tcp"));
    assert_eq!(engines.out(&["ps", "-q"]), "web\n");

    engines.add("db", whole);
    assert_eq!(engines.out(&["ps", "--quiet"]), "db\nweb\n");
    let outcome = engines.run(&["port", "90"]);
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    assert!(outcome.err.contains("several engines run: say which"), "{outcome:?}");
    assert!(outcome.err.contains("help: running are: db, web"), "{outcome:?}");
    let outcome = engines.run(&["stats", "wbe"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("no engine called `wbe` runs"), "{outcome:?}");
    assert!(outcome.err.contains("help: running are: db, web"), "{outcome:?}");
}

#[test]
fn without_engines_there_is_nothing_to_ask() {
    let engines = Engines::none();
    assert_eq!(engines.out(&["ps", "-q"]), "");
    assert_eq!(engines.out(&["ps", "--json"]), "[]\n");
    assert!(engines.out(&["ps"]).starts_with("NAME"));
    let outcome = engines.run(&["stats"]);
    assert_eq!((outcome.code, outcome.err.contains("no engine runs")), (Some(1), true));
    let outcome = engines.run(&["stats", "../etc"]);
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    assert!(outcome.err.contains("is no name of an engine"), "{outcome:?}");
    let outcome = engines.run(&["stats", "-s", "/nowhere/x.sock"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("/nowhere/x.sock: connecting: No such file"), "{outcome:?}");
}

#[test]
fn publish_prints_what_run_prints_and_leaves_nothing_half_done() {
    let published = AtomicUsize::new(10);
    let engines = Engines::one("web", move |request| {
        if request.contains("taken") || request.contains(":1:1") {
            return Answer::Problem("bind-failed", 409, "127.0.0.1:1: address in use");
        }
        if !request.starts_with("POST") {
            return Answer::Nothing;
        }
        let id = published.fetch_add(2, Ordering::Relaxed) as u32;
        Answer::Json(json!({"ports": [
            port(id, "127.0.0.1:9090", 90, "tcp"), port(id + 1, "[::1]:9090", 90, "tcp")]}))
    });
    let two = "90/tcp -> 127.0.0.1:9090\n90/tcp -> [::1]:9090\n";
    assert_eq!(engines.out(&["publish", "web", "9090:90"]), two);
    assert_eq!(engines.out(&["publish", "9090:90"]), two);
    let asked = "POST /v1/ports {\"spec\":\"9090:90\"}";
    assert_eq!(engines.asked(), [asked, asked]);

    let outcome = engines.run(&["publish", "web", "9090:90", "127.0.0.1:1:1"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""), "{outcome:?}");
    assert!(outcome.err.contains("127.0.0.1:1: address in use"), "{outcome:?}");
    assert!(outcome.err.contains("help: try another"), "{outcome:?}");
    let reset = |id: u32| format!("DELETE /v1/ports/{id}?connections=reset");
    assert_eq!(engines.asked()[2..], [reset(14), reset(15)]);

    for (wrong, says) in [
        (&["publish", "web", "80:x"][..], "80:x"),
        (&["publish", "web"], "nothing to publish"),
        (&["publish"], "nothing to publish"),
    ] {
        let outcome = engines.run(wrong);
        assert_eq!(outcome.code, Some(125), "{outcome:?}");
        assert!(outcome.err.contains(says), "{outcome:?}");
    }
    assert_eq!(
        engines.asked(),
        <[String; 0]>::default(),
        "a wrong one is seen before any is asked"
    );
}

#[test]
fn unpublish_closes_what_is_meant_or_nothing() {
    let engines = Engines::one("web", whole);
    let closed = |asked: Vec<String>| asked.into_iter().skip(1).collect::<Vec<_>>();
    let drain = |id: u32| format!("DELETE /v1/ports/{id}?connections=drain");
    let out = engines.out(&["unpublish", "web", "9090/tcp", "[::1]:9090", "53/udp"]);
    let three = "90/tcp -> 127.0.0.1:9090\n90/tcp -> [::1]:9090\n53/udp -> 127.0.0.1:53\n";
    assert_eq!(out, three);
    assert_eq!(closed(engines.asked()), [drain(1), drain(2), drain(3)]);
    engines.out(&["unpublish", "id:4", "--reset"]);
    assert_eq!(closed(engines.asked()), ["DELETE /v1/ports/4?connections=reset"]);

    for (words, code, says) in [
        (&["web", "9090", "53"][..], 1, "`53` is published more than once"),
        (&["web", "9090", "53"], 1, "say which: 53/tcp, 53/udp"),
        (&["web", "9090", "80"], 1, "no published port `80`"),
        (&["web", "9090", "x"], 125, "`x` is no published port"),
        (&["web"], 125, "nothing to unpublish"),
        (&["web", "9090", "--drain", "--reset"], 125, "cannot be used with"),
    ] {
        let outcome = engines.run(&[&["unpublish"], words].concat());
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.err.contains(says), "{outcome:?}");
        assert!(closed(engines.asked()).is_empty(), "{words:?}");
    }
}

#[test]
fn a_port_that_is_not_published_is_not_there() {
    let engines = Engines::one("web", whole);
    let all = "90/tcp -> 127.0.0.1:9090\n90/tcp -> [::1]:9090\n53/udp -> 127.0.0.1:53\n\
        53/tcp -> 127.0.0.1:53\n";
    assert_eq!(engines.out(&["port", "web"]), all);
    assert_eq!(engines.out(&["port", "web", "53/udp"]), "127.0.0.1:53\n");
    let outcome = engines.run(&["port", "web", "90/udp"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""), "{outcome:?}");
    assert!(outcome.err.contains("port 90/udp of the guest is not published"), "{outcome:?}");
    assert!(engines.out(&["port", "-l"]).contains("listening"));
}

#[test]
fn flows_are_asked_for_page_after_page() {
    let engines = Engines::one("web", |request| match request {
        "GET /v1/ports" => Answer::Json(ports()),
        request if request.contains("after=5") => {
            Answer::Json(json!({"flows": [flow("6.1"), flow("7.1")], "total": 9}))
        }
        _ => Answer::Json(json!({"flows": [flow("1.1"), flow("2.1")], "next": 5, "total": 9})),
    });
    let ids = |out: &str| {
        let list: Value = serde_json::from_str(out).expect("JSON");
        let flows = list["flows"].as_array().expect("an array");
        flows.iter().map(|flow| flow["id"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&engines.out(&["flows", "web", "--json"])), ["1.1", "2.1", "6.1", "7.1"]);
    assert_eq!(engines.asked(), ["GET /v1/flows", "GET /v1/flows?after=5"]);
    let three = engines.out(&["flows", "--json", "--limit", "3", "--protocol", "tcp"]);
    assert_eq!(ids(&three), ["1.1", "2.1", "6.1"]);
    let outcome = engines.run(&["flows", "--limit", "1"]);
    assert_eq!(outcome.out.lines().count(), 2, "{outcome:?}");
    assert!(outcome.err.contains("there are more: 9 flows in all"), "{outcome:?}");
    engines.asked();
    engines.out(&["flows", "--port", "53/udp", "--origin", "guest", "--contains", "é"]);
    assert_eq!(
        engines.asked()[..2],
        ["GET /v1/ports", "GET /v1/flows?origin=guest&port=3&contains=%c3%a9"]
    );
    let outcome = engines.run(&["flows", "--port", "1"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(engines.run(&["flows", "--phase", "sleeping"]).code, Some(125));
}

#[test]
fn killing_goes_on_behind_one_that_has_ended() {
    let engines = Engines::one("web", |request| match request {
        "DELETE /v1/flows/2.1" => Answer::Problem("unknown-flow", 404, "no flow 2.1"),
        _ => Answer::Nothing,
    });
    assert_eq!(engines.out(&["kill", "1.1", "3.1"]), "");
    let outcome = engines.run(&["kill", "web", "1.1", "2.1", "3.1"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("no flow 2.1"), "{outcome:?}");
    assert_eq!(engines.asked().len(), 5);
    for wrong in [&["kill", "web"][..], &["kill", "web", "all"]] {
        assert_eq!(engines.run(wrong).code, Some(125), "{wrong:?}");
    }
}

#[test]
fn events_are_lines_and_are_taken_up_where_they_broke_off() {
    let engines = Engines::one("web", |request| {
        let (events, end) = match request {
            "GET /v1/events?since=8&kinds=dropped%2clease&follow=true" => (vec![], End::Proper),
            "GET /v1/events?kinds=dropped%2clease&follow=true" => {
                let dropped = json!({"reason": "source_mac", "count": 3});
                (vec![event(8, "dropped", dropped)], End::Broken)
            }
            "GET /v1/events?since=0&follow=false" => {
                (vec![event(1, "link_up", json!({}))], End::Proper)
            }
            _ => (vec![b"{}\n".to_vec()], End::Proper),
        };
        Answer::Stream("application/x-ndjson", events, end)
    });
    let out = engines.out(&["events", "web", "--kind", "dropped,lease"]);
    assert_eq!(out, "2026-01-02T03:04:05.678Z  dropped             source_mac, 3 times\n");
    assert_eq!(engines.asked().len(), 2);
    let out = engines.out(&["events", "--no-follow", "--json"]);
    let event: Value = serde_json::from_str(&out).expect("a line of JSON");
    assert_eq!((&event["seq"], &event["kind"]), (&json!(1), &json!("link_up")));
    let outcome = engines.run(&["events", "--since", "77"]);
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    assert!(outcome.err.contains("not an answer of this API"), "{outcome:?}");
    assert_eq!(engines.run(&["events", "--kind", "moon_up"]).code, Some(125));
}

#[test]
fn followed_flows_are_filtered_like_listed_ones() {
    let engines = Engines::one("web", |_| {
        let mut guests = flow("9.1");
        guests["origin"] = "guest".into();
        guests["remote"] = "93.184.216.34:443".into();
        guests["name"] = "example.org".into();
        let closed = json!({"flow": flow("1.1"), "reason": "finished", "duration_us": 1500});
        let events = vec![
            event(1, "flow_opened", json!({"flow": flow("1.1")})),
            event(2, "flow_opened", json!({"flow": guests})),
            event(3, "flow_closed", closed),
            event(4, "lost", json!({"count": 2})),
        ];
        Answer::Stream("application/x-ndjson", events, End::Proper)
    });
    let out = engines.out(&["flows", "-f", "--origin", "host"]);
    let lines: Vec<_> =
        out.lines().map(|line| &line["2026-01-02T03:04:05.678Z  ".len()..]).collect();
    assert_eq!(
        lines,
        [
            "flow_opened         tcp 1.1  127.0.0.1:50412 -> 10.0.2.100:80",
            "flow_closed         tcp 1.1  127.0.0.1:50412 -> 10.0.2.100:80  512 in, 2.0k out, \
             finished after 1ms",
            "lost                2 events are not here",
        ]
    );
    assert_eq!(
        engines.asked(),
        ["GET /v1/events?kinds=flow_opened%2cflow_closed%2clost&follow=true"]
    );
    let out = engines.out(&["flows", "-f", "--contains", "example", "--json"]);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(out.contains(r#""name":"example.org""#), "{out}");
}

#[test]
fn whoever_reads_the_beginning_only_is_no_error() {
    let many: Vec<_> = (0..10_000).map(|seq| event(seq, "link_up", json!({}))).collect();
    let engines = Engines::one("web", move |_| {
        Answer::Stream("application/x-ndjson", many.clone(), End::Held)
    });
    let mut child =
        engines.command(&["events", "web"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    // A line is there although more are to come.
    out.read_line(&mut line).expect("a line");
    assert!(line.ends_with("link_up\n"), "{line}");
    drop(out);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn limits_change_by_name() {
    let engines = Engines::one("web", |request| match request {
        "PATCH /v1/limits {\"mailbox\":1}" => {
            Answer::Problem("needs-restart", 409, "mailbox needs a restart")
        }
        request => whole(request),
    });
    assert_eq!(engines.out(&["limits", "max_flows=50"]), "max_flows: 100 -> 50\n");
    assert_eq!(engines.asked(), ["GET /v1/limits", "PATCH /v1/limits {\"max_flows\":50}"]);
    let outcome = engines.run(&["limits", "web", "mailbox=1"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("mailbox needs a restart"), "{outcome:?}");
    let outcome = engines.run(&["limits", "web", "max_flow=1"]);
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    assert!(outcome.err.contains("no limit `max_flow`"), "{outcome:?}");
}

#[test]
fn the_rest_is_passed_on() {
    let engines = Engines::one("web", whole);
    assert_eq!(engines.out(&["metrics"]), "a_total 1\n");
    assert_eq!(engines.out(&["config"]), "name = \"web\"\n");
    assert_eq!(engines.out(&["reload"]), "applied        a: b\n");
    engines.asked();
    assert_eq!(
        engines.out(&["dns", "set", "DB.internal", "10.0.0.1", "fd00::1", "--ttl", "5"]),
        ""
    );
    assert_eq!(engines.out(&["dns", "web", "remove", "db.internal"]), "");
    assert_eq!(
        engines.asked(),
        [
            "PUT /v1/dns/records/db.internal {\"addresses\":[\"10.0.0.1\",\"fd00::1\"],\"ttl\":5}",
            "DELETE /v1/dns/records/db.internal",
        ]
    );
    let failed = Engines::one("web", |_| {
        Answer::Json(json!({"applied": [], "needs_restart": [],
            "failed": [{"setting": "publish[1:1]", "what": "in use"}]}))
    });
    let outcome = failed.run(&["reload"]);
    assert_eq!(
        (outcome.code, outcome.out.as_str()),
        (Some(1), "failed         publish[1:1]: in use\n")
    );
}

#[test]
fn ps_does_not_wait_for_one_that_is_stuck() {
    let engines = Engines::one("web", whole);
    engines.add("stuck", |_| Answer::Stream("application/json", Vec::new(), End::Held));
    let begin = Instant::now();
    let outcome = engines.run(&["ps"]);
    assert!(begin.elapsed() < LONG / 2);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.out.contains("does not answer") && outcome.out.contains("4711"), "{outcome:?}");
    assert!(outcome.err.contains("warning: stuck: "), "{outcome:?}");
}

/// A section, an interface, and frames of four bytes.
fn pcapng(frames: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = |kind: u32, body: &[u32]| {
        let length = 12 + 4 * body.len() as u32;
        for word in [&[kind, length][..], body, &[length]].concat() {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    };
    block(0x0a0d_0d0a, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]);
    block(1, &[1, 0]);
    for _ in 0..frames {
        block(6, &[0, 0, 0, 4, 4, 0x0403_0201]);
    }
    bytes
}

#[test]
fn a_capture_ends_whole_and_says_how_many_frames() {
    let engines = Engines::one("web", |request| {
        if request.contains("filter=nonsense") {
            return Answer::Problem("invalid-request", 400, "no filter");
        }
        let mut bytes = pcapng(5);
        // What comes last is cut off.
        bytes.truncate(bytes.len() - 3);
        let middle = bytes.split_off(100);
        let end = if request.contains("verdicts=true") { End::Held } else { End::Broken };
        Answer::Stream("application/x-pcapng", vec![bytes, middle], end)
    });
    let file = engines.folder().join("web.pcapng");
    let path = file.to_str().expect("UTF-8");
    let outcome =
        engines.run(&["capture", "web", "-o", path, "--snaplen", "96", "--filter", "tcp"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.err.contains("4 frames captured"), "{outcome:?}");
    assert_eq!(std::fs::read(&file).expect("a file"), pcapng(4));
    assert_eq!(engines.asked(), ["GET /v1/capture?snap_length=96&filter=tcp&verdicts=false"]);

    let counted =
        engines.run(&["capture", "-o", path, "--count", "2", "--json", "--with-verdicts"]);
    let value: Value = serde_json::from_str(&counted.out).expect("JSON");
    assert_eq!((&value["frames"], &value["lost"]), (&json!(2), &json!(0)));
    assert_eq!(std::fs::read(&file).expect("a file"), pcapng(2));

    let arguments = ["capture", "-o", "-", "--duration", "300ms", "--with-verdicts"];
    let timed = engines.command(&arguments).output().expect("the command starts");
    assert_eq!(timed.status.code(), Some(0), "{timed:?}");
    assert_eq!(timed.stdout, pcapng(4));
    let err = String::from_utf8(timed.stderr).expect("UTF-8");
    assert!(err.contains("4 frames captured"), "{err}");

    std::fs::remove_file(&file).expect("a file");
    let outcome = engines.run(&["capture", "-o", path, "--filter", "nonsense"]);
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    assert!(!file.exists(), "what is refused leaves no file");
}

#[test]
fn a_capture_ends_in_order_at_a_signal() {
    let engines =
        Engines::one("web", |_| Answer::Stream("application/x-pcapng", vec![pcapng(1)], End::Held));
    let mut command = engines.command(&["capture", "web", "-o", "-"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("a pipe");
    let mut bytes = vec![0; pcapng(1).len()];
    out.read_exact(&mut bytes).expect("frames as they come");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(err.contains("1 frame captured"), "{err}");
}

/// Runs the command on a terminal of so many columns, and returns what it showed.
fn on_terminal(
    engines: &Engines,
    columns: u16,
    no_color: bool,
    arguments: &[&str],
) -> (String, Option<i32>) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("a terminal");
    unlockpt(&terminal).expect("a terminal");
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).expect("a terminal");
    let path = ptsname(&terminal, Vec::new()).expect("a terminal").into_string().expect("UTF-8");
    let inner = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("a terminal");
    let mut command = engines.command(arguments);
    command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CI");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    command.stdout(inner.try_clone().expect("a terminal")).stderr(inner);
    let mut child = command.spawn().expect("it starts");
    drop(command);
    let mut shown = Vec::new();
    // When nobody has the other side any more, reading fails.
    let _ = std::fs::File::from(terminal).read_to_end(&mut shown);
    let code = child.wait().expect("it ends").code();
    (String::from_utf8(shown).expect("UTF-8"), code)
}

#[test]
fn a_terminal_gets_colours_and_tables_that_fit_and_no_captures() {
    let engines = Engines::one("web", whole);
    let (shown, _) = on_terminal(&engines, 80, false, &["flows"]);
    assert!(shown.contains('\x1b') && shown.contains("AGE"), "{shown:?}");
    let (shown, _) = on_terminal(&engines, 50, true, &["flows"]);
    assert!(!shown.contains('\x1b') && !shown.contains("AGE"), "{shown:?}");
    assert!(shown.lines().all(|line| line.chars().count() <= 50), "{shown:?}");
    let (shown, code) = on_terminal(&engines, 80, true, &["capture", "-o", "-"]);
    assert!(shown.contains("a capture is no text for a terminal"), "{shown:?}");
    assert_eq!(code, Some(125));
}
