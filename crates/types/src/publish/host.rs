//! The host address of a publish specification, with its interface.
//!
//! Never looks a name up: what is not an address is refused, with a guess at what was meant.
//! Spec: RFC 4291 §2.2 (IPv6 text), RFC 4007 §11 (`%zone`), RFC 3986 §3.2.2 (brackets).

use std::net::IpAddr;

use super::{
    HostBind,
    error::Fault,
    hint::{self, Meant},
    part::Part,
    request::{unusable_host, unusable_interface},
};

/// An address as it stands in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostText<'a> {
    /// With brackets, if it has them.
    pub(super) field: Part<'a>,
    /// Without.
    pub(super) inner: Part<'a>,
    /// Whether an IPv6 address stands in brackets here.
    pub(super) brackets: bool,
}

impl<'a> HostText<'a> {
    /// A field without brackets, in a form where IPv6 has them.
    pub(super) fn bare(field: Part<'a>) -> Self {
        Self { field, inner: field, brackets: true }
    }

    /// Reads `ADDRESS[%INTERFACE]`.
    pub(super) fn read(self) -> Result<HostBind, Fault> {
        let (addr_part, zone) = match self.inner.split_once('%') {
            Some((addr, zone)) => (addr, Some(zone)),
            None => (self.inner, None),
        };
        let Ok(addr) = addr_part.text().parse::<IpAddr>() else {
            return Err(self.not_an_address(addr_part, zone));
        };
        let written = |addr| self.written(addr, zone.map(Part::text));
        if addr.is_ipv4() && self.field.span() != self.inner.span() {
            let message = format!("`{addr}` is an IPv4 address, which has no brackets");
            return Err(Fault::at(self.field, "expected an IPv6 address in brackets", message)
                .suggest(written(addr)));
        }
        let interface = zone.map(|zone| self.interface(addr, zone)).transpose()?;
        if let Some(reason) = unusable_host(addr, interface.is_some()) {
            let mapped = match addr {
                IpAddr::V6(v6) => v6.to_ipv4_mapped(),
                IpAddr::V4(_) => None,
            };
            let (label, help) = match mapped {
                Some(_) => ("expected the IPv4 address itself", EXAMPLES),
                None if interface.is_none() && addr.is_ipv6() && !addr.is_multicast() => (
                    "expected ADDRESS%INTERFACE",
                    "an interface follows its address: [fe80::1%eth0]:8080:80",
                ),
                None => ("expected an address of the host", EXAMPLES),
            };
            return Err(Fault::at(addr_part, label, format!("`{addr}` {reason}"))
                .help(help)
                .suggest(mapped.and_then(|v4| written(v4.into()))));
        }
        Ok(HostBind::Address { addr, interface })
    }

    fn interface(self, addr: IpAddr, zone: Part<'_>) -> Result<String, Fault> {
        let name = zone.text();
        let Some(reason) = unusable_interface(name) else { return Ok(name.to_owned()) };
        if name.is_empty() {
            return Err(Fault::at(zone, "expected an interface", "no interface follows the `%`")
                .suggest(self.written(addr, None)));
        }
        let message = format!("`{name}` cannot name a network interface: {reason}");
        Err(Fault::at(zone, "expected an interface, such as eth0", message))
    }

    fn not_an_address(self, addr: Part<'_>, zone: Option<Part<'_>>) -> Fault {
        let word = addr.text();
        if let (true, Some(zone)) = (word.is_empty(), zone) {
            let any = if zone.text() == "lo" { "127.0.0.1" } else { "0.0.0.0" };
            return Fault::at(addr, "expected an address", "no address stands before the `%`")
                .help("an interface follows the address to bind on it: 127.0.0.1%lo:8080:80")
                .suggest(self.rewritten(any, Some(zone.text())));
        }
        let zone = zone.map(Part::text);
        let fault = |message, help| Fault::at(addr, "expected an IP address", message).help(help);
        match hint::address_for(word) {
            Some(Meant::Name(meant)) => fault(
                format!("`{word}` is a name, and only an address can be bound"),
                "names are not looked up: an address says exactly what is bound",
            )
            .suggest(self.rewritten(meant, zone)),
            Some(Meant::Wildcard(meant)) => fault(
                format!(
                    "`{word}` is not an IP address: every address is 0.0.0.0, or [::] for IPv6"
                ),
                "without an address a port is bound on loopback only",
            )
            .suggest(self.rewritten(meant, zone)),
            Some(Meant::Interface(meant)) => fault(
                format!("`{word}` is an interface, and an interface follows an address"),
                "ADDRESS%INTERFACE binds the address on that interface only",
            )
            .suggest(self.rewritten(meant, Some(word))),
            None if word.starts_with(|c: char| c.is_alphabetic()) && !word.contains(':') => fault(
                format!("`{word}` is not an IP address, and names are not looked up"),
                EXAMPLES,
            ),
            None if word.is_empty() => fault("the address is missing".to_owned(), EXAMPLES),
            None => fault(format!("`{word}` is not an IP address"), EXAMPLES),
        }
    }

    fn rewritten(self, addr: &str, zone: Option<&str>) -> Option<String> {
        self.written(addr.parse().ok()?, zone)
    }

    /// The whole specification with this address in place of what stands here.
    fn written(self, addr: IpAddr, zone: Option<&str>) -> Option<String> {
        let zone = zone.map(|zone| format!("%{zone}")).unwrap_or_default();
        let bracketed = self.brackets && addr.is_ipv6();
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        Some(self.field.replaced(&format!("{open}{addr}{zone}{close}")))
    }
}

/// Whether a word where a port belongs is, or stands for, an address.
pub(super) fn stands_for_address(word: &str) -> bool {
    let addr = word.split_once('%').map_or(word, |(addr, _)| addr);
    word.contains('%') || addr.parse::<IpAddr>().is_ok() || hint::address_for(addr).is_some()
}

const EXAMPLES: &str = "write the address to bind, such as 127.0.0.1 or [::1]";
