//! Many datagrams with one system call.
//!
//! Owns the message headers of recvmmsg(2) and sendmmsg(2), built on the stack for each call, so
//! that nothing outside holds a raw pointer. What the results mean is read in `datagram`.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::net::AddressFamily;

use super::address::RawAddress;
use super::control::{PacketInfo, ReceiveBuffer, SendBuffer, SendControl};

/// Messages per call.
pub(crate) const MESSAGES: usize = 32;

/// What is known of one received datagram, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) info: Option<PacketInfo>,
    pub(crate) truncated: bool,
    /// It is several datagrams of this length, of which the last may be shorter.
    pub(crate) segment: Option<usize>,
}

/// One message to send: a datagram, or several of one length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// Goes before the payload; empty for most.
    pub(crate) head: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) destination: SocketAddr,
    pub(crate) control: SendControl,
}

/// Receives at most [`MESSAGES`] messages, each into its own `slot` bytes of `memory`, and
/// appends what is known of them to `received`.
pub(crate) fn receive_many(
    fd: BorrowedFd<'_>,
    memory: &mut [u8],
    slot: usize,
    received: &mut Vec<Received>,
) -> io::Result<()> {
    let mut names = [RawAddress::empty(); MESSAGES];
    let mut controls = [ReceiveBuffer::empty(); MESSAGES];
    let mut vectors = [EMPTY_VECTOR; MESSAGES];
    let mut messages: [libc::mmsghdr; MESSAGES] = empty_messages();
    let mut count = 0;
    for (at, piece) in memory.chunks_exact_mut(slot).take(MESSAGES).enumerate() {
        vectors[at] = libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
        let header = &mut messages[at].msg_hdr;
        header.msg_name = (&raw mut names[at]).cast();
        header.msg_namelen = RawAddress::LEN;
        header.msg_iov = &raw mut vectors[at];
        header.msg_iovlen = 1;
        header.msg_control = controls[at].0.as_mut_ptr().cast();
        header.msg_controllen = controls[at].0.len() as _;
        count = at + 1;
    }
    // SAFETY: the first `count` messages point to a name, a vector, a control buffer and a piece
    // of `memory` each, of the lengths given, all alive and not otherwise used during the call;
    // no timeout is passed.
    let result = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let filled = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    for at in 0..filled.min(count) {
        let header = &messages[at].msg_hdr;
        #[allow(clippy::unnecessary_cast, reason = "not a usize in every C library")]
        let control_length = header.msg_controllen as usize;
        received.push(Received {
            length: (messages[at].msg_len as usize).min(slot),
            source: names[at].read(),
            info: controls[at].packet_info(control_length),
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            segment: controls[at].segment(control_length),
        });
    }
    Ok(())
}

/// Sends messages, at most `N`, and returns how many the kernel took.
pub(crate) fn send_many<'a, const N: usize>(
    fd: BorrowedFd<'_>,
    socket: AddressFamily,
    outgoing: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut names = [RawAddress::empty(); N];
    let mut controls = [SendBuffer::empty(); N];
    let mut vectors = [[EMPTY_VECTOR; 2]; N];
    let mut messages: [libc::mmsghdr; N] = empty_messages();
    let mut count = 0;
    for (at, datagram) in outgoing.take(N).enumerate() {
        let length;
        (names[at], length) = RawAddress::new(datagram.destination, socket);
        vectors[at] = [datagram.head, datagram.payload].map(|bytes| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        let header = &mut messages[at].msg_hdr;
        header.msg_name = (&raw mut names[at]).cast();
        header.msg_namelen = length;
        header.msg_iov = vectors[at].as_mut_ptr();
        header.msg_iovlen = vectors[at].len() as _;
        let used = controls[at].set(&datagram.control, datagram.destination.ip(), socket);
        if used > 0 {
            header.msg_control = controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = used as _;
        }
        count = at + 1;
    }
    // SAFETY: the first `count` messages point to a name, two vectors, their bytes and perhaps
    // a control buffer each, of the lengths given, all alive during the call ('a outlives it); the
    // kernel only reads them, so that payloads may be shared.
    let result = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn empty_messages<const N: usize>() -> [libc::mmsghdr; N] {
    // SAFETY: an mmsghdr is integers and nullable pointers, for which zeroes are valid.
    unsafe { mem::zeroed() }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
