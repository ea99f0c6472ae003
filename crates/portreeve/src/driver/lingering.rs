//! Sockets that are to be reset once their client has taken what was written before.
//!
//! A guest that sends and then resets has sent: its bytes were acknowledged to it and must arrive
//! before the reset does. The kernel tells nobody when a send queue has emptied, so it is asked, at
//! once and then at growing intervals.

use std::collections::BTreeMap;
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
    /// By when each is next looked at, and a number that tells equal times apart.
    sockets: BTreeMap<(Instant, u64), Socket>,
    next_number: u64,
    unsent: usize,
}

struct Socket {
    stream: Stream,
    unsent: usize,
    interval: Duration,
    give_up: Instant,
}

impl Lingering {
    /// Resets a socket now if its client has everything, else as soon as it has.
    pub(super) fn reset(&mut self, stream: Stream, now: Instant) {
        match stream.unsent() {
            Ok(unsent) if unsent > 0 => {
                let give_up = now + PATIENCE;
                self.keep(Socket { stream, unsent, interval: FIRST_CHECK, give_up }, now);
            }
            Ok(_) | Err(_) => stream.reset(),
        }
    }

    pub(super) fn next_check(&self) -> Option<Instant> {
        self.sockets.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Bytes that the clients have yet to take, as far as is known.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    fn keep(&mut self, socket: Socket, now: Instant) {
        self.unsent += socket.unsent;
        self.next_number += 1;
        self.sockets.insert((now + socket.interval, self.next_number), socket);
    }

    fn check(&mut self, now: Instant) {
        while let Some(entry) = self.sockets.first_entry().filter(|entry| entry.key().0 <= now) {
            let mut socket = entry.remove();
            self.unsent -= socket.unsent;
            let unsent = socket.stream.unsent().unwrap_or(0);
            if unsent < socket.unsent {
                socket.give_up = now + PATIENCE;
            }
            socket.unsent = unsent;
            socket.interval = (socket.interval * 2).min(LONGEST_INTERVAL);
            if unsent == 0 || now >= socket.give_up {
                socket.stream.reset();
            } else {
                self.keep(socket, now);
            }
        }
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
