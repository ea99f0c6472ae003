//! Where the socket is: a directory that only its user may enter, and the path in it.
//!
//! Owns the checks that nobody else can put another socket there, the making of what is missing,
//! and the removal of both at the end. Never says anything over the socket.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use portreeve_unix_socket::{BoundPath, Fault, bind, connect};
use rustix::io::Errno;
use rustix::net::SocketType;

use crate::error::Error;

/// A socket that listens, in its directory. Dropping it removes the path, and the directory if it
/// is the engine's own and empty.
#[derive(Debug)]
pub(crate) struct Place {
    // Dropped first: the directory can go only when it is empty.
    path: Option<BoundPath>,
    directory: Option<PathBuf>,
}

impl Place {
    /// Makes the socket of the engine of this name.
    pub(crate) fn take(path: &Path, name: &str) -> Result<(OwnedFd, Self), Error> {
        let (parent, file) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(file)) if parent.as_os_str().is_empty() => (Path::new("."), file),
            (Some(parent), Some(file)) => (parent, file),
            _ => return Err(Error::Path { path: path.into(), why: "this is not a file's path" }),
        };
        // Another engine may remove the directory as it ends, between our making it and our use.
        for last in [false, true] {
            let made = make_directories(parent)?;
            let directory = check(parent)?;
            let own = made || (!name.is_empty() && directory.file_name() == Some(name.as_ref()));
            match bind(&directory.join(file), SocketType::STREAM, Some(BACKLOG)) {
                Ok((fd, bound)) => {
                    return Ok((
                        fd,
                        Self { path: Some(bound), directory: own.then_some(directory) },
                    ));
                }
                Err(Fault { errno: Errno::NOENT, .. }) if !last => {}
                Err(fault) => return Err(refused(path, name, fault)),
            }
        }
        Err(Error::Path { path: path.into(), why: "its directory goes away again and again" })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.path.take());
        if let Some(directory) = &self.directory {
            // Fails where somebody keeps something in it, which is to stay then.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// Removes what engines have left in this directory whose processes were killed: sockets that
/// nobody serves, and the directories that held nothing else. Looks at a bounded number of them,
/// and says nothing: whatever cannot be removed is in nobody's way.
pub fn sweep(runtime_directory: &Path, file: &str) {
    let Ok(entries) = std::fs::read_dir(runtime_directory) else { return };
    for entry in entries.take(SWEPT).flatten() {
        let path = entry.path().join(file);
        let dead = connect(&path, SocketType::STREAM)
            .is_err_and(|fault| fault.errno == Errno::CONNREFUSED);
        // Taken as by an engine of that name, so that one that starts just now is safe from this.
        if dead && bind(&path, SocketType::STREAM, None).is_ok() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Makes the directory, and the one above it, if they are missing; `true` if the lower one was.
fn make_directories(path: &Path) -> Result<bool, Error> {
    let make = |path: &Path| match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    let made = match make(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(above) => make(above).and_then(|_| make(path)),
            None => Err(error),
        },
        other => other,
    };
    made.map_err(|source| Error::Socket { path: path.into(), operation: "mkdir", source })
}

/// The directory's real path, if only this user may enter it, and nobody but root can exchange
/// anything on the way to it.
fn check(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source| Error::Socket { path: path.into(), operation: "stat", source };
    let real = path.canonicalize().map_err(failed)?;
    let ours = rustix::process::geteuid().as_raw();
    let exposed = |at: &Path, why: String| Error::Exposed { path: at.into(), why };
    let own = std::fs::metadata(&real).map_err(failed)?;
    if own.uid() != ours {
        let why = format!(
            "this directory is user {}'s: whoever owns it could take the control \
             socket's place; choose one of your own",
            own.uid()
        );
        return Err(exposed(&real, why));
    }
    if own.mode() & 0o077 != 0 {
        let mode = own.mode() & 0o7777;
        let why = format!(
            "this directory has mode {mode:04o}, and the control socket needs one that only you \
             may enter: make one with mkdir -m 700, or chmod 700 this one"
        );
        return Err(exposed(&real, why));
    }
    for above in real.ancestors().skip(1) {
        let metadata = std::fs::metadata(above).map_err(failed)?;
        if !is_stable(&metadata, ours) {
            let why = format!(
                "others than you may exchange what is in this directory (user {}, mode {:04o}), \
                 and the control socket is below it; choose another place",
                metadata.uid(),
                metadata.mode() & 0o7777
            );
            return Err(exposed(above, why));
        }
    }
    Ok(real)
}

/// Whether only root and we may rename what is ours in this directory.
fn is_stable(directory: &Metadata, ours: u32) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let owner = directory.uid() == ours || directory.uid() == 0;
    owner && (directory.mode() & OTHERS_WRITE == 0 || directory.mode() & STICKY != 0)
}

fn refused(path: &Path, name: &str, fault: Fault) -> Error {
    if fault.errno != Errno::ADDRINUSE {
        let source = fault.errno.into();
        return Error::Socket { path: path.into(), operation: fault.operation, source };
    }
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| {
        use std::os::unix::fs::FileTypeExt as _;
        found.file_type().is_socket()
    });
    if !is_socket {
        return Error::Path { path: path.into(), why: "there is a file here that is no socket" };
    }
    let owner = connect(path, SocketType::STREAM).ok();
    let owner = owner.and_then(|fd| getsockopt(&fd, PeerCredentials).ok());
    let pid = owner.map(|owner| owner.pid()).filter(|&pid| pid != 0);
    Error::Taken { name: name.into(), path: path.into(), pid }
}

