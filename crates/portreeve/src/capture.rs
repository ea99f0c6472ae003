//! Captures: copies of the frames on the guest's link, for whoever looks.
//!
//! Owns the way from the loop to the reader. Frames are copied into a buffer of the loop's own and
//! handed over by the turn; the reader gives the buffer back. A reader that does not keep up loses
//! frames and is told how many; the loop never waits for one. Without a capture nothing is copied.

mod filter;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use crate::outlet::Outlet;
use filter::Wanted;
pub use filter::{CaptureFilter, CaptureFilterError};

/// What is captured, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Bytes kept of each frame, its Ethernet header included.
    pub snap_length: u32,
    /// Which frames.
    pub filter: CaptureFilter,
    /// Bytes that may wait for the reader; what does not fit is lost, and counted.
    pub buffer: usize,
}

impl Default for CaptureOptions {
    /// All frames, each as far as [`DEFAULT_SNAP_LENGTH`], and 4 MiB of buffer.
    fn default() -> Self {
        Self { snap_length: DEFAULT_SNAP_LENGTH, filter: CaptureFilter::default(), buffer: 4 << 20 }
    }
}

/// Bytes kept of a frame unless more are asked for: whole frames of a link with an MTU of 1,500,
/// and the beginning of those that a guest leaves to be cut into segments. Those carry what is sent
/// in bulk, of which a copy would cost as much again as its delivery.
pub const DEFAULT_SNAP_LENGTH: u32 = 2_048;

/// The most that is kept of a frame: more than any frame has.
pub const MAX_SNAP_LENGTH: u32 = 1 << 18;

/// A capture could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// As many run as may.
    #[error("{limit} captures are running, which is the most")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// A frame as it was on the guest's link.
///
/// A frame that a TAP or a virtual machine leaves to be cut into segments is one frame here, and
/// checksums that are left to be filled in are not filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturedFrame {
    /// When it passed.
    pub time: SystemTime,
    /// Whether the guest sent it.
    pub from_guest: bool,
    /// Its length on the link, in bytes.
    pub length: u32,
    /// Its first bytes, from the Ethernet header on.
    pub data: Vec<u8>,
    /// Why it was dropped, by the stable name of a [`DropReason`](crate::DropReason); `None` when
    /// it was not.
    pub verdict: Option<&'static str>,
}

/// Frames and their bytes, one after the other.
#[derive(Debug, Default)]
struct Chunk {
    frames: VecDeque<Meta>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    time: SystemTime,
    from_guest: bool,
    length: u32,
    captured: u32,
    verdict: Option<&'static str>,
}

impl Chunk {
    /// Bytes of memory that count against the buffer.
    fn size(&self) -> usize {
        self.bytes.len() + self.frames.len() * size_of::<Meta>()
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.bytes.clear();
    }
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    /// Bytes in them.
    size: usize,
    /// Empty, to be used again.
    spare: Vec<Chunk>,
    /// Frames that found no room so far.
    lost: u64,
    /// The reader is gone.
    abandoned: bool,
}

/// The loop's end of one capture.
pub(crate) struct CaptureSink {
    queue: Outlet<Queue>,
    options: CaptureOptions,
    staged: Chunk,
    /// Whether the last frame staged is wanted, until it is known what became of it.
    unsettled: Wanted,
    /// Bytes that waited for the reader when last looked at.
    waiting: usize,
    lost: u64,
    abandoned: bool,
}

impl CaptureSink {
    pub(crate) fn new(mut options: CaptureOptions) -> (Self, Capture) {
        options.snap_length = options.snap_length.min(MAX_SNAP_LENGTH);
        let queue = Outlet::new(Queue::default());
        let capture = Capture { queue: queue.clone(), chunk: Chunk::default(), at: 0, lost: 0 };
        let staged = Chunk::default();
        let unsettled = NOT_WANTED;
        (Self { queue, options, staged, unsettled, waiting: 0, lost: 0, abandoned: false }, capture)
    }

