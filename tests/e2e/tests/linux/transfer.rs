//! Bytes: all of them, in order, both ways, at every MTU, and without anybody waiting for others.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use portreeve_e2e::client::{
    End, connect, connect_with_buffers, download, read_text, receive, upload,
};
use portreeve_e2e::content::{self, Checker, Way};
use portreeve_e2e::machine::User;
use portreeve_e2e::network::{Elsewhere, Family, isolated};
use portreeve_e2e::run::{Run, Running};

const MIB: u64 = 1 << 20;

/// The slowest that 32 MiB may ever be, on a busy machine and unoptimised: one lost wake-up a
/// second makes it minutes.
const BULK: Duration = Duration::from_secs(10);

fn both_ways(up: SocketAddr, down: SocketAddr, length: u64) {
    let started = Instant::now();
    assert_eq!(upload(up, length), format!("{length} ok"));
    assert_eq!(download(down), format!("{length} ok"));
    assert!(started.elapsed() < BULK, "{length} bytes both ways in {:?}", started.elapsed());
}

#[test]
fn bulk_both_ways_for_everybody() {
    isolated(|_| {
        for user in User::all() {
            let services = ["sink@80", "source=33554432@81"];
            let run = Run::by(user).publish("0:80").publish("0:81").serve(&services).up();
            for family in Family::BOTH {
                both_ways(run.tcp(80, family), run.tcp(81, family), 32 * MIB);
            }
            run.finish();
        }
    });
}

#[test]
fn bulk_at_every_mtu() {
    isolated(|_| {
        for mtu in ["1280", "9000", "65520"] {
            let services = ["sink@80", "source=8388608@81"];
            let run = Run::usual().with(&["--mtu", mtu]).publish("0:80").publish("0:81");
            let run = run.serve(&services).up();
            for family in Family::BOTH {
                both_ways(run.tcp(80, family), run.tcp(81, family), 8 * MIB);
            }
            run.finish();
        }
    });
}

#[test]
fn an_mtu_out_of_range_is_refused() {
    isolated(|_| {
        for (mtu, family) in [("575", "--ipv4-only"), ("1279", "--ipv6-only"), ("65521", "-q")] {
            let run = Run::usual().with(&["--mtu", mtu, family]).command(&["echo", "started"]);
            let outcome = run.outcome();
            assert_eq!((outcome.code, &*outcome.out), (Some(125), ""), "{outcome:?}");
            assert!(outcome.err.to_lowercase().contains("mtu"), "{outcome:?}");
        }
        let run = Run::usual().with(&["--mtu", "576", "--ipv4-only"]).publish("0:80");
        let run = run.publish("0:81").serve(&["sink@80", "source=8388608@81"]).up();
        both_ways(run.tcp(80, Family::V6), run.tcp(81, Family::V4), 8 * MIB);
        run.finish();
    });
}

#[test]
fn bulk_from_another_host() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        let services = ["sink@80", "source=33554432@81"];
        let run = Run::usual().publish("0.0.0.0:8080:80").publish("0.0.0.0:8081:81");
        let run = run.publish("[::]:8080:80").publish("[::]:8081:81").serve(&services).up();
        for family in Family::BOTH {
            let [host, _] = Elsewhere::host(family);
            let to = |port| SocketAddr::new(host, port);
            elsewhere.run(|| both_ways(to(8080), to(8081), 32 * MIB));
        }
        run.finish();
    });
}

#[test]
fn a_small_exchange_waits_for_nobody() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["echo@80"]).up();
        for family in Family::BOTH {
            let mut stream = connect(run.tcp(80, family));
            let rounds: Vec<Duration> = (0..200).map(|_| round_trip(&mut stream)).collect();
            let worst = rounds.iter().max().unwrap();
            let all: Duration = rounds.iter().sum();
            // A delayed acknowledgement or a timer on the way would be 40 ms a round.
            assert!(all < Duration::from_secs(2), "{all:?}, the worst {worst:?}");
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_text(&mut stream).unwrap(), "");
        }
        run.finish();
    });
}

