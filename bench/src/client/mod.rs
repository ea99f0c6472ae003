//! The client of the load generator. Each measurement is one run of one subcommand, of fixed
//! length, and ends with one line of JSON on stdout.

mod connect;
mod datagram;
mod exchange;
mod names;
mod outcome;
mod stream;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};

pub(crate) use outcome::Outcome;

use crate::socket::{Addresses, raise_fd_limit};

/// Where to, for how long, and what.
#[derive(Args)]
pub(crate) struct Options {
    /// The address and port to load.
    #[arg(long)]
    target: SocketAddr,
    /// First of the addresses to connect to in turn, all the target's; without it only that one.
    #[arg(long)]
    target_base: Option<Ipv4Addr>,
    /// Number of addresses to connect to.
    #[arg(long, default_value_t = 1)]
    targets: u32,
    /// First of the source addresses to take in turn; without it the kernel chooses.
    #[arg(long)]
    source_base: Option<Ipv4Addr>,
    /// Number of source addresses.
    #[arg(long, default_value_t = 1)]
    sources: u32,
    /// Milliseconds before the window.
    #[arg(long, default_value_t = 300)]
    warmup_ms: u64,
    /// Milliseconds that are measured.
    #[arg(long, default_value_t = 2000)]
    window_ms: u64,
    #[command(subcommand)]
    load: Load,
}

/// The measurement.
#[derive(Subcommand)]
enum Load {
    /// Wait until the server answers through whatever lies between.
    Probe {
        /// Milliseconds after which to give up.
        #[arg(long, default_value_t = 10_000)]
        patience_ms: u64,
    },
    /// One TCP stream at full speed.
    Stream {
        /// Which way the bytes flow.
        #[arg(long)]
        direction: Direction,
    },
    /// Connect, send a request, read the response, close; again and again.
    Connect {
        /// Connections at a time.
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
    },
    /// Requests and responses on one connection, beside others that are idle.
    Exchange {
        /// Other connections, opened first and answered once each.
        #[arg(long, default_value_t = 0)]
        idle: usize,
        /// A second port for every other one of them, where one port has a limit of its own.
        #[arg(long)]
        second_port: Option<u16>,
        /// Print `opened` once they are open and wait for a line on stdin.
        #[arg(long)]
        hold: bool,
    },
    /// Datagrams to the server as fast as they can be sent; the server counts.
    Flood,
    /// Datagrams from the server as fast as it can send; the client counts.
    FloodBack,
    /// Datagrams that the server sends back.
    Echo {
        /// Datagrams at a time.
        #[arg(long, default_value_t = 64)]
        in_flight: usize,
    },
    /// Questions about names, always the same ones, at UDP port 53.
    NamesCached {
        /// The server to ask; without it the default gateway.
        #[arg(long)]
        server: Option<SocketAddr>,
        /// Questions at a time.
        #[arg(long, default_value_t = 128)]
        in_flight: usize,
    },
    /// Questions about names that nobody has asked for yet, one at a time.
    NamesFresh {
        /// The server to ask; without it the default gateway.
        #[arg(long)]
        server: Option<SocketAddr>,
    },
}

/// Which way the bytes of a stream flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// The client sends.
    Send,
    /// The client receives.
    Receive,
}

/// Everything a measurement needs besides what it is.
struct Plan {
    target: SocketAddr,
    targets: Addresses,
    sources: Addresses,
    warmup: Duration,
    window: Duration,
}

impl Plan {
    /// Where the next connection goes.
    fn target(&mut self) -> SocketAddr {
        let port = self.target.port();
        self.targets.take().map_or(self.target, |address| SocketAddr::new(address, port))
    }
}

/// Runs one measurement and prints what it has found.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    raise_fd_limit()?;
    let line = serde_json::to_string(&measure(options)?)?;
    writeln!(io::stdout().lock(), "{line}")
}

