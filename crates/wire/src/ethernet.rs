//! Ethernet II framing (IEEE 802.3): the 14 bytes in front of every packet on a guest link.
//!
//! Owns where the addresses and the EtherType stand. Never looks behind them; frames with a VLAN
//! tag are reported as such and not unwrapped.

/// Length of an Ethernet II header in bytes, without a VLAN tag and without the frame check.
pub const ETHERNET_HEADER_LEN: usize = 14;

/// The broadcast address `ff:ff:ff:ff:ff:ff`.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// What an Ethernet frame says it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtherType {
    /// Address Resolution Protocol (0x0806).
    Arp,
    /// Internet Protocol version 4 (0x0800).
    Ipv4,
    /// Internet Protocol version 6 (0x86dd).
    Ipv6,
    /// Anything else, VLAN tags and 802.3 length fields included.
    Other(u16),
}

impl EtherType {
    const fn from_u16(value: u16) -> Self {
        match value {
            0x0800 => Self::Ipv4,
            0x0806 => Self::Arp,
            0x86dd => Self::Ipv6,
            other => Self::Other(other),
        }
    }

    const fn to_u16(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800,
            Self::Arp => 0x0806,
            Self::Ipv6 => 0x86dd,
            Self::Other(value) => value,
        }
    }
}

/// A parsed Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Where the frame goes.
    pub destination: [u8; 6],
    /// Who sent it.
    pub source: [u8; 6],
    /// What it carries.
    pub ethertype: EtherType,
}

impl EthernetHeader {
    /// Reads the header of `frame`; `None` when the frame is shorter than a header.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let header: &[u8; ETHERNET_HEADER_LEN] = frame.first_chunk()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        Some(Self {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            ethertype: EtherType::from_u16(u16::from_be_bytes([t0, t1])),
        })
    }

    /// Writes the header into the first 14 bytes of `frame`.
    ///
    /// # Panics
    /// When `frame` is shorter than [`ETHERNET_HEADER_LEN`].
    pub fn emit(&self, frame: &mut [u8]) {
        frame[0..6].copy_from_slice(&self.destination);
        frame[6..12].copy_from_slice(&self.source);
        frame[12..14].copy_from_slice(&self.ethertype.to_u16().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        for ethertype in
            [EtherType::Arp, EtherType::Ipv4, EtherType::Ipv6, EtherType::Other(0x8100)]
        {
            let header = EthernetHeader {
                destination: [1, 2, 3, 4, 5, 6],
                source: [7, 8, 9, 10, 11, 12],
                ethertype,
            };
            let mut frame = [0; 20];
            header.emit(&mut frame);
            assert_eq!(EthernetHeader::parse(&frame), Some(header));
        }
    }

    #[test]
    fn thirteen_bytes_are_no_frame() {
        assert_eq!(EthernetHeader::parse(&[0; 13]), None);
    }
}
