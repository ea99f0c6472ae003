//! Opening a connection to a TCP service of the host's network.
//!
//! Owns the socket's options up to the SYN; whether it was answered, `Stream::finish_connect`
//! tells. Resolves no names and has no timeout: time is the caller's.
//!
//! Spec: connect(2), tcp(7), ip(7) for `IP_BIND_ADDRESS_NO_PORT` and `IP_TTL`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, ipproto};

use crate::error::HostError;
use crate::stream::Stream;
use crate::sys;

/// How to dial.
#[derive(Clone, Debug, Default)]
pub struct DialOptions {
    /// Source address; the kernel's choice if absent. Must be of the destination's family.
    pub bind_address: Option<IpAddr>,
    /// Leave through this interface only.
    pub bind_interface: Option<String>,
    /// TTL or hop limit of every packet of the connection, 1 to 255; the host's default if
    /// absent.
    pub hop_limit: Option<u8>,
}

/// Begins a connection to `address`. When the stream becomes writable, it is there or has
/// failed: [`Stream::finish_connect`] tells which.
///
/// # Errors
/// Failures that show at once, with the call that failed: no route, no right, no descriptors.
/// [`HostError::refusal`] tells them apart, as it does those of `finish_connect`.
pub fn dial(address: SocketAddr, options: &DialOptions) -> Result<Stream, HostError> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = sys::family(address.ip());
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
        .map_err(|errno| HostError::new("socket", address, errno))?;
    sys::set_stream_options(fd.as_fd())
        .map_err(|error| HostError::new("setsockopt", address, error))?;
    if let Some(limit) = options.hop_limit {
        sys::set_hop_limit(fd.as_fd(), family, limit)
            .map_err(|error| HostError::new("setsockopt", address, error))?;
    }
    if let Some(interface) = &options.bind_interface {
        sys::bind_interface(fd.as_fd(), interface)?;
    }
    if let Some(source) = options.bind_address {
        if source.is_ipv4() != address.is_ipv4() {
            let error = io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the destination {address} is of the other family"),
            );
            return Err(HostError::new("bind", source, error));
        }
        // The port is chosen at connect, so that only the 4-tuple has to be unique and not the
        // port: otherwise a busy source address runs out at 28,000 connections.
        sys::defer_port_choice(fd.as_fd())
            .map_err(|error| HostError::new("setsockopt", source, error))?;
        rustix::net::bind(&fd, &SocketAddr::new(source, 0))
            .map_err(|errno| HostError::new("bind", source, errno))?;
    }
    match rustix::net::connect(&fd, &address) {
        // connect(2): interrupted, it goes on in the background like one in progress.
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Stream::new(fd, Some(address))),
        Err(errno) => Err(HostError::new("connect", address, errno)),
    }
}
