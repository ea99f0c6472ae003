//! Socket addresses between the kernel's form and ours.
//!
//! Owns the conversion and the one rule of it: an IPv4-mapped IPv6 address is the IPv4 address
//! (RFC 4291 §2.5.5.2), whatever kind of socket it came through.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::BorrowedFd;

use rustix::net::{AddressFamily, SocketAddrAny, sockopt};

/// The socket family of an address.
pub(crate) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    }
}

/// The address as it is judged and compared.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The IP address and port of what a call returned.
pub(crate) fn inet_addr(address: SocketAddrAny) -> io::Result<SocketAddr> {
    Ok(canonical(SocketAddr::try_from(address)?))
}

/// The address and port a socket is bound to.
pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    inet_addr(rustix::net::getsockname(fd)?)
}

/// Whether a socket is of IPv4 or IPv6.
pub(crate) fn is_inet(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let domain = sockopt::socket_domain(fd)?;
    Ok(domain == AddressFamily::INET || domain == AddressFamily::INET6)
}

/// Room for an address of either family, as system calls read and write it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    pub(super) const LEN: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    pub(super) fn empty() -> Self {
        // SAFETY: all members are integers and byte arrays, for which zeroes are valid.
        unsafe { mem::zeroed() }
    }

    /// The address and its length, for a socket of the given family: IPv4 is mapped on IPv6's.
    pub(super) fn new(address: SocketAddr, socket: AddressFamily) -> (Self, libc::socklen_t) {
        let mut raw = Self::empty();
        match (address, socket) {
            (SocketAddr::V4(v4), AddressFamily::INET6) => {
                let mapped = v4.ip().to_ipv6_mapped();
                raw.v6 = sockaddr_in6(&SocketAddrV6::new(mapped, v4.port(), 0, 0));
                (raw, size_of_socklen::<libc::sockaddr_in6>())
            }
            (SocketAddr::V4(v4), _) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: in_addr(*v4.ip()),
                    sin_zero: [0; 8],
                };
                (raw, size_of_socklen::<libc::sockaddr_in>())
            }
            (SocketAddr::V6(v6), _) => {
                raw.v6 = sockaddr_in6(&v6);
                (raw, size_of_socklen::<libc::sockaddr_in6>())
            }
        }
    }

    /// The address in canonical form; none if it is of another family.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        // SAFETY: every way to make a RawAddress initialises all of it, and every bit pattern is
        // valid for each member; the family only decides which reading makes sense.
        let (family, v4, v6) = unsafe { (self.family, self.v4, self.v6) };
        let address = match libc::c_int::from(family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                SocketAddr::new(ip.into(), u16::from_be(v4.sin_port))
            }
            libc::AF_INET6 => SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(v6.sin6_addr.s6_addr),
                u16::from_be(v6.sin6_port),
                v6.sin6_flowinfo,
                v6.sin6_scope_id,
            )),
            _ => return None,
        };
        Some(canonical(address))
    }
}

pub(super) fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from(address).to_be() }
}

pub(super) fn in6_addr(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: address.octets() }
}

fn sockaddr_in6(address: &SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: in6_addr(*address.ip()),
        sin6_scope_id: address.scope_id(),
    }
}

fn size_of_socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.1:53", "[2001:db8::1]:65535", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let (raw, _) = RawAddress::new(address, family(address.ip()));
            assert_eq!(raw.read(), Some(address));
        }
        assert_eq!(RawAddress::empty().read(), None);
    }

    #[test]
    fn mapped_addresses_are_ipv4_on_our_side_and_ipv6_on_the_sockets() {
        let address: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let (raw, length) = RawAddress::new(address, AddressFamily::INET6);
        assert_eq!(length, size_of_socklen::<libc::sockaddr_in6>());
        assert_eq!(raw.read(), Some(address));
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:53".parse().unwrap();
        assert_eq!(canonical(mapped), address);
    }
}
