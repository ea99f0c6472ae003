//! IPv4 and IPv6: a client comes by either, the guest serves whichever it does.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{ask, connect, exchange, read_text, refusal, udp};
use portreeve_e2e::machine::User;
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

#[test]
fn a_service_on_one_family_serves_clients_of_both() {
    isolated(|_| {
        for user in User::all() {
            let run = Run::by(user).publish("0:80").publish("0:81").publish("0:82");
            let run = run.serve(&["line@v4.80", "line@v6.81"]).up();
            for client in Family::BOTH {
                for port in [80, 81] {
                    let mut soonest = Duration::MAX;
                    for _ in 0..5 {
                        let started = Instant::now();
                        assert_eq!(exchange(run.tcp(port, client), "hello").unwrap(), "hello\n");
                        soonest = soonest.min(started.elapsed());
                    }
                    assert!(soonest < Duration::from_millis(100), "{soonest:?}");
                }
                // On neither: only then is it a refusal, and as soon.
                let soonest = (0..5).map(|_| refusal(run.tcp(82, client)).1).min();
                assert!(soonest < Some(Duration::from_millis(100)), "{soonest:?}");
            }
            run.finish();
        }
    });
}

#[test]
fn datagrams_find_the_family_that_is_served() {
    isolated(|_| {
        let run = Run::usual().publish("0:80/udp").publish("0:81/udp");
        let run = run.serve(&["udp-echo@v4.80", "udp-echo@v6.81"]).up();
        for client in Family::BOTH {
            for port in [80, 81] {
                let socket = udp(run.udp(port, client));
                socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                // A datagram may be lost; what is asked again must be answered.
                let answered = (0..5).any(|_| match ask(&socket, b"hello") {
                    Ok(answer) => answer == b"hello",
                    Err(error) => {
                        let kinds = [ErrorKind::WouldBlock, ErrorKind::ConnectionRefused];
                        assert!(kinds.contains(&error.kind()), "{error}");
                        false
                    }
                });
                assert!(answered, "{client:?} to {port}");
            }
        }
        run.finish();
    });
}

#[test]
fn a_guest_with_one_family_only() {
    isolated(|_| {
        for option in ["--ipv4-only", "--ipv6-only"] {
            let run = Run::usual().with(&[option]).publish("0:80").publish("0:81/udp");
            let run = run.serve(&["peer@80", "udp-peer@81"]).up();
            for client in Family::BOTH {
                let line = read_text(&mut connect(run.tcp(80, client))).unwrap();
                assert_eq!(line.contains('['), option == "--ipv6-only", "{line}");
                let peer = ask(&udp(run.udp(81, client)), b"who").unwrap();
                assert_eq!(peer.contains(&b'['), option == "--ipv6-only", "{peer:?}");
            }
            run.finish();
        }
    });
}
