//! The usual short form: ports on an IP address of the host.
//!
//! Never accepts a text in two meanings: where Docker's grammar leaves one open, the reading is
//! fixed here and said in a warning.
//! Spec: `[HOST_IP:][HOST_PORT[-LAST]]:GUEST_PORT[-LAST][/PROTO]`.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    HostBind, PublishSpec,
    error::Fault,
    host::{HostText, stands_for_address},
    part::Part,
    ports,
    spec::{Inet, Meaning},
};
use crate::Transport;

/// Reads `[HOST_IP:][HOST_PORT[-LAST]]:GUEST_PORT[-LAST][/PROTO]`.
pub(super) fn inet(whole: Part<'_>) -> Result<PublishSpec, Fault> {
    let (fields, protocol) = split_protocol(whole)?;
    let Fields { host: host_text, ports: ports_part, guest: guest_part } = split_fields(fields)?;
    let mut warnings = Vec::new();
    let host = match host_text {
        None => HostBind::Loopback,
        Some(text) => {
            let host = text.read()?;
            if text.field.text().contains(':') && !text.field.text().starts_with('[') {
                let meant = text.field.replaced(&format!("[{}]", text.field.text()));
                let read = whole.text();
                warnings.push(format!(
                    "`{read}` is read as `{meant}`: an IPv6 address belongs in brackets"
                ));
            }
            host
        }
    };
    let ports = ports::host_ports(ports_part)?;
    let guest = ports::guest_ports(guest_part)?;
    let transport = ports::optional_transports(protocol)?;
    ports::check_lengths((ports_part, ports), (guest_part, guest), transport)?;
    let inet = Inet { host, ports, guest, transport, source: None, name: None };
    Ok(PublishSpec { meaning: Meaning::Inet(inet), warnings })
}

struct Fields<'a> {
    host: Option<HostText<'a>>,
    /// Empty if it is left out.
    ports: Part<'a>,
    guest: Part<'a>,
}

fn split_protocol(whole: Part<'_>) -> Result<(Part<'_>, Option<Part<'_>>), Fault> {
    let Some((fields, protocol)) = whole.split_once('/') else { return Ok((whole, None)) };
    let Some((early, rest)) = protocol.split_once(':') else { return Ok((fields, Some(protocol))) };
    // `8080/tcp:80/tcp`, and pasta's `127.0.0.1/8080:80`.
    let slash_and_early = whole.cut(fields.text().len()..fields.text().len() + 1).to(early);
    let suggestion = if fields.text().parse::<IpAddr>().is_ok() {
        Some(format!("{}:{}", fields.text(), protocol.text()))
    } else if early.text().parse::<Transport>().is_err() {
        None
    } else if rest.text().contains('/') {
        Some(slash_and_early.replaced(""))
    } else {
        Some(format!("{}/{}", slash_and_early.replaced(""), early.text()))
    };
    let message = "a `/` comes only at the end, before the protocol";
    Err(Fault::at(slash_and_early, "expected `:`", message).suggest(suggestion))
}

