//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets: a checked view and the headers the engine writes.
//!
//! Owns the network layer of what a guest sends: lengths, header checksum, extension headers and
//! fragment fields are checked here once, so that nothing above looks at raw offsets. Keeps no
//! state: reassembly is the core's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::checksum;

/// Length of an IPv4 header without options.
pub const IPV4_HEADER_LEN: usize = 20;
/// Length of the fixed IPv6 header.
pub const IPV6_HEADER_LEN: usize = 40;
/// Length of an IPv6 fragment header.
pub const IPV6_FRAGMENT_HEADER_LEN: usize = 8;
/// Hop limit of packets that the engine makes.
pub const DEFAULT_HOP_LIMIT: u8 = 64;

/// IP protocol numbers in use here (IANA).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol;

impl Protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// More extension headers than this are no traffic anybody sends.
const MAX_EXTENSION_HEADERS: usize = 8;

/// Why a packet cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Shorter than its headers or its own length fields say.
    Truncated,
    /// Not the version that its EtherType announced.
    Version,
    /// The IPv4 header checksum does not fit.
    HeaderChecksum,
    /// An extension header is malformed, forbidden or one too many.
    ExtensionHeader,
}

/// Where a fragment belongs in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification that all fragments of one datagram share.
    pub identification: u32,
    /// Offset of this fragment's payload in bytes.
    pub offset: u32,
    /// Whether more fragments follow.
    pub more: bool,
}

/// A checked packet: everything the layers above need, as positions in the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// Who sent it.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Upper-layer protocol, behind all extension headers.
    pub protocol: u8,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// The upper-layer bytes within the packet.
    pub payload: Range<usize>,
    /// Set when this is a piece of a larger datagram. Atomic IPv6 fragments (RFC 6946) are whole.
    pub fragment: Option<Fragment>,
    /// Whether nobody on the way may cut it: the DF bit of IPv4, always over IPv6.
    pub dont_fragment: bool,
}

impl IpPacket {
    /// Reads an IPv4 packet; bytes behind its total length are ignored (Ethernet padding).
    pub fn parse_v4(packet: &[u8]) -> Result<Self, PacketError> {
        let fixed: &[u8; IPV4_HEADER_LEN] = packet.first_chunk().ok_or(PacketError::Truncated)?;
        if fixed[0] >> 4 != 4 {
            return Err(PacketError::Version);
        }
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_len < IPV4_HEADER_LEN || total_len < header_len || total_len > packet.len() {
            return Err(PacketError::Truncated);
        }
        if checksum::fold(checksum::sum(&packet[..header_len])) != 0xffff {
            return Err(PacketError::HeaderChecksum);
        }
        let flags = u16::from_be_bytes([fixed[6], fixed[7]]);
        let (offset, more) = (u32::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
        let fragment = (offset != 0 || more).then(|| Fragment {
            identification: u32::from(u16::from_be_bytes([fixed[4], fixed[5]])),
            offset,
            more,
        });
        Ok(Self {
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]).into(),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]).into(),
            protocol: fixed[9],
            hop_limit: fixed[8],
            payload: header_len..total_len,
            fragment,
            dont_fragment: flags & 0x4000 != 0,
        })
    }

    /// Reads an IPv6 packet and walks its extension headers.
    pub fn parse_v6(packet: &[u8]) -> Result<Self, PacketError> {
        let fixed: &[u8; IPV6_HEADER_LEN] = packet.first_chunk().ok_or(PacketError::Truncated)?;
        if fixed[0] >> 4 != 6 {
            return Err(PacketError::Version);
        }
        let end = IPV6_HEADER_LEN + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if end > packet.len() {
            return Err(PacketError::Truncated);
        }
        let octets = |from: usize| -> [u8; 16] {
            let mut octets = [0; 16];
            octets.copy_from_slice(&fixed[from..from + 16]);
            octets
        };
        let (source, destination) = (Ipv6Addr::from(octets(8)), Ipv6Addr::from(octets(24)));
        let upper = walk_extension_headers(packet, fixed[6], end)?;
        Ok(Self {
            source: source.into(),
            destination: destination.into(),
            protocol: upper.protocol,
            hop_limit: fixed[7],
            payload: upper.at..end,
            fragment: upper.fragment,
            dont_fragment: true,
        })
    }
}