/// Directories that one start looks at.
const SWEPT: usize = 256;
/// Clients that wait to be accepted.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn an_engines_directory_comes_and_goes_with_it() {
        let base = tempfile::tempdir().unwrap();
        let runtime = base.path().join("portreeve");
        let path = runtime.join("web/control.sock");
        let (fd, place) = Place::take(&path, "web").unwrap();
        assert_eq!(
            (mode(&runtime), mode(&runtime.join("web")), mode(&path)),
            (0o700, 0o700, 0o600)
        );
        let taken = Place::take(&path, "web").unwrap_err().to_string();
        let ours = format!("the name web is taken by process {}", std::process::id());
        assert!(taken.starts_with(&ours), "{taken}");
        drop((fd, place));
        assert!(!runtime.join("web").exists() && runtime.exists());
    }

    #[test]
    fn what_killed_engines_left_is_swept_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name).join("control.sock");
        let alive = Place::take(&at("alive"), "alive").unwrap();
        let (fd, dead) = Place::take(&at("dead"), "dead").unwrap();
        // Its process was killed: nobody removes anything.
        std::mem::forget(dead);
        drop(fd);
        std::fs::create_dir(base.path().join("starting")).unwrap();
        std::fs::create_dir(base.path().join("other")).unwrap();
        std::fs::write(at("other"), "a file").unwrap();
        sweep(base.path(), "control.sock");
        let exists = |name: &str| base.path().join(name).exists();
        assert!(!exists("dead"));
        assert!(exists("alive") && exists("starting") && exists("other"));
        assert!(connect(&at("alive"), SocketType::STREAM).is_ok());
        drop(alive);
        sweep(&base.path().join("missing"), "control.sock");
    }

    #[test]
    fn what_a_dead_engine_left_is_replaced_and_removed() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("web/control.sock");
        let (fd, place) = Place::take(&path, "web").unwrap();
        drop(fd);
        std::mem::forget(place);
        let (_fd, place) = Place::take(&path, "web").unwrap();
        drop(place);
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let open = base.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Place::take(&open.join("x.sock"), "").unwrap_err();
        assert!(matches!(&error, Error::Exposed { .. }), "{error}");
        assert!(error.to_string().contains("0755") && error.to_string().contains("chmod 700"));
        // One above that everybody may write to is as bad, unless what is ours stays ours in it.
        let below = open.join("mine");
        DirBuilder::new().mode(0o700).create(&below).unwrap();
        for (mode, fits) in [(0o777, false), (0o1777, true), (0o755, true)] {
            std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Place::take(&below.join("x.sock"), "").is_ok(), fits, "{mode:o}");
        }
    }

    #[test]
    fn a_users_own_directory_and_files_stay() {
        let base = tempfile::tempdir().unwrap();
        let mine = base.path().join("mine");
        DirBuilder::new().mode(0o700).create(&mine).unwrap();
        let (_fd, place) = Place::take(&mine.join("x.sock"), "web").unwrap();
        drop(place);
        assert!(mine.exists());
        std::fs::write(mine.join("x.sock"), "mine").unwrap();
        let error = Place::take(&mine.join("x.sock"), "web").unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert!(Place::take(Path::new("/"), "").is_err());
    }
}
