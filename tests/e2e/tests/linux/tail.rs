//! The command's exit: what it sent before arrives, and nothing is waited for in vain.

use std::io::Read as _;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{End, ask, connect, connect_with_buffers, download, receive, udp};
use portreeve_e2e::content::{Checker, Way};
use portreeve_e2e::machine::{User, eventually, has_tool, is_running, skip};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, file_in, open_directory};
use rustix::process::Signal;

#[test]
fn what_is_sent_right_before_the_exit_arrives() {
    isolated(|_| {
        for user in User::all() {
            for family in [Family::V4, Family::V6, Family::V4, Family::V6, Family::V4] {
                let run = Run::by(user).publish("0:80").serve(&["exit=8388608@80"]).up();
                assert_eq!(download(run.tcp(80, family)), "8388608 ok");
                let received = Instant::now();
                let outcome = run.end();
                assert_eq!(outcome.code, Some(0), "{outcome:?}");
                assert!(!outcome.err.contains("warning"), "{outcome:?}");
                let late = received.elapsed();
                assert!(late < Duration::from_secs(1), "it ends {late:?} after the last byte");
            }
        }
    });
}

#[test]
fn everybody_gets_all_of_it() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["exit-tenth=1048576@80"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        std::thread::scope(|scope| {
            for at in 0..10_u64 {
                let to = if at % 2 == 0 { v4 } else { v6 };
                scope.spawn(move || {
                    let mut stream = connect_with_buffers(to, 64 << 10);
                    let mut checker = Checker::new(Way::FromGuest);
                    let mut buffer = vec![0; 64 << 10];
                    loop {
                        // The first at full speed, the last slowly.
                        std::thread::sleep(Duration::from_millis(at));
                        match stream.read(&mut buffer).unwrap() {
                            0 => break,
                            length => checker.feed(&buffer[..length]),
                        }
                    }
                    assert_eq!(checker.verdict(), "1048576 ok", "client {at}");
                });
            }
        });
        let outcome = run.end();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(!outcome.err.contains("warning"), "{outcome:?}");
    });
}

#[test]
fn a_slow_client_gets_all_of_it() {
    isolated(|_| {
        for family in Family::BOTH {
            // The client is never idle for as long as the patience, and far longer in all.
            let run = Run::usual().with(&["--drain", "400ms"]).publish("0:80");
            let run = run.serve(&["exit=8388608@80"]).up();
            let mut stream = connect_with_buffers(run.tcp(80, family), 64 << 10);
            let mut checker = Checker::new(Way::FromGuest);
            let mut buffer = vec![0; 64 << 10];
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    length => checker.feed(&buffer[..length]),
                }
                std::thread::sleep(Duration::from_millis(8));
            }
            assert_eq!(checker.verdict(), "8388608 ok");
            let outcome = run.end();
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert!(!outcome.err.contains("warning"), "{outcome:?}");
        }
    });
}

/// What the guest sent before it exited: as much as the host's socket takes, or more than it and
/// the ring do.
fn taken_by_nobody(length: u64) -> (Checker, End) {
    let run = Run::usual().with(&["--drain", "500ms"]).publish("0:80");
    let run = run.serve(&[&format!("exit={length}@80")]).up();
    let mut stream = connect_with_buffers(run.tcp(80, Family::V4), 16 << 10);
    let outcome = run.end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.err.contains("1 connections took nothing for 500ms"), "{outcome:?}");
    assert!(outcome.took > Duration::from_millis(500), "{outcome:?}");
    assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
    receive(&mut stream)
}

