//! The host is out of the guest's reach, in every spelling, unless a port of it was opened.
//!
//! Listeners on the host write down whoever gets as far as them. Each row is tried over TCP and
//! UDP; then the same listeners must hear their own test, so that silence means something.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portreeve_e2e::calls::{Caller, split};
use portreeve_e2e::client::{exchange, udp};
use portreeve_e2e::internet::Internet;
use portreeve_e2e::machine::{User, am_root, eventually, skip};
use portreeve_e2e::network::{Family, ip, isolated};
use portreeve_e2e::run::{Run, Running};

/// Ports that listen on every address of the host.
const PORTS: [u16; 3] = [80, 631, 5353];

/// What the listeners heard of.
#[derive(Clone, Default)]
struct Witness {
    contacts: Arc<Mutex<Vec<String>>>,
    /// Connections that ended before a word was said.
    empty: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
    alive: Arc<()>,
}

/// What the test itself sends.
const OWN: &[u8] = b"own";

impl Witness {
    /// Listens on every address in this thread's namespace.
    fn stand() -> Self {
        let witness = Self::default();
        for port in PORTS {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let (tcp, udp) = (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
            tcp.set_nonblocking(true).unwrap();
            udp.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            let Self { contacts, empty, own, alive } = witness.clone();
            // The test has it, and the threads end with the test.
            let alive = Arc::downgrade(&alive);
            std::thread::spawn(move || {
                let hear = |bytes: &[u8], how: &str, from: SocketAddr| {
                    if bytes.is_empty() && how == "tcp" {
                        empty.fetch_add(1, Ordering::Relaxed);
                    } else if bytes == OWN {
                        own.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let contact = format!("{how} {port} from {from}");
                        contacts.lock().unwrap().push(contact);
                    }
                };
                while alive.strong_count() > 0 {
                    let mut bytes = [0; 64];
                    if let Ok((mut stream, from)) = tcp.accept() {
                        stream.set_nonblocking(false).unwrap();
                        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                        let read = std::io::Read::read(&mut stream, &mut bytes).unwrap_or(0);
                        hear(&bytes[..read], "tcp", from);
                    }
                    if let Ok((length, from)) = udp.recv_from(&mut bytes) {
                        hear(&bytes[..length], "udp", from);
                    }
                }
            });
        }
        witness
    }

    /// Makes sure that all listen, and that what was sent before has been heard.
    fn prove(&self) {
        let before = self.own.load(Ordering::Relaxed);
        for port in PORTS {
            for family in Family::BOTH {
                let to = SocketAddr::new(family.loopback(), port);
                TcpStream::connect(to).unwrap().write_all(OWN).unwrap();
                udp(to).send(OWN).unwrap();
            }
        }
        let wanted = before + 4 * PORTS.len();
        eventually("the listeners hear us", || self.own.load(Ordering::Relaxed) >= wanted);
    }

    fn contacts(&self) -> Vec<String> {
        self.contacts.lock().unwrap().clone()
    }
}

/// The guest's gateway, as the guest sees it.
fn gateways(run: &Running) -> [IpAddr; 2] {
    let of = |family: &str| {
        let route = run.ask(&format!("name gateway {family}"));
        route.parse().unwrap_or_else(|_| panic!("{route}"))
    };
    [of("v4"), of("v6")]
}

/// Addresses that mean the host, or what only the host may ask.
fn spellings(gateways: [IpAddr; 2]) -> Vec<IpAddr> {
    let mut all: BTreeSet<IpAddr> = [
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.254",
        "0.0.0.0",
        "0.0.0.1",
        "0.255.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "255.255.255.255",
        "198.19.0.255",
        "224.0.0.1",
        "224.0.0.251",
        "240.0.0.1",
        "::1",
        "::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:198.19.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::198.19.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:7f00:0:100::",
        "2002:7f00:1::1",
        "2002:c613:1::1",
        "2001:0:1:2:3:4:80ff:fffe",
        "2001:db8::5efe:127.0.0.1",
        "fe80::1",
        "fe80::11",
        "ff02::1",
        "ff02::fb",
        "fd00:ec2::254",
        "fd20:ce::254",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    all.extend(gateways);
    for family in Family::BOTH {
        all.extend(Internet::host(family));
        all.extend(late(family));
    }
    all.into_iter().collect()
}

/// Addresses that the host is given while the engine runs.
fn late(family: Family) -> [IpAddr; 1] {
    match family {
        Family::V4 => [Ipv4Addr::new(198, 19, 0, 77).into()],
        Family::V6 => [Ipv6Addr::new(0xfd77, 0x7073, 0, 0, 0, 0, 0, 0x77).into()],
    }
}

/// Makes the host have what a cloud's host has: every listener is behind these addresses too.
fn settle() {
    let device = Internet::DEVICE;
    ip(&format!(
        "addr add 169.254.1.1/16 dev {device}\n\
         addr add 169.254.169.254/32 dev {device}\n\
         addr add 100.100.100.200/32 dev {device}\n\
         addr add 168.63.129.16/32 dev {device}\n\
         addr add fd00:ec2::254/128 dev {device} nodad\n\
         addr add 64:ff9b::7f00:1/128 dev {device} nodad\n\
         addr add 2002:7f00:1::1/128 dev {device} nodad\n\
         addr add fe80::11/64 dev {device} nodad\n"
    ));
}

/// Tries everything over TCP and UDP, and returns what was not refused.
fn attack(run: &impl Caller, to: &[IpAddr]) -> Vec<String> {
    let mut calls = Vec::new();
    for address in to {
        for port in PORTS {
            let at = SocketAddr::new(*address, port);
            // In the guest's own kernel these lead to the guest itself.
            let own = address.is_loopback() || address.is_unspecified();
            for order in [format!("tcp line {at} within=700"), format!("udp group {at}")] {
                if !own {
                    calls.push((run.begin(&order), order));
                }
            }
        }
    }
    let answers = calls.into_iter().map(|(call, order)| format!("{order}: {}", run.answer(call)));
    answers.filter(|answer| answer.ends_with(": hello")).collect()
}

#[test]
fn no_spelling_reaches_the_host() {
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "line@80", "udp-echo@80"]);
        settle();
        let witness = Witness::stand();
        for user in User::all() {
            let run = Run::by(user).serve(&["hush"]).up();
            let to = spellings(gateways(&run));
            assert!(to.len() >= 40, "{}", to.len());
            assert_eq!(attack(&run, &to), [""; 0]);
            ip(&late_addresses("add"));
            late_ones_are_noticed(&run);
            assert_eq!(attack(&run, &Family::BOTH.map(|family| late(family)[0])), [""; 0]);
            // The way out is open all the time, and what went before is through.
            for family in Family::BOTH {
                let outside = SocketAddr::new(Internet::server(family, 1), 80);
                run.expect(&format!("tcp line {outside}"), "hello");
                run.expect(&format!("udp echo {outside} 10"), "ok");
            }
            witness.prove();
            assert_eq!(witness.contacts(), [""; 0], "as {user:?}");
            assert_eq!(witness.empty.load(Ordering::Relaxed), 0, "not even an empty one");
            run.finish();
            ip(&late_addresses("del"));
        }
    });
}

