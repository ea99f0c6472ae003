//! The contract every link keeps.
//!
//! Owns the trait and what it promises to an event loop with edge-triggered readiness; never a
//! transport. The header in front of each frame is `virtio_net_hdr_v1`
//! (Virtual I/O Device (VIRTIO) version 1.2 §5.1.6), little endian, twelve bytes.

use std::io;
use std::os::fd::BorrowedFd;

use portreeve_wire::VIRTIO_NET_HDR_LEN;

use crate::event::LinkEvent;

/// A receive buffer of this size holds whatever a link delivers: the header, an Ethernet header
/// with one VLAN tag, and the largest packet that IP's length fields can say.
pub const MAX_FRAME_LEN: usize = VIRTIO_NET_HDR_LEN + 14 + 4 + 40 + 65_535;

/// What a link completes by itself, so that it may be handed over unfinished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// TCP and UDP checksums may be left partial (`needs_csum`).
    pub checksum_offload: bool,
    /// TCP super-segments over IPv4.
    pub tso4: bool,
    /// TCP super-segments over IPv6.
    pub tso6: bool,
    /// UDP super-segments (USO), either family.
    pub uso: bool,
    /// Largest IP packet the guest's interface takes in one frame.
    pub mtu: u16,
}

/// A guest's transport for Ethernet frames.
///
/// # Frames
/// Buffers always hold the twelve bytes of a virtio-net header, then the Ethernet frame, in both
/// directions and on every link. A link whose transport has no such header fills and strips it.
/// `num_buffers` has no meaning here and is to be ignored.
///
/// # Readiness
/// [`event_fd`](Self::event_fd) is made for `epoll` with edge-triggered interest in reading and
/// writing. After [`receive`](Self::receive) has returned `WouldBlock`, the next frame causes a
/// new readable edge; after [`send`](Self::send) has returned `WouldBlock`, room causes a new
/// writable edge. Before they return it, no edge is owed: the caller goes on until they do, or
/// remembers to come back. Spurious edges are possible, and a level-triggered wait for writing
/// tells nothing.
///
/// **Any edge may mean either.** The descriptor of a link that outlives its connections is an
/// epoll descriptor of its own, which the kernel only ever reports as readable: after an edge of
/// whatever kind, both [`receive`](Self::receive) and [`send`](Self::send) are worth a call, and
/// `receive` has to be called, for it also finishes a frame that `send` took in part.
///
/// # Guests that come and go
/// A link that listens, or connects again, outlives its guest. It says so in order with the
/// frames: `receive` (and `send`) return `ConnectionReset` and nothing else until
/// [`take_event`](Self::take_event) has been asked for every [`LinkEvent`]. On
/// [`GuestGone`](LinkEvent::GuestGone) whatever belongs to the old guest ends: its flows are
/// reset, a frame that waits for room is dropped; what is published stays. The next frame after
/// [`GuestArrived`](LinkEvent::GuestArrived) is the new guest's first. Between the two, `receive`
/// returns `WouldBlock` and `send` `NotConnected`.
pub trait Link: Send {
    /// What may be handed to [`send`](Self::send) unfinished. Constant while the link lives.
    fn capabilities(&self) -> Capabilities;

    /// The descriptor to poll: readable means frames from the guest, writable room again.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// Takes one frame from the guest into `buf` and returns its length, header included.
    ///
    /// `buf` should have [`MAX_FRAME_LEN`] bytes: what does not fit may be cut off. The content
    /// is the guest's and may be anything, but the length is never below the header's.
    ///
    /// # Errors
    /// - `WouldBlock`: nothing there, wait for the next readable edge.
    /// - `ConnectionReset`: the guest has changed; go on when [`take_event`](Self::take_event) has
    ///   told all. No edge is owed.
    /// - `BrokenPipe`: the guest is gone for good.
    /// - Any other: this call failed, the link lives.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Hands one frame to the guest: all of it or nothing, and what was taken is never lost.
    ///
    /// # Errors
    /// - `WouldBlock`: nothing was taken, try again after the next writable edge.
    /// - `BrokenPipe`: the guest is gone for good.
    /// - `InvalidInput`: this frame can never be sent: malformed, or unfinished in a way
    ///   [`capabilities`](Self::capabilities) does not offer.
    /// - `NetworkDown`: the guest's interface is down; the frame was not taken.
    /// - `NotConnected`: no guest is there now; the frame was not taken and no edge is owed.
    /// - `ConnectionReset`: the guest has changed, see [`take_event`](Self::take_event); the frame
    ///   was not taken.
    /// - Any other: this call failed, the frame was not taken, the link lives.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Sends whatever [`send`](Self::send) has taken and kept for company.
    ///
    /// A link may gather short frames and send many with one system call. It does so only from the
    /// first call of this on: who never calls it has every frame sent at once, and who does calls
    /// it after the last frame of each batch, before it waits. What the guest has no room for is
    /// still kept, in order, and sent after a later edge as if `send` had taken it in part.
    fn flush(&mut self) {}

    /// What has become of the guest, in the order in which it happened; none when all is told.
    ///
    /// Links whose guest cannot change have nothing to tell.
    fn take_event(&mut self) -> Option<LinkEvent> {
        None
    }

    /// What arrived and could be no frame of the guest's: too long, empty, or from a stranger. The
    /// count only goes up.
    fn discarded(&self) -> u64 {
        0
    }

    /// Whether a guest is at the other end now, as far as can be told.
    ///
    /// Links whose guest cannot change always have one; every link says so by itself, for one that
    /// says nothing would be taken for one of them.
    fn has_guest(&self) -> bool;
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        (**self).event_fd()
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (**self).receive(buf)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        (**self).send(frame)
    }

    fn flush(&mut self) {
        (**self).flush();
    }

    fn take_event(&mut self) -> Option<LinkEvent> {
        (**self).take_event()
    }

    fn discarded(&self) -> u64 {
        (**self).discarded()
    }

    fn has_guest(&self) -> bool {
        (**self).has_guest()
    }
}