#[test]
fn a_client_that_takes_nothing_is_waited_for_as_long_as_asked() {
    isolated(|network| {
        // The host's kernel has all of it, and goes on without us.
        let (checker, end) = taken_by_nobody(400_000);
        assert_eq!(checker.verdict(), "400000 ok");
        assert!(matches!(end, End::Fin), "{end:?}");
        if !network.is_own() {
            return;
        }
        // The host's kernel has some, the ring and the guest's kernel the rest: what is lost must
        // not look finished.
        std::fs::write("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 65536").unwrap();
        let (checker, end) = taken_by_nobody(400_000);
        assert!(checker.received() < 400_000, "{checker:?}");
        assert!(matches!(end, End::Reset), "{end:?}");
    });
}

/// What the guest's kernel has to send again, it sends after the command's end.
#[test]
fn a_link_that_loses_does_not_lose_the_tail() {
    if !has_tool("nft", "nftables") {
        return;
    }
    isolated(|_| {
        if !User::all().contains(&User::Root) {
            return skip("a lossy guest: nftables in it needs root");
        }
        for family in Family::BOTH {
            let run = Run::by(User::Root).publish("0:80");
            // Of the segments with the last bytes and the FIN, two of three are lost.
            let script = "nft 'table inet loss { chain out { type filter hook output priority 0;
                    tcp flags & fin == fin numgen inc mod 3 < 2 drop; }; }'
                exec \"$0\" serve exit=2097152@80";
            let guest = run.guest_program();
            let run = run.command(&["sh", "-c", script, &guest]).up();
            assert_eq!(download(run.tcp(80, family)), "2097152 ok");
            let outcome = run.end();
            assert!(!outcome.err.contains("warning"), "{outcome:?}");
        }
    });
}

#[test]
fn datagrams_sent_right_before_the_exit_arrive() {
    isolated(|_| {
        for family in Family::BOTH {
            let run = Run::usual().publish("0:80/udp").serve(&["udp-exit=200@80"]).up();
            let socket = udp(run.udp(80, family));
            socket.send(b"go").unwrap();
            for at in 0..200_u8 {
                let mut datagram = [0; 2000];
                let length = socket
                    .recv(&mut datagram)
                    .unwrap_or_else(|error| panic!("{family:?}: {error} instead of datagram {at}"));
                assert_eq!(datagram[..length], [at; 1000]);
            }
            assert_eq!(run.end().code, Some(0));
        }
    });
}

/// Who waits for a client must be able to stop waiting.
#[test]
fn a_signal_ends_the_wait_for_a_client() {
    isolated(|_| {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let directory = open_directory();
            let (list, name) = file_in(&directory, "ports");
            let run = Run::usual().with(&["--drain", "1h", "--ports-file", &name]);
            let run = run.publish("0:80").serve(&["exit=400000@80"]).up();
            let stream = connect_with_buffers(run.tcp(80, Family::V4), 16 << 10);
            let init = run.init();
            eventually("the command has ended", || !is_running(init));
            std::thread::sleep(Duration::from_millis(200));
            run.signal(signal);
            let asked = Instant::now();
            let outcome = run.end();
            assert!(asked.elapsed() < Duration::from_secs(2), "{outcome:?}");
            assert!(!list.exists(), "a list of ports that are gone");
            drop(stream);
        }
    });
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    isolated(|_| {
        let mut run = Run::usual().publish("0:80").publish("0:81");
        run = run.publish("0:82/udp");
        let mut run = run.serve(&["echo@80", "hold@81", "udp-echo@82"]).up();
        let mut open: Vec<_> = [80, 81].map(|port| connect(run.tcp(port, Family::V4))).into();
        let socket = udp(run.udp(82, Family::V6));
        assert_eq!(ask(&socket, b"x").unwrap(), b"x");
        std::thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        run.tell("exit 3");
        let outcome = run.end();
        assert_eq!(outcome.code, Some(3), "{outcome:?}");
        assert!(!outcome.err.contains("warning"), "{outcome:?}");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        // A process that exits closes in order what it had read to the end.
        for stream in &mut open {
            let (checker, end) = receive(stream);
            assert_eq!(checker.received(), 0);
            assert!(matches!(end, End::Fin), "{end:?}");
        }
    });
}