/// An address that the host was given just now is out of reach at once, even if the news of it has
/// yet to come.
fn late_ones_are_noticed(run: &Running) {
    for family in Family::BOTH {
        let at = SocketAddr::new(late(family)[0], PORTS[0]);
        run.expect(&format!("tcp line {at} within=700"), "ECONNREFUSED");
        let (refused, _) = run.ask_timed(&format!("udp refused {at}"));
        assert!(["EACCES", "EHOSTUNREACH"].contains(&&*refused), "{refused}");
    }
}

fn late_addresses(what: &str) -> String {
    let device = Internet::DEVICE;
    let [v4, v6] = Family::BOTH.map(|family| late(family)[0]);
    format!("addr {what} {v4}/24 dev {device}\naddr {what} {v6}/64 dev {device} nodad\n")
}

/// What the guest's own kernel would keep to itself, sent as a packet made by hand.
#[test]
fn nor_does_a_packet_made_by_hand() {
    if !am_root() {
        return skip("packets made by hand: the tests do not run as root");
    }
    isolated(|network| {
        let Some(internet) = network.internet() else { return };
        let _servers = internet.serve(&["hush", "line@80"]);
        settle();
        let witness = Witness::stand();
        let run = Run::by(User::Root).serve(&["hush"]).up();
        for address in spellings(gateways(&run)) {
            for port in PORTS {
                let at = SocketAddr::new(address, port);
                for kind in ["syn", "datagram"] {
                    run.expect(&format!("raw {kind} {at}"), "sent");
                }
            }
        }
        for family in Family::BOTH {
            let outside = SocketAddr::new(Internet::server(family, 1), 80);
            run.expect(&format!("tcp line {outside}"), "hello");
        }
        witness.prove();
        assert_eq!(witness.contacts(), [""; 0]);
        assert_eq!(witness.empty.load(Ordering::Relaxed), 0);
        run.finish();
    });
}

