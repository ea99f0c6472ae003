//! The commands that ask a running engine, as clap understands them.
//!
//! Owns their names and texts. Which of several words is the engine's name is decided in
//! `control/words.rs`: clap knows positions, not what a word looks like.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValuesParser};
use portreeve_types::DnsName;
use portreeve_types::api::EventBody;

use portreeve_types::parse_duration;

#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// List the engines that run: name, process, guest, published ports, connections
    Ps(PsArgs),
    /// Publish ports of a guest that runs: all of them or, if one cannot be, none
    ///
    /// Prints what was published, as `run -p` does. NAME may be left out when one engine runs.
    Publish(PublishArgs),
    /// Close published ports of a guest that runs
    ///
    /// A PORT is one of the host, and closes what listens on it: both families of the loopback,
    /// say. Connections go on to their ends, unless --reset is given. Exit status: 1 when there is
    /// no such port, and then none is closed.
    Unpublish(UnpublishArgs),
    /// Print where the ports of a guest are published
    ///
    /// With GUEST_PORT only the host's end of that one. Exit status: 1 when it is not published.
    Port(PortArgs),
    /// List the connections of a guest, or follow them
    ///
    /// A row for each TCP connection, UDP client and UDP port or echo of the guest. IN and OUT are
    /// bytes into the guest and out of it. --follow prints a line when one opens or ends instead,
    /// with its bytes and the reason of its end.
    Flows(FlowsArgs),
    /// Reset connections of a guest, on both sides
    Kill(KillArgs),
    /// Print what happens in an engine, as it happens, with reasons
    Events(EventsArgs),
    /// Watch an engine live: flows, published ports, drops, names, events
    ///
    /// Takes the terminal over until q is pressed; ? shows the keys. Flows can be killed and ports
    /// unpublished from it.
    Top(TopArgs),
    /// Print what an engine has counted
    Stats(AskArgs),
    /// Show or change what a guest's name server does
    ///
    /// Without a command: whom it asks, and what it has counted.
    #[command(disable_help_subcommand = true)]
    Dns(DnsArgs),
    /// Print the limits of an engine, or change them while it runs
    ///
    /// FIELD=VALUE changes a limit: all that are given or none. Exit status: 1 when a limit cannot
    /// change while the engine runs, or not to that value.
    Limits(LimitsArgs),
    /// Print what an engine has counted, as Prometheus reads it
    Metrics(MetricsArgs),
    /// Record the frames of a guest's link, as a pcapng file
    ///
    /// Ends at SIGINT, after --count frames or --duration, or with the engine, and then says how
    /// many there were. `portreeve capture -o - | wireshark -k -i -` shows them as they come.
    Capture(CaptureArgs),
    /// Have an engine read its configuration file again, and say what came of it
    ///
    /// Exit status: 1 when a change could not be made; what was before stays.
    Reload(AskArgs),
    /// Print the configuration that an engine runs with, every default filled in
    Config(AskArgs),
}

