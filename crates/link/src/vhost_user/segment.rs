//! Cutting a super-segment for a guest that takes none.
//!
//! Owns what a network card does with TCP segments and UDP datagrams: headers repeated, lengths,
//! identifications, sequence numbers and flags in each; checksums are left partial, as in what was
//! cut. Never merges.
//!
//! Spec: RFC 791 §3.1, RFC 8200 §3, RFC 9293 §3.1, RFC 768; `segmentation-offloads.rst` of Linux.

use std::net::IpAddr;

use portreeve_wire::{GsoType, VIRTIO_NET_HDR_LEN, VirtioNetHdr, checksum};

/// A super-segment on its way, in pieces.
#[derive(Debug)]
pub(crate) struct Segments {
    frame: Vec<u8>,
    header: VirtioNetHdr,
    ipv6: bool,
    tcp: bool,
    /// Where the transport's header begins, and its payload.
    transport: usize,
    payload: usize,
    /// Payload that is in front of the current piece, and how many pieces.
    at: usize,
    number: u16,
    /// The current piece, with its header.
    piece: Vec<u8>,
}

impl Segments {
    /// Takes a frame with its header; `None` when it is not what its header says.
    pub(crate) fn new(frame: &[u8]) -> Option<Self> {
        let header = VirtioNetHdr::parse(frame)?;
        let frame = frame[VIRTIO_NET_HDR_LEN..].to_vec();
        let ipv6 = is_ipv6(&frame)?;
        let tcp = match header.gso {
            GsoType::None => return None,
            GsoType::Tcp4 if ipv6 => return None,
            GsoType::Tcp6 if !ipv6 => return None,
            GsoType::Tcp4 | GsoType::Tcp6 => true,
            GsoType::UdpL4 => false,
        };
        let transport = usize::from(header.csum_start);
        let least = IP + if ipv6 { 40 } else { 20 };
        let length =
            if tcp { usize::from(*frame.get(transport + 12)? >> 4) * 4 } else { UDP_HEADER_LEN };
        let payload = transport + length;
        let fits = transport >= least && length >= if tcp { 20 } else { UDP_HEADER_LEN };
        let useful = header.needs_csum && header.gso_size > 0 && frame.len() > payload;
        if !fits || !useful {
            return None;
        }
        let piece = Vec::with_capacity(VIRTIO_NET_HDR_LEN + payload + usize::from(header.gso_size));
        let mut segments =
            Self { frame, header, ipv6, tcp, transport, payload, at: 0, number: 0, piece };
        segments.cut();
        Some(segments)
    }

    /// The piece that is due, with its header.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Goes on to the next; whether there is one.
    pub(crate) fn advance(&mut self) -> bool {
        self.at += usize::from(self.header.gso_size);
        self.number = self.number.wrapping_add(1);
        let more = self.payload + self.at < self.frame.len();
        if more {
            self.cut();
        }
        more
    }

    fn cut(&mut self) {
        let all = &self.frame[self.payload..];
        let end = all.len().min(self.at + usize::from(self.header.gso_size));
        let last = end == all.len();
        self.piece.clear();
        self.piece.resize(VIRTIO_NET_HDR_LEN, 0);
        let offset = if self.tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        VirtioNetHdr {
            needs_csum: true,
            csum_start: self.header.csum_start,
            csum_offset: u16::try_from(offset).unwrap_or_default(),
            ..VirtioNetHdr::default()
        }
        .emit(&mut self.piece);
        self.piece.extend_from_slice(&self.frame[..self.payload]);
        self.piece.extend_from_slice(&all[self.at..end]);
        let frame = &mut self.piece[VIRTIO_NET_HDR_LEN..];
        let length = frame.len() - self.transport;
        let protocol = if self.tcp { 6 } else { 17 };
        let pseudo = if self.ipv6 {
            finish_ipv6(frame, protocol, length)
        } else {
            finish_ipv4(frame, protocol, length, self.transport, self.number)
        };
        let transport = &mut frame[self.transport..];
        if self.tcp {
            let at = u32::try_from(self.at).unwrap_or_default();
            finish_tcp(transport, at, last);
        } else {
            put(transport, UDP_LENGTH, length);
        }
        transport[offset..offset + 2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    }
}

/// Whether it is IPv6; `None` when it is not IPv4 either.
pub(crate) fn is_ipv6(frame: &[u8]) -> Option<bool> {
    match frame.get(12..14)? {
        [0x08, 0x00] if frame.len() >= IP + 20 => Some(false),
        [0x86, 0xdd] if frame.len() >= IP + 40 => Some(true),
        _ => None,
    }
}

fn finish_ipv4(
    frame: &mut [u8],
    protocol: u8,
    length: usize,
    transport: usize,
    number: u16,
) -> u64 {
    let ip = &mut frame[IP..transport];
    put(ip, 2, length + ip.len());
    let identification = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(number);
    put(ip, 4, usize::from(identification));
    put(ip, 10, 0);
    let sum = checksum::finish(checksum::sum(ip));
    put(ip, 10, usize::from(sum));
    let address = |at: usize| IpAddr::from([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
    checksum::pseudo_header(address(12), address(16), protocol, length)
}

fn finish_ipv6(frame: &mut [u8], protocol: u8, length: usize) -> u64 {
    let whole = frame.len() - IP - 40;
    let ip = &mut frame[IP..IP + 40];
    put(ip, 4, whole);
    let address =
        |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap_or([0; 16]));
    checksum::pseudo_header(address(8), address(24), protocol, length)
}

/// Sequence number and flags of the piece that begins `at` bytes into the payload.
fn finish_tcp(segment: &mut [u8], at: u32, last: bool) {
    if let Some(sequence) = segment[4..].first_chunk_mut::<4>() {
        *sequence = u32::from_be_bytes(*sequence).wrapping_add(at).to_be_bytes();
    }
    if !last {
        segment[TCP_FLAGS] &= !(FIN | PSH);
    }
    if at > 0 {
        segment[TCP_FLAGS] &= !CWR;
    }
}

fn put(bytes: &mut [u8], at: usize, value: usize) {
    let value = u16::try_from(value).unwrap_or(u16::MAX);
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

const IP: usize = 14;
const UDP_HEADER_LEN: usize = 8;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const FIN: u8 = 1;
const PSH: u8 = 8;
const CWR: u8 = 0x80;
