//! Captures that are running.
//!
//! Owns where they look at the guest's frames. All of it is a test of an empty list while there is
//! none.

use super::Driver;
use crate::capture::{Capture, CaptureError, CaptureOptions, CaptureSink};

/// Captures at once: each costs a copy of every frame.
const MAX_CAPTURES: usize = 8;

impl Driver {
    pub(crate) fn start_capture(
        &mut self,
        options: CaptureOptions,
    ) -> Result<Capture, CaptureError> {
        self.end_abandoned_captures();
        if self.captures.len() >= MAX_CAPTURES {
            return Err(CaptureError::TooMany { limit: MAX_CAPTURES });
        }
        let (sink, capture) = CaptureSink::new(options);
        self.captures.push(sink);
        Ok(capture)
    }

    /// Hands over what the turn has captured.
    pub(super) fn flush_captures(&mut self) {
        if self.captures.is_empty() {
            return;
        }
        for capture in &mut self.captures {
            capture.flush();
        }
        self.end_abandoned_captures();
    }

    pub(super) fn captures_are_behind(&self) -> bool {
        self.captures.iter().any(CaptureSink::is_behind)
    }

    fn end_abandoned_captures(&mut self) {
        let lost = &mut self.counters.capture_lost;
        self.captures.retain(|capture| {
            if capture.is_abandoned() {
                *lost += capture.lost();
            }
            !capture.is_abandoned()
        });
    }
}
