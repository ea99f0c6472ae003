//! UDP datagrams (RFC 768): a checked view and the header the engine writes.
//!
//! Owns the eight bytes of the header and its checksum rules. Keeps no state.

use std::net::IpAddr;
use std::ops::Range;

use crate::checksum;
use crate::packet::Protocol;

/// Length of a UDP header.
pub const UDP_HEADER_LEN: usize = 8;
/// Offset of the checksum field in a UDP header.
pub const UDP_CHECKSUM_OFFSET: u16 = 6;
/// Largest UDP payload over IPv4: 65,535 less both headers.
pub const UDP_MAX_PAYLOAD: usize = 65_507;

/// A checked datagram header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// The payload within the datagram.
    pub payload: Range<usize>,
    /// Whether the sender filled in a checksum.
    pub has_checksum: bool,
}

impl UdpHeader {
    /// Reads the header; `None` when the lengths do not fit. Bytes behind the length are ignored.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let fixed: &[u8; UDP_HEADER_LEN] = datagram.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if length < UDP_HEADER_LEN || length > datagram.len() {
            return None;
        }
        Some(Self {
            source_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            destination_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            payload: UDP_HEADER_LEN..length,
            has_checksum: fixed[6] != 0 || fixed[7] != 0,
        })
    }
}

/// Writes a UDP header with a full checksum over `payload` into the front of `out`.
///
/// # Panics
/// When `out` is shorter than a header, or the payload longer than a length field can say.
pub fn emit_header(
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    payload: &[u8],
    out: &mut [u8],
) {
    let length = UDP_HEADER_LEN + payload.len();
    let field = u16::try_from(length).expect("a datagram of at most 65,535 bytes");
    let out = &mut out[..UDP_HEADER_LEN];
    out[0..2].copy_from_slice(&source.1.to_be_bytes());
    out[2..4].copy_from_slice(&destination.1.to_be_bytes());
    out[4..6].copy_from_slice(&field.to_be_bytes());
    out[6..8].fill(0);
    let sum = checksum::pseudo_header(source.0, destination.0, Protocol::UDP, length)
        + checksum::sum(out)
        + checksum::sum(payload);
    // RFC 768: a computed zero is sent as all ones, for zero means "none".
    let value = match checksum::finish(sum) {
        0 => 0xffff,
        value => value,
    };
    out[6..8].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_verifies() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            for length in [0, 1, 2, 1471, 65_507] {
                let payload = vec![0xa5; length];
                let mut datagram = vec![0; UDP_HEADER_LEN];
                emit_header((a, 53), (b, 4000), &payload, &mut datagram);
                datagram.extend_from_slice(&payload);
                let header = UdpHeader::parse(&datagram).unwrap();
                assert_eq!((header.source_port, header.destination_port), (53, 4000));
                assert_eq!(header.payload, 8..8 + length);
                assert!(checksum::verify(a, b, Protocol::UDP, &datagram));
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut datagram = [0; 12];
        for length in [0u16, 7, 13] {
            datagram[4..6].copy_from_slice(&length.to_be_bytes());
            assert_eq!(UdpHeader::parse(&datagram), None);
        }
    }
}
