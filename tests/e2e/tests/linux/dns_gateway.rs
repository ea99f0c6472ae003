//! Names, asked of the gateway.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_e2e::calls::Caller as _;
use portreeve_e2e::etc::Etc;
use portreeve_e2e::internet::Internet;
use portreeve_e2e::machine::{User, am_root, eventually, skip};
use portreeve_e2e::name_server::{Manner, NameServer};
use portreeve_e2e::network::{Family, Network, isolated};
use portreeve_e2e::run::{Run, Running};

const ZONE: [(&str, &str); 8] = [
    ("www.test", "198.51.100.1"),
    ("www.test", "2001:db8:1::1"),
    ("four.test", "198.51.100.4"),
    ("six.test", "2001:db8:1::4"),
    ("long.test", "text 3000"),
    ("short.sub.test", "198.51.100.2"),
    ("evil.test", "127.0.0.1"),
    ("moved.test", "198.51.100.3"),
];

/// Two name servers, and an `/etc` that names them.
struct Names {
    first: NameServer,
    second: NameServer,
    etc: Etc,
    _internet: Internet,
}

fn server(number: u8) -> IpAddr {
    Internet::server(Family::V4, number)
}

fn resolvers(numbers: &[u8]) -> String {
    numbers.iter().map(|&number| format!("nameserver {}\n", server(number))).collect()
}

fn names(network: &Network, resolv_conf: &str) -> Option<Names> {
    if !am_root() {
        skip("names: another /etc needs root");
        return None;
    }
    let internet = network.internet()?;
    let first = NameServer::start(internet.servers(), server(1), &ZONE);
    let second = NameServer::start(
        internet.servers(),
        server(2),
        &[("www.test", "198.51.100.2"), ("moved.test", "198.51.100.4")],
    );
    Some(Names { first, second, etc: Etc::with_resolvers(resolv_conf), _internet: internet })
}

/// A guest, and the ways to ask its gateway.
struct Asker {
    run: Running,
    gateways: [SocketAddr; 2],
}

impl Asker {
    fn up(run: &Run) -> Self {
        let run = run.serve_here().up();
        let gateways = ["v4", "v6"].map(|family| {
            let gateway: IpAddr = run.ask(&format!("name gateway {family}")).parse().unwrap();
            SocketAddr::new(gateway, 53)
        });
        Self { run, gateways }
    }

    /// Over IPv4.
    fn ask(&self, what: &str) -> String {
        self.run.ask(&format!("name ask {} {what}", self.gateways[0]))
    }

    #[track_caller]
    fn expect(&self, what: &str, wanted: &str) {
        let answer = self.ask(what);
        assert!(answer == wanted, "{what}: {answer}, not {wanted}\n{}", self.run.said());
    }
}

trait ServeHere {
    fn serve_here(&self) -> Run;
}

impl ServeHere for Run {
    fn serve_here(&self) -> Run {
        self.clone().serve(&["hush"])
    }
}

#[test]
fn names_are_answered_over_both_families_and_protocols() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        for user in User::all() {
            let asker = Asker::up(&Run::by(user).etc(&names.etc));
            for gateway in asker.gateways {
                for how in ["", " tcp", " edns=1232"] {
                    let ask =
                        |what: &str| asker.run.ask(&format!("name ask {gateway} {what}{how}"));
                    assert_eq!(ask("www.test A"), "NOERROR 198.51.100.1");
                    assert_eq!(ask("WWW.Test AAAA"), "NOERROR 2001:db8:1::1");
                    assert_eq!(ask("six.test A"), "NOERROR");
                    assert_eq!(ask("nobody.test A"), "NXDOMAIN");
                }
            }
            // As any program asks.
            asker.run.expect("name look four.test", "198.51.100.4");
            asker.run.expect("name look six.test", "2001:db8:1::4");
            let nobody = asker.run.ask("name look nobody.test");
            assert!(nobody.starts_with('"'), "{nobody}");
            asker.run.finish();
        }
    });
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        for edns in ["", " edns=1232"] {
            let answer = asker.ask(&format!("long.test TXT{edns}"));
            assert!(answer.starts_with("NOERROR tc"), "{answer}");
        }
        asker.expect("long.test TXT tcp", "NOERROR 16:3012");
        let (_, over_tcp) = names.first.asked("long.test");
        assert!(over_tcp > 0, "never asked over TCP");
        asker.run.finish();
    });
}

#[test]
fn a_second_answer_is_not_asked_for() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        for _ in 0..5 {
            asker.expect("four.test A", "NOERROR 198.51.100.4");
            asker.expect("nowhere.test A", "NXDOMAIN");
        }
        assert_eq!(names.first.asked("four.test"), (1, 0));
        asker.run.finish();
    });
}

