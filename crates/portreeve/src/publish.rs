//! Binding what a publish request asks for.
//!
//! Owns the choice of host ports: one for both loopback addresses, the first free of a range, the
//! kernel's. Binds all of a request or nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use portreeve_host::{HostError, ListenOptions, TcpListener, UdpOptions, UdpSocket, UnixListener};
use portreeve_types::{HostBind, HostEndpoint, HostPorts, Listen, PublishRequest, Transport};

use crate::activation;
use crate::error::PublishError;

/// A bound socket of a published port.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    Udp(UdpSocket),
}

/// A port chosen by the kernel for one family may be taken on the other; so many times another is
/// asked for.
const ANY_PORT_TRIES: usize = 32;

/// Binds every socket of a request.
pub(crate) fn bind(
    request: &PublishRequest,
) -> Result<Vec<(Listener, HostEndpoint)>, PublishError> {
    request.validate()?;
    let what = format!("{}/{}", request.guest_port, request.transport);
    match &request.listen {
        Listen::Unix { path } => {
            let listener =
                UnixListener::bind(path).map_err(|error| PublishError::bind(what, error))?;
            Ok(vec![(Listener::Unix(listener), HostEndpoint::Unix(path.clone()))])
        }
        Listen::Fd { fd } => {
            let listener = inherited(*fd, request.transport)
                .map_err(|error| PublishError::bind(what, error))?;
            let endpoint = endpoint(&listener, *fd);
            Ok(vec![(listener, endpoint)])
        }
        Listen::Activated { name } => {
            let sockets = activation::named(name, request.transport);
            let listeners = sockets.and_then(|sockets| {
                sockets.into_iter().map(|fd| listener(fd, request.transport)).collect()
            });
            let listeners: Vec<_> = listeners.map_err(|error| PublishError::bind(what, error))?;
            let with_endpoint = |listener: Listener| {
                let endpoint = endpoint(&listener, listener.as_fd().as_raw_fd());
                (listener, endpoint)
            };
            Ok(listeners.into_iter().map(with_endpoint).collect())
        }
        Listen::Inet { host, ports } => {
            let bound = bind_ports(host, *ports, request.transport, &what)?;
            Ok(bound
                .into_iter()
                .map(|(listener, address)| (listener, HostEndpoint::Inet(address)))
                .collect())
        }
    }
}

type Bound = Vec<(Listener, SocketAddr)>;

fn bind_ports(
    host: &HostBind,
    ports: HostPorts,
    transport: Transport,
    what: &str,
) -> Result<Bound, PublishError> {
    let fail = |error| PublishError::bind(what.to_owned(), error);
    match ports {
        HostPorts::One(port) => bind_all(host, port.get(), transport).map_err(fail),
        HostPorts::Any => {
            for _ in 1..ANY_PORT_TRIES {
                match bind_all(host, 0, transport) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    result => return result.map_err(fail),
                }
            }
            bind_all(host, 0, transport).map_err(fail)
        }
        HostPorts::FirstFree { first, last } => {
            for port in first.get()..=last.get() {
                match bind_all(host, port, transport) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    result => return result.map_err(fail),
                }
            }
            let (first, last) = (first.get(), last.get());
            Err(PublishError::RangeInUse { what: what.to_owned(), first, last })
        }
    }
}

/// Binds one port on every address of `host`; port 0 is the kernel's choice, the same for all.
fn bind_all(host: &HostBind, port: u16, transport: Transport) -> Result<Bound, HostError> {
    let (addresses, interface): (Vec<IpAddr>, _) = match host {
        HostBind::Loopback => (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], None),
        HostBind::Address { addr, interface } => (vec![*addr], interface.clone()),
    };
    let mut bound: Bound = Vec::new();
    for address in addresses {
        let port = bound.first().map_or(port, |(_, first)| first.port());
        match bind_one(address, port, interface.as_deref(), transport) {
            Ok(pair) => bound.push(pair),
            // A host without IPv6 (or, odder, without IPv4) has one loopback address.
            Err(error) if *host == HostBind::Loopback && lacks_family(&error) => {
                tracing::info!(%address, %error, "this host has no such loopback address");
            }
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() {
        // Neither family: the error of the first says it best.
        return bind_one(Ipv4Addr::LOCALHOST.into(), port, None, transport).map(|pair| vec![pair]);
    }
    Ok(bound)
}

fn lacks_family(error: &HostError) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_one(
    address: IpAddr,
    port: u16,
    interface: Option<&str>,
    transport: Transport,
) -> Result<(Listener, SocketAddr), HostError> {
    let address = scoped(address, port, interface);
    let interface = interface.map(str::to_owned);
    Ok(match transport {
        Transport::Tcp => {
            let options = ListenOptions { interface, ..ListenOptions::default() };
            let listener = TcpListener::bind(address, &options)?;
            let local = listener.local_addr();
            (Listener::Tcp(listener), local)
        }
        Transport::Udp => {
            let options = UdpOptions { interface };
            let socket = UdpSocket::bind(address, &options)?;
            let local = socket.local_addr();
            (Listener::Udp(socket), local)
        }
    })
}

/// A link-local address means nothing without its interface. RFC 4007 §6.
fn scoped(address: IpAddr, port: u16, interface: Option<&str>) -> SocketAddr {
    match (address, interface) {
        (IpAddr::V6(v6), Some(interface)) if v6.is_unicast_link_local() => {
            let scope = crate::sys::interface_index(interface);
            SocketAddrV6::new(v6, port, 0, scope).into()
        }
        (address, _) => SocketAddr::new(address, port),
    }
}

fn inherited(fd: i32, transport: Transport) -> Result<Listener, HostError> {
    let fault =
        |source: io::Error| HostError { operation: "dup", address: format!("fd:{fd}"), source };
    listener(crate::sys::duplicate(fd).map_err(fault)?, transport)
}

fn listener(fd: OwnedFd, transport: Transport) -> Result<Listener, HostError> {
    match transport {
        Transport::Tcp => TcpListener::from_fd(fd).map(Listener::Tcp),
        Transport::Udp => UdpSocket::from_fd(fd).map(Listener::Udp),
    }
}

/// Where an inherited socket is.
fn endpoint(listener: &Listener, fd: i32) -> HostEndpoint {
    match listener {
        Listener::Tcp(tcp) => HostEndpoint::Inet(tcp.local_addr()),
        Listener::Udp(udp) => HostEndpoint::Inet(udp.local_addr()),
        Listener::Unix(_) => HostEndpoint::Fd(fd),
    }
}

impl Listener {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}
