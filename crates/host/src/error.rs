//! Faults of the host's sockets: what was tried, on which address, and what the kernel said.
//!
//! Owns the error type, which faults mean that something is exhausted, and why connections fail;
//! never retries.
//!
//! Spec: accept(2), connect(2), errno(3).

use std::error::Error;
use std::fmt;
use std::io;

/// A call on a host socket failed.
#[derive(Debug)]
pub struct HostError {
    /// The call, as the manual pages name it.
    pub operation: &'static str,
    /// The address it was about: `ip:port`, or a path.
    pub address: String,
    /// What the kernel answered.
    pub source: io::Error,
}

/// Faults the caller has to tell apart, because each asks for another reaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorClass {
    /// The process is out of descriptors (`EMFILE`): wait until it has closed some.
    ProcessDescriptors,
    /// The system is out of descriptors (`ENFILE`).
    SystemDescriptors,
    /// The kernel is out of socket buffers (`ENOBUFS`).
    Buffers,
    /// The kernel is out of memory (`ENOMEM`).
    Memory,
    /// The connection ended before it could be accepted: take the next one at once.
    ConnectionAborted,
    /// Anything else: see the source.
    Other,
}

impl ErrorClass {
    /// Whether something is used up that others may give back: try again later, not at once.
    pub fn is_exhaustion(self) -> bool {
        match self {
            Self::ProcessDescriptors | Self::SystemDescriptors | Self::Buffers | Self::Memory => {
                true
            }
            Self::ConnectionAborted | Self::Other => false,
        }
    }
}

/// Why a connection did not come about, in the terms in which its other end is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Nobody listens: the destination answered with RST, or ICMP said that it has no such port
    /// or no TCP (`ECONNREFUSED`, `ENOPROTOOPT`).
    Refused,
    /// The connection was there and was reset (`ECONNRESET`, `EPIPE`).
    Reset,
    /// No way to the host: ICMP, a route or a neighbour that does not answer (`EHOSTUNREACH`,
    /// `EHOSTDOWN`).
    HostUnreachable,
    /// No way to its network, or no address to leave from (`ENETUNREACH`, `ENETDOWN`, `ENONET`;
    /// `EAFNOSUPPORT` where the host lacks the family).
    NetworkUnreachable,
    /// Nobody answered (`ETIMEDOUT`).
    TimedOut,
    /// A rule of the host or of a router forbids it (`EACCES`, `EPERM`).
    Prohibited,
    /// The process or the system is out of descriptors (`EMFILE`, `ENFILE`).
    NoDescriptors,
    /// No port of the source address is left for this destination (`EADDRNOTAVAIL`, `EAGAIN`).
    /// A source address that is not this host's looks the same.
    NoPorts,
    /// Anything else, and `WouldBlock`, which is no failure yet: see the source.
    Other,
}

impl HostError {
    pub(crate) fn new(
        operation: &'static str,
        address: impl fmt::Display,
        source: impl Into<io::Error>,
    ) -> Self {
        Self { operation, address: address.to_string(), source: source.into() }
    }

    /// The kind of the source.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Why a connection was not made, or a datagram not sent, by its error number.
    pub fn refusal(&self) -> Refusal {
        match self.source.raw_os_error() {
            Some(libc::ECONNREFUSED | libc::ENOPROTOOPT) => Refusal::Refused,
            Some(libc::ECONNRESET | libc::EPIPE) => Refusal::Reset,
            Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => Refusal::HostUnreachable,
            Some(libc::ENETUNREACH | libc::ENETDOWN | libc::ENONET | libc::EAFNOSUPPORT) => {
                Refusal::NetworkUnreachable
            }
            Some(libc::ETIMEDOUT) => Refusal::TimedOut,
            Some(libc::EACCES | libc::EPERM) => Refusal::Prohibited,
            Some(libc::EMFILE | libc::ENFILE) => Refusal::NoDescriptors,
            Some(libc::EADDRNOTAVAIL | libc::EAGAIN) => Refusal::NoPorts,
            Some(_) => Refusal::Other,
            // Faults found here and not by the kernel have no number.
            None if self.kind() == io::ErrorKind::PermissionDenied => Refusal::Prohibited,
            None => Refusal::Other,
        }
    }

    /// What the caller has to tell apart.
    pub fn class(&self) -> ErrorClass {
        match self.source.raw_os_error() {
            Some(libc::EMFILE) => ErrorClass::ProcessDescriptors,
            Some(libc::ENFILE) => ErrorClass::SystemDescriptors,
            Some(libc::ENOBUFS) => ErrorClass::Buffers,
            Some(libc::ENOMEM) => ErrorClass::Memory,
            Some(libc::ECONNABORTED) => ErrorClass::ConnectionAborted,
            // accept(2): errors already pending on the new connection are passed on, and are to
            // be taken as that connection's, not the listener's.
            Some(
                libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::EPERM,
            ) if self.operation == ACCEPT => ErrorClass::ConnectionAborted,
            _ => ErrorClass::Other,
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.address, self.source)
    }
}

impl Error for HostError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<HostError> for io::Error {
    fn from(error: HostError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// The operation of accepting, whose faults are read in their own way.
pub(crate) const ACCEPT: &str = "accept";

#[cfg(test)]
mod tests {
    use super::*;

    fn class(operation: &'static str, errno: i32) -> ErrorClass {
        let source = io::Error::from_raw_os_error(errno);
        HostError::new(operation, "192.0.2.1:80", source).class()
    }

    #[test]
    fn exhaustion_is_told_apart() {
        assert_eq!(class(ACCEPT, libc::EMFILE), ErrorClass::ProcessDescriptors);
        assert_eq!(class(ACCEPT, libc::ENFILE), ErrorClass::SystemDescriptors);
        assert_eq!(class(ACCEPT, libc::ENOBUFS), ErrorClass::Buffers);
        assert_eq!(class(ACCEPT, libc::ENOMEM), ErrorClass::Memory);
        assert!(class("socket", libc::EMFILE).is_exhaustion());
        assert!(!class("bind", libc::EADDRINUSE).is_exhaustion());
    }

    #[test]
    fn a_lost_connection_is_not_a_fault_of_the_listener() {
        assert_eq!(class(ACCEPT, libc::ECONNABORTED), ErrorClass::ConnectionAborted);
        assert_eq!(class(ACCEPT, libc::EHOSTUNREACH), ErrorClass::ConnectionAborted);
        assert_eq!(class("connect", libc::EHOSTUNREACH), ErrorClass::Other);
    }

    #[test]
    fn refusals_are_told_apart() {
        let refusal =
            |errno| HostError::new("connect", "x", io::Error::from_raw_os_error(errno)).refusal();
        assert_eq!(refusal(libc::ECONNREFUSED), Refusal::Refused);
        assert_eq!(refusal(libc::EPERM), Refusal::Prohibited);
        assert_eq!(refusal(libc::EAGAIN), Refusal::NoPorts);
        assert_eq!(refusal(libc::EMFILE), Refusal::NoDescriptors);
        assert_eq!(refusal(libc::EINVAL), Refusal::Other);
        let pending = HostError::new("connect", "x", io::Error::from(io::ErrorKind::WouldBlock));
        assert_eq!(pending.refusal(), Refusal::Other, "not yet known");
    }

    #[test]
    fn the_text_names_operation_address_and_cause() {
        let source = io::Error::from_raw_os_error(libc::EADDRINUSE);
        let text = HostError::new("bind", "192.0.2.1:80", source).to_string();
        assert!(text.starts_with("bind 192.0.2.1:80: Address already in use"), "{text}");
    }
}
