//! Connections of the guest that do not come about: what is told, and how soon.

use std::net::{SocketAddr, TcpStream};

use portreeve::Limits;
use portreeve_e2e::calls::{Caller as _, errno, split};
use portreeve_e2e::internet::{Internet, Nowhere, nft};
use portreeve_e2e::library::Guest;
use portreeve_e2e::machine::{descriptors, eventually, has_tool};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

/// What is refused is refused at once. The machine may be busy; a SYN sent again or a time-out
/// would be a second at least.
const AT_ONCE: u64 = 900;

#[test]
fn who_is_not_there_is_known_at_once() {
    isolated(|network| {
        let Some((_internet, _servers, run)) = Internet::with_guest(network, &[]) else { return };
        for family in Family::BOTH {
            let connect = |to: SocketAddr| run.ask_timed(&format!("tcp connect {to}"));
            let (outcome, took) = connect(Internet::at(family, 81));
            assert_eq!(outcome, "ECONNREFUSED");
            assert!(took < AT_ONCE, "{took} ms");
            for nowhere in [Nowhere::Unreachable, Nowhere::Prohibited] {
                let (outcome, took) = connect((nowhere.address(family), 80).into());
                // Exactly as it would be without anything in between.
                let direct = TcpStream::connect((nowhere.address(family), 80)).unwrap_err();
                assert_eq!(outcome, errno(&direct), "{nowhere:?} {family:?}");
                assert!(took < AT_ONCE, "{took} ms");
            }
        }
        run.finish();
    });
}

#[test]
fn a_firewalls_refusals_are_refusals() {
    if !has_tool("nft", "nftables") {
        return;
    }
    isolated(|network| {
        let Some((internet, _servers, run)) =
            Internet::with_guest(network, &["hush", "line@80", "line@81"])
        else {
            return;
        };
        for rule in [
            "reject with tcp reset",
            "reject with icmpx port-unreachable",
            "reject with icmpx host-unreachable",
            "reject with icmpx admin-prohibited",
        ] {
            let table = "add table inet t; delete table inet t; table inet t { chain in { \
                         type filter hook input priority 0; tcp dport 80 RULE; }; }";
            internet.servers().run(|| nft(&table.replace("RULE", rule)));
            for family in Family::BOTH {
                let (outcome, took) =
                    run.ask_timed(&format!("tcp connect {}", Internet::at(family, 80)));
                let direct = TcpStream::connect(Internet::at(family, 80)).unwrap_err();
                assert_eq!(outcome, errno(&direct), "{rule} {family:?}");
                assert!(took < AT_ONCE, "{rule} {family:?}: {took} ms");
                run.expect(&format!("tcp line {}", Internet::at(family, 81)), "hello");
            }
        }
        run.finish();
    });
}

#[test]
fn without_a_way_out_the_network_is_unreachable() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let run = Run::usual().serve(&["hush"]).up();
        for family in Family::BOTH {
            let (outcome, took) =
                run.ask_timed(&format!("tcp connect {}", Internet::at(family, 80)));
            assert_eq!(outcome, "ENETUNREACH");
            assert!(took < AT_ONCE, "{took} ms");
        }
        run.finish();
    });
}

#[test]
fn silence_is_silence_and_holds_up_nobody_else() {
    isolated(|network| {
        let Some((_internet, _servers, run)) = Internet::with_guest(network, &["hush", "line@80"])
        else {
            return;
        };
        let silent: Vec<_> = (0..64)
            .map(|number| {
                let family = Family::BOTH[number % 2];
                let to = SocketAddr::new(Nowhere::Silent.address(family), 80);
                run.begin(&format!("tcp connect {to} within=3000"))
            })
            .collect();
        for family in Family::BOTH {
            run.expect(&format!("tcp series {} 20", Internet::at(family, 80)), "20 ok");
        }
        for call in silent {
            assert_eq!(split(&run.answer(call)).0, "timeout");
        }
        run.finish();
    });
}

