//! Frames in a byte stream: a length, then the frame.
//!
//! Owns the two forms of the length, what may stand before the first, and cutting whatever the
//! reads bring into frames; makes no system call. Its memory is one buffer, whatever the peer
//! sends. Nothing of the frame itself is looked at.
//!
//! Spec: `net/stream.c` and `net/socket.c` of QEMU and passt(1) for 32 bits, big endian; HyperKit
//! and gvforwarder for 16 bits, little endian, after an HTTP request that nobody answers.

use crate::event::{FramingFault, GoneCause};

/// How a stream is cut into frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// u32, big endian.
    Qemu,
    /// `POST /connect`, then u16, little endian.
    HyperKit,
}

/// Room for the length in either form.
pub(crate) type Prefix = ([u8; 4], usize);

impl Framing {
    /// The longest frame that can be said and is taken.
    pub(crate) fn longest(self) -> usize {
        match self {
            Self::Qemu => LONGEST_FRAME,
            Self::HyperKit => LONGEST_FRAME.min(u16::MAX as usize),
        }
    }

    /// What goes before a frame of this length, which is at most [`longest`](Self::longest).
    pub(crate) fn prefix(self, length: usize) -> Prefix {
        let bytes = u32::try_from(length).unwrap_or(u32::MAX);
        match self {
            Self::Qemu => (bytes.to_be_bytes(), 4),
            Self::HyperKit => (bytes.to_le_bytes(), 2),
        }
    }

    /// What whoever connects says first.
    pub(crate) fn greeting(self) -> &'static [u8] {
        match self {
            Self::Qemu => &[],
            Self::HyperKit => b"POST /connect HTTP/1.1\r\nHost: portreeve\r\n\r\n",
        }
    }

    /// The length at the start of `bytes` and how many bytes it took; none if they are too few.
    fn length(self, bytes: &[u8]) -> Result<Option<(usize, usize)>, FramingFault> {
        let (length, taken, text) = match self {
            Self::Qemu => {
                let Some(bytes) = bytes.first_chunk::<4>() else { return Ok(None) };
                let text = bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n'));
                (u32::from_be_bytes(*bytes), 4, text.then_some(*bytes))
            }
            Self::HyperKit => {
                let Some(bytes) = bytes.first_chunk::<2>() else { return Ok(None) };
                (u32::from(u16::from_le_bytes(*bytes)), 2, None)
            }
        };
        let limit = self.longest();
        match usize::try_from(length) {
            Ok(0) => Err(FramingFault::Empty),
            Ok(length) if length <= limit => Ok(Some((length, taken))),
            _ => Err(FramingFault::Oversized { length, limit: limit as u32, text }),
        }
    }
}

/// Cuts a stream into frames, however its bytes arrive.
///
/// Bytes go into [`space`](Self::space), are announced by [`filled`](Self::filled) and come out of
/// [`next_frame`](Self::next_frame) until it has none.
#[derive(Debug)]
pub(crate) struct Deframer {
    framing: Framing,
    /// The request before the first frame is still to come.
    preamble: bool,
    buffer: Box<[u8]>,
    /// What arrived and was not taken: `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl Deframer {
    /// For one end of a connection; `accepted` tells which.
    pub(crate) fn new(framing: Framing, accepted: bool) -> Self {
        let preamble = accepted && framing == Framing::HyperKit;
        Self { framing, preamble, buffer: vec![0; BUFFER].into(), start: 0, end: 0 }
    }

    /// The next frame that is all there.
    pub(crate) fn next_frame(&mut self) -> Result<Option<&[u8]>, FramingFault> {
        if self.preamble && !self.take_preamble()? {
            return Ok(None);
        }
        let arrived = &self.buffer[self.start..self.end];
        let Some((length, prefix)) = self.framing.length(arrived)? else { return Ok(None) };
        if arrived.len() < prefix + length {
            return Ok(None);
        }
        let frame = self.start + prefix;
        self.start = frame + length;
        Ok(Some(&self.buffer[frame..self.start]))
    }

    /// Where the next bytes go: never empty once [`next_frame`](Self::next_frame) has no more.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < LEAST_READ {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    pub(crate) fn filled(&mut self, length: usize) {
        self.end += length;
        debug_assert!(self.end <= self.buffer.len());
    }

    /// What the stream's end means here.
    pub(crate) fn at_end(&self) -> GoneCause {
        if self.preamble {
            GoneCause::Framing(FramingFault::NoPreamble)
        } else if self.start == self.end {
            GoneCause::Closed
        } else {
            GoneCause::ClosedMidFrame
        }
    }

    /// Takes the request before the first frame; says whether it was all there.
    fn take_preamble(&mut self) -> Result<bool, FramingFault> {
        let arrived = &self.buffer[self.start..self.end];
        let begun = arrived.len().min(PREAMBLE.len());
        if arrived[..begun] != PREAMBLE[..begun] {
            return Err(FramingFault::NoPreamble);
        }
        let head = &arrived[..arrived.len().min(LONGEST_PREAMBLE)];
        match head.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD) {
            Some(at) => {
                self.start += at + END_OF_HEAD.len();
                self.preamble = false;
                Ok(true)
            }
            None if arrived.len() >= LONGEST_PREAMBLE => Err(FramingFault::EndlessPreamble),
            None => Ok(false),
        }
    }
}

/// An Ethernet header with one VLAN tag, and the largest packet that IP's length fields can say.
pub(crate) const LONGEST_FRAME: usize = crate::MAX_FRAME_LEN - portreeve_wire::VIRTIO_NET_HDR_LEN;
/// Several times what a VMM sends at once (QEMU's own buffer has 4096 + 65,536 bytes).
const BUFFER: usize = 256 * 1024;
/// With less room than this, what is left over moves to the buffer's start.
const LEAST_READ: usize = 4096 + 65_536;
const _: () = assert!(BUFFER >= LEAST_READ + LONGEST_FRAME + 4);
/// With a space, so that no other path of the same beginning is meant.
const PREAMBLE: &[u8] = b"POST /connect ";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// What is longer is no such request.
const LONGEST_PREAMBLE: usize = 4096;
