//! Control messages: which local address a datagram came to or shall leave from, how it is to be
//! sent, and what the error queue tells.
//!
//! Owns building and walking them inside one aligned buffer; makes no system call.
//!
//! Spec: cmsg(3), ip(7) for `IP_PKTINFO`, `IP_TTL` and `IP_RECVERR`, RFC 3542 §6 and §11.2 for
//! IPv6's, udp(7) for `UDP_SEGMENT` and `UDP_GRO`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use rustix::net::AddressFamily;

use super::address::{RawAddress, in_addr, in6_addr};

/// Where a datagram arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PacketInfo {
    /// The address of this host that it came to, in canonical form.
    pub(crate) local: IpAddr,
    /// The interface it came in through.
    pub(crate) interface: u32,
}

/// One error report of the kernel, with the node it is from.
pub(super) struct ExtendedError {
    pub(super) error: libc::sock_extended_err,
    pub(super) offender: Option<SocketAddr>,
}

/// Room for control messages, aligned as the kernel writes them.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct ControlBuffer<const N: usize>(pub(super) [u8; N]);

/// cmsg(3): data follows the header, which is a multiple of the alignment long.
// SAFETY: CMSG_LEN only computes.
const HEADER_LEN: usize = unsafe { libc::CMSG_LEN(0) } as usize;

/// Room for what comes with a received datagram: an address message of either family and the
/// length of segments.
pub(super) type ReceiveBuffer = ControlBuffer<64>;
/// Room for what goes with a datagram to send: an address message and three integers.
pub(super) type SendBuffer = ControlBuffer<128>;
/// Room for an error message with its offender, and an address message.
pub(super) type ErrorBuffer = ControlBuffer<256>;

/// How one message is to be sent, beside its bytes and destination.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendControl {
    /// The address to leave from.
    pub(crate) source: Option<IpAddr>,
    pub(crate) hop_limit: Option<u8>,
    /// Over IPv6 only; for IPv4 it is a mode of the socket.
    pub(crate) forbid_fragments: bool,
    /// Cut the payload into datagrams of this length.
    pub(crate) segment: Option<u16>,
}

impl<const N: usize> ControlBuffer<N> {
    pub(super) fn empty() -> Self {
        Self([0; N])
    }