struct UpperLayer {
    protocol: u8,
    at: usize,
    fragment: Option<Fragment>,
}

fn walk_extension_headers(packet: &[u8], first: u8, end: usize) -> Result<UpperLayer, PacketError> {
    let (mut protocol, mut at, mut fragment) = (first, IPV6_HEADER_LEN, None);
    for count in 0.. {
        if !matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            break;
        }
        let header = packet.get(at..at + 8).filter(|_| at + 8 <= end);
        let header = header.ok_or(PacketError::Truncated)?;
        // RFC 8200 §4.1: hop-by-hop options stand first or not at all. RFC 5095: routing headers
        // of type 0 are dead, and no guest needs another type on a link of two.
        if count >= MAX_EXTENSION_HEADERS
            || protocol == ROUTING
            || (protocol == HOP_BY_HOP && count != 0)
            || (protocol == FRAGMENT && fragment.is_some())
        {
            return Err(PacketError::ExtensionHeader);
        }
        let length = if protocol == FRAGMENT {
            let field = u16::from_be_bytes([header[2], header[3]]);
            let piece = Fragment {
                identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                offset: u32::from(field & 0xfff8),
                more: field & 1 != 0,
            };
            fragment = (piece.offset != 0 || piece.more).then_some(piece);
            IPV6_FRAGMENT_HEADER_LEN
        } else {
            (usize::from(header[1]) + 1) * 8
        };
        let next = header[0];
        at += length;
        if at > end {
            return Err(PacketError::Truncated);
        }
        protocol = next;
        // Behind the header of a later fragment stands data, not another header.
        if fragment.is_some_and(|piece| piece.offset != 0) {
            break;
        }
    }
    Ok(UpperLayer { protocol, at, fragment })
}

/// Header fields of a packet that the engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Who it claims to come from.
    pub source: IpAddr,
    /// Where it goes; of the same family as `source`.
    pub destination: IpAddr,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// Bytes behind the header(s).
    pub payload_len: usize,
    /// Set for a piece of a larger datagram.
    pub fragment: Option<Fragment>,
}

impl IpHeader {
    /// Bytes that [`IpHeader::emit`] writes.
    pub fn len(&self) -> usize {
        match (self.destination, self.fragment) {
            (IpAddr::V4(_), _) => IPV4_HEADER_LEN,
            (IpAddr::V6(_), None) => IPV6_HEADER_LEN,
            (IpAddr::V6(_), Some(_)) => IPV6_HEADER_LEN + IPV6_FRAGMENT_HEADER_LEN,
        }
    }

    /// Never: a header has a length. Present because `len` is.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header(s) into the front of `out`.
    ///
    /// # Panics
    /// When `out` is too short, the families differ, or the payload exceeds what a length field
    /// can say: all three are the caller's to rule out.
    pub fn emit(&self, out: &mut [u8]) {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.emit_v4(source, destination, out);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.emit_v6(source, destination, out);
            }
            (source, destination) => panic!("mixed families: {source} to {destination}"),
        }
    }

    fn emit_v4(&self, source: Ipv4Addr, destination: Ipv4Addr, out: &mut [u8]) {
        let out = &mut out[..IPV4_HEADER_LEN];
        out.fill(0);
        out[0] = 0x45;
        out[2..4].copy_from_slice(&length_field(IPV4_HEADER_LEN + self.payload_len));
        let flags = match self.fragment {
            Some(piece) => {
                // The low 16 bits are the IPv4 field.
                out[4..6].copy_from_slice(&(piece.identification as u16).to_be_bytes());
                (piece.offset / 8) as u16 | if piece.more { 0x2000 } else { 0 }
            }
            None => 0x4000,
        };
        out[6..8].copy_from_slice(&flags.to_be_bytes());
        out[8] = self.hop_limit;
        out[9] = self.protocol;
        out[12..16].copy_from_slice(&source.octets());
        out[16..20].copy_from_slice(&destination.octets());
        let sum = checksum::finish(checksum::sum(out));
        out[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn emit_v6(&self, source: Ipv6Addr, destination: Ipv6Addr, out: &mut [u8]) {
        let extra = self.len() - IPV6_HEADER_LEN;
        let out = &mut out[..IPV6_HEADER_LEN + extra];
        out.fill(0);
        out[0] = 0x60;
        out[4..6].copy_from_slice(&length_field(extra + self.payload_len));
        out[6] = if extra == 0 { self.protocol } else { FRAGMENT };
        out[7] = self.hop_limit;
        out[8..24].copy_from_slice(&source.octets());
        out[24..40].copy_from_slice(&destination.octets());
        if let Some(piece) = self.fragment {
            out[40] = self.protocol;
            let field = (piece.offset as u16 & 0xfff8) | u16::from(piece.more);
            out[42..44].copy_from_slice(&field.to_be_bytes());
            out[44..48].copy_from_slice(&piece.identification.to_be_bytes());
        }
    }
}

fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a packet of at most 65,535 bytes").to_be_bytes()
}