fn split_fields(fields: Part<'_>) -> Result<Fields<'_>, Fault> {
    if fields.text().starts_with('[') {
        return split_bracketed(fields);
    }
    let Some((front, guest)) = fields.rsplit_once(':') else {
        if stands_for_address(fields.text()) {
            return Err(lacks_guest_port(fields));
        }
        return Ok(Fields { host: None, ports: fields.cut(0..0), guest: fields });
    };
    let Some((host, ports)) = front.rsplit_once(':') else {
        if stands_for_address(front.text()) {
            return Err(lacks_host_port(front));
        }
        return Ok(Fields { host: None, ports: front, guest });
    };
    check_host_field(fields, host, ports, guest)?;
    Ok(Fields { host: Some(HostText::bare(host)), ports, guest })
}

fn split_bracketed(fields: Part<'_>) -> Result<Fields<'_>, Fault> {
    let Some(close) = fields.text().find(']') else {
        let open = fields.cut(0..1);
        return Err(Fault::at(open, "never closed", "the `[` has no `]`")
            .help("an IPv6 address stands in brackets: [::1]:8080:80"));
    };
    let (field, rest) = (fields.cut(0..close + 1), fields.from(close + 1));
    let inner = fields.cut(1..close);
    let Some(rest_ports) = rest.strip_prefix(":") else {
        if rest.is_empty() {
            return Err(lacks_guest_port(field));
        }
        let zone = rest.text().strip_prefix('%').and_then(|rest| rest.split_once(':'));
        let suggestion = zone.map(|(zone, ports)| {
            rest.replaced(&format!(":{ports}")).replacen(']', &format!("%{zone}]"), 1)
        });
        return Err(Fault::at(rest.cut(0..0), "expected `:`", "a `:` must follow the `]`")
            .help("an interface stands inside the brackets: [fe80::1%eth0]:8080:80")
            .suggest(suggestion));
    };
    let Some((ports, guest)) = rest_ports.split_once(':') else {
        return Err(lacks_host_port(field));
    };
    if let Some((guest, extra)) = guest.split_once(':') {
        return Err(too_many_fields(guest.after().to(extra)));
    }
    let host = HostText { field, inner, brackets: true };
    Ok(Fields { host: Some(host), ports, guest })
}

/// Catches fields that are in each other's place before the address is read.
fn check_host_field(
    fields: Part<'_>,
    host: Part<'_>,
    ports: Part<'_>,
    guest: Part<'_>,
) -> Result<(), Fault> {
    let text = host.text();
    if text.is_empty() {
        let colon = fields.cut(0..1);
        return Err(Fault::at(
            colon,
            "expected an address before it",
            "the first `:` has no address",
        )
        .help("without an address a port is bound on loopback; 0.0.0.0 is every IPv4 address")
        .suggest(fields.cut(0..1 + usize::from(ports.is_empty())).replaced("")));
    }
    if text.contains(':') {
        return check_unbracketed(fields, host);
    }
    if guest.text().parse::<Transport>().is_ok() {
        let colon = ports.after().to(guest);
        let suggestion = colon.replaced(&format!("/{}", guest.text()));
        return Err(Fault::at(
            colon,
            "expected `/` and the protocol",
            "the protocol follows a `/`",
        )
        .suggest(suggestion));
    }
    if stands_for_address(ports.text()) && !stands_for_address(text) {
        let message = format!("`{text}` is not an IP address: the address comes first");
        let swapped = host.to(ports).replaced(&format!("{}:{text}", ports.text()));
        return Err(Fault::at(host, "expected an IP address", message).suggest(swapped));
    }
    Ok(())
}

/// An IPv6 address without brackets: everything before the last two fields, as Docker reads it.
fn check_unbracketed(fields: Part<'_>, host: Part<'_>) -> Result<(), Fault> {
    if is_ipv6(host.text()) {
        return Ok(());
    }
    if let Some((addr, guest)) = fields.rsplit_once(':')
        && is_ipv6(addr.text())
    {
        let field = addr.text();
        return Err(lacks_host_port(addr)
            .suggest(addr.to(guest).replaced(&format!("[{field}]::{}", guest.text()))));
    }
    if let Some((front, extra)) = host.split_once(':')
        && (front.text().contains('.') || front.text().parse::<u32>().is_ok())
    {
        return Err(too_many_fields(front.after().to(extra)));
    }
    let message = format!("`{}` is not an IPv6 address", host.text());
    Err(Fault::at(host, "expected an IP address", message)
        .help("an IPv6 address stands in brackets: [::1]:8080:80"))
}

fn is_ipv6(text: &str) -> bool {
    let addr = text.split_once('%').map_or(text, |(addr, _)| addr);
    addr.parse::<Ipv6Addr>().is_ok()
}

fn lacks_guest_port(address: Part<'_>) -> Fault {
    let message = format!("no guest port follows `{}`", address.text());
    Fault::at(address.after(), "expected `:HOST_PORT:GUEST_PORT`", message)
        .help("an address is followed by both ports: 127.0.0.1:8080:80")
}

fn lacks_host_port(address: Part<'_>) -> Fault {
    let text = address.text();
    let message = format!("`{text}` is followed by one port, and an address needs two");
    Fault::at(address, "an address: HOST_PORT:GUEST_PORT must follow", message)
        .help("an empty host port leaves the choice to the kernel")
        .suggest(address.replaced(&format!("{text}:")))
}

fn too_many_fields(extra: Part<'_>) -> Fault {
    Fault::at(extra, "one field too many", "it has too many fields separated by `:`")
}
