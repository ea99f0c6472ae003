//! The guest's network from inside: loopback, the device, addresses, routes, neighbours.
//!
//! Speaks rtnetlink and writes `/proc/sys/net` in the network namespace this process is in; never
//! in the host's. Spec: rtnetlink(7), netlink(7), the kernel's networking/ip-sysctl.rst.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkHeader, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use portreeve_types::{Addressing, Ipv4Link, Ipv6Link, MacAddr};

use crate::channel::Step;
use crate::error::{AtStep, Fault};

/// Brings the guest's network up. The device `tap` must be there and be down.
pub(crate) fn configure(
    addressing: &Addressing,
    tap: &str,
    queue_len: u32,
    with_ipv6: bool,
) -> Result<(), Fault> {
    let mut route = Rtnetlink::open().at(Step::Link)?;
    let loopback = route.index("lo").at_on(Step::Link, "lo")?;
    let device = route.index(tap).at_on(Step::Link, tap)?;
    route.set_up(loopback).at_on(Step::Link, "lo")?;
    route.set_link(device, addressing, queue_len, with_ipv6).at_on(Step::Link, tap)?;
    route.set_up(device).at_on(Step::Link, tap)?;
    if let Some(link) = &addressing.ipv4 {
        ipv4(&mut route, device, link, addressing.gateway_mac)?;
    }
    if let (Some(link), true) = (&addressing.ipv6, with_ipv6) {
        ipv6(&mut route, device, link, addressing)?;
    }
    Ok(())
}

fn ipv4(
    route: &mut Rtnetlink,
    device: u32,
    link: &Ipv4Link,
    gateway_mac: MacAddr,
) -> Result<(), Fault> {
    let (guest, gateway) = (IpAddr::V4(link.guest), IpAddr::V4(link.gateway));
    route.add_address(device, guest, link.prefix_len).at_on(Step::Address, guest)?;
    // Permanent entries: the first connection from outside must not wait for the guest to ask.
    route.add_neighbour(device, gateway, gateway_mac).at_on(Step::Neighbour, gateway)?;
    route.add_default_route(device, gateway).at_on(Step::Route, gateway)
}

fn ipv6(
    route: &mut Rtnetlink,
    device: u32,
    link: &Ipv6Link,
    addressing: &Addressing,
) -> Result<(), Fault> {
    // RFC 4291 §2.8: an interface has a link-local address. Set here, since the kernel's own
    // generation is off: it may be configured to pick a random one.
    if let Some(mac) = addressing.guest_mac {
        let local = IpAddr::V6(link_local(mac));
        route.add_address(device, local, 64).at_on(Step::Address, local)?;
    }
    let guest = IpAddr::V6(link.guest);
    route.add_address(device, guest, link.prefix_len).at_on(Step::Address, guest)?;
    for gateway in [link.gateway, link.gateway_link_local] {
        let gateway = IpAddr::V6(gateway);
        let mac = addressing.gateway_mac;
        route.add_neighbour(device, gateway, mac).at_on(Step::Neighbour, gateway)?;
    }
    // RFC 4861 §4.2: routers are known by their link-local address.
    let router = IpAddr::V6(link.gateway_link_local);
    route.add_default_route(device, router).at_on(Step::Route, router)
}

/// The link-local address made from a MAC address: RFC 4291 appendix A, modified EUI-64.
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
}

/// An rtnetlink socket that waits for the answer to each request.
struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn index(&self, name: &str) -> io::Result<u32> {
        let any = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(rustix::net::netdevice::name_to_index(any, name)?)
    }

    fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header = LinkHeader {
            index,
            flags: LinkFlags::Up,
            change_mask: LinkFlags::Up,
            ..Default::default()
        };
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    fn set_link(
        &mut self,
        index: u32,
        addressing: &Addressing,
        queue_len: u32,
        with_ipv6: bool,
    ) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Mtu(u32::from(addressing.mtu)));
        message.attributes.push(LinkAttribute::TxQueueLen(queue_len));
        if let Some(mac) = addressing.guest_mac {
            message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
            if with_ipv6 {
                message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                    vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)],
                )]));
            }
        }
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    fn add_address(&mut self, index: u32, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header = AddressHeader {
            family: family(address),
            prefix_len,
            index,
            scope: AddressScope::Universe,
            ..Default::default()
        };
        message.attributes.push(AddressAttribute::Address(address));
        match address {
            IpAddr::V4(v4) => {
                message.attributes.push(AddressAttribute::Local(address));
                // RFC 3021: a /31 has no broadcast address.
                if prefix_len < 31 {
                    let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
                    let broadcast = (u32::from(v4) | host_bits).into();
                    message.attributes.push(AddressAttribute::Broadcast(broadcast));
                }
            }
            // Nobody else is on this link: waiting a second for a duplicate would be for nothing.
            IpAddr::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
        }
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(gateway),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..Default::default()
        };
        message.attributes.push(RouteAttribute::Gateway(match gateway {
            IpAddr::V4(gateway) => RouteAddress::Inet(gateway),
            IpAddr::V6(gateway) => RouteAddress::Inet6(gateway),
        }));
        message.attributes.push(RouteAttribute::Oif(index));
        self.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE)
    }

    fn add_neighbour(&mut self, index: u32, address: IpAddr, mac: MacAddr) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header = NeighbourHeader {
            family: family(address),
            ifindex: index,
            state: NeighbourState::Permanent,
            ..Default::default()
        };
        message.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| io::Error::other(error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            if let NetlinkPayload::Error(error) = answer.payload {
                // netlink(7): an error of 0 is the acknowledgement.
                return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
            }
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_is_the_modified_eui_64() {
        // RFC 4291 appendix A flips the universal/local bit.
        let address = link_local(MacAddr([0x02, 0x50, 0x52, 0, 0, 2]));
        assert_eq!(address, "fe80::50:52ff:fe00:2".parse::<Ipv6Addr>().unwrap());
    }
}
