//! The engine as a whole: what its counters say, and how fast they rise.

use std::time::Instant;

use portreeve_types::api;

use super::Rate;

/// Counters of the whole engine.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Bytes to the guest, Ethernet headers included.
    pub(crate) to_guest: Rate,
    /// Bytes from the guest, Ethernet headers included.
    pub(crate) from_guest: Rate,
    /// Frames to the guest.
    pub(crate) frames_to_guest: Rate,
    /// Frames from the guest.
    pub(crate) frames_from_guest: Rate,
    /// TCP connections that reached the guest or its destination.
    pub(crate) opened: Rate,
    /// Clients of published ports that were refused, and what was refused to the guest.
    pub(crate) refused: Rate,
    /// Microseconds in which the engine's loop was busy.
    busy: Rate,
    /// Flows as they are.
    pub(crate) flows: api::FlowGauges,
    /// The loop and its sockets as they are.
    pub(crate) driver: api::DriverStats,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            to_guest: Rate::new(HISTORY),
            from_guest: Rate::new(HISTORY),
            frames_to_guest: Rate::new(1),
            frames_from_guest: Rate::new(1),
            opened: Rate::new(1),
            refused: Rate::new(1),
            busy: Rate::new(1),
            flows: api::FlowGauges::default(),
            driver: api::DriverStats::default(),
        }
    }
}

impl Totals {
    /// Takes in what the engine has counted.
    pub(crate) fn update(&mut self, now: Instant, stats: &api::Stats) {
        self.to_guest.read(now, stats.traffic.bytes_to_guest);
        self.from_guest.read(now, stats.traffic.bytes_from_guest);
        self.frames_to_guest.read(now, stats.traffic.frames_to_guest);
        self.frames_from_guest.read(now, stats.traffic.frames_from_guest);
        self.opened.read(now, stats.flows.opened);
        self.refused.read(now, stats.flows.refused.saturating_add(stats.flows.egress_refused));
        self.busy.read(now, (stats.driver.busy_seconds * 1e6) as u64);
        self.flows = stats.flows.clone();
        self.driver = stats.driver;
    }

    /// The share of the time in which the loop is busy, from 0 to 1.
    pub(crate) fn busy(&self) -> f64 {
        (self.busy.per_second() / 1e6).min(1.0)
    }
}

/// Rates that are remembered: as many as the sparkline is wide at most.
const HISTORY: usize = 240;
