//! Frames over byte streams, each behind its length as u16, little endian, after `POST /connect`.
//!
//! What HyperKit's helpers and gvforwarder speak to gvproxy's `/connect`. Owns the ways to make
//! such a link; the request, which nobody answers, and the lengths are in `framing.rs`. Nothing
//! else of HTTP is spoken: the request's fields and any other path mean nothing here.
//!
//! Spec: `pkg/tap/protocol.go` and `pkg/transport` of gvisor-tap-vsock.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::LinkError;
use crate::framing::Framing;
use crate::options::SocketOptions;
use crate::socket::{Protocol, SocketLink};

/// Listens at `path`, with mode 0600, for one guest after the other, each of which begins with the
/// request.
///
/// # Errors
/// [`LinkError`]: the path is in use, too long, or not writable.
pub fn listen(path: impl AsRef<Path>, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::listen(path.as_ref(), Protocol::Stream(Framing::HyperKit), options)
}

/// Connects to `path` and sends the request, and again whenever the other side was started anew.
///
/// # Errors
/// [`LinkError`]: nobody listens there now, or a socket of another type.
pub fn connect(path: impl AsRef<Path>, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::connect(path.as_ref(), Protocol::Stream(Framing::HyperKit), options)
}

/// Takes over a stream socket whose other end sends the request: one that listens serves one guest
/// after the other; with one that is connected, the link ends when the guest goes.
///
/// # Errors
/// [`LinkError`]: not a stream socket, or neither connected nor listening.
pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::from_fd(fd, Protocol::Stream(Framing::HyperKit), options)
}
