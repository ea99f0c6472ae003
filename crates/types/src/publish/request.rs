//! What a publish specification expands to: requests the engine takes one by one.
//!
//! Never binds anything. A request built by hand or read from the API is checked with
//! [`PublishRequest::validate`]; one that came out of a specification always passes.
//! Spec: unix(7) for the length of a path, netdevice(7) for the name of an interface.

use std::{
    fmt,
    net::IpAddr,
    num::NonZeroU16,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    SourceMode, Transport,
    descriptor::{FIRST_INHERITED_FD, unusable_descriptor_name},
};

/// One part of a publish specification, expanded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublishItem {
    /// Publish this one port.
    Request(PublishRequest),
    /// Publish whatever the guest listens on, as it starts to (namespace guests).
    Auto,
    /// Leave these guest ports out of [`PublishItem::Auto`].
    Exclude {
        /// The guest ports, both ends included.
        ports: RangeInclusive<u16>,
        /// The transport; `None` is both.
        transport: Option<Transport>,
    },
}

/// One thing to bind on the host for one port of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where the host listens.
    pub listen: Listen,
    /// The port in the guest; never 0.
    pub guest_port: u16,
    /// Which source address the guest sees; `None` takes the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceMode>,
    /// A name to show and to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Where the host listens for one published port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Listen {
    /// On an IP address and port.
    Inet {
        /// The address.
        host: HostBind,
        /// The port.
        ports: HostPorts,
    },
    /// On a Unix stream socket made at this path. TCP only.
    Unix {
        /// An absolute path of at most [`MAX_UNIX_PATH`] bytes.
        path: PathBuf,
    },
    /// On an inherited socket: a listening one for TCP, a bound one for UDP.
    Fd {
        /// Its descriptor.
        fd: i32,
    },
    /// On the sockets of the transport that socket activation has handed over under this name.
    Activated {
        /// Their name in `LISTEN_FDNAMES`.
        name: String,
    },
}

/// The host addresses to bind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostBind {
    /// 127.0.0.1 and ::1, both on the same port.
    Loopback,
    /// One address, which may be 0.0.0.0 or ::.
    Address {
        /// The address.
        addr: IpAddr,
        /// The interface to bind to; for an IPv6 link-local address also its zone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
    },
}

/// The host ports to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostPorts {
    /// Whichever the kernel chooses.
    Any,
    /// This one.
    One(NonZeroU16),
    /// The first that is free from `first` to `last`, both included.
    FirstFree {
        /// The port tried first.
        first: NonZeroU16,
        /// The port tried last.
        last: NonZeroU16,
    },
}

/// A request that could never be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishRequestError {
    /// Port 0 in the guest.
    #[error("guest port 0 does not exist: ports are 1 to 65535")]
    GuestPortZero,
    /// A range whose end comes before its start.
    #[error("host ports {first}-{last} run backwards")]
    ReversedPorts {
        /// The first port.
        first: NonZeroU16,
        /// The last port.
        last: NonZeroU16,
    },
    /// An address no published port can have.
    #[error("host address {addr} {reason}")]
    HostAddress {
        /// The address.
        addr: IpAddr,
        /// Why not.
        reason: &'static str,
    },
    /// Not the name of an interface.
    #[error("`{}` cannot name a network interface: {reason}", name.escape_debug())]
    Interface {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// UDP on a Unix socket.
    #[error("a Unix socket carries tcp only")]
    UnixTransport,
    /// A path no Unix socket can have.
    #[error("{}: {reason}", path.display().to_string().escape_debug())]
    UnixPath {
        /// The path.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A descriptor that cannot be a socket handed over.
    #[error("file descriptor {0} cannot be an inherited socket: they start at 3")]
    Fd(i32),
    /// Not a name that socket activation gives.
    #[error("`{}` cannot be the name of an activated socket: {reason}", name.escape_debug())]
    ActivatedName {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// PROXY protocol version 1 for UDP.
    #[error("source proxy-v1 is for tcp only: its header has no udp")]
    ProxyV1Udp,
    /// A name that cannot be shown.
    #[error("`{}` cannot be the name of a port: {reason}", name.escape_debug())]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
}

impl PublishRequest {
    /// Checks what the types alone cannot say.
    ///
    /// # Errors
    /// The first thing that could never be carried out.
    pub fn validate(&self) -> Result<(), PublishRequestError> {
        if self.guest_port == 0 {
            return Err(PublishRequestError::GuestPortZero);
        }
        if self.source == Some(SourceMode::ProxyV1) && self.transport == Transport::Udp {
            return Err(PublishRequestError::ProxyV1Udp);
        }
        if let Some(name) = &self.name
            && let Some(reason) = unusable_name(name)
        {
            return Err(PublishRequestError::Name { name: name.clone(), reason });
        }
        match &self.listen {
            Listen::Inet { host, ports } => {
                host.validate()?;
                ports.validate()
            }
            Listen::Unix { .. } if self.transport == Transport::Udp => {
                Err(PublishRequestError::UnixTransport)
            }
            Listen::Unix { path } => match unusable_unix_path(path) {
                Some(reason) => Err(PublishRequestError::UnixPath { path: path.clone(), reason }),
                None => Ok(()),
            },
            Listen::Fd { fd } if *fd < FIRST_INHERITED_FD => Err(PublishRequestError::Fd(*fd)),
            Listen::Fd { .. } => Ok(()),
            Listen::Activated { name } => match unusable_descriptor_name(name) {
                Some(reason) => {
                    Err(PublishRequestError::ActivatedName { name: name.clone(), reason })
                }
                None => Ok(()),
            },
        }
    }
}

/// The canonical short form, without name and source: `127.0.0.1:8080:80/udp`.
impl fmt::Display for PublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listen {
            Listen::Inet { host, ports } => {
                write_inet(f, host, ports)?;
                write!(f, "{}", self.guest_port)?;
            }
            Listen::Unix { path } => write!(f, "unix:{}:{}", path.display(), self.guest_port)?,
            Listen::Fd { fd } => write!(f, "fd:{fd}:{}", self.guest_port)?,
            Listen::Activated { name } => write!(f, "fd:{name}:{}", self.guest_port)?,
        }
        match self.transport {
            Transport::Tcp => Ok(()),
            Transport::Udp => f.write_str("/udp"),
        }
    }
}

