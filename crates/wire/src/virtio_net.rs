//! The virtio-net header that precedes each frame on links with offloads.
//!
//! Owns the twelve bytes of `virtio_net_hdr_v1` and nothing of the frame behind them: whether
//! its offsets fit that frame is for the reader of the frame to check. The byte order is always
//! little endian, which every link asks its transport for.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §5.1.6.

/// Length of the header: `virtio_net_hdr_v1`, with `num_buffers` always present.
pub const VIRTIO_NET_HDR_LEN: usize = 12;

/// What kind of super-segment follows, and so how it is to be cut.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum GsoType {
    /// One packet as it goes on the wire.
    #[default]
    None,
    /// A TCP segment over IPv4 larger than the MTU.
    Tcp4,
    /// A TCP segment over IPv6 larger than the MTU.
    Tcp6,
    /// Several UDP datagrams of one flow, of equal length but for the last (USO).
    UdpL4,
}

/// The header before a frame: what the sender left for the receiver to finish.
///
/// The default says nothing is left: checksums are complete and the frame is one packet.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct VirtioNetHdr {
    /// The checksum at `csum_start + csum_offset` holds only the pseudo-header's sum and is to
    /// be completed over everything from `csum_start` on.
    pub needs_csum: bool,
    /// The sender vouches for the checksums in the frame.
    pub data_valid: bool,
    /// How the frame is to be cut.
    pub gso: GsoType,
    /// The TCP super-segment carries CWR, which only its first segment may show.
    pub ecn: bool,
    /// Length of the headers each cut segment repeats. A hint; not to be trusted.
    pub hdr_len: u16,
    /// Payload bytes of each cut segment.
    pub gso_size: u16,
    /// Where checksumming starts, from the first byte of the frame.
    pub csum_start: u16,
    /// Where the checksum is stored, from `csum_start`.
    pub csum_offset: u16,
    /// Number of receive buffers the frame was spread over; of meaning inside a virtqueue only.
    pub num_buffers: u16,
}

impl VirtioNetHdr {
    /// Reads the header at the start of `bytes`.
    ///
    /// `None` when `bytes` are too few or the kind of super-segment is one we do not know
    /// (among them the obsolete UFO): a frame that cannot be cut must not be passed on.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; VIRTIO_NET_HDR_LEN] = bytes.first_chunk()?;
        let flags = bytes[field::FLAGS];
        let gso_type = bytes[field::GSO_TYPE];
        let gso = match gso_type & !GSO_ECN {
            GSO_NONE => GsoType::None,
            GSO_TCPV4 => GsoType::Tcp4,
            GSO_TCPV6 => GsoType::Tcp6,
            GSO_UDP_L4 => GsoType::UdpL4,
            _ => return None,
        };
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            needs_csum: flags & F_NEEDS_CSUM != 0,
            data_valid: flags & F_DATA_VALID != 0,
            gso,
            ecn: gso_type & GSO_ECN != 0,
            hdr_len: word(field::HDR_LEN),
            gso_size: word(field::GSO_SIZE),
            csum_start: word(field::CSUM_START),
            csum_offset: word(field::CSUM_OFFSET),
            num_buffers: word(field::NUM_BUFFERS),
        })
    }

    /// Writes the header to the start of `bytes`.
    ///
    /// # Panics
    /// When `bytes` is shorter than [`VIRTIO_NET_HDR_LEN`].
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut flags = 0;
        if self.needs_csum {
            flags |= F_NEEDS_CSUM;
        }
        if self.data_valid {
            flags |= F_DATA_VALID;
        }
        let mut gso_type = match self.gso {
            GsoType::None => GSO_NONE,
            GsoType::Tcp4 => GSO_TCPV4,
            GsoType::Tcp6 => GSO_TCPV6,
            GsoType::UdpL4 => GSO_UDP_L4,
        };
        if self.ecn {
            gso_type |= GSO_ECN;
        }
        let header = &mut bytes[..VIRTIO_NET_HDR_LEN];
        header[field::FLAGS] = flags;
        header[field::GSO_TYPE] = gso_type;
        for (at, value) in [
            (field::HDR_LEN, self.hdr_len),
            (field::GSO_SIZE, self.gso_size),
            (field::CSUM_START, self.csum_start),
            (field::CSUM_OFFSET, self.csum_offset),
            (field::NUM_BUFFERS, self.num_buffers),
        ] {
            header[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
}

mod field {
    pub(super) const FLAGS: usize = 0;
    pub(super) const GSO_TYPE: usize = 1;
    pub(super) const HDR_LEN: usize = 2;
    pub(super) const GSO_SIZE: usize = 4;
    pub(super) const CSUM_START: usize = 6;
    pub(super) const CSUM_OFFSET: usize = 8;
    pub(super) const NUM_BUFFERS: usize = 10;
}

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_twelve_zero_bytes() {
        let mut bytes = [0xff; 14];
        VirtioNetHdr::default().emit(&mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(VirtioNetHdr::parse(&bytes), Some(VirtioNetHdr::default()));
    }

    #[test]
    fn layout_is_that_of_the_specification() {
        let header = VirtioNetHdr {
            needs_csum: true,
            data_valid: false,
            gso: GsoType::Tcp6,
            ecn: true,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
            num_buffers: 0x090a,
        };
        let mut bytes = [0; VIRTIO_NET_HDR_LEN];
        header.emit(&mut bytes);
        assert_eq!(bytes, [1, 0x84, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9]);
        assert_eq!(VirtioNetHdr::parse(&bytes), Some(header));
    }

    #[test]
    fn every_kind_survives_the_round_trip() {
        for gso in [GsoType::None, GsoType::Tcp4, GsoType::Tcp6, GsoType::UdpL4] {
            for (ecn, needs_csum, data_valid) in
                [(false, false, false), (true, false, true), (false, true, false)]
            {
                let header =
                    VirtioNetHdr { gso, ecn, needs_csum, data_valid, ..VirtioNetHdr::default() };
                let mut bytes = [0xaa; VIRTIO_NET_HDR_LEN];
                header.emit(&mut bytes);
                assert_eq!(VirtioNetHdr::parse(&bytes), Some(header));
            }
        }
    }

    #[test]
    fn unknown_kinds_and_short_input_are_refused() {
        let known = [0u8, 1, 4, 5];
        for kind in 0..=0xffu8 {
            let mut bytes = [0; VIRTIO_NET_HDR_LEN];
            bytes[1] = kind;
            assert_eq!(
                VirtioNetHdr::parse(&bytes).is_some(),
                known.contains(&(kind & 0x7f)),
                "gso_type {kind:#x}"
            );
        }
        assert_eq!(VirtioNetHdr::parse(&[0; VIRTIO_NET_HDR_LEN - 1]), None);
        assert_eq!(VirtioNetHdr::parse(&[]), None);
    }
}