fn measure(options: &Options) -> io::Result<Outcome> {
    let mut plan = Plan {
        target: options.target,
        targets: Addresses::new(options.target_base, options.targets),
        sources: Addresses::new(options.source_base, options.sources),
        warmup: Duration::from_millis(options.warmup_ms),
        window: Duration::from_millis(options.window_ms),
    };
    match options.load {
        Load::Probe { patience_ms } => {
            exchange::probe(&plan, Duration::from_millis(patience_ms))?;
            Ok(Outcome::default())
        }
        Load::Stream { direction } => stream::run(&plan, direction),
        Load::Connect { in_flight } => connect::run(&mut plan, in_flight),
        Load::Exchange { idle, second_port, hold } => {
            exchange::run(&mut plan, idle, second_port, hold)
        }
        Load::Flood => datagram::flood(&plan),
        Load::FloodBack => datagram::flood_back(&plan),
        Load::Echo { in_flight } => datagram::echo(&plan, in_flight),
        Load::NamesCached { server, in_flight } => {
            plan.target = name_server(server)?;
            names::cached(&plan, in_flight)
        }
        Load::NamesFresh { server } => {
            plan.target = name_server(server)?;
            names::fresh(&plan)
        }
    }
}

fn name_server(given: Option<SocketAddr>) -> io::Result<SocketAddr> {
    given.map_or_else(|| Ok(SocketAddr::from((names::gateway()?, 53))), Ok)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::server::Server;

    fn against_a_server(load: Load) -> Outcome {
        let server = Server::bind(0).expect("loopback");
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        // It serves until the test process ends.
        thread::spawn(move || server.run());
        measure(&Options {
            target,
            target_base: Some(Ipv4Addr::new(127, 0, 2, 1)),
            targets: 4,
            source_base: Some(Ipv4Addr::new(127, 0, 1, 1)),
            sources: 4,
            warmup_ms: 20,
            window_ms: 100,
            load,
        })
        .expect("a measurement over loopback")
    }

    #[test]
    fn streams_are_counted_in_both_directions() {
        for direction in [Direction::Send, Direction::Receive] {
            let outcome = against_a_server(Load::Stream { direction });
            assert_eq!(outcome.total, outcome.sent, "{direction:?}");
            assert!(outcome.within > 0 && outcome.within < outcome.total, "{outcome:?}");
            assert!(outcome.nanos >= 50_000_000, "{outcome:?}");
            assert!(outcome.stall_nanos > 0, "{outcome:?}");
        }
    }

    #[test]
    fn connections_are_counted() {
        for in_flight in [1, 64] {
            let outcome = against_a_server(Load::Connect { in_flight });
            assert!(outcome.within > 0 && outcome.failed == 0, "{in_flight}: {outcome:?}");
        }
    }

    #[test]
    fn round_trips_are_measured_beside_idle_connections() {
        let outcome =
            against_a_server(Load::Exchange { idle: 100, second_port: None, hold: false });
        assert!(outcome.within > 0, "{outcome:?}");
        assert!(outcome.p50_nanos > 0 && outcome.p50_nanos <= outcome.p99_nanos, "{outcome:?}");
    }

    #[test]
    fn datagrams_are_counted() {
        let flood = against_a_server(Load::Flood);
        assert!(flood.within > 0 && flood.total <= flood.sent, "{flood:?}");
        let back = against_a_server(Load::FloodBack);
        assert!(back.within > 0 && back.total <= back.sent, "{back:?}");
        let echo = against_a_server(Load::Echo { in_flight: 8 });
        assert!(echo.within > 0 && echo.total <= echo.sent, "{echo:?}");
    }

    #[test]
    fn names_are_asked_for() {
        let server = Server::bind(0).and_then(|server| server.with_names(0)).expect("loopback");
        let port = server.names_port().expect("bound");
        thread::spawn(move || server.run());
        let server = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        for load in [Load::NamesCached { server, in_flight: 64 }, Load::NamesFresh { server }] {
            let outcome = against_a_server(load);
            assert!(outcome.within > 0 && outcome.failed == 0, "{outcome:?}");
        }
    }

    #[test]
    fn nobody_there_is_an_error() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let target = listener.local_addr().expect("bound");
        drop(listener);
        let options = Options {
            target,
            target_base: None,
            targets: 1,
            source_base: None,
            sources: 1,
            warmup_ms: 0,
            window_ms: 10,
            load: Load::Probe { patience_ms: 50 },
        };
        let error = measure(&options).expect_err("nothing listens");
        assert!(error.to_string().contains("no answer from"), "{error}");
    }
}
