//! UDP sockets.
//!
//! Owns unconnected sockets that say which local address each datagram came to and let each
//! leave from any, and the reports of what became of datagrams sent. Keeps no mapping of
//! clients.
//!
//! Sockets that clients of published ports send to are bound by [`UdpSocket::bind`], those for
//! the guest's own datagrams by [`UdpSocket::outbound`]; [`UdpSocket::exchange`] makes the
//! connected ones for a question and its answer.
//!
//! Spec: udp(7), ip(7), ipv6(7), RFC 3542 §6.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicUsize;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::error::HostError;
use crate::outbound::{FragmentationMode, OutboundOptions, family_of};
use crate::report::{self, SocketErrorReport, despite_reports, is_report};
use crate::sys;

mod batch;
mod exchange;
mod send;

pub use batch::{BATCH_DATAGRAMS, Datagram, RecvBatch, SendBatch, SendOptions};
pub use exchange::UdpExchange;

/// How to bind a UDP socket.
#[derive(Clone, Debug, Default)]
pub struct UdpOptions {
    /// Receive and send through this interface only.
    pub interface: Option<String>,
}

/// A UDP socket, bound and not connected.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    family: AddressFamily,
    local: SocketAddr,
    fragmentation: FragmentationMode,
    /// Datagrams of this length and more are not sent several in one message: an interface in
    /// use is too narrow for it, or the kernel too old.
    unsegmented: AtomicUsize,
}

