//! What users of slirp4netns and pasta rely on, done the way they do it.

use std::net::{IpAddr, SocketAddr};

use portreeve_e2e::calls::Caller as _;
use portreeve_e2e::client::{exchange, upload};
use portreeve_e2e::etc::Etc;
use portreeve_e2e::internet::{Internet, Servers};
use portreeve_e2e::machine::{User, am_root, skip};
use portreeve_e2e::name_server::NameServer;
use portreeve_e2e::network::{Family, Network, isolated};
use portreeve_e2e::run::{Run, Running};

const MIB: u64 = 1 << 20;

/// An internet with services and names for them.
struct World {
    _internet: Internet,
    _servers: Servers,
    _names: NameServer,
    etc: Etc,
}

fn world(network: &Network, services: &[&str]) -> Option<World> {
    if !am_root() {
        skip("names: another /etc needs root");
        return None;
    }
    let internet = network.internet()?;
    let servers = internet.serve(services);
    let address = Internet::server(Family::V4, 4);
    let [v4, v6] = Family::BOTH.map(|family| Internet::server(family, 1).to_string());
    let zone = [("www.test", &*v4), ("www.test", &v6), ("four.test", &v4), ("six.test", &v6)];
    let names = NameServer::start(internet.servers(), address, &zone);
    let etc = Etc::with_resolvers(&format!("nameserver {address}\n"));
    Some(World { _internet: internet, _servers: servers, _names: names, etc })
}

/// As `curl` and `pip` do.
#[test]
fn a_fetch_by_name() {
    isolated(|network| {
        let Some(world) = world(network, &["hush", "http=3000000@80"]) else { return };
        for user in User::all() {
            let run = Run::by(user).etc(&world.etc).serve(&["hush"]).up();
            for name in ["www.test", "four.test", "six.test"] {
                run.expect(&format!("tcp http {name}:80 {name} /file"), "200 3000000 ok");
            }
            run.finish();
        }
        // As a command of its own, which ends by itself.
        let run = Run::usual().etc(&world.etc);
        let guest = run.guest_program();
        let words = [&*guest, "call", "tcp", "http", "www.test:80", "www.test", "/"];
        let outcome = run.command(&words).outcome();
        assert_eq!((outcome.code, &*outcome.out), (Some(0), "200 3000000 ok\n"), "{outcome:?}");
    });
}

/// As package managers do: one small thing after another, each on a connection of its own.
#[test]
fn many_small_fetches() {
    isolated(|network| {
        let Some(world) = world(network, &["hush", "http=2000@80"]) else { return };
        let run = Run::usual().etc(&world.etc).serve(&["hush"]).up();
        let calls: Vec<_> =
            (0..300).map(|_| run.begin("tcp http www.test:80 www.test /small")).collect();
        for call in calls {
            assert_eq!(run.answer(call), "200 2000 ok");
        }
        run.finish();
    });
}

/// As `git` and `ssh` do: questions and answers for a while, then a lot one way, then the end.
#[test]
fn a_long_conversation() {
    isolated(|network| {
        let services = ["hush", "echo@7", "answer=4194304@80"];
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&services);
        let run = Run::usual().serve(&["hush"]).up();
        for family in Family::BOTH {
            run.expect(&format!("tcp rounds {} 500", Internet::at(family, 7)), "500 ok");
            run.expect(
                &format!("tcp answer {} 2000000", Internet::at(family, 80)),
                "4194304 ok Fin",
            );
        }
        run.finish();
    });
}

/// A server in the guest that needs others outside to serve those who come in.
#[test]
fn a_server_with_upstreams() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "line@80", "sink@81"]);
        let run = Run::usual().publish("0:90").publish("0:91").serve(&["hush"]).up();
        run.expect(&format!("tcp proxy {} 90", Internet::at(Family::V4, 80)), "proxying");
        run.expect(&format!("tcp proxy {} 91", Internet::at(Family::V6, 81)), "proxying");
        for family in Family::BOTH {
            let (lines, sink) = (run.tcp(90, family), run.tcp(91, family));
            std::thread::scope(|scope| {
                for number in 0..50 {
                    let text = number.to_string();
                    scope.spawn(move || {
                        assert_eq!(exchange(lines, &text).unwrap(), format!("{text}\n"));
                    });
                }
                scope.spawn(move || assert_eq!(upload(sink, 4 * MIB), "4194304 ok"));
            });
        }
        run.finish();
    });
}

#[test]
fn guests_of_one_family() {
    isolated(|network| {
        let Some(world) = world(network, &["hush", "line@80", "udp-echo@81"]) else { return };
        for (option, has, lacks) in
            [("--ipv4-only", Family::V4, Family::V6), ("--ipv6-only", Family::V6, Family::V4)]
        {
            for user in User::all() {
                let run = Run::by(user).etc(&world.etc).with(&[option]).serve(&["hush"]).up();
                run.expect(&format!("tcp line {}", Internet::at(has, 80)), "hello");
                run.expect(&format!("udp echo {} 3000", Internet::at(has, 81)), "ok");
                let (outcome, _) =
                    run.ask_timed(&format!("tcp connect {}", Internet::at(lacks, 80)));
                assert_eq!(outcome, "ENETUNREACH");
                // The name server outside is of the family that the guest may lack.
                let name = if has == Family::V4 { "four.test" } else { "six.test" };
                run.expect(&format!("tcp line {name}:80"), "hello");
                run.finish();
            }
        }
    });
}

fn resolver(run: &Running, family: Family) -> IpAddr {
    let of = if family == Family::V4 { "v4" } else { "v6" };
    run.ask(&format!("name gateway {of}")).parse().unwrap()
}

#[test]
fn addresses_of_ones_own_choice() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "peer@80"]);
        let run = Run::usual().publish("0:90").with(&[
            "--address=10.9.8.7/28",
            "--gateway=10.9.8.1",
            "--address=fd00:9:8::7/64",
            "--gateway=fd00:9:8::1",
            "--mac=02:09:08:00:00:07",
        ]);
        let run = run.serve(&["hush", "line@90"]).up();
        for (family, address, gateway) in
            [(Family::V4, "10.9.8.7", "10.9.8.1"), (Family::V6, "fd00:9:8::7", "fd00:9:8::1")]
        {
            let seen = run.ask(&format!("tcp seen {}", Internet::at(family, 80)));
            let own: SocketAddr = seen.rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(own.ip().to_string(), address);
            assert_eq!(resolver(&run, family).to_string(), gateway);
            assert_eq!(exchange(run.tcp(90, family), "in").unwrap(), "in\n");
        }
        run.finish();
        let run = Run::usual().with(&["--mac=02:09:08:00:00:07"]);
        let outcome = run.command(&["ip", "-o", "link", "show", "eth0"]).outcome();
        assert!(outcome.out.contains("02:09:08:00:00:07"), "{outcome:?}");
    });
}
