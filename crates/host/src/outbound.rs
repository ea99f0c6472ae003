//! How sockets for the guest's own traffic leave the host.
//!
//! Owns the options they share, binding by them, and the fragmentation mode of a socket, which
//! is a socket option for IPv4 and is only set when a datagram asks for the other one. Sends
//! nothing itself.
//!
//! Spec: ip(7) for `IP_MTU_DISCOVER`, RFC 3542 §11.2 for `IPV6_DONTFRAG`, RFC 791 §2.3.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{AddressFamily, sockopt};

use crate::error::HostError;
use crate::sys;

/// Where a socket for the guest's own traffic leaves, and how much the kernel holds for it.
#[derive(Clone, Debug, Default)]
pub struct OutboundOptions {
    /// Source address; the kernel's choice for each destination if absent. Must be of the
    /// socket's family.
    pub bind_address: Option<IpAddr>,
    /// Leave and receive through this interface only.
    pub bind_interface: Option<String>,
    /// Receive buffer to ask for, in bytes; the kernel's default if absent. A wish: the kernel
    /// gives at most `net.core.rmem_max`, and takes memory only for what is queued.
    pub receive_buffer: Option<usize>,
    /// Send buffer to ask for, in bytes; the kernel's default if absent, as above
    /// (`net.core.wmem_max`).
    pub send_buffer: Option<usize>,
}

/// Whether a datagram may be cut into fragments on its way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fragmentation {
    /// This host fragments what is too long, and so may routers (IPv4 with the DF bit clear).
    #[default]
    Allowed,
    /// Nobody does (IPv4 with the DF bit set, RFC 8899): what exceeds the path MTU as far as it
    /// is known fails with `EMSGSIZE`, and routers report what is too long for them.
    Forbidden,
}

impl OutboundOptions {
    /// Applies the options to a new socket and binds it, to an ephemeral port where the family
    /// has ports.
    pub(crate) fn bind(&self, fd: BorrowedFd<'_>, family: AddressFamily) -> Result<(), HostError> {
        if let Some(interface) = &self.bind_interface {
            sys::bind_interface(fd, interface)?;
        }
        let address = self.source(family)?;
        let fault = |operation| move |errno| HostError::new(operation, address, errno);
        if let Some(size) = self.receive_buffer {
            sockopt::set_socket_recv_buffer_size(fd, size).map_err(fault("setsockopt"))?;
        }
        if let Some(size) = self.send_buffer {
            sockopt::set_socket_send_buffer_size(fd, size).map_err(fault("setsockopt"))?;
        }
        rustix::net::bind(fd, &SocketAddr::new(address, 0)).map_err(fault("bind"))
    }

    /// The address to bind to: the one asked for, else the family's wildcard.
    fn source(&self, family: AddressFamily) -> Result<IpAddr, HostError> {
        let v6 = family == AddressFamily::INET6;
        match self.bind_address {
            Some(address) if address.is_ipv6() == v6 => Ok(address),
            Some(address) => {
                let what = if v6 { "the socket is for IPv6" } else { "the socket is for IPv4" };
                let error = io::Error::new(io::ErrorKind::InvalidInput, what);
                Err(HostError::new("bind", address, error))
            }
            None if v6 => Ok(Ipv6Addr::UNSPECIFIED.into()),
            None => Ok(Ipv4Addr::UNSPECIFIED.into()),
        }
    }
}

/// The family of a socket for IPv6 or IPv4.
pub(crate) fn family_of(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::INET6 } else { AddressFamily::INET }
}

/// What a socket does with long IPv4 datagrams at present. Over IPv6 each datagram says so
/// itself, by a control message.
///
/// A router's "too big" about an IPv4 datagram that comes back after the mode has changed to
/// fragments is kept by the kernel, which learns the MTU from it, and not reported: the next
/// such datagram fails at once.
#[derive(Debug, Default)]
pub(crate) struct FragmentationMode {
    forbidden: AtomicBool,
}

impl FragmentationMode {
    /// Makes the socket ready for a datagram to `destination`.
    pub(crate) fn prepare(
        &self,
        fd: BorrowedFd<'_>,
        destination: IpAddr,
        fragmentation: Fragmentation,
    ) -> io::Result<()> {
        let forbidden = fragmentation == Fragmentation::Forbidden;
        if destination.is_ipv6() || self.forbidden.load(Ordering::Relaxed) == forbidden {
            return Ok(());
        }
        sys::forbid_fragments_v4(fd, forbidden)?;
        self.forbidden.store(forbidden, Ordering::Relaxed);
        Ok(())
    }
}
