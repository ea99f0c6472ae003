//! A run as one number: two runs that agree in it took the same steps.

use crate::random::mix;

/// Hash over everything that passed, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace(u64);

impl Trace {
    /// Adds one number.
    pub fn number(&mut self, value: u64) {
        self.0 = mix(self.0.rotate_left(5) ^ value);
    }

    /// Adds bytes and their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut state = self.0 ^ bytes.len() as u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(0x2127_599b_f432_5c37);
            state ^= state >> 29;
        }
        for &byte in rest {
            state = (state ^ u64::from(byte)).wrapping_mul(0x2127_599b_f432_5c37);
        }
        self.0 = mix(state);
    }

    /// The hash so far.
    pub const fn value(self) -> u64 {
        self.0
    }
}
