//! Echo requests (ping) from this host on behalf of the guest.
//!
//! Owns one socket with its own identifier: an unprivileged ping socket where the host allows
//! them, else a raw socket that is narrowed down to the replies to its own requests. Keeps no
//! table of who asked: the caller has the guest's identifier and puts it back.
//!
//! Spec: icmp(7), raw(7), RFC 792, RFC 4443 §4, RFC 3542 §3.2 for `ICMP6_FILTER`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use portreeve_wire::checksum;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, ipproto};

use crate::error::HostError;
use crate::outbound::{Fragmentation, FragmentationMode, OutboundOptions, family_of};
use crate::report::{self, Fault, SocketErrorReport, despite_reports, is_report};
use crate::sys::{self, Outgoing, SendControl};

/// How echo requests leave the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PingKind {
    /// Through an unprivileged ping socket (`net.ipv4.ping_group_range` allows it).
    Datagram,
    /// Through a raw socket (the process has `CAP_NET_RAW`).
    Raw,
}

/// How one echo request leaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PingOptions {
    /// TTL or hop limit, 1 to 255; the host's default if absent.
    pub hop_limit: Option<u8>,
    /// Whether it may be fragmented.
    pub fragmentation: Fragmentation,
}

/// A socket for echo requests of one family.
#[derive(Debug)]
pub struct PingSocket {
    fd: OwnedFd,
    family: AddressFamily,
    kind: PingKind,
    identifier: u16,
    /// The address it is bound to, if it is.
    source: Option<IpAddr>,
    fragmentation: FragmentationMode,
}

impl PingSocket {
    /// Opens a socket for IPv6 or IPv4: an unprivileged one if it may, else a raw one.
    ///
    /// # Errors
    /// `PermissionDenied` when neither is allowed: its text names the setting and what to set it
    /// to. Else which call failed, with the address.
    pub fn open(v6: bool, options: &OutboundOptions) -> Result<Self, HostError> {
        let family = family_of(v6);
        let fault =
            |operation| move |error: io::Error| HostError::new(operation, name(family), error);
        let (fd, kind) = match socket(family, SocketType::DGRAM) {
            Ok(fd) => (fd, PingKind::Datagram),
            Err(Errno::ACCESS | Errno::PERM) => match socket(family, SocketType::RAW) {
                Ok(fd) => (fd, PingKind::Raw),
                Err(Errno::ACCESS | Errno::PERM) => return Err(forbidden(family)),
                Err(errno) => return Err(fault("socket")(errno.into())),
            },
            Err(errno) => return Err(fault("socket")(errno.into())),
        };
        let mut identifier = 0;
        if kind == PingKind::Raw {
            identifier = random_identifier().map_err(fault("getrandom"))?;
            sys::filter_echo_replies(fd.as_fd(), family, identifier)
                .map_err(fault("SO_ATTACH_FILTER"))?;
        }
        sys::set_datagram_options(fd.as_fd(), family).map_err(fault("setsockopt"))?;
        options.bind(fd.as_fd(), family)?;
        if kind == PingKind::Datagram {
            // The "port" of a ping socket is its identifier, which bind has chosen.
            identifier = sys::local_addr(fd.as_fd()).map_err(fault("getsockname"))?.port();
        }
        let fragmentation = FragmentationMode::default();
        let source = options.bind_address;
        Ok(Self { fd, family, kind, identifier, source, fragmentation })
    }

    /// Which kind of socket it is.
    pub fn kind(&self) -> PingKind {
        self.kind
    }

    /// The identifier its requests carry and its replies come with.
    pub fn identifier(&self) -> u16 {
        self.identifier
    }

