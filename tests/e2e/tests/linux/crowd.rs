//! Many clients: all answered, none slowed down by the idle, and cheap while they idle.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{connect, exchange, read_text, reset};
use portreeve_e2e::machine::{User, eventually, resident};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

#[test]
fn a_thousand_at_once_are_all_answered() {
    portreeve::raise_fd_limit().unwrap();
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["hush", "line@80"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        let mut streams: Vec<_> =
            (0..1000).map(|at| connect(if at % 2 == 0 { v4 } else { v6 })).collect();
        for (at, stream) in streams.iter_mut().enumerate() {
            stream.write_all(format!("{at}\n").as_bytes()).unwrap();
        }
        for (at, stream) in streams.iter_mut().enumerate() {
            assert_eq!(read_text(stream).unwrap(), format!("{at}\n"));
        }
        run.finish();
    });
}

#[test]
fn two_hundred_in_parallel_for_a_while_never_fail() {
    portreeve::raise_fd_limit().unwrap();
    let long = std::env::var_os("PORTREEVE_LONG").is_some_and(|value| value == "1");
    let length = Duration::from_secs(if long { 10 } else { 3 });
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["hush", "line@80"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        let until = Instant::now() + length;
        let mut took: Vec<Duration> = std::thread::scope(|scope| {
            let client = |at: usize| {
                let to = if at.is_multiple_of(2) { v4 } else { v6 };
                let client = move || {
                    let mut took = Vec::new();
                    while Instant::now() < until {
                        let started = Instant::now();
                        assert_eq!(exchange(to, "hello").unwrap(), "hello\n");
                        took.push(started.elapsed());
                    }
                    took
                };
                std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, client)
            };
            let clients: Vec<_> = (0..200).map(|at| client(at).unwrap()).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        let count = took.len();
        eprintln!("{count} exchanges in {length:?}, half of them in {median:?}, all in {worst:?}");
        assert!(count > 1000, "{count} exchanges");
        // A SYN lost on the way to a full queue would be sent again after a second.
        assert!(took[count * 99 / 100] < Duration::from_millis(900), "{worst:?}");
        run.finish();
    });
}

#[test]
fn a_crowd_at_one_port_is_not_in_the_way_of_another() {
    portreeve::raise_fd_limit().unwrap();
    isolated(|_| {
        let run = Run::usual().publish("0:80").publish("0:81");
        let run = run.serve(&["hush", "line@80", "line@81"]).up();
        let (crowded, quiet) = (run.tcp(80, Family::V4), run.tcp(81, Family::V4));
        let until = Instant::now() + Duration::from_secs(2);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(move || {
                    while Instant::now() < until {
                        drop(connect(crowded));
                    }
                });
            }
            let mut took = Vec::new();
            while Instant::now() < until {
                let started = Instant::now();
                assert_eq!(exchange(quiet, "hello").unwrap(), "hello\n");
                took.push(started.elapsed());
            }
            took.sort_unstable();
            let median = took[took.len() / 2];
            assert!(median < Duration::from_millis(300), "{median:?} of {}", took.len());
        });
        run.finish();
    });
}

/// Clients' ports come round in no time where the kernel has few: a guest's TIME-WAIT and a live
/// connection of the same number are in the way.
#[test]
fn port_numbers_come_round_without_a_pause() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40063").unwrap();
        let run = Run::usual().publish("7000:80").publish("7001:80");
        let run = run.serve(&["hush", "line@80"]).up();
        for family in Family::BOTH {
            let [first, second] = [7000, 7001].map(|port| (family.loopback(), port).into());
            // Those that stay open keep half of all numbers, at the other listener.
            let mut open: Vec<_> = (0..32).map(|_| connect(second)).collect();
            let mut worst = Duration::ZERO;
            for at in 0..600 {
                let started = Instant::now();
                let text = at.to_string();
                assert_eq!(exchange(first, &text).unwrap(), format!("{text}\n"));
                worst = worst.max(started.elapsed());
            }
            assert!(worst < Duration::from_millis(500), "{worst:?}");
            for (at, stream) in open.iter_mut().enumerate() {
                stream.write_all(format!("open {at}\n").as_bytes()).unwrap();
                assert_eq!(read_text(stream).unwrap(), format!("open {at}\n"));
            }
        }
        run.finish();
    });
}

#[test]
fn two_thousand_idle_ones_cost_little_memory_and_no_time() {
    portreeve::raise_fd_limit().unwrap();
    isolated(|_| {
        // The ordinary user's descriptors are counted the same.
        let run = Run::by(User::usual()).publish("0:80").publish("0:81");
        let run = run.serve(&["hush", "hold@80", "echo@81"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        let mut busy = connect(run.tcp(81, Family::V4));
        let alone = best_round_trip(&mut busy);
        let before = resident(run.id());
        let mut idle: Vec<_> =
            (0..2000).map(|at| connect(if at % 2 == 0 { v4 } else { v6 })).collect();
        for stream in &mut idle {
            // A connection that has been used: its rings have been touched.
            stream.write_all(&[1; 3000]).unwrap();
        }
        let beside = best_round_trip(&mut busy);
        // Unused rings are given back after a second.
        std::thread::sleep(Duration::from_millis(2500));
        let each = resident(run.id()).saturating_sub(before) / 2000;
        eprintln!("{each} bytes for each of 2000; a round trip {alone:?}, beside them {beside:?}");
        assert!(beside < 3 * alone + Duration::from_micros(300), "{alone:?}, {beside:?}");
        if !cfg!(debug_assertions) {
            assert!(each <= 16 << 10, "{each} bytes for an idle connection");
        }
        drop(idle);
        run.finish();
    });
}

#[test]
fn memory_is_given_back_when_connections_end() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["hush", "hold@80"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        let before = resident(run.id());
        let mut streams: Vec<_> =
            (0..40).map(|at| connect(if at % 2 == 0 { v4 } else { v6 })).collect();
        // The guest takes nothing, so every ring fills.
        let grown = || resident(run.id()).saturating_sub(before);
        let bytes = vec![1; 1 << 20];
        eventually("the rings fill", || {
            for stream in &mut streams {
                stream.set_nonblocking(true).unwrap();
                let _ = stream.write(&bytes);
            }
            grown() > 20 << 20
        });
        // In order, they would go on for as long as the guest takes nothing.
        streams.into_iter().for_each(reset);
        eventually("what they took is given back", || grown() < 4 << 20);
        run.finish();
    });
}

/// What a round trip takes when nothing else gets in between.
fn best_round_trip(stream: &mut TcpStream) -> Duration {
    let round = |_| {
        let started = Instant::now();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        started.elapsed()
    };
    (0..500).map(round).min().unwrap()
}
