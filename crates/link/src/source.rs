//! Where the connections of a link come from: a listener, a path to connect to, or one descriptor.
//!
//! Owns the listener and its path, and when to look again; who is connected is the link's. Never
//! waits: who cannot be taken now is looked for after the watch's next edge.
//!
//! Spec: unix(7), accept(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{LinkCause, LinkError};
use crate::event::GoneCause;
use crate::path::{self, BoundPath};
use crate::watch::Watch;

/// Where the next guest comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Whoever connects.
    Listener { fd: OwnedFd, path: Option<BoundPath> },
    /// Whoever listens there, asked again after the delay.
    Path { path: PathBuf, kind: SocketType, delay: Duration },
    /// There was one, and there will be no other.
    Nowhere,
}

impl Source {
    pub(crate) fn listen(path: &Path, kind: SocketType) -> Result<Self, LinkError> {
        let (fd, path) = path::bind(path, kind)?;
        Ok(Self::Listener { fd, path: Some(path) })
    }

    /// Connects, and says where the next one comes from.
    pub(crate) fn connect(
        path: &Path,
        kind: SocketType,
        reconnect: Option<Duration>,
    ) -> Result<(Self, OwnedFd), LinkError> {
        let fd = path::connect(path, kind)?;
        let source = match reconnect {
            Some(delay) => Self::Path { path: path.to_owned(), kind, delay },
            None => Self::Nowhere,
        };
        Ok((source, fd))
    }

    /// Takes over a socket: one that listens, or one that is connected, which is given back.
    pub(crate) fn from_fd(
        fd: OwnedFd,
        kind: SocketType,
        inet: bool,
    ) -> Result<(Self, Option<OwnedFd>), LinkError> {
        let number = fd.as_raw_fd();
        let fault = |operation| move |errno: Errno| LinkError::of(operation, number, errno);
        let listens = check_socket(&fd, kind, inet)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(fault("FIONBIO"))?;
        if listens {
            return Ok((Self::Listener { fd, path: None }, None));
        }
        rustix::net::getpeername(&fd).map_err(fault("getpeername"))?;
        Ok((Self::Nowhere, Some(fd)))
    }

    /// Begins to watch for who comes.
    pub(crate) fn watch(&self, watch: &Watch) -> io::Result<()> {
        match self {
            Self::Listener { fd, .. } => watch.add(fd.as_fd()),
            Self::Path { .. } | Self::Nowhere => Ok(()),
        }
    }

    /// Takes one connection, if there is one, and whether it was accepted; fails when none can come
    /// any more.
    pub(crate) fn next(&self, watch: &Watch) -> Result<Option<(OwnedFd, bool)>, GoneCause> {
        match self {
            Self::Listener { fd, .. } => Ok(accept(fd, watch)?.map(|fd| (fd, true))),
            Self::Path { path, kind, delay } if watch.is_due() => {
                let fd = path::connect(path, *kind).ok();
                if fd.is_none() {
                    watch.wake_after(*delay);
                }
                Ok(fd.map(|fd| (fd, false)))
            }
            Self::Path { .. } | Self::Nowhere => Ok(None),
        }
    }

    /// The guest is gone: whether another may come, which is then looked for.
    pub(crate) fn await_next(&self, watch: &Watch) -> bool {
        match self {
            Self::Listener { .. } => true,
            Self::Path { delay, .. } => {
                watch.wake_after(*delay);
                true
            }
            Self::Nowhere => false,
        }
    }

    /// The one that came could not be taken: looks again after a while.
    pub(crate) fn try_later(&self, watch: &Watch) {
        watch.wake_after(match self {
            Self::Path { delay, .. } => *delay,
            Self::Listener { .. } | Self::Nowhere => ACCEPT_RETRY,
        });
    }

    /// The path it listens on, if it does.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Listener { path, .. } => path.as_ref().map(BoundPath::path),
            Self::Path { .. } | Self::Nowhere => None,
        }
    }
}

/// Whether the socket listens, of one that is fit.
fn check_socket(socket: &OwnedFd, wanted: SocketType, inet: bool) -> Result<bool, LinkError> {
    let fd = socket.as_raw_fd();
    let fault = |operation| move |errno: Errno| LinkError::of(operation, fd, errno);
    let kind = sockopt::socket_type(socket).map_err(fault("SO_TYPE"))?;
    let domain = sockopt::socket_domain(socket).map_err(fault("SO_DOMAIN"))?;
    let of_inet = domain == AddressFamily::INET || domain == AddressFamily::INET6;
    let fit = domain == AddressFamily::UNIX || (inet && of_inet && kind == SocketType::STREAM);
    if kind != wanted || !fit {
        return Err(LinkError::unsuitable("SO_TYPE", fd, LinkCause::WrongType));
    }
    sockopt::socket_acceptconn(socket).map_err(fault("SO_ACCEPTCONN"))
}

fn accept(listener: &OwnedFd, watch: &Watch) -> Result<Option<OwnedFd>, GoneCause> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            // Someone who holds the same TCP socket has shut it down.
            Err(errno @ Errno::INVAL) => {
                return Err(GoneCause::Socket(io::Error::from(errno).kind()));
            }
            // Out of descriptors or memory: whoever waits stays in the backlog and is no edge.
            Err(_) => {
                watch.wake_after(ACCEPT_RETRY);
                return Ok(None);
            }
        }
    }
}

const ACCEPT_RETRY: Duration = Duration::from_millis(100);
