//! Unix stream listeners at a path.
//!
//! Owns the path while it listens: its rights, replacing one left behind by a process that died,
//! and removing it at the end. Never replaces a socket someone listens on, nor anything that is
//! not a socket.
//!
//! Spec: unix(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

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
    path: PathBuf,
    file: FileId,
}

/// A file's identity. As long as the socket is open, its number is not given to another file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FileId {
    device: u64,
    inode: u64,
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
        let fault =
            |operation| move |errno: Errno| HostError::new(operation, path.display(), errno);
        let address = SocketAddrUnix::new(path).map_err(fault("bind"))?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(fault("socket"))?;
        // On Linux the file that bind makes takes the mode of the socket: 0600 from its first
        // moment on, whatever the umask, which is the whole process's and not ours to change.
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(fault("fchmod"))?;
        // Between "nobody listens there" and "removed", and between our bind and our listen,
        // another process must not come to that conclusion too.
        let _lock = lock_directory(path);
        match rustix::net::bind(&fd, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_dead(path, &address).map_err(fault("bind"))?;
                rustix::net::bind(&fd, &address).map_err(fault("bind"))?;
            }
            other => other.map_err(fault("bind"))?,
        }
        let file = file_id(path).map_err(fault("lstat"))?;
        let listener = Self { fd, path: path.to_owned(), file };
        rustix::net::listen(&listener.fd, BACKLOG).map_err(fault("listen"))?;
        Ok(listener)
    }

    /// Takes one connection; none when nobody waits.
    ///
    /// # Errors
    /// See [`ErrorClass`](crate::ErrorClass): the listener lives on after each.
    pub fn accept(&self) -> Result<Option<Accepted>, HostError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fault = |error: io::Error| HostError::new(ACCEPT, self.path.display(), error);
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
        &self.path
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        // Someone may have removed the path and made another socket there: that one stays.
        if file_id(&self.path) == Ok(self.file) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// Holds the directory of `path` against others who do the same, as far as possible: making a
/// socket in it takes no right to read it, not all file systems have locks, and whoever holds
/// one for long is not making a socket and must not keep us from it.
fn lock_directory(path: &Path) -> Option<OwnedFd> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty()).ok()?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// Removes the socket at `path` if nobody listens on it, else says that it is in use.
fn remove_dead(path: &Path, address: &SocketAddrUnix) -> Result<(), Errno> {
    let found = rustix::fs::lstat(path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(Errno::ADDRINUSE);
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Only a socket without a listener refuses. A full backlog (EAGAIN), another type of socket
    // (EPROTOTYPE) or one we may not connect to (EACCES) is someone's.
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => rustix::fs::unlink(path),
        Err(_) | Ok(()) => Err(Errno::ADDRINUSE),
    }
}

fn file_id(path: &Path) -> Result<FileId, Errno> {
    let stat = rustix::fs::lstat(path)?;
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

const BACKLOG: i32 = 128;
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