/// Cuts an unfragmented packet to `payload_len` upper-layer bytes by rewriting its length field
/// and, for IPv4, its header checksum.
pub fn truncate(packet: &mut [u8], parsed: &IpPacket, payload_len: usize) {
    let end = parsed.payload.start + payload_len;
    match parsed.destination {
        IpAddr::V4(_) => {
            packet[2..4].copy_from_slice(&length_field(end));
            packet[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(&packet[..parsed.payload.start]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        IpAddr::V6(_) => packet[4..6].copy_from_slice(&length_field(end - IPV6_HEADER_LEN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(v6: bool, fragment: Option<Fragment>) -> IpHeader {
        let (source, destination) = if v6 {
            ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
        } else {
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
        };
        IpHeader {
            source,
            destination,
            protocol: Protocol::UDP,
            hop_limit: 64,
            payload_len: 24,
            fragment,
        }
    }

    fn parse(v6: bool, packet: &[u8]) -> Result<IpPacket, PacketError> {
        if v6 { IpPacket::parse_v6(packet) } else { IpPacket::parse_v4(packet) }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let piece = Fragment { identification: 0xbeef, offset: 1480, more: true };
        for v6 in [false, true] {
            for fragment in [None, Some(piece)] {
                let header = header(v6, fragment);
                let mut packet = vec![0; header.len() + 24 + 5];
                header.emit(&mut packet);
                let parsed = parse(v6, &packet).unwrap();
                assert_eq!(parsed.source, header.source);
                assert_eq!(parsed.destination, header.destination);
                assert_eq!(parsed.protocol, Protocol::UDP);
                assert_eq!(parsed.fragment, fragment);
                assert_eq!(parsed.payload, header.len()..header.len() + 24, "padding is cut");
            }
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        for v6 in [false, true] {
            let header = header(v6, None);
            let mut packet = vec![0; header.len() + 24];
            header.emit(&mut packet);
            for length in 0..packet.len() {
                assert!(parse(v6, &packet[..length]).is_err(), "{length} of v6={v6}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_an_ipv4_header_is_refused() {
        let header = header(false, None);
        let mut packet = vec![0; header.len() + 24];
        header.emit(&mut packet);
        packet[15] ^= 1;
        assert_eq!(IpPacket::parse_v4(&packet), Err(PacketError::HeaderChecksum));
    }

    #[test]
    fn routing_headers_and_endless_chains_are_refused() {
        let mut packet = vec![0; 40 + 16];
        header(true, None).emit(&mut packet);
        packet[6] = ROUTING;
        packet[4..6].copy_from_slice(&16u16.to_be_bytes());
        assert_eq!(IpPacket::parse_v6(&packet), Err(PacketError::ExtensionHeader));
        let mut packet = vec![0; 40 + 8 * 20];
        header(true, None).emit(&mut packet);
        packet[4..6].copy_from_slice(&160u16.to_be_bytes());
        packet[6] = DESTINATION_OPTIONS;
        for at in (40..200).step_by(8) {
            packet[at] = DESTINATION_OPTIONS;
        }
        assert_eq!(IpPacket::parse_v6(&packet), Err(PacketError::ExtensionHeader));
    }

    #[test]
    fn truncation_leaves_a_valid_packet() {
        for v6 in [false, true] {
            let header = header(v6, None);
            let mut packet = vec![0; header.len() + 24];
            header.emit(&mut packet);
            let parsed = parse(v6, &packet).unwrap();
            truncate(&mut packet, &parsed, 10);
            assert_eq!(parse(v6, &packet).unwrap().payload.len(), 10);
        }
    }
}
