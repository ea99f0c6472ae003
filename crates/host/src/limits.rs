//! The process's limit of open descriptors.
//!
//! Owns reading and raising it; how many the engine uses is the engine's limit.
//!
//! Spec: getrlimit(2).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft and the hard limit of open descriptors; no limit is [`u64::MAX`].
pub fn fd_limit() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// Processes started afterwards inherit it; one that uses `select(2)` needs its old limit back.
///
/// # Errors
/// What setrlimit(2) answers; the limit is then as before.
pub fn raise_fd_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
