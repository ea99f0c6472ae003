//! What the demonstration runs in: an engine, a guest, and the guest's ports on loopback.
//!
//! Owns the choice of the guest. A namespace guest is tried first; what this machine lacks for it
//! is said, with what would change that, and then the guest in this process takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portreeve::{Egress, Engine, HostAccess, MemoryOptions, Tap, free_addressing, memory_link};
use portreeve_sandbox::{Finding, Running, Sandbox, SandboxOptions, probe};
use portreeve_types::{Addressing, HostBind, HostPorts, Listen, PublishRequest, Transport};

use super::calls::CALL;
use super::in_process_guest::InProcessGuest;
use super::screen::Screen;
use super::service::{ECHO, NOBODY, PORTS};
use super::{checks, in_process_guest};
use crate::report::{self, Failure};

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    const fn of(address: &SocketAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }
}

/// Where the host reaches the guest's ports.
pub(super) type Ports = BTreeMap<(Transport, u16, Family), SocketAddr>;

/// Something a namespace guest needs and this machine does not give.
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) fix: Option<String>,
}

/// A guest with an engine before it.
pub(super) struct Network {
    engine: Engine,
    guest: Guest,
    addressing: Addressing,
    ports: Ports,
    /// Services on loopback that the guest may call.
    services: BTreeMap<Family, TcpListener>,
}

enum Guest {
    /// In namespaces of its own, for as long as this value lives.
    Namespace(Box<Running>),
    /// Its thread ends when the engine does.
    InProcess(JoinHandle<()>),
}

/// How long the guest's server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

impl Network {
    /// Makes a guest that can take transfers of `bytes`, publishes its ports and waits until its
    /// server answers.
    pub(super) fn set_up(
        in_process: bool,
        families: &[Family],
        bytes: usize,
        screen: &mut Screen,
    ) -> Result<Self, Failure> {
        let mut addressing = free_addressing();
        if !families.contains(&Family::V4) {
            addressing.ipv4 = None;
        }
        if !families.contains(&Family::V6) {
            addressing.ipv6 = None;
        }
        let mut network = if in_process {
            Self::with_in_process_guest(addressing, bytes)?
        } else {
            match prepare(&addressing, bytes) {
                Ok(sandbox) => Self::with_namespace_guest(sandbox, addressing, families)?,
                Err(missing) => {
                    screen.explain(&missing);
                    Self::with_in_process_guest(addressing, bytes)?
                }
            }
        };
        // Only now: what runs in the guest keeps the limit that this process was given.
        if let Err(error) = portreeve::raise_fd_limit() {
            report::warning(format_args!("raising the limit of open files: {error}"));
        }
        network.publish(families)?;
        for &family in families {
            network.await_server(family)?;
        }
        Ok(network)
    }

    /// Whether the guest is one of this process's threads.
    pub(super) const fn is_in_process(&self) -> bool {
        matches!(self.guest, Guest::InProcess(_))
    }

    /// The addresses on the guest's link.
    pub(super) const fn addressing(&self) -> &Addressing {
        &self.addressing
    }

    /// Where the host reaches the guest's ports.
    pub(super) const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Ends the engine and the guest.
    pub(super) fn take_down(self) {
        let Self { engine, guest, .. } = self;
        engine.stop();
        match guest {
            Guest::Namespace(running) => drop(running),
            Guest::InProcess(thread) => {
                // A panic of it has been printed, and has made checks fail.
                let _ = thread.join();
            }
        }
    }

    /// The services that the guest may call; once.
    pub(super) fn take_services(&mut self) -> BTreeMap<Family, TcpListener> {
        std::mem::take(&mut self.services)
    }

    fn with_namespace_guest(
        mut sandbox: Sandbox,
        addressing: Addressing,
        families: &[Family],
    ) -> Result<Self, Failure> {
        for warning in sandbox.warnings() {
            report::warning(warning);
        }
        let tap = sandbox.take_tap();
        let tap = tap.ok_or_else(|| Failure::ours("the guest has no network device"))?;
        let tap = Tap::from_fd(tap).map_err(Failure::ours)?.with_mtu(addressing.mtu);
        let services = services(families)?;
        let engine = Engine::builder()
            .link(tap)
            .addressing(addressing.clone())
            .egress(Egress { host: opened(&services)?, ..Egress::default() })
            .start()
            .map_err(Failure::ours)?;
        let running = sandbox.start()?;
        let guest = Guest::Namespace(Box::new(running));
        Ok(Self { engine, guest, addressing, ports: Ports::new(), services })
    }

