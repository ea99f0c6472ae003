//! Guests unlike the usual one: old options, small buffers, other segment sizes, no offloads, lossy
//! links, long pauses. No byte is any different for them.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{connect, download, exchange, read_text, refusal, upload};
use portreeve_e2e::content::{self, Way};
use portreeve_e2e::machine::{User, family, has_tool, skip};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, Running};
use rustix::process::{Pid, Signal, kill_process};

const MIB: u64 = 1 << 20;

/// A guest in which a script has changed something; only root may do that.
fn changed_by(script: &str) -> Option<Running> {
    if !User::all().contains(&User::Root) {
        skip("odd guests: changing their network needs root");
        return None;
    }
    let run = Run::by(User::Root).publish("0:80").publish("0:81").publish("0:82");
    let guest = run.guest_program();
    let script = format!("set -e\n{script}\nexec \"$0\" serve sink@80 source=4194304@81 line@82");
    Some(run.command(&["sh", "-c", &script, &guest]).up())
}

fn serves_well(run: &Running) {
    for family in Family::BOTH {
        assert_eq!(exchange(run.tcp(82, family), "hello").unwrap(), "hello\n");
        assert_eq!(upload(run.tcp(80, family), 4 * MIB), "4194304 ok");
        assert_eq!(download(run.tcp(81, family)), "4194304 ok");
    }
}

#[test]
fn without_options_or_with_others() {
    isolated(|_| {
        let tcp = "cd /proc/sys/net/ipv4";
        for change in [
            "echo 0 >tcp_window_scaling",
            "echo 0 >tcp_timestamps; echo 0 >tcp_sack",
            "echo 0 >tcp_window_scaling; echo 0 >tcp_timestamps; echo 0 >tcp_sack",
            "echo 1 >tcp_ecn",
            "echo 4096 8192 16384 >tcp_rmem; echo 4096 8192 16384 >tcp_wmem",
            "echo 4096 131072 33554432 >tcp_rmem; echo 4096 131072 33554432 >tcp_wmem",
            "echo reno >tcp_congestion_control",
        ] {
            let Some(run) = changed_by(&format!("{tcp}; {change}")) else { return };
            serves_well(&run);
            run.finish();
        }
    });
}

#[test]
fn with_another_segment_size() {
    if !has_tool("ip", "iproute2") {
        return;
    }
    isolated(|_| {
        for change in [
            "ip link set eth0 mtu 1300",
            "for v in 4 6; do ip -$v route change $(ip -$v route show default) advmss 500; done",
        ] {
            let Some(run) = changed_by(change) else { return };
            serves_well(&run);
            run.finish();
        }
    });
}

#[test]
fn without_offloads() {
    isolated(|_| {
        for offloads in ["tso", "tso gso", "tx", "tx tso gso gro", "gro"] {
            let Some(run) = changed_by(&format!("\"$0\" without {offloads}")) else { return };
            serves_well(&run);
            run.finish();
        }
    });
}

/// A guest that loses frames is not to lose bytes.
#[test]
fn behind_a_link_that_loses() {
    if !has_tool("nft", "nftables") {
        return;
    }
    isolated(|_| {
        let change = "nft -f - <<'END'
            table inet loss {
                chain in { type filter hook input priority 0; numgen random mod 100 < 10 drop; }
                chain out { type filter hook output priority 0; numgen random mod 100 < 10 drop; }
            }
END";
        let Some(run) = changed_by(change) else { return };
        serves_well(&run);
        // With a closed window what opens it may be what is lost.
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        std::thread::scope(|scope| {
            for to in [v4, v6, v4, v6] {
                scope.spawn(move || assert_eq!(upload(to, 2 * MIB), "2097152 ok"));
            }
        });
        run.finish();
    });
}

#[test]
fn that_filters() {
    if !has_tool("nft", "nftables") {
        return;
    }
    isolated(|_| {
        let filter = |rules: &str| {
            // ICMP errors are limited to one a second otherwise.
            format!(
                "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
                echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
                nft 'table inet t {{ chain in {{ type filter hook input priority 0; {rules}; }}; }}'"
            )
        };
        // A firewall's polite refusals are refusals.
        for rule in ["reject with icmpx admin-prohibited", "reject with tcp reset", "reject"] {
            let rule = format!("tcp dport 80 {rule}");
            let Some(run) = changed_by(&filter(&rule)) else { return };
            for family in Family::BOTH {
                let refusals: Vec<_> = (0..5).map(|_| refusal(run.tcp(80, family))).collect();
                let soonest = refusals.iter().map(|(_, took)| *took).min().unwrap();
                assert!(soonest < Duration::from_millis(100), "{rule}: {refusals:?}");
                assert!(refusals.iter().all(|(kind, _)| *kind == ErrorKind::ConnectionReset));
                assert_eq!(exchange(run.tcp(82, family), "hello").unwrap(), "hello\n");
            }
            run.finish();
        }
        // One family is silent, the other serves.
        for (silent, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
            let rule = format!("meta nfproto {silent} tcp dport 82 drop");
            let Some(run) = changed_by(&filter(&rule)) else { return };
            let started = Instant::now();
            assert_eq!(exchange(run.tcp(82, family), "hello").unwrap(), "hello\n");
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
            run.finish();
        }
    });
}

/// With its queue of connections full, a guest's kernel drops SYNs, and the last part of
/// handshakes too: both have to be sent again.
#[test]
fn that_accepts_slowly() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["hush", "narrow@80"]).up();
        let [v4, v6] = Family::BOTH.map(|family| run.tcp(80, family));
        let started = Instant::now();
        std::thread::scope(|scope| {
            for at in 0..40 {
                let to = if at % 2 == 0 { v4 } else { v6 };
                let text = at.to_string();
                scope.spawn(move || assert_eq!(exchange(to, &text).unwrap(), format!("{text}\n")));
            }
        });
        assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
        run.finish();
    });
}

/// The process in the guest that is stopped and continued.
fn server(run: &Running) -> Pid {
    let last = family(run.id()).last().copied().and_then(|id| i32::try_from(id).ok());
    last.and_then(Pid::from_raw).unwrap()
}

#[test]
fn a_long_pause_is_followed_by_the_rest_at_once() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["sink@80"]).up();
        let engine = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
        // The server stands still with a closed window; then the engine itself does.
        for paused in [server(&run), engine] {
            for family in Family::BOTH {
                let mut stream = connect(run.tcp(80, family));
                content::send(&mut stream, Way::ToGuest, MIB).unwrap();
                kill_process(paused, Signal::STOP).unwrap();
                std::thread::scope(|scope| {
                    let mut writer = stream.try_clone().unwrap();
                    let rest = scope.spawn(move || {
                        let mut sent = MIB;
                        while sent < 32 * MIB {
                            let piece = content::piece(Way::ToGuest, sent, 32 * MIB - sent);
                            std::io::Write::write_all(&mut writer, piece).unwrap();
                            sent += piece.len() as u64;
                        }
                        writer.shutdown(std::net::Shutdown::Write).unwrap();
                    });
                    std::thread::sleep(Duration::from_millis(1200));
                    assert!(!rest.is_finished(), "32 MiB fit nowhere");
                    kill_process(paused, Signal::CONT).unwrap();
                });
                let started = Instant::now();
                assert_eq!(read_text(&mut stream).unwrap(), "33554432 ok\n");
                assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
            }
        }
        run.finish();
    });
}
