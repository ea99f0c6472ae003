//! Frames over byte streams, each behind its length as u32, big endian.
//!
//! What QEMU (`-netdev stream`, `-netdev socket`), passt's protocol, libkrun (`unixstream`) and
//! gvproxy (`-listen-qemu`) speak. Owns the ways to make such a link, and one connection of it (or
//! of HyperKit's form): reads that bring many frames, and the rest of a frame that went out in
//! part, which goes before any other. Never holds more than one such rest.
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
use crate::socket::{Protocol, SocketLink, SocketOptions};

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
    /// The rest of a frame that was taken and not sent yet: `unsent[sent..]`.
    unsent: Vec<u8>,
    sent: usize,
}

impl StreamWire {
    pub(crate) fn new(framing: Framing, accepted: bool) -> Self {
        let unsent = if accepted { Vec::new() } else { framing.greeting().to_vec() };
        Self { framing, deframer: Deframer::new(framing, accepted), unsent, sent: 0 }
    }

    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, Halt> {
        loop {
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
    }

    /// Takes a frame if there is room for any of it; then the rest is kept.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, frame: &Finished<'_>) -> Result<(), Halt> {
        self.flush(fd)?;
        let (prefix, prefix_len) = self.framing.prefix(frame.len());
        let prefix = &prefix[..prefix_len];
        let (slices, count) = frame.slices(prefix);
        let mut sent = send_slices(fd, &slices[..count])?;
        if sent < prefix.len() + frame.len() {
            for piece in std::iter::once(prefix).chain(frame.pieces()) {
                let gone = sent.min(piece.len());
                sent -= gone;
                self.unsent.extend_from_slice(&piece[gone..]);
            }
        }
        Ok(())
    }

    /// Sends what is left of a frame.
    pub(crate) fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<(), Halt> {
        while self.has_rest() {
            self.sent += send_slices(fd, &[IoSlice::new(&self.unsent[self.sent..])])?;
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    pub(crate) fn has_rest(&self) -> bool {
        self.sent < self.unsent.len()
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
