//! Publishing and unpublishing while the engine works.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portreeve_e2e::client::{connect, exchange, try_connect};
use portreeve_e2e::control::{Api, Place};
use portreeve_e2e::machine::{User, eventually};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, Running};
use serde_json::{Value, json};

fn publish(api: &Api, body: &Value) -> Vec<(u64, SocketAddr)> {
    let answer = api.ask("POST", "/v1/ports", Some(&body.to_string()));
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    let ports = answer["ports"].as_array().unwrap().iter();
    let read = |port: &Value| {
        let at = port["host"]["inet"].as_str().unwrap().parse().unwrap();
        (port["id"].as_u64().unwrap(), at)
    };
    ports.map(read).collect()
}

fn up(place: &Place) -> (Running, Api) {
    let run = Run::usual().with(&["--control", place.text()]).publish("0:80");
    (run.serve(&["line@80", "hold@81", "udp-echo@82"]).up(), place.api())
}

#[test]
fn every_form_and_what_the_kernel_chose() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place);
        let mut events = api.open("/v1/events?kinds=published,unpublished");
        for body in [
            json!({ "spec": "0:80" }),
            json!({ "target": 80 }),
            json!({ "target": "80", "published": 0, "host_ip": "127.0.0.1", "name": "web" }),
        ] {
            let ports = publish(&api, &body);
            for (id, at) in &ports {
                assert_ne!(at.port(), 0);
                assert_eq!(exchange(*at, "hello").unwrap(), "hello\n", "{body}");
                assert_eq!(events.line_of("published")["port"]["id"], *id);
                let status = api.get(&format!("/v1/ports/{id}"));
                assert_eq!(
                    (&status["state"], &status["guest_port"]),
                    (&json!("listening"), &json!(80))
                );
                eventually("the flow is counted", || {
                    api.get(&format!("/v1/ports/{id}"))["counters"]["opened"] == 1
                });
            }
            for (id, at) in ports {
                assert_eq!(api.ask("DELETE", &format!("/v1/ports/{id}"), None).status, 204);
                assert_eq!(events.line_of("unpublished")["port"]["id"], id);
                assert_eq!(try_connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
                let again = api.ask("DELETE", &format!("/v1/ports/{id}"), None);
                assert_eq!(again.problem(), "unknown-port");
            }
        }
        let udp = publish(&api, &json!({ "spec": "127.0.0.1:0:82/udp" }));
        let socket = portreeve_e2e::client::udp(udp[0].1);
        assert_eq!(portreeve_e2e::client::ask(&socket, b"hello").unwrap(), b"hello");
        run.finish();
    });
}

#[test]
fn a_conflict_names_address_port_and_cause() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let before = api.get("/v1/ports")["ports"].as_array().unwrap().len();
        let body = json!({ "spec": format!("127.0.0.1:{}:80", at.port()) }).to_string();
        let answer = api.ask("POST", "/v1/ports", Some(&body));
        assert_eq!((answer.status, answer.problem()), (409, "bind-failed".to_owned()));
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&at.to_string()) && detail.contains("in use"), "{detail}");
        assert!(problem["help"].as_str().unwrap().contains("another host port"), "{problem}");
        // Of a range of which one is taken, none stays.
        let first = at.port() - 1;
        let body = json!({ "spec": format!("127.0.0.1:{first}-{}:80-81", at.port()) }).to_string();
        assert_eq!(api.ask("POST", "/v1/ports", Some(&body)).status, 409);
        assert_eq!(api.get("/v1/ports")["ports"].as_array().unwrap().len(), before);
        run.finish();
    });
}

#[test]
fn a_port_drains_or_is_reset_as_asked() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place);
        for reset in [false, true] {
            let (id, at) = publish(&api, &json!({ "spec": "127.0.0.1:0:81" }))[0];
            let mut client = connect(at);
            client.write_all(b"x").unwrap();
            eventually("the flow is open", || {
                api.get(&format!("/v1/ports/{id}"))["counters"]["flows"] == 1
            });
            let how = if reset { "?connections=reset" } else { "?connections=drain" };
            assert_eq!(api.ask("DELETE", &format!("/v1/ports/{id}{how}"), None).status, 204);
            assert_eq!(try_connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let error = client.read(&mut [0; 1]).unwrap_err();
            if reset {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                continue;
            }
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "the connection lives");
            let ports = api.get("/v1/ports");
            let port = ports["ports"].as_array().unwrap().iter().find(|port| port["id"] == id);
            assert_eq!(port.map(|port| &port["state"]), Some(&json!("draining")), "{ports}");
            drop(client);
            eventually("the port is gone with its last connection", || {
                api.ask("GET", &format!("/v1/ports/{id}"), None).status == 404
            });
        }
        run.finish();
    });
}

#[test]
fn ports_come_and_go_under_load() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, api) = up(&place);
        let load = run.tcp(80, Family::V4);
        let ended = AtomicBool::new(false);
        let exchanged = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        assert_eq!(exchange(load, "hello").unwrap(), "hello\n");
                        exchanged.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 0..100 {
                let ports = publish(&api, &json!({ "spec": "0:80" }));
                let (_, at) = ports[round % ports.len()];
                assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
                for (id, at) in ports {
                    let how = if round % 2 == 0 { "drain" } else { "reset" };
                    let path = format!("/v1/ports/{id}?connections={how}");
                    assert_eq!(api.ask("DELETE", &path, None).status, 204);
                    assert!(TcpStream::connect(at).is_err(), "{at} still listens");
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert!(exchanged.load(Ordering::Relaxed) > 100, "{exchanged:?}");
        assert_eq!(api.get("/v1/ports")["ports"].as_array().unwrap().len(), 2, "those of -p");
        run.finish();
    });
}
