//! Sockets that a service manager has bound and handed over: socket activation.
//!
//! Owns which descriptors they are, read from the environment once, and that none of them outlives
//! `exec`. Takes none over. Spec: sd_listen_fds(3).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use portreeve_host::HostError;
use portreeve_types::Transport;
use rustix::net::{SocketType, sockopt};

use crate::sys;

/// A socket that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActivatedSocket {
    /// Its descriptor.
    pub fd: i32,
    /// Its name: systemd's `FileDescriptorName=`, or else the name of the socket unit.
    pub name: String,
}

/// The sockets that were handed over to this process, which are from here on close-on-exec; none
/// if nobody has handed any over.
///
/// The environment is read at the first call: `LISTEN_PID` must name this process.
///
/// # Errors
/// When the environment contradicts itself, or names descriptors that are not open.
pub fn activated_sockets() -> io::Result<&'static [ActivatedSocket]> {
    let read = || {
        let variable = |name| std::env::var(name).ok();
        let sockets = read(
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
            std::process::id(),
        )?;
        for ActivatedSocket { fd, .. } in &sockets {
            sys::set_cloexec(*fd)
                .map_err(|error| format!("LISTEN_FDS: file descriptor {fd}: {error}"))?;
        }
        Ok::<_, String>(sockets)
    };
    match SOCKETS.get_or_init(read) {
        Ok(sockets) => Ok(sockets),
        Err(what) => Err(io::Error::new(io::ErrorKind::InvalidInput, what.clone())),
    }
}

/// Whether this descriptor is one of them, as far as they have been asked for.
pub(crate) fn is_activated(fd: i32) -> bool {
    let known = SOCKETS.get().and_then(|sockets| sockets.as_ref().ok());
    known.is_some_and(|sockets| sockets.iter().any(|socket| socket.fd == fd))
}

/// Duplicates of those with this name that can listen for the transport.
pub(crate) fn named(name: &str, transport: Transport) -> Result<Vec<OwnedFd>, HostError> {
    let fault = |source| HostError {
        operation: "socket activation",
        address: format!("fd:{name}"),
        source,
    };
    let sockets = activated_sockets().map_err(fault)?;
    let wanted = match transport {
        Transport::Tcp => SocketType::STREAM,
        Transport::Udp => SocketType::DGRAM,
    };
    let mut found = Vec::new();
    for socket in sockets.iter().filter(|socket| socket.name == name) {
        let fd = sys::duplicate(socket.fd).map_err(fault)?;
        if sockopt::socket_type(&fd).is_ok_and(|kind| kind == wanted) {
            found.push(fd);
        }
    }
    if found.is_empty() {
        let what = none_named(sockets, transport);
        return Err(fault(io::Error::new(io::ErrorKind::NotFound, what)));
    }
    Ok(found)
}

fn none_named(sockets: &[ActivatedSocket], transport: Transport) -> String {
    if sockets.is_empty() {
        return "no socket was handed over to this process (LISTEN_FDS)".to_owned();
    }
    let names: Vec<_> = sockets.iter().map(|socket| socket.name.as_str()).collect();
    format!("no {transport} socket of this name was handed over, only {}", names.join(", "))
}

fn read(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    own_pid: u32,
) -> Result<Vec<ActivatedSocket>, String> {
    // Meant for another process: an environment is inherited.
    if pid.and_then(|pid| pid.parse().ok()) != Some(own_pid) {
        return Ok(Vec::new());
    }
    let Some(count) = count else { return Ok(Vec::new()) };
    let count = count.parse::<u16>().map_err(|error| format!("LISTEN_FDS={count}: {error}"))?;
    let fds = (0..count).map(|nth| FIRST + i32::from(nth));
    let names: Vec<String> = match names {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        // What sd_listen_fds_with_names(3) calls them.
        None => vec!["unknown".to_owned(); count.into()],
    };
    if names.len() != usize::from(count) {
        return Err(format!("LISTEN_FDNAMES has {} names for {count} sockets", names.len()));
    }
    Ok(fds.zip(names).map(|(fd, name)| ActivatedSocket { fd, name }).collect())
}

static SOCKETS: OnceLock<Result<Vec<ActivatedSocket>, String>> = OnceLock::new();

/// `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pid: &str, count: &str, names: Option<&str>) -> Result<Vec<(i32, String)>, String> {
        let sockets = read(Some(pid), Some(count), names, 7)?;
        Ok(sockets.into_iter().map(|socket| (socket.fd, socket.name)).collect())
    }

    #[test]
    fn sockets_are_those_meant_for_this_process() {
        let two = [(3, "web".to_owned()), (4, "dns".to_owned())];
        assert_eq!(names("7", "2", Some("web:dns")).unwrap(), two);
        assert_eq!(names("7", "1", None).unwrap(), [(3, "unknown".to_owned())]);
        assert_eq!(names("8", "2", Some("web:dns")).unwrap(), []);
        assert!(names("7", "2", Some("web")).unwrap_err().contains("1 names for 2"));
        assert!(names("7", "many", None).is_err());
        assert_eq!(read(None, Some("1"), None, 7), Ok(Vec::new()));
    }
}
