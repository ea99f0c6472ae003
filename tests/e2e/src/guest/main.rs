//! The guest's program: services that do one thing each, and a launcher for `portreeve`.
//!
//! ```text
//! portreeve-e2e-guest serve SERVICE…
//! portreeve-e2e-guest call KIND WORD…
//! portreeve-e2e-guest launch [--user UID --place DIR --open FILE…] [--tty PATH] [--etc DIR] -- CMD…
//! portreeve-e2e-guest limit PID OPEN_FILES
//! portreeve-e2e-guest without OFFLOAD…
//! portreeve-e2e-guest intrude PATH
//! portreeve-e2e-guest connect
//! ```
//!
//! A service is `KIND[=NUMBER]@[v4.|v6.|lo.]PORT`, on both families unless one, or the IPv4 loopback
//! address, is named; the kinds are listed in `tcp.rs` and `udp.rs`. `stay` alone keeps the program when its standard input ends,
//! `hush` says nothing of connections. On standard output it says `listening` when all services
//! are there, and then what happens to them. On standard input it takes orders: `listen SERVICE`,
//! `close PORT` (no longer listen), `do ID CALL` (see `calls`), `exit CODE`; at the end of it, it
//! exits.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test program: printing is how it reports, and a panic how it fails"
)]

mod calls;
mod connect;
mod intrude;
mod launch;
mod tcp;
mod udp;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, Rlimit};
use socket2::{Domain, Socket, Type};

/// One service to be offered.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    kind: String,
    /// What the kind needs to know: mostly a number of bytes.
    number: u64,
    address: SocketAddr,
}

static HUSHED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("launch") => launch::launch(&arguments[1..]),
        Some("limit") => launch::limit(&arguments[1..]),
        Some("serve") => serve(&arguments[1..]),
        Some("call") => calls::run(&arguments[1..]),
        Some("without") => launch::without(&arguments[1..]),
        Some("connect") => connect::connect(),
        Some("intrude") => intrude::intrude(&arguments[1..]),
        _ => panic!("call, connect, intrude, launch, limit, serve or without"),
    }
}

fn serve(services: &[String]) -> ExitCode {
    let limit = rustix::process::getrlimit(Resource::Nofile).maximum;
    let every = Rlimit { current: limit, maximum: limit };
    rustix::process::setrlimit(Resource::Nofile, every).unwrap();
    let mut stay = false;
    let mut listening = Vec::new();
    for service in services {
        match service.as_str() {
            "stay" => stay = true,
            "hush" => HUSHED.store(true, Ordering::Relaxed),
            service => listening.push(listen(&Service::parse(service))),
        }
    }
    println!("listening");
    for order in std::io::stdin().lines() {
        let order = order.unwrap();
        let (what, which) = order.split_once(' ').unwrap_or((&order, ""));
        match what {
            "listen" => {
                listening.push(listen(&Service::parse(which)));
                println!("listening on {which}");
            }
            "close" => {
                let port: u16 = which.parse().unwrap();
                for (socket, _) in listening.iter().filter(|(_, at)| at.port() == port) {
                    // Ends whoever waits in accept or in recv, too.
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                }
                listening.retain(|(_, at)| at.port() != port);
                println!("closed {which}");
            }
            "do" => calls::begin(which),
            "exit" => return ExitCode::from(which.parse::<u8>().unwrap()),
            order => panic!("{order}: not an order"),
        }
    }
    if !stay {
        return ExitCode::SUCCESS;
    }
    loop {
        std::thread::park();
    }
}

/// Says what happened to a connection.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    if !HUSHED.load(Ordering::Relaxed) {
        println!("{what}");
    }
}

/// Binds a service and starts what serves it; the answer keeps a hold on the socket.
fn listen(service: &Service) -> (Socket, SocketAddr) {
    let datagrams = service.kind.starts_with("udp");
    let kind = if datagrams { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(service.address), kind, None).unwrap();
    if let SocketAddr::V6(address) = service.address {
        // `v6.` is written with an address that says so; the rest is for both families.
        let only = address.scope_id() == ONLY;
        socket.set_only_v6(only).unwrap();
    }
    let mut address = service.address;
    if let SocketAddr::V6(v6) = &mut address {
        v6.set_scope_id(0);
    }
    if !datagrams {
        socket.set_reuse_address(true).unwrap();
    }
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("{service:?}: {error}"));
    let held = socket.try_clone().unwrap();
    if datagrams {
        udp::serve(service, socket.into());
    } else {
        tcp::serve(service, socket);
    }
    (held, service.address)
}

/// Marks an address that is for IPv6 alone.
const ONLY: u32 = u32::MAX;

impl Service {
    fn parse(text: &str) -> Self {
        let (what, place) = text.split_once('@').unwrap_or_else(|| panic!("{text}: no @PORT"));
        let (kind, number) = what.split_once('=').unwrap_or((what, "0"));
        let (family, port) = place.split_once('.').unwrap_or(("", place));
        let port = port.parse().unwrap();
        let address = match family {
            "v4" => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            "lo" => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            "v6" => std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, ONLY).into(),
            _ => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        };
        Self { kind: kind.into(), number: number.parse().unwrap(), address }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.kind, self.address.port())
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}
