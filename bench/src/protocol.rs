//! What client and server of the load generator say to each other. A connection or datagram
//! opens with one fixed header, which carries everything the server has to know, so that a
//! server needs no configuration and one published port serves every measurement.

use std::{io, time::Duration};

/// What the client wants of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The server reads to the end, then answers with a [`Tally`].
    Sink,
    /// The server writes for the warm-up and the window, then its total, then ends.
    Source,
    /// The server answers each request of [`MESSAGE_LEN`] bytes with the same bytes.
    Exchange,
    /// Datagrams: the server counts those of the run within the window.
    Flood,
    /// Datagrams: the server sends each back.
    Echo,
    /// The server answers with the [`Tally`] of the run's flood, whichever way it went.
    FloodReport,
    /// Datagrams: the server floods whoever asks, for the warm-up, the window and the slack.
    FloodBack,
}

/// The opening of every connection and every datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) mode: Mode,
    /// Time before the window, in which TCP finds its speed.
    pub(crate) warmup: Duration,
    /// The time that is measured.
    pub(crate) window: Duration,
    /// Names a flood of datagrams, so that a late one is not counted for the next.
    pub(crate) run: u64,
}

/// Length of an encoded [`Header`].
pub(crate) const HEADER_LEN: usize = 32;
/// Length of a request, of a response, and of a datagram.
pub(crate) const MESSAGE_LEN: usize = 64;
/// How long senders go on behind the window, so that its end falls into steady flow.
pub(crate) const SLACK: Duration = Duration::from_millis(200);

const MAGIC: [u8; 8] = *b"PRTRV\0\0\x01";

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mode = match self.mode {
            Mode::Sink => 1u32,
            Mode::Source => 2,
            Mode::Exchange => 3,
            Mode::Flood => 4,
            Mode::Echo => 5,
            Mode::FloodReport => 6,
            Mode::FloodBack => 7,
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&mode.to_be_bytes());
        bytes[12..16].copy_from_slice(&milliseconds(self.warmup).to_be_bytes());
        bytes[16..20].copy_from_slice(&milliseconds(self.window).to_be_bytes());
        bytes[24..32].copy_from_slice(&self.run.to_be_bytes());
        bytes
    }

    /// `None` when the bytes do not open a conversation of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        if bytes[..8] != MAGIC {
            return None;
        }
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mode = match word(8) {
            1 => Mode::Sink,
            2 => Mode::Source,
            3 => Mode::Exchange,
            4 => Mode::Flood,
            5 => Mode::Echo,
            6 => Mode::FloodReport,
            7 => Mode::FloodBack,
            _ => return None,
        };
        Some(Self {
            mode,
            warmup: Duration::from_millis(word(12).into()),
            window: Duration::from_millis(word(16).into()),
            run: u64::from(word(24)) << 32 | u64::from(word(28)),
        })
    }
}

/// A datagram, or a request, that says what it is for.
pub(crate) fn message(header: &Header) -> [u8; MESSAGE_LEN] {
    let mut message = [0; MESSAGE_LEN];
    message[..HEADER_LEN].copy_from_slice(&header.encode());
    message
}

fn milliseconds(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}

/// What the server has seen of a sink or a flood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Bytes, or datagrams, within the window.
    pub(crate) within: u64,
    /// The window as it was really measured.
    pub(crate) nanos: u64,
    /// Bytes, or datagrams, from first to last.
    pub(crate) total: u64,
    /// The longest time between two arrivals, in nanoseconds.
    pub(crate) stall: u64,
}

/// Length of an encoded [`Tally`].
pub(crate) const TALLY_LEN: usize = 32;

impl Tally {
    pub(crate) fn encode(&self) -> [u8; TALLY_LEN] {
        let mut bytes = [0; TALLY_LEN];
        bytes[..8].copy_from_slice(&self.within.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.nanos.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.total.to_be_bytes());
        bytes[24..].copy_from_slice(&self.stall.to_be_bytes());
        bytes
    }

    pub(crate) fn read(source: &mut impl io::Read) -> io::Result<Self> {
        let mut bytes = [0; 8];
        let mut next = || source.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes));
        Ok(Self { within: next()?, nanos: next()?, total: next()?, stall: next()? })
    }
}

/// Counts within a window that opens some time after the start.
#[derive(Debug)]
pub(crate) struct Meter {
    warmup: u64,
    end: u64,
    opened: Option<(u64, u64)>,
    closed: Option<(u64, u64)>,
    last: u64,
    total: u64,
    stall: u64,
}

impl Meter {
    pub(crate) fn new(warmup: Duration, window: Duration) -> Self {
        Self {
            warmup: nanoseconds(warmup),
            end: nanoseconds(warmup + window),
            opened: None,
            closed: None,
            last: 0,
            total: 0,
            stall: 0,
        }
    }

    /// Adds an amount that has arrived `elapsed` after the start.
    pub(crate) fn add(&mut self, amount: u64, elapsed: Duration) {
        let at = nanoseconds(elapsed);
        // Before the first arrival nothing can stand still, and what follows the window is the
        // sender's end.
        if self.total > 0 && self.closed.is_none() {
            self.stall = self.stall.max(at.saturating_sub(self.last));
        }
        self.total += amount;
        self.last = at;
        if self.opened.is_none() && at >= self.warmup {
            self.opened = Some((at, self.total));
        } else if self.closed.is_none() && at >= self.end {
            self.closed = Some((at, self.total));
        }
    }

    /// What came between the first arrival in the window and the first behind it.
    pub(crate) fn tally(&self) -> Tally {
        let (opened, before) = self.opened.unwrap_or((self.last, self.total));
        let (closed, until) = self.closed.unwrap_or((self.last, self.total));
        Tally {
            within: until - before,
            nanos: closed - opened,
            total: self.total,
            stall: self.stall,
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_tally_survive_the_wire() {
        for mode in [
            Mode::Sink,
            Mode::Source,
            Mode::Exchange,
            Mode::Flood,
            Mode::Echo,
            Mode::FloodReport,
            Mode::FloodBack,
        ] {
            let header = Header {
                mode,
                warmup: Duration::from_millis(300),
                window: Duration::from_secs(5),
                run: 0x0102_0304_0506_0708,
            };
            assert_eq!(Header::decode(&header.encode()), Some(header));
        }
        assert_eq!(Header::decode(&[0; HEADER_LEN]), None);
        assert_eq!(Header::decode(&MAGIC), None);
        let tally = Tally { within: 1, nanos: 2, total: 3, stall: 4 };
        assert_eq!(Tally::read(&mut tally.encode().as_slice()).expect("whole"), tally);
    }

    #[test]
    fn meter_counts_between_warmup_and_end() {
        let mut meter = Meter::new(Duration::from_millis(10), Duration::from_millis(20));
        for (amount, at) in [(1, 0), (2, 5), (4, 12), (8, 20), (16, 31), (32, 40)] {
            meter.add(amount, Duration::from_millis(at));
        }
        // Opened at 12 ms, closed at 31 ms: 8 + 16 in 19 ms; nothing for 11 ms before that.
        let tally = Tally { within: 24, nanos: 19_000_000, total: 63, stall: 11_000_000 };
        assert_eq!(meter.tally(), tally);
    }

    #[test]
    fn meter_of_nothing_is_nothing() {
        let meter = Meter::new(Duration::ZERO, Duration::from_secs(1));
        assert_eq!(meter.tally(), Tally::default());
    }
}
