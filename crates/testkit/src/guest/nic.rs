//! The guest's network card: what frames must look like, and the work that offloads leave to it.
//!
//! Owns the judgement of every frame that the engine hands out: one that no real card, kernel or
//! guest would take ends the test. Cuts super-segments and joined datagrams as a card would, and
//! makes the former.

use std::net::IpAddr;

use portreeve_core::LinkOffloads;
use portreeve_wire::ethernet::{BROADCAST, ETHERNET_HEADER_LEN, EtherType, EthernetHeader};
use portreeve_wire::packet::{IpPacket, Protocol};
use portreeve_wire::tcp::{TCP_CHECKSUM_OFFSET, TcpHeader};
use portreeve_wire::udp::{UDP_CHECKSUM_OFFSET, UDP_HEADER_LEN, UdpHeader};
use portreeve_wire::{GsoType, VIRTIO_NET_HDR_LEN, VirtioNetHdr, checksum, icmp};

use crate::packet::ethernet;

/// The card's side of the link.
#[derive(Clone, Copy, Debug)]
pub struct Nic {
    /// The guest's hardware address.
    pub mac: [u8; 6],
    /// The gateway's, to which everything is sent.
    pub gateway_mac: [u8; 6],
    /// What the link offered the engine.
    pub offers: LinkOffloads,
    /// Largest packet on the link.
    pub mtu: usize,
}

/// A packet that arrived, cut to size, its checksums complete.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its Ethernet header.
    pub header: EthernetHeader,
    /// What is behind it.
    pub packet: Vec<u8>,
}

