//! Publishing a port of the guest on the host: the specification users type, and the requests
//! the engine takes.
//!
//! Connects the files below and holds nothing itself: `spec` is the parsed specification,
//! `request` what it expands to, `error` what is said about a wrong one. `parse` tells the written
//! forms apart: `inet`, `socket` and `long_form`, which share `host`, `ports` and `part`.
//! Spec: `[HOST_IP:][HOST_PORT[-LAST]]:GUEST_PORT[-LAST][/PROTO]`, as Docker and Podman users
//! type it, and the long form of Compose.

mod error;
mod hint;
mod host;
mod inet;
mod long_form;
mod parse;
mod part;
mod ports;
mod request;
mod socket;
mod spec;

pub use error::SpecError;
pub use long_form::{PublishLongForm, PublishPort};
pub use request::{
    HostBind, HostPorts, Listen, MAX_UNIX_PATH, PublishItem, PublishRequest, PublishRequestError,
};
pub use spec::PublishSpec;

#[cfg(test)]
mod error_test;
#[cfg(test)]
mod grammar_test;
#[cfg(test)]
mod property_test;
