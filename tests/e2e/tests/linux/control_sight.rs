//! What is to be seen: events, frames, counters, and the document of it all, each read by a program
//! that is not ours where there is one.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use portreeve_e2e::client::{ask, connect, exchange, udp};
use portreeve_e2e::control::python::{python, script};
use portreeve_e2e::control::{Api, Place};
use portreeve_e2e::machine::{User, eventually, has_tool};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, Running};

fn up(place: &Place, options: &[&str]) -> (Running, Api) {
    let run = Run::usual().with(&["--control", place.text()]).with(options);
    let run = run.publish("0:80").publish("0:81").publish("0:82/udp");
    (run.serve(&["line@80", "hold@81", "udp-echo@82"]).up(), place.api())
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may have seen enough.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn events_come_as_they_happen_and_again_from_where_a_reader_was() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place, &[]);
        let mut live = api.open("/v1/events?kinds=flow_opened,flow_closed");
        assert!(live.head.iter().any(|line| line == "content-type: application/x-ndjson"));
        let at = run.tcp(80, Family::V4);
        assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
        let opened = live.line_of("flow_opened");
        assert_eq!(opened["flow"]["protocol"], "tcp");
        assert_eq!(opened["flow"]["origin"], "host");
        let closed = live.line_of("flow_closed");
        assert_eq!(closed["flow"]["id"], opened["flow"]["id"]);
        assert_eq!(closed["reason"], "finished");
        assert!(closed["flow"]["bytes_to_guest"].as_u64().unwrap() >= 5, "{closed}");
        assert!(closed["duration_us"].as_u64().unwrap() > 0);
        let seq = closed["seq"].as_u64().unwrap();
        assert!(seq > opened["seq"].as_u64().unwrap());

        // Behind the first of the two; the same lines, and an end.
        let since = opened["seq"].as_u64().unwrap();
        let path = format!("/v1/events?since={since}&kinds=flow_closed&follow=false");
        let again = api.ask("GET", &path, None);
        let lines: Vec<serde_json::Value> =
            again.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [closed]);
        let all = api.ask("GET", "/v1/events?since=0&follow=false", None).text();
        assert!(all.contains("\"published\"") && all.lines().count() >= 5, "{all}");
        assert_eq!(
            api.ask("GET", &format!("/v1/events?since={seq}&follow=false"), None).text(),
            ""
        );
        run.finish();
        assert!(live.line().is_none(), "the stream ends with the engine, in order");
    });
}

#[test]
fn a_reader_that_does_not_read_loses_events_and_is_told() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place, &[]);
        let mut slow = api.open("/v1/events");
        let mut quick = api.open("/v1/events");
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while let Some(line) = quick.line() {
                assert_ne!(line["kind"], "lost", "one that reads loses nothing: {line}");
                seen += 1;
            }
            seen
        });
        let at = run.tcp(80, Family::V4);
        // More than fits into the sockets and the backlog (4096 events) together.
        let started = Instant::now();
        for _ in 0..6_000 {
            assert_eq!(exchange(at, "x").unwrap(), "x\n");
        }
        eprintln!("12,000 events in {:?}", started.elapsed());
        let lost = slow.line_of("lost");
        assert!(lost["count"].as_u64().unwrap() > 0, "{lost}");
        // Behind the gap it goes on.
        let next = slow.line().unwrap();
        assert!(next["seq"].as_u64().unwrap() > lost["seq"].as_u64().unwrap(), "{lost} {next}");
        drop(slow);
        run.finish();
        assert!(reader.join().unwrap() >= 12_000);
    });
}

