//! A guest that goes, and the next one.
//!
//! Owns the replacement: the old guest takes its state and whatever was under way along.

use super::Pair;
use crate::guest::Guest;
use crate::link::LinkDirection;

impl Pair {
    /// The guest is gone, without a word.
    pub fn lose_guest(&mut self) {
        let seed = self.random.next_u64();
        self.guest = Guest::new(self.guest_spec, &self.config.addressing, seed);
        self.guest.mute = true;
        self.to_guest = LinkDirection::new(self.to_guest.spec, seed ^ 1);
        self.from_guest = LinkDirection::new(self.from_guest.spec, seed ^ 2);
        self.engine.handle_guest_gone(self.now);
        self.drain();
    }

    /// The next guest, with a hardware address of its own if one is given. It serves nothing yet.
    pub fn next_guest(&mut self, mac: Option<[u8; 6]>) {
        self.lose_guest();
        self.guest.mute = false;
        if let Some(mac) = mac {
            self.guest.nic.mac = mac;
        }
    }
}
