//! Echo (RFC 792, RFC 4443 §4): the gateway answers pings to its own addresses. Others are carried
//! out by a mapping.

use std::net::SocketAddr;

use portreeve_wire::icmp::{self, Echo};
use portreeve_wire::packet::IpPacket;

use crate::engine::Engine;

impl Engine {
    /// An echo request of the guest, its checksum verified.
    pub(crate) fn echo_from_guest(&mut self, ip: &IpPacket, message: &[u8]) {
        if !self.is_gateway(ip.destination) {
            return self.mapping_echo(ip, message);
        }
        let (source, guest) = (ip.destination, ip.source);
        let mut reply = message.to_vec();
        let Some(echo) = Echo::parse(message, source.is_ipv6()) else { return };
        if !icmp::echo_reply_in_place(source, guest, &mut reply)
            || !self.outbox.echo(source, SocketAddr::new(guest, echo.identifier), &reply)
        {
            self.datagram_queue_full();
        }
    }
}
