//! TCP segments (RFC 9293 §3.1): a checked view, the maximum-segment-size option, and the
//! segments without data that the engine makes itself.
//!
//! Owns the header layout. Never keeps state and never judges a sequence number.

use std::net::IpAddr;

use crate::checksum;
use crate::packet::Protocol;

/// Length of a TCP header without options.
pub const TCP_HEADER_LEN: usize = 20;
/// Offset of the checksum field in a TCP header.
pub const TCP_CHECKSUM_OFFSET: u16 = 16;

const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_PSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;

const OPTION_SEGMENT_SIZE: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;
const OPTION_TIMESTAMPS: u8 = 8;

/// Header fields of a segment, checked to lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHeader {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number of the first byte (or of the SYN).
    pub sequence: u32,
    /// Acknowledgement number; meaningful only with [`TcpHeader::ack`].
    pub acknowledgement: u32,
    /// Window as it stands in the header, unscaled.
    pub window: u16,
    /// Header length in bytes, options included.
    pub header_len: usize,
    /// SYN flag.
    pub syn: bool,
    /// ACK flag.
    pub ack: bool,
    /// FIN flag.
    pub fin: bool,
    /// RST flag.
    pub rst: bool,
}

impl TcpHeader {
    /// Reads the header of `segment`; `None` when it does not fit or the data offset is wrong.
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let fixed: &[u8; TCP_HEADER_LEN] = segment.first_chunk()?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < TCP_HEADER_LEN || header_len > segment.len() {
            return None;
        }
        let flags = fixed[13];
        Some(Self {
            source_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            destination_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            sequence: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            acknowledgement: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            header_len,
            syn: flags & FLAG_SYN != 0,
            ack: flags & FLAG_ACK != 0,
            fin: flags & FLAG_FIN != 0,
            rst: flags & FLAG_RST != 0,
        })
    }
}

/// Finds the maximum segment size a SYN carries. RFC 9293 §3.2.
pub fn max_segment_size(segment: &[u8]) -> Option<u16> {
    let at = max_segment_size_at(segment)?;
    Some(u16::from_be_bytes([segment[at], segment[at + 1]]))
}

/// Overwrites the maximum segment size of a SYN, where the option is present.
///
/// The checksum is left as it is: the caller rewrites only segments whose checksum it has already
/// verified, or fills in afterwards.
pub fn set_max_segment_size(segment: &mut [u8], size: u16) -> bool {
    match max_segment_size_at(segment) {
        Some(at) => {
            segment[at..at + 2].copy_from_slice(&size.to_be_bytes());
            true
        }
        None => false,
    }
}

/// The shift that a SYN's window scale option announces. RFC 7323 §2.2.
pub fn window_scale(segment: &[u8]) -> Option<u8> {
    option_at(segment, OPTION_WINDOW_SCALE, 3).map(|at| segment[at])
}

/// Whether every option of a segment ends where it should and has the length that its kind must
/// have. RFC 9293 §3.1, RFC 7323 §2.2 and §3.2, RFC 2018 §2 and §3.
pub fn has_sound_options(segment: &[u8]) -> bool {
    let Some(header) = TcpHeader::parse(segment) else { return false };
    let mut rest = &segment[TCP_HEADER_LEN..header.header_len];
    loop {
        let length = match *rest {
            [] | [0, ..] => return true,
            [1, ..] => 1,
            [kind, length, ..] => {
                let length = usize::from(length);
                let sound = match kind {
                    OPTION_SEGMENT_SIZE => length == 4,
                    OPTION_WINDOW_SCALE => length == 3,
                    OPTION_SACK_PERMITTED => length == 2,
                    OPTION_SACK => matches!(length, 10 | 18 | 26 | 34),
                    OPTION_TIMESTAMPS => length == 10,
                    _ => length >= 2,
                };
                if !sound {
                    return false;
                }
                length
            }
            [_] => return false,
        };
        let Some(next) = rest.get(length..) else { return false };
        rest = next;
    }
}

fn max_segment_size_at(segment: &[u8]) -> Option<usize> {
    option_at(segment, OPTION_SEGMENT_SIZE, 4)
}

/// Where the value of an option stands. RFC 9293 §3.1: kinds 0 and 1 have no length byte.
fn option_at(segment: &[u8], wanted: u8, wanted_length: usize) -> Option<usize> {
    let end = TcpHeader::parse(segment)?.header_len;
    let mut at = TCP_HEADER_LEN;
    while at < end {
        match segment[at] {
            0 => return None,
            1 => at += 1,
            kind => {
                let length = usize::from(*segment.get(at + 1)?);
                if length < 2 || at + length > end {
                    return None;
                }
                if kind == wanted && length == wanted_length {
                    return Some(at + 2);
                }
                at += length;
            }
        }
    }
    None
}

/// Clears FIN and PSH: what a segment says about its last byte does not hold once that byte has
/// been cut off.
pub fn clear_end_flags(segment: &mut [u8]) {
    if let Some(flags) = segment.get_mut(13) {
        *flags &= !(FLAG_FIN | FLAG_PSH);
    }
}

