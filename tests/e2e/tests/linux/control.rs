//! Every endpoint of the control API against a live engine, and what is said to requests that are
//! wrong.

use portreeve_e2e::client::{connect, exchange};
use portreeve_e2e::control::{Api, Place};
use portreeve_e2e::machine::{User, eventually};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;
use serde_json::json;

#[test]
fn the_process_its_page_and_its_document() {
    isolated(|_| {
        for user in User::all() {
            let place = Place::of(user);
            let run = Run::by(user).with(&["--control", place.text(), "--name", "web-1"]);
            let run = run.serve(&["line@80"]).up();
            let api = place.api();
            let health = api.get("/v1/health");
            assert_eq!(health["status"], "ok");
            assert_eq!((&health["name"], &health["mode"]), (&json!("web-1"), &json!("run")));
            assert_eq!((&health["pid"], &health["guest"]), (&json!(run.id()), &json!(true)));
            assert!(health["started"].as_str().unwrap().ends_with('Z'));
            assert_eq!(api.get("/v1/version")["api"], json!(["v1"]));
            let document = api.get("/v1/openapi.json");
            assert_eq!(document["openapi"], "3.1.1");

            let answer = api.ask("GET", "/", None);
            assert_eq!((answer.status, answer.header("location")), (307, Some("/ui/")));
            let page = api.ask("GET", "/ui/", None);
            assert_eq!(page.status, 200);
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(page.header("content-security-policy").unwrap().contains("default-src 'self'"));
            let tag = format!("if-none-match: {}\r\n", page.header("etag").unwrap());
            assert_eq!(api.ask_with("GET", "/ui/", &tag, None).status, 304);
            assert_eq!(api.ask("GET", "/ui/../etc/passwd", None).problem(), "not-found");
            let outcome = run.finish();
            assert!(outcome.out.starts_with("listening"), "nothing of ours on standard output");
        }
    });
}

#[test]
fn flows_are_listed_found_and_killed() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text()]).publish("0:80");
        let run = run.serve(&["hold@80"]).up();
        let api = place.api();
        let mut clients: Vec<_> = (0..5).map(|_| connect(run.tcp(80, Family::V4))).collect();
        clients.push(connect(run.tcp(80, Family::V6)));
        let relaying = "/v1/flows?protocol=tcp&origin=host&phase=relaying";
        eventually("all flows are open", || {
            api.get(relaying)["flows"].as_array().unwrap().len() == 6
        });
        // In pages: each of them once.
        let mut ids = Vec::new();
        let mut next = Some(json!(null));
        while let Some(after) = next {
            let after = after.as_u64().map(|after| format!("&after={after}")).unwrap_or_default();
            let page = api.get(&format!("/v1/flows?limit=2{after}"));
            assert!(page["total"].as_u64().unwrap() >= 6);
            ids.extend(page["flows"].as_array().unwrap().iter().map(|flow| flow["id"].clone()));
            next = page.get("next").cloned();
        }
        let all = ids.len();
        ids.sort_by_key(ToString::to_string);
        ids.dedup();
        assert!(ids.len() == all && all >= 6, "{ids:?}");

        let client = clients[0].local_addr().unwrap();
        let found = api.get(&format!("/v1/flows?contains={client}"));
        let flows = found["flows"].as_array().unwrap();
        assert_eq!(flows.len(), 1, "{found}");
        assert_eq!(flows[0]["client"], client.to_string());
        let id = flows[0]["id"].as_str().unwrap();
        assert_eq!(api.get(&format!("/v1/flows/{id}"))["client"], client.to_string());
        assert_eq!(api.ask("DELETE", &format!("/v1/flows/{id}"), None).status, 204);
        let error = std::io::Read::read(&mut clients[0], &mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        eventually("the flow is gone", || {
            api.ask("GET", &format!("/v1/flows/{id}"), None).status == 404
        });
        let again = api.ask("DELETE", &format!("/v1/flows/{id}"), None);
        assert_eq!(again.problem(), "unknown-flow");
        assert_eq!(api.ask("GET", "/v1/flows/x", None).problem(), "invalid-request");
        let port = api.get("/v1/flows?origin=host")["flows"][0]["port"].as_u64().unwrap();
        let of_port = api.get(&format!("/v1/flows?port={port}"));
        assert!(!of_port["flows"].as_array().unwrap().is_empty());
        drop(clients);
        run.finish();
    });
}

