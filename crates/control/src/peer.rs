//! Who is at the other end of a Unix socket, and whether that may be.
//!
//! Owns the decision: the same user or root, in the engine's own network namespace. A guest of
//! `portreeve run` has the same user and the same file system, so neither its user nor the mode of
//! the socket keeps it out; it has another network, which does. Whoever cannot be looked at is
//! refused. Spec: unix(7) `SO_PEERCRED` and `SO_PEERPIDFD`, network_namespaces(7), pidfd_open(2).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, test_kill_process};

use crate::error::Error;

/// A file's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// A network namespace, by files that are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// `ns/net`, which is what namespaces(7) says to compare. Only who could trace a process may
    /// look at its: an ordinary user not at root's.
    namespace: FileId,
    /// `net/dev`, of which every network namespace has one, with a number of its own, and which
    /// everybody may look at: proc_pid_net(5).
    devices: FileId,
}

/// Who may use the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doorkeeper {
    network: Network,
    user: u32,
}

/// Why somebody may not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("user {0} is neither root nor the user that this engine runs as")]
    User(u32),
    #[error("process {0} is in another network namespace than this engine")]
    Network(i32),
    #[error("process {pid} cannot be looked at, so it may be the guest: {source}")]
    Hidden { pid: i32, source: io::Error },
    #[error("the process that connected has ended")]
    Ended,
    #[error("the kernel does not say who connected: {0}")]
    Unknown(io::Error),
}

impl Doorkeeper {
    pub(crate) fn new() -> Result<Self, Error> {
        let own = |path| file_id(path).map_err(|source| Error::OwnNetwork { path, source });
        let network =
            Network { namespace: own("/proc/self/ns/net")?, devices: own("/proc/self/net/dev")? };
        Ok(Self { network, user: rustix::process::geteuid().as_raw() })
    }

    /// Looks at whoever connected.
    pub(crate) fn admit(&self, socket: impl AsFd) -> Result<(), Refusal> {
        // Not rustix's, whose process ids cannot be 0: that is what the kernel says of a process
        // in a process namespace that ours does not see into.
        let peer = getsockopt(&socket.as_fd(), PeerCredentials);
        let peer = peer.map_err(|errno| Refusal::Unknown(errno.into()))?;
        let (user, pid) = (peer.uid(), peer.pid());
        if user != self.user && user != 0 {
            return Err(Refusal::User(user));
        }
        // Taken before its number is used: the number may go to another process, this may not.
        let hold: Option<OwnedFd> = getsockopt(&socket.as_fd(), PeerPidfd).ok();
        let same =
            self.network.is_that_of(pid).map_err(|source| Refusal::Hidden { pid, source })?;
        if !lives(hold.as_ref(), pid) {
            return Err(Refusal::Ended);
        }
        if same { Ok(()) } else { Err(Refusal::Network(pid)) }
    }
}

impl Network {
    fn is_that_of(&self, pid: i32) -> io::Result<bool> {
        match file_id(&format!("/proc/{pid}/ns/net")) {
            Ok(namespace) => Ok(namespace == self.namespace),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(file_id(&format!("/proc/{pid}/net/dev"))? == self.devices)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the process that connected is still there, so that what was read under its number was
/// its own. Before Linux 6.5 there is only the number.
fn lives(hold: Option<&OwnedFd>, pid: i32) -> bool {
    match hold {
        // A descriptor of a process is readable once it has ended.
        Some(hold) => {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(hold, PollFlags::IN)], Some(&now)) == Ok(0)
        }
        None => Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok()),
    }
}

fn file_id(path: &str) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn our_own_user_in_our_own_network_is_let_in_and_nobody_else() {
        let doorkeeper = Doorkeeper::new().unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        doorkeeper.admit(&ours).unwrap();
        let Network { namespace, devices } = doorkeeper.network;
        let elsewhere = Network {
            namespace: FileId { inode: namespace.inode + 1, ..namespace },
            devices: FileId { inode: devices.inode + 1, ..devices },
        };
        let refusal = Doorkeeper { network: elsewhere, ..doorkeeper }.admit(&ours).unwrap_err();
        assert!(matches!(refusal, Refusal::Network(_)), "{refusal}");
        if doorkeeper.user != 0 {
            let other = Doorkeeper { user: doorkeeper.user + 1, ..doorkeeper };
            assert!(matches!(other.admit(&ours), Err(Refusal::User(_))));
        }
    }
}
