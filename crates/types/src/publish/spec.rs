//! A parsed publish specification: what it means, its canonical text and what it expands to.
//!
//! Never reads text itself: `parse` and `long_form` do.
//! Spec: the meaning of ranges is Docker's (`nat.ParsePortSpec` of its CLI).

use std::{borrow::Cow, fmt, num::NonZeroU16, path::PathBuf, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    HostBind, HostPorts, Listen, PublishItem, PublishLongForm, PublishRequest, SpecError, parse,
    request::write_inet,
};
use crate::{Descriptor, SourceMode, Transport};

/// What to publish, as users write it: `8080:80`, `[::1]:8080-8082:80-82/udp`, `auto`, `~22` …
///
/// Parsed with [`FromStr`]; shown in its canonical form, which parses to an equal value. In
/// configuration it is that text, a bare guest port, or the map of Compose's long form.
///
/// Two specifications are equal if they publish the same, however they were written.
#[derive(Clone, Debug)]
pub struct PublishSpec {
    pub(super) meaning: Meaning,
    pub(super) warnings: Vec<String>,
}

/// What a specification asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Meaning {
    Inet(Inet),
    Unix { path: PathBuf, guest: NonZeroU16 },
    Fd { descriptor: Descriptor, guest: NonZeroU16, transport: Transport },
    Auto,
    Exclude { ports: PortRange, transport: Option<Transport> },
}

/// Guest ports on ports of a host address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inet {
    pub(super) host: HostBind,
    /// `None`: the kernel chooses. Otherwise as long as `guest`, or `guest` is one port and this
    /// is where to look for a free one.
    pub(super) ports: Option<PortRange>,
    pub(super) guest: PortRange,
    /// `None` is both.
    pub(super) transport: Option<Transport>,
    pub(super) source: Option<SourceMode>,
    pub(super) name: Option<String>,
}

/// Ports from `first` to `last`, both included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortRange {
    pub(super) first: NonZeroU16,
    pub(super) last: NonZeroU16,
}

impl PublishSpec {
    /// Everything the specification asks for, ranges and `tcp+udp` expanded, in the order of the
    /// guest's ports. Never empty; at most [`crate::MAX_REQUESTS_PER_SPEC`] long.
    pub fn items(&self) -> Vec<PublishItem> {
        match &self.meaning {
            Meaning::Inet(inet) => inet.requests().map(PublishItem::Request).collect(),
            Meaning::Unix { path, guest } => {
                let listen = Listen::Unix { path: path.clone() };
                vec![PublishItem::Request(plain(Transport::Tcp, listen, *guest))]
            }
            Meaning::Fd { descriptor, guest, transport } => {
                let listen = match descriptor {
                    Descriptor::Number(fd) => Listen::Fd { fd: *fd },
                    Descriptor::Name(name) => Listen::Activated { name: name.clone() },
                };
                vec![PublishItem::Request(plain(*transport, listen, *guest))]
            }
            Meaning::Auto => vec![PublishItem::Auto],
            Meaning::Exclude { ports, transport } => vec![PublishItem::Exclude {
                ports: ports.first.get()..=ports.last.get(),
                transport: *transport,
            }],
        }
    }

    /// What the user should be told although the specification is accepted.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl PartialEq for PublishSpec {
    fn eq(&self, other: &Self) -> bool {
        self.meaning == other.meaning
    }
}

impl Eq for PublishSpec {}

impl FromStr for PublishSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::parse(text).map_err(|fault| SpecError::new(text, fault))
    }
}

