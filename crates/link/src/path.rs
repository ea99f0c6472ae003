//! Sockets of links at a path: what `portreeve-unix-socket` makes, with a link's errors.

use std::os::fd::OwnedFd;
use std::path::Path;

use portreeve_unix_socket::Fault;
use rustix::net::SocketType;

use crate::error::LinkError;

pub(crate) use portreeve_unix_socket::{BoundPath, socket};

/// A socket of this type bound to `path`, and listening where the type has connections.
pub(crate) fn bind(path: &Path, kind: SocketType) -> Result<(OwnedFd, BoundPath), LinkError> {
    let backlog = (kind != SocketType::DGRAM).then_some(BACKLOG);
    portreeve_unix_socket::bind(path, kind, backlog).map_err(at(path))
}

/// A socket of this type connected to `path`.
pub(crate) fn connect(path: &Path, kind: SocketType) -> Result<OwnedFd, LinkError> {
    portreeve_unix_socket::connect(path, kind).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(Fault) -> LinkError {
    move |Fault { operation, errno }| LinkError::at(operation, path, errno)
}

/// One guest is served at a time. Who comes while it is there waits here, since it may be the next
/// start of the same VMM, come before the end of the last was seen, and one that is refused may
/// never try again (QEMU 7.2).
const BACKLOG: i32 = 8;
