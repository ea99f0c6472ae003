//! Why a link over a socket could not be made, and what would help.
//!
//! Owns the reading of error numbers of the calls that make one; makes no system call itself.
//!
//! Spec: unix(7), connect(2), bind(2).

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

/// What is in the way of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LinkCause {
    /// Another process has a socket at that path, or something there is no socket.
    InUse,
    /// The path, or its directory, is not accessible.
    NotPermitted,
    /// There is nothing at that path, or its directory does not exist.
    NotFound,
    /// The path is too long for a socket (107 bytes).
    PathTooLong,
    /// There is a socket at that path that nobody serves.
    NobodyListens,
    /// The socket at that path, or the descriptor, is of another type than this link needs.
    WrongType,
    /// The descriptor is no socket.
    NotASocket,
    /// The descriptor is a socket that neither listens nor is connected (or, of a datagram
    /// socket, neither bound nor connected).
    NotConnected,
    /// Anything else: see the source.
    Other,
}

/// A link could not be made: which call failed, on what, why, and what would help.
#[derive(Debug)]
pub struct LinkError {
    operation: &'static str,
    place: String,
    cause: LinkCause,
    source: io::Error,
}

impl LinkError {
    /// A call about a path failed.
    pub(crate) fn at(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::new(operation, path.display().to_string(), source.into())
    }

    /// A call about a descriptor failed.
    pub(crate) fn of(operation: &'static str, fd: RawFd, source: impl Into<io::Error>) -> Self {
        Self::new(operation, format!("descriptor {fd}"), source.into())
    }

    /// A descriptor is not what is needed.
    pub(crate) fn unsuitable(operation: &'static str, fd: RawFd, cause: LinkCause) -> Self {
        Self { cause, ..Self::of(operation, fd, io::ErrorKind::InvalidInput) }
    }

    fn new(operation: &'static str, place: String, source: io::Error) -> Self {
        let cause = match source.raw_os_error() {
            Some(libc::EADDRINUSE) => LinkCause::InUse,
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => LinkCause::NotPermitted,
            Some(libc::ENOENT | libc::ENOTDIR) => LinkCause::NotFound,
            Some(libc::ENAMETOOLONG) => LinkCause::PathTooLong,
            Some(libc::ECONNREFUSED) => LinkCause::NobodyListens,
            Some(libc::EPROTOTYPE) => LinkCause::WrongType,
            Some(libc::ENOTSOCK) => LinkCause::NotASocket,
            Some(libc::ENOTCONN) => LinkCause::NotConnected,
            _ => LinkCause::Other,
        };
        Self { operation, place, cause, source }
    }

    /// The call that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The path, or `descriptor N`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is in the way.
    pub fn cause(&self) -> LinkCause {
        self.cause
    }

    /// What a user can do about it, where there is something.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self.cause {
            LinkCause::InUse => {
                "choose another path, or stop the process that has this one (a socket that nobody \
                 serves any more is replaced by itself)"
            }
            LinkCause::NotPermitted => "the directory must be writable, the socket accessible",
            LinkCause::NotFound => "make the directory, or start the other side first",
            LinkCause::PathTooLong => "choose a path of at most 107 bytes",
            LinkCause::NobodyListens => "start the other side first",
            LinkCause::WrongType => "give both sides the same kind of link",
            LinkCause::NotASocket => "pass the descriptor of a socket",
            LinkCause::NotConnected => "connect the socket, or let it listen, before it is passed",
            LinkCause::Other => return None,
        })
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.operation, self.place)?;
        match self.cause {
            LinkCause::InUse => f.write_str("the path is in use"),
            LinkCause::NotPermitted => f.write_str("no right to use it"),
            LinkCause::NotFound => f.write_str("there is no such path"),
            LinkCause::PathTooLong => f.write_str("the path is too long"),
            LinkCause::NobodyListens => f.write_str("nobody serves this socket"),
            LinkCause::WrongType => f.write_str("a socket of the wrong type"),
            LinkCause::NotASocket => f.write_str("not a socket"),
            LinkCause::NotConnected => f.write_str("the socket is not connected"),
            LinkCause::Other => write!(f, "{}", self.source),
        }
    }
}

impl Error for LinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        Self::new(error.source.kind(), error)
    }
}