/// After the time for it a dial is given up, and the guest is told.
#[test]
fn a_silent_destination_is_given_up_in_time() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        let limits = Limits { dial_timeout_ms: 700, ..Limits::default() };
        let Some(guest) = Guest::serve(limits, &["hush"]) else { return };
        for family in Family::BOTH {
            let to = SocketAddr::new(Nowhere::Silent.address(family), 80);
            let (outcome, took) = guest.ask_timed(&format!("tcp connect {to}"));
            assert!(["EHOSTUNREACH", "ETIMEDOUT"].contains(&&*outcome), "{outcome}");
            assert!((600..10_000).contains(&took), "{took} ms");
        }
        eventually("no flow is left", || guest.engine.flows().is_empty());
        eventually("no socket is left", || guest.engine.stats().unwrap().driver.open_sockets == 0);
    });
}

/// Without a descriptor left the guest hears so, and it goes on when there are some again.
#[test]
fn out_of_descriptors_is_a_refusal() {
    isolated(|network| {
        let Some((_internet, _servers, run)) =
            Internet::with_guest(network, &["hush", "line@80", "hold@81"])
        else {
            return;
        };
        for family in Family::BOTH {
            // The limit is on numbers, of which some below the highest may be free.
            let taken = descriptors(run.id());
            let most = (0..).filter(|number| !taken.contains(number)).nth(20).unwrap();
            run.limit_open_files(most);
            let held = run.ask(&format!("tcp hold {} 60", Internet::at(family, 81)));
            assert!(held.ends_with("ECONNREFUSED") || held.ends_with("ECONNRESET"), "{held}");
            assert_eq!(run.ask("tcp drop"), "dropped");
            eventually("service resumes", || {
                run.ask(&format!("tcp line {}", Internet::at(family, 80))) == "hello"
            });
            run.limit_open_files(1024);
        }
        run.finish();
    });
}

#[test]
fn nothing_leaves_when_nothing_may() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "line@80", "udp-echo@80"]);
        let run = Run::usual().with(&["--no-outbound"]).publish("0:90");
        let run = run.serve(&["hush", "line@90"]).up();
        for family in Family::BOTH {
            let (outcome, took) =
                run.ask_timed(&format!("tcp connect {}", Internet::at(family, 80)));
            assert_eq!(outcome, "ECONNREFUSED");
            assert!(took < AT_ONCE, "{took} ms");
            let answer = run.ask(&format!("udp echo {} 10", Internet::at(family, 80)));
            assert!(answer.starts_with('E'), "{answer}");
            // And what is published is.
            let published = run.tcp(90, family);
            assert_eq!(portreeve_e2e::client::exchange(published, "in").unwrap(), "in\n");
        }
        run.finish();
    });
}

/// Whoever asks for too much of one silent destination is refused at once, and others are not.
#[test]
fn a_flood_of_syns_is_none_of_dials() {
    isolated(|network| {
        let Some((_internet, _servers, run)) = Internet::with_guest(network, &["hush", "line@80"])
        else {
            return;
        };
        let before = descriptors(run.id()).len();
        let limit = Limits::default().max_dials_per_destination;
        let calls: Vec<_> = (0..2 * (limit + 100))
            .map(|number| {
                let family = Family::BOTH[number % 2];
                let to = SocketAddr::new(Nowhere::Silent.address(family), 80);
                run.begin(&format!("tcp connect {to} within=6000"))
            })
            .collect();
        for family in Family::BOTH {
            run.expect(&format!("tcp series {} 20", Internet::at(family, 80)), "20 ok");
        }
        let during = descriptors(run.id()).len();
        assert!(during <= before + 2 * limit + 32, "{before}, then {during} descriptors");
        let outcomes: Vec<_> = calls.into_iter().map(|call| split(&run.answer(call)).0).collect();
        let of = |wanted: &str| outcomes.iter().filter(|outcome| *outcome == wanted).count();
        assert_eq!(of("ECONNREFUSED") + of("timeout"), outcomes.len(), "{outcomes:?}");
        assert!(of("ECONNREFUSED") >= 2 * 100, "{outcomes:?}");
        run.finish();
    });
}
