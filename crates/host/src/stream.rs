//! Connected byte streams: TCP, and unix sockets where they stand in for it.
//!
//! Owns one descriptor and the ways a connection moves bytes and ends. Never buffers: what the
//! kernel did not take is still the caller's.
//!
//! Spec: tcp(7), unix(7), socket(7) for `SO_LINGER`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sockopt};

use crate::error::HostError;
use crate::sys;

/// A stream socket, connected or about to be.
///
/// Dropping it ends the connection as close(2) does: cleanly if all that arrived was read, with
/// RST if not (RFC 9293 §3.10.4, RFC 1122 §4.2.2.13).
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    /// Where it was dialled to, for errors to name.
    dialled: Option<SocketAddr>,
}

impl Stream {
    /// Takes over a descriptor that is a non-blocking stream socket already.
    pub(crate) fn new(fd: OwnedFd, dialled: Option<SocketAddr>) -> Self {
        Self { fd, dialled }
    }

    /// Takes over a connected stream socket from elsewhere and makes it non-blocking.
    ///
    /// # Errors
    /// `InvalidInput` when `fd` is not a stream socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&fd)? != rustix::net::SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
        }
        sys::make_nonblocking(fd.as_fd())?;
        Ok(Self { fd, dialled: None })
    }

    /// Gives the descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Whether a connection that was dialled is there now; to be asked when writable.
    ///
    /// # Errors
    /// The failure of the dial, or `WouldBlock` while it is still under way.
    pub fn finish_connect(&self) -> Result<(), HostError> {
        let fault = |error: io::Error| match self.dialled {
            Some(address) => HostError::new("connect", address, error),
            None => HostError::new("connect", "an accepted connection", error),
        };
        if let Some(error) = self.take_error().map_err(fault)? {
            return Err(fault(error));
        }
        match rustix::net::getpeername(&self.fd) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::NOTCONN) => Err(fault(io::ErrorKind::WouldBlock.into())),
            Err(errno) => Err(fault(errno.into())),
        }
    }

    /// Reads what is there, at most `buf`. Zero (for a `buf` that is not empty) is the end: the
    /// other side has shut down its sending half.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; `ConnectionReset` and the like when it never will be.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::read(&self.fd, &mut *buf))?)
    }

    /// As [`read`](Self::read), into several buffers in turn.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::readv(&self.fd, bufs))?)
    }

    /// Writes what there is room for and returns how much that was. Never raises `SIGPIPE`.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; `BrokenPipe` or `ConnectionReset` when the other side
    /// takes no more.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL))?)
    }

    /// As [`write`](Self::write), from several buffers in turn.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut no_control = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL;
        Ok(retry_on_intr(|| rustix::net::sendmsg(&self.fd, bufs, &mut no_control, flags))?)
    }

    /// Ends the sending half: after the bytes written so far the other side sees the end. What
    /// it sends can still be read.
    ///
    /// # Errors
    /// `NotConnected` when the connection is gone already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, Shutdown::Write)?)
    }

    /// Ends the connection with RST; bytes not yet sent are dropped. A unix socket has no RST:
    /// its peer sees a reset if bytes it sent were not read, else the end.
    ///
    /// A duplicate of the descriptor elsewhere keeps the connection alive.
    pub fn reset(self) {
        // socket(7) SO_LINGER: with a time of zero, close discards what is queued and resets. It
        // fails only on sockets that cannot reset anyhow, which close then ends as it can.
        let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    /// Bytes written which the other side's kernel has not acknowledged; after
    /// [`shutdown_write`](Self::shutdown_write) a FIN not yet acknowledged counts as one.
    ///
    /// A connection that is over, by a reset as a rule, has nothing left to acknowledge.
    ///
    /// For a unix socket it is the kernel memory of what the other side has not read: greater
    /// than the bytes, and zero when all is read.
    ///
    /// # Errors
    /// `InvalidInput` for a socket that listens.
    pub fn unsent(&self) -> io::Result<usize> {
        let unsent = sys::unsent(self.fd.as_fd())?;
        Ok(if unsent > 0 && sys::is_over(self.fd.as_fd()) { 0 } else { unsent })
    }

    /// Takes the error the kernel keeps for this socket, if there is one.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(sockopt::socket_error(&self.fd)?.err().map(io::Error::from))
    }

    /// Sends small writes at once (or not). Streams dialled or accepted here begin that way.
    ///
    /// # Errors
    /// When the socket is not TCP.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(&self.fd, on)?)
    }

    /// Whether a connection ended up at this very host: the other side's address is loopback, or
    /// the same as this side's.
    ///
    /// A last look, after [`is_local`](crate::is_local) before the dial, which knows the host's
    /// other addresses too. What a rule (DNAT) turns elsewhere is not seen: the kernel goes on
    /// naming the address that was dialled.
    ///
    /// # Errors
    /// When the socket is not TCP or not connected.
    pub fn peer_is_local(&self) -> io::Result<bool> {
        // Not what was dialled: the wildcard, for one, becomes loopback.
        let peer = rustix::net::getpeername(&self.fd)?.ok_or(io::ErrorKind::NotConnected)?;
        let peer = sys::inet_addr(peer)?;
        Ok(peer.ip().is_loopback() || peer.ip() == self.local_addr()?.ip())
    }

    /// The address of this side.
    ///
    /// # Errors
    /// When the socket is not TCP.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        sys::local_addr(self.fd.as_fd())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
