//! Who the guest behind a datagram socket is.
//!
//! Owns what is known of it and who may become it; asks the kernel whether an address is served,
//! and never sends or receives.
//!
//! Spec: unix(7), `SOCK_DGRAM`.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketType, sockopt};

use crate::error::{LinkCause, LinkError};
use crate::event::GoneCause;
use crate::path;

#[derive(Debug)]
pub(super) enum Guest {
    /// Nobody has spoken yet, or nobody since the last one went.
    Unknown,
    /// Whoever spoke first.
    Learnt(SocketAddrAny),
    /// The one at this address, whatever address it speaks from: a name can be written in many
    /// ways, and who may send here is decided by the rights of our path.
    Configured {
        address: SocketAddrAny,
        here: bool,
    },
    /// The other end of the socket.
    Connected,
    GoneForGood(GoneCause),
}

impl Guest {
    /// Whether the sender is the guest, or may become it.
    ///
    /// One that is not there yet has to be there to be answered: what is left in the queue of one
    /// that is gone makes it no guest again.
    pub(super) fn may_be(&self, from: Option<&SocketAddrAny>) -> bool {
        match (self, from) {
            (Self::Connected | Self::Configured { here: true, .. }, _) => true,
            (Self::Configured { address, here: false }, _) => is_served(address),
            (Self::Unknown, Some(from)) => is_named(from) && is_served(from),
            (Self::Learnt(guest), Some(from)) => {
                from == guest || (is_named(from) && is_served(from) && !is_served(guest))
            }
            // Who has no name cannot be answered.
            (Self::Unknown | Self::Learnt(_), None) | (Self::GoneForGood(_), _) => false,
        }
    }
}

/// What the socket already knows of its guest, if it is fit.
pub(super) fn check_socket(socket: &OwnedFd) -> Result<Guest, LinkError> {
    let fd = socket.as_raw_fd();
    let fault = |operation| move |errno: Errno| LinkError::of(operation, fd, errno);
    let kind = sockopt::socket_type(socket).map_err(fault("SO_TYPE"))?;
    let domain = sockopt::socket_domain(socket).map_err(fault("SO_DOMAIN"))?;
    if kind != SocketType::DGRAM || domain != AddressFamily::UNIX {
        return Err(LinkError::unsuitable("SO_TYPE", fd, LinkCause::WrongType));
    }
    match rustix::net::getpeername(socket) {
        Ok(_) => Ok(Guest::Connected),
        Err(Errno::NOTCONN) => {
            let local = rustix::net::getsockname(socket).map_err(fault("getsockname"))?;
            if is_named(&local) {
                Ok(Guest::Unknown)
            } else {
                Err(LinkError::unsuitable("getsockname", fd, LinkCause::NotConnected))
            }
        }
        Err(errno) => Err(fault("getpeername")(errno)),
    }
}

fn is_named(address: &SocketAddrAny) -> bool {
    address.addr_len() as usize > size_of::<libc::sa_family_t>()
}

/// Whether someone has a socket at this address.
fn is_served(address: &SocketAddrAny) -> bool {
    let Ok(probe) = path::socket(SocketType::DGRAM) else { return true };
    match rustix::net::connect(&probe, address) {
        // One that is connected elsewhere, to us, refuses the probe with EPERM and lives.
        Err(Errno::CONNREFUSED | Errno::NOENT | Errno::NOTDIR) => false,
        Ok(()) | Err(_) => true,
    }
}
