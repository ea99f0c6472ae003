//! One guest's connection: its socket, its framing, and whether room is awaited.
//!
//! Owns the socket from its arrival to its end and the watch on its room; whether another follows
//! is decided in `socket.rs`. After a failed write it goes on reading: what the guest sent before
//! it went is still the guest's word.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::event::{FramingFault, GoneCause};
use crate::finish::Finished;
use crate::seqpacket;
use crate::socket::Protocol;
use crate::stream::StreamWire;
use crate::watch::Watch;

/// Why a call on a connection moved nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Halt {
    /// Nothing there, or no room.
    Again,
    /// No room, and the kernel will not say when there is.
    NoBuffers,
    /// There may be more, but enough was done in one call.
    LookAgain,
    /// The message is longer than the socket takes.
    TooLong,
    Gone(GoneCause),
}

impl Halt {
    pub(crate) fn framing(fault: FramingFault) -> Self {
        Self::Gone(GoneCause::Framing(fault))
    }
}

/// What an error of a socket means.
pub(crate) fn halted(errno: Errno) -> Halt {
    match errno {
        Errno::AGAIN => Halt::Again,
        Errno::NOBUFS | Errno::NOMEM => Halt::NoBuffers,
        Errno::MSGSIZE => Halt::TooLong,
        Errno::PIPE => Halt::Gone(GoneCause::Closed),
        Errno::CONNREFUSED => Halt::Gone(GoneCause::Refused),
        other => Halt::Gone(GoneCause::Socket(io::Error::from(other).kind())),
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    fd: OwnedFd,
    wire: Wire,
    awaits_room: bool,
    /// Writing has failed: no frame is taken any more, and reading goes on to the end.
    unwritable: Option<GoneCause>,
}

#[derive(Debug)]
enum Wire {
    Stream(StreamWire),
    Seqpacket,
}

impl Connection {
    /// Takes over a connected socket and watches it.
    pub(crate) fn new(
        fd: OwnedFd,
        protocol: Protocol,
        accepted: bool,
        watch: &Watch,
    ) -> io::Result<Self> {
        watch.add(fd.as_fd())?;
        let wire = match protocol {
            Protocol::Stream(framing) => Wire::Stream(StreamWire::new(framing, accepted)),
            Protocol::Seqpacket => Wire::Seqpacket,
        };
        let mut connection = Self { fd, wire, awaits_room: false, unwritable: None };
        // What has to be said first, so that it does not wait for a frame.
        connection.flush(watch);
        Ok(connection)
    }

    /// The next frame; `Halt::Gone` when there will be none.
    pub(crate) fn receive(&mut self, watch: &Watch, buf: &mut [u8]) -> Result<usize, Halt> {
        if self.awaits_room {
            self.flush(watch);
        }
        let received = match &mut self.wire {
            Wire::Stream(stream) => stream.receive(self.fd.as_fd(), buf),
            Wire::Seqpacket => seqpacket::receive(self.fd.as_fd(), buf),
        };
        match (received, self.unwritable) {
            // The other end only closed its ear: a guest that cannot be answered is none.
            (Err(Halt::Again), Some(cause)) => Err(Halt::Gone(cause)),
            (Err(Halt::NoBuffers), _) => {
                watch.wake_after(RETRY);
                Err(Halt::Again)
            }
            (Err(Halt::LookAgain), _) => {
                watch.wake_after(Duration::ZERO);
                Err(Halt::Again)
            }
            (received, _) => received,
        }
    }

    /// Takes a frame or says why not. `Halt::Gone` shows when reading, too.
    pub(crate) fn send(&mut self, watch: &Watch, frame: &Finished<'_>) -> Result<(), Halt> {
        if let Some(cause) = self.unwritable {
            return Err(Halt::Gone(cause));
        }
        let mut sent = self.try_send(frame);
        let full = matches!(sent, Err(Halt::Again | Halt::NoBuffers));
        if full || self.is_full() {
            if matches!(sent, Err(Halt::NoBuffers)) {
                watch.wake_after(RETRY);
            }
            // Room that came before the watch did causes no edge.
            if self.await_room(watch) {
                if full {
                    sent = self.try_send(frame);
                } else {
                    self.flush(watch);
                }
            }
        } else {
            self.forget_room(watch);
        }
        match sent {
            Err(Halt::Gone(cause)) => self.give_up(watch, cause),
            Err(Halt::NoBuffers) => return Err(Halt::Again),
            _ => {}
        }
        sent
    }

    /// Lets frames wait for company from now on.
    pub(crate) fn gather(&mut self) {
        if let Wire::Stream(stream) = &mut self.wire {
            stream.gather();
        }
    }

    /// Sends what was kept: frames that waited for company, the rest of one taken in part.
    pub(crate) fn flush(&mut self, watch: &Watch) {
        let Wire::Stream(stream) = &mut self.wire else { return };
        match stream.flush(self.fd.as_fd()) {
            Ok(()) => {}
            Err(Halt::Gone(cause)) => self.give_up(watch, cause),
            Err(halt) => {
                if matches!(halt, Halt::NoBuffers) {
                    watch.wake_after(RETRY);
                }
                // Room that came before the watch did causes no edge.
                if self.await_room(watch) {
                    self.flush(watch);
                }
            }
        }
    }

    /// Ends the connection.
    pub(crate) fn close(self, watch: &Watch) {
        watch.remove(self.fd.as_fd());
    }

    fn try_send(&mut self, frame: &Finished<'_>) -> Result<(), Halt> {
        let fd = self.fd.as_fd();
        match &mut self.wire {
            Wire::Stream(stream) => stream.send(fd, frame),
            Wire::Seqpacket => seqpacket::send(fd, frame),
        }
    }

    /// Takes no frame any more. A guest that only closed its ear is nothing to read, and so no
    /// edge: one is made.
    fn give_up(&mut self, watch: &Watch, cause: GoneCause) {
        self.unwritable = Some(cause);
        watch.wake_after(Duration::ZERO);
    }

    /// Watches for room; says whether that is news.
    fn await_room(&mut self, watch: &Watch) -> bool {
        let news = !self.awaits_room && watch.await_room(self.fd.as_fd()).is_ok();
        self.awaits_room |= news;
        if !self.awaits_room {
            // The watch cannot be had (for want of memory): the timer stands in.
            watch.wake_after(RETRY);
        }
        news
    }

    fn forget_room(&mut self, watch: &Watch) {
        if std::mem::take(&mut self.awaits_room) {
            watch.forget_room(self.fd.as_fd());
        }
    }

    fn is_full(&self) -> bool {
        matches!(&self.wire, Wire::Stream(stream) if stream.is_full())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// When to try again where the kernel gives no sign.
const RETRY: Duration = Duration::from_millis(2);
