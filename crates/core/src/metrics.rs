//! Counters and distributions of one engine: plain numbers, added to in place, read as a copy.
//!
//! Owns no exposition format and no clock; the control plane names and renders them.

use std::time::Duration;

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
    /// How long destinations of the guest's connections took to answer: from its SYN until the
    /// host's socket was connected. Those that never did are not in it.
    pub dial: Histogram,
    /// How long the guest took to answer when a connection was opened: from our SYN to its SYN-ACK,
    /// and from our SYN-ACK to its acknowledgement. Of a segment that was repeated the first counts.
    pub guest_rtt: Histogram,
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

/// A distribution of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Observations between the bound before and this one; the last are beyond all bounds.
    buckets: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// The upper bounds of the buckets, in rising order. Beyond the last is one more bucket.
    pub const BOUNDS: [Duration; 19] = [
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(60),
    ];

    /// Adds one observation.
    pub fn observe(&mut self, time: Duration) {
        self.buckets[Self::BOUNDS.partition_point(|&bound| bound < time)] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// Each bound with the number of observations of at most it, in rising order; how many are
    /// beyond the last one, [`count`](Self::count) says.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        Self::BOUNDS.into_iter().zip(counts)
    }

    /// All observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_within_its_bound_and_all_above() {
        assert!(Histogram::BOUNDS.is_sorted_by(|a, b| a < b));
        let mut histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.sum()), (0, Duration::ZERO));
        let micros = |micros| Duration::from_micros(micros);
        for time in [0, 50, 51, 2_500, 2_501, 60_000_000, 60_000_001, 1 << 60].map(micros) {
            histogram.observe(time);
        }
        let counts: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6]);
        assert_eq!(histogram.count(), 8);
        assert_eq!(histogram.sum(), micros((1 << 60) + 120_005_103));
        assert_eq!(histogram.cumulative().next(), Some((micros(50), 2)));
        histogram.observe(Duration::MAX);
        assert_eq!(histogram.sum(), Duration::MAX, "and no further");
    }
}
