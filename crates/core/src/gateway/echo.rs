//! Echo (RFC 792, RFC 4443 §4): the gateway answers pings to its own addresses.

use portreeve_wire::icmp;
use portreeve_wire::packet::{DEFAULT_HOP_LIMIT, IpPacket};

use crate::drop_reason::DropReason;
use crate::engine::Engine;

impl Engine {
    /// An echo request of the guest, its checksum verified.
    pub(crate) fn echo_from_guest(&mut self, ip: &IpPacket, message: &[u8]) {
        if !self.is_gateway(ip.destination) {
            return self.drop(DropReason::EgressDenied);
        }
        let (source, guest) = (ip.destination, ip.source);
        self.outbox.ip(source, guest, ip.protocol, message.len(), DEFAULT_HOP_LIMIT, |out| {
            out.copy_from_slice(message);
            icmp::echo_reply_in_place(source, guest, out);
        });
    }
}
