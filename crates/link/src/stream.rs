//! Frames over byte streams, each behind its length as u32, big endian.
//!
//! What QEMU (`-netdev stream`, `-netdev socket`), passt's protocol, libkrun (`unixstream`) and
//! gvproxy (`-listen-qemu`) speak. Owns the ways to make such a link, and one connection of it (or
//! of HyperKit's form): reads that bring many frames, writes that carry many, and the rest of a
//! frame that went out in part, which goes before any other. What it holds is bounded: 64 KiB of
//! short frames, or the rest of one.
//!
//! Spec: `net/stream.c` of QEMU; the form of the lengths is in `framing.rs`.

use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::connection::{Halt, halted};
use crate::error::LinkError;
use crate::finish::Finished;
use crate::framing::{Deframer, Framing};
use crate::options::SocketOptions;
use crate::socket::{Protocol, SocketLink};

/// Listens at `path`, with mode 0600, for one guest after the other.
///
/// # Errors
/// [`LinkError`]: the path is in use, too long, or not writable.
pub fn listen(path: impl AsRef<Path>, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::listen(path.as_ref(), Protocol::Stream(Framing::Qemu), options)
}

/// Connects to a VMM that listens at `path`, and again whenever it was started anew.
///
/// # Errors
/// [`LinkError`]: nobody listens there now, or a socket of another type.
pub fn connect(path: impl AsRef<Path>, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::connect(path.as_ref(), Protocol::Stream(Framing::Qemu), options)
}

/// Takes over a stream socket, unix or TCP: one that listens serves one guest after the other; with
/// one that is connected, the link ends when the guest goes.
///
/// # Errors
/// [`LinkError`]: not a stream socket, or neither connected nor listening.
pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::from_fd(fd, Protocol::Stream(Framing::Qemu), options)
}

/// One connection's bytes, both ways.
#[derive(Debug)]
pub(crate) struct StreamWire {
    framing: Framing,
    deframer: Deframer,
    /// What was taken and not sent yet, `unsent[sent..]`: frames that wait for company, or the rest
    /// of one that the socket took in part.
    unsent: Vec<u8>,
    sent: usize,
    /// The socket had no room for all of it.
    full: bool,
    /// Frames may wait until they are flushed.
    gathers: bool,
}

impl StreamWire {
    pub(crate) fn new(framing: Framing, accepted: bool) -> Self {
        let unsent = if accepted { Vec::new() } else { framing.greeting().to_vec() };
        let deframer = Deframer::new(framing, accepted);
        Self { framing, deframer, unsent, sent: 0, full: false, gathers: false }
    }

    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, Halt> {
        for _ in 0..READS {
            if let Some(frame) = self.deframer.next_frame().map_err(Halt::framing)? {
                let length = frame.len().min(buf.len());
                buf[..length].copy_from_slice(&frame[..length]);
                return Ok(length);
            }
            match rustix::net::recv(fd, self.deframer.space(), RecvFlags::empty()) {
                Ok((_, 0)) => return Err(Halt::Gone(self.deframer.at_end())),
                Ok((_, length)) => self.deframer.filled(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(halted(errno)),
            }
        }
        // Someone writes byte by byte, just as fast as they are read.
        Err(Halt::LookAgain)
    }

    /// Takes a frame: to wait for company, or if the socket has room for any of it.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, frame: &Finished<'_>) -> Result<(), Halt> {
        let (prefix, prefix_len) = self.framing.prefix(frame.len());
        let prefix = &prefix[..prefix_len];
        let waiting = self.unsent.len() - self.sent;
        if self.gathers && waiting + prefix.len() + frame.len() <= GATHERED {
            self.keep(prefix, frame, 0);
            return Ok(());
        }
        let [one, two, three] = frame.pieces().map(IoSlice::new);
        let rest = IoSlice::new(&self.unsent[self.sent..]);
        let result = send_slices(fd, &[rest, IoSlice::new(prefix), one, two, three]);
        let mut sent = self.note(result)?;
        if sent < waiting {
            self.sent += sent;
            self.full = true;
            return Err(Halt::Again);
        }
        sent -= waiting;
        self.unsent.clear();
        self.sent = 0;
        self.full = sent < prefix.len() + frame.len();
        if self.full {
            self.keep(prefix, frame, sent);
        }
        Ok(())
    }

    /// Sends what was kept.
    pub(crate) fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<(), Halt> {
        while self.sent < self.unsent.len() {
            let result = send_slices(fd, &[IoSlice::new(&self.unsent[self.sent..])]);
            self.sent += self.note(result)?;
        }
        self.unsent.clear();
        self.sent = 0;
        self.full = false;
        Ok(())
    }

    pub(crate) fn gather(&mut self) {
        self.gathers = true;
    }

    /// Whether something waits for room.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Remembers that there was no room.
    fn note(&mut self, result: Result<usize, Halt>) -> Result<usize, Halt> {
        self.full |= matches!(result, Err(Halt::Again | Halt::NoBuffers));
        result
    }

    /// Keeps a frame, but for its first `gone` bytes, its length included.
    fn keep(&mut self, prefix: &[u8], frame: &Finished<'_>, mut gone: usize) {
        if self.sent > 0 {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
        for piece in std::iter::once(prefix).chain(frame.pieces()) {
            let skipped = gone.min(piece.len());
            gone -= skipped;
            self.unsent.extend_from_slice(&piece[skipped..]);
        }
    }
}

/// One `sendmsg` of all of it or, where it can be cut, of some.
pub(crate) fn send_slices(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize, Halt> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), flags) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(halted(errno)),
        }
    }
}

/// The most that waits for company; a frame that would make it more goes out with what waits.
const GATHERED: usize = 64 * 1024;
/// Reads for one frame in a row; a guest that sends as a whole needs two.
const READS: usize = 64;
