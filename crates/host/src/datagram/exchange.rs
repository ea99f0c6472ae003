//! Connected UDP sockets for a question and its answer, such as one asked of a name server.
//!
//! Owns a port that the kernel chose at random and that only the server's answers reach (RFC
//! 5452 §9.2). Neither matches answers to questions nor knows a timeout.
//!
//! Spec: udp(7), RFC 5452.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use crate::error::HostError;
use crate::outbound::OutboundOptions;
use crate::sys;

/// A UDP socket that is connected to one server.
#[derive(Debug)]
pub struct UdpExchange {
    fd: OwnedFd,
    server: SocketAddr,
}

impl UdpExchange {
    pub(super) fn open(server: SocketAddr, options: &OutboundOptions) -> Result<Self, HostError> {
        let fault = |operation| move |errno: Errno| HostError::new(operation, server, errno);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = sys::family(server.ip());
        let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))
            .map_err(fault("socket"))?;
        options.bind(fd.as_fd(), family)?;
        rustix::net::connect(&fd, &server).map_err(fault("connect"))?;
        Ok(Self { fd, server })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; else the kernel's, among them what became of an
    /// earlier message, `ConnectionRefused` above all.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        retry_on_intr(|| rustix::net::send(&self.fd, message, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Receives one message of the server and returns its length; the rest of one that is longer
    /// than `buf` is lost.
    ///
    /// # Errors
    /// `WouldBlock` when none is there; `ConnectionRefused` and the like when a message sent did
    /// not arrive.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (length, _) =
            retry_on_intr(|| rustix::net::recv(&self.fd, &mut *buf, RecvFlags::empty()))?;
        Ok(length)
    }

    /// Whom it asks.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The address and port it asks from.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        sys::local_addr(self.fd.as_fd())
    }
}

impl AsFd for UdpExchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
