//! The short forms that name a socket: one made at a path, and those inherited.
//!
//! Never opens or looks at one.
//! Spec: `unix:PATH:GUEST_PORT`, `fd:N:GUEST_PORT[/PROTO]`, `fd:NAME:GUEST_PORT[/PROTO]`; unix(7), sd_listen_fds(3).

use std::path::{Path, PathBuf};

use super::{error::Fault, part::Part, ports, request::unusable_unix_path, spec::Meaning};
use crate::{Descriptor, ParseDescriptorError, Transport};

/// Reads what follows `unix:`.
pub(super) fn unix(rest: Part<'_>) -> Result<Meaning, Fault> {
    let Some((path, tail)) = rest.rsplit_once(':') else {
        return Err(Fault::at(
            rest.after(),
            "expected `:GUEST_PORT`",
            "no guest port follows the path",
        )
        .help(UNIX_FORM));
    };
    if tail.text().starts_with('/') && path.text().bytes().all(|byte| byte.is_ascii_digit()) {
        let swapped = rest.replaced(&format!("{}:{}", tail.text(), path.text()));
        return Err(Fault::at(
            tail,
            "expected a guest port",
            "the path comes before the guest port",
        )
        .help(UNIX_FORM)
        .suggest(swapped));
    }
    if let Some(reason) = unusable_unix_path(Path::new(path.text())) {
        let message = match path.text() {
            "" => "the path is missing".to_owned(),
            text => format!("no socket can be made at `{text}`: {reason}"),
        };
        return Err(
            Fault::at(path, "expected the absolute path of a socket", message).help(UNIX_HELP)
        );
    }
    let (guest, protocol) = match tail.split_once('/') {
        Some((guest, protocol)) => (guest, Some(protocol)),
        None => (tail, None),
    };
    let guest_port = ports::guest_port(guest, "one socket leads to one port")
        .map_err(|fault| fault.help(UNIX_FORM))?;
    if ports::optional_transports(protocol)? != Some(Transport::Tcp) {
        let slash_and_protocol = guest.after().to(tail);
        return Err(Fault::at(slash_and_protocol, "expected /tcp or nothing", UNIX_TCP_ONLY)
            .help(UNIX_FORM)
            .suggest(slash_and_protocol.replaced("")));
    }
    Ok(Meaning::Unix { path: PathBuf::from(path.text()), guest: guest_port })
}

/// Reads what follows `fd:`.
pub(super) fn fd(rest: Part<'_>) -> Result<Meaning, Fault> {
    let (number, tail) = match rest.split_once(':') {
        Some((number, tail)) => (number, Some(tail)),
        None => (rest, None),
    };
    let descriptor = descriptor(number)?;
    let Some(tail) = tail else {
        let message = "no guest port follows the file descriptor";
        return Err(Fault::at(rest.after(), "expected `:GUEST_PORT`", message).help(FD_FORM));
    };
    let (guest, protocol) = match tail.split_once('/') {
        Some((guest, protocol)) => (guest, Some(protocol)),
        None => (tail, None),
    };
    let guest = ports::guest_port(guest, "one socket leads to one port")
        .map_err(|fault| fault.help(FD_FORM))?;
    let Some(transport) = ports::optional_transports(protocol)? else {
        let message = "one socket is either tcp or udp";
        return Err(
            Fault::at(protocol.unwrap_or(tail), "expected tcp or udp", message).help(FD_FORM)
        );
    };
    Ok(Meaning::Fd { descriptor, guest, transport })
}

fn descriptor(part: Part<'_>) -> Result<Descriptor, Fault> {
    part.text().parse().map_err(|error: ParseDescriptorError| {
        Fault::at(part, "expected a number from 3, or a name", error.to_string()).help(FD_FORM)
    })
}

pub(super) const UNIX_FORM: &str = "the form is unix:PATH:GUEST_PORT";
const UNIX_HELP: &str = "the engine need not run in your directory: unix:$PWD/web.sock:80";
const UNIX_TCP_ONLY: &str = "a Unix socket carries tcp only";
pub(super) const FD_FORM: &str =
    "the form is fd:N:GUEST_PORT[/PROTO], with N from 3 on or the name of an activated socket";
