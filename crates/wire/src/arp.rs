//! ARP for IPv4 over Ethernet (RFC 826): the 28 bytes behind the Ethernet header.
//!
//! Owns the layout. Who answers for which address is the gateway's to decide.

use std::net::Ipv4Addr;

/// Length of an ARP packet for Ethernet and IPv4.
pub const ARP_LEN: usize = 28;

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Hardware address of the sender.
    pub sender_mac: [u8; 6],
    /// Protocol address of the sender; `0.0.0.0` in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; zero in a request.
    pub target_mac: [u8; 6],
    /// Protocol address of the target.
    pub target_ip: Ipv4Addr,
}

/// Ethernet (1), IPv4 (0x0800), address lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

impl Arp {
    /// Reads an ARP packet; `None` for other hardware, protocols or operations.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let bytes: &[u8; ARP_LEN] = packet.first_chunk()?;
        if bytes[..6] != PREFIX {
            return None;
        }
        let operation = match u16::from_be_bytes([bytes[6], bytes[7]]) {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return None,
        };
        let mac = |at: usize| -> [u8; 6] {
            let mut mac = [0; 6];
            mac.copy_from_slice(&bytes[at..at + 6]);
            mac
        };
        let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Some(Self {
            operation,
            sender_mac: mac(8),
            sender_ip: ip(14),
            target_mac: mac(18),
            target_ip: ip(24),
        })
    }

    /// Writes the packet into the first 28 bytes of `out`.
    ///
    /// # Panics
    /// When `out` is shorter than [`ARP_LEN`].
    pub fn emit(&self, out: &mut [u8]) {
        out[..6].copy_from_slice(&PREFIX);
        let operation: u16 = match self.operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
        };
        out[6..8].copy_from_slice(&operation.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac);
        out[24..28].copy_from_slice(&self.target_ip.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let arp = Arp {
            operation: ArpOperation::Reply,
            sender_mac: [1; 6],
            sender_ip: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: [2; 6],
            target_ip: Ipv4Addr::new(10, 0, 0, 2),
        };
        let mut out = [0; ARP_LEN];
        arp.emit(&mut out);
        assert_eq!(Arp::parse(&out), Some(arp));
        assert_eq!(Arp::parse(&out[..27]), None);
        out[1] = 6;
        assert_eq!(Arp::parse(&out), None);
    }
}
