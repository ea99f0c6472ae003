//! Why the control API could not be offered, each with where it was tried and what would help.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The server could not be started. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a path nor an address to listen at was given.
    #[error("the control API needs a socket path or an address: Builder::socket, Builder::tcp")]
    Nowhere,
    /// The path is not one that can hold a socket.
    #[error("{}: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Others than this user could get at the socket.
    #[error("{}: {why}", path.display())]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Why it will not do, and what would.
        why: String,
    },
    /// Another process answers there.
    #[error("{}", taken(.name, .path, *.pid))]
    Taken {
        /// The name of the engine.
        name: String,
        /// The socket.
        path: PathBuf,
        /// Whose it is, where the kernel says.
        pid: Option<i32>,
    },
    /// Something about the path failed.
    #[error("{}: {operation}: {source}", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The call.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address reaches beyond this machine.
    #[error(
        "{0} is not a loopback address: the page can do all that its user can, use 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process cannot look at itself, and so at nobody who connects.
    #[error("{path}: {source}; callers cannot be told from the guest without it")]
    OwnNetwork {
        /// What was looked at.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The server's thread could not be started.
    #[error("starting the control API's thread: {0}")]
    Thread(io::Error),
}

fn taken(name: &str, path: &std::path::Path, pid: Option<i32>) -> String {
    let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    if name.is_empty() {
        return format!("{} is taken by {by}", path.display());
    }
    format!("the name {name} is taken by {by}, which answers at {}", path.display())
}
