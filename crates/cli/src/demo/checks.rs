//! The list of checks, and what the client's side of all of them shares.
//!
//! Owns connecting, and the words for what went wrong. Each kind of check has its own file.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use portreeve_types::{Addressing, Transport};

use super::network::{Family, Network, Ports};
use super::screen::Screen;
use super::service::{ECHO, touched};
use super::{Sizes, bulk, calls, connections, datagrams};

/// One thing that a published port promises.
pub(super) struct Check {
    /// What is done, in few words.
    pub(super) title: String,
    /// What it shows.
    pub(super) note: &'static str,
    pub(super) run: Run,
}

/// Does it over one IP version.
pub(super) type Run = fn(&mut Client, Family, &Screen) -> Result<Measured, Failed>;

/// What was seen.
pub(super) struct Measured {
    /// Bytes moved; each way, where they went both.
    pub(super) bytes: Option<usize>,
    pub(super) time: Duration,
    pub(super) rate: Rate,
}

/// How quick it was.
pub(super) enum Rate {
    /// Bytes in the time.
    Bytes,
    /// So many of these in the time.
    Count(u32, &'static str),
    /// The time says it.
    Words(&'static str),
}

/// Why it is not as promised.
pub(super) type Failed = String;

/// The host's side.
pub(super) struct Client {
    pub(super) sizes: Sizes,
    /// What is sent, or came; touched beforehand.
    pub(super) buffer: Vec<u8>,
    ports: Ports,
    addressing: Addressing,
    services: BTreeMap<Family, TcpListener>,
    seed: u64,
}

/// How long nothing may move before a check has failed. Unoptimised builds take seconds to hash.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The checks, simple ones first. Only a guest with programs of its own can be asked to call.
pub(super) fn all(sizes: &Sizes, calls: bool) -> Vec<Check> {
    let check = |title: &str, note, run| Check { title: title.to_owned(), note, run };
    let datagrams = format!("{} UDP datagrams", super::screen::grouped(sizes.datagrams.into()));
    let clients = format!("{} clients at once", sizes.clients);
    let mut all = vec![
        check("TCP into the guest", "SHA-256 is the same at both ends", bulk::into_guest),
        check("TCP out of the guest", "SHA-256 is the same at both ends", bulk::out_of_guest),
        check(&datagrams, "each echoed once, none lost", datagrams::echo),
        check("Port nobody serves", "refused at once: no silence", connections::refusal),
        check("Half-close", "answered after the client's end", connections::half_close),
        check("Full-duplex echo", "both ways at once, small buffers", connections::full_duplex),
        check(&clients, "each gets its own bytes back", connections::many),
    ];
    if calls {
        all.extend([
            check("Guest calls and sends", "SHA-256 is the same at both ends", calls::sends),
            check("Guest calls and gets", "each byte compared", calls::receives),
            check("Guest asks for a name", "the gateway answers", calls::asks),
            check("Host port not opened", "refused, though served", calls::shut_out),
        ]);
    }
    all
}

impl Client {
    pub(super) fn new(sizes: Sizes, network: &mut Network) -> Self {
        let largest = sizes.bulk.max(sizes.echo).max(sizes.half_close);
        Self {
            sizes,
            buffer: touched(largest),
            ports: network.ports().clone(),
            addressing: network.addressing().clone(),
            services: network.take_services(),
            seed: 0,
        }
    }

    /// The gateway's address, as the guest uses it.
    pub(super) fn gateway(&self, family: Family) -> Result<IpAddr, Failed> {
        let v4 = || self.addressing.ipv4.map(|link| link.gateway.into());
        let v6 = || self.addressing.ipv6.map(|link| link.gateway.into());
        let gateway = if family == Family::V6 { v6() } else { v4() };
        gateway.ok_or_else(|| format!("the guest has no {}", family.name()))
    }

    /// A service on loopback that the guest may call, and the address under which it does.
    pub(super) fn service(&self, family: Family) -> Result<(TcpListener, SocketAddr), Failed> {
        let Some(listener) = self.services.get(&family) else {
            return Err("nothing listens for the guest".to_owned());
        };
        let listener = listener.try_clone().map_err(at("listening"))?;
        let port = listener.local_addr().map_err(at("listening"))?.port();
        Ok((listener, (self.gateway(family)?, port).into()))
    }

    /// Other content for each transfer.
    pub(super) fn next_seed(&mut self) -> u64 {
        self.seed += 1;
        self.seed << 32
    }

    /// Where a port of the guest is published.
    pub(super) fn address(
        &self,
        transport: Transport,
        port: u16,
        family: Family,
    ) -> Result<SocketAddr, Failed> {
        let address = self.ports.get(&(transport, port, family)).copied();
        address.ok_or_else(|| format!("port {port} is not published"))
    }

    /// A connection to a port of the guest.
    pub(super) fn connect(&self, port: u16, family: Family) -> Result<TcpStream, Failed> {
        let address = self.address(Transport::Tcp, port, family)?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(at("connecting"))?;
        be_patient(&stream)?;
        Ok(stream)
    }
}

/// Lets calls on `stream` fail that would wait for ever.
pub(super) fn be_patient(stream: &TcpStream) -> Result<(), Failed> {
    let set = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_nodelay(true));
    set.map_err(at("setting up the client's socket"))
}

/// Puts an error of the client's socket into words.
pub(super) fn at(doing: &'static str) -> impl Fn(io::Error) -> Failed {
    move |error| {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            format!("{doing}: nothing moved for {} s", PATIENCE.as_secs())
        } else {
            format!("{doing}: {error}")
        }
    }
}

/// Whether the guest's server answers, and `look` likes what it sees of the connection then.
pub(super) fn greet(
    ports: &Ports,
    family: Family,
    look: impl FnOnce(SocketAddr) -> bool,
) -> io::Result<bool> {
    let Some(address) = ports.get(&(Transport::Tcp, ECHO, family)) else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])?;
    Ok(look(stream.local_addr()?))
}
