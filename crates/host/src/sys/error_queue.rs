//! The error queue of a socket.
//!
//! Owns the call that takes one report from it; what it says is read in `datagram`.
//!
//! Spec: recv(2) for `MSG_ERRQUEUE`, ip(7) for `IP_RECVERR`.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::address::RawAddress;
use super::control::ErrorBuffer;

/// One report, in the kernel's terms.
pub(crate) struct QueuedError {
    /// Where the datagram had been sent.
    pub(crate) destination: Option<SocketAddr>,
    /// Which of our addresses it had left from, as far as the kernel tells.
    pub(crate) local: Option<IpAddr>,
    pub(crate) errno: i32,
    /// `SO_EE_ORIGIN_*`.
    pub(crate) origin: u8,
    pub(crate) icmp_type: u8,
    pub(crate) icmp_code: u8,
    pub(crate) info: u32,
    /// The node that reported.
    pub(crate) offender: Option<IpAddr>,
    /// How much of the datagram's payload came back.
    pub(crate) length: usize,
}

/// Takes the next report, with the returned payload in `payload`. Reports that are not about
/// errors of datagrams are passed over.
pub(crate) fn next_queued_error(fd: BorrowedFd<'_>, payload: &mut [u8]) -> io::Result<QueuedError> {
    loop {
        let mut name = RawAddress::empty();
        let mut control = ErrorBuffer::empty();
        let mut vector =
            libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        // SAFETY: a msghdr is integers and nullable pointers, for which zeroes are valid.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = RawAddress::LEN;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: `header` points to a name, a vector, a control buffer and the payload, of the
        // lengths given, all alive and not otherwise used during the call.
        let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
        let length = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        #[allow(clippy::unnecessary_cast, reason = "not a usize in every C library")]
        let control_length = header.msg_controllen as usize;
        let Some(report) = control.extended_error(control_length) else { continue };
        return Ok(QueuedError {
            destination: name.read(),
            local: control.packet_info(control_length).map(|info| info.local),
            errno: report.error.ee_errno.cast_signed(),
            origin: report.error.ee_origin,
            icmp_type: report.error.ee_type,
            icmp_code: report.error.ee_code,
            info: report.error.ee_info,
            offender: report.offender.map(|address| address.ip()),
            length: length.min(payload.len()),
        });
    }
}
