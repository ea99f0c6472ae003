//! The guest's own datagrams: every size, errors that come back, and one host port for each of its
//! own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use portreeve::{DropReason, Limits};
use portreeve_e2e::calls::{Caller as _, errno, split};
use portreeve_e2e::internet::{Internet, Nowhere};
use portreeve_e2e::library::Guest;
use portreeve_e2e::machine::{User, am_root, descriptors, eventually, skip};
use portreeve_e2e::network::{Family, Namespace, isolated};
use portreeve_e2e::run::{Run, Running};

/// None, one, what fits a packet of 1500, one more, what needs several, and the most there is.
const SIZES: [usize; 7] = [0, 1, 1452, 1472, 1473, 9000, 65_507];

fn guest() -> Running {
    Run::usual().serve(&["hush"]).up()
}

#[test]
fn every_size_there_and_back() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["udp-echo@7"]);
        for mtu in ["1500", "1280", "65520"] {
            for user in User::all() {
                let run = Run::by(user).with(&["--mtu", mtu]).serve(&["hush"]).up();
                for family in Family::BOTH {
                    for size in SIZES {
                        run.expect(&format!("udp echo {} {size}", Internet::at(family, 7)), "ok");
                    }
                }
                run.finish();
            }
        }
    });
}

#[test]
fn what_the_path_says_comes_back() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        let run = guest();
        for family in Family::BOTH {
            let (outcome, took) =
                run.ask_timed(&format!("udp refused {}", Internet::at(family, 81)));
            assert_eq!(outcome, "ECONNREFUSED");
            assert!(took < 900, "{took} ms");
            for nowhere in [Nowhere::Unreachable, Nowhere::Prohibited] {
                let to = SocketAddr::new(nowhere.address(family), 81);
                let (outcome, _) = run.ask_timed(&format!("udp refused {to} tries=3"));
                // Exactly as it would be without anything in between.
                assert_eq!(outcome, direct(to), "{nowhere:?} {family:?}");
            }
        }
        run.finish();
    });
}

/// What a connected socket of the host hears from `to`.
fn direct(to: SocketAddr) -> String {
    let socket = portreeve_e2e::client::udp(to);
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.send(b"anybody?").unwrap();
    errno(&socket.recv(&mut [0; 10]).unwrap_err())
}

/// RFC 1191 and RFC 8201: the guest learns how much the path takes, and larger ones go in parts.
#[test]
fn a_narrow_path_shrinks_the_guests_mtu() {
    isolated(|network| {
        let Some(internet) = network.internet_over(&[1500, 1300, 1500]) else { return };
        let _servers = internet.serve(&["udp-echo@7", "udp-source@8"]);
        let run = guest();
        for family in Family::BOTH {
            run.expect(&format!("udp mtu {} 1400", Internet::at(family, 7)), "1300");
            run.expect(&format!("udp echo {} 1200 df", Internet::at(family, 7)), "ok");
            for size in [1400, 5000, 65_507] {
                run.expect(&format!("udp echo {} {size}", Internet::at(family, 7)), "ok");
            }
        }
        run.finish();
    });
}

/// A socket of some server's.
fn socket(place: &Namespace, address: IpAddr, port: u16) -> UdpSocket {
    let socket = place.run(|| UdpSocket::bind((address, port)).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut text = [0; 100];
    let (length, from) = socket.recv_from(&mut text).unwrap();
    (String::from_utf8_lossy(&text[..length]).into_owned(), from)
}

/// RFC 4787 §4.1: one port of the guest's is one port of the host's, whoever is spoken to.
#[test]
fn one_port_for_all_destinations() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let run = guest();
        for family in Family::BOTH {
            let server =
                |number, port| socket(internet.servers(), Internet::server(family, number), port);
            let sockets = [server(1, 1001), server(2, 1001), server(1, 1002)];
            let wildcard = if family == Family::V4 { "v4" } else { "v6" };
            for port in [5001, 5002] {
                run.expect(&format!("udp open {port} {wildcard}"), &format!("open {port}"));
            }
            let seen = |port: u16| {
                sockets.each_ref().map(|socket| {
                    let to = socket.local_addr().unwrap();
                    run.expect(&format!("udp send {port} {to} {port}"), "sent");
                    let (text, from) = receive(socket);
                    assert_eq!(text, port.to_string());
                    from
                })
            };
            let [first, second, third] = seen(5001);
            assert_eq!([second, third], [first; 2]);
            let other = seen(5002)[0];
            assert_ne!(other, first);
            // And each answer comes from who gave it, to whom it is for.
            for (at, socket) in sockets.iter().enumerate() {
                socket.send_to(format!("answer{at}").as_bytes(), first).unwrap();
                let from = socket.local_addr().unwrap();
                run.expect("udp heard 5001 wait=10000", &format!("{from} answer{at}"));
            }
            run.expect("udp heard 5002 wait=200", "timeout");
            for port in [5001, 5002] {
                run.expect(&format!("udp close {port}"), "closed");
            }
        }
        run.finish();
    });
}

