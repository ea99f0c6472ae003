//! What is offered to a front end and its guest, and what they chose.
//!
//! Owns the bits and what follows from them; no state beyond.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §5.1.3, §6; `docs/interop/vhost-user.rst` of QEMU.

use portreeve_wire::GsoType;

/// Device features, as the driver acknowledges them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Features(pub(crate) u64);

impl Features {
    /// What is offered. Several queue pairs are not offered unless they are wanted: Linux refuses a
    /// device that offers them without the control queue that User-Mode Linux' front end lacks.
    pub(crate) fn offered(queue_pairs: u16) -> Self {
        let several = if queue_pairs > 1 { bit::MQ } else { 0 };
        Self(OFFERED | several)
    }

    pub(crate) fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Bytes of the header in front of each frame in a ring.
    pub(crate) fn header_len(self) -> usize {
        if self.0 & (bit::VERSION_1 | bit::MRG_RXBUF) == 0 { LEGACY_HEADER_LEN } else { 12 }
    }

    pub(crate) fn mergeable(self) -> bool {
        self.has(bit::MRG_RXBUF)
    }

    pub(crate) fn event_idx(self) -> bool {
        self.has(bit::EVENT_IDX)
    }

    /// Whether rings wait for being enabled.
    pub(crate) fn protocol_features(self) -> bool {
        self.has(bit::PROTOCOL_FEATURES)
    }

    /// Whether the guest completes checksums.
    pub(crate) fn guest_checksum(self) -> bool {
        self.has(bit::GUEST_CSUM)
    }

    /// Whether the guest takes a frame of this kind uncut.
    pub(crate) fn takes(self, gso: GsoType, ipv6: bool) -> bool {
        let wanted = match gso {
            GsoType::None => return true,
            GsoType::Tcp4 => bit::GUEST_TSO4,
            GsoType::Tcp6 => bit::GUEST_TSO6,
            GsoType::UdpL4 if ipv6 => bit::GUEST_USO6,
            GsoType::UdpL4 => bit::GUEST_USO4,
        };
        self.has(wanted | bit::GUEST_CSUM)
    }
}

mod bit {
    pub(super) const CSUM: u64 = 1 << 0;
    pub(super) const GUEST_CSUM: u64 = 1 << 1;
    pub(super) const GUEST_TSO4: u64 = 1 << 7;
    pub(super) const GUEST_TSO6: u64 = 1 << 8;
    pub(super) const GUEST_ECN: u64 = 1 << 9;
    pub(super) const HOST_TSO4: u64 = 1 << 11;
    pub(super) const HOST_TSO6: u64 = 1 << 12;
    pub(super) const HOST_ECN: u64 = 1 << 13;
    pub(super) const MRG_RXBUF: u64 = 1 << 15;
    pub(super) const MQ: u64 = 1 << 22;
    pub(super) const INDIRECT_DESC: u64 = 1 << 28;
    pub(super) const EVENT_IDX: u64 = 1 << 29;
    pub(super) const PROTOCOL_FEATURES: u64 = 1 << 30;
    pub(super) const VERSION_1: u64 = 1 << 32;
    pub(super) const GUEST_USO4: u64 = 1 << 54;
    pub(super) const GUEST_USO6: u64 = 1 << 55;
    pub(super) const HOST_USO: u64 = 1 << 56;
}

const OFFERED: u64 = bit::CSUM
    | bit::GUEST_CSUM
    | bit::GUEST_TSO4
    | bit::GUEST_TSO6
    | bit::GUEST_ECN
    | bit::HOST_TSO4
    | bit::HOST_TSO6
    | bit::HOST_ECN
    | bit::MRG_RXBUF
    | bit::INDIRECT_DESC
    | bit::EVENT_IDX
    | bit::PROTOCOL_FEATURES
    | bit::VERSION_1
    | bit::GUEST_USO4
    | bit::GUEST_USO6
    | bit::HOST_USO;

/// Drivers older than version 1 have no `num_buffers` unless buffers are merged.
const LEGACY_HEADER_LEN: usize = 10;

/// Features of the protocol itself.
pub(crate) mod protocol {
    const MQ: u64 = 1 << 0;
    pub(crate) const REPLY_ACK: u64 = 1 << 3;
    const NET_MTU: u64 = 1 << 4;
    /// Nothing is ever asked of the front end; User-Mode Linux' does not start without it.
    const BACKEND_REQ: u64 = 1 << 5;
    const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;

    pub(crate) const OFFERED: u64 = MQ | REPLY_ACK | NET_MTU | BACKEND_REQ | CONFIGURE_MEM_SLOTS;
}
