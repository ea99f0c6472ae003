//! Ends by force: RST is RST, on either side, and what was acknowledged before it is delivered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{End, connect, connect_with_buffers, receive, reset};
use portreeve_e2e::content::{self, Way};
use portreeve_e2e::machine::eventually;
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;
use portreeve_e2e::sys::unacknowledged;

const SOON: Duration = Duration::from_millis(500);

#[test]
fn a_guests_reset_is_the_clients() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81");
        let run = run.serve(&["reset@80", "reset-on-byte@81"]).up();
        for family in Family::BOTH {
            let mut stream = connect(run.tcp(80, family));
            let error = stream.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);

            let mut stream = connect(run.tcp(81, family));
            std::thread::sleep(Duration::from_millis(50));
            let started = Instant::now();
            stream.write_all(b"x").unwrap();
            let error = stream.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        }
        run.finish();
    });
}

#[test]
fn what_the_guest_had_acknowledged_comes_before_its_reset() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["reset-after=1048576@80"]).up();
        for family in Family::BOTH {
            for (buffers, pause) in [(16 << 10, 0), (16 << 10, 300), (4 << 20, 300)] {
                let mut stream = connect_with_buffers(run.tcp(80, family), buffers);
                stream.write_all(b"x").unwrap();
                std::thread::sleep(Duration::from_millis(pause));
                let (checker, end) = receive(&mut stream);
                assert_eq!(checker.verdict(), "1048576 ok", "{buffers} {pause}");
                assert!(matches!(end, End::Reset), "{end:?}");
            }
        }
        run.finish();
    });
}

#[test]
fn a_clients_reset_is_the_guests() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81");
        let run = run.serve(&["hold@80", "slow-sink=20@81"]).up();
        for family in Family::BOTH {
            let stream = connect(run.tcp(80, family));
            std::thread::sleep(Duration::from_millis(50));
            let started = Instant::now();
            reset(stream);
            run.hear("hold@80 ended ConnectionReset");
            assert!(started.elapsed() < SOON, "{:?}", started.elapsed());

            // What was acknowledged to the client comes first.
            let mut stream = connect(run.tcp(81, family));
            content::send(&mut stream, Way::ToGuest, 300_000).unwrap();
            eventually("acknowledged", || unacknowledged(&stream).unwrap() == 0);
            reset(stream);
            run.hear("slow-sink@81 had 300000 ok");
            run.hear("slow-sink@81 failed ConnectionReset");
        }
        run.finish();
    });
}

#[test]
fn a_client_that_vanishes_resets_a_guest_that_still_sends() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["flood@80"]).up();
        let vanish: [fn(TcpStream); 2] = [
            // With unread bytes, closing is a reset: RFC 1122 §4.2.2.13.
            drop, reset,
        ];
        for family in Family::BOTH {
            for vanish in vanish {
                for pause in [0, 200] {
                    let mut stream = connect(run.tcp(80, family));
                    stream.read_exact(&mut [0; 100_000]).unwrap();
                    // By then both kernels' buffers and the ring are full: a closed window.
                    std::thread::sleep(Duration::from_millis(pause));
                    let started = Instant::now();
                    vanish(stream);
                    let said = run.hear("flood@80 failed");
                    assert!(started.elapsed() < SOON, "{:?}: {said}", started.elapsed());
                    assert!(said.contains("ConnectionReset") || said.contains("BrokenPipe"));
                }
            }
        }
        run.finish();
    });
}

/// The half-closed flow must end too when the client goes while the guest still sends.
#[test]
fn a_client_that_half_closes_and_vanishes_resets_the_guest() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["flood@80"]).up();
        for family in Family::BOTH {
            let mut stream = connect(run.tcp(80, family));
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_exact(&mut [0; 100_000]).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            let started = Instant::now();
            drop(stream);
            run.hear("flood@80 failed");
            assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        }
        run.finish();
    });
}
