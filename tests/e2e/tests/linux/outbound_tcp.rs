//! The guest's own TCP connections: what one end does is what the other end sees.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use portreeve::Egress;
use portreeve_e2e::calls::{Caller as _, split};
use portreeve_e2e::client::udp;
use portreeve_e2e::internet::{Internet, nft};
use portreeve_e2e::library::Guest;
use portreeve_e2e::machine::{User, eventually, has_tool};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, Running};

const MIB: u64 = 1 << 20;

#[test]
fn every_byte_both_ways_at_once() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "echo@7", "sink@9", "source=8388608@19"]);
        for user in User::all() {
            let run = Run::by(user).serve(&[]).up();
            for family in Family::BOTH {
                run.expect(
                    &format!("tcp echo {} {}", Internet::at(family, 7), 8 * MIB),
                    "8388608 ok Fin",
                );
                run.expect(
                    &format!("tcp upload {} {}", Internet::at(family, 9), 8 * MIB),
                    "8388608 ok",
                );
                run.expect(&format!("tcp download {}", Internet::at(family, 19)), "8388608 ok Fin");
            }
            run.finish();
        }
    });
}

#[test]
fn full_duplex_through_small_buffers() {
    isolated(|network| {
        let Some((_internet, _servers, run)) =
            Internet::with_guest(network, &["hush", "echo-small@7"])
        else {
            return;
        };
        let calls = Family::BOTH.map(|family| {
            run.begin(&format!("tcp echo {} {} small", Internet::at(family, 7), 2 * MIB))
        });
        for call in calls {
            assert_eq!(run.answer(call), "2097152 ok Fin");
        }
        run.finish();
    });
}

#[test]
fn a_slow_end_slows_the_other_and_nothing_is_lost() {
    isolated(|network| {
        let services = ["hush", "slow-sink=2@9", "slow-source=2000000@19", "source=4000000@20"];
        let Some((_internet, _servers, run)) = Internet::with_guest(network, &services) else {
            return;
        };
        let calls = Family::BOTH.map(|family| {
            [
                (format!("tcp upload {} 8000000", Internet::at(family, 9)), "8000000 ok"),
                (format!("tcp upload {} 2000000 pause=1", Internet::at(family, 9)), "2000000 ok"),
                (format!("tcp download {}", Internet::at(family, 19)), "2000000 ok Fin"),
                (
                    format!("tcp download {} pause=2 small", Internet::at(family, 20)),
                    "4000000 ok Fin",
                ),
            ]
            .map(|(order, wanted)| (run.begin(&order), wanted))
        });
        for (call, wanted) in calls.into_iter().flatten() {
            assert_eq!(run.answer(call), wanted);
        }
        run.finish();
    });
}

#[test]
fn half_closed_either_way_it_stays_half_open() {
    isolated(|network| {
        let services = ["answer=1000000@80", "half=1000000@81", "trickle=50@82"];
        let Some((_internet, servers, run)) = Internet::with_guest(network, &services) else {
            return;
        };
        for family in Family::BOTH {
            // The guest has said all, and is answered.
            run.expect(
                &format!("tcp answer {} 500000", Internet::at(family, 80)),
                "1000000 ok Fin",
            );
            servers.hear("answer@80 received 500000 ok");
            run.expect(&format!("tcp answer {} 10", Internet::at(family, 82)), "50 ok Fin");
            // The server has said all, and is answered.
            run.expect(&format!("tcp after {} 700000", Internet::at(family, 81)), "1000000 ok Fin");
            servers.hear("half@81 received 700000 ok");
        }
        run.finish();
    });
}

#[test]
fn a_reset_is_a_reset_behind_what_was_said() {
    isolated(|network| {
        let services = ["reset-after=100000@80", "reset-on-byte@81", "hold@82"];
        let Some((_internet, servers, run)) = Internet::with_guest(network, &services) else {
            return;
        };
        for family in Family::BOTH {
            let order = format!("tcp download {} word=x", Internet::at(family, 80));
            run.expect(&order, "100000 ok ECONNRESET");
            let order = format!("tcp download {} word=x", Internet::at(family, 81));
            run.expect(&order, "0 ok ECONNRESET");
            run.expect(&format!("tcp reset {}", Internet::at(family, 82)), "reset");
            servers.hear("hold@82 ended ConnectionReset");
        }
        run.finish();
    });
}

/// A connection is there for the guest when it is there for the server, and not before.
#[test]
fn a_syn_is_answered_when_the_server_has_answered() {
    isolated(|network| {
        let Some((internet, _servers, run)) = Internet::with_guest(network, &[]) else { return };
        for family in Family::BOTH {
            let to = Internet::at(family, 8080);
            // One connection fills the queue of a listener that counts from zero.
            let (listener, _filler) = internet.servers().run(|| {
                let socket = socket2::Socket::new(
                    socket2::Domain::for_address(to),
                    socket2::Type::STREAM,
                    None,
                )
                .unwrap();
                socket.bind(&to.into()).unwrap();
                socket.listen(0).unwrap();
                (TcpListener::from(socket), TcpStream::connect(to).unwrap())
            });
            let waited = Duration::from_millis(400);
            let call = run.begin(&format!("tcp connect {to}"));
            // The time is the measure here, not a guess at how long something takes.
            std::thread::sleep(waited);
            let asked = Instant::now();
            drop(listener.accept().unwrap());
            let (outcome, took) = split(&run.answer(call));
            assert_eq!(outcome, "connected");
            assert!(u128::from(took) >= waited.as_millis(), "{took} ms, {:?}", asked.elapsed());
        }
        run.finish();
    });
}