/// RFC 4787 §5: who may answer.
#[test]
fn filtering_is_as_asked_for() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        for (mode, heard) in [
            ("endpoint-independent", [true, true, true]),
            ("address-dependent", [true, true, false]),
            ("address-and-port-dependent", [true, false, false]),
        ] {
            let run = Run::usual().with(&["--udp-filtering", mode]).serve(&["hush"]).up();
            for family in Family::BOTH {
                let server = |number, port| {
                    socket(internet.servers(), Internet::server(family, number), port)
                };
                // The one spoken to, the same host at another port, another host.
                let sockets = [server(1, 1001), server(1, 1002), server(2, 1001)];
                let wildcard = if family == Family::V4 { "v4" } else { "v6" };
                run.expect(&format!("udp open 5001 {wildcard}"), "open 5001");
                let to = sockets[0].local_addr().unwrap();
                run.expect(&format!("udp send 5001 {to} hello"), "sent");
                let (_, mapped) = receive(&sockets[0]);
                // The one that is always heard comes last: then what was kept out is known.
                for at in [2, 1, 0] {
                    sockets[at].send_to(format!("from{at}").as_bytes(), mapped).unwrap();
                }
                for at in [2, 1, 0].into_iter().filter(|at| heard[*at]) {
                    let from = sockets[at].local_addr().unwrap();
                    run.expect("udp heard 5001 wait=10000", &format!("{from} from{at}"));
                }
                run.expect("udp heard 5001 wait=100", "timeout");
                run.expect("udp close 5001", "closed");
            }
            run.finish();
        }
    });
}

/// A socket per one-shot datagram would be a leak for as long as it is kept.
#[test]
fn a_thousand_one_shot_datagrams_leave_nothing() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["udp-echo@7"]);
        let limits = Limits {
            max_mappings: 100,
            udp_idle_secs: 1,
            udp_idle_one_shot_secs: 1,
            ..Limits::default()
        };
        let Some(guest) = Guest::serve(limits, &["hush"]) else { return };
        let sockets = || guest.engine.stats().unwrap().driver.open_sockets;
        for family in Family::BOTH {
            let call = guest.begin(&format!("udp sources {} 1000", Internet::at(family, 7)));
            let most = (0..50).map(|_| {
                std::thread::sleep(Duration::from_millis(2));
                sockets()
            });
            let most = most.max().unwrap();
            assert!(most <= 110, "{most} sockets");
            assert_eq!(guest.answer(call), "sent 1000");
            eventually("no socket is left", || sockets() == 0);
            guest.expect(&format!("udp echo {} 10", Internet::at(family, 7)), "ok");
            eventually("no mapping is left", || guest.engine.flows().is_empty());
        }
        let counters = guest.engine.counters().unwrap();
        assert!(counters.drops(DropReason::MappingEvicted) > 0);
    });
}