impl HostBind {
    fn validate(&self) -> Result<(), PublishRequestError> {
        let Self::Address { addr, interface } = self else { return Ok(()) };
        if let Some(reason) = unusable_host(*addr, interface.is_some()) {
            return Err(PublishRequestError::HostAddress { addr: *addr, reason });
        }
        if let Some(name) = interface
            && let Some(reason) = unusable_interface(name)
        {
            return Err(PublishRequestError::Interface { name: name.clone(), reason });
        }
        Ok(())
    }
}

impl HostPorts {
    fn validate(&self) -> Result<(), PublishRequestError> {
        match *self {
            Self::FirstFree { first, last } if first > last => {
                Err(PublishRequestError::ReversedPorts { first, last })
            }
            Self::Any | Self::One(_) | Self::FirstFree { .. } => Ok(()),
        }
    }
}

/// Writes everything in front of the guest port, its colon included.
pub(super) fn write_inet(
    f: &mut fmt::Formatter<'_>,
    host: &HostBind,
    ports: &HostPorts,
) -> fmt::Result {
    match host {
        HostBind::Loopback if *ports == HostPorts::Any => return Ok(()),
        HostBind::Loopback => {}
        HostBind::Address { addr, interface } => {
            let (open, close) = if addr.is_ipv6() { ("[", "]:") } else { ("", ":") };
            write!(f, "{open}{addr}")?;
            if let Some(interface) = interface {
                write!(f, "%{interface}")?;
            }
            f.write_str(close)?;
        }
    }
    match ports {
        HostPorts::Any => {}
        HostPorts::One(port) => write!(f, "{port}")?,
        HostPorts::FirstFree { first, last } => write!(f, "{first}-{last}")?,
    }
    f.write_str(":")
}

/// Why no published port can have this address, if so.
pub(super) fn unusable_host(addr: IpAddr, has_interface: bool) -> Option<&'static str> {
    let broadcast = addr == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    match addr {
        // Answers come from the published address, which a group address can never be.
        IpAddr::V4(_) | IpAddr::V6(_) if addr.is_multicast() || broadcast => {
            Some("is a group address, and answers cannot come from one")
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("is an IPv4 address in IPv6 spelling, which cannot be bound")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() && !has_interface => {
            Some("is a link-local address, which means nothing without its interface")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Why no interface can have this name, if so.
pub(super) fn unusable_interface(name: &str) -> Option<&'static str> {
    // `dev_valid_name` of the kernel, and IFNAMSIZ with its NUL.
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > 15 {
        Some("it is longer than 15 bytes")
    } else if name == "." || name == ".." {
        Some("it is a directory's name")
    } else if name.contains(|c: char| c.is_whitespace() || c.is_control() || "/:%[],".contains(c)) {
        Some("it has a character that no interface name has")
    } else {
        None
    }
}

/// Why no Unix socket can be made at this path, if so.
pub(super) fn unusable_unix_path(path: &Path) -> Option<&'static str> {
    let bytes = path.as_os_str().as_encoded_bytes();
    match bytes {
        [] => Some("the path is empty"),
        [b'@', ..] => Some("abstract sockets have no owner and no mode, and are not supported"),
        // The engine need not run in the directory the specification was written in.
        [first, ..] if *first != b'/' => Some("the path must begin with `/`"),
        [.., b'/'] => Some("the path ends in a directory"),
        _ if bytes.len() > MAX_UNIX_PATH => Some("a socket's path has at most 107 bytes"),
        _ if path.to_string_lossy().contains(char::is_control) => {
            Some("the path has a control character")
        }
        _ => None,
    }
}

/// Why a port cannot have this name, if so.
pub(super) fn unusable_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > 64 {
        Some("it is longer than 64 bytes")
    } else if name.starts_with(' ') || name.ends_with(' ') {
        Some("it begins or ends with a space")
    } else if !name.chars().all(|c| c.is_alphanumeric() || " -_./:+@#".contains(c)) {
        Some("it may have letters, digits, spaces and any of -_./:+@#")
    } else {
        None
    }
}

/// The longest path of a Unix socket: `sun_path` has 108 bytes, the last of them NUL.
pub const MAX_UNIX_PATH: usize = 107;
