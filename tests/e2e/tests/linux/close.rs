//! Ends in order, and beginnings that come to nothing: FIN is FIN, a refusal is a refusal, and
//! half-closed stays half-open.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{End, ask, connect, exchange, receive, refusal, udp};
use portreeve_e2e::content::{self, Way};
use portreeve_e2e::machine::User;
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

const MIB: u64 = 1 << 20;

#[test]
fn a_client_that_half_closes_gets_the_whole_answer() {
    isolated(|_| {
        let services = ["answer=4194304@80", "trickle=50@81"];
        let run = Run::usual().publish("0:80").publish("0:81").serve(&services).up();
        for family in Family::BOTH {
            let mut stream = connect(run.tcp(80, family));
            content::send(&mut stream, Way::ToGuest, MIB).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            run.hear("answer@80 received 1048576 ok");
            let (checker, end) = receive(&mut stream);
            assert!(matches!(end, End::Fin), "{end:?}");
            assert_eq!(checker.verdict(), "4194304 ok");

            // Half-closed from the first moment on, and for a while.
            let mut stream = connect(run.tcp(81, family));
            stream.shutdown(Shutdown::Write).unwrap();
            let (checker, end) = receive(&mut stream);
            assert!(matches!(end, End::Fin), "{end:?}");
            assert_eq!(checker.verdict(), "50 ok");
        }
        run.finish();
    });
}

#[test]
fn a_guest_that_half_closes_hears_the_client_out() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["half=2097152@80"]).up();
        for family in Family::BOTH {
            let mut stream = connect(run.tcp(80, family));
            let (checker, end) = receive(&mut stream);
            assert!(matches!(end, End::Fin), "{end:?}");
            assert_eq!(checker.verdict(), "2097152 ok");
            // The other direction is as open as before, now and later.
            content::send(&mut stream, Way::ToGuest, MIB).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            stream.write_all(content::piece(Way::ToGuest, MIB, 1000)).unwrap();
            drop(stream);
            run.hear(&format!("half@80 received {} ok", MIB + 1000));
        }
        run.finish();
    });
}

#[test]
fn the_end_of_an_idle_connection_is_passed_on_at_once() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81");
        let run = run.serve(&["hold@80", "half=0@81"]).up();
        for family in Family::BOTH {
            let stream = connect(run.tcp(80, family));
            std::thread::sleep(Duration::from_millis(20));
            let started = Instant::now();
            drop(stream);
            run.hear("hold@80 ended Fin");
            assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());

            let mut stream = connect(run.tcp(81, family));
            let started = Instant::now();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
            drop(stream);
            run.hear("half@81 received 0 ok");
        }
        run.finish();
    });
}

#[test]
fn a_refusal_is_seen_at_once() {
    isolated(|_| {
        for user in User::all() {
            let run = Run::by(user).publish("0:80").serve(&[]).up();
            for family in Family::BOTH {
                let mut soonest = Duration::MAX;
                for _ in 0..5 {
                    let (kind, took) = refusal(run.tcp(80, family));
                    assert_eq!(kind, ErrorKind::ConnectionReset);
                    soonest = soonest.min(took);
                }
                assert!(soonest < Duration::from_millis(100), "{soonest:?}");
            }
            run.finish();
        }
    });
}

#[test]
fn a_silent_guest_is_given_its_time_and_no_more() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81");
        let run = run.with(&["--connect-timeout", "600ms"]).serve(&["silent@80", "line@81"]).up();
        for family in Family::BOTH {
            let (silent, alive) = (run.tcp(80, family), run.tcp(81, family));
            std::thread::scope(|scope| {
                let waiting: Vec<_> =
                    (0..50).map(|_| scope.spawn(move || refusal(silent))).collect();
                // Those who wait are in nobody's way.
                let started = Instant::now();
                for _ in 0..20 {
                    assert_eq!(exchange(alive, "hello").unwrap(), "hello\n");
                }
                assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
                for (kind, took) in waiting.into_iter().map(|thread| thread.join().unwrap()) {
                    assert_eq!(kind, ErrorKind::ConnectionReset);
                    assert!(took >= Duration::from_millis(590), "{took:?}");
                    assert!(took < Duration::from_millis(2500), "{took:?}");
                }
            });
        }
        run.finish();
    });
}

/// A guest that has never sent a frame is not known to anybody on its link.
#[test]
fn the_first_connection_works_before_the_guest_has_sent_anything() {
    isolated(|_| {
        for (option, family) in [("--ipv4-only", Family::V4), ("--ipv6-only", Family::V6)] {
            let mut soonest = Duration::MAX;
            for _ in 0..3 {
                let run = Run::usual().with(&[option]).publish("0:80").serve(&["line@80"]).up();
                let started = Instant::now();
                assert_eq!(exchange(run.tcp(80, family), "hello").unwrap(), "hello\n");
                soonest = soonest.min(started.elapsed());
                run.finish();
            }
            assert!(soonest < Duration::from_millis(100), "{soonest:?}");
            // The kernel's loopback queue is everybody's on this machine, and a flood elsewhere may
            // cost a datagram here; a first datagram that does not work fails every time.
            let answered = (0..3).any(|_| {
                let run = Run::usual().with(&[option]).publish("0:81/udp");
                let run = run.serve(&["udp-echo@81"]).up();
                let socket = udp(run.udp(81, family));
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let answer = ask(&socket, b"hello");
                run.finish();
                answer.is_ok_and(|answer| answer == b"hello")
            });
            assert!(answered, "{family:?}");
        }
    });
}
