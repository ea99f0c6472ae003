//! An internet in namespaces: servers behind as many routers as wanted.
//!
//! ```text
//!   the test's namespace            routers, if any              the servers'
//!   198.19.0.1, .11   ── veth ──   198.19.0.2  198.19.1.1  ──   198.19.1.2
//!   fd77:7073::1, ::11             …:0:0::2    …:0:1::1         …:0:1::2
//!                                                               198.51.100.1 to .4
//!                                                               2001:db8:1::1 to ::4
//! ```
//!
//! Behind the servers' namespace there is nothing, in three ways: see [`Nowhere`]. Addresses are
//! those for benchmarks (RFC 2544 §C.2.2) and documentation (RFC 5737, RFC 3849).

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::lines::Lines;
use crate::machine::{DEADLINE, has_tool};
use crate::network::{Family, Namespace, Network, ip};
use crate::program;
use crate::run::{Run, Running};

/// The namespaces, the nearest first.
#[derive(Debug)]
pub struct Internet {
    namespaces: Vec<Namespace>,
}

/// Where nobody is, and how that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// The last router says that the host cannot be reached.
    Unreachable,
    /// The last router says that it is not allowed.
    Prohibited,
    /// Nobody says anything.
    Silent,
}

impl Nowhere {
    /// An address there.
    pub fn address(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::Unreachable, Family::V4) => [203, 0, 113, 1].into(),
            (Self::Prohibited, Family::V4) => [203, 0, 113, 129].into(),
            (Self::Silent, Family::V4) => [203, 0, 113, 193].into(),
            (Self::Unreachable, Family::V6) => v6([0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1]),
            (Self::Prohibited, Family::V6) => v6([0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1]),
            (Self::Silent, Family::V6) => v6([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1]),
        }
    }
}

impl Network {
    /// An internet on the next link; `None`, said aloud, where that cannot be.
    pub fn internet(&self) -> Option<Internet> {
        self.internet_over(&[1500])
    }

    /// An internet over links of these MTUs, the nearest first, with a router between any two.
    pub fn internet_over(&self, mtus: &[u16]) -> Option<Internet> {
        (self.is_own() && has_tool("ip", "iproute2")).then(|| Internet::new(mtus))
    }
}

impl Internet {
    /// Addresses of the test's own side.
    pub fn host(family: Family) -> [IpAddr; 2] {
        match family {
            Family::V4 => [[198, 19, 0, 1].into(), [198, 19, 0, 11].into()],
            Family::V6 => [link_v6(0, 1), link_v6(0, 0x11)],
        }
    }

    /// A port of the first server.
    pub fn at(family: Family, port: u16) -> SocketAddr {
        (Self::server(family, 1), port).into()
    }

    /// An internet with these services, and a guest that does as it is told; `None` where there
    /// can be none.
    pub fn with_guest(network: &Network, services: &[&str]) -> Option<(Self, Servers, Running)> {
        let internet = network.internet()?;
        let servers = internet.serve(services);
        Some((internet, servers, Run::usual().serve(&["hush"]).up()))
    }

    /// A server's address, counted from 1 to 4.
    pub fn server(family: Family, number: u8) -> IpAddr {
        match family {
            Family::V4 => [198, 51, 100, number].into(),
            Family::V6 => v6([0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()]),
        }
    }

    /// The address with which a router answers whom it is the `hop`th for, the nearest being 0.
    pub fn router(family: Family, hop: u8) -> IpAddr {
        match family {
            Family::V4 => [198, 19, hop, 2].into(),
            Family::V6 => link_v6(hop.into(), 2),
        }
    }

    /// A network device of the test's own side.
    pub const DEVICE: &str = "wan0";

    fn new(mtus: &[u16]) -> Self {
        let namespaces: Vec<_> = mtus.iter().map(|_| Namespace::empty()).collect();
        let mut before: Option<&Namespace> = None;
        for (at, (namespace, mtu)) in namespaces.iter().zip(mtus).enumerate() {
            let here = before.map_or(Self::DEVICE, |_| "down0");
            let link = || {
                let path = namespace.path();
                ip(&format!("link add {here} type veth peer name up0 netns {path}\n"));
                ip(&end(at, here, 1, *mtu));
            };
            before.map_or_else(link, |namespace| namespace.run(link));
            namespace.run(|| {
                ip(&end(at, "up0", 2, *mtu));
                forward();
                let gateway = [[198, 19, octet(at), 1].into(), link_v6(at, 1)];
                if at + 1 == mtus.len() {
                    last(at, gateway);
                } else if at > 0 {
                    ip(&format!(
                        "route add 198.19.0.0/16 via {}\nroute add fd77:7073::/32 via {}\n",
                        gateway[0], gateway[1],
                    ));
                }
            });
            let beyond = [[198, 19, octet(at), 2].into(), link_v6(at, 2)];
            let route = || ip(&default_route(beyond));
            before.map_or_else(route, |namespace| namespace.run(route));
            before = Some(namespace);
        }
        let second = Family::BOTH.map(|family| Self::host(family)[1]);
        ip(&format!(
            "addr add {}/24 dev {here}\naddr add {}/64 dev {here} nodad\n",
            second[0],
            second[1],
            here = Self::DEVICE,
        ));
        Self { namespaces }
    }

