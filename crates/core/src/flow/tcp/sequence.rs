//! Choosing smoltcp's initial sequence number from outside.
//!
//! Owns one trick. smoltcp draws its sequence numbers from a small generator that it seeds once
//! per `Interface` and that a guest could predict. RFC 6528 wants a keyed hash that moves forward
//! for each reuse of a 4-tuple. The released crate has no setting for it, but the generator is a
//! bijection, so the seed that makes its second draw (the first is the interface's IPv4
//! identification) come out as a given number can be computed, and a throw-away `Interface` with
//! that seed does the dial. The test below fails should a new smoltcp draw differently.

/// Multiplier and increment of the generator (smoltcp 0.14, `rand.rs`).
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;

/// The seed whose second 32-bit draw is `wanted`.
pub(super) fn seed_for(wanted: u32) -> u64 {
    let inverse = inverse(MULTIPLIER);
    let back = |state: u64| state.wrapping_sub(INCREMENT).wrapping_mul(inverse);
    // The output is the state shifted right by 29 less its top three bits. With those all ones the
    // shift is 22, and bits 22..54 are the output; the low bits are free.
    for low in 0..1u64 << 22 {
        let second = 0b111 << 61 | u64::from(wanted) << 22 | low;
        let first = back(second);
        // A zero 16-bit identification would be drawn again and shift the sequence.
        let draw = (first >> (29 - (first >> 61))) as u32;
        if (draw ^ draw >> 16) & 0xffff != 0 {
            return back(first);
        }
    }
    unreachable!("one in 65,536 states draws a zero identification")
}

/// Inverse modulo 2^64 of an odd number, by Newton's iteration: each round doubles the good bits.
fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    for _ in 0..6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_inverts() {
        assert_eq!(MULTIPLIER.wrapping_mul(inverse(MULTIPLIER)), 1);
    }
}
