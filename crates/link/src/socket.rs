//! A link over connections: one guest at a time, and who comes next.
//!
//! Owns the guest that is there, and telling of its coming and going in order with its frames;
//! where connections come from is in `source.rs`, the framings are in [`stream`](crate::stream),
//! [`hyperkit`](crate::hyperkit) and [`seqpacket`](crate::seqpacket). Never waits and never drops a
//! guest for another: who comes while one is there waits in the listener's backlog.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use portreeve_wire::VIRTIO_NET_HDR_LEN;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::connection::{Connection, Halt};
use crate::error::LinkError;
use crate::event::{GoneCause, LinkEvent};
use crate::finish::{Finished, invalid, received_header};
use crate::framing::{Framing, LONGEST_FRAME};
use crate::link::{Capabilities, Link};
use crate::options::SocketOptions;
use crate::source::Source;
use crate::watch::Watch;

/// What is spoken over the connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Stream(Framing),
    Seqpacket,
}

impl Protocol {
    fn socket_type(self) -> SocketType {
        match self {
            Self::Stream(_) => SocketType::STREAM,
            Self::Seqpacket => SocketType::SEQPACKET,
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::Stream(framing) => framing.longest(),
            Self::Seqpacket => LONGEST_FRAME,
        }
    }
}

/// A guest behind a socket that knows connections. Made by the functions of
/// [`stream`](crate::stream), [`hyperkit`](crate::hyperkit) and [`seqpacket`](crate::seqpacket).
///
/// One that listens or connects outlives its guest: see [`Link`] for how that shows.
#[derive(Debug)]
pub struct SocketLink {
    watch: Watch,
    protocol: Protocol,
    source: Source,
    guest: Guest,
    events: VecDeque<LinkEvent>,
    options: SocketOptions,
    /// Whoever sends also flushes: frames may wait for company.
    gathers: bool,
    /// In front of each frame of the guest that is there.
    header: [u8; VIRTIO_NET_HDR_LEN],
}

#[derive(Debug)]
enum Guest {
    Present(Connection),
    Absent,
    GoneForGood(GoneCause),
}

impl SocketLink {
    pub(crate) fn listen(
        path: &Path,
        protocol: Protocol,
        options: &SocketOptions,
    ) -> Result<Self, LinkError> {
        let source = Source::listen(path, protocol.socket_type())?;
        let fault = |error| LinkError::at("epoll", path, error);
        Self::new(source, protocol, options).map_err(fault)
    }

    pub(crate) fn connect(
        path: &Path,
        protocol: Protocol,
        options: &SocketOptions,
    ) -> Result<Self, LinkError> {
        let (source, fd) = Source::connect(path, protocol.socket_type(), options.reconnect)?;
        let fault = |error| LinkError::at("epoll", path, error);
        let mut link = Self::new(source, protocol, options).map_err(fault)?;
        link.adopt(fd, false).map_err(fault)?;
        Ok(link)
    }

    pub(crate) fn from_fd(
        fd: OwnedFd,
        protocol: Protocol,
        options: &SocketOptions,
    ) -> Result<Self, LinkError> {
        let number = fd.as_raw_fd();
        let fault = |error| LinkError::of("epoll", number, error);
        let (source, connected) = Source::from_fd(fd, protocol.socket_type(), INET)?;
        let mut link = Self::new(source, protocol, options).map_err(fault)?;
        if let Some(fd) = connected {
            link.adopt(fd, true).map_err(fault)?;
        }
        Ok(link)
    }

    /// The path it listens on, if it does.
    pub fn path(&self) -> Option<&Path> {
        self.source.path()
    }

    fn new(source: Source, protocol: Protocol, options: &SocketOptions) -> io::Result<Self> {
        let watch = Watch::new()?;
        source.watch(&watch)?;
        Ok(Self {
            watch,
            protocol,
            source,
            guest: Guest::Absent,
            events: VecDeque::new(),
            options: options.clone(),
            gathers: false,
            header: received_header(false),
        })
    }

