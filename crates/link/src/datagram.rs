//! Frames over unix datagrams, one bare frame in each.
//!
//! What QEMU (`-netdev dgram`), vfkit, gvproxy (`-listen-vfkit`), libkrun (`unixgram`) and
//! User-Mode Linux speak. Owns the socket and the knowledge of who the guest is: a datagram socket
//! has no connections, so the guest is whoever spoke first, until a datagram to it is refused. Its
//! own socket is never connected: a connected one refuses everyone but a guest that may be dead,
//! and the next start of the same VMM would fail on it.
//!
//! Spec: unix(7), `SOCK_DGRAM`; `net/dgram.c` of QEMU; vfkit's `VFKT` magic.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use portreeve_wire::VIRTIO_NET_HDR_LEN;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketAddrUnix, SocketType,
};

use crate::connection::{Halt, halted};
use crate::error::LinkError;
use crate::event::{GoneCause, LinkEvent};
use crate::finish::{Finished, invalid, received_header};
use crate::framing::LONGEST_FRAME;
use crate::link::{Capabilities, Link};
use crate::options::SocketOptions;
use crate::path::{self, BoundPath};
use crate::socket::{changed, gone};
use crate::watch::Watch;

mod guest;

use guest::{Guest, check_socket};

/// Binds `path`, with mode 0600; the guest is who sends the first datagram.
///
/// # Errors
/// [`LinkError`]: the path is in use, too long, or not writable.
pub fn listen(path: impl AsRef<Path>, options: &SocketOptions) -> Result<DatagramLink, LinkError> {
    let path = path.as_ref();
    let (fd, bound) = path::bind(path, SocketType::DGRAM)?;
    DatagramLink::new(fd, Some(bound), Guest::Unknown, options)
        .map_err(|error| LinkError::at("epoll", path, error))
}

/// Binds `local`, with mode 0600, for a guest that is reached at `remote`, now or later: it has
/// arrived when a datagram came from it or one to it was taken.
///
/// # Errors
/// [`LinkError`]: a path is too long, or `local` in use or not writable.
pub fn connect(
    local: impl AsRef<Path>,
    remote: impl AsRef<Path>,
    options: &SocketOptions,
) -> Result<DatagramLink, LinkError> {
    let (local, remote) = (local.as_ref(), remote.as_ref());
    let address =
        SocketAddrUnix::new(remote).map_err(|errno| LinkError::at("connect", remote, errno))?;
    let (fd, bound) = path::bind(local, SocketType::DGRAM)?;
    let guest = Guest::Configured { address: address.into(), here: false };
    DatagramLink::new(fd, Some(bound), guest, options)
        .map_err(|error| LinkError::at("epoll", local, error))
}

/// Takes over a unix datagram socket: one that is bound learns its guest from the first datagram;
/// with one that is connected, such as half of a pair, the link ends when the guest refuses.
///
/// # Errors
/// [`LinkError`]: not a unix datagram socket, or neither bound nor connected.
pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<DatagramLink, LinkError> {
    let number = fd.as_raw_fd();
    let guest = check_socket(&fd)?;
    rustix::io::ioctl_fionbio(&fd, true)
        .map_err(|errno| LinkError::of("FIONBIO", number, errno))?;
    DatagramLink::new(fd, None, guest, options)
        .map_err(|error| LinkError::of("epoll", number, error))
}

/// A guest behind a datagram socket. Made by the functions of [`datagram`](self).
#[derive(Debug)]
pub struct DatagramLink {
    watch: Watch,
    fd: OwnedFd,
    path: Option<BoundPath>,
    guest: Guest,
    events: VecDeque<LinkEvent>,
    /// The first frame of a guest whose arrival is to be told before.
    held: Option<Vec<u8>>,
    awaits_room: bool,
    discarded: u64,
    options: SocketOptions,
    header: [u8; VIRTIO_NET_HDR_LEN],
}

