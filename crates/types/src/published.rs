//! What is published, as the engine reports it.
//!
//! Never a wish: what to publish is a [`crate::PublishRequest`]. Shown as Docker shows ports.

use std::{fmt, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SourceMode, Transport};

/// Names one published port of one engine; never used again once unpublished.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct PublishId(pub u32);

/// A port of the guest that the host can reach now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PublishedPort {
    /// What to unpublish it by.
    pub id: PublishId,
    /// TCP or UDP.
    pub transport: Transport,
    /// The port in the guest.
    pub guest_port: u16,
    /// Where the host listens; the kernel's choice where the request left the port open.
    pub host: HostEndpoint,
    /// Which source address the guest sees.
    pub source: SourceMode,
    /// The name given with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The host's end of a published port.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HostEndpoint {
    /// An address and port.
    Inet(#[schemars(with = "String")] SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
    /// An inherited socket whose address is not an IP address, by its descriptor.
    Fd(i32),
}

impl HostEndpoint {
    /// The address and port, where it has one.
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) | Self::Fd(_) => None,
        }
    }
}

impl fmt::Display for PublishId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for HostEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(fd) => write!(f, "fd:{fd}"),
        }
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -> {}", self.guest_port, self.transport, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host: HostEndpoint) -> PublishedPort {
        PublishedPort {
            id: PublishId(7),
            transport: Transport::Tcp,
            guest_port: 80,
            host,
            source: SourceMode::Gateway,
            name: None,
        }
    }

    #[test]
    fn shown_as_docker_shows_it() {
        for (host, shown) in [
            (HostEndpoint::Inet("127.0.0.1:8080".parse().unwrap()), "80/tcp -> 127.0.0.1:8080"),
            (HostEndpoint::Inet("[::1]:8080".parse().unwrap()), "80/tcp -> [::1]:8080"),
            (HostEndpoint::Unix("/run/x.sock".into()), "80/tcp -> unix:/run/x.sock"),
            (HostEndpoint::Fd(3), "80/tcp -> fd:3"),
        ] {
            let port = published(host);
            assert_eq!(port.to_string(), shown);
            let json = serde_json::to_string(&port).unwrap();
            assert_eq!(serde_json::from_str::<PublishedPort>(&json).unwrap(), port);
        }
    }

    #[test]
    fn json_form() {
        let port = published(HostEndpoint::Inet("[::1]:8080".parse().unwrap()));
        insta::assert_snapshot!(
            serde_json::to_string(&port).unwrap(),
            @r#"{"id":7,"transport":"tcp","guest_port":80,"host":{"inet":"[::1]:8080"},"source":"gateway"}"#
        );
    }
}
