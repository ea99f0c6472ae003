//! Reports of what became of datagrams that were sent.
//!
//! Owns the reading of the error queue and telling its echoes from faults of a call; decides
//! nothing about whom to tell.
//!
//! An ICMP error is told twice by the kernel: as a report in the error queue, and as the result
//! of whichever call comes next, which has nothing to do with it. The second is swallowed here
//! and the call made again, so that an error of one destination is never taken for one of the
//! socket or of another destination.
//!
//! Spec: ip(7) for `IP_RECVERR`, RFC 792, RFC 4443.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SocketFlags, SocketType};

use crate::sys;

/// A call that sent nothing, and what it should have sent.
pub(crate) struct Fault<'a> {
    pub(crate) error: &'a io::Error,
    pub(crate) destination: SocketAddr,
    /// The address to leave from, if it was asked for.
    pub(crate) source: Option<IpAddr>,
    pub(crate) payload: &'a [u8],
}

/// Who reported an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorOrigin {
    /// This host.
    Local,
    /// A node on the way or the destination, by ICMP (RFC 792).
    Icmp,
    /// The same by ICMPv6 (RFC 4443).
    Icmp6,
}

/// A datagram did not arrive: all that an ICMP error to its sender is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketErrorReport {
    /// Where it had been sent. The port means nothing for echo requests.
    pub destination: SocketAddr,
    /// The address of this host that the error came back to, if the kernel tells.
    pub local: Option<IpAddr>,
    /// The error as an error number: `ECONNREFUSED`, `EHOSTUNREACH`, …
    pub errno: i32,
    /// Who reported it.
    pub origin: ErrorOrigin,
    /// Type of the ICMP or ICMPv6 message; zero for local ones.
    pub icmp_type: u8,
    /// Code of the ICMP or ICMPv6 message; zero for local ones.
    pub icmp_code: u8,
    /// The node that reported, if not this host.
    pub offender: Option<IpAddr>,
    /// The MTU that the datagram exceeded, in bytes of the whole IP packet.
    pub mtu: Option<u32>,
    /// How its payload begins, as far as it came back: that of UDP, or an echo request from the
    /// head of its ICMP message on.
    pub payload: Vec<u8>,
}

/// Takes the next report from a socket's error queue; none when it is empty.
///
/// What this host itself finds too long is left out: it is told as the error of the call that
/// would have sent the datagram, where it is known whose it was.
pub(crate) fn next(fd: BorrowedFd<'_>) -> io::Result<Option<SocketErrorReport>> {
    let mut payload = [0; PAYLOAD];
    loop {
        let queued = match sys::next_queued_error(fd, &mut payload) {
            Ok(queued) => queued,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let origin = match queued.origin {
            libc::SO_EE_ORIGIN_LOCAL => ErrorOrigin::Local,
            libc::SO_EE_ORIGIN_ICMP => ErrorOrigin::Icmp,
            libc::SO_EE_ORIGIN_ICMP6 => ErrorOrigin::Icmp6,
            // Time stamps and the like, which nobody here asks for.
            _ => continue,
        };
        if origin == ErrorOrigin::Local && queued.errno == libc::EMSGSIZE {
            continue;
        }
        let Some(destination) = queued.destination else { continue };
        return Ok(Some(SocketErrorReport {
            destination,
            local: queued.local,
            errno: queued.errno,
            origin,
            icmp_type: queued.icmp_type,
            icmp_code: queued.icmp_code,
            offender: queued.offender,
            mtu: (queued.errno == libc::EMSGSIZE && queued.info != 0).then_some(queued.info),
            payload: payload[..queued.length].to_vec(),
        }));
    }
}

/// The report of a fault of this host's, with the path MTU if that was too small; none when it is
/// none of the datagram's.
pub(crate) fn of_fault(fd: BorrowedFd<'_>, fault: &Fault<'_>) -> Option<SocketErrorReport> {
    let errno = fault.error.raw_os_error().filter(|errno| *errno != libc::EAGAIN)?;
    let too_long = errno == libc::EMSGSIZE;
    let mtu = || path_mtu(fd, fault.source, fault.destination).ok();
    Some(SocketErrorReport {
        destination: fault.destination,
        local: fault.source,
        errno,
        origin: ErrorOrigin::Local,
        icmp_type: 0,
        icmp_code: 0,
        offender: None,
        mtu: if too_long { mtu() } else { None },
        payload: fault.payload[..fault.payload.len().min(PAYLOAD)].to_vec(),
    })
}

/// The path MTU to a destination as the kernel knows it, in bytes of the whole packet. Asked of
/// a socket made for it and connected, since only those can be asked.
fn path_mtu(
    like: BorrowedFd<'_>,
    source: Option<IpAddr>,
    destination: SocketAddr,
) -> io::Result<u32> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let family = sys::family(destination.ip());
    let probe = rustix::net::socket_with(family, kind, flags, None)?;
    sys::bind_like(probe.as_fd(), like)?;
    if let Some(source) = source {
        rustix::net::bind(&probe, &SocketAddr::new(source, 0))?;
    }
    rustix::net::connect(&probe, &destination)?;
    sys::path_mtu(probe.as_fd(), family)
}

/// Makes a call again if what it returned may have been the echo of a report: the kernel keeps
/// one such error and the first call takes it away. `seen` tells whether there was one.
pub(crate) fn despite_reports<T>(
    seen: &mut bool,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_report(&error) => {
                *seen = true;
                tries += 1;
                if tries >= tries_for(&error) {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

/// How often a call is made that goes on failing in the same way. Where the call itself may be
/// at fault, few times are taken for proof, for each costs as much again; those that hit upon
/// another report every time are rare.
fn tries_for(error: &io::Error) -> u32 {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => 2,
        Some(libc::EACCES | libc::ENETUNREACH | libc::EHOSTUNREACH) => 3,
        _ => 4,
    }
}

/// Whether an error can come from a report about some earlier datagram: what the kernel makes of
/// the codes of ICMP and ICMPv6.
pub(crate) fn is_report(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EMSGSIZE
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EACCES
        )
    )
}

/// Routers return at most 1280 bytes of a packet (RFC 4443 §2.4), most of them much less.
pub(crate) const PAYLOAD: usize = 1280;