/// By which socket the engine is reached, where it is not by name.
#[derive(Debug, Args)]
pub(crate) struct SocketArgs {
    /// The engine's control socket, in place of NAME
    #[arg(short, long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// An engine, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The engine; may be left out when one runs
    #[arg(conflicts_with = "socket")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The engine; may be left out when one runs
    #[arg(conflicts_with = "socket")]
    pub(crate) name: Option<String>,
    /// The engine's control socket, in place of NAME
    #[arg(short, long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Ask the engine this often, until + or - is pressed
    #[arg(short, long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Print names only
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The engine; may be left out when one runs
    pub(crate) name: Option<String>,
    /// What to publish, as for `run -p`: `[HOST_IP:][HOST_PORT:]GUEST_PORT[/PROTO]` and so on
    #[arg(value_name = "SPEC")]
    pub(crate) specs: Vec<String>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnpublishArgs {
    /// The engine; may be left out when one runs
    pub(crate) name: Option<String>,
    /// What to close: `9090`, `9090/tcp`, `127.0.0.1:9090`, `unix:PATH`, or `id:7` as in `port -l`
    #[arg(value_name = "PORT")]
    pub(crate) ports: Vec<String>,
    /// Reset the connections
    #[arg(long)]
    pub(crate) reset: bool,
    /// Let the connections go on to their ends: the default
    #[arg(long, conflicts_with = "reset")]
    pub(crate) drain: bool,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// The engine; may be left out when one runs
    pub(crate) name: Option<String>,
    /// A port of the guest, as in `80` or `53/udp`; TCP if nothing is said
    #[arg(value_name = "GUEST_PORT[/PROTO]")]
    pub(crate) port: Option<String>,
    /// A table with what each port has done
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) long: bool,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FlowsArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Print a line for each that opens or ends from now on
    #[arg(short, long, conflicts_with_all = ["limit", "phase"])]
    pub(crate) follow: bool,
    /// Only those of this protocol
    #[arg(long, value_name = "PROTO", value_parser = PossibleValuesParser::new(PROTOCOLS))]
    pub(crate) protocol: Option<String>,
    /// Only those that this side opened
    #[arg(long, value_name = "SIDE")]
    pub(crate) origin: Option<Side>,
    /// Only TCP connections in this phase
    #[arg(long, value_name = "PHASE", value_parser = PossibleValuesParser::new(PHASES))]
    pub(crate) phase: Option<String>,
    /// Only those through this published port: as for `unpublish`
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// Only those with this text in an address or name
    #[arg(long, value_name = "TEXT")]
    pub(crate) contains: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The engine; may be left out when one runs
    pub(crate) name: Option<String>,
    /// Connections by their names in `flows`, as in `12.3`
    #[arg(value_name = "FLOW")]
    pub(crate) flows: Vec<String>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Only events of this kind; may be given several times, or with commas
    #[arg(
        short,
        long = "kind",
        value_name = "KIND",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(EventBody::KINDS.iter().copied())
    )]
    pub(crate) kinds: Vec<String>,
    /// Begin behind the event of this number, with what the engine has kept
    #[arg(long, value_name = "SEQ")]
    pub(crate) since: Option<u64>,
    /// Print what the engine has kept, and end
    #[arg(long)]
    pub(crate) no_follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// The engine; may be left out when one runs
    #[arg(conflicts_with = "socket")]
    pub(crate) name: Option<String>,
    /// The engine's control socket, in place of NAME
    #[arg(short, long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Option<DnsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// List the answers in the cache, the most recently used first
    Cache {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Forget every answer in the cache
    Flush,
    /// List the names that the name server answers by itself
    Records,
    /// Give a name addresses, in place of those it had
    Set {
        /// The name
        #[arg(value_name = "DOMAIN")]
        domain: DnsName,
        /// Its addresses
        #[arg(value_name = "IP", required = true)]
        addresses: Vec<std::net::IpAddr>,
        /// Seconds the guest may keep the answer
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u32>,
    },
    /// Take away a name that was configured or set
    Remove {
        /// The name
        #[arg(value_name = "DOMAIN")]
        domain: DnsName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LimitsArgs {
    /// The engine; may be left out when one runs
    pub(crate) name: Option<String>,
    /// A limit and its new value, as in `max_flows=1000`
    #[arg(value_name = "FIELD=VALUE")]
    pub(crate) changes: Vec<String>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// The engine; may be left out when one runs
    #[arg(conflicts_with = "socket")]
    pub(crate) name: Option<String>,
    /// The engine's control socket, in place of NAME
    #[arg(short, long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Where to write: a file, or `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Keep at most so many bytes of each frame [default: 2048]
    ///
    /// That is more than a frame of a link with an MTU of 1500 has; what a guest leaves to be cut
    /// into segments is one frame here, of up to 65,550 bytes. At most 262144, which is all.
    #[arg(long, value_name = "BYTES")]
    pub(crate) snaplen: Option<u32>,
    /// Only frames that match, as in `tcp and port 80`, `host 10.0.2.100`, `dropped`
    #[arg(long, value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Write with each frame that was dropped why it was
    #[arg(long)]
    pub(crate) with_verdicts: bool,
    /// End after so many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after this time, as in `10s`
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
}

/// A side that opens connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// Clients of published ports
    Host,
    /// The guest
    Guest,
}

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "echo"];
const PHASES: [&str; 9] = [
    "dialing_guest",
    "dialing_host",
    "relaying",
    "host_finished",
    "guest_finished",
    "both_finished",
    "guest_gone",
    "host_gone",
    "closed",
];

/// Often enough to be live, and not so often that the engine does little else.
fn interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text).map_err(|error| error.to_string())? {
        time if time < Duration::from_millis(100) => Err("must be at least 100ms".to_owned()),
        time if time > Duration::from_secs(3_600) => Err("must be at most an hour".to_owned()),
        time => Ok(time),
    }
}
