//! The network of a comparison:
//!
//! ```text
//!   client namespace                    outer namespace (the engines' host)
//!   client0 198.18.0.2/16  ── veth ──   outer0 198.18.0.1/16 ── engine ── guest
//!   198.18.128.1 … .32 local
//! ```
//!
//! The client sits in another namespace, so that pasta takes its TAP path and not its splice
//! path. It also holds the server that guests connect to, for connections at all 198.18.128.x, so
//! that TIME-WAIT never runs an engine out of ports, and the name server of this network. Addresses are from the block for benchmarks (RFC 2544 §C.2.2, RFC 6890).

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use super::{Buffers, isolation::Ground, process::Process};

/// The port every server listens on and every engine publishes.
pub(crate) const PORT: u16 = 8080;
/// A second published port of the same server, for engines that limit connections by port.
pub(crate) const SECOND_PORT: u16 = 8081;

const OUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Engines copy the default route, and some take the gateway's address for the host itself: it
/// must not be the address the client comes from.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
/// First of the client's further addresses.
const SOURCES: Ipv4Addr = Ipv4Addr::new(198, 18, 128, 1);
const SOURCE_COUNT: u32 = 32;
/// The host's name server.
pub(crate) const NAME_SERVER: Ipv4Addr = CLIENT;

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Across the veth.
    Client,
    /// In the outer namespace, over its loopback.
    Loopback,
}

/// The two namespaces, joined.
pub(crate) struct Topology {
    ground: Ground,
    /// What the guests connect to; it ends before its namespace's holder.
    _internet: Process,
    holder: Child,
    _pipe: ChildStdin,
}

impl Topology {
    pub(crate) fn new(ground: &Ground, buffers: Buffers) -> io::Result<Self> {
        let ground = Ground {
            scratch: ground.scratch.clone(),
            program: ground.program.clone(),
            no_subordinate_ids: ground.no_subordinate_ids.clone(),
        };
        let mut holder = Command::new(&ground.program)
            .arg("hold-netns")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("hold-netns has no pipes");
        let pipe = holder.stdin.take().ok_or_else(missing)?;
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().ok_or_else(missing)?).read_line(&mut ready)?;
        if ready.trim() != "ready" {
            return Err(io::Error::other("the client's network namespace could not be made"));
        }
        let link = Link { program: &ground.program, peer: holder.id() };
        link.make()?;
        if buffers == Buffers::Raised {
            link.raise_buffers()?;
        }
        let internet = internet(&ground, &link.client_netns())?;
        Ok(Self { ground, _internet: internet, holder, _pipe: pipe })
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// A command that runs this program as a client with the arguments to come.
    pub(crate) fn client(&self, place: Place) -> Command {
        let mut command = Command::new(&self.ground.program);
        let (target, sources) = match place {
            Place::Client => (OUTER, SOURCES),
            Place::Loopback => (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 1, 1)),
        };
        if place == Place::Client {
            command
                .args(["enter", "--netns", &self.client_netns(), "--"])
                .arg(&self.ground.program);
        }
        command
            .args(["client", "--target", &SocketAddr::from((target, PORT)).to_string()])
            .args(["--source-base", &sources.to_string()])
            .args(["--sources", &SOURCE_COUNT.to_string()]);
        command
    }

    /// The same from a guest, to the server in the client's namespace.
    pub(crate) fn guest(&self, netns: &Path) -> Command {
        let mut command = Command::new(&self.ground.program);
        let target = SocketAddr::from((CLIENT, PORT)).to_string();
        command
            .args(["enter", "--netns"])
            .arg(netns)
            .arg("--")
            .arg(&self.ground.program)
            .args(["client", "--target", &target])
            .args(["--target-base", &SOURCES.to_string()])
            .args(["--targets", &SOURCE_COUNT.to_string()]);
        command
    }

    /// The name server of this network, which engines find in resolv.conf.
    pub(crate) fn name_server() -> SocketAddr {
        SocketAddr::from((NAME_SERVER, 53))
    }

    fn client_netns(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }
}

/// Everything the guests can reach.
fn internet(ground: &Ground, netns: &str) -> io::Result<Process> {
    let mut command = Command::new(&ground.program);
    command.args(["enter", "--netns", netns, "--"]).arg(&ground.program).args([
        "server",
        "--port",
        &PORT.to_string(),
        "--names",
        "53",
    ]);
    Process::start(command, &ground.scratch.join("internet.log")).map_err(io::Error::other)
}

/// The veth, while it is made.
struct Link<'a> {
    program: &'a Path,
    /// A process of the client's namespace.
    peer: u32,
}

impl Link<'_> {
    fn client_netns(&self) -> String {
        format!("/proc/{}/ns/net", self.peer)
    }

    fn make(&self) -> io::Result<()> {
        let peer = self.peer;
        ip(
            Command::new("ip"),
            &format!(
                "link set lo up\n\
                 link add outer0 type veth peer name client0 netns {peer}\n\
                 addr add {OUTER}/16 dev outer0\n\
                 link set outer0 up\n\
                 route add default via {GATEWAY}\n"
            ),
        )?;
        let mut inside = Command::new(self.program);
        inside.args(["enter", "--netns", &self.client_netns(), "--", "ip"]);
        ip(
            inside,
            &format!(
                "link set lo up\n\
                 addr add {CLIENT}/16 dev client0\n\
                 addr add {GATEWAY}/16 dev client0\n\
                 link set client0 up\n\
                 route add local {SOURCES}/32 dev lo\n\
                 {}",
                (1..SOURCE_COUNT)
                    .map(|n| {
                        let address = Ipv4Addr::from(u32::from(SOURCES) + n);
                        format!("route add local {address}/32 dev lo\n")
                    })
                    .collect::<String>()
            ),
        )
    }

    /// The limits of TCP's own tuning belong to each network namespace; the guest's are its own
    /// engine's and stay as they are.
    fn raise_buffers(&self) -> io::Result<()> {
        let files = ["/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"];
        for file in files {
            fs::write(file, RAISED)?;
            let status = Command::new(self.program)
                .args(["enter", "--netns", &self.client_netns(), "--", "sh", "-c"])
                .arg(format!("echo {RAISED} > {file}"))
                .status()?;
            if !status.success() {
                return Err(io::Error::other(format!("{file} in the client's namespace")));
            }
        }
        Ok(())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Minimum, start and maximum of a TCP buffer.
const RAISED: &str = "4096 131072 67108864";

/// Feeds commands to `ip -batch -`.
fn ip(mut command: Command, batch: &str) -> io::Result<()> {
    let mut child =
        command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("ip (package iproute2): {error}"))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip: {status}"))) }
}
