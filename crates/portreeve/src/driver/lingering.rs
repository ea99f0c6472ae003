//! Sockets that are to be reset once their client has taken what was written before.
//!
//! A guest that sends and then resets has sent: its bytes were acknowledged to it and must arrive
//! before the reset does. The kernel tells nobody when a send queue has emptied, so it is asked, at
//! once and then at growing intervals.

use std::time::Duration;

use portreeve_core::Instant;
use portreeve_host::Stream;

use super::Driver;

/// First and longest interval between two looks at a socket.
const FIRST_CHECK: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_millis(250);
/// A client that takes nothing for this long is reset with bytes left over.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Lingering {
    sockets: Vec<Socket>,
}

struct Socket {
    stream: Stream,
    unsent: usize,
    interval: Duration,
    next: Instant,
    give_up: Instant,
}

impl Lingering {
    /// Resets a socket now if its client has everything, else as soon as it has.
    pub(super) fn reset(&mut self, stream: Stream, now: Instant) {
        match stream.unsent() {
            Ok(unsent) if unsent > 0 => self.sockets.push(Socket {
                stream,
                unsent,
                interval: FIRST_CHECK,
                next: now + FIRST_CHECK,
                give_up: now + PATIENCE,
            }),
            Ok(_) | Err(_) => stream.reset(),
        }
    }

    pub(super) fn next_check(&self) -> Option<Instant> {
        self.sockets.iter().map(|socket| socket.next).min()
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Bytes that the clients have yet to take.
    pub(super) fn unsent(&self) -> usize {
        self.sockets.iter().map(|socket| socket.unsent).sum()
    }

    fn check(&mut self, now: Instant) {
        for socket in self.sockets.extract_if(.., |socket| socket.is_over(now)) {
            socket.stream.reset();
        }
    }
}

impl Socket {
    fn is_over(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let unsent = self.stream.unsent().unwrap_or(0);
        if unsent < self.unsent {
            self.give_up = now + PATIENCE;
        }
        self.unsent = unsent;
        self.interval = (self.interval * 2).min(LONGEST_INTERVAL);
        self.next = now + self.interval;
        unsent == 0 || now >= self.give_up
    }
}

impl Driver {
    pub(super) fn check_lingering(&mut self, now: Instant) {
        let before = self.lingering.len();
        self.lingering.check(now);
        if self.lingering.len() < before {
            self.listeners.descriptor_freed();
        }
    }
}
