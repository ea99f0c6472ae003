//! What the kernel's reports of undelivered datagrams mean.

use std::io;

use portreeve_host::{ErrorOrigin, SocketErrorReport};
use portreeve_wire::icmp::{ErrorKind, Unreachable};

/// The ICMP error that says the same; `None` for what no ICMP error says.
pub(super) fn error_kind(report: &SocketErrorReport) -> Option<ErrorKind> {
    if report.errno == libc::EMSGSIZE {
        return Some(ErrorKind::TooBig { mtu: report.mtu.unwrap_or(0) });
    }
    match (report.origin, report.icmp_type) {
        (ErrorOrigin::Icmp, TIME_EXCEEDED_V4) | (ErrorOrigin::Icmp6, TIME_EXCEEDED_V6) => {
            return Some(ErrorKind::TimeExceeded);
        }
        // The error number is that of any other unreachable host, and what a program hears is not.
        (ErrorOrigin::Icmp, UNREACHABLE_V4) if PROHIBITED_V4.contains(&report.icmp_code) => {
            return Some(ErrorKind::Unreachable(Unreachable::Prohibited));
        }
        _ => {}
    }
    let kind = match io::Error::from_raw_os_error(report.errno).kind() {
        io::ErrorKind::ConnectionRefused => Unreachable::Port,
        io::ErrorKind::HostUnreachable => Unreachable::Host,
        io::ErrorKind::NetworkUnreachable => Unreachable::Network,
        io::ErrorKind::PermissionDenied => Unreachable::Prohibited,
        _ => return None,
    };
    Some(ErrorKind::Unreachable(kind))
}

/// RFC 792.
const UNREACHABLE_V4: u8 = 3;
/// RFC 1122 §3.2.2.1 and RFC 1812 §5.2.7.1: network, host and communication prohibited.
const PROHIBITED_V4: [u8; 3] = [9, 10, 13];
/// RFC 792.
const TIME_EXCEEDED_V4: u8 = 11;
/// RFC 4443 §3.3.
const TIME_EXCEEDED_V6: u8 = 3;
