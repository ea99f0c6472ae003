//! Packets made by hand: what a scripted guest sends.
//!
//! Owns builders that write whatever they are told, right or wrong, with fitting checksums. The
//! views that judge packets are the wire crate's.

use std::net::{IpAddr, SocketAddr};

use portreeve_wire::checksum;
use portreeve_wire::ethernet::{ETHERNET_HEADER_LEN, EtherType, EthernetHeader};
use portreeve_wire::packet::{DEFAULT_HOP_LIMIT, Fragment, IpHeader, Protocol};
use portreeve_wire::tcp::TCP_HEADER_LEN;
use portreeve_wire::udp::{UDP_HEADER_LEN, emit_header};

/// Flags of a scripted segment.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// A TCP segment, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, written whether or not the flag is set.
    pub acknowledgement: u32,
    /// Flags, of [`flag`].
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options, padded to a multiple of four when written.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Segment {
    /// A bare segment with a full window.
    pub const fn new(from: SocketAddr, to: SocketAddr, flags: u8) -> Self {
        Self {
            from,
            to,
            sequence: 0,
            acknowledgement: 0,
            flags,
            window: 0xffff,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The segment as an IP packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let header_len = TCP_HEADER_LEN + options.len();
        let mut upper = vec![0; header_len];
        upper[0..2].copy_from_slice(&self.from.port().to_be_bytes());
        upper[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        upper[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        upper[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        // At most 60.
        upper[12] = (header_len as u8 / 4) << 4;
        upper[13] = self.flags;
        upper[14..16].copy_from_slice(&self.window.to_be_bytes());
        upper[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        upper[TCP_HEADER_LEN..].copy_from_slice(&options);
        upper.extend_from_slice(&self.payload);
        let sum = checksum::pseudo_header(self.from.ip(), self.to.ip(), Protocol::TCP, upper.len())
            + checksum::sum(&upper);
        upper[16..18].copy_from_slice(&checksum::finish(sum).to_be_bytes());
        ip(self.from.ip(), self.to.ip(), Protocol::TCP, &upper, None)
    }
}

/// The maximum-segment-size option.
pub fn segment_size_option(size: u16) -> [u8; 4] {
    let [high, low] = size.to_be_bytes();
    [2, 4, high, low]
}

/// The window-scale option behind a no-operation.
pub const fn window_scale_option(shift: u8) -> [u8; 4] {
    [1, 3, 3, shift]
}

/// An IP packet around `upper`.
pub fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    upper: &[u8],
    fragment: Option<Fragment>,
) -> Vec<u8> {
    let hop_limit = if protocol == Protocol::ICMPV6 { 255 } else { 64 };
    let header =
        IpHeader { source, destination, protocol, hop_limit, payload_len: upper.len(), fragment };
    let mut packet = vec![0; header.len()];
    header.emit(&mut packet);
    packet.extend_from_slice(upper);
    packet
}

/// A UDP datagram from its header on.
pub fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut upper = vec![0; UDP_HEADER_LEN];
    emit_header((from.ip(), from.port()), (to.ip(), to.port()), payload, &mut upper);
    upper.extend_from_slice(payload);
    upper
}

/// A UDP datagram as packets of at most `mtu` bytes.
pub fn fragments(
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
    mtu: usize,
    identification: u32,
) -> Vec<Vec<u8>> {
    let upper = datagram(from, to, payload);
    pieces(from.ip(), to.ip(), Protocol::UDP, &upper, mtu, identification)
}

/// Upper-layer bytes as packets of at most `mtu` bytes.
pub fn pieces(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    upper: &[u8],
    mtu: usize,
    identification: u32,
) -> Vec<Vec<u8>> {
    let header = if from.is_ipv6() { 40 } else { 20 };
    let packet = |piece: &[u8], fragment| {
        with_hop_limit(ip(from, to, protocol, piece, fragment), DEFAULT_HOP_LIMIT)
    };
    if header + upper.len() <= mtu {
        return vec![packet(upper, None)];
    }
    let step = (mtu - header - if from.is_ipv6() { 8 } else { 0 }) & !7;
    let count = upper.len().div_ceil(step);
    let pieces = upper.chunks(step).enumerate();
    pieces
        .map(|(nth, piece)| {
            let offset = (nth * step) as u32;
            let more = nth + 1 != count;
            packet(piece, Some(Fragment { identification, offset, more }))
        })
        .collect()
}

/// A packet with another hop limit.
pub fn with_hop_limit(mut packet: Vec<u8>, hop_limit: u8) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[7] = hop_limit;
    } else {
        packet[8] = hop_limit;
        fill_header_checksum(&mut packet);
    }
    packet
}

/// An IPv4 packet that may be cut on its way, or may not.
pub fn with_dont_fragment(mut packet: Vec<u8>, dont_fragment: bool) -> Vec<u8> {
    packet[6] = packet[6] & !0x40 | if dont_fragment { 0x40 } else { 0 };
    fill_header_checksum(&mut packet);
    packet
}

fn fill_header_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = checksum::finish(checksum::sum(&packet[..20]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// An Ethernet frame around an IP packet, the EtherType by the packet's version.
pub fn ethernet(source: [u8; 6], destination: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let ethertype = if v6 { EtherType::Ipv6 } else { EtherType::Ipv4 };
    let mut frame = vec![0; ETHERNET_HEADER_LEN];
    EthernetHeader { destination, source, ethertype }.emit(&mut frame);
    frame.extend_from_slice(packet);
    frame
}
