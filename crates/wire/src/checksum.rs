//! The Internet checksum (RFC 1071) and its pseudo-headers (RFC 9293 §3.1, RFC 8200 §8.1).
//!
//! Owns the arithmetic; knows no packet layout beyond the pseudo-header.

use std::net::IpAddr;

/// Sums `data` as big-endian 16-bit words in one's complement, without folding the carries away.
///
/// The result can be added to other sums of an even number of bytes, then closed by [`finish`].
pub fn sum(data: &[u8]) -> u64 {
    // RFC 1071 §2 (B): the sum does not depend on byte order, so wide native words are added
    // and swapped once at the end. Two lanes keep the adds independent of each other.
    let (mut even, mut odd) = (0u64, 0u64);
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes([
            chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
        ]);
        even += word & 0xffff_ffff;
        odd += word >> 32;
    }
    let mut tail = [0u8; 8];
    tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    let word = u64::from_ne_bytes(tail);
    even += word & 0xffff_ffff;
    odd += word >> 32;
    u64::from(u16::from_be(fold(fold_wide(even) + fold_wide(odd))))
}

/// Closes a sum: folds the carries and complements.
pub fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// Folds a sum to 16 bits without complementing, as a partial checksum is stored.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop leaves at most 16 bits.
    (sum & 0xffff) as u16
}

fn fold_wide(sum: u64) -> u64 {
    u64::from(fold(sum))
}

/// Sum of the pseudo-header of an upper-layer packet of `length` bytes.
///
/// Both addresses must be of one family; a mixed pair sums both as they are.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    let length = length as u64;
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    };
    address(source)
        + address(destination)
        + u64::from(protocol)
        + (length >> 16)
        + (length & 0xffff)
}

/// Whether the checksum inside an upper-layer packet fits.
pub fn verify(source: IpAddr, destination: IpAddr, protocol: u8, packet: &[u8]) -> bool {
    fold(pseudo_header(source, destination, protocol, packet.len()) + sum(packet)) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 §3 works this sum by hand.
    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn any_length_equals_the_word_by_word_sum() {
        let data: Vec<u8> = (0..300u32).map(|i| (i * 7 + 3) as u8).collect();
        for length in 0..data.len() {
            let slow: u64 = data[..length]
                .chunks(2)
                .map(|pair| {
                    u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
                })
                .sum();
            assert_eq!(fold(sum(&data[..length])), fold(slow), "length {length}");
        }
    }

    #[test]
    fn sixty_four_kibibytes_of_ones_do_not_overflow() {
        assert_eq!(fold(sum(&vec![0xff; 65_536])), 0xffff);
    }
}