    /// Sends an echo request: `message` is all of it as the guest wrote it, from the type on. It
    /// leaves with the socket's identifier in place of the guest's, and with a checksum to match.
    ///
    /// # Errors
    /// `InvalidInput` when it is no echo request or the destination of the other family;
    /// `WouldBlock` when there is no room; else a fault of this request (no route, too long).
    pub fn send(
        &self,
        message: &[u8],
        destination: IpAddr,
        options: &PingOptions,
    ) -> io::Result<()> {
        let destination = destination.to_canonical();
        let request = request_type(self.family);
        let Some((head, data)) = message.split_first_chunk::<HEADER_LEN>() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if head[..2] != [request, 0] || sys::family(destination) != self.family {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let head = self.head(*head, data);
        self.fragmentation.prepare(self.fd.as_fd(), destination, options.fragmentation)?;
        let control = SendControl {
            hop_limit: options.hop_limit,
            forbid_fragments: options.fragmentation == Fragmentation::Forbidden,
            ..SendControl::default()
        };
        // On a raw socket the port of an address means a protocol.
        let destination = SocketAddr::new(destination, 0);
        let outgoing = Outgoing { head: &head, payload: data, destination, control };
        despite_reports(&mut false, || {
            sys::send_many::<1>(self.fd.as_fd(), self.family, std::iter::once(outgoing))
        })?;
        Ok(())
    }

    /// Makes a report, as [`recv_error`](Self::recv_error) has them, of the fault that
    /// [`send`](Self::send) answered for this message: with the path MTU if that was too small.
    /// Its payload is the message as the guest wrote it. None for `WouldBlock` and for what was
    /// no request.
    pub fn explain(
        &self,
        message: &[u8],
        destination: IpAddr,
        fault: &io::Error,
    ) -> Option<SocketErrorReport> {
        let destination = SocketAddr::new(destination.to_canonical(), 0);
        let fault = Fault { error: fault, destination, source: self.source, payload: message };
        report::of_fault(self.fd.as_fd(), &fault)
    }

    /// Receives one echo reply into `buf`, from the type on, and returns its length and who it is
    /// from; the rest of one that is longer than `buf` is lost.
    ///
    /// Its identifier (bytes 4 and 5) is [`identifier`](Self::identifier) and its checksum the
    /// one that goes with it: the caller writes the guest's identifier there and corrects the
    /// sum. `buf` needs 60 bytes more than the longest reply wanted: IPv4 headers come with it.
    ///
    /// # Errors
    /// `WouldBlock` when none is there.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<(usize, IpAddr)> {
        loop {
            let received = despite_reports(&mut false, || {
                let (length, _, from) = retry_on_intr(|| {
                    rustix::net::recvfrom(&self.fd, &mut *buf, RecvFlags::DONTWAIT)
                })?;
                let from = from.ok_or(io::ErrorKind::InvalidData)?;
                Ok((length, sys::inet_addr(from)?.ip()))
            });
            let (length, from) = match received {
                Ok(received) => received,
                // More reports arrived than retries: the next edge or call goes on.
                Err(error) if is_report(&error) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(error),
            };
            let start = self.message_start(&buf[..length]);
            if self.is_ours(&buf[start..length], reply_type(self.family)) {
                buf.copy_within(start..length, 0);
                return Ok((length - start, from));
            }
        }
    }

    /// Takes the next report of what became of a request; none when there is none. Its payload
    /// is the request as it came back, from the type on, with this socket's identifier.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn recv_error(&self) -> io::Result<Option<SocketErrorReport>> {
        while let Some(mut report) = report::next(self.fd.as_fd())? {
            // A raw socket is told of the errors of all others that send the same protocol.
            if self.is_ours(&report.payload, request_type(self.family)) {
                report.destination.set_port(0);
                return Ok(Some(report));
            }
        }
        Ok(None)
    }

    /// The head of a request as it leaves. The kernel does the same for all but raw IPv4
    /// sockets, and overwrites what stands here.
    fn head(&self, mut head: [u8; HEADER_LEN], data: &[u8]) -> [u8; HEADER_LEN] {
        head[2..4].fill(0);
        head[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        if self.kind == PingKind::Raw && self.family == AddressFamily::INET {
            let sum = checksum::finish(checksum::sum(&head) + checksum::sum(data));
            head[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        head
    }

    /// Where the ICMP message begins in what was received: a raw IPv4 socket gets the IP header.
    fn message_start(&self, received: &[u8]) -> usize {
        if self.kind == PingKind::Datagram || self.family == AddressFamily::INET6 {
            return 0;
        }
        let header_len = received.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        header_len.min(received.len())
    }

    /// Whether a message is of this type and has our identifier. The filter sees to that, but
    /// only from the moment on it was attached.
    fn is_ours(&self, message: &[u8], kind: u8) -> bool {
        message.first() == Some(&kind)
            && message.get(4..6).is_some_and(|found| found == self.identifier.to_be_bytes())
    }
}

/// How this process may send echo requests over IPv6 or IPv4. Opens a socket and closes it again.
///
/// # Errors
/// As [`PingSocket::open`].
pub fn ping_access(v6: bool) -> io::Result<PingKind> {
    Ok(PingSocket::open(v6, &OutboundOptions::default())?.kind())
}

impl AsFd for PingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, kind, flags, Some(protocol(family)))
}

fn protocol(family: AddressFamily) -> Protocol {
    if family == AddressFamily::INET6 { ipproto::ICMPV6 } else { ipproto::ICMP }
}

fn name(family: AddressFamily) -> &'static str {
    if family == AddressFamily::INET6 { "ICMPv6" } else { "ICMP" }
}

/// The error that says how to allow what was asked for. The setting is for both families.
fn forbidden(family: AddressFamily) -> HostError {
    let group = rustix::process::getegid().as_raw();
    let what = format!(
        "ping sockets are not allowed for group {group} and raw ones not without CAP_NET_RAW; \
         to allow them: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
    );
    let error = io::Error::new(io::ErrorKind::PermissionDenied, what);
    HostError::new("socket", name(family), error)
}

fn random_identifier() -> io::Result<u16> {
    let mut bytes = [0; 2];
    let flags = rustix::rand::GetRandomFlags::empty();
    retry_on_intr(|| rustix::rand::getrandom(&mut bytes, flags))?;
    Ok(u16::from_ne_bytes(bytes))
}

fn request_type(family: AddressFamily) -> u8 {
    if family == AddressFamily::INET6 { 128 } else { 8 }
}

fn reply_type(family: AddressFamily) -> u8 {
    if family == AddressFamily::INET6 { 129 } else { 0 }
}

/// Type, code, checksum, identifier and sequence number.
const HEADER_LEN: usize = 8;
