//! Where the sockets of running engines are, and which of them answer.
//!
//! Owns the layout that servers and clients agree on: a directory for each user, in it one for each
//! engine, in it `control.sock`. Makes nothing: whoever serves makes the directories (0700) and the
//! socket (0600). Spec: XDG Base Directory Specification (`XDG_RUNTIME_DIR`).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The most bytes a name may have.
pub const MAX_NAME_LEN: usize = 64;

/// The socket's file in an engine's directory.
pub const SOCKET_FILE: &str = "control.sock";

/// The name of an engine: 1 to 64 of `[A-Za-z0-9._-]`, not starting with `.` or `-`, so that it is
/// a file name and an argument without any quoting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(String);

/// A text that is no [`InstanceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no name of an engine: 1 to {MAX_NAME_LEN} letters, digits, `.`, `_` or `-`, not \
     starting with `.` or `-`",
    .0.escape_debug()
)]
pub struct InvalidName(String);

/// The directory in which this user's engines are: `$PORTREEVE_RUNTIME_DIR`, else
/// `$XDG_RUNTIME_DIR/portreeve`, else `/run/portreeve` for root, else `/tmp/portreeve-UID`.
///
/// It need not exist.
pub fn runtime_dir() -> PathBuf {
    runtime_dir_from(|name| std::env::var_os(name), rustix::process::getuid().as_raw())
}

/// Where the engine's socket is, whether it runs or not.
pub fn socket_path(name: &InstanceName) -> PathBuf {
    runtime_dir().join(name.as_str()).join(SOCKET_FILE)
}

/// Fails if the directory is one in `/tmp` that somebody else has made: what lies there is not to
/// be trusted. Elsewhere the user, or the system for them, has chosen it.
///
/// # Errors
/// Whose it is; or what the kernel says.
pub fn check_runtime_dir() -> io::Result<()> {
    let (path, uid) = (runtime_dir(), rustix::process::getuid().as_raw());
    if path != fallback_dir(uid) {
        return Ok(());
    }
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.uid() == uid && found.is_dir() => Ok(()),
        Ok(found) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("belongs to user {}, not to this one; set PORTREEVE_RUNTIME_DIR", found.uid()),
        )),
    }
}

/// The engines of this user whose sockets take connections, by name.
///
/// # Errors
/// The directory is there and cannot be read, or is somebody else's
/// ([`check_runtime_dir`]). Where there is none, no engine runs.
pub fn list() -> io::Result<Vec<InstanceName>> {
    check_runtime_dir()?;
    let entries = match std::fs::read_dir(runtime_dir()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Whatever else lies there is not an engine's.
        let Some(name) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if takes_connections(&socket_path(&name)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl InstanceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for InstanceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for InstanceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length = (1..=MAX_NAME_LEN).contains(&text.len());
        if length && text.bytes().all(allowed) && !text.starts_with(['.', '-']) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

/// Whether somebody listens: a socket left behind by a process that was killed refuses.
fn takes_connections(socket: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = SocketAddrUnix::new(socket).and_then(|address| {
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::connect(&socket, &address)
    });
    // Its queue is full: it listens, and one that does not accept must not hold us up.
    matches!(connected, Ok(()) | Err(rustix::io::Errno::AGAIN))
}

fn runtime_dir_from(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> PathBuf {
    // An empty variable is one that is not set; XDG ignores relative paths as well.
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("PORTREEVE_RUNTIME_DIR") {
        return path;
    }
    if let Some(path) = set("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()) {
        return path.join("portreeve");
    }
    if uid == 0 {
        return PathBuf::from("/run/portreeve");
    }
    fallback_dir(uid)
}

/// Where the system gives a user no place for sockets.
fn fallback_dir(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/portreeve-{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(64);
        for name in ["web", "a", "0", "vm-1.example_x", &longest] {
            assert_eq!(name.parse::<InstanceName>().unwrap().to_string(), name);
        }
        let longer = "x".repeat(65);
        for name in ["", ".", "..", ".hidden", "-s", "a/b", "a b", "ä", "a\0", "a\n", &longer] {
            let error = name.parse::<InstanceName>().unwrap_err().to_string();
            assert!(error.contains("is no name of an engine"), "{error}");
        }
    }

    #[test]
    fn the_directory_follows_the_environment_and_the_user() {
        let dir = |pairs: &[(&str, &str)], uid| {
            let find = |name: &str| pairs.iter().find(|pair| pair.0 == name);
            runtime_dir_from(|name| find(name).map(|pair| pair.1.into()), uid)
        };
        let both = [("PORTREEVE_RUNTIME_DIR", "/x"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(dir(&both, 7), PathBuf::from("/x"));
        assert_eq!(dir(&both[1..], 7), PathBuf::from("/run/user/7/portreeve"));
        assert_eq!(dir(&both[1..], 0), PathBuf::from("/run/user/7/portreeve"));
        assert_eq!(dir(&[], 0), PathBuf::from("/run/portreeve"));
        assert_eq!(dir(&[], 1000), PathBuf::from("/tmp/portreeve-1000"));
        let useless = [("PORTREEVE_RUNTIME_DIR", ""), ("XDG_RUNTIME_DIR", "here")];
        assert_eq!(dir(&useless, 1000), PathBuf::from("/tmp/portreeve-1000"));
    }
}