pub(crate) fn round_trip(stream: &mut std::net::TcpStream) -> Duration {
    let started = Instant::now();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    started.elapsed()
}

#[test]
fn a_client_that_stops_reading_stops_itself_only() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["source=33554432@80"]).up();
        for family in Family::BOTH {
            let to = run.tcp(80, family);
            let mut stalled = connect_with_buffers(to, 16 << 10);
            let alone = Instant::now();
            assert_eq!(download(to), "33554432 ok");
            assert!(alone.elapsed() < BULK, "beside a stalled one: {:?}", alone.elapsed());
            // Slowly at first, then all the rest.
            let mut checker = Checker::new(Way::FromGuest);
            let mut buffer = vec![0; 32 << 10];
            while checker.received() < 2 * MIB {
                let length = stalled.read(&mut buffer).unwrap();
                checker.feed(&buffer[..length]);
                std::thread::sleep(Duration::from_micros(500));
            }
            loop {
                match stalled.read(&mut buffer).unwrap() {
                    0 => break,
                    length => checker.feed(&buffer[..length]),
                }
            }
            assert_eq!(checker.verdict(), "33554432 ok");
        }
        run.finish();
    });
}

#[test]
fn a_guest_that_reads_slowly_holds_up_nobody_else() {
    isolated(|_| {
        let services = ["slow-sink=1@80", "sink-small@81", "sink@82"];
        let run = Run::usual().publish("0:80").publish("0:81").publish("0:82");
        let run = run.serve(&services).up();
        for family in Family::BOTH {
            let [slow, small, fast] = [80, 81, 82].map(|port| run.tcp(port, family));
            std::thread::scope(|scope| {
                let slow = scope.spawn(move || upload(slow, 32 * MIB));
                let small = scope.spawn(move || upload(small, 2 * MIB));
                let started = Instant::now();
                assert_eq!(upload(fast, 32 * MIB), "33554432 ok");
                assert!(started.elapsed() < BULK, "beside slow ones: {:?}", started.elapsed());
                assert_eq!(slow.join().unwrap(), "33554432 ok");
                assert_eq!(small.join().unwrap(), "2097152 ok");
            });
        }
        run.finish();
    });
}

#[test]
fn an_echo_through_small_buffers_never_deadlocks() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81");
        let run = run.serve(&["echo-small@80", "echo@81"]).up();
        for family in Family::BOTH {
            echo(&run, 80, family, 4096, 2 * MIB);
            echo(&run, 81, family, 4096, 8 * MIB);
            echo(&run, 81, family, 1 << 20, 32 * MIB);
        }
        run.finish();
    });
}

fn echo(run: &Running, port: u16, family: Family, buffers: usize, length: u64) {
    let mut stream = connect_with_buffers(run.tcp(port, family), buffers);
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            content::send(&mut writer, Way::ToGuest, length).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let received = content::receive(&mut stream, Way::ToGuest);
        assert_eq!(received.unwrap().verdict(), format!("{length} ok"));
    });
}

#[test]
fn many_transfers_at_once() {
    isolated(|_| {
        let services = ["sink@80", "source=4194304@81"];
        let run = Run::usual().publish("0:80").publish("0:81").serve(&services).up();
        let started = Instant::now();
        std::thread::scope(|scope| {
            for at in 0..32_usize {
                let family = Family::BOTH[at % 2];
                let (up, down) = (run.tcp(80, family), run.tcp(81, family));
                scope.spawn(move || {
                    assert_eq!(upload(up, 4 * MIB), "4194304 ok");
                    assert_eq!(download(down), "4194304 ok");
                });
            }
        });
        assert!(started.elapsed() < 2 * BULK, "{:?}", started.elapsed());
        run.finish();
    });
}

/// As a program does that gathers little by little.
#[test]
fn a_slow_writer_is_heard_to_the_end() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["slow-source=4194304@80"]).up();
        for family in Family::BOTH {
            let (checker, end) = receive(&mut connect(run.tcp(80, family)));
            assert!(matches!(end, End::Fin), "{end:?}");
            assert_eq!(checker.verdict(), "4194304 ok");
        }
        run.finish();
    });
}
