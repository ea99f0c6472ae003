//! The two queues between a memory link and its peer, and when either end is woken.
//!
//! Owns the frames, the eventfds and the flags that decide a wake-up; never looks into a frame.
//!
//! A wake-up is one write to the eventfd of the end that waits, which is an edge for `epoll` even
//! if the counter was not zero (eventfd(2), epoll(7)). It is written only when that end was told
//! `WouldBlock` before, so a busy pair makes no system call per frame. The counter is taken down
//! when an end has seen its queue empty, so that level-triggered waiting works as well, unless
//! room was announced and not tried since: that news must not be lost with it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

/// Which end of the pair.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Link = 0,
    Peer = 1,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Link => Self::Peer,
            Self::Peer => Self::Link,
        }
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    state: Mutex<[Side; 2]>,
    capacity: usize,
    event_fds: [OwnedFd; 2],
    arrivals: [Condvar; 2],
}

/// What one end is sent, and what it is owed.
#[derive(Debug)]
struct Side {
    inbox: VecDeque<Vec<u8>>,
    /// Buffers of frames this end has taken, for the frames to come.
    spare: Vec<Vec<u8>>,
    /// It saw its inbox empty: the next frame wakes it.
    awaits_frame: bool,
    /// It saw the other's inbox full: room there wakes it.
    awaits_room: bool,
    /// It was told of room and has not sent since.
    room_announced: bool,
    /// The eventfd's counter is not zero.
    signalled: bool,
    /// Threads inside `receive_within`.
    waiting: usize,
    closed: bool,
}

impl Channel {
    pub(super) fn new(capacity: usize) -> io::Result<Self> {
        let event_fd = || rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self {
            state: Mutex::new([Side::new(), Side::new()]),
            capacity,
            event_fds: [event_fd()?, event_fd()?],
            arrivals: [Condvar::new(), Condvar::new()],
        })
    }

    pub(super) fn event_fd(&self, end: End) -> BorrowedFd<'_> {
        self.event_fds[end as usize].as_fd()
    }

    /// Queues one frame, given in pieces, for the other end.
    pub(super) fn send(&self, end: End, pieces: &[&[u8]]) -> io::Result<()> {
        let mut sides = self.lock();
        if sides[end.other() as usize].closed {
            return Err(gone());
        }
        let from = &mut sides[end as usize];
        if from.room_announced {
            from.room_announced = false;
            if from.inbox.is_empty() {
                self.quiet(from, end);
            }
        }
        if sides[end.other() as usize].inbox.len() >= self.capacity {
            sides[end as usize].awaits_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let to = &mut sides[end.other() as usize];
        let mut frame = to.spare.pop().unwrap_or_default();
        for piece in pieces {
            frame.extend_from_slice(piece);
        }
        to.inbox.push_back(frame);
        if to.waiting > 0 {
            self.arrivals[end.other() as usize].notify_one();
        }
        if to.awaits_frame {
            to.awaits_frame = false;
            self.signal(to, end.other());
        }
        Ok(())
    }

    /// Copies the next frame into `buf`, cut off to its length, and returns how much it is.
    pub(super) fn receive_into(&self, end: End, buf: &mut [u8]) -> io::Result<usize> {
        let mut sides = self.lock();
        let frame = self.take(&mut sides, end)?;
        let length = frame.len().min(buf.len());
        buf[..length].copy_from_slice(&frame[..length]);
        sides[end as usize].recycle(frame, self.capacity);
        Ok(length)
    }

    /// Takes the next frame, waiting for it at most `timeout`.
    pub(super) fn receive_within(
        &self,
        end: End,
        timeout: Duration,
    ) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now().checked_add(timeout);
        let mut sides = self.lock();
        loop {
            match self.take(&mut sides, end) {
                Ok(frame) => return Ok(Some(frame)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            sides[end as usize].waiting += 1;
            let woken = self.arrivals[end as usize].wait_timeout(sides, left);
            sides = woken.unwrap_or_else(PoisonError::into_inner).0;
            sides[end as usize].waiting -= 1;
        }
    }

    /// Marks one end as gone and wakes the other. What it sent can still be received.
    pub(super) fn close(&self, end: End) {
        let mut sides = self.lock();
        let closing = &mut sides[end as usize];
        closing.closed = true;
        closing.inbox = VecDeque::new();
        closing.spare = Vec::new();
        self.arrivals[end.other() as usize].notify_all();
        self.signal(&mut sides[end.other() as usize], end.other());
    }

    fn take(&self, sides: &mut [Side; 2], end: End) -> io::Result<Vec<u8>> {
        let Some(frame) = sides[end as usize].inbox.pop_front() else {
            if sides[end.other() as usize].closed {
                return Err(gone());
            }
            let side = &mut sides[end as usize];
            side.awaits_frame = true;
            if !side.room_announced {
                self.quiet(side, end);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let sender = &mut sides[end.other() as usize];
        if sender.awaits_room {
            sender.awaits_room = false;
            sender.room_announced = true;
            self.signal(sender, end.other());
        }
        Ok(frame)
    }

    fn signal(&self, side: &mut Side, end: End) {
        side.signalled = true;
        // Fails only with the counter at its maximum, which would take 2^64 wake-ups unseen.
        let _ = rustix::io::write(&self.event_fds[end as usize], &1u64.to_ne_bytes());
    }

    fn quiet(&self, side: &mut Side, end: End) {
        if side.signalled {
            side.signalled = false;
            // The counter is not zero and all its readers hold the lock, so this cannot fail; if
            // it did, the descriptor would only stay readable.
            let _ = rustix::io::read(&self.event_fds[end as usize], &mut [0; 8]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Side; 2]> {
        // Nothing panics between two changes that belong together, so the state of a poisoned
        // lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Side {
    fn new() -> Self {
        Self {
            inbox: VecDeque::new(),
            spare: Vec::new(),
            awaits_frame: true,
            awaits_room: false,
            room_announced: false,
            signalled: false,
            waiting: 0,
            closed: false,
        }
    }

    fn recycle(&mut self, mut frame: Vec<u8>, capacity: usize) {
        if self.spare.len() < capacity.min(SPARE_FRAMES) {
            frame.clear();
            self.spare.push(frame);
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other end of the memory link is gone")
}

/// Buffers kept per direction: enough for a batch, little when each has held a super-segment.
const SPARE_FRAMES: usize = 64;
