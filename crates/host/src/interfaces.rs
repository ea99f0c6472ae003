//! The host's own addresses, to keep a guest's apart from them, and whether it has a way out.
//!
//! Owns asking; keeps nothing but a socket to ask with. That answers may have changed, `watch` tells.
//!
//! Spec: getifaddrs(3), connect(2), rtnetlink(7).

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::sys;

/// Every address of every interface of this network namespace, with its prefix length where the
/// interface says one.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn interface_addresses() -> io::Result<Vec<(IpAddr, Option<u8>)>> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(io::Error::from)?;
    Ok(interfaces
        .filter_map(|interface| {
            let ip = |storage: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
                let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            };
            let address = ip(interface.address?)?;
            let ones = |mask| match mask {
                IpAddr::V4(v4) => v4.to_bits().count_ones(),
                IpAddr::V6(v6) => v6.to_bits().count_ones(),
            };
            let prefix = interface.netmask.and_then(ip).map(ones);
            Some((address, prefix.and_then(|bits| u8::try_from(bits).ok())))
        })
        .collect())
}

/// Whether this host has a route to the Internet over IPv6 or IPv4, and an address to leave from.
///
/// Asked by connecting a UDP socket, which sends nothing, to a root name server: that goes
/// through all tables and rules, where `/proc/net/route` shows the main table alone and a VPN is
/// usually in another.
///
/// # Errors
/// When the kernel cannot be asked; out of descriptors is one.
pub fn has_default_route(v6: bool) -> io::Result<bool> {
    let address: IpAddr = if v6 { ROOT_SERVER_V6.into() } else { ROOT_SERVER_V4.into() };
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let fd = match rustix::net::socket_with(sys::family(address), kind, flags, None) {
        Ok(fd) => fd,
        Err(Errno::AFNOSUPPORT) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    // Unreachable, prohibited (EACCES), black hole (EINVAL): no way out, all of them.
    if rustix::net::connect(&fd, &SocketAddr::new(address, 53)).is_err() {
        return Ok(false);
    }
    // A router may be known before there is an address of more than the link or this host.
    let source = sys::local_addr(fd.as_fd())?.ip();
    let link_local = matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(!source.is_unspecified() && !source.is_loopback() && !link_local)
}

/// Whether an address is one of this host's by its routes. Asked of the routing table itself: what
/// is sent to a second address of a network leaves from the first, and `ip_nonlocal_bind` allows
/// binding to any.
pub(crate) fn is_local(address: IpAddr) -> io::Result<bool> {
    let mut answer = [0_u8; 1024];
    let length = ROUTES.with(|routes| {
        let fd = match routes.take() {
            Some(fd) => fd,
            None => {
                let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
                // No protocol is NETLINK_ROUTE.
                rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, None)?
            }
        };
        // The kernel has answered before `send` returns.
        rustix::net::send(&fd, &route_request(address), SendFlags::empty())?;
        let (_, length) = rustix::net::recv(&fd, &mut answer, RecvFlags::DONTWAIT)?;
        // Only one that has nothing more to say: an answer must be that of its question.
        routes.set(Some(fd));
        rustix::io::Result::Ok(length)
    })?;
    let answer = &answer[..length];
    // An error is no route at all.
    let is_route = answer.get(4..6) == Some(&libc::RTM_NEWROUTE.to_ne_bytes());
    Ok(is_route && answer.get(NLMSG_HEADER_LEN + 7) == Some(&libc::RTN_LOCAL))
}

/// `struct nlmsghdr`, `struct rtmsg` and one `struct rtattr`, as rtnetlink(7) has them.
fn route_request(address: IpAddr) -> Vec<u8> {
    let mut octets = [0; 16];
    let (family, length) = match address {
        IpAddr::V4(v4) => {
            octets[..4].copy_from_slice(&v4.octets());
            (libc::AF_INET, 4_u8)
        }
        IpAddr::V6(v6) => {
            octets.copy_from_slice(&v6.octets());
            (libc::AF_INET6, 16)
        }
    };
    let attribute = 4 + u16::from(length);
    let mut request = Vec::with_capacity(NLMSG_HEADER_LEN + 12 + usize::from(attribute));
    request.extend((28 + u32::from(attribute)).to_ne_bytes());
    request.extend(libc::RTM_GETROUTE.to_ne_bytes());
    request.extend(1_u16.to_ne_bytes()); // NLM_F_REQUEST
    request.extend([0; 8]);
    request.extend([family as u8, length * 8]);
    request.extend([0; 10]);
    request.extend(attribute.to_ne_bytes());
    request.extend(libc::RTA_DST.to_ne_bytes());
    request.extend(&octets[..usize::from(length)]);
    request
}

thread_local! {
    /// Asked for every connection of the guest, and to make and close a socket each time would cost
    /// as much as asking. Of one thread, which stays in the network namespace it has begun in.
    static ROUTES: Cell<Option<OwnedFd>> = const { Cell::new(None) };
}

const NLMSG_HEADER_LEN: usize = 16;

/// a.root-servers.net.
const ROOT_SERVER_V4: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);
const ROOT_SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        let addresses = interface_addresses().unwrap();
        assert!(addresses.iter().any(|(address, _)| address.is_loopback()), "{addresses:?}");
    }

    #[test]
    fn what_is_local_is_known_by_its_route() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()).unwrap(), local, "{address}");
        }
    }
}
