//! Reports of what became of datagrams that were sent.
//!
//! Owns the reading of the error queue; decides nothing about whom to tell.
//!
//! Spec: ip(7) for `IP_RECVERR`, RFC 792, RFC 4443.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::sys;

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

/// A datagram did not arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketErrorReport {
    /// Where it had been sent.
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
    /// The MTU that the datagram exceeded.
    pub mtu: Option<u32>,
    /// How its payload begins, as far as it came back.
    pub payload: Vec<u8>,
}

/// Takes the next report from a socket's error queue; none when it is empty.
pub(super) fn next(fd: BorrowedFd<'_>) -> io::Result<Option<SocketErrorReport>> {
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

/// Routers return at most 1280 bytes of a packet (RFC 4443 §2.4), most of them much less.
const PAYLOAD: usize = 1280;