    fn with_in_process_guest(mut addressing: Addressing, bytes: usize) -> Result<Self, Failure> {
        addressing.mtu = in_process_guest::MTU;
        let options =
            MemoryOptions { mtu: addressing.mtu, offloads: false, ..MemoryOptions::default() };
        let (link, peer) = memory_link(&options).map_err(Failure::ours)?;
        let engine = Engine::builder()
            .link(link)
            .addressing(addressing.clone())
            .start()
            .map_err(Failure::ours)?;
        let guest = InProcessGuest::new(peer, &addressing, bytes);
        let thread = guest.start().map_err(Failure::ours)?;
        let guest = Guest::InProcess(thread);
        Ok(Self { engine, guest, addressing, ports: Ports::new(), services: BTreeMap::new() })
    }

    fn publish(&mut self, families: &[Family]) -> Result<(), Failure> {
        let calls = (!self.is_in_process()).then_some(CALL);
        let tcp = PORTS.into_iter().chain([NOBODY]).chain(calls).map(|port| (Transport::Tcp, port));
        for (transport, guest_port) in tcp.chain([(Transport::Udp, ECHO)]) {
            let request = PublishRequest {
                transport,
                listen: Listen::Inet { host: HostBind::Loopback, ports: HostPorts::Any },
                guest_port,
                source: None,
                name: None,
            };
            for port in self.engine.publish(&request).map_err(Failure::ours)? {
                if let Some(address) = port.host.socket_addr() {
                    self.ports.insert((transport, guest_port, Family::of(&address)), address);
                }
            }
            let missing = families
                .iter()
                .find(|&&family| !self.ports.contains_key(&(transport, guest_port, family)));
            if let Some(family) = missing {
                let what = format_args!("{}: port not published on loopback", family.name());
                return Err(Failure::ours(what));
            }
        }
        Ok(())
    }

    /// Waits until the server answers on this family, at both ends: a port would reach it over the
    /// other one, too, and the table would then speak of something else.
    fn await_server(&mut self, family: Family) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let answer = checks::greet(&self.ports, family, |client| {
                let flows = self.engine.flows();
                flows
                    .iter()
                    .any(|flow| flow.client == Some(client) && Family::of(&flow.guest) == family)
            });
            let why = match answer {
                Ok(true) => return Ok(()),
                Ok(false) => "only the other IP version is".to_owned(),
                Err(error) => error.to_string(),
            };
            if let Guest::Namespace(running) = &mut self.guest
                && let Some(status) = running.poll_exit()?
            {
                let what = format_args!("the guest's server ended by itself: {status}");
                return Err(Failure::ours(what));
            }
            if Instant::now() >= deadline {
                let what = format_args!("the guest does not answer over {}: {why}", family.name());
                return Err(Failure::ours(what));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Something for the guest to call on each loopback address, on ports that the kernel chooses.
fn services(families: &[Family]) -> Result<BTreeMap<Family, TcpListener>, Failure> {
    let listen = |family: &Family| {
        let loopback: IpAddr = match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        TcpListener::bind((loopback, 0)).map(|listener| (*family, listener))
    };
    families.iter().map(listen).collect::<Result<_, _>>().map_err(Failure::ours)
}

/// Exactly the ports of these services.
fn opened(services: &BTreeMap<Family, TcpListener>) -> Result<HostAccess, Failure> {
    let mut ports = BTreeSet::new();
    for listener in services.values() {
        ports.extend(NonZeroU16::new(listener.local_addr().map_err(Failure::ours)?.port()));
    }
    Ok(HostAccess::Ports(ports))
}

/// The IP versions that this machine has on its own loopback.
pub(super) fn loopback_families() -> Result<Vec<Family>, Failure> {
    let has = |address: SocketAddr| TcpListener::bind(address).map(drop);
    let v4 = has((Ipv4Addr::LOCALHOST, 0).into());
    let v6 = has((Ipv6Addr::LOCALHOST, 0).into());
    match (v4, v6) {
        (Ok(()), Ok(())) => Ok(vec![Family::V4, Family::V6]),
        (Ok(()), Err(_)) => Ok(vec![Family::V4]),
        (Err(_), Ok(())) => Ok(vec![Family::V6]),
        (Err(error), Err(_)) => {
            Err(Failure::ours(format_args!("nothing can listen on 127.0.0.1 or ::1: {error}")))
        }
    }
}

/// A guest that waits for its server to be started, or everything that stands in its way.
fn prepare(addressing: &Addressing, bytes: usize) -> Result<Sandbox, Vec<Missing>> {
    let mut missing: Vec<Missing> = Vec::new();
    for Finding { what, ok, why, fix, .. } in probe() {
        // What is missing only because of another finding has the same remedy.
        if !ok && missing.iter().all(|known| fix.is_none() || known.fix != fix) {
            missing.push(Missing { what: what.to_owned(), why, fix });
        }
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    // The executable that runs, even if its file has been moved or replaced since.
    let length = bytes.to_string();
    let mut options = SandboxOptions::new(["/proc/self/exe", "__demo-guest", &length]);
    options.addressing = addressing.clone();
    options.hostname = Some("guest".into());
    Sandbox::prepare(options).map_err(|error| {
        vec![Missing { what: "the guest".into(), why: error.to_string(), fix: error.help() }]
    })
}