impl DatagramLink {
    fn new(
        fd: OwnedFd,
        path: Option<BoundPath>,
        guest: Guest,
        options: &SocketOptions,
    ) -> io::Result<Self> {
        let watch = Watch::new()?;
        watch.add(fd.as_fd())?;
        options.grow_send_buffer(fd.as_fd(), Some(SEND_BUFFER_WISH));
        Ok(Self {
            watch,
            fd,
            path,
            guest,
            events: VecDeque::new(),
            held: None,
            awaits_room: false,
            discarded: 0,
            options: options.clone(),
            header: received_header(!options.verify_checksums.unwrap_or(false)),
        })
    }

    /// The path it is bound to, if the link bound it.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(BoundPath::path)
    }

    /// Takes a datagram that the guest sent; none if it was not one, or no frame.
    fn sort(&mut self, frame: &[u8], length: usize, from: Option<&SocketAddrAny>) -> Option<usize> {
        if length > frame.len().min(LONGEST_FRAME) || !self.guest.may_be(from) {
            self.discarded += 1;
            return None;
        }
        let is_magic = frame[..length] == *MAGIC;
        let news = self.note_sender(from, is_magic);
        if is_magic {
            return None;
        }
        if length == 0 {
            self.discarded += 1;
            return None;
        }
        if news {
            self.held = Some(frame[..length].to_vec());
            return None;
        }
        Some(length)
    }

    /// Makes the sender the guest; whether that is news.
    fn note_sender(&mut self, from: Option<&SocketAddrAny>, is_magic: bool) -> bool {
        let told = self.events.len();
        match (&mut self.guest, from) {
            (Guest::Learnt(guest), Some(from)) => {
                if guest != from {
                    *guest = from.clone();
                    self.events.push_back(LinkEvent::GuestGone(GoneCause::Refused));
                    self.events.push_back(LinkEvent::GuestArrived);
                } else if is_magic {
                    self.events.push_back(LinkEvent::GuestGone(GoneCause::Restarted));
                    self.events.push_back(LinkEvent::GuestArrived);
                }
            }
            (guest @ Guest::Unknown, Some(from)) => {
                *guest = Guest::Learnt(from.clone());
                self.events.push_back(LinkEvent::GuestArrived);
            }
            (Guest::Configured { here, .. }, _) if !*here => {
                *here = true;
                self.events.push_back(LinkEvent::GuestArrived);
            }
            _ => {}
        }
        self.events.len() > told
    }

    fn try_send(&self, frame: &Finished<'_>) -> Result<(), Halt> {
        let (slices, count) = frame.slices(&[]);
        let slices = &slices[..count];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut control = SendAncillaryBuffer::default();
        loop {
            let sent = match &self.guest {
                Guest::Learnt(address) | Guest::Configured { address, .. } => {
                    rustix::net::sendmsg_addr(&self.fd, address, slices, &mut control, flags)
                }
                Guest::Connected => rustix::net::sendmsg(&self.fd, slices, &mut control, flags),
                Guest::Unknown | Guest::GoneForGood(_) => Err(Errno::NOTCONN),
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // Closed; its file removed, or another's now; connected elsewhere.
                Err(
                    Errno::CONNREFUSED
                    | Errno::CONNRESET
                    | Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::PROTOTYPE
                    | Errno::PERM
                    | Errno::ACCESS
                    | Errno::NOTCONN
                    | Errno::PIPE,
                ) => return Err(Halt::Gone(GoneCause::Refused)),
                Err(errno) => return Err(halted(errno)),
            }
        }
    }

    /// Nothing was sent for want of room: makes sure that room is told of, and tries again.
    fn send_later(&mut self, frame: &Finished<'_>) -> Result<(), Halt> {
        // The queue of a guest that is not connected to us is bounded by itself
        // (net.unix.max_dgram_qlen), and where others have filled it, as where the kernel is out
        // of buffers, nothing of ours being taken tells of room: the timer does.
        self.watch.wake_after(RETRY);
        if !self.awaits_room && self.watch.await_room(self.fd.as_fd()).is_ok() {
            self.awaits_room = true;
            // Room that came before the watch did causes no edge.
            return self.try_send(frame);
        }
        Err(Halt::Again)
    }

    /// Tells of what showed in sending: nothing need have arrived, so the edge is made.
    fn tell(&mut self, event: LinkEvent) {
        self.events.push_back(event);
        self.watch.wake_after(Duration::ZERO);
    }

    /// The guest refused a datagram; what the sender of it is told.
    fn refused(&mut self, cause: GoneCause) -> io::Error {
        match &mut self.guest {
            Guest::Connected => {
                self.guest = Guest::GoneForGood(cause);
                return gone(cause);
            }
            Guest::GoneForGood(cause) => return gone(*cause),
            Guest::Learnt(_) => self.guest = Guest::Unknown,
            Guest::Configured { here, .. } if *here => *here = false,
            Guest::Configured { .. } | Guest::Unknown => {
                return io::ErrorKind::NotConnected.into();
            }
        }
        self.tell(LinkEvent::GuestGone(cause));
        changed()
    }
}

