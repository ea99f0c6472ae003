//! What is moved, and how it is checked: pseudo-random bytes and their SHA-256 (FIPS 180-4).
//!
//! Owns no memory and no socket. The bytes are the same wherever they are made from one seed, and
//! no piece of them repeats, so that a byte lost, doubled or out of place changes the digest.

use sha2::{Digest as _, Sha256};

/// Length of a digest.
pub(super) const DIGEST_LEN: usize = 32;

/// Fills `buffer` with the bytes that belong to `seed`.
pub(super) fn fill(buffer: &mut [u8], seed: u64) {
    let (words, rest) = buffer.as_chunks_mut::<8>();
    let mut state = seed;
    for word in words {
        *word = next(&mut state).to_le_bytes();
    }
    let last = next(&mut state).to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// SHA-256 of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    Sha256::digest(bytes).into()
}

/// SplitMix64: quick enough not to be what is measured.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_content() {
        let (mut a, mut b, mut c) = ([0; 100], [1; 99], [0; 100]);
        fill(&mut a, 7);
        fill(&mut b, 7);
        fill(&mut c, 8);
        assert_eq!(a[..99], b);
        assert_ne!(a, c);
        assert_ne!(a[..48], a[48..96]);
    }

    #[test]
    fn the_digest_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