impl UdpSocket {
    /// Binds a socket. Port 0 lets the kernel choose: [`local_addr`](Self::local_addr) tells. An
    /// IPv6 wildcard takes IPv6 only.
    ///
    /// # Errors
    /// Which call failed, with the address: in use, no right to it, not an address of this host.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> Result<Self, HostError> {
        let fault = |operation| move |errno| HostError::new(operation, address, errno);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = sys::family(address.ip());
        let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))
            .map_err(fault("socket"))?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, true).map_err(fault("setsockopt"))?;
        }
        if let Some(interface) = &options.interface {
            sys::bind_interface(fd.as_fd(), interface)?;
        }
        // Set before it can receive: a datagram taken earlier would not know where it came to.
        let segments = set_options(fd.as_fd(), family)
            .map_err(|error| HostError::new("setsockopt", address, error))?;
        rustix::net::bind(&fd, &address).map_err(fault("bind"))?;
        let local = sys::local_addr(fd.as_fd())
            .map_err(|error| HostError::new("getsockname", address, error))?;
        Ok(Self::new(fd, family, local, segments))
    }

    /// Binds a socket for datagrams of the guest to an ephemeral port of the wildcard of IPv6 or
    /// IPv4, or of the address asked for. IPv6 means IPv6 only.
    ///
    /// It cannot send to broadcast addresses (`EACCES`), receives nothing of groups that others
    /// have joined, and does not tell which address a datagram came to: [`Datagram::local`] is
    /// the address it is bound to.
    ///
    /// # Errors
    /// Which call failed: no such interface or address, no descriptors, no ports left.
    pub fn outbound(v6: bool, options: &OutboundOptions) -> Result<Self, HostError> {
        let name = if v6 { "[::]:0" } else { "0.0.0.0:0" };
        let fault = |operation| move |error: io::Error| HostError::new(operation, name, error);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = family_of(v6);
        let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))
            .map_err(|errno| HostError::new("socket", name, errno))?;
        let set = || -> io::Result<()> {
            if v6 {
                sockopt::set_ipv6_v6only(&fd, true)?;
            }
            sys::set_datagram_options(fd.as_fd(), family)?;
            sys::refuse_foreign_groups(fd.as_fd(), family)
        };
        set().map_err(fault("setsockopt"))?;
        let segments = sys::join_received(fd.as_fd()).is_ok();
        options.bind(fd.as_fd(), family)?;
        let local = sys::local_addr(fd.as_fd()).map_err(fault("getsockname"))?;
        Ok(Self::new(fd, family, local, segments))
    }

    /// A socket for one question to `server` and its answer.
    ///
    /// # Errors
    /// As [`outbound`](Self::outbound), and no route to the server.
    pub fn exchange(
        server: SocketAddr,
        options: &OutboundOptions,
    ) -> Result<UdpExchange, HostError> {
        UdpExchange::open(server, options)
    }

    /// `segments`: whether the kernel joins and splits datagrams (Linux 5.0).
    fn new(fd: OwnedFd, family: AddressFamily, local: SocketAddr, segments: bool) -> Self {
        // An older one would take no notice of the wish to split and send one long datagram.
        let unsegmented = AtomicUsize::new(if segments { usize::MAX } else { 0 });
        Self { fd, family, local, fragmentation: FragmentationMode::default(), unsegmented }
    }

    /// Takes over a UDP socket that is bound already.
    ///
    /// # Errors
    /// `InvalidInput` when it is no such socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, HostError> {
        let fault = |error: io::Error| HostError::new("bind", "the descriptor passed in", error);
        let invalid = |what| fault(io::Error::new(io::ErrorKind::InvalidInput, what));
        let kind = sockopt::socket_type(&fd).map_err(|errno| fault(errno.into()))?;
        let protocol = sockopt::socket_protocol(&fd).map_err(|errno| fault(errno.into()))?;
        if kind != SocketType::DGRAM || protocol != Some(ipproto::UDP) {
            return Err(invalid("not a UDP socket"));
        }
        let local = sys::local_addr(fd.as_fd()).map_err(fault)?;
        if local.port() == 0 {
            return Err(invalid("a UDP socket that is not bound"));
        }
        let family = sockopt::socket_domain(&fd).map_err(|errno| fault(errno.into()))?;
        sys::make_nonblocking(fd.as_fd()).map_err(fault)?;
        let segments = set_options(fd.as_fd(), family).map_err(fault)?;
        Ok(Self::new(fd, family, local, segments))
    }

    /// The address and port in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Takes what datagrams are there, at most as many as the batch holds, in place of what it
    /// held before, and returns how many they are.
    ///
    /// [`RecvBatch::errors_pending`] tells whether the error queue is worth a look afterwards.
    ///
    /// # Errors
    /// `WouldBlock` when none is there.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.recv_some(batch, BATCH_DATAGRAMS)
    }

    /// As [`recv_batch`](Self::recv_batch), for a caller with room for `bytes` of payload: takes
    /// no more than that, but one message at least, whatever its length.
    ///
    /// # Errors
    /// As [`recv_batch`](Self::recv_batch).
    pub fn recv_batch_within(&self, batch: &mut RecvBatch, bytes: usize) -> io::Result<usize> {
        // Any message may be of the greatest length, whether one datagram or many joined.
        self.recv_some(batch, (bytes / MESSAGE_BYTES).max(1))
    }

    fn recv_some(&self, batch: &mut RecvBatch, messages: usize) -> io::Result<usize> {
        batch.clear();
        let mut errors_seen = false;
        let result =
            despite_reports(&mut errors_seen, || batch.fill(self.fd.as_fd(), self.local, messages));
        batch.set_errors_pending(errors_seen);
        match result {
            Ok(()) => Ok(batch.len()),
            // More reports arrived than retries: the next edge or call goes on.
            Err(error) if is_report(&error) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }

    /// Takes the next report of what became of a datagram; none when there is none.
    ///
    /// To be called until then whenever the descriptor polls with an error, or
    /// [`RecvBatch::errors_pending`] says so.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn recv_error(&self) -> io::Result<Option<SocketErrorReport>> {
        report::next(self.fd.as_fd())
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets the options of a socket that clients send to and returns whether the kernel joins and
/// splits datagrams.
fn set_options(fd: BorrowedFd<'_>, family: AddressFamily) -> io::Result<bool> {
    sys::set_datagram_options(fd, family)?;
    sys::tell_arrival(fd, family)?;
    // Wishes: the kernel gives at most net.core.rmem_max and wmem_max.
    sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
    sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER)?;
    Ok(sys::join_received(fd).is_ok())
}

/// Whether a datagram may leave from an address: what came to a group is answered from the
/// address the route gives.
fn can_be_source(address: &IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified()
}

/// A burst of datagrams that arrives between two turns of the event loop must fit.
const RECEIVE_BUFFER: usize = 4 << 20;
const SEND_BUFFER: usize = 1 << 20;
/// What one message holds at most.
const MESSAGE_BYTES: usize = 1 << 16;
