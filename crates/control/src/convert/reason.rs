//! Why something ended or was refused, as stable names.

use portreeve::{CloseReason, DialFailure, RefuseReason};

/// Why a dial failed.
pub(super) const fn dial(failure: DialFailure) -> &'static str {
    match failure {
        DialFailure::Refused => "refused",
        DialFailure::NetworkUnreachable => "network_unreachable",
        DialFailure::HostUnreachable => "host_unreachable",
        DialFailure::TimedOut => "timed_out",
        DialFailure::Prohibited => "prohibited",
        DialFailure::Exhausted => "exhausted",
        DialFailure::EchoForbidden => "echo_forbidden",
        DialFailure::HostAddress => "host_address",
        _ => "failed",
    }
}

/// Why a flow ended.
pub(super) const fn close(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Finished => "finished",
        CloseReason::GuestReset => "guest_reset",
        CloseReason::HostReset => "host_reset",
        CloseReason::TimedOut => "timed_out",
        CloseReason::Idle => "idle",
        CloseReason::Evicted => "evicted",
        CloseReason::Failed(failure) => dial(failure),
        CloseReason::Killed => "killed",
        CloseReason::StackFault => "stack_fault",
        CloseReason::GuestGone => "guest_gone",
        _ => "other",
    }
}

/// Why a client of a published port was refused.
pub(super) const fn refuse(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::NotPublished => "not_published",
        RefuseReason::PortLimit => "port_limit",
        RefuseReason::FlowLimit => "flow_limit",
        RefuseReason::NoPort => "no_port",
        RefuseReason::NoMemory => "no_memory",
        RefuseReason::GuestRefused => "guest_refused",
        RefuseReason::GuestSilent => "guest_silent",
        RefuseReason::ClientGone => "client_gone",
        RefuseReason::GuestGone => "guest_gone",
        RefuseReason::Killed => "killed",
        _ => "other",
    }
}

/// The name of a transport, by its number in an IP header.
pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => format!("ip-{other}"),
    }
}

/// The name of a type of DNS records: RFC 1035 §3.2.2 and successors; RFC 3597 §5 for the rest.
pub(super) fn record_type(number: u16) -> String {
    let name = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        46 => "RRSIG",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        255 => "ANY",
        257 => "CAA",
        other => return format!("TYPE{other}"),
    };
    name.to_owned()
}

/// The name of a DNS response code: RFC 1035 §4.1.1, RFC 2136 §2.2.
pub(super) fn rcode(number: u16) -> String {
    let name = match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => return format!("RCODE{other}"),
    };
    name.to_owned()
}