/// The same through the command, by what the kernel counts.
#[test]
fn datagrams_from_many_ports_keep_to_the_limit_of_files() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["udp-echo@7"]);
        let run = guest();
        let before = descriptors(run.id()).len();
        for family in Family::BOTH {
            // A late answer would be one for whoever has the port next.
            let mute = socket(internet.servers(), Internet::server(family, 1), 1005);
            let to = mute.local_addr().unwrap();
            run.expect(&format!("udp sources {to} 3000"), "sent 3000");
        }
        run.expect(&format!("udp echo {} 10", Internet::at(Family::V4, 7)), "ok");
        let most = Limits::default().max_mappings + 64;
        let after = descriptors(run.id()).len();
        assert!(after <= before + most, "{before} and then {after}");
        run.finish();
    });
}

#[test]
fn who_is_silent_is_silent() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        let run = guest();
        for family in Family::BOTH {
            let to = SocketAddr::new(Nowhere::Silent.address(family), 9);
            let (outcome, _) = split(&run.ask(&format!("udp refused {to} tries=2")));
            assert_eq!(outcome, "timeout");
        }
        run.finish();
    });
}

/// Whether packets may be put together by hand here; says so if not.
fn may_forge() -> bool {
    if !am_root() {
        skip("forged packets: the tests do not run as root");
    }
    am_root()
}

#[test]
fn a_source_that_is_not_the_guests_gets_nowhere() {
    if !may_forge() {
        return;
    }
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let Some(guest) = Guest::serve(Limits::default(), &["hush"]) else { return };
        for family in Family::BOTH {
            let server = socket(internet.servers(), Internet::server(family, 1), 1003);
            let to = server.local_addr().unwrap();
            let dropped = || {
                let counters = guest.engine.counters().unwrap();
                counters.drops(DropReason::SourceAddress)
            };
            let before = dropped();
            let sources =
                [Internet::host(family)[0], Internet::server(family, 2), family.loopback()];
            for source in sources {
                guest.expect(&format!("raw udp {to} {source} 10"), "sent");
            }
            eventually("all are dropped", || dropped() >= before + 30);
            // What comes behind them is the first that arrives.
            let wildcard = if family == Family::V4 { "v4" } else { "v6" };
            guest.expect(&format!("udp open 5001 {wildcard}"), "open 5001");
            guest.expect(&format!("udp send 5001 {to} honest"), "sent");
            assert_eq!(receive(&server).0, "honest");
            guest.expect("udp close 5001", "closed");
        }
    });
}

/// RFC 5722, RFC 8200 §4.5, RFC 815.
#[test]
fn fragments_are_joined_if_they_fit_and_only_then() {
    if !may_forge() {
        return;
    }
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let limits = Limits { fragment_queues: 16, fragment_timeout_secs: 1, ..Limits::default() };
        let Some(guest) = Guest::serve(limits, &["hush"]) else { return };
        let dropped = |reason| guest.engine.counters().unwrap().drops(reason);
        for family in Family::BOTH {
            let server = socket(internet.servers(), Internet::server(family, 1), 1004);
            let to = server.local_addr().unwrap();
            let before = [
                DropReason::FragmentOverlap,
                DropReason::FragmentTimeout,
                DropReason::FragmentLimit,
            ]
            .map(dropped);
            guest.expect(&format!("raw overlap {to} 5"), "sent");
            eventually("overlaps are dropped", || {
                dropped(DropReason::FragmentOverlap) >= before[0] + 5
            });
            guest.expect(&format!("raw missing {to} 4"), "sent");
            eventually("what is missing is not waited for", || {
                dropped(DropReason::FragmentTimeout) > before[1]
            });
            guest.expect(&format!("raw missing {to} 500"), "sent");
            eventually("there is a limit", || dropped(DropReason::FragmentLimit) > before[2]);
            eventually("all are given up", || {
                let given_up = dropped(DropReason::FragmentTimeout) - before[1];
                given_up + dropped(DropReason::FragmentLimit) - before[2] >= 504
            });
            // The last fragment first is a datagram all the same, and the first that arrives.
            guest.expect(&format!("raw fragments {to} 9000"), "sent");
            let mut datagram = vec![0; 65_536];
            let length = server.recv(&mut datagram).unwrap();
            let wanted =
                portreeve_e2e::content::bytes(portreeve_e2e::content::Way::FromGuest, 9000);
            assert!(datagram[..length] == wanted, "{length} bytes");
        }
    });
}
