//! Telling of what happens often: the first time at once, and what follows together, once a second.
//!
//! Owns the counts that are held back and when they are due. Knows a kind by its number only, and
//! its memory is that of the kinds, however much happens.

use std::time::Duration;

use portreeve_types::Instant;

/// What has been told and what is held back, by kind.
#[derive(Debug)]
pub(crate) struct Throttle {
    kinds: Box<[Kind]>,
    /// When the first of what is held back is due; `None` while nothing is.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    held: u64,
    /// Until then nothing more is told of it.
    quiet_until: Instant,
}

impl Throttle {
    pub(crate) fn new(kinds: usize) -> Self {
        Self { kinds: vec![Kind::default(); kinds].into(), due: None }
    }

    /// `count` more of a kind: how many to tell of now, if any.
    pub(crate) fn note(&mut self, kind: usize, count: u64, now: Instant) -> Option<u64> {
        let noted = &mut self.kinds[kind];
        noted.held += count;
        if now < noted.quiet_until {
            let at = noted.quiet_until;
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
            return None;
        }
        noted.quiet_until = now + INTERVAL;
        let told = std::mem::take(&mut noted.held);
        // More than what has just come: it was due, and is so no longer.
        if told != count {
            self.due = self.first_due();
        }
        Some(told)
    }

    /// When something that is held back is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A kind of which something is held back and due, and how many. Called until there is none.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(usize, u64)> {
        self.due.filter(|&due| due <= now)?;
        let is_due = |kind: &Kind| kind.held != 0 && kind.quiet_until <= now;
        let found = self.kinds.iter().position(is_due);
        let told = found.map(|at| {
            let kind = &mut self.kinds[at];
            kind.quiet_until = now + INTERVAL;
            (at, std::mem::take(&mut kind.held))
        });
        self.due = self.first_due();
        told
    }

    /// Whether nothing is held back of a kind, and the next of it would be told at once.
    pub(crate) fn is_at_rest(&self, kind: usize, now: Instant) -> bool {
        let kind = &self.kinds[kind];
        kind.held == 0 && kind.quiet_until <= now
    }

    /// Walks the kinds: called when something has been told, which is once a second for each.
    fn first_due(&self) -> Option<Instant> {
        let held = self.kinds.iter().filter(|kind| kind.held != 0);
        held.map(|kind| kind.quiet_until).min()
    }
}

/// How long a kind is quiet once it has been told of.
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_together_a_second_later() {
        let mut throttle = Throttle::new(3);
        assert_eq!(throttle.note(1, 1, at(500)), Some(1));
        assert_eq!(throttle.due(), None, "nothing is held back");
        assert_eq!(throttle.note(1, 2, at(600)), None);
        assert_eq!(throttle.note(1, 1, at(1_499)), None);
        assert_eq!(throttle.note(2, 1, at(800)), Some(1), "kinds have nothing to do with another");
        assert_eq!(throttle.note(2, 1, at(900)), None);
        assert_eq!(throttle.due(), Some(at(1_500)));
        assert_eq!(throttle.take_due(at(1_499)), None);
        assert_eq!(throttle.take_due(at(1_500)), Some((1, 3)));
        assert_eq!(throttle.take_due(at(1_500)), None);
        assert_eq!(throttle.due(), Some(at(1_800)));
        assert_eq!(throttle.note(1, 1, at(2_499)), None, "a second after it was told");
        assert_eq!(throttle.take_due(at(9_000)), Some((1, 1)));
        assert_eq!(throttle.take_due(at(9_000)), Some((2, 1)));
        assert_eq!(throttle.take_due(at(9_000)), None);
        assert_eq!(throttle.due(), None);
        assert!(throttle.is_at_rest(0, at(0)) && !throttle.is_at_rest(1, at(9_999)));
        assert!(throttle.is_at_rest(1, at(10_000)));
    }

    #[test]
    fn what_is_due_goes_along_when_the_timer_is_late() {
        let mut throttle = Throttle::new(1);
        assert_eq!(throttle.note(0, 1, at(0)), Some(1));
        assert_eq!(throttle.note(0, 5, at(10)), None);
        assert_eq!(throttle.note(0, 1, at(1_200)), Some(6));
        assert_eq!((throttle.due(), throttle.take_due(at(5_000))), (None, None));
    }
}
