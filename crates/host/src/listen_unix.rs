//! Unix stream listeners at a path.
//!
//! Owns accepting and who the other process is. The path, its rights and its end are
//! `portreeve-unix-socket`'s.
//!
//! Spec: unix(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use portreeve_unix_socket::{BoundPath, Fault};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SocketFlags, SocketType};

use crate::error::{ACCEPT, HostError};
use crate::listen::{Accepted, Peer};
use crate::stream::Stream;
use crate::sys;

/// The process at the other end of a unix socket, as it was when it connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerCredentials {
    /// Its process id; none if it is not visible from this PID namespace.
    pub pid: Option<u32>,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// A listening unix stream socket. Dropping it removes its path.
#[derive(Debug)]
pub struct UnixListener {
    fd: OwnedFd,
    bound: BoundPath,
}

impl UnixListener {
    /// Binds to `path` with mode 0600 and listens. A socket there that nobody listens on is
    /// replaced.
    ///
    /// Waits up to a fifth of a second for another process that is doing the same in that
    /// directory; start-up only.
    ///
    /// # Errors
    /// Which call failed: the path is in use, too long (107 bytes), or not writable.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, HostError> {
        let path = path.as_ref();
        let (fd, bound) = portreeve_unix_socket::bind(path, SocketType::STREAM, Some(BACKLOG))
            .map_err(|Fault { operation, errno }| {
                HostError::new(operation, path.display(), errno)
            })?;
        Ok(Self { fd, bound })
    }

    /// Takes one connection; none when nobody waits.
    ///
    /// # Errors
    /// See [`ErrorClass`](crate::ErrorClass): the listener lives on after each.
    pub fn accept(&self) -> Result<Option<Accepted>, HostError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fault = |error: io::Error| HostError::new(ACCEPT, self.path().display(), error);
        let fd = match retry_on_intr(|| rustix::net::accept_with(&self.fd, flags)) {
            Ok(fd) => fd,
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(fault(errno.into())),
        };
        let peer = sys::peer_credentials(fd.as_fd()).map_err(fault)?;
        Ok(Some(Accepted { stream: Stream::new(fd, None), peer: Peer::Unix(peer), local: None }))
    }

    /// The path it listens on.
    pub fn path(&self) -> &Path {
        self.bound.path()
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const BACKLOG: i32 = 128;