impl Nic {
    /// Takes a frame, virtio-net header first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn receive(&self, frame: &[u8]) -> Result<Vec<Arrived>, String> {
        let link = VirtioNetHdr::parse(frame).ok_or("no virtio-net header")?;
        let frame = &frame[VIRTIO_NET_HDR_LEN..];
        let header = EthernetHeader::parse(frame).ok_or("shorter than an Ethernet header")?;
        ensure(header.source == self.gateway_mac, "it does not come from the gateway")?;
        let group = header.destination == BROADCAST || header.destination[..2] == [0x33, 0x33];
        ensure(group || header.destination == self.mac, "it is not for the guest")?;
        let packet = &frame[ETHERNET_HEADER_LEN..];
        let parsed = match header.ethertype {
            EtherType::Arp => {
                ensure(link == VirtioNetHdr::default(), "ARP with offloads")?;
                return Ok(vec![Arrived { header, packet: packet.to_vec() }]);
            }
            EtherType::Ipv4 => IpPacket::parse_v4(packet),
            EtherType::Ipv6 => IpPacket::parse_v6(packet),
            EtherType::Other(other) => return Err(format!("EtherType {other:#06x}")),
        };
        let ip = parsed.map_err(|error| format!("{error:?}"))?;
        ensure(ip.payload.end == packet.len(), "the length field does not fit the frame")?;
        self.judge(&link, packet, &ip)?;
        let packets = match link.gso {
            GsoType::None => {
                ensure(packet.len() <= self.mtu, "it is larger than the MTU")?;
                vec![complete(&link, packet, &ip)]
            }
            GsoType::Tcp4 | GsoType::Tcp6 => self.cut(&link, packet, &ip)?,
            GsoType::UdpL4 => self.cut_datagrams(&link, packet, &ip)?,
        };
        Ok(packets.into_iter().map(|packet| Arrived { header, packet }).collect())
    }

    /// Checksums, complete or partial as the header says.
    fn judge(&self, link: &VirtioNetHdr, packet: &[u8], ip: &IpPacket) -> Result<(), String> {
        let upper = &packet[ip.payload.clone()];
        if link.needs_csum {
            ensure(self.offers.checksum, "a partial checksum that the link does not take")?;
            ensure(ip.fragment.is_none(), "a partial checksum on a fragment")?;
            let offset =
                checksum_offset(ip.protocol).ok_or("a partial checksum on neither TCP nor UDP")?;
            ensure(
                usize::from(link.csum_start) == ETHERNET_HEADER_LEN + ip.payload.start
                    && link.csum_offset == offset,
                "the checksum's place is wrong",
            )?;
            let at = usize::from(offset);
            let sum = checksum::pseudo_header(ip.source, ip.destination, ip.protocol, upper.len());
            ensure(
                upper.get(at..at + 2) == Some(&checksum::fold(sum).to_be_bytes()),
                "the partial checksum is not the pseudo-header's",
            )?;
            if ip.protocol == Protocol::UDP {
                let header = UdpHeader::parse(upper).ok_or("a malformed UDP header")?;
                ensure(header.payload.end == upper.len(), "the UDP length does not fit")?;
            }
            return Ok(());
        }
        ensure(link.gso == GsoType::None, "a super-segment without a partial checksum")?;
        let fits = match ip.protocol {
            _ if ip.fragment.is_some() => true,
            Protocol::TCP => verify(ip, upper),
            Protocol::UDP => {
                let header = UdpHeader::parse(upper).ok_or("a malformed UDP header")?;
                ensure(header.payload.end == upper.len(), "the UDP length does not fit")?;
                ensure(header.has_checksum, "a UDP datagram without a checksum")?;
                verify(ip, upper)
            }
            Protocol::ICMP | Protocol::ICMPV6 => icmp::verify(ip.source, ip.destination, upper),
            other => return Err(format!("protocol {other}")),
        };
        ensure(fits, "a wrong checksum")
    }

    /// Cuts a super-segment. Virtual I/O Device 1.2 §5.1.6.4.
    fn cut(
        &self,
        link: &VirtioNetHdr,
        packet: &[u8],
        ip: &IpPacket,
    ) -> Result<Vec<Vec<u8>>, String> {
        let offered = match ip.source {
            IpAddr::V4(_) => self.offers.tso4 && link.gso == GsoType::Tcp4,
            IpAddr::V6(_) => self.offers.tso6 && link.gso == GsoType::Tcp6,
        };
        ensure(offered, "a super-segment that the link does not take")?;
        let segment = &packet[ip.payload.clone()];
        let header = TcpHeader::parse(segment).ok_or("a malformed TCP header")?;
        let headers = ip.payload.start + header.header_len;
        let size = usize::from(link.gso_size);
        ensure(!header.syn && !header.rst, "a super-segment with SYN or RST")?;
        ensure(size != 0 && packet.len() - headers > size, "nothing to cut")?;
        ensure(
            usize::from(link.hdr_len) == ETHERNET_HEADER_LEN + headers,
            "hdr_len is not the length of the headers",
        )?;
        ensure(headers + size <= self.mtu, "the cut segments are larger than the MTU")?;
        let mut out = Vec::new();
        let mut at = headers;
        while at < packet.len() {
            let end = packet.len().min(at + size);
            let mut piece = packet[..headers].to_vec();
            piece.extend_from_slice(&packet[at..end]);
            let sequence = header.sequence.wrapping_add((at - headers) as u32);
            let tcp = ip.payload.start;
            piece[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
            if end != packet.len() {
                // FIN and PSH belong to the last.
                piece[tcp + 13] &= !0x09;
            }
            set_length(&mut piece, ip);
            fill_checksum(&mut piece, ip);
            out.push(piece);
            at = end;
        }
        Ok(out)
    }

    /// Cuts a frame of several datagrams, as strictly as Linux does and stricter where it would
    /// put up with senders that waste its time.
    fn cut_datagrams(
        &self,
        link: &VirtioNetHdr,
        packet: &[u8],
        ip: &IpPacket,
    ) -> Result<Vec<Vec<u8>>, String> {
        ensure(self.offers.uso, "joined datagrams that the link does not take")?;
        ensure(ip.protocol == Protocol::UDP, "joined datagrams that are not UDP")?;
        ensure(packet.len() <= 65_535, "longer than a packet can be")?;
        let udp = ip.payload.start;
        let headers = udp + UDP_HEADER_LEN;
        let size = usize::from(link.gso_size);
        ensure(size != 0 && packet.len() - headers > size, "nothing to cut")?;
        ensure(
            usize::from(link.hdr_len) == ETHERNET_HEADER_LEN + headers,
            "hdr_len is not the length of the headers",
        )?;
        ensure(headers + size <= self.mtu, "the cut datagrams are larger than the MTU")?;
        let payloads = packet[headers..].chunks(size);
        ensure(payloads.len() <= UDP_MAX_SEGMENTS, "more datagrams than Linux cuts")?;
        let cut = payloads.map(|payload| {
            let mut piece = packet[..headers].to_vec();
            piece.extend_from_slice(payload);
            let length = (UDP_HEADER_LEN + payload.len()) as u16;
            piece[udp + 4..udp + 6].copy_from_slice(&length.to_be_bytes());
            set_length(&mut piece, ip);
            fill_checksum(&mut piece, ip);
            piece
        });
        Ok(cut.collect())
    }

    /// Makes a frame of a packet, with what the link may leave unfinished left unfinished.
    ///
    /// `segment` is the size to which the receiver would have to cut a larger TCP segment.
    pub fn transmit(&self, packet: &[u8], segment: Option<u16>) -> Vec<u8> {
        let mut link = VirtioNetHdr::default();
        let mut packet = packet.to_vec();
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let parsed = if v6 { IpPacket::parse_v6(&packet) } else { IpPacket::parse_v4(&packet) };
        if let Ok(ip) = parsed
            && ip.protocol == Protocol::TCP
            && self.offers.checksum
            && let Some(header) = TcpHeader::parse(&packet[ip.payload.clone()])
        {
            let length = packet.len() - ip.payload.start;
            let sum = checksum::pseudo_header(ip.source, ip.destination, Protocol::TCP, length);
            let at = ip.payload.start + usize::from(TCP_CHECKSUM_OFFSET);
            packet[at..at + 2].copy_from_slice(&checksum::fold(sum).to_be_bytes());
            link.needs_csum = true;
            link.csum_start = (ETHERNET_HEADER_LEN + ip.payload.start) as u16;
            link.csum_offset = TCP_CHECKSUM_OFFSET;
            if let Some(size) = segment.filter(|&s| length > usize::from(s) + header.header_len) {
                link.gso = if v6 { GsoType::Tcp6 } else { GsoType::Tcp4 };
                link.gso_size = size;
                link.hdr_len = (ETHERNET_HEADER_LEN + ip.payload.start + header.header_len) as u16;
            }
        }
        framed(&link, &ethernet(self.mac, self.gateway_mac, &packet))
    }
}

