//! Ports, port ranges and protocols in a publish specification, and how ranges go together.
//!
//! Never sees an address. Numbers are read digit by digit: the standard library's parser takes
//! `+80` and `080`, which other tools read otherwise or not at all.
//! Spec: RFC 6335 §6 (port numbers); Docker's meaning of ranges.

use std::num::NonZeroU16;

use super::{error::Fault, hint, part::Part, spec::PortRange};
use crate::{MAX_REQUESTS_PER_SPEC, Transport};

/// Reads the guest's side: one port or a range, never 0.
pub(super) fn guest_ports(part: Part<'_>) -> Result<PortRange, Fault> {
    if part.is_empty() {
        return Err(Fault::at(part, "expected a guest port", "the guest port is missing"));
    }
    range(part, "guest")
}

/// Reads one guest port; `why_one` says why a range will not do.
pub(super) fn guest_port(part: Part<'_>, why_one: &'static str) -> Result<NonZeroU16, Fault> {
    let range = guest_ports(part)?;
    if range.first == range.last {
        return Ok(range.first);
    }
    let message = format!("`{}` is a range, and {why_one}", part.text());
    Err(Fault::at(part, "expected one port", message)
        .suggest(part.replaced(&range.first.to_string())))
}

/// Reads the host's side; empty or 0 leaves the choice to the kernel.
pub(super) fn host_ports(part: Part<'_>) -> Result<Option<PortRange>, Fault> {
    match part.text() {
        "" | "0" => Ok(None),
        _ => range(part, "host").map(Some),
    }
}

/// Reads what stands after the `/`. `None` is both protocols.
pub(super) fn transports(part: Part<'_>) -> Result<Option<Transport>, Fault> {
    let text = part.text();
    if text.is_empty() {
        return Err(
            Fault::at(part, PROTOCOLS, "no protocol follows the `/`").suggest(part.replaced("tcp"))
        );
    }
    if let Some(at) = part.find(|c| c == '/' || c == ',') {
        let message = format!("protocols are joined with `+`, not with `{}`", at.text());
        return Err(Fault::at(at, "expected `+` or the end", message)
            .suggest(part.replaced(&text.replace(['/', ','], "+"))));
    }
    let Some((first, second)) = part.split_once('+') else {
        return transport(part).map(Some);
    };
    if transport(first)? == transport(second)? {
        let message = format!("`{text}` names one protocol twice");
        return Err(
            Fault::at(second, "named already", message).suggest(part.replaced(first.text()))
        );
    }
    Ok(None)
}

/// `tcp` where no protocol is written, as in Docker; `None` is both.
pub(super) fn optional_transports(protocol: Option<Part<'_>>) -> Result<Option<Transport>, Fault> {
    protocol.map_or(Ok(Some(Transport::Tcp)), transports)
}

/// Checks that the host's ports can lead to the guest's, and that they are not too many.
pub(super) fn check_lengths(
    (host_part, host): (Part<'_>, Option<PortRange>),
    (guest_part, guest): (Part<'_>, PortRange),
    transport: Option<Transport>,
) -> Result<(), Fault> {
    let wanted = guest.len();
    if let Some(host) = host
        && wanted != 1
        && host.len() != wanted
    {
        let count = host.len();
        let ports = if count == 1 { "port" } else { "ports" };
        let message = format!("{count} host {ports} cannot lead to {wanted} guest ports");
        let longer = host.first.checked_add(wanted - 1).map(|last| PortRange { last, ..host });
        return Err(Fault::at(host_part, format!("expected {wanted} ports"), message)
            .help("ranges are of one length, or the guest's side is a single port")
            .suggest(longer.map(|longer| host_part.replaced(&longer.to_string()))));
    }
    let requests = usize::from(wanted) * if transport.is_none() { 2 } else { 1 };
    if requests > MAX_REQUESTS_PER_SPEC {
        let message = format!(
            "{requests} ports are too many for one specification: the limit is \
             {MAX_REQUESTS_PER_SPEC}"
        );
        return Err(Fault::at(guest_part, "too many ports", message)
            .help("publish the ports that are used, or use `auto`"));
    }
    Ok(())
}

fn range(part: Part<'_>, whose: &str) -> Result<PortRange, Fault> {
    let Some((first, last)) = part.split_once('-') else {
        let port = nonzero(part, whose)?;
        return Ok(PortRange { first: port, last: port });
    };
    for (end, other, name) in [(first, last, "first"), (last, first, "last")] {
        if end.is_empty() {
            let message = format!("the {name} port of the range `{}` is missing", part.text());
            return Err(
                Fault::at(end, "expected a port", message).suggest(part.replaced(other.text()))
            );
        }
    }
    if let Some(dash) = last.find(|c| c == '-') {
        let message = format!("`{}` has more than one `-`", part.text());
        return Err(Fault::at(dash, "a range is FIRST-LAST", message));
    }
    let range = PortRange { first: nonzero(first, whose)?, last: nonzero(last, whose)? };
    if range.first > range.last {
        let message = format!("the range `{}` runs backwards", part.text());
        let swapped = part.replaced(&format!("{}-{}", range.last, range.first));
        return Err(Fault::at(part, "expected FIRST-LAST, the smaller port first", message)
            .suggest(swapped));
    }
    Ok(range)
}

fn nonzero(part: Part<'_>, whose: &str) -> Result<NonZeroU16, Fault> {
    NonZeroU16::new(number(part)?).ok_or_else(|| {
        let message = if whose == "guest" {
            "guest port 0 does not exist: ports are 1 to 65535"
        } else {
            "port 0, the kernel's choice, cannot be an end of a range"
        };
        Fault::at(part, PORT, message)
    })
}

fn number(part: Part<'_>) -> Result<u16, Fault> {
    let text = part.text();
    if let Some(unsigned) = text.strip_prefix('+') {
        let message = format!("`{text}` is not a port number: it has a sign");
        return Err(Fault::at(part, PORT, message).suggest(part.replaced(unsigned)));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("`{text}` is not a port number");
        return Err(Fault::at(part, PORT, message));
    }
    if text.len() > 1 && text.starts_with('0') {
        let message = format!("`{text}` is not a port number: it begins with a zero");
        let digits = text.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        return Err(Fault::at(part, PORT, message).suggest(part.replaced(digits)));
    }
    // All digits, so all that can fail is the range.
    text.parse().map_err(|_| {
        let message = format!("port {text} is out of range: ports are 1 to 65535");
        Fault::at(part, PORT, message)
    })
}

fn transport(part: Part<'_>) -> Result<Transport, Fault> {
    part.text().parse().map_err(|_| {
        let text = part.text();
        if text.is_empty() {
            return Fault::at(part, PROTOCOLS, "one of the protocols is missing");
        }
        let message = format!("protocol `{text}` is not supported: choose tcp, udp or tcp+udp");
        let both = ["all", "any", "both"].contains(&text).then_some("tcp+udp");
        let nearest = both.or_else(|| hint::nearest(text, ["tcp", "udp"]));
        Fault::at(part, PROTOCOLS, message).suggest(nearest.map(|meant| part.replaced(meant)))
    })
}

const PORT: &str = "expected a port from 1 to 65535";
const PROTOCOLS: &str = "expected tcp, udp or tcp+udp";
