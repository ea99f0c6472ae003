//! Why a TAP could not be opened, and what would help.
//!
//! Owns the reading of error numbers of `/dev/net/tun`'s open and ioctls; makes no system call.
//!
//! Spec: `Documentation/networking/tuntap.rst` of the Linux kernel.

use std::error::Error;
use std::fmt;
use std::io;

/// What is in the way of a TAP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TapCause {
    /// There is no `/dev/net/tun`.
    DeviceMissing,
    /// `/dev/net/tun` may not be opened.
    DeviceForbidden,
    /// Attaching to an interface needs `CAP_NET_ADMIN` in the namespace.
    NoCapability,
    /// The interface exists and someone else has it open.
    Busy,
    /// The interface has as many queues as the kernel allows.
    TooManyQueues,
    /// The name is not one for an interface, or another kind of interface has it.
    BadName,
    /// The descriptor is not one of a TAP device attached to an interface.
    NotATap,
    /// The descriptor was attached without `IFF_NO_PI`.
    PacketInformation,
    /// Anything else: see the source.
    Other,
}

/// A TAP could not be opened: which call failed, why, and what would help.
#[derive(Debug)]
pub struct TapError {
    operation: &'static str,
    cause: TapCause,
    source: io::Error,
}

impl TapError {
    pub(super) fn open(source: io::Error) -> Self {
        let cause = match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => TapCause::DeviceMissing,
            Some(libc::EACCES | libc::EPERM) => TapCause::DeviceForbidden,
            _ => TapCause::Other,
        };
        Self { operation: "open /dev/net/tun", cause, source }
    }

    pub(super) fn set_interface(source: io::Error) -> Self {
        let cause = match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => TapCause::NoCapability,
            Some(libc::EBUSY) => TapCause::Busy,
            Some(libc::E2BIG) => TapCause::TooManyQueues,
            Some(libc::EINVAL | libc::ENAMETOOLONG | libc::EEXIST) => TapCause::BadName,
            _ => TapCause::Other,
        };
        Self { operation: "TUNSETIFF", cause, source }
    }

    pub(super) fn get_interface(source: io::Error) -> Self {
        let cause = match source.raw_os_error() {
            Some(libc::ENOTTY | libc::EBADFD | libc::EINVAL | libc::EOPNOTSUPP) => {
                TapCause::NotATap
            }
            _ => TapCause::Other,
        };
        Self { operation: "TUNGETIFF", cause, source }
    }

    pub(super) fn unsuitable(cause: TapCause) -> Self {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        Self { operation: "TUNGETIFF", cause, source }
    }

    pub(super) fn other(operation: &'static str, source: io::Error) -> Self {
        Self { operation, cause: TapCause::Other, source }
    }

    /// The call that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What is in the way.
    pub fn cause(&self) -> TapCause {
        self.cause
    }

    /// What a user can do about it, where there is something.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self.cause {
            TapCause::DeviceMissing => {
                "load the module (`modprobe tun`), or give the container the device \
                 (`--device /dev/net/tun`)"
            }
            TapCause::DeviceForbidden => {
                "make the device accessible (`chmod 0666 /dev/net/tun`, which most systems \
                 have by default), or allow it in the container's device rules"
            }
            TapCause::NoCapability => {
                "CAP_NET_ADMIN is needed in the network namespace: run in a user namespace of \
                 your own, or attach to a persistent TAP that belongs to you"
            }
            TapCause::Busy => {
                "another process has this TAP open: choose another name, or make it with \
                 several queues on both sides"
            }
            TapCause::TooManyQueues => "close one of the interface's queues first",
            TapCause::BadName => {
                "a name has 1 to 15 bytes without `/` or spaces; if an interface of this name \
                 exists, it must be a TAP with the same queue setting"
            }
            TapCause::NotATap => {
                "pass a descriptor of /dev/net/tun on which TUNSETIFF with IFF_TAP was done"
            }
            TapCause::PacketInformation => "open the TAP with IFF_NO_PI",
            TapCause::Other => return None,
        })
    }
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.operation)?;
        match self.cause {
            TapCause::DeviceMissing => f.write_str("the device does not exist"),
            TapCause::DeviceForbidden => f.write_str("the device may not be opened"),
            TapCause::NoCapability => f.write_str("no right to attach to the interface"),
            TapCause::Busy => f.write_str("the interface is in use"),
            TapCause::TooManyQueues => f.write_str("the interface has no queue left"),
            TapCause::BadName => f.write_str("the interface name cannot be used"),
            TapCause::NotATap => f.write_str("the descriptor is not an attached TAP"),
            TapCause::PacketInformation => f.write_str("the TAP has the packet-information header"),
            TapCause::Other => write!(f, "{}", self.source),
        }
    }
}

impl Error for TapError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<TapError> for io::Error {
    fn from(error: TapError) -> Self {
        Self::new(error.source.kind(), error)
    }
}
