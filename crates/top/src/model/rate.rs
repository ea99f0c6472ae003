//! Rates from counters, and what they were before.
//!
//! Owns the difference between two readings of a counter. Never reads a clock.

use std::collections::VecDeque;
use std::time::Instant;

/// A counter that is read from time to time, and how fast it rises.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    last: Option<(Instant, u64)>,
    per_second: f64,
    history: History,
}

/// The last values of something, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct History {
    values: VecDeque<f64>,
    capacity: usize,
}

impl Rate {
    /// A counter that nobody has read yet; it remembers `capacity` rates.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { last: None, per_second: 0.0, history: History::new(capacity) }
    }

    /// A counter that is known to have stood at zero at `since`.
    pub(crate) fn from_zero(since: Instant, capacity: usize) -> Self {
        Self { last: Some((since, 0)), ..Self::new(capacity) }
    }

    /// Notes that the counter stands at `value`.
    ///
    /// One that has fallen was set back by a new engine: the reading is where the next difference
    /// starts, and no rate. Two readings at one time are one.
    pub(crate) fn read(&mut self, now: Instant, value: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, value));
            return;
        };
        let elapsed = now.saturating_duration_since(then).as_secs_f64();
        if elapsed == 0.0 {
            return;
        }
        self.last = Some((now, value));
        self.per_second = value.saturating_sub(before) as f64 / elapsed;
        self.history.push(self.per_second);
    }

    /// How fast it rises, in units a second; 0 until it was read twice.
    pub(crate) const fn per_second(&self) -> f64 {
        self.per_second
    }

    /// What was last read; 0 until then.
    pub(crate) fn value(&self) -> u64 {
        self.last.map_or(0, |(_, value)| value)
    }

    /// The rates before and now.
    pub(crate) const fn history(&self) -> &History {
        &self.history
    }
}

impl History {
    /// One that remembers `capacity` values.
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { values: VecDeque::new(), capacity }
    }

    /// Adds the newest value and forgets the oldest if there is no room.
    pub(crate) fn push(&mut self, value: f64) {
        if self.values.len() >= self.capacity {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    /// The newest `count` values, oldest first.
    pub(crate) fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.values.range(self.values.len().saturating_sub(count)..).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rate_is_the_difference_over_the_time_between() {
        let start = Instant::now();
        let mut rate = Rate::new(8);
        rate.read(start, 5_000);
        assert_eq!(rate.per_second(), 0.0, "one reading is no rate");
        rate.read(start + Duration::from_millis(500), 6_000);
        assert_eq!(rate.per_second(), 2_000.0);
        rate.read(start + Duration::from_millis(2_500), 6_000);
        assert_eq!(rate.per_second(), 0.0);
        assert_eq!(rate.history().newest(9).collect::<Vec<_>>(), [2_000.0, 0.0]);
    }

    #[test]
    fn a_counter_that_was_set_back_gives_no_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(8);
        rate.read(start, 1_000_000);
        rate.read(start + Duration::from_secs(1), 10);
        assert_eq!(rate.per_second(), 0.0);
        rate.read(start + Duration::from_secs(2), 110);
        assert_eq!(rate.per_second(), 100.0);
    }

    #[test]
    fn readings_at_one_time_or_backwards_are_ignored() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut rate = Rate::from_zero(start, 8);
        rate.read(start, 7);
        rate.read(start - Duration::from_secs(1), 7);
        assert_eq!((rate.value(), rate.per_second()), (0, 0.0));
        rate.read(start + Duration::from_secs(1), 7);
        assert_eq!(rate.per_second(), 7.0);
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_newest() {
        let mut history = History::new(3);
        for value in 0..5 {
            history.push(f64::from(value));
        }
        assert_eq!(history.newest(9).collect::<Vec<_>>(), [2.0, 3.0, 4.0]);
        assert_eq!(history.newest(2).collect::<Vec<_>>(), [3.0, 4.0]);
        assert_eq!(history.newest(9).len(), 3);
    }
}
