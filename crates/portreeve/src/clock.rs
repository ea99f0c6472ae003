//! The shell's clock: where the core's time comes from.

use std::time::SystemTime;

use portreeve_core::Instant;

/// Microseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
    started: SystemTime,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: std::time::Instant::now(), started: SystemTime::now() }
    }

    /// The system's time when it was made.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
