//! What an engine is made with.
//!
//! Owns the union of the user's configuration and the facts that the shell found out about its
//! link. Parsing and validation are the types crate's.

use portreeve_types::{Addressing, Announce, DnsConfig, Egress, Limits, SourceMode};

/// What the link to the guest can take unfinished, and its MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOffloads {
    /// Partial TCP and UDP checksums are accepted and may arrive.
    pub checksum: bool,
    /// TCP super-segments over IPv4 are accepted.
    pub tso4: bool,
    /// TCP super-segments over IPv6 are accepted.
    pub tso6: bool,
    /// Several UDP datagrams of one flow are accepted in one frame (USO). Takes partial checksums.
    pub uso: bool,
}

impl LinkOffloads {
    /// A link that takes only complete frames.
    pub const NONE: Self = Self { checksum: false, tso4: false, tso6: false, uso: false };
}

/// Configuration of an [`Engine`](crate::Engine).
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of the guest and of the gateway that stands for the engine.
    pub addressing: Addressing,
    /// What the guest is told beyond its addresses, when it asks.
    pub announce: Announce,
    /// Bounds of every table, queue and buffer.
    pub limits: Limits,
    /// Source that guests see where a published port names none.
    pub source: SourceMode,
    /// The gateway's name server; `None` for a gateway without one.
    pub dns: Option<DnsConfig>,
    /// What the guest's own connections may do.
    pub egress: Egress,
    /// What the link can take.
    pub link: LinkOffloads,
    /// Secret for hashing and sequence numbers: from the system's entropy in production, fixed in
    /// a simulation.
    pub seed: [u64; 2],
}

impl Default for Config {
    /// Default addresses and limits, a link without offloads and a fixed seed.
    fn default() -> Self {
        Self {
            addressing: Addressing::default(),
            announce: Announce::default(),
            limits: Limits::default(),
            source: SourceMode::Gateway,
            dns: Some(DnsConfig::default()),
            egress: Egress::default(),
            link: LinkOffloads::NONE,
            seed: [0x9e37_79b9_7f4a_7c15, 0xf39c_c060_5ced_c834],
        }
    }
}
