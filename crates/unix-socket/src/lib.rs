//! Unix sockets at a path: made, held and removed without getting in anybody's way.
//!
//! Owns the path of a bound socket while it lives: its rights (0600), replacing one left behind by
//! a process that died, removing it at the end. Never replaces a socket that someone has open, nor
//! anything that is not a socket. What is said over a socket is its user's affair.
//!
//! Spec: unix(7).

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A call that failed, and what the kernel answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call, as the manual pages name it.
    pub operation: &'static str,
    /// The answer.
    pub errno: Errno,
}

/// The path of a bound socket. Dropping it removes the file, if it still is that socket's.
#[derive(Debug)]
pub struct BoundPath {
    path: PathBuf,
    file: FileId,
}

/// A file's identity. As long as the socket is open, its number is not given to another file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// A non-blocking socket of this type bound to `path` with mode 0600, which listens if it is given
/// a backlog. A socket there that nobody has open is replaced.
///
/// Waits up to a fifth of a second for another process that is doing the same in that directory;
/// start-up only.
///
/// # Errors
/// Which call failed: the path is in use, too long (107 bytes), or not writable.
pub fn bind(
    path: &Path,
    kind: SocketType,
    backlog: Option<i32>,
) -> Result<(OwnedFd, BoundPath), Fault> {
    let fault = |operation| move |errno| Fault { operation, errno };
    let address = SocketAddrUnix::new(path).map_err(fault("bind"))?;
    let fd = socket(kind).map_err(fault("socket"))?;
    // On Linux the file that bind makes takes the mode of the socket: 0600 from its first moment
    // on, whatever the umask, which is the whole process's and not ours to change.
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(fault("fchmod"))?;
    // Between "nobody is there" and "removed", and between our bind and our listen, another process
    // must not come to that conclusion too.
    let _lock = lock_directory(path);
    match rustix::net::bind(&fd, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_dead(path, &address, kind).map_err(fault("bind"))?;
            rustix::net::bind(&fd, &address).map_err(fault("bind"))?;
        }
        other => other.map_err(fault("bind"))?,
    }
    let file = file_id(path).map_err(fault("lstat"))?;
    let bound = BoundPath { path: path.to_owned(), file };
    if let Some(backlog) = backlog {
        rustix::net::listen(&fd, backlog).map_err(fault("listen"))?;
    }
    Ok((fd, bound))
}

/// A non-blocking socket of this type connected to `path`.
///
/// # Errors
/// Which call failed.
pub fn connect(path: &Path, kind: SocketType) -> Result<OwnedFd, Fault> {
    let fault = |operation| move |errno| Fault { operation, errno };
    let address = SocketAddrUnix::new(path).map_err(fault("connect"))?;
    let fd = socket(kind).map_err(fault("socket"))?;
    rustix::net::connect(&fd, &address).map_err(fault("connect"))?;
    Ok(fd)
}

/// A new Unix socket that never blocks.
///
/// # Errors
/// When there are no descriptors.
pub fn socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

impl BoundPath {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundPath {
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

/// Removes the socket at `path` if nobody has it open, else says that it is in use.
fn remove_dead(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), Errno> {
    let found = rustix::fs::lstat(path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(Errno::ADDRINUSE);
    }
    // Only a socket that nobody serves refuses. A full backlog (EAGAIN), another type of socket
    // (EPROTOTYPE) or one we may not connect to (EACCES, EPERM) is someone's.
    match rustix::net::connect(&socket(kind)?, address) {
        Err(Errno::CONNREFUSED) => rustix::fs::unlink(path),
        Err(_) | Ok(()) => Err(Errno::ADDRINUSE),
    }
}

fn file_id(path: &Path) -> Result<FileId, Errno> {
    let stat = rustix::fs::lstat(path)?;
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lives_as_long_as_its_socket_and_is_never_taken_from_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
            let backlog = (kind != SocketType::DGRAM).then_some(4);
            let (fd, bound) = bind(&path, kind, backlog).unwrap();
            assert_eq!(rustix::fs::lstat(&path).unwrap().st_mode & 0o777, 0o600);
            let taken = bind(&path, kind, backlog).unwrap_err();
            assert_eq!(taken, Fault { operation: "bind", errno: Errno::ADDRINUSE });
            connect(&path, kind).unwrap();
            drop(fd);
            // Left behind, as by a process that died.
            std::mem::forget(bound);
            let (_fd, bound) = bind(&path, kind, backlog).unwrap();
            assert_eq!(bound.path(), path);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(bind(&path, SocketType::STREAM, Some(1)).unwrap_err().errno, Errno::ADDRINUSE);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
