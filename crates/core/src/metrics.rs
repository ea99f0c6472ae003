//! Counters of one engine: plain numbers, added to in place, read as a copy.
//!
//! Owns no exposition format and no clock; the control plane names and renders them.

use crate::drop_reason::DropReason;

/// Totals since the engine was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames received from the guest.
    pub frames_from_guest: u64,
    /// Bytes in those frames, Ethernet headers included.
    pub bytes_from_guest: u64,
    /// Frames handed out for the guest.
    pub frames_to_guest: u64,
    /// Bytes in those frames, Ethernet headers included.
    pub bytes_to_guest: u64,
    /// TCP connections that reached the guest.
    pub flows_opened: u64,
    /// TCP connections that ended.
    pub flows_closed: u64,
    /// Connections refused before they reached the guest, or by it.
    pub flows_refused: u64,
    /// Connections, datagrams and echoes of the guest that did not get where they wanted to go.
    pub egress_refused: u64,
    /// UDP and echo mappings that the guest has opened.
    pub mappings_opened: u64,
    /// Datagrams and echo messages taken from the host for the guest.
    pub datagrams_to_guest: u64,
    /// Datagrams and echo messages of the guest handed out for the host.
    pub datagrams_from_guest: u64,
    /// Addresses that the guest declined because somebody else has them.
    pub leases_declined: u64,
    drops: Vec<u64>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { drops: vec![0; DropReason::ALL.len()], ..Self::default() }
    }

    pub(crate) fn drop(&mut self, reason: DropReason, count: u64) {
        self.drops[reason as usize] += count;
    }

    /// How often something was dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    /// All drops, whatever their reason.
    pub fn total_drops(&self) -> u64 {
        self.drops.iter().sum()
    }
}
