//! What a port is published on: the kernel's choice, ranges, Unix sockets, inherited listeners, and
//! who is told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use portreeve_e2e::client::{ask, connect, exchange, read_text, udp};
use portreeve_e2e::machine::User;
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, file_in, open_directory};
use rustix::io::{FdFlags, fcntl_setfd};

#[test]
fn the_kernels_choice_is_reported() {
    isolated(|_| {
        for user in User::all() {
            let directory = open_directory();
            let (json, json_name) = file_in(&directory, "ports.json");
            let run = Run::by(user).publish("80").publish("0:81").publish(":82");
            let run = run.publish("127.0.0.1::83").publish("84/udp");
            let run = run.with(&["--ports-file", &json_name]);
            let run = run.serve(&["line@80", "line@81", "line@82", "line@83", "udp-echo@84"]).up();
            for port in [80, 81, 82] {
                let [v4, v6] = Family::BOTH.map(|family| run.tcp(port, family));
                assert_ne!(v4.port(), 0);
                assert_eq!(v4.port(), v6.port(), "one number for both");
                for at in [v4, v6] {
                    assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
                }
            }
            assert_eq!(exchange(run.tcp(83, Family::V4), "hello").unwrap(), "hello\n");
            assert_eq!(run.all_published("83/tcp").len(), 1, "only what was asked for");
            assert_eq!(ask(&udp(run.udp(84, Family::V6)), b"hello").unwrap(), b"hello");

            let listed: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
            let listed = listed.as_array().unwrap();
            assert_eq!(listed.len(), 9);
            let at = run.tcp(80, Family::V6).to_string();
            let entry = listed.iter().find(|entry| entry["host"]["inet"] == *at).expect("listed");
            assert_eq!(entry["guest_port"], 80);
            assert_eq!(entry["transport"], "tcp");
            run.finish();
            assert!(!json.exists(), "the list outlives what it lists");
        }
    });
}

#[test]
fn the_list_for_shells_and_quiet() {
    isolated(|_| {
        let directory = open_directory();
        let (list, list_name) = file_in(&directory, "ports");
        let run = Run::usual().publish("0:80").with(&["--quiet", "--ports-file", &list_name]);
        let run = run.serve(&["line@80"]).up();
        let text = fs::read_to_string(&list).unwrap();
        let at: Vec<SocketAddr> = text
            .lines()
            .map(|line| line.strip_prefix("80/tcp -> ").unwrap().parse().unwrap())
            .collect();
        assert_eq!(at.len(), 2, "{text}");
        for at in at {
            assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
        }
        let outcome = run.finish();
        assert_eq!(outcome.err, "", "quiet");
    });
}

#[test]
fn ranges_keep_their_order() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let run = Run::usual().publish("7000-7002:80-82").publish("90-91");
        let run = run.serve(&["peer@80", "peer@81", "peer@82", "peer@90", "peer@91"]).up();
        for family in Family::BOTH {
            for (host, guest) in [(7000, 80), (7001, 81), (7002, 82)] {
                let line = read_text(&mut connect((family.loopback(), host).into())).unwrap();
                assert!(line.trim().ends_with(&format!(":{guest}")), "{line}");
            }
            for guest in [90, 91] {
                let line = read_text(&mut connect(run.tcp(guest, family))).unwrap();
                assert!(line.trim().ends_with(&format!(":{guest}")), "{line}");
            }
        }
        run.finish();
    });
}

#[test]
fn hundreds_of_ports() {
    portreeve::raise_fd_limit().unwrap();
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let services: Vec<String> = (7000..7400).map(|port| format!("line@{port}")).collect();
        let services: Vec<&str> = services.iter().map(String::as_str).collect();
        let run = Run::usual().publish("7000-7399:7000-7399").serve(&services).up();
        for port in 7000..7400 {
            let family = Family::BOTH[usize::from(port) % 2];
            let text = port.to_string();
            let answer = exchange((family.loopback(), port).into(), &text).unwrap();
            assert_eq!(answer, format!("{port}\n"));
        }
        run.finish();
    });
}

#[test]
fn the_first_free_port_of_a_range() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let _first = TcpListener::bind("127.0.0.1:7000").unwrap();
        let second = TcpListener::bind("[::1]:7001").unwrap();
        let run = Run::usual().publish("7000-7002:80").serve(&["line@80"]).up();
        for family in Family::BOTH {
            assert_eq!(run.tcp(80, family).port(), 7002);
            assert_eq!(exchange(run.tcp(80, family), "hello").unwrap(), "hello\n");
        }
        // Now none is left.
        let outcome = Run::usual().publish("7000-7002:80").command(&["true"]).outcome();
        assert_eq!(outcome.code, Some(125), "{outcome:?}");
        assert!(outcome.err.contains("7000 to 7002 is in use"), "{outcome:?}");
        drop(second);
        run.finish();
    });
}

#[test]
fn a_unix_socket() {
    isolated(|_| {
        for user in User::all() {
            let directory = open_directory();
            let (path, name) = file_in(&directory, "http.sock");
            let run = Run::by(user).publish(&format!("unix:{name}:80")).serve(&["echo@80"]).up();
            assert!(run.err.so_far().contains(&format!("80/tcp -> unix:{name}")));
            for _ in 0..3 {
                let mut stream = UnixStream::connect(&path).unwrap();
                stream.write_all(&[7; 100_000]).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                assert_eq!(back, [7; 100_000]);
            }
            run.finish();
            assert!(!path.exists(), "the socket's file outlives it");
        }
    });
}

#[test]
fn inherited_listeners() {
    isolated(|_| {
        for family in Family::BOTH {
            let tcp = TcpListener::bind((family.loopback(), 0)).unwrap();
            let udp_socket = UdpSocket::bind((family.loopback(), 0)).unwrap();
            // A number stays the same through `exec` when nothing closes it.
            fcntl_setfd(&tcp, FdFlags::empty()).unwrap();
            fcntl_setfd(&udp_socket, FdFlags::empty()).unwrap();
            let (tcp_at, udp_at) = (tcp.local_addr().unwrap(), udp_socket.local_addr().unwrap());
            let run = Run::usual()
                .publish(&format!("fd:{}:80", tcp.as_raw_fd()))
                .publish(&format!("fd:{}:81/udp", udp_socket.as_raw_fd()))
                .serve(&["line@80", "udp-echo@81"])
                .up();
            drop((tcp, udp_socket));
            assert_eq!(run.tcp(80, family), tcp_at);
            assert_eq!(exchange(tcp_at, "hello").unwrap(), "hello\n");
            assert_eq!(ask(&udp(udp_at), b"hello").unwrap(), b"hello");
            run.finish();
        }
    });
}

#[test]
fn listeners_end_with_the_run() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81/udp");
        let run = run.serve(&["line@80", "udp-echo@81"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        let udp_at = run.udp(81, Family::V4);
        run.finish();
        for at in [v4, v6] {
            let error = portreeve_e2e::client::try_connect(at).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        let error = ask(&udp(udp_at), b"hello").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}