/// A segment without data, made by the engine outside any socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlSegment {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; `None` leaves the ACK flag off.
    pub acknowledgement: Option<u32>,
    /// Whether it is a reset; otherwise it is an acknowledgement.
    pub reset: bool,
    /// Whether it ends the stream.
    pub fin: bool,
    /// Window to advertise, unscaled.
    pub window: u16,
}

impl ControlSegment {
    /// The reset that answers a segment nobody expects. RFC 9293 §3.10.7.1.
    ///
    /// `None` for a segment that is itself a reset: those are never answered.
    pub fn reset_for(header: &TcpHeader, payload_len: usize) -> Option<Self> {
        if header.rst {
            return None;
        }
        let (sequence, acknowledgement) = if header.ack {
            (header.acknowledgement, None)
        } else {
            // The low 32 bits are meant: sequence numbers wrap.
            let length = payload_len as u32 + u32::from(header.syn) + u32::from(header.fin);
            (0, Some(header.sequence.wrapping_add(length)))
        };
        Some(Self {
            source_port: header.destination_port,
            destination_port: header.source_port,
            sequence,
            acknowledgement,
            reset: true,
            fin: false,
            window: 0,
        })
    }

    /// Writes the segment into the first 20 bytes of `out`, checksum included.
    ///
    /// # Panics
    /// When `out` is shorter than [`TCP_HEADER_LEN`].
    pub fn emit(&self, source: IpAddr, destination: IpAddr, out: &mut [u8]) {
        let out = &mut out[..TCP_HEADER_LEN];
        out.fill(0);
        out[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        out[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        out[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        out[8..12].copy_from_slice(&self.acknowledgement.unwrap_or(0).to_be_bytes());
        out[12] = 5 << 4;
        out[13] = if self.reset { FLAG_RST } else { 0 }
            | if self.fin { FLAG_FIN } else { 0 }
            | if self.acknowledgement.is_some() { FLAG_ACK } else { 0 };
        out[14..16].copy_from_slice(&self.window.to_be_bytes());
        let sum = checksum::pseudo_header(source, destination, Protocol::TCP, TCP_HEADER_LEN)
            + checksum::sum(out);
        out[16..18].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn_with(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; TCP_HEADER_LEN + options.len()];
        segment[12] = ((segment.len() / 4) as u8) << 4;
        segment[13] = FLAG_SYN;
        segment[TCP_HEADER_LEN..].copy_from_slice(options);
        segment
    }

    #[test]
    fn the_segment_size_is_found_behind_other_options() {
        let mut segment = syn_with(&[1, 3, 3, 7, 2, 4, 0x05, 0xb4]);
        assert_eq!(max_segment_size(&segment), Some(1460));
        assert!(set_max_segment_size(&mut segment, 9000));
        assert_eq!(max_segment_size(&segment), Some(9000));
    }

    #[test]
    fn broken_options_end_the_search() {
        for options in [[2, 0, 5, 0xb4], [2, 9, 5, 0xb4], [0, 2, 4, 5], [3, 1, 2, 4]] {
            assert_eq!(max_segment_size(&syn_with(&options)), None, "{options:?}");
        }
    }

    #[test]
    fn options_are_sound_when_each_has_its_length() {
        let sound: [&[u8]; 6] = [
            &[],
            &[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 0, 0],
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            &[0, 9, 9, 9],
            &[253, 4, 0, 0],
            &[1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 9],
        ];
        for options in sound {
            assert!(has_sound_options(&syn_with(options)), "{options:?}");
        }
        let broken: [&[u8]; 8] = [
            &[2, 0, 5, 0xb4],
            &[2, 3, 5, 1],
            &[3, 2, 1, 1],
            &[8, 4, 0, 0],
            &[5, 2, 0, 0],
            &[253, 1, 0, 0],
            &[253, 9, 0, 0],
            &[1, 1, 1, 2],
        ];
        for options in broken {
            assert!(!has_sound_options(&syn_with(options)), "{options:?}");
        }
    }

    #[test]
    fn a_data_offset_beyond_the_segment_is_refused() {
        let mut segment = syn_with(&[]);
        segment[12] = 0xf0;
        assert_eq!(TcpHeader::parse(&segment), None);
        segment[12] = 0x40;
        assert_eq!(TcpHeader::parse(&segment), None);
    }

    #[test]
    fn a_refused_syn_gets_a_reset_that_acknowledges_it() {
        let mut segment = syn_with(&[]);
        segment[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let header = TcpHeader::parse(&segment).unwrap();
        let reset = ControlSegment::reset_for(&header, 0).unwrap();
        assert_eq!((reset.sequence, reset.acknowledgement), (0, Some(0)));
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut out = [0; TCP_HEADER_LEN];
        reset.emit(a, b, &mut out);
        assert!(checksum::verify(a, b, Protocol::TCP, &out));
        let parsed = TcpHeader::parse(&out).unwrap();
        assert!(parsed.rst && parsed.ack);
        assert_eq!(ControlSegment::reset_for(&parsed, 0), None);
    }
}