    /// The servers' namespace.
    pub fn servers(&self) -> &Namespace {
        self.namespaces.last().expect("one at least")
    }

    /// The namespace `hop` links away, the next one being 0.
    pub fn hop(&self, hop: usize) -> &Namespace {
        &self.namespaces[hop]
    }

    /// Runs services of the guest's program out there; see `src/guest/main.rs`.
    pub fn serve(&self, services: &[&str]) -> Servers {
        self.servers().run(|| Servers::start(services))
    }
}

fn octet(at: usize) -> u8 {
    u8::try_from(at).expect("few links")
}

fn v6(segments: [u16; 8]) -> IpAddr {
    Ipv6Addr::from(segments).into()
}

fn link_v6(at: usize, host: u16) -> IpAddr {
    v6([0xfd77, 0x7073, 0, octet(at).into(), 0, 0, 0, host])
}

/// One end of a link. Without a link-local address a router could not ask for its neighbours'.
fn end(at: usize, device: &str, host: u8, mtu: u16) -> String {
    format!(
        "link set lo up\n\
         addr add 198.19.{at}.{host}/24 dev {device}\n\
         link set {device} mtu {mtu} addrgenmode none up\n\
         addr add {}/64 dev {device} nodad\n\
         addr add fe80::{host}/64 dev {device} nodad\n",
        link_v6(at, host.into()),
    )
}

fn default_route([v4, v6]: [IpAddr; 2]) -> String {
    format!("route add default via {v4}\nroute add default via {v6}\n")
}

/// The servers' own addresses, from which they answer whatever they are asked at, and nowhere.
fn last(at: usize, gateway: [IpAddr; 2]) {
    let mut batch = String::new();
    for number in 1..=4 {
        for (family, place) in [(Family::V4, "/32 dev lo"), (Family::V6, "/128 dev lo nodad")] {
            let address = Internet::server(family, number);
            batch.push_str(&format!("addr add {address}{place}\n"));
        }
    }
    let networks = [format!("198.19.{at}.0/24"), format!("fd77:7073:0:{at}::/64")];
    for ((family, gateway), network) in Family::BOTH.into_iter().zip(gateway).zip(networks) {
        let own = Internet::server(family, 1);
        let metric = if family == Family::V4 { 0 } else { 256 };
        batch.push_str(&format!(
            "route replace {network} dev up0 src {own} metric {metric}\n\
             route add default via {gateway} src {own}\n"
        ));
    }
    batch.push_str(
        "route add unreachable 203.0.113.0/25\nroute add prohibit 203.0.113.128/26\n\
         route add blackhole 203.0.113.192/26\nroute add unreachable 2001:db8:a::/48\n\
         route add prohibit 2001:db8:b::/48\nroute add blackhole 2001:db8:c::/48\n",
    );
    ip(&batch);
}

/// Makes the namespace a router that is not sparing with errors.
fn forward() {
    for (file, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv4/icmp_ratemask", "0"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv6/icmp/ratemask", "255"),
    ] {
        fs::write(format!("/proc/sys/net/{file}"), value).unwrap();
    }
}

/// The guest's program, serving somewhere else than in a guest.
#[derive(Debug)]
pub struct Servers {
    child: Child,
    stdin: ChildStdin,
    /// What it prints.
    pub out: Lines,
}

impl Servers {
    /// In this thread's namespace.
    pub fn start(services: &[&str]) -> Self {
        let mut program = Command::new(program::guest());
        program.arg("serve").args(services).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let stdin = child.stdin.take().unwrap();
        let listening = out.find_within(DEADLINE, |line| line == "listening");
        assert!(listening.is_ok(), "{services:?} do not listen");
        Self { child, stdin, out }
    }

    /// Gives it an order.
    pub fn tell(&mut self, order: &str) {
        self.stdin.write_all(format!("{order}\n").as_bytes()).unwrap();
    }

    /// Waits for something that it says.
    pub fn hear(&self, wanted: &str) -> String {
        let heard = self.out.find_within(DEADLINE, |line| line.contains(wanted));
        heard.unwrap_or_else(|_| panic!("no `{wanted}`: {}", self.out.so_far()))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Feeds a ruleset to nft(8) in this thread's namespace.
pub fn nft(rules: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft: {rules}");
}
