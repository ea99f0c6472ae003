//! The host's own addresses, to keep a guest's apart from them, and whether it has a way out.
//!
//! Owns asking; keeps nothing but a socket to ask with. That answers may have changed, `watch` tells.
//!
//! Spec: getifaddrs(3), connect(2), rtnetlink(7).

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily as NetlinkFamily, RouteNetlinkMessage};
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

/// Whether an address is one of this host's by its routes, at this moment. Asked of the routing
/// table itself: what is sent to a second address of a network leaves from the first, and
/// `ip_nonlocal_bind` allows binding to any.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn is_local(address: IpAddr) -> io::Result<bool> {
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
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..length])
        .map_err(|error| io::Error::other(error.to_string()))?;
    // An error is no route at all.
    Ok(match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
            route.header.kind == RouteType::Local
        }
        _ => false,
    })
}

/// Asks for the route to an address. rtnetlink(7), `RTM_GETROUTE`.
fn route_request(address: IpAddr) -> Vec<u8> {
    let mut route = RouteMessage::default();
    let (family, length, destination) = match address {
        IpAddr::V4(v4) => (NetlinkFamily::Inet, 32, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (NetlinkFamily::Inet6, 128, RouteAddress::Inet6(v6)),
    };
    route.header.address_family = family;
    route.header.destination_prefix_length = length;
    route.attributes.push(RouteAttribute::Destination(destination));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(route));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

thread_local! {
    /// Asked for every destination of the guest, and to make and close a socket each time would
    /// cost as much as asking. Of one thread, which stays in the network namespace it has begun in.
    static ROUTES: Cell<Option<OwnedFd>> = const { Cell::new(None) };
}

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
