//! Frames in the guest's own memory: the device side of vhost-user.
//!
//! What QEMU (`-netdev vhost-user`), User-Mode Linux (`virtio_uml`), DPDK's `virtio-user`, crosvm
//! and cloud-hypervisor speak. Owns the ways to make such a link and what it offers. While both
//! sides are busy, no frame costs a system call: the guest is asked for kicks only before this side
//! rests, and is called only where it asked for it.
//!
//! By file: `link.rs` which front end is there, `session.rs` what it says, `message.rs` and
//! `channel.rs` how it says it, `features.rs` what is offered, `memory.rs` the guest's memory,
//! `vring.rs` when a ring runs, `ring.rs` and `chain.rs` what is in it, `queues.rs`,
//! `from_guest.rs` and `to_guest.rs` how frames move, `segment.rs` cutting them for a guest that
//! takes no super-segments, `steering.rs` which of several queues they take.
//!
//! A frame is copied once in each direction, between the guest's memory and the caller's buffer.
//! Nothing refers into that memory: the guest, and its front end, may change it at any time.
//!
//! Spec: `docs/interop/vhost-user.rst` of QEMU; Virtual I/O Device (VIRTIO) version 1.2 §2.7, §5.1.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::error::LinkError;

mod chain;
mod channel;
mod fault;
mod features;
mod from_guest;
mod link;
mod memory;
mod message;
mod queues;
mod ring;
mod segment;
mod session;
mod steering;
mod to_guest;
mod vring;

pub use fault::{MemoryFault, RingFault, VhostUserFault};
pub use link::VhostUserLink;

/// What the fuzz targets reach into.
pub(crate) mod fuzzed {
    pub(crate) use super::from_guest::{Took, take};
    pub(crate) use super::memory::Memory;
    pub(crate) use super::message::{Region, RingAddresses};
    pub(crate) use super::ring::Ring;
    pub(crate) use super::to_guest::{Put, Room, put};
}

/// How to make a link over vhost-user.
#[derive(Clone, Debug)]
pub struct VhostUserOptions {
    /// The guest's MTU. A front end that sets a smaller one is told no.
    pub mtu: u16,
    /// Pairs of queues the front end may use, at most 64. With one, several are not offered: a
    /// front end without a control queue of its own (User-Mode Linux) needs that.
    pub queue_pairs: u16,
    /// How often a link that connects tries again once its front end has gone; without, it is gone
    /// for good.
    pub reconnect: Option<Duration>,
    /// Refuse memory whose file is not sealed against being made shorter (`F_SEAL_SHRINK`), as
    /// QEMU's `memory-backend-memfd` is. A front end that shortens it nevertheless kills this
    /// process by `SIGBUS`, which is no more than it may do to its own guest, where each has an
    /// engine of its own.
    pub sealed_memory_only: bool,
}

impl Default for VhostUserOptions {
    fn default() -> Self {
        Self {
            mtu: 1500,
            queue_pairs: 1,
            reconnect: Some(Duration::from_millis(200)),
            sealed_memory_only: false,
        }
    }
}

/// Listens at `path`, with mode 0600, for one front end after the other.
///
/// # Errors
/// [`LinkError`]: the path is in use, too long, or not writable.
pub fn listen(
    path: impl AsRef<Path>,
    options: &VhostUserOptions,
) -> Result<VhostUserLink, LinkError> {
    VhostUserLink::listen(path.as_ref(), options)
}

/// Connects to a front end that listens at `path`, and again whenever it was started anew.
///
/// # Errors
/// [`LinkError`]: nobody listens there now, or a socket of another type.
pub fn connect(
    path: impl AsRef<Path>,
    options: &VhostUserOptions,
) -> Result<VhostUserLink, LinkError> {
    VhostUserLink::connect(path.as_ref(), options)
}

/// Takes over a unix stream socket: one that listens serves one front end after the other; with one
/// that is connected, the link ends when the front end goes.
///
/// # Errors
/// [`LinkError`]: not a unix stream socket, or neither connected nor listening.
pub fn from_fd(fd: OwnedFd, options: &VhostUserOptions) -> Result<VhostUserLink, LinkError> {
    VhostUserLink::from_fd(fd, options)
}
