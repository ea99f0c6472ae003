//! UDP sockets.
//!
//! Owns unconnected sockets that say which local address each datagram came to and let each
//! leave from any, and the reports of what became of datagrams sent. Keeps no mapping of
//! clients.
//!
//! An ICMP error is told twice by the kernel: as a report in the error queue, and as the result
//! of whichever call comes next, which has nothing to do with it. The second is swallowed here
//! and the call made again, so that an error of one destination is never taken for one of the
//! socket or of another destination.
//!
//! Spec: udp(7), ip(7), ipv6(7), RFC 3542 §6.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::error::HostError;
use crate::sys::{self, Outgoing};

mod batch;
mod report;

pub use batch::{BATCH_DATAGRAMS, Datagram, RecvBatch, SendBatch};
pub use report::{ErrorOrigin, SocketErrorReport};

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
        set_options(fd.as_fd(), family)
            .map_err(|error| HostError::new("setsockopt", address, error))?;
        rustix::net::bind(&fd, &address).map_err(fault("bind"))?;
        let local = sys::local_addr(fd.as_fd())
            .map_err(|error| HostError::new("getsockname", address, error))?;
        Ok(Self { fd, family, local })
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
        set_options(fd.as_fd(), family).map_err(fault)?;
        Ok(Self { fd, family, local })
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
        batch.clear();
        let mut errors_seen = false;
        let result = despite_reports(&mut errors_seen, || batch.fill(self.fd.as_fd(), self.local));
        batch.set_errors_pending(errors_seen);
        match result {
            Ok(()) => Ok(batch.len()),
            // More reports arrived than retries: the next edge or call goes on.
            Err(error) if is_report(&error) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }

    /// Sends the datagrams of a batch in order and returns how many the kernel took.
    ///
    /// If that is not all, the one after them could not be sent:
    /// [`skip`](SendBatch::skip) those that were and call again to learn why.
    ///
    /// # Errors
    /// The first datagram's: `WouldBlock` when there is no room, else a fault of that datagram
    /// (no route, too long), to be skipped before going on.
    pub fn send_batch(&self, batch: &SendBatch) -> io::Result<usize> {
        let mut sent = 0;
        while sent < batch.len() {
            let mut errors_seen = false;
            let taken = despite_reports(&mut errors_seen, || {
                sys::send_many::<BATCH_DATAGRAMS>(
                    self.fd.as_fd(),
                    self.family,
                    batch.outgoing(sent),
                )
            });
            match taken {
                Ok(0) => break,
                Ok(taken) => sent += taken,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// Sends one datagram, from `source` if that is given.
    ///
    /// # Errors
    /// As [`send_batch`](Self::send_batch).
    pub fn send_to(
        &self,
        payload: &[u8],
        destination: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<()> {
        let outgoing = Outgoing { payload, destination, source: source.filter(can_be_source) };
        despite_reports(&mut false, || {
            sys::send_many::<1>(self.fd.as_fd(), self.family, std::iter::once(outgoing))
        })?;
        Ok(())
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

fn set_options(fd: BorrowedFd<'_>, family: AddressFamily) -> io::Result<()> {
    sys::set_datagram_options(fd, family)?;
    // Wishes: the kernel gives at most net.core.rmem_max and wmem_max.
    sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
    sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER)?;
    Ok(())
}

/// Makes a call again if what it returned may have been the echo of a report: the kernel keeps
/// one such error and the first call takes it away.
fn despite_reports<T>(seen: &mut bool, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = REPORT_TRIES;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_report(&error) => {
                *seen = true;
                tries -= 1;
                if tries == 0 {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

/// Whether an error can come from a report about some earlier datagram: what the kernel makes of
/// the codes of ICMP and ICMPv6.
fn is_report(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EMSGSIZE
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EACCES
        )
    )
}

/// Whether a datagram may leave from an address: what came to a group is answered from the
/// address the route gives.
fn can_be_source(address: &IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified()
}

/// A burst of datagrams that arrives between two turns of the event loop must fit.
const RECEIVE_BUFFER: usize = 4 << 20;
const SEND_BUFFER: usize = 1 << 20;
const REPORT_TRIES: u32 = 4;
