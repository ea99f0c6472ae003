//! What an application does at either end of a connection.
//!
//! Owns reading, writing and finishing by plan, and the check of what was read. Knows no socket:
//! the guest's connections and the host's clients both drive it.

use std::collections::VecDeque;
use std::time::Duration;

use portreeve_core::Instant;

use crate::content::{StreamCheck, StreamId, fill};

/// The plan. It may be changed while the connection lives.
#[derive(Clone, Copy, Debug)]
pub struct App {
    /// How it reads.
    pub reading: Reading,
    /// What it writes.
    pub writing: Writing,
    /// When it ends its own stream.
    pub finish: Finish,
    /// What stands in front of the stream it reads.
    pub preamble: Preamble,
}

/// How an application reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Everything at once.
    Greedy,
    /// Nothing.
    Paused,
    /// So many bytes in each interval.
    Slow {
        /// Bytes.
        bytes: usize,
        /// Interval.
        every: Duration,
    },
}

/// What an application writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// The first so many bytes of its stream.
    Stream(u64),
    /// What it reads, through a buffer of so many bytes.
    Echo(usize),
}

/// When an application ends its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Once everything is written.
    AfterWriting,
    /// Once everything is written and the other stream has ended.
    AfterEof,
    /// Not by itself.
    Never,
}

/// What stands in front of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// Nothing.
    None,
    /// A line of the PROXY protocol, version 1.
    ProxyV1,
    /// A header of the PROXY protocol, version 2.
    ProxyV2,
}

impl App {
    /// Reads everything, writes nothing, ends when the other has ended.
    pub const SINK: Self = Self {
        reading: Reading::Greedy,
        writing: Writing::Stream(0),
        finish: Finish::AfterEof,
        preamble: Preamble::None,
    };

    /// Gives back what it gets, through 4 KiB.
    pub const ECHO: Self = Self { writing: Writing::Echo(4096), ..Self::SINK };

    /// Writes `length` bytes and ends its stream; reads everything.
    pub const fn source(length: u64) -> Self {
        Self { writing: Writing::Stream(length), finish: Finish::AfterWriting, ..Self::SINK }
    }

    /// Writes `length` bytes, and ends its stream once the other's has ended.
    pub const fn answer(length: u64) -> Self {
        Self { writing: Writing::Stream(length), ..Self::SINK }
    }

    /// Writes `length` bytes and never ends.
    pub const fn open(length: u64) -> Self {
        Self { writing: Writing::Stream(length), finish: Finish::Never, ..Self::SINK }
    }
}

/// One end of a connection, seen from its application.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The plan.
    pub app: App,
    /// The name of the stream it writes.
    pub stream: StreamId,
    /// What it has read.
    pub check: StreamCheck,
    /// The preamble it has read.
    pub header: Vec<u8>,
    /// Whether it has read to the end of the other's stream.
    pub eof: bool,
    sent: u64,
    echo: VecDeque<u8>,
    next_read: Instant,
}

impl Peer {
    /// A fresh end.
    pub fn new(app: App, stream: StreamId) -> Self {
        Self {
            app,
            stream,
            check: StreamCheck::default(),
            header: Vec::new(),
            eof: false,
            sent: 0,
            echo: VecDeque::new(),
            next_read: Instant::ZERO,
        }
    }

    /// Bytes written so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes it reads now if they are there.
    pub fn appetite(&self, now: Instant) -> usize {
        let plan = match self.app.reading {
            Reading::Greedy => usize::MAX,
            Reading::Paused => 0,
            Reading::Slow { .. } if now < self.next_read => 0,
            Reading::Slow { bytes, .. } => bytes,
        };
        match self.app.writing {
            Writing::Stream(_) => plan,
            Writing::Echo(buffer) => plan.min(buffer.saturating_sub(self.echo.len())),
        }
    }

    /// When it reads again, given that something is there to read.
    pub fn next_read(&self, now: Instant) -> Option<Instant> {
        let slow = matches!(self.app.reading, Reading::Slow { .. });
        (slow && self.next_read > now).then_some(self.next_read)
    }

    /// Reads bytes.
    pub fn read(&mut self, bytes: &[u8], now: Instant) {
        if let Reading::Slow { every, .. } = self.app.reading {
            self.next_read = now + every;
        }
        let mut bytes = bytes;
        while !bytes.is_empty() && !self.has_preamble() {
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
        }
        self.check.push(bytes);
        if matches!(self.app.writing, Writing::Echo(_)) {
            self.echo.extend(bytes);
        }
    }

    /// Bytes it wants to write now.
    pub fn to_write(&self) -> u64 {
        match self.app.writing {
            Writing::Stream(length) => length.saturating_sub(self.sent),
            Writing::Echo(_) => self.echo.len() as u64,
        }
    }

    /// Writes into `space` and returns how many bytes.
    pub fn write(&mut self, space: &mut [u8]) -> usize {
        let length = space.len().min(usize::try_from(self.to_write()).unwrap_or(usize::MAX));
        let space = &mut space[..length];
        match self.app.writing {
            Writing::Stream(_) => fill(self.stream, self.sent, space),
            Writing::Echo(_) => {
                for (byte, echoed) in space.iter_mut().zip(self.echo.drain(..length)) {
                    *byte = echoed;
                }
            }
        }
        self.sent += length as u64;
        length
    }

    /// Its writes fail from now on: it writes no more, and reads what is there.
    pub fn stop_writing(&mut self) {
        self.app.writing = Writing::Stream(self.sent);
        self.echo.clear();
    }

    /// Whether it ends its stream now.
    pub fn wants_finish(&self) -> bool {
        let written = self.to_write() == 0;
        match self.app.finish {
            Finish::AfterWriting => written,
            Finish::AfterEof => written && self.eof,
            Finish::Never => false,
        }
    }

    fn has_preamble(&self) -> bool {
        match self.app.preamble {
            Preamble::None => true,
            Preamble::ProxyV1 => self.header.ends_with(b"\r\n"),
            Preamble::ProxyV2 => {
                let length = self.header.get(14..16).map(|l| u16::from_be_bytes([l[0], l[1]]));
                length.is_some_and(|length| self.header.len() == 16 + usize::from(length))
            }
        }
    }
}