/// Nothing listens on the gateway but what was opened and the name server.
#[test]
fn the_gateway_has_no_port_that_was_not_opened() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let witness = Witness::stand();
        let run = Run::usual().serve(&["hush"]).up();
        let quarters = ["1 16383", "16384 32767", "32768 49151", "49152 65535"];
        for gateway in gateways(&run) {
            let to = SocketAddr::new(gateway, 0);
            let calls = quarters.map(|ports| run.begin(&format!("tcp scan {to} {ports}")));
            assert_eq!(calls.map(|call| run.answer(call)), ["53", "", "", ""]);
        }
        witness.prove();
        assert_eq!(witness.contacts(), [""; 0]);
        run.finish();
    });
}

#[test]
fn a_port_that_was_opened_is_the_only_one() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        // Loopback only: whoever gets through comes by the gateway's address.
        for family in Family::BOTH {
            for port in [8080, 8081] {
                serve_lines(TcpListener::bind((family.loopback(), port)).unwrap());
            }
        }
        let datagrams = UdpSocket::bind(("127.0.0.1", 8080)).unwrap();
        for (options, reached) in [
            ([].as_slice(), [false, false]),
            (&["--allow-host=8080"], [true, false]),
            (&["--allow-host"], [true, true]),
        ] {
            let run = Run::usual().with(options).serve(&["hush"]).up();
            for (family, gateway) in Family::BOTH.into_iter().zip(gateways(&run)) {
                for (port, reached) in [8080, 8081].into_iter().zip(reached) {
                    let answer = run.ask(&format!("tcp line {}", SocketAddr::new(gateway, port)));
                    let wanted = if reached { "hello" } else { "ECONNREFUSED" };
                    assert_eq!(answer, wanted, "{options:?} {port}");
                    // Not by any other address of the host's.
                    for host in Internet::host(family) {
                        let order = format!("tcp connect {}", SocketAddr::new(host, port));
                        assert_eq!(split(&run.ask(&order)).0, "ECONNREFUSED");
                    }
                }
            }
            if reached[0] {
                let to = SocketAddr::new(gateways(&run)[0], 8080);
                let call = run.begin(&format!("udp ask {to} hello"));
                let mut text = [0; 10];
                datagrams.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let (length, from) = datagrams.recv_from(&mut text).unwrap();
                datagrams.send_to(&text[..length], from).unwrap();
                assert_eq!(run.answer(call), "hello");
            }
            run.finish();
        }
    });
}

/// Answers lines until the test is over.
fn serve_lines(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut line = String::new();
            let mut reader = std::io::BufReader::new(&stream);
            // Who only looks in says nothing.
            if std::io::BufRead::read_line(&mut reader, &mut line).is_ok() {
                let _ = (&stream).write_all(line.as_bytes());
            }
        }
    });
}

/// A guest finds its own published port where everybody else does.
#[test]
fn its_own_published_port_is_in_reach() {
    isolated(|network| {
        let Some(_internet) = network.internet() else { return };
        let run = Run::usual().publish("0.0.0.0:7000:80").publish("[::]:7000:80");
        let run = run.publish("0.0.0.0:7001:81/udp").publish("[::]:7001:81/udp");
        let run = run.publish("7002:80").serve(&["hush", "line@80", "udp-echo@81"]).up();
        for (family, gateway) in Family::BOTH.into_iter().zip(gateways(&run)) {
            assert_eq!(exchange((family.loopback(), 7000).into(), "in").unwrap(), "in\n");
            for host in Internet::host(family) {
                run.expect(&format!("tcp line {}", SocketAddr::new(host, 7000)), "hello");
                run.expect(&format!("udp echo {} 2000", SocketAddr::new(host, 7001)), "ok");
                // On loopback, and so not there.
                let order = format!("tcp line {}", SocketAddr::new(host, 7002));
                run.expect(&order, "ECONNREFUSED");
            }
            // What is published on loopback is behind the gateway.
            run.expect(&format!("tcp line {}", SocketAddr::new(gateway, 7002)), "hello");
        }
        run.finish();
    });
}