#[test]
fn names_limits_and_counters() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text(), "--add-host", "a.test:10.9.9.9"]);
        let run = run.publish("0:80").serve(&["line@80"]).up();
        let api = place.api();
        assert!(api.get("/v1/dns")["counters"]["queries"].is_u64());
        assert!(api.get("/v1/dns/cache?limit=5")["total"].is_u64());
        assert_eq!(api.ask("DELETE", "/v1/dns/cache", None).status, 204);
        let records = || api.get("/v1/dns/records")["records"].clone();
        assert_eq!(records()[0]["name"], "a.test");
        let body = r#"{"addresses":["10.1.2.3","fd00::7"],"ttl":5}"#;
        assert_eq!(api.ask("PUT", "/v1/dns/records/db.test", Some(body)).status, 204);
        let record = records().as_array().unwrap().iter().find(|r| r["name"] == "db.test").cloned();
        assert_eq!(record.unwrap()["addresses"], json!(["10.1.2.3", "fd00::7"]));
        for (body, problem) in [
            (r#"{"addresses":[]}"#, "out-of-range"),
            (r#"{"addresses":["10.1.2.3"],"ttl":86401}"#, "out-of-range"),
            (r#"{"addresses":["x"]}"#, "invalid-request"),
            (r#"{"addresses":["10.1.2.3"],"tll":1}"#, "invalid-request"),
        ] {
            let answer = api.ask("PUT", "/v1/dns/records/db.test", Some(body));
            assert_eq!(answer.problem(), problem, "{body}");
        }
        assert_eq!(api.ask("DELETE", "/v1/dns/records/db.test", None).status, 204);
        let gone = api.ask("DELETE", "/v1/dns/records/db.test", None);
        assert_eq!(gone.problem(), "unknown-record");

        let limits = api.get("/v1/limits");
        let changed = api.ask("PATCH", "/v1/limits", Some(r#"{"max_flows_per_port":77}"#));
        assert_eq!(changed.json()["max_flows_per_port"], 77);
        assert_eq!(changed.json()["max_flows"], limits["max_flows"]);
        let now = changed.json();
        for (body, problem) in [
            (r#"{"max_flows":0}"#, "out-of-range"),
            (r#"{"max_flow":1}"#, "invalid-request"),
            (r#"{"mailbox":7,"max_flows":9}"#, "needs-restart"),
            ("[]", "invalid-request"),
        ] {
            assert_eq!(api.ask("PATCH", "/v1/limits", Some(body)).problem(), problem, "{body}");
        }
        assert_eq!(api.get("/v1/limits"), now, "a refused change changed something");

        assert_eq!(exchange(run.tcp(80, Family::V4), "hello").unwrap(), "hello\n");
        let stats = api.get("/v1/stats");
        assert!(stats["flows"]["opened"].as_u64().unwrap() >= 1, "{stats}");
        assert!(stats["traffic"]["frames_to_guest"].as_u64().unwrap() >= 1, "{stats}");
        assert!(api.ask("GET", "/metrics", None).text().contains("portreeve_flows_opened_total"));
        assert_eq!(api.ask("POST", "/v1/reload", None).problem(), "unavailable");
        run.finish();
    });
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let run = Run::usual().with(&["--control", place.text()]).serve(&["line@80"]).up();
        let api = place.api();
        for (method, path, body, status, problem) in [
            ("GET", "/nothing", None, 404, "not-found"),
            ("GET", "/v1/", None, 404, "not-found"),
            ("DELETE", "/v1/health", None, 405, "method-not-allowed"),
            ("BREW", "/v1/ports", None, 405, "method-not-allowed"),
            ("OPTIONS", "/v1/ports", None, 405, "method-not-allowed"),
            ("GET", "/v1/health?x=1", None, 400, "invalid-request"),
            ("GET", "/v1/flows?protocl=tcp", None, 400, "invalid-request"),
            ("GET", "/v1/flows?protocol=sctp", None, 400, "invalid-request"),
            ("GET", "/v1/flows?protocol=tcp&protocol=udp", None, 400, "invalid-request"),
            ("GET", "/v1/flows?phase=relayin", None, 400, "invalid-request"),
            ("GET", "/v1/flows?contains=%ff", None, 400, "invalid-request"),
            ("GET", "/v1/flows?limit=x", None, 400, "invalid-request"),
            ("GET", "/v1/flows?limit=0", None, 422, "out-of-range"),
            ("GET", "/v1/flows?limit=1001", None, 422, "out-of-range"),
            ("GET", "/v1/ports/x", None, 400, "invalid-request"),
            ("GET", "/v1/ports/%ff", None, 400, "invalid-request"),
            ("GET", "/v1/ports/4294967295", None, 404, "unknown-port"),
            ("DELETE", "/v1/ports/4294967295", None, 404, "unknown-port"),
            ("DELETE", "/v1/ports/0?connections=x", None, 400, "invalid-request"),
            ("GET", "/v1/events?kinds=droped", None, 400, "invalid-request"),
            ("GET", "/v1/capture?filter=tcp+prot+80", None, 400, "invalid-request"),
            ("GET", "/v1/capture?snap_length=1", None, 422, "out-of-range"),
            ("POST", "/v1/ports", Some("{"), 400, "invalid-request"),
            ("POST", "/v1/ports", Some("[]"), 400, "invalid-request"),
            ("POST", "/v1/ports", Some("\"80\""), 400, "invalid-request"),
            ("POST", "/v1/ports", Some(r#"{"spec":"x"}"#), 400, "invalid-specification"),
            ("POST", "/v1/ports", Some(r#"{"spec":"fd:3:80"}"#), 400, "invalid-specification"),
            ("POST", "/v1/ports", Some(r#"{"spec":"auto"}"#), 400, "invalid-specification"),
            ("POST", "/v1/ports", None, 415, "unsupported-media-type"),
        ] {
            let answer = api.ask(method, path, body);
            assert_eq!(answer.problem(), problem, "{method} {path}");
            assert_eq!(answer.status, status, "{method} {path}");
            assert!(answer.json()["detail"].is_string(), "{method} {path}");
        }
        let allowed = api.ask("PUT", "/v1/ports", None);
        let allow = allowed.header("allow").expect("RFC 9110 §15.5.6");
        assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
        let large = format!(r#"{{"spec":"{}"}}"#, "8".repeat(100_000));
        assert_eq!(api.ask("POST", "/v1/ports", Some(&large)).problem(), "too-large");
        let head = api.ask("HEAD", "/v1/health", None);
        assert_eq!((head.status, head.body.len()), (200, 0));
        let text = "content-type: text/plain\r\ncontent-length: 2\r\n";
        let answer = api.ask_with("POST", "/v1/ports", text, None);
        assert_eq!(answer.problem(), "unsupported-media-type");
        run.finish();
    });
}

#[test]
fn serve_has_it_too_and_tells_when_a_guest_is_there() {
    isolated(|_| {
        let place = Place::of(User::Root);
        let place =
            if portreeve_e2e::machine::am_root() { place } else { Place::of(User::Ordinary) };
        let options = ["--stream", "{}/vm.sock", "-p", "0:80", "--control", place.text()];
        let serve = portreeve_e2e::serve::Serve::up(&options, "80/tcp");
        let api: Api = place.api();
        let health = api.get("/v1/health");
        assert_eq!((&health["mode"], &health["guest"]), (&json!("serve"), &json!(false)));
        assert!(health["name"].as_str().unwrap().starts_with("serve-"), "{health}");
        let mut events = api.open("/v1/events?kinds=link_up,link_down");
        let guest = std::os::unix::net::UnixStream::connect(serve.path("vm.sock")).unwrap();
        events.line_of("link_up");
        assert_eq!(api.get("/v1/health")["guest"], true);
        drop(guest);
        assert_eq!(events.line_of("link_down")["for_good"], false);
        serve.stop();
        assert!(events.line().is_none(), "the stream ends with the engine, in order");
        assert!(!place.socket().exists());
    });
}