impl Link for DatagramLink {
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
        header.copy_from_slice(&self.header);
        for _ in 0..READS {
            if !self.events.is_empty() {
                return Err(changed());
            }
            if let Guest::GoneForGood(cause) = &self.guest {
                return Err(gone(*cause));
            }
            if let Some(held) = self.held.take() {
                let length = held.len().min(frame.len());
                frame[..length].copy_from_slice(&held[..length]);
                return Ok(VIRTIO_NET_HDR_LEN + length);
            }
            // With MSG_TRUNC the length is the datagram's, even where the buffer is shorter.
            match rustix::net::recvfrom(&self.fd, &mut *frame, RecvFlags::TRUNC) {
                Ok((_, length, from)) => {
                    if let Some(length) = self.sort(frame, length, from.as_ref()) {
                        return Ok(VIRTIO_NET_HDR_LEN + length);
                    }
                }
                // A report about an earlier datagram, or about the other end of a pair.
                Err(Errno::INTR | Errno::CONNREFUSED | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(errno) => {
                    self.watch.wake_after(RETRY);
                    return Err(errno.into());
                }
            }
        }
        // A flood of what is no frame must not keep the caller here.
        self.watch.wake_after(Duration::ZERO);
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn has_guest(&self) -> bool {
        match &self.guest {
            Guest::Configured { here, .. } => *here,
            Guest::Unknown | Guest::GoneForGood(_) => false,
            Guest::Connected | Guest::Learnt(_) => true,
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if !self.events.is_empty() {
            return Err(changed());
        }
        if matches!(self.guest, Guest::Unknown) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let frame = Finished::new(frame, &self.options.capabilities(), LONGEST_FRAME)?;
        let mut sent = self.try_send(&frame);
        if let Err(Halt::Again | Halt::NoBuffers) = sent {
            sent = self.send_later(&frame);
        }
        match sent {
            Ok(()) => {
                if std::mem::take(&mut self.awaits_room) {
                    self.watch.forget_room(self.fd.as_fd());
                }
                if let Guest::Configured { here, .. } = &mut self.guest
                    && !*here
                {
                    *here = true;
                    self.tell(LinkEvent::GuestArrived);
                }
                Ok(())
            }
            Err(Halt::Again | Halt::NoBuffers | Halt::LookAgain) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(Halt::TooLong) => Err(invalid("a frame longer than the socket's buffer")),
            Err(Halt::Gone(cause)) => Err(self.refused(cause)),
        }
    }

    fn take_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn discarded(&self) -> u64 {
        self.discarded
    }
}

/// What vfkit sends first.
const MAGIC: &[u8] = b"VFKT";
/// As libkrun asks for.
const SEND_BUFFER_WISH: usize = 7 * 1024 * 1024;
/// Datagrams looked at in one call.
const READS: usize = 64;
/// When to try again where the kernel gives no sign.
const RETRY: Duration = Duration::from_millis(2);