    /// Makes a connected socket the guest.
    fn adopt(&mut self, fd: OwnedFd, accepted: bool) -> io::Result<()> {
        let local = sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX);
        if !local {
            // A frame is not to wait for the acknowledgement of the one before.
            let _ = sockopt::set_tcp_nodelay(&fd, true);
        }
        self.options.grow_send_buffer(fd.as_fd(), local.then_some(SEND_BUFFER_WISH));
        let vouched = !self.options.verify_checksums.unwrap_or(!local);
        self.header = received_header(vouched);
        let mut connection = Connection::new(fd, self.protocol, accepted, &self.watch)?;
        if self.gathers {
            connection.gather();
        }
        self.guest = Guest::Present(connection);
        Ok(())
    }

    /// The guest is no longer there.
    fn lose(&mut self, cause: GoneCause) {
        let next = if self.source.await_next(&self.watch) {
            Guest::Absent
        } else {
            Guest::GoneForGood(cause)
        };
        if let Guest::Present(connection) = std::mem::replace(&mut self.guest, next) {
            connection.close(&self.watch);
            if matches!(self.guest, Guest::Absent) {
                self.events.push_back(LinkEvent::GuestGone(cause));
            }
        }
    }

    /// Looks for the next guest; whether there is news.
    fn attach(&mut self) -> bool {
        let (fd, accepted) = match self.source.next(&self.watch) {
            Ok(Some(next)) => next,
            Ok(None) => return false,
            Err(cause) => {
                self.guest = Guest::GoneForGood(cause);
                return true;
            }
        };
        if self.adopt(fd, accepted).is_err() {
            // Out of memory for the watch. The connection was closed; the guest may come again.
            self.source.try_later(&self.watch);
            return false;
        }
        self.events.push_back(LinkEvent::GuestArrived);
        true
    }
}

impl Link for SocketLink {
    fn capabilities(&self) -> Capabilities {
        self.options.capabilities()
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((header, frame)) = buf.split_at_mut_checked(VIRTIO_NET_HDR_LEN) else {
            return Err(invalid("a receive buffer shorter than the header"));
        };
        loop {
            if !self.events.is_empty() {
                return Err(changed());
            }
            match &mut self.guest {
                Guest::Present(connection) => match connection.receive(&self.watch, frame) {
                    Ok(length) => {
                        header.copy_from_slice(&self.header);
                        return Ok(VIRTIO_NET_HDR_LEN + length);
                    }
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
        let longest = self.protocol.longest();
        match &mut self.guest {
            Guest::Present(connection) => {
                let frame = Finished::new(frame, &self.options.capabilities(), longest)?;
                connection.send(&self.watch, &frame).map_err(|halt| match halt {
                    Halt::Again | Halt::NoBuffers | Halt::LookAgain => {
                        io::ErrorKind::WouldBlock.into()
                    }
                    Halt::TooLong => invalid("a frame longer than the socket's buffer"),
                    // Its socket is readable to the end, and the end is told there.
                    Halt::Gone(_) => io::ErrorKind::NotConnected.into(),
                })
            }
            Guest::Absent => Err(io::ErrorKind::NotConnected.into()),
            Guest::GoneForGood(cause) => Err(gone(*cause)),
        }
    }

    fn flush(&mut self) {
        let first = !std::mem::replace(&mut self.gathers, true);
        if let Guest::Present(connection) = &mut self.guest {
            if first {
                connection.gather();
            }
            connection.flush(&self.watch);
        }
    }

    fn take_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }
}

pub(crate) fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the guest has changed")
}

pub(crate) fn gone(cause: GoneCause) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, LinkEvent::GuestGone(cause).to_string())
}

/// Sixteen of the longest frames: with the kernel's usual 208 KiB, either side waits for the other
/// after every third.
const SEND_BUFFER_WISH: usize = 1024 * 1024;
/// Byte streams come over TCP as well.
const INET: bool = true;
