//! A link to a guest behind a vhost-user front end.
//!
//! Owns where front ends come from, the one that is there, and telling of its coming and going in
//! order with its frames. Never waits and never drops one front end for another.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use portreeve_wire::VIRTIO_NET_HDR_LEN;
use rustix::net::SocketType;

use super::VhostUserOptions;
use super::session::Session;
use crate::connection::Halt;
use crate::error::LinkError;
use crate::event::{GoneCause, LinkEvent};
use crate::finish::invalid;
use crate::link::{Capabilities, Link};
use crate::socket::{changed, gone};
use crate::source::Source;
use crate::watch::Watch;

/// A guest whose network card is a virtio device in shared memory, set up over vhost-user. Made by
/// the functions of [`vhost_user`](crate::vhost_user).
///
/// What it takes unfinished does not depend on the guest: super-segments are cut, and checksums
/// completed, for one that did not ask for them.
///
/// A front end is the guest that comes and goes: a reboot inside its machine stops the rings and
/// starts them anew, and is no event. While they stand still, [`send`](Link::send) returns
/// `NotConnected`.
#[derive(Debug)]
pub struct VhostUserLink {
    watch: Watch,
    source: Source,
    guest: Guest,
    events: VecDeque<LinkEvent>,
    options: VhostUserOptions,
    /// Whoever sends also flushes.
    gathers: bool,
    /// Of those who have gone.
    discarded: u64,
}

#[derive(Debug)]
enum Guest {
    Present(Box<Session>),
    Absent,
    GoneForGood(GoneCause),
}

impl VhostUserLink {
    pub(crate) fn listen(path: &Path, options: &VhostUserOptions) -> Result<Self, LinkError> {
        let source = Source::listen(path, SocketType::STREAM)?;
        Self::new(source, options).map_err(|error| LinkError::at("epoll", path, error))
    }

    pub(crate) fn connect(path: &Path, options: &VhostUserOptions) -> Result<Self, LinkError> {
        let (source, fd) = Source::connect(path, SocketType::STREAM, options.reconnect)?;
        let fault = |error| LinkError::at("epoll", path, error);
        let mut link = Self::new(source, options).map_err(fault)?;
        link.adopt(fd).map_err(fault)?;
        Ok(link)
    }

    pub(crate) fn from_fd(fd: OwnedFd, options: &VhostUserOptions) -> Result<Self, LinkError> {
        let number = fd.as_raw_fd();
        let fault = |error| LinkError::of("epoll", number, error);
        let (source, connected) = Source::from_fd(fd, SocketType::STREAM, false)?;
        let mut link = Self::new(source, options).map_err(fault)?;
        if let Some(fd) = connected {
            link.adopt(fd).map_err(fault)?;
        }
        Ok(link)
    }

    /// The path it listens on, if it does.
    pub fn path(&self) -> Option<&Path> {
        self.source.path()
    }

    fn new(source: Source, options: &VhostUserOptions) -> io::Result<Self> {
        let watch = Watch::new()?;
        source.watch(&watch)?;
        let mut options = options.clone();
        options.queue_pairs = options.queue_pairs.clamp(1, MAX_QUEUE_PAIRS);
        Ok(Self {
            watch,
            source,
            guest: Guest::Absent,
            events: VecDeque::new(),
            options,
            gathers: false,
            discarded: 0,
        })
    }

    fn adopt(&mut self, fd: OwnedFd) -> io::Result<()> {
        let mut session = Session::new(fd, &self.options, &self.watch)?;
        if self.gathers {
            session.flush(true);
        }
        self.guest = Guest::Present(Box::new(session));
        Ok(())
    }

    /// The front end is no longer there.
    fn lose(&mut self, cause: GoneCause) {
        let next = if self.source.await_next(&self.watch) {
            Guest::Absent
        } else {
            Guest::GoneForGood(cause)
        };
        if let Guest::Present(session) = std::mem::replace(&mut self.guest, next) {
            self.discarded += session.discarded();
            session.close(&self.watch);
            if matches!(self.guest, Guest::Absent) {
                self.events.push_back(LinkEvent::GuestGone(cause));
            }
        }
    }

    /// Looks for the next front end; whether there is news.
    fn attach(&mut self) -> bool {
        let fd = match self.source.next(&self.watch) {
            Ok(Some((fd, _))) => fd,
            Ok(None) => return false,
            Err(cause) => {
                self.guest = Guest::GoneForGood(cause);
                return true;
            }
        };
        if self.adopt(fd).is_err() {
            // Out of memory for the watch. The connection was closed; it may come again.
            self.source.try_later(&self.watch);
            return false;
        }
        self.events.push_back(LinkEvent::GuestArrived);
        true
    }
}

impl Link for VhostUserLink {
    fn capabilities(&self) -> Capabilities {
        let mtu = self.options.mtu;
        Capabilities { checksum_offload: true, tso4: true, tso6: true, uso: true, mtu }
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.len() < VIRTIO_NET_HDR_LEN {
            return Err(invalid("a receive buffer shorter than the header"));
        }
        loop {
            if !self.events.is_empty() {
                return Err(changed());
            }
            match &mut self.guest {
                Guest::Present(session) => match session.receive(&self.watch, buf) {
                    Ok(length) => return Ok(length),
                    Err(Halt::Gone(cause)) => self.lose(cause),
                    Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
                },
                Guest::Absent => {
                    if !self.attach() {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                }
                Guest::GoneForGood(cause) => return Err(gone(*cause)),
            }
        }
    }

    fn has_guest(&self) -> bool {
        matches!(self.guest, Guest::Present(_))
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if !self.events.is_empty() {
            return Err(changed());
        }
        match &mut self.guest {
            Guest::Present(session) => session.send(&self.watch, frame),
            Guest::Absent => Err(io::ErrorKind::NotConnected.into()),
            Guest::GoneForGood(cause) => Err(gone(*cause)),
        }
    }

    fn flush(&mut self) {
        self.gathers = true;
        if let Guest::Present(session) = &mut self.guest {
            session.flush(true);
        }
    }

    fn take_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn discarded(&self) -> u64 {
        let now = match &self.guest {
            Guest::Present(session) => session.discarded(),
            Guest::Absent | Guest::GoneForGood(_) => 0,
        };
        self.discarded + now
    }
}

/// Rings are numbered with eight bits, and two make a pair.
const MAX_QUEUE_PAIRS: u16 = 64;
