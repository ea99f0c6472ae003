//! Fragments of datagrams: cutting those for the guest, joining those it sends.
//!
//! Owns the arithmetic of offsets for both families, which differ only in where the fields stand
//! and in how much a header takes ([`Pieces`]), and the bounded reassembly table
//! (`reassembly.rs`). Only UDP is ever fragmented here: TCP never is (RFC 9293 §3.7), and
//! fragments that nobody asked for are where stacks break.

pub(crate) mod reassembly;

use std::net::IpAddr;
use std::ops::Range;

use portreeve_wire::checksum;
use portreeve_wire::packet::{
    Fragment, IPV4_HEADER_LEN, IPV6_FRAGMENT_HEADER_LEN, IPV6_HEADER_LEN, Protocol,
};

/// The stretches of a datagram that fit into packets of one MTU, in order.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    length: usize,
    at: usize,
    /// Upper-layer bytes per fragment, a multiple of eight; the whole when it fits unfragmented.
    step: usize,
    identification: u32,
    done: bool,
}

impl Pieces {
    pub(crate) fn new(length: usize, mtu: usize, v6: bool, identification: u32) -> Self {
        let (header, fragment_header) =
            if v6 { (IPV6_HEADER_LEN, IPV6_FRAGMENT_HEADER_LEN) } else { (IPV4_HEADER_LEN, 0) };
        let step = if header + length <= mtu {
            length
        } else {
            // RFC 791 §3.2, RFC 8200 §4.5: all but the last are a multiple of eight bytes.
            mtu.saturating_sub(header + fragment_header).max(8) & !7
        };
        Self { length, at: 0, step, identification, done: false }
    }

    /// The next stretch, with its fragment fields unless it is the whole.
    pub(crate) fn next(&mut self) -> Option<(Range<usize>, Option<Fragment>)> {
        if self.done {
            return None;
        }
        let range = self.at..self.length.min(self.at + self.step);
        self.done = range.end == self.length;
        let whole = range == (0..self.length);
        let fragment = (!whole).then(|| Fragment {
            identification: self.identification,
            offset: u32::try_from(range.start).unwrap_or(u32::MAX),
            more: !self.done,
        });
        self.at = range.end;
        Some((range, fragment))
    }

    /// Whether it is one packet that needs no fragments.
    pub(crate) fn is_whole(&self) -> bool {
        self.step >= self.length
    }

    /// Whether the last stretch has been given out.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }
}

/// Fills in the checksum of a whole TCP packet whose TCP header stands at `upper`.
pub(crate) fn fill_tcp_checksum(packet: &mut [u8], upper: usize) {
    let address = |v6: bool, at: usize| -> IpAddr {
        if v6 {
            let mut octets = [0u8; 16];
            octets.copy_from_slice(&packet[at..at + 16]);
            octets.into()
        } else {
            IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
        }
    };
    let v6 = upper == IPV6_HEADER_LEN;
    let (source, destination) = if v6 {
        (address(true, 8), address(true, 24))
    } else {
        (address(false, 12), address(false, 16))
    };
    let length = packet.len() - upper;
    let at = upper + 16;
    packet[at..at + 2].fill(0);
    let sum = checksum::pseudo_header(source, destination, Protocol::TCP, length)
        + checksum::sum(&packet[upper..]);
    packet[at..at + 2].copy_from_slice(&checksum::finish(sum).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(length: usize, mtu: usize, v6: bool) -> Vec<(Range<usize>, Option<Fragment>)> {
        let mut pieces = Pieces::new(length, mtu, v6, 7);
        std::iter::from_fn(|| pieces.next()).collect()
    }

    #[test]
    fn what_fits_stays_whole_and_one_byte_more_does_not() {
        assert_eq!(all(1480, 1500, false), vec![(0..1480, None)]);
        assert_eq!(all(1460, 1500, true), vec![(0..1460, None)]);
        assert_eq!(all(8, 1500, false), vec![(0..8, None)]);
        assert_eq!(all(1481, 1500, false).len(), 2);
        assert_eq!(all(1461, 1500, true).len(), 2);
    }

    #[test]
    fn pieces_cover_the_datagram_and_fit_the_link() {
        for v6 in [false, true] {
            for length in [1500, 2960, 2961, 9000, 65_515] {
                for mtu in [576, 1280, 1500, 9000] {
                    let pieces = all(length, mtu, v6);
                    let mut at = 0;
                    for (range, fragment) in &pieces {
                        assert_eq!(range.start, at);
                        at = range.end;
                        let header = if v6 { 48 } else { 20 };
                        assert!(fragment.is_none() || header + range.len() <= mtu);
                        if let Some(fragment) = fragment {
                            assert_eq!(fragment.offset as usize, range.start);
                            assert_eq!(fragment.more, range.end != length);
                            assert!(!fragment.more || range.len() % 8 == 0);
                        }
                    }
                    assert_eq!(at, length);
                }
            }
        }
    }
}