/// A packet for the link, and the size to which its TCP segment must be cut.
#[derive(Debug)]
pub struct Outgoing {
    pub(super) packet: Vec<u8>,
    pub(super) segment: Option<u16>,
}

impl Outgoing {
    pub(super) const fn plain(packet: Vec<u8>) -> Self {
        Self { packet, segment: None }
    }
}

/// A frame behind its virtio-net header.
pub fn framed(link: &VirtioNetHdr, frame: &[u8]) -> Vec<u8> {
    let mut out = vec![0; VIRTIO_NET_HDR_LEN];
    link.emit(&mut out);
    out.extend_from_slice(frame);
    out
}

fn complete(link: &VirtioNetHdr, packet: &[u8], ip: &IpPacket) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if link.needs_csum {
        fill_checksum(&mut packet, ip);
    }
    packet
}

fn verify(ip: &IpPacket, upper: &[u8]) -> bool {
    checksum::verify(ip.source, ip.destination, ip.protocol, upper)
}

fn set_length(packet: &mut [u8], ip: &IpPacket) {
    // A piece is no longer than the whole, which fitted.
    match ip.source {
        IpAddr::V4(_) => {
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(&packet[..ip.payload.start]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        IpAddr::V6(_) => {
            let length = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Completes the checksum of a TCP segment or UDP datagram.
pub(crate) fn fill_checksum(packet: &mut [u8], ip: &IpPacket) {
    let Some(at) = checksum_offset(ip.protocol).map(usize::from) else { return };
    let upper = &mut packet[ip.payload.start..];
    upper[at..at + 2].fill(0);
    let sum = checksum::pseudo_header(ip.source, ip.destination, ip.protocol, upper.len())
        + checksum::sum(upper);
    let value = match checksum::finish(sum) {
        // RFC 768: zero would mean "none".
        0 if ip.protocol == Protocol::UDP => u16::MAX,
        value => value,
    };
    upper[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

const fn checksum_offset(protocol: u8) -> Option<u16> {
    match protocol {
        Protocol::TCP => Some(TCP_CHECKSUM_OFFSET),
        Protocol::UDP => Some(UDP_CHECKSUM_OFFSET),
        _ => None,
    }
}

/// Linux before 6.10 cuts no more.
const UDP_MAX_SEGMENTS: usize = 64;

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