    /// Fills in the messages that make a datagram to `destination` leave as asked and returns
    /// their length together.
    pub(super) fn set(
        &mut self,
        control: &SendControl,
        destination: IpAddr,
        socket: AddressFamily,
    ) -> usize {
        let mut at = 0;
        if let Some(source) = control.source {
            at = self.set_source(source, socket);
        }
        if let Some(limit) = control.hop_limit {
            let (level, kind) = match destination {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
            };
            at = self.write(at, level, kind, libc::c_int::from(limit));
        }
        if control.forbid_fragments && destination.is_ipv6() {
            let on: libc::c_int = 1;
            at = self.write(at, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, on);
        }
        if let Some(segment) = control.segment {
            at = self.write(at, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        at
    }

    fn set_source(&mut self, source: IpAddr, socket: AddressFamily) -> usize {
        match (source, socket) {
            (IpAddr::V4(v4), AddressFamily::INET6) => self.set_source_v6(v4.to_ipv6_mapped()),
            (IpAddr::V4(v4), _) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(v4),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                };
                self.write(0, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            (IpAddr::V6(v6), _) => self.set_source_v6(v6),
        }
    }

    fn set_source_v6(&mut self, source: Ipv6Addr) -> usize {
        // An interface of zero: the destination's scope or the route decides.
        let info = libc::in6_pktinfo { ipi6_addr: in6_addr(source), ipi6_ifindex: 0 };
        self.write(0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
    }

    /// Writes one message at offset `at`, a multiple of the alignment, and returns where the
    /// next one goes.
    fn write<T: Copy>(
        &mut self,
        at: usize,
        level: libc::c_int,
        kind: libc::c_int,
        data: T,
    ) -> usize {
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
        let (length, space) = unsafe {
            let size = size_of::<T>() as libc::c_uint;
            (libc::CMSG_LEN(size), libc::CMSG_SPACE(size) as usize)
        };
        assert!(
            at + space <= N && at.is_multiple_of(align_of::<libc::cmsghdr>()),
            "the buffer is made for these messages"
        );
        // SAFETY: from `at` on the buffer has room for the header and its data and, by its type
        // and that of `at` (both checked above), a cmsghdr's alignment; CMSG_DATA stays inside
        // that room. Data is written unaligned since cmsg(3) promises nothing of its alignment.
        unsafe {
            let header = self.0.as_mut_ptr().add(at).cast::<libc::cmsghdr>();
            (*header).cmsg_len = length as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast::<T>(), data);
        }
        at + space
    }

    /// Calls `visit` with level, type and data of each message the kernel wrote.
    fn visit(&self, length: usize, mut visit: impl FnMut(libc::c_int, libc::c_int, &[u8])) {
        let mut rest = &self.0[..length.min(N)];
        while let Some(header) = read::<libc::cmsghdr>(rest) {
            #[allow(clippy::unnecessary_cast, reason = "not a usize in every C library")]
            let length = header.cmsg_len as usize;
            // The kernel cuts the last message if it does not fit.
            let Some(data) = rest.get(HEADER_LEN..length.min(rest.len())) else { return };
            visit(header.cmsg_level, header.cmsg_type, data);
            // cmsg(3): the next header is aligned like a long.
            let Some(next) = length.checked_next_multiple_of(size_of::<libc::c_long>()) else {
                return;
            };
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    /// The address message, if there is one.
    pub(super) fn packet_info(&self, length: usize) -> Option<PacketInfo> {
        let mut found = None;
        self.visit(length, |level, kind, data| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                found = read::<libc::in_pktinfo>(data).map(|info| {
                    // The address that answers, which for a broadcast is the interface's own. In
                    // the error queue it is zero, and the destination of the ICMP is the answer.
                    let answers = [info.ipi_spec_dst, info.ipi_addr]
                        .map(|address| Ipv4Addr::from(u32::from_be(address.s_addr)))
                        .into_iter()
                        .find(|address| !address.is_unspecified());
                    PacketInfo {
                        local: answers.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
                        interface: info.ipi_ifindex.unsigned_abs(),
                    }
                });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                found = read::<libc::in6_pktinfo>(data).map(|info| PacketInfo {
                    local: IpAddr::from(info.ipi6_addr.s6_addr).to_canonical(),
                    interface: info.ipi6_ifindex,
                });
            }
            _ => {}
        });
        found
    }

    /// The length of the datagrams that the kernel joined into this one, if it did.
    pub(super) fn segment(&self, length: usize) -> Option<usize> {
        let mut found = None;
        self.visit(length, |level, kind, data| {
            if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
                found = read::<libc::c_int>(data).and_then(|size| usize::try_from(size).ok());
            }
        });
        found.filter(|size| *size != 0)
    }

    /// The error message, if there is one.
    pub(super) fn extended_error(&self, length: usize) -> Option<ExtendedError> {
        let mut found = None;
        self.visit(length, |level, kind, data| {
            let is_error = matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            if let (true, Some(error)) = (is_error, read::<libc::sock_extended_err>(data)) {
                let mut offender = RawAddress::empty();
                let rest = &data[size_of::<libc::sock_extended_err>()..];
                let size = rest.len().min(size_of::<RawAddress>());
                // SAFETY: `size` bytes are readable in `rest` and writable in `offender`, which
                // do not overlap; every bit pattern is valid for a RawAddress.
                unsafe {
                    let to = (&raw mut offender).cast::<u8>();
                    ptr::copy_nonoverlapping(rest.as_ptr(), to, size);
                }
                found = Some(ExtendedError { error, offender: offender.read() });
            }
        });
        found
    }
}

/// The kernel's structures that may be read from any bytes.
trait FromKernel: Copy {}
impl FromKernel for libc::c_int {}
impl FromKernel for libc::cmsghdr {}
impl FromKernel for libc::in_pktinfo {}
impl FromKernel for libc::in6_pktinfo {}
impl FromKernel for libc::sock_extended_err {}

fn read<T: FromKernel>(data: &[u8]) -> Option<T> {
    // SAFETY: `data` has the size of a T (checked here), which is integers only, so that every
    // bit pattern is valid; the read asks for no alignment.
    (data.len() >= size_of::<T>())
        .then(|| unsafe { ptr::read_unaligned(data.as_ptr().cast::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_back_as_written() {
        for (text, socket) in [
            ("127.0.0.2", AddressFamily::INET),
            ("127.0.0.2", AddressFamily::INET6),
            ("2001:db8::2", AddressFamily::INET6),
        ] {
            let source: IpAddr = text.parse().unwrap();
            let mut control = SendBuffer::empty();
            let send = SendControl { source: Some(source), ..SendControl::default() };
            let length = control.set(&send, source, socket);
            let info = control.packet_info(length).unwrap();
            assert_eq!(info, PacketInfo { local: source, interface: 0 });
            assert!(control.extended_error(length).is_none());
        }
    }

    #[test]
    fn everything_at_once_fits_and_is_one_message_each() {
        for (text, socket, kinds) in [
            ("192.0.2.1", AddressFamily::INET, 3),
            ("192.0.2.1", AddressFamily::INET6, 3),
            ("2001:db8::2", AddressFamily::INET6, 4),
        ] {
            let source: IpAddr = text.parse().unwrap();
            let send = SendControl {
                source: Some(source),
                hop_limit: Some(3),
                forbid_fragments: true,
                segment: Some(1200),
            };
            let mut control = SendBuffer::empty();
            let length = control.set(&send, source, socket);
            let mut seen = Vec::new();
            control.visit(length, |level, kind, data| seen.push((level, kind, data.to_vec())));
            assert_eq!(seen.len(), kinds, "{text}");
            let segment = (libc::SOL_UDP, libc::UDP_SEGMENT, 1200u16.to_ne_bytes().to_vec());
            assert_eq!(seen.last(), Some(&segment));
        }
    }

    #[test]
    fn nothing_and_rubbish_hold_no_message() {
        let control = ReceiveBuffer::empty();
        assert_eq!(control.packet_info(0), None);
        assert_eq!(ControlBuffer([0xff; 64]).packet_info(64), None);
        assert_eq!(ControlBuffer([0; 64]).packet_info(64), None);
        let mut cut = SendBuffer::empty();
        let length = cut.set_source(IpAddr::V4(Ipv4Addr::LOCALHOST), AddressFamily::INET);
        for length in 0..length - 8 {
            cut.packet_info(length);
        }
    }
}