impl fmt::Display for PublishSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.meaning {
            Meaning::Inet(inet) if inet.source.is_some() || inet.name.is_some() => inet.fmt_long(f),
            Meaning::Inet(inet) => inet.fmt_short(f),
            Meaning::Unix { path, guest } => write!(f, "unix:{}:{guest}", path.display()),
            Meaning::Fd { descriptor, guest, transport } => {
                write!(f, "fd:{descriptor}:{guest}")?;
                fmt_transport(f, Some(*transport))
            }
            Meaning::Auto => f.write_str("auto"),
            Meaning::Exclude { ports, transport } => {
                write!(f, "~{ports}")?;
                match transport {
                    Some(transport) => write!(f, "/{transport}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Serialize for PublishSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublishSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor)
    }
}

impl JsonSchema for PublishSpec {
    fn schema_name() -> Cow<'static, str> {
        "PublishSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long_form = generator.subschema_for::<PublishLongForm>();
        json_schema!({
            "description": "What to publish: `[HOST_IP:][HOST_PORT[-LAST]]:GUEST_PORT[-LAST][/PROTO]`, \
                `unix:PATH:GUEST_PORT`, `fd:N:GUEST_PORT`, `fd:NAME:GUEST_PORT`, `auto`, `~GUEST_PORT[-LAST][/PROTO]`, \
                a guest port alone, or the long form.",
            "anyOf": [
                { "type": "string", "minLength": 1, "maxLength": crate::MAX_SPEC_LEN },
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                long_form,
            ],
        })
    }
}

impl Inet {
    fn requests(&self) -> impl Iterator<Item = PublishRequest> + '_ {
        let transports = match self.transport {
            Some(transport) => vec![transport],
            None => vec![Transport::Tcp, Transport::Udp],
        };
        (0..self.guest.len()).flat_map(move |nth| {
            let requests: Vec<_> = transports.iter().map(|t| self.request(nth, *t)).collect();
            requests
        })
    }

    fn request(&self, nth: u16, transport: Transport) -> PublishRequest {
        let ports = match self.ports {
            None => HostPorts::Any,
            Some(PortRange { first, last }) if self.guest.len() == 1 && first != last => {
                HostPorts::FirstFree { first, last }
            }
            Some(range) => HostPorts::One(range.nth(nth)),
        };
        PublishRequest {
            transport,
            listen: Listen::Inet { host: self.host.clone(), ports },
            guest_port: self.guest.nth(nth).get(),
            source: self.source,
            name: self.name.clone(),
        }
    }

    fn fmt_short(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = match self.ports {
            None => HostPorts::Any,
            Some(PortRange { first, last }) if first == last => HostPorts::One(first),
            Some(PortRange { first, last }) => HostPorts::FirstFree { first, last },
        };
        write_inet(f, &self.host, &ports)?;
        write!(f, "{}", self.guest)?;
        fmt_transport(f, self.transport)
    }

    /// The short form has no place for a name or a source.
    fn fmt_long(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target={}", self.guest)?;
        if let Some(ports) = self.ports {
            write!(f, ",published={ports}")?;
        }
        if let HostBind::Address { addr, interface } = &self.host {
            write!(f, ",host_ip={addr}")?;
            if let Some(interface) = interface {
                write!(f, "%{interface}")?;
            }
        }
        match self.transport {
            Some(Transport::Tcp) => {}
            Some(Transport::Udp) => f.write_str(",protocol=udp")?,
            None => f.write_str(",protocol=tcp+udp")?,
        }
        if let Some(name) = &self.name {
            write!(f, ",name={name}")?;
        }
        match self.source {
            Some(source) => write!(f, ",source={source}"),
            None => Ok(()),
        }
    }
}

impl PortRange {
    /// How many ports: 1 to 65,535.
    pub(super) fn len(self) -> u16 {
        self.last.get() - self.first.get() + 1
    }

    fn nth(self, nth: u16) -> NonZeroU16 {
        self.first.saturating_add(nth)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

fn fmt_transport(f: &mut fmt::Formatter<'_>, transport: Option<Transport>) -> fmt::Result {
    match transport {
        Some(Transport::Tcp) => Ok(()),
        Some(Transport::Udp) => f.write_str("/udp"),
        None => f.write_str("/tcp+udp"),
    }
}

fn plain(transport: Transport, listen: Listen, guest: NonZeroU16) -> PublishRequest {
    PublishRequest { transport, listen, guest_port: guest.get(), source: None, name: None }
}

struct SpecVisitor;

impl<'de> de::Visitor<'de> for SpecVisitor {
    type Value = PublishSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a publish specification such as \"8080:80\", a port, or a map with `target`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PublishSpec, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, port: u64) -> Result<PublishSpec, E> {
        self.visit_str(&port.to_string())
    }

    fn visit_i64<E: de::Error>(self, port: i64) -> Result<PublishSpec, E> {
        self.visit_str(&port.to_string())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PublishSpec, A::Error> {
        let form = PublishLongForm::deserialize(de::value::MapAccessDeserializer::new(map))?;
        form.try_into().map_err(de::Error::custom)
    }
}