#[test]
fn forgeries_are_passed_over() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        names.first.be(Manner::Forge);
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        asker.expect("four.test A", "NOERROR 198.51.100.4");
        asker.expect("moved.test A", "NOERROR 198.51.100.3");
        asker.run.finish();
    });
}

#[test]
fn a_server_that_says_no_more_is_replaced_in_time() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1, 2])) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        asker.expect("www.test A", "NOERROR 198.51.100.1");
        for manner in [Manner::Silent, Manner::Fail] {
            names.first.be(manner);
            // The guest's own patience is eight seconds.
            asker.expect("moved.test A", "NOERROR 198.51.100.4");
        }
        asker.run.finish();
    });
    // Nobody there at all.
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[3, 2])) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        asker.expect("moved.test A", "NOERROR 198.51.100.4");
        assert_eq!(names.first.asked_at_all(), 0);
        asker.run.finish();
    });
}

#[test]
fn late_is_not_never() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        names.first.be(Manner::Late(Duration::from_millis(1200)));
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        asker.expect("four.test A", "NOERROR 198.51.100.4");
        // One that answers nobody is said to have failed, and in time.
        names.first.be(Manner::Silent);
        asker.expect("six.test AAAA", "SERVFAIL");
        asker.run.finish();
    });
}

#[test]
fn the_hosts_servers_may_change() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        for replace in [true, false] {
            names.etc.rewrite(&resolvers(&[1]));
            let asker = Asker::up(&Run::usual().etc(&names.etc));
            asker.expect("www.test A", "NOERROR 198.51.100.1");
            let other = resolvers(&[2]);
            if replace {
                names.etc.replace(&other)
            } else {
                names.etc.rewrite(&other)
            }
            eventually("the other server is asked", || {
                asker.ask("www.test A") == "NOERROR 198.51.100.2"
            });
            asker.expect("moved.test A", "NOERROR 198.51.100.4");
            asker.run.finish();
        }
    });
}

#[test]
fn servers_and_names_may_be_given() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        let other = server(2).to_string();
        let run = Run::usual().etc(&names.etc).with(&["--dns", &other]);
        let run = run.with(&["--add-host", "given.test:198.51.100.9"]);
        let run = run.with(&["--add-host", "given.test:2001:db8:1::9"]);
        let asker = Asker::up(&run);
        asker.expect("www.test A", "NOERROR 198.51.100.2");
        asker.expect("given.test A", "NOERROR 198.51.100.9");
        asker.expect("given.test AAAA", "NOERROR 2001:db8:1::9");
        asker.expect("given.test TXT", "NOERROR");
        assert_eq!(names.first.asked_at_all(), 0);
        assert_eq!(names.second.asked("given.test"), (0, 0));
        asker.run.finish();
    });
}

#[test]
fn domains_to_search_in_reach_the_guest() {
    isolated(|network| {
        let conf = format!("{}search sub.test\n", resolvers(&[1]));
        let Some(names) = names(network, &conf) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        asker.run.expect("name look short", "198.51.100.2");
        asker.run.finish();
        let run = Run::usual().etc(&names.etc).with(&["--dns-search", "test"]);
        let asker = Asker::up(&run);
        asker.run.expect("name look four", "198.51.100.4");
        asker.run.finish();
    });
}

#[test]
fn the_host_has_a_name_when_it_may_be_reached() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        asker.expect("host.portreeve.internal A", "NXDOMAIN");
        asker.run.finish();
        let asker = Asker::up(&Run::usual().etc(&names.etc).with(&["--allow-host=8080"]));
        let [v4, v6] = asker.gateways.map(|gateway| gateway.ip());
        asker.expect("host.portreeve.internal A", &format!("NOERROR {v4}"));
        asker.expect("host.portreeve.internal AAAA", &format!("NOERROR {v6}"));
        asker.run.finish();
        // A name of ours is nobody else's business.
        assert_eq!(names.first.asked("host.portreeve.internal"), (0, 0));
    });
}

/// A name of the outside that leads inside: whatever is answered, nothing comes of it.
#[test]
fn a_name_for_the_host_leads_nowhere() {
    isolated(|network| {
        let Some(names) = names(network, &resolvers(&[1])) else { return };
        let asker = Asker::up(&Run::usual().etc(&names.etc));
        let answer = asker.ask("evil.test A");
        assert!(!answer.contains("127.0.0.1"), "{answer}");
        asker.run.finish();
    });
}
