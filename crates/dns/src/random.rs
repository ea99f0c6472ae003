//! Unpredictable numbers from the caller's seed: transaction ids, the case of names, hash keys.
//!
//! Owns the secret. The same seed gives the same numbers in the same order, so a simulation
//! repeats. Upstreams and the guest see some of the numbers, so the generator is a keyed
//! pseudo-random function of a counter, from which others cannot be told.
//! Spec: SipHash-2-4 (Aumasson, Bernstein 2012); RFC 5452 §9.2 (ids that cannot be guessed).

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A stream of unpredictable numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    key: [u64; 2],
    counter: u64,
}

impl Random {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        Self { key, counter: 0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        siphash(self.key, self.counter)
    }

    /// A hasher for a table whose keys the guest chooses.
    pub(crate) fn hasher(&mut self) -> SeedableRandomState {
        SeedableRandomState::with_seed(self.next_u64(), SharedSeed::global_fixed())
    }

    /// Gives each letter of a lower-case name in wire form a case of its own.
    ///
    /// Length octets are below 64 and thus no letters.
    pub(crate) fn mix_case(&mut self, name: &mut [u8]) {
        for chunk in name.chunks_mut(64) {
            let mut bits = self.next_u64();
            for byte in chunk {
                if bits & 1 != 0 {
                    byte.make_ascii_uppercase();
                }
                bits >>= 1;
            }
        }
    }
}

/// SipHash-2-4 of one 8-byte message.
fn siphash(key: [u64; 2], message: u64) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let length = 8_u64 << 56;
    for block in [message, length] {
        v[3] ^= block;
        round(&mut v);
        round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_matches_the_reference_vector() {
        // Appendix A of the paper's reference code: key 00..0f, message 00..07.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, 0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn case_is_mixed_and_lengths_are_not() {
        let mut random = Random::new([1, 2]);
        let name = *b"\x1eabcdefghijklmnopqrstuvwxyzabcd\x03com\x00";
        let mut mixed = name;
        random.mix_case(&mut mixed);
        assert_ne!(mixed, name);
        assert_ne!(mixed, name.to_ascii_uppercase()[..]);
        assert!(mixed.eq_ignore_ascii_case(&name));
        assert_eq!((mixed[0], mixed[31]), (30, 3));
    }
}