#[test]
fn tshark_reads_a_capture_and_finds_every_packet() {
    if !has_tool("tshark", "tshark") {
        return;
    }
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place, &[]);
        let guest_port = 82;
        let mut stream = api.open("/v1/capture?filter=udp+and+port+82&verdicts=true");
        let socket = udp(run.udp(guest_port, Family::V4));
        for number in 0..50 {
            let word = format!("number {number}");
            assert_eq!(ask(&socket, word.as_bytes()).unwrap(), word.as_bytes());
        }
        eventually("the capture is counted", || api.get("/v1/stats")["driver"]["captures"] == 1);
        let mut file = Vec::new();
        let reader = std::thread::spawn(move || {
            loop {
                let chunk = stream.chunk();
                if chunk.is_empty() {
                    return file;
                }
                file.extend(chunk);
            }
        });
        run.finish();
        let file = reader.join().unwrap();
        let fields =
            ["frame.protocols", "frame.packet_flags_direction", "udp.dstport", "data.data"];
        let mut tshark = Command::new("tshark");
        tshark.args(["-n", "-r", "-", "-T", "fields"]);
        for field in fields {
            tshark.args(["-e", field]);
        }
        let output = feed(&mut tshark, &file);
        let text = String::from_utf8_lossy(&output.stdout);
        let mut directions: HashMap<&str, Vec<String>> = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split('\t');
            let protocols = fields.next().unwrap();
            assert!(protocols.starts_with("eth:") && protocols.contains(":udp"), "{line}");
            let direction = fields.next().unwrap();
            let data = fields.nth(1).unwrap().to_owned();
            directions.entry(direction).or_default().push(data);
        }
        // Inbound, 1, is from the guest: the host's own view.
        for direction in ["0x00000001", "0x00000002", "1", "2"] {
            if let Some(data) = directions.remove(direction) {
                assert_eq!(data.len(), 50, "{direction}: {text}");
                let hex = |word: &str| word.bytes().map(|b| format!("{b:02x}")).collect::<String>();
                let wanted: Vec<_> = (0..50).map(|n| hex(&format!("number {n}"))).collect();
                assert_eq!(data, wanted, "{direction}");
            }
        }
        assert!(directions.is_empty(), "{directions:?}");
        assert_eq!(text.lines().count(), 100);
        let program = feed(Command::new("capinfos").args(["-A", "-"]), &file);
        let program = String::from_utf8_lossy(&program.stdout);
        assert!(program.contains("portreeve ") && program.contains("Ethernet"), "{program}");
    });
}

#[test]
fn prometheus_reads_a_scrape() {
    let Some(python) = python() else { return };
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place, &[]);
        for _ in 0..3 {
            assert_eq!(exchange(run.tcp(80, Family::V4), "hello").unwrap(), "hello\n");
        }
        let held = connect(run.tcp(81, Family::V4));
        eventually("its flow is open", || {
            api.get("/v1/flows?phase=relaying")["flows"] != serde_json::json!([])
        });
        for (format, accept, media) in [
            ("prometheus", "", "text/plain; version=0.0.4; charset=utf-8"),
            (
                "openmetrics",
                "accept: application/openmetrics-text;version=1.0.0\r\n",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        ] {
            let answer = api.ask_with("GET", "/metrics", accept, None);
            assert_eq!(answer.header("content-type"), Some(media));
            let mut parser = Command::new(python.join("venv/bin/python"));
            let output = feed(parser.arg(script("metrics.py")).arg(format), &answer.body);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let samples: HashMap<&str, f64> = text
                .lines()
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(name, value)| (name, value.parse().unwrap()))
                .collect();
            let at_least = |name: &str, least: f64| {
                let value = samples.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
                assert!(*value >= least, "{name} = {value}");
            };
            at_least("portreeve_flows_opened_total", 4.0);
            at_least("portreeve_flows{kind=tcp,state=relaying}", 1.0);
            at_least("portreeve_link_bytes_total{direction=to_guest}", 100.0);
            at_least("portreeve_guest_rtt_seconds_count", 4.0);
            at_least("portreeve_guest_rtt_seconds_bucket{le=+Inf}", 4.0);
            at_least("portreeve_loop_busy_seconds_total", 0.000_001);
            at_least("portreeve_open_fds", 5.0);
            at_least("portreeve_listeners", 4.0);
        }
        drop(held);
        run.finish();
    });
}

#[test]
fn the_document_holds_for_whatever_it_is_asked() {
    let Some(python) = python() else { return };
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let place = Place::of(User::usual());
        let (run, api) = up(&place, &["--ui", "127.0.0.1:0"]);
        let page = run.err.find_within(Duration::from_secs(10), |line| line.contains("page: "));
        let page = page.unwrap_or_else(|_| run.err.so_far());
        let page = page.split_once("page: ").expect("told").1.to_owned();
        let (url, token) = page.split_once("/ui/?token=").unwrap();
        let started = Instant::now();
        let output = Command::new(script("drive")).arg(python).args([url, token]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        eprintln!("driven by its document in {:?}", started.elapsed());
        assert_eq!(api.get("/v1/health")["status"], "ok");
        // It may have changed any limit; the guest's traffic is what the engine is for.
        run.signal(rustix::process::Signal::TERM);
    });
}
