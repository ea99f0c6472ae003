//! TCP listeners.
//!
//! Owns binding, listening and accepting one connection at a time. Never decides what becomes of
//! a connection, never retries, and survives every failure of accept.
//!
//! Spec: listen(2), accept(2), ip(7), ipv6(7) for `IPV6_V6ONLY`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SocketFlags, SocketType, ipproto, sockopt};

use crate::error::{ACCEPT, HostError};
use crate::listen_unix::PeerCredentials;
use crate::stream::Stream;
use crate::sys;

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Take connections that come in through this interface only.
    pub interface: Option<String>,
    /// Connections the kernel holds ready to be accepted; `net.core.somaxconn` caps it.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        // 128, the old default, drops SYNs in bursts, and each costs its client a second.
        Self { interface: None, backlog: 4096 }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A TCP client.
    Inet(SocketAddr),
    /// A process on this machine.
    Unix(PeerCredentials),
}

/// One accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// Who opened it.
    pub peer: Peer,
    /// The address the client used; none for unix sockets.
    pub local: Option<SocketAddr>,
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListener {
    fd: OwnedFd,
    local: SocketAddr,
}

impl TcpListener {
    /// Binds and listens. Port 0 lets the kernel choose: [`local_addr`](Self::local_addr) tells.
    /// An IPv6 wildcard takes IPv6 only.
    ///
    /// # Errors
    /// Which call failed, with the address: in use, no right to it, not an address of this host.
    pub fn bind(address: SocketAddr, options: &ListenOptions) -> Result<Self, HostError> {
        let fault = |operation| move |errno: Errno| HostError::new(operation, address, errno);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = sys::family(address.ip());
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
            .map_err(fault("socket"))?;
        // Connections of an earlier listener in TIME-WAIT must not keep the port.
        sockopt::set_socket_reuseaddr(&fd, true).map_err(fault("setsockopt"))?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, true).map_err(fault("setsockopt"))?;
        }
        if let Some(interface) = &options.interface {
            sys::bind_interface(fd.as_fd(), interface)?;
        }
        rustix::net::bind(&fd, &address).map_err(fault("bind"))?;
        rustix::net::listen(&fd, options.backlog).map_err(fault("listen"))?;
        Self::with_options(fd).map_err(|error| HostError::new("setsockopt", address, error))
    }

    /// Takes over a TCP socket that listens already, as systemd and others pass them on.
    ///
    /// # Errors
    /// `InvalidInput` when it is no such socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, HostError> {
        let fault = |error: io::Error| HostError::new("listen", "the descriptor passed in", error);
        let listens = sockopt::socket_type(&fd).map_err(|errno| fault(errno.into()))?
            == SocketType::STREAM
            && sockopt::socket_acceptconn(&fd).map_err(|errno| fault(errno.into()))?
            && sys::is_inet(fd.as_fd()).map_err(fault)?;
        if !listens {
            let what = "not a TCP socket that listens";
            return Err(fault(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        sys::make_nonblocking(fd.as_fd()).map_err(fault)?;
        Self::with_options(fd).map_err(fault)
    }

    fn with_options(fd: OwnedFd) -> io::Result<Self> {
        // tcp(7): accepted sockets inherit them, which saves two calls for each connection.
        sys::set_stream_options(fd.as_fd())?;
        let local = sys::local_addr(fd.as_fd())?;
        Ok(Self { fd, local })
    }

    /// Takes one connection; none when nobody waits.
    ///
    /// # Errors
    /// See [`ErrorClass`](crate::ErrorClass): the listener lives on after each. Out of
    /// descriptors, the connection goes on waiting and no new edge will announce it.
    pub fn accept(&self) -> Result<Option<Accepted>, HostError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fault = |error: io::Error| HostError::new(ACCEPT, self.local, error);
        let (fd, peer) = match retry_on_intr(|| rustix::net::acceptfrom_with(&self.fd, flags)) {
            Ok(accepted) => accepted,
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(fault(errno.into())),
        };
        // A connection without a peer was reset between the kernel's two steps.
        let gone = || io::Error::from_raw_os_error(libc::ECONNABORTED);
        let peer = peer.ok_or_else(gone).and_then(sys::inet_addr).map_err(fault)?;
        let local = if self.local.ip().is_unspecified() {
            sys::local_addr(fd.as_fd()).map_err(fault)?
        } else {
            self.local
        };
        let stream = Stream::new(fd, None);
        Ok(Some(Accepted { stream, peer: Peer::Inet(peer), local: Some(local) }))
    }

    /// The address and port in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Gives the descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
