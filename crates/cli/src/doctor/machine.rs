//! What this machine gives: tried where it can be, read where it cannot.
//!
//! Judges nothing; `verdicts` does. Makes a whole guest with its engine, as `run` does up to the
//! moment its command would start, and takes it away again.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::str::FromStr;

use portreeve::{
    Capabilities, Engine, Link as _, PingKind, RESOLV_CONF, Tap, fd_limit, free_addressing,
    has_default_route, ping_access, resolver_config,
};
use portreeve_sandbox::{Sandbox, SandboxOptions, probe};

use super::name_servers::{self, Answer};
use crate::run;

/// All that is known.
#[derive(Debug)]
pub(super) struct Machine {
    /// The kernel's release, as uname(2) has it.
    pub(super) kernel: String,
    /// What namespaces and the TUN device need.
    pub(super) needs: Vec<Need>,
    /// A guest as `run` makes it; `None` if a need keeps it from being tried.
    pub(super) guest: Option<Result<Guest, Obstacle>>,
    /// Soft and hard limit of open files.
    pub(super) open_files: (u64, u64),
    pub(super) loopback: Families<io::Result<()>>,
    pub(super) route: Families<bool>,
    /// How pings leave, over whichever family there is.
    pub(super) ping: io::Result<PingKind>,
    /// `net.ipv4.ping_group_range`, if there is such a setting.
    pub(super) ping_groups: Option<String>,
    pub(super) resolver: io::Result<Vec<(SocketAddr, Answer)>>,
    /// Host ports below this one are not for everybody.
    pub(super) first_free_port: u32,
    /// Whether this process may use those, too.
    pub(super) low_ports: bool,
}

/// One thing a namespace guest needs, and whether it is there.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) name: &'static str,
    pub(super) ok: bool,
    pub(super) why: String,
    pub(super) fix: Option<String>,
}

/// A guest that could be made.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// What its TAP and this kernel do for each other.
    pub(super) tap: Capabilities,
    /// What it has to do without.
    pub(super) warnings: Vec<String>,
    /// Whether its device takes the largest MTU, too.
    pub(super) large_mtu: bool,
}

/// Why a guest could not be made.
#[derive(Clone, Debug)]
pub(super) struct Obstacle {
    pub(super) what: String,
    pub(super) fix: Option<String>,
}

/// The same for both IP versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Families<T> {
    pub(super) v4: T,
    pub(super) v6: T,
}

/// The largest MTU that `run --mtu` takes.
pub(super) const LARGEST_MTU: u16 = 65_520;

/// Finds out.
pub(super) fn look() -> Machine {
    // First of all: guests are made by forking, best while there is one thread.
    let needs: Vec<_> = probe()
        .into_iter()
        .map(|found| Need { name: found.name, ok: found.ok, why: found.why, fix: found.fix })
        .collect();
    let guest = needs.iter().all(|need| need.ok).then(guest);
    let first_free_port = setting("net/ipv4/ip_unprivileged_port_start").unwrap_or(1024);
    let v4 = ping_access(false);
    Machine {
        kernel: setting("kernel/osrelease").unwrap_or_default(),
        needs,
        guest,
        open_files: fd_limit(),
        loopback: Families {
            v4: listens(Ipv4Addr::LOCALHOST.into()),
            v6: listens(Ipv6Addr::LOCALHOST.into()),
        },
        // What cannot be asked is taken to be there, as the engine takes it.
        route: Families {
            v4: has_default_route(false).unwrap_or(true),
            v6: has_default_route(true).unwrap_or(true),
        },
        ping: v4.or_else(|error| ping_access(true).map_err(|_| error)),
        ping_groups: setting("net/ipv4/ping_group_range"),
        resolver: resolver(Path::new(RESOLV_CONF)),
        first_free_port,
        low_ports: low_ports(first_free_port),
    }
}

fn guest() -> Result<Guest, Obstacle> {
    let (tap, warnings) = make_guest(free_addressing().mtu)?;
    Ok(Guest { tap, warnings, large_mtu: make_guest(LARGEST_MTU).is_ok() })
}

/// All of `run` but the command.
fn make_guest(mtu: u16) -> Result<(Capabilities, Vec<String>), Obstacle> {
    let mut addressing = free_addressing();
    addressing.mtu = mtu;
    let mut options = SandboxOptions::new(["true"]);
    options.addressing = addressing.clone();
    options.resolver = Some(run::resolver(&addressing, &[]));
    let mut sandbox = Sandbox::prepare(options)
        .map_err(|error| Obstacle { what: error.to_string(), fix: error.help() })?;
    let warnings = sandbox.warnings().iter().map(ToString::to_string).collect();
    let tap = sandbox.take_tap().ok_or_else(|| obstacle("the guest has no network device"))?;
    let tap = Tap::from_fd(tap).map_err(obstacle)?.with_mtu(mtu);
    let capabilities = tap.capabilities();
    let engine = Engine::builder().link(tap).addressing(addressing).start().map_err(obstacle)?;
    engine.stop();
    Ok((capabilities, warnings))
}

fn obstacle(what: impl ToString) -> Obstacle {
    Obstacle { what: what.to_string(), fix: None }
}

/// Whether a port of this address can be listened on, and reached.
fn listens(loopback: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((loopback, 0))?.local_addr()?;
    // 127.0.0.1 can be bound while its interface is down. Connecting UDP asks for the route alone.
    UdpSocket::bind((loopback, 0))?.connect(listener)
}

fn resolver(path: &Path) -> io::Result<Vec<(SocketAddr, Answer)>> {
    Ok(name_servers::ask(&resolver_config(path)?.servers))
}

/// Tried and not read off capabilities: those of a user namespace may not count here.
fn low_ports(first_free: u32) -> bool {
    let Some(port) = first_free.checked_sub(1).and_then(|port| u16::try_from(port).ok()) else {
        return true;
    };
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    port == 0
        || !loopback.into_iter().any(|address| {
            // Bound, nothing hears of it; in use by somebody else, it is still allowed.
            UdpSocket::bind((address, port))
                .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        })
}

/// A value below `/proc/sys`.
fn setting<T: FromStr>(name: &str) -> Option<T> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}
