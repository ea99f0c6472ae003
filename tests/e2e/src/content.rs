//! Bytes that say where they belong.
//!
//! Owns a pseudo-random pattern with a period that is a prime above a million: a byte lost, doubled
//! or moved shows at the place where it happened, which a checksum of the whole would not tell.
//! Never touches a socket by itself.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

/// Period of the pattern.
const PERIOD: usize = 1_000_003;
/// Most bytes handed out at once.
const PIECE: usize = 1 << 16;

/// Which way bytes go; each way has bytes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    ToGuest,
    /// From the guest.
    FromGuest,
}

impl Way {
    fn start(self) -> usize {
        match self {
            Self::ToGuest => 0,
            Self::FromGuest => PERIOD / 2,
        }
    }
}

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        // xorshift64 (Marsaglia 2003).
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(PERIOD + PIECE);
        while bytes.len() < PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(PERIOD);
        bytes.extend_from_within(..PIECE);
        bytes
    })
}

/// The bytes from `offset` on: at most `most`, at least one unless `most` is zero.
pub fn piece(way: Way, offset: u64, most: u64) -> &'static [u8] {
    let period = u64::try_from(PERIOD).expect("fits");
    let at = (usize::try_from(offset % period).expect("fits") + way.start()) % PERIOD;
    let length = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
    &pattern()[at..at + length]
}

/// The first `length` bytes.
pub fn bytes(way: Way, length: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(length);
    while all.len() < length {
        let left = length - all.len();
        all.extend_from_slice(piece(way, all.len() as u64, left as u64));
    }
    all
}

/// Writes `length` bytes.
///
/// # Errors
/// The stream's; how many were taken is lost.
pub fn send(stream: &mut impl Write, way: Way, length: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < length {
        let wrote = stream.write(piece(way, sent, length - sent))?;
        if wrote == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        sent += wrote as u64;
    }
    Ok(())
}

/// Compares what arrives with what was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checker {
    way: Way,
    received: u64,
    wrong_at: Option<u64>,
}

impl Checker {
    /// For a stream from its beginning.
    pub fn new(way: Way) -> Self {
        Self { way, received: 0, wrong_at: None }
    }

    /// The next bytes that arrived.
    pub fn feed(&mut self, mut arrived: &[u8]) {
        while !arrived.is_empty() {
            let expected = piece(self.way, self.received, arrived.len() as u64);
            let (now, rest) = arrived.split_at(expected.len());
            if self.wrong_at.is_none() && now != expected {
                let at = now.iter().zip(expected).take_while(|(a, b)| a == b).count();
                self.wrong_at = Some(self.received + at as u64);
            }
            self.received += now.len() as u64;
            arrived = rest;
        }
    }

    /// Bytes that arrived.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// `LENGTH ok`, or `LENGTH wrong@OFFSET`.
    pub fn verdict(&self) -> String {
        match self.wrong_at {
            None => format!("{} ok", self.received),
            Some(at) => format!("{} wrong@{at}", self.received),
        }
    }
}

/// Reads to the end, and says what came.
///
/// # Errors
/// The stream's, with what had come before it.
pub fn receive(stream: &mut impl Read, way: Way) -> Result<Checker, (Checker, io::Error)> {
    let mut checker = Checker::new(way);
    let mut buffer = vec![0; PIECE];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(checker),
            Ok(length) => checker.feed(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((checker, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_shows_where() {
        for way in [Way::ToGuest, Way::FromGuest] {
            let length = 3 * PERIOD + 17;
            let mut whole = Vec::new();
            send(&mut whole, way, length as u64).unwrap();
            assert_eq!(whole, bytes(way, length));
            let checked = receive(&mut &*whole, way).unwrap();
            assert_eq!(checked.verdict(), format!("{length} ok"));
            // One byte lost, one doubled, 64 KiB left out.
            let mut lost = whole.clone();
            lost.remove(70_000);
            let verdict = receive(&mut &*lost, way).unwrap().verdict();
            assert!(verdict.starts_with(&format!("{} wrong@7000", length - 1)), "{verdict}");
            let mut stranded = whole.clone();
            stranded.drain(1 << 20..(1 << 20) + (1 << 16));
            assert!(receive(&mut &*stranded, way).unwrap().verdict().contains("wrong@10485"));
        }
        assert_ne!(bytes(Way::ToGuest, 1000), bytes(Way::FromGuest, 1000));
    }
}