#[test]
fn two_hundred_at_once() {
    isolated(|network| {
        let Some((_internet, _servers, run)) = Internet::with_guest(network, &["hush", "line@80"])
        else {
            return;
        };
        let calls = Family::BOTH
            .map(|family| run.begin(&format!("tcp lines {} 100", Internet::at(family, 80))));
        for call in calls {
            assert_eq!(run.answer(call), "100 ok");
        }
        run.finish();
    });
}

#[test]
fn the_tail_arrives_though_the_command_is_gone() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let servers = internet.serve(&["sink@9"]);
        for family in Family::BOTH {
            for user in User::all() {
                let run = Run::by(user);
                let program = run.guest_program();
                let to = Internet::at(family, 9).to_string();
                let run = run.command(&[&program, "call", "tcp", "leave", &to, "8388608"]);
                let outcome = run.outcome();
                assert_eq!(outcome.code, Some(0), "{outcome:?}");
                servers.hear("sink@9 took 8388608 ok");
            }
        }
    });
}

#[test]
fn the_address_and_the_device_to_leave_by() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "peer@80", "udp-peer@81"]);
        let seen = |run: &Running, family: Family| {
            let seen = run.ask(&format!("tcp seen {}", Internet::at(family, 80)));
            let peer: SocketAddr = seen.split(' ').next().unwrap().parse().unwrap();
            let datagram = run.ask(&format!("udp ask {} who", Internet::at(family, 81)));
            assert_eq!(datagram.parse::<SocketAddr>().unwrap().ip(), peer.ip());
            peer.ip()
        };
        // The kernel's own choice, and what it would not choose.
        let natural =
            Family::BOTH.map(|family| udp(Internet::at(family, 9)).local_addr().unwrap().ip());
        let run = Run::usual().serve(&[]).up();
        for (family, natural) in Family::BOTH.into_iter().zip(natural) {
            assert_eq!(seen(&run, family), natural);
        }
        run.finish();
        let others = Family::BOTH.map(|family| {
            let other = Internet::host(family).into_iter().find(|own| !natural.contains(own));
            other.unwrap().to_string()
        });
        let run = Run::usual();
        let run = run.with(&["--bind-address", &others[0], "--bind-address", &others[1]]);
        let run = run.serve(&[]).up();
        for (family, other) in Family::BOTH.into_iter().zip(&others) {
            assert_eq!(seen(&run, family).to_string(), *other);
        }
        run.finish();
        // A device that leads nowhere near the servers.
        for (device, wanted) in [(Internet::DEVICE, "connected"), ("lo", "")] {
            for user in User::all() {
                let run = Run::by(user).with(&["--bind-interface", device]).serve(&[]).up();
                let order = format!("tcp connect {} within=1500", Internet::at(Family::V4, 80));
                let (outcome, _) = run.ask_timed(&order);
                assert!(outcome == "connected" || wanted.is_empty(), "{outcome}");
                assert!(outcome != "connected" || !wanted.is_empty(), "by {device}");
                run.finish();
            }
        }
    });
}

/// More bytes than one packet of the path holds, where routers say so and where they do not.
#[test]
fn a_narrow_path_is_found() {
    if !has_tool("nft", "nftables") {
        return;
    }
    isolated(|network| {
        let Some(internet) = network.internet_over(&[1500, 1300, 1500]) else { return };
        let _servers = internet.serve(&["hush", "echo@7"]);
        let run = Run::usual().serve(&[]).up();
        for family in Family::BOTH {
            run.expect(&format!("tcp echo {} {MIB}", Internet::at(family, 7)), "1048576 ok Fin");
        }
        run.finish();
    });
    isolated(|network| {
        let Some(internet) = network.internet_over(&[1500, 1300, 1500]) else { return };
        // The host's own business, but the guest's bytes: RFC 4821 finds the size by itself.
        std::fs::write("/proc/sys/net/ipv4/tcp_mtu_probing", "1").unwrap();
        internet.hop(0).run(|| {
            nft("table inet hole { chain out { type filter hook output priority 0; \
                 icmp type destination-unreachable drop; \
                 icmpv6 type packet-too-big drop; }; }");
        });
        let _servers = internet.serve(&["hush", "echo@7"]);
        let run = Run::usual().serve(&[]).up();
        run.expect(&format!("tcp echo {} {MIB}", Internet::at(Family::V4, 7)), "1048576 ok Fin");
        run.finish();
    });
}

/// Everything ends, whatever way it ended.
#[test]
fn nothing_is_kept_of_what_is_over() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let services = ["hush", "line@80", "reset-on-byte@81", "source=3000000@82", "hold@83"];
        let _servers = internet.serve(&services);
        let egress = Egress::default();
        let Some(guest) = Guest::serve_by(|builder| builder.egress(egress), &["hush"]) else {
            return;
        };
        for family in Family::BOTH {
            let calls: Vec<_> = (0..20)
                .flat_map(|_| {
                    [
                        format!("tcp line {}", Internet::at(family, 80)),
                        format!("tcp download {} word=x", Internet::at(family, 81)),
                        format!("tcp reset {} n=1000", Internet::at(family, 82)),
                        format!("tcp reset {}", Internet::at(family, 83)),
                        format!("tcp connect {}", Internet::at(family, 84)),
                    ]
                })
                .map(|order| guest.begin(&order))
                .collect();
            for call in calls {
                guest.answer(call);
            }
        }
        eventually("no flow is left", || guest.engine.flows().is_empty());
        eventually("no socket is left", || guest.engine.stats().unwrap().driver.open_sockets == 0);
    });
}
