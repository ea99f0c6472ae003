//! Echo requests, and the hops of a path as the guest counts them.

use std::net::IpAddr;

use portreeve_e2e::calls::Caller as _;
use portreeve_e2e::internet::{Internet, Nowhere};
use portreeve_e2e::machine::{User, am_root, has_tool, skip};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, Running};

/// Lets everybody in this thread's namespace open ping sockets, or nobody.
fn allow_pings(allow: bool) {
    let range = if allow { "0 2147483647" } else { "1 0" };
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", range).unwrap();
}

fn gateway(run: &Running, family: Family) -> IpAddr {
    let of = if family == Family::V4 { "v4" } else { "v6" };
    run.ask(&format!("name gateway {of}")).parse().unwrap()
}

#[test]
fn echoes_of_every_size_come_back() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        allow_pings(true);
        for user in User::all() {
            let run = Run::by(user).serve(&[]).up();
            for family in Family::BOTH {
                for to in [gateway(&run, family), Internet::server(family, 1)] {
                    for size in [0, 56, 1472, 1473, 9000] {
                        run.expect(&format!("icmp ping {to} size={size}"), "ok");
                    }
                }
            }
            run.finish();
        }
    });
}

#[test]
fn nobody_answers_for_who_is_not_there() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        allow_pings(true);
        let run = Run::usual().serve(&[]).up();
        for family in Family::BOTH {
            for (nowhere, wanted) in [
                (Nowhere::Unreachable, ["timeout", "EHOSTUNREACH", "ENETUNREACH"]),
                (Nowhere::Silent, ["timeout"; 3]),
            ] {
                let answer = run.ask(&format!("icmp ping {} wait=500", nowhere.address(family)));
                assert!(wanted.contains(&&*answer), "{nowhere:?} {family:?}: {answer}");
            }
            // Nor for the host itself.
            let answer = run.ask(&format!("icmp ping {} wait=500", Internet::host(family)[0]));
            assert_ne!(answer, "ok");
        }
        run.finish();
    });
}

/// Where the host forbids ping sockets, the gateway still answers and says why nobody else does.
#[test]
fn where_the_host_forbids_it_that_is_said() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        allow_pings(false);
        let _servers = internet.serve(&["hush", "line@80"]);
        // Root may ping whatever the setting.
        let run = Run::usual().serve(&[]).up();
        for family in Family::BOTH {
            run.expect(&format!("icmp ping {}", gateway(&run, family)), "ok");
            let answer = run.ask(&format!("icmp ping {} wait=500", Internet::server(family, 1)));
            if User::usual() == User::Ordinary {
                assert_ne!(answer, "ok");
                let said = |line: &str| line.contains("ping");
                assert!(run.err.so_far().lines().any(said), "{}", run.said());
            }
            run.expect(&format!("tcp line {}:80", bracketed(Internet::server(family, 1))), "hello");
        }
        run.finish();
    });
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv4() { address.to_string() } else { format!("[{address}]") }
}

#[test]
fn every_hop_is_seen_in_order() {
    if !am_root() {
        return skip("hops: reading ICMP errors needs root");
    }
    isolated(|network| {
        let Some(_internet) = network.internet_over(&[1500, 1500, 1500]) else { return };
        allow_pings(true);
        let run = Run::by(User::Root).serve(&[]).up();
        for family in Family::BOTH {
            let to = Internet::server(family, 1);
            let [first, second] = [0, 1].map(|hop| Internet::router(family, hop));
            let path = format!("{} {first} {second} {to}", gateway(&run, family));
            for protocol in ["udp", "icmp"] {
                run.expect(&format!("icmp trace {protocol} {to} 6"), &path);
            }
        }
        run.finish();
    });
}

/// ping(8), as users have it.
#[test]
fn the_usual_program_works() {
    if !has_tool("ping", "iputils-ping") {
        return;
    }
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        allow_pings(true);
        for user in User::all() {
            for family in Family::BOTH {
                let to = Internet::server(family, 1).to_string();
                let words = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "10", &to];
                let outcome = Run::by(user).command(&words).outcome();
                assert_eq!(outcome.code, Some(0), "{outcome:?}");
                assert!(outcome.out.contains("2 received"), "{outcome:?}");
            }
        }
        // Not a program's exit code alone: nobody there is nobody there.
        let to = Nowhere::Silent.address(Family::V4).to_string();
        let outcome = Run::usual().command(&["ping", "-n", "-c", "1", "-W", "1", &to]).outcome();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
    });
}
