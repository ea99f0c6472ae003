//! What a byte stream carries: a function of the stream's name and of the offset.
//!
//! Owns that function and its check. The first eight bytes of a stream are its name, so a receiver
//! knows whose bytes it has and notices any that are lost, doubled, out of order or from another
//! stream, without either side keeping what was sent.

use crate::random::mix;

/// Names one direction of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Writes what `stream` carries from `offset` on into `out`.
pub fn fill(stream: StreamId, offset: u64, out: &mut [u8]) {
    let mut at = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let word = word(stream, at / 8).to_le_bytes();
        // Below eight.
        let skip = (at % 8) as usize;
        let length = rest.len().min(8 - skip);
        let (head, tail) = rest.split_at_mut(length);
        head.copy_from_slice(&word[skip..skip + length]);
        rest = tail;
        at += length as u64;
    }
}

/// The first `length` bytes of `stream`.
pub fn bytes(stream: StreamId, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    fill(stream, 0, &mut out);
    out
}

fn word(stream: StreamId, index: u64) -> u64 {
    if index == 0 { stream.0 } else { mix(stream.0 ^ index.wrapping_mul(0xff51_afd7_ed55_8ccd)) }
}

/// Checks a stream as it arrives.
#[derive(Clone, Debug, Default)]
pub struct StreamCheck {
    head: [u8; 8],
    length: u64,
}

impl StreamCheck {
    /// Takes the next bytes.
    ///
    /// # Panics
    /// When they are not what the stream carries here.
    pub fn push(&mut self, received: &[u8]) {
        let mut received = received;
        while self.length < 8 && !received.is_empty() {
            self.head[self.length as usize] = received[0];
            self.length += 1;
            received = &received[1..];
        }
        let stream = StreamId(u64::from_le_bytes(self.head));
        let mut expected = [0; 1024];
        for chunk in received.chunks(expected.len()) {
            let expected = &mut expected[..chunk.len()];
            fill(stream, self.length, expected);
            if *chunk != *expected {
                let at = chunk.iter().zip(&*expected).take_while(|(a, b)| a == b).count();
                panic!("stream {stream:?} is wrong at offset {}", self.length + at as u64);
            }
            self.length += chunk.len() as u64;
        }
    }

    /// The stream's name, once eight bytes have arrived.
    pub fn stream(&self) -> Option<StreamId> {
        (self.length >= 8).then(|| StreamId(u64::from_le_bytes(self.head)))
    }

    /// Bytes received.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Whether everything received is the beginning of `stream`, however little it is.
    pub fn is_prefix_of(&self, stream: StreamId) -> bool {
        let known = self.length.min(8) as usize;
        self.head[..known] == stream.0.to_le_bytes()[..known]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cutting_gives_the_same_stream() {
        let whole = bytes(StreamId(77), 5000);
        for step in [1, 3, 8, 1000] {
            let mut check = StreamCheck::default();
            for piece in whole.chunks(step) {
                check.push(piece);
            }
            assert_eq!(check.length(), 5000);
            assert_eq!(check.stream(), Some(StreamId(77)));
        }
    }

    #[test]
    fn a_lost_a_doubled_and_a_foreign_byte_are_noticed() {
        let whole = bytes(StreamId(77), 100);
        let lost = [&whole[..40], &whole[41..]].concat();
        let doubled = [&whole[..40], &whole[39..]].concat();
        let foreign = [&whole[..40], &bytes(StreamId(78), 100)[40..]].concat();
        for wrong in [lost, doubled, foreign] {
            let result = std::panic::catch_unwind(|| StreamCheck::default().push(&wrong));
            assert!(result.is_err());
        }
    }
}