    /// Copies a frame, if it may be wanted. What becomes of it is said by [`settle`](Self::settle),
    /// which must follow.
    pub(crate) fn stage(&mut self, frame: &[u8], from_guest: bool) {
        self.unsettled = self.options.filter.wants(frame, from_guest);
        if self.unsettled == NOT_WANTED {
            return;
        }
        let captured = frame.len().min(self.options.snap_length as usize);
        let needed = captured + size_of::<Meta>();
        if self.waiting + self.staged.size() + needed > self.options.buffer {
            self.lost += 1;
            self.unsettled = NOT_WANTED;
            return;
        }
        self.staged.bytes.extend_from_slice(&frame[..captured]);
        self.staged.frames.push_back(Meta {
            time: SystemTime::now(),
            from_guest,
            // A frame of a link is far shorter than 4 GiB.
            length: frame.len() as u32,
            captured: captured as u32,
            verdict: None,
        });
    }

    /// The staged frame was dropped for this reason, or passed.
    pub(crate) fn settle(&mut self, verdict: Option<&'static str>) {
        let wanted = std::mem::replace(&mut self.unsettled, NOT_WANTED);
        if wanted == NOT_WANTED {
            return;
        }
        if if verdict.is_some() { wanted.dropped } else { wanted.passed } {
            if let Some(meta) = self.staged.frames.back_mut() {
                meta.verdict = verdict;
            }
        } else if let Some(meta) = self.staged.frames.pop_back() {
            let length = self.staged.bytes.len() - meta.captured as usize;
            self.staged.bytes.truncate(length);
        }
    }

    /// Hands over what was copied, unless the reader is taking some just now.
    pub(crate) fn flush(&mut self) {
        let (staged, lost) = (&mut self.staged, self.lost);
        let (waiting, abandoned) = (&mut self.waiting, &mut self.abandoned);
        self.queue.try_update(|queue| {
            *abandoned = queue.abandoned;
            queue.lost = lost;
            if !staged.frames.is_empty() {
                queue.size += staged.size();
                let empty = queue.spare.pop().unwrap_or_default();
                queue.chunks.push_back(std::mem::replace(staged, empty));
            }
            *waiting = queue.size;
        });
    }

    /// Whether frames wait to be seen.
    pub(crate) fn is_behind(&self) -> bool {
        !self.staged.frames.is_empty()
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Frames that found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

impl Drop for CaptureSink {
    fn drop(&mut self) {
        self.flush();
        self.queue.close(|_| {});
    }
}

/// A running capture; dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    queue: Outlet<Queue>,
    chunk: Chunk,
    /// How far the chunk's bytes have been read.
    at: usize,
    lost: u64,
}

impl Capture {
    /// The next frame; `None` when there is none within `timeout` or the engine has stopped.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<CapturedFrame> {
        self.take(Some(timeout))
    }

    /// The next frame for a task, which is woken when there is one; `None` once the engine has
    /// stopped.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<CapturedFrame>> {
        if self.chunk.frames.is_empty() {
            let Self { queue, chunk, at, lost } = self;
            match queue.poll(context, |queue| next_chunk(queue, chunk, at, lost)) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.pop())
    }

    /// Frames that were wanted and lost so far, because they came faster than they were read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn take(&mut self, timeout: Option<Duration>) -> Option<CapturedFrame> {
        if self.chunk.frames.is_empty() {
            let Self { queue, chunk, at, lost } = self;
            queue.wait(timeout, |queue| next_chunk(queue, chunk, at, lost))?;
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<CapturedFrame> {
        let meta = self.chunk.frames.pop_front()?;
        let end = self.at + meta.captured as usize;
        let data = self.chunk.bytes[self.at..end].to_vec();
        self.at = end;
        Some(CapturedFrame {
            time: meta.time,
            from_guest: meta.from_guest,
            length: meta.length,
            data,
            verdict: meta.verdict,
        })
    }
}

impl Iterator for Capture {
    type Item = CapturedFrame;

