//! Configuration and API types of Portreeve, and the grammar of publish specifications.
//!
//! Owns the vocabulary the other crates share: addresses of the guest's link ([`Addressing`]),
//! what else a guest is told ([`Announce`]), what to publish ([`PublishSpec`], [`PublishRequest`]) and what is published
//! ([`PublishedPort`]), the name server's configuration ([`DnsConfig`]), every limit ([`Limits`]), all of it in one
//! value ([`Configuration`]),
//! and the time ([`Instant`]) that the sans-IO crates take as an argument. Types that stand in
//! configuration files or in the API are `serde` and `schemars` types.
//!
//! Never does I/O, never reads a clock, and holds no logic beyond parsing and checking.

#![forbid(unsafe_code)]

mod addressing;
mod announce;
pub mod api;
mod config;
mod descriptor;
mod dns;
mod dns_name;
mod egress;
mod family;
mod guest_mac;
mod limits;
mod net;
mod publish;
mod published;
mod source;
mod time;

pub use addressing::{Addressing, AddressingError, Ipv4Link, Ipv6Link};
pub use announce::{Announce, AnnounceError};
pub use config::{
    AddressesConfig, ConfigFault, Configuration, ControlConfig, ControlSocket, DatagramPaths,
    FdKind, GuestAddress, InheritedLink, LinkConfig, LogFormat, ParseDurationError,
    ParseGuestAddressError, VhostUserLink, parse_duration,
};
pub use descriptor::{Descriptor, ParseDescriptorError};
pub use dns::{
    DnsConfig, DnsConfigError, DnsStrategy, NameServerAddr, ParseNameServerAddrError, StaticRecord,
};
pub use dns_name::{DnsName, DnsNameError};
pub use egress::{Egress, EgressError, HostAccess, ParseHostAccessError, UdpFiltering};
pub use limits::{Limits, LimitsError, MAX_REQUESTS_PER_SPEC, MAX_SPEC_LEN};
pub use net::{MacAddr, ParseMacAddrError, ParseTransportError, Transport};
pub use publish::{
    HostBind, HostPorts, Listen, MAX_UNIX_PATH, PublishItem, PublishLongForm, PublishPort,
    PublishRequest, PublishRequestError, PublishSpec, SpecError,
};
pub use published::{HostEndpoint, PublishId, PublishedPort};
pub use source::{ParseSourceModeError, SourceMode};
pub use time::Instant;
