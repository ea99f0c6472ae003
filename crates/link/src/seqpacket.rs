//! Frames over connections that keep messages apart, one frame in each.
//!
//! What User-Mode Linux (`vec` transport `bess`, or `fd` with such a pair) and slirp4netns
//! (`--target-type=bess`) speak. Owns the ways to make such a link, and one connection of it. An
//! empty message cannot be told from the end and is taken for it.
//!
//! Spec: unix(7), `SOCK_SEQPACKET`.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::connection::{Halt, halted};
use crate::error::LinkError;
use crate::event::{FramingFault, GoneCause};
use crate::finish::Finished;
use crate::framing::LONGEST_FRAME;
use crate::options::SocketOptions;
use crate::socket::{Protocol, SocketLink};
use crate::stream::send_slices;

/// Listens at `path`, with mode 0600, for one guest after the other.
///
/// # Errors
/// [`LinkError`]: the path is in use, too long, or not writable.
pub fn listen(path: impl AsRef<Path>, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::listen(path.as_ref(), Protocol::Seqpacket, options)
}

/// Connects to a guest that listens at `path`, and again whenever it was started anew.
///
/// # Errors
/// [`LinkError`]: nobody listens there now, or a socket of another type.
pub fn connect(path: impl AsRef<Path>, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::connect(path.as_ref(), Protocol::Seqpacket, options)
}

/// Takes over a socket: one that listens serves one guest after the other; with one that is
/// connected, the link ends when the guest goes.
///
/// # Errors
/// [`LinkError`]: not a unix socket of that type, or neither connected nor listening.
pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> Result<SocketLink, LinkError> {
    SocketLink::from_fd(fd, Protocol::Seqpacket, options)
}

pub(crate) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, Halt> {
    loop {
        // With MSG_TRUNC the length is the message's, even where the buffer is shorter.
        match rustix::net::recv(fd, &mut *buf, RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(Halt::Gone(GoneCause::Closed)),
            Ok((_, length)) if length > LONGEST_FRAME => {
                return Err(Halt::framing(FramingFault::Oversized {
                    length: u32::try_from(length).unwrap_or(u32::MAX),
                    limit: LONGEST_FRAME as u32,
                    text: None,
                }));
            }
            Ok((_, length)) => return Ok(length.min(buf.len())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(halted(errno)),
        }
    }
}

pub(crate) fn send(fd: BorrowedFd<'_>, frame: &Finished<'_>) -> Result<(), Halt> {
    let (slices, count) = frame.slices(&[]);
    send_slices(fd, &slices[..count]).map(|_| ())
}
