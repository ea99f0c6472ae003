//! A link over connections: one guest at a time, and who comes next.
//!
//! Owns where connections come from (a listener, a path to connect to, or one descriptor), the
//! guest that is there, and telling of its coming and going in order with its frames; the
//! framings are in [`stream`](crate::stream), [`hyperkit`](crate::hyperkit) and
//! [`seqpacket`](crate::seqpacket). Never waits and never drops a guest for another: who comes
//! while one is there waits in the listener's backlog.
//!
//! Spec: unix(7), accept(2).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portreeve_wire::VIRTIO_NET_HDR_LEN;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::connection::{Connection, Halt};
use crate::error::{LinkCause, LinkError};
use crate::event::{GoneCause, LinkEvent};
use crate::finish::{Finished, invalid, received_header};
use crate::framing::{Framing, LONGEST_FRAME};
use crate::link::{Capabilities, Link};
use crate::options::SocketOptions;
use crate::path::{self, BoundPath};
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

/// Where the next guest comes from.
#[derive(Debug)]
enum Source {
    Listener { fd: OwnedFd, path: Option<BoundPath> },
    Path(PathBuf),
    Nowhere,
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
        let (fd, bound) = path::bind(path, protocol.socket_type())?;
        Self::serving(fd, Some(bound), protocol, options)
            .map_err(|error| LinkError::at("epoll", path, error))
    }

    pub(crate) fn connect(
        path: &Path,
        protocol: Protocol,
        options: &SocketOptions,
    ) -> Result<Self, LinkError> {
        let fd = path::connect(path, protocol.socket_type())?;
        let source = match options.reconnect {
            Some(_) => Source::Path(path.to_owned()),
            None => Source::Nowhere,
        };
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
        let fault = |operation| move |errno: Errno| LinkError::of(operation, number, errno);
        let listens = check_socket(&fd, protocol)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(fault("FIONBIO"))?;
        if listens {
            return Self::serving(fd, None, protocol, options)
                .map_err(|error| LinkError::of("epoll", number, error));
        }
        rustix::net::getpeername(&fd).map_err(fault("getpeername"))?;
        Self::new(Source::Nowhere, protocol, options)
            .and_then(|mut link| link.adopt(fd, true).map(|()| link))
            .map_err(|error| LinkError::of("epoll", number, error))
    }

    /// The path it listens on, if it does.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Listener { path, .. } => path.as_ref().map(BoundPath::path),
            Source::Path(_) | Source::Nowhere => None,
        }
    }

    fn serving(
        fd: OwnedFd,
        path: Option<BoundPath>,
        protocol: Protocol,
        options: &SocketOptions,
    ) -> io::Result<Self> {
        let link = Self::new(Source::Listener { fd, path }, protocol, options)?;
        if let Source::Listener { fd, .. } = &link.source {
            link.watch.add(fd.as_fd())?;
        }
        Ok(link)
    }

    fn new(source: Source, protocol: Protocol, options: &SocketOptions) -> io::Result<Self> {
        Ok(Self {
            watch: Watch::new()?,
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
        let next = match (&self.source, self.options.reconnect) {
            (Source::Nowhere, _) | (Source::Path(_), None) => Guest::GoneForGood(cause),
            (Source::Listener { .. }, _) => Guest::Absent,
            (Source::Path(_), Some(delay)) => {
                self.watch.wake_after(delay);
                Guest::Absent
            }
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
        let (fd, accepted) = match (&self.source, self.options.reconnect) {
            (Source::Listener { fd, .. }, _) => match accept(fd, &self.watch) {
                Ok(fd) => (fd, true),
                Err(cause) => {
                    self.guest = Guest::GoneForGood(cause);
                    return true;
                }
            },
            (Source::Path(path), Some(delay)) if self.watch.is_due() => {
                let fd = path::connect(path, self.protocol.socket_type()).ok();
                if fd.is_none() {
                    self.watch.wake_after(delay);
                }
                (fd, false)
            }
            _ => (None, false),
        };
        let Some(fd) = fd else { return false };
        if self.adopt(fd, accepted).is_err() {
            // Out of memory for the watch. The connection was closed; the guest may come again.
            self.watch.wake_after(self.options.reconnect.unwrap_or(ACCEPT_RETRY));
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

/// Whether the socket listens, of one that is fit for the protocol.
fn check_socket(socket: &OwnedFd, protocol: Protocol) -> Result<bool, LinkError> {
    let fd = socket.as_raw_fd();
    let fault = |operation| move |errno: Errno| LinkError::of(operation, fd, errno);
    let kind = sockopt::socket_type(socket).map_err(fault("SO_TYPE"))?;
    let domain = sockopt::socket_domain(socket).map_err(fault("SO_DOMAIN"))?;
    let inet = domain == AddressFamily::INET || domain == AddressFamily::INET6;
    let fit = domain == AddressFamily::UNIX || (inet && kind == SocketType::STREAM);
    if kind != protocol.socket_type() || !fit {
        return Err(LinkError::unsuitable("SO_TYPE", fd, LinkCause::WrongType));
    }
    sockopt::socket_acceptconn(socket).map_err(fault("SO_ACCEPTCONN"))
}

/// Takes one connection, if one waits; fails when none can come any more.
fn accept(listener: &OwnedFd, watch: &Watch) -> Result<Option<OwnedFd>, GoneCause> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            // Someone who holds the same TCP socket has shut it down.
            Err(errno @ Errno::INVAL) => {
                return Err(GoneCause::Socket(io::Error::from(errno).kind()));
            }
            // Out of descriptors or memory: whoever waits stays in the backlog and is no edge.
            Err(_) => {
                watch.wake_after(ACCEPT_RETRY);
                return Ok(None);
            }
        }
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
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