    /// Waits for the next frame; `None` once the engine has stopped.
    fn next(&mut self) -> Option<CapturedFrame> {
        self.take(None)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.queue.with(|queue| {
            *queue = Queue { abandoned: true, lost: queue.lost, ..Queue::default() };
        });
    }
}

/// Exchanges a chunk that has been read for the next.
fn next_chunk(queue: &mut Queue, chunk: &mut Chunk, at: &mut usize, lost: &mut u64) -> Option<()> {
    *lost = queue.lost;
    let next = queue.chunks.pop_front()?;
    queue.size -= next.size();
    let mut read = std::mem::replace(chunk, next);
    *at = 0;
    read.clear();
    if queue.spare.len() < SPARE_CHUNKS {
        queue.spare.push(read);
    }
    Some(())
}

const NOT_WANTED: Wanted = Wanted { passed: false, dropped: false };
/// Buffers kept to be used again.
const SPARE_CHUNKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn options(snap_length: u32, buffer: usize) -> CaptureOptions {
        CaptureOptions { snap_length, buffer, ..CaptureOptions::default() }
    }

    fn take(sink: &mut CaptureSink, frame: &[u8], from_guest: bool, verdict: Option<&'static str>) {
        sink.stage(frame, from_guest);
        sink.settle(verdict);
    }

    #[test]
    fn a_filter_may_ask_what_became_of_a_frame() {
        for (text, expected) in [("dropped", vec![2]), ("not dropped", vec![1, 3])] {
            let filter = text.parse().unwrap();
            let (mut sink, capture) =
                CaptureSink::new(CaptureOptions { filter, ..CaptureOptions::default() });
            take(&mut sink, &[1; 100], true, None);
            take(&mut sink, &[2; 50], true, Some("arp_malformed"));
            take(&mut sink, &[3; 30], true, None);
            drop(sink);
            let seen: Vec<_> = capture.map(|frame| frame.data[0]).collect();
            assert_eq!(seen, expected, "{text}");
        }
    }

    #[test]
    fn frames_arrive_in_order_with_their_lengths_and_verdicts() {
        let (mut sink, mut capture) = CaptureSink::new(options(20, 1 << 16));
        take(&mut sink, &[1; 100], true, None);
        take(&mut sink, &[2; 10], false, None);
        sink.flush();
        take(&mut sink, &[3; 30], true, Some("source_mac"));
        assert!(sink.is_behind());
        sink.flush();
        let mut next = || capture.next_timeout(SOON);
        let first = next().unwrap();
        assert_eq!((first.length, &first.data[..], first.from_guest), (100, &[1; 20][..], true));
        let second = next().unwrap();
        assert_eq!((second.length, &second.data[..], second.verdict), (10, &[2; 10][..], None));
        let third = next().unwrap();
        assert_eq!((third.data, third.verdict), (vec![3; 20], Some("source_mac")));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_slow_reader_loses_frames_and_is_told_how_many() {
        let frame = [7; 1000];
        let (mut sink, mut capture) = CaptureSink::new(options(1000, 5000));
        for _ in 0..10 {
            take(&mut sink, &frame, true, None);
            sink.flush();
        }
        let seen = std::iter::from_fn(|| capture.next_timeout(SOON)).count();
        assert_eq!(seen as u64 + capture.lost(), 10);
        assert_eq!((seen, sink.lost()), (4, 6));
        sink.flush();
        take(&mut sink, &frame, true, None);
        sink.flush();
        assert!(capture.next_timeout(SOON).is_some(), "there is room again");
    }

    #[test]
    fn either_end_may_go_first() {
        let (mut sink, capture) = CaptureSink::new(options(100, 5000));
        take(&mut sink, &[1; 10], true, None);
        sink.flush();
        assert!(!sink.is_abandoned());
        drop(capture);
        sink.flush();
        assert!(sink.is_abandoned());
        let (mut sink, mut capture) = CaptureSink::new(options(100, 5000));
        take(&mut sink, &[1; 10], true, None);
        drop(sink);
        assert_eq!(capture.by_ref().count(), 1, "what was there is read, then the end");
    }
}
