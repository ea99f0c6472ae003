//! Publishing whatever the guest listens on, as it comes and goes.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{ask, exchange, try_connect, udp};
use portreeve_e2e::machine::{DEADLINE, User};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_server_that_starts_later_is_published() {
    isolated(|_| {
        for user in User::all() {
            for options in [&["-P"][..], &["-p", "auto"]] {
                let mut run = Run::by(user).with(options).serve(&["line@9080"]).up();
                for family in Family::BOTH {
                    let at = run.tcp(9080, family);
                    assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
                }
                run.tell("listen line@v4.9081");
                run.hear("listening on");
                let started = Instant::now();
                let [v4, v6] = Family::BOTH.map(|family| run.tcp(9081, family));
                assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
                for at in [v4, v6] {
                    assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
                }
                run.tell("listen udp-echo@9082");
                for family in Family::BOTH {
                    let socket = udp(run.udp(9082, family));
                    assert_eq!(ask(&socket, b"hello").unwrap(), b"hello");
                }
                run.finish();
            }
        }
    });
}

#[test]
fn the_same_number_where_it_is_free() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let _taken = TcpListener::bind("127.0.0.1:9081").unwrap();
        let run = Run::usual().with(&["-P"]).serve(&["line@9080", "line@9081", "line@80"]).up();
        assert_eq!(run.tcp(9080, Family::V4).port(), 9080);
        assert_eq!(run.tcp(9080, Family::V6).port(), 9080);
        assert_ne!(run.tcp(9081, Family::V4).port(), 9081);
        for port in [9080, 9081, 80] {
            assert_eq!(exchange(run.tcp(port, Family::V6), "hello").unwrap(), "hello\n");
        }
        run.finish();
    });
}

#[test]
fn a_server_that_goes_is_unpublished() {
    isolated(|_| {
        let mut run = Run::usual().with(&["-P"]).serve(&["line@9080", "line@9081"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(9080, family));
        run.tell("close 9080");
        run.hear("closed");
        for at in [v4, v6] {
            let started = Instant::now();
            loop {
                match try_connect(at) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                    _ => std::thread::sleep(Duration::from_millis(10)),
                }
                assert!(started.elapsed() < SOON, "still published");
            }
        }
        assert_eq!(exchange(run.tcp(9081, Family::V4), "hello").unwrap(), "hello\n");
        // And it may come back.
        run.tell("listen line@9080");
        let again = run.err.find_within(DEADLINE, |line| line.starts_with("9080/tcp"));
        assert!(again.is_ok(), "{}", run.said());
        run.finish();
    });
}

#[test]
fn what_is_left_out_stays_out() {
    isolated(|_| {
        let services = ["line@9080", "line@9081", "line@lo.9082", "udp-echo@9083", "line@9090"];
        let run = Run::usual().publish("auto").publish("~9081").publish("~9083/udp");
        // Published by hand: once is enough.
        let run = run.publish("0:9090").serve(&services).up();
        let at = run.tcp(9080, Family::V4);
        assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
        // Whatever was to be published with it has been by now, and in the next look.
        std::thread::sleep(Duration::from_millis(500));
        for left_out in ["9081/tcp", "9082/tcp", "9083/udp"] {
            assert!(run.all_published(left_out).is_empty(), "{left_out}: {}", run.said());
        }
        assert_eq!(run.all_published("9090/tcp").len(), 2, "{}", run.said());
        run.finish();
    });
}
