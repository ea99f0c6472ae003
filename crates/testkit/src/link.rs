//! One direction of a simulated link between engine and guest.
//!
//! Owns frames in flight: when they arrive, whether they arrive at all, how many fit. Looks into
//! none of them. Seeded, so that a run repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve_core::Instant;

use crate::random::Random;

/// How one direction behaves.
#[derive(Clone, Copy, Debug)]
pub struct LinkSpec {
    /// Time a frame takes.
    pub latency: Duration,
    /// Frames lost, in a thousand.
    pub loss: u16,
    /// Frames that arrive twice, in a thousand.
    pub duplication: u16,
    /// Frames that are overtaken by later ones, in a thousand.
    pub reordering: u16,
    /// Frames in flight before the link is full and takes no more.
    pub capacity: usize,
}

impl LinkSpec {
    /// A link as a TAP is: in order, nothing lost, 20 µs.
    pub const PERFECT: Self = Self {
        latency: Duration::from_micros(20),
        loss: 0,
        duplication: 0,
        reordering: 0,
        capacity: 512,
    };

    /// A link that does everything a link may do.
    pub const ROUGH: Self = Self {
        latency: Duration::from_micros(300),
        loss: 20,
        duplication: 10,
        reordering: 50,
        capacity: 64,
    };
}

/// Frames on their way.
#[derive(Debug)]
pub struct LinkDirection {
    /// How it behaves; may be changed at any time.
    pub spec: LinkSpec,
    /// While set, frames are taken until the link is full, and none arrives.
    pub stalled: bool,
    random: Random,
    flight: BTreeMap<(Instant, u64), Vec<u8>>,
    in_order: Instant,
    count: u64,
    lost: u64,
}

impl LinkDirection {
    /// An empty direction.
    pub const fn new(spec: LinkSpec, seed: u64) -> Self {
        Self {
            spec,
            stalled: false,
            random: Random::new(seed),
            flight: BTreeMap::new(),
            in_order: Instant::ZERO,
            count: 0,
            lost: 0,
        }
    }

    /// Whether another frame fits.
    pub fn has_room(&self) -> bool {
        self.flight.len() < self.spec.capacity
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.flight.is_empty()
    }

    /// Frames taken so far.
    pub const fn sent(&self) -> u64 {
        self.count
    }

    /// Frames lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a frame.
    ///
    /// # Panics
    /// When the link is full: the sender has to ask first.
    pub fn send(&mut self, frame: Vec<u8>, now: Instant) {
        assert!(self.has_room(), "a full link was given a frame");
        self.count += 1;
        if self.random.chance(self.spec.loss) {
            self.lost += 1;
            return;
        }
        let mut at = (now + self.spec.latency).max(self.in_order);
        if self.random.chance(self.spec.reordering) {
            // Later frames do not wait for this one.
            at = at + self.spec.latency * (1 + self.random.below(4) as u32);
        } else {
            self.in_order = at;
        }
        if self.random.chance(self.spec.duplication) {
            let again = at + self.spec.latency * (self.random.below(8) as u32);
            self.flight.insert((again, self.count << 1 | 1), frame.clone());
        }
        self.flight.insert((at, self.count << 1), frame);
    }

    /// When the next frame arrives.
    pub fn next_at(&self) -> Option<Instant> {
        if self.stalled {
            return None;
        }
        self.flight.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.stalled || self.next_at()? > now {
            return None;
        }
        self.flight.pop_first().map(|(_, frame)| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_link_keeps_order_and_a_rough_one_does_not() {
        for (spec, perfect) in [(LinkSpec::PERFECT, true), (LinkSpec::ROUGH, false)] {
            let mut link = LinkDirection::new(LinkSpec { capacity: 4000, ..spec }, 5);
            for number in 0..1000u32 {
                link.send(number.to_be_bytes().to_vec(), Instant::from_micros(u64::from(number)));
            }
            let end = Instant::from_micros(10_000_000);
            let arrived: Vec<_> = std::iter::from_fn(|| link.receive(end)).collect();
            let whole: Vec<_> = (0..1000u32).map(|n| n.to_be_bytes().to_vec()).collect();
            assert_eq!(arrived == whole, perfect);
            assert_eq!(link.lost() == 0, perfect);
        }
    }
}
