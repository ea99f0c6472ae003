//! A user-space network engine for microVMs, namespaces and sandboxes.
//!
//! Portreeve publishes a guest's ports on the host and carries the guest's own connections out. It
//! needs no root, no iptables and no bridge: the guest is attached by a TAP device, by a socket as
//! virtual machines speak it ([`stream`], [`datagram`], [`seqpacket`], [`hyperkit`]) or by frames
//! in memory, and everything between its frames and ordinary host sockets happens in this process,
//! on one thread per guest. It answers the guest's ARP, DHCP and DNS, and keeps it off this host.
//!
//! A guest attached by a TAP, which whoever made the guest has opened in its namespace
//! (`portreeve-sandbox` does; so does [`Tap::create`] in the calling thread's own):
//!
//! ```
//! use portreeve::{Engine, Tap, TapOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tap = match Tap::create(None, &TapOptions::default()) {
//!     Ok(tap) => tap,
//!     // Says which right or device is missing, and how to get it.
//!     Err(error) => return Ok(eprintln!("{error}")),
//! };
//! let engine = Engine::builder().link(tap).start()?;
//! for port in engine.publish_spec(&"127.0.0.1::80".parse()?)? {
//!     println!("{port}"); // 80/tcp -> 127.0.0.1:40123
//! }
//! // Dropping the engine resets what is open, frees the ports and joins its thread.
//! # Ok(())
//! # }
//! ```
//!
//! A guest made of frames in memory, for a VMM that links this library:
//!
//! ```
//! use portreeve::{Engine, MemoryOptions, memory_link};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (link, mut guest) = memory_link(&MemoryOptions::default())?;
//! let engine = Engine::builder().link(link).start()?;
//! // Port 0: the kernel's choice, for both loopback addresses.
//! let ports = engine.publish_spec(&"0:80".parse()?)?;
//! let client = std::net::TcpStream::connect(ports[0].host.socket_addr().expect("an IP port"))?;
//! // The guest sees the engine's SYN as its first frame: virtio-net header, then Ethernet.
//! let frame = guest.recv(Duration::from_secs(5))?.expect("a frame");
//! assert!(frame.len() > 12 + 14);
//! # drop(client);
//! engine.stop();
//! # Ok(())
//! # }
//! ```
//!
//! What a guest may reach is said at the start; by default everything but this host:
//!
//! ```
//! use portreeve::{DnsConfig, Egress, Engine, MemoryOptions, StaticRecord, memory_link};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (link, _guest) = memory_link(&MemoryOptions::default())?;
//! let engine = Engine::builder()
//!     .link(link)
//!     // One service of this host's loopback, as gateway:5432 and host.portreeve.internal:5432.
//!     .egress(Egress { host: "5432".parse()?, ..Egress::default() })
//!     .dns(Some(DnsConfig {
//!         records: vec![StaticRecord {
//!             name: "db.test".parse()?,
//!             addresses: vec!["10.0.0.7".parse()?],
//!             ttl: 60,
//!         }],
//!         ..DnsConfig::default()
//!     }))
//!     .start()?;
//! // What was refused to the guest, and why, is in `engine.events()`.
//! # engine.stop();
//! # Ok(())
//! # }
//! ```
//!
//! A running engine can be watched and changed from any thread, through clones of its [`Handle`]:
//!
//! ```
//! use portreeve::{CaptureOptions, Engine, Event, Limits, MemoryOptions, memory_link};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (link, _guest) = memory_link(&MemoryOptions::default())?;
//! let engine = Engine::builder().link(link).start()?;
//! let mut events = engine.events();
//! let port = engine.publish_spec(&"0:80".parse()?)?.remove(0);
//! // Every event has a number; a reader that was away goes on with `events_since`.
//! let record = events.next_timeout(Duration::from_secs(5)).expect("an event");
//! assert_eq!(record.event, Event::Published(port));
//!
//! engine.set_limits(Limits { max_flows: 1_000, ..engine.limits().expect("it runs") })?;
//! let stats = engine.stats().expect("it runs");
//! assert_eq!(stats.flows.active, 0);
//! // The frames on the guest's link, and what became of them.
//! let filter = "tcp and port 80 or dropped".parse()?;
//! let capture = engine.capture(CaptureOptions { filter, ..CaptureOptions::default() })?;
//! # drop(capture);
//! # engine.stop();
//! # Ok(())
//! # }
//! ```
//!
//! What a port does is exact: FIN is FIN, RST is RST, a refusal is a refusal, half-close stays
//! half-open, no byte is lost or doubled, and backpressure reaches the sender.

mod activation;
mod addressing;
mod builder;
mod capture;
mod clock;
mod driver;
mod engine;
mod error;
mod event;
mod handle;
mod names;
mod outlet;
mod publish;
mod sys;
mod watch;

pub use activation::{ActivatedSocket, activated_sockets};
pub use addressing::free_addressing;
pub use builder::EngineBuilder;
pub use capture::{
    Capture, CaptureError, CaptureFilter, CaptureFilterError, CaptureOptions, CapturedFrame,
    DEFAULT_SNAP_LENGTH, MAX_SNAP_LENGTH,
};
pub use engine::Engine;
pub use error::{
    DnsChangeError, KillError, LimitsChangeError, PublishError, StartError, UnpublishError,
};
pub use event::{Event, EventRecord, Events};
pub use handle::{Drained, FlowPage, Handle};
pub use names::host_search;
pub use sys::inherited_fd;

pub use portreeve_core::{
    AnswerSource, CloseReason, Counters, DialFailure, DnsEvent, DropReason, EgressRefusal,
    Event as EngineEvent, FlowId, FlowKind, FlowSummary, HostNetwork, LeaseChange, LeaseProtocol,
    Phase, RefuseReason, Unpublish,
};
pub use portreeve_host::{
    PingKind, RESOLV_CONF, ResolverConfig, ResolverOptions, fd_limit, has_default_route,
    ping_access, raise_fd_limit, resolver_config,
};
pub use portreeve_link::memory::pair as memory_link;
pub use portreeve_link::{
    Capabilities, DatagramLink, FramingFault, GoneCause, Link, LinkCause, LinkError, LinkEvent,
    MAX_FRAME_LEN, MemoryFault, MemoryLink, MemoryOptions, MemoryPeer, RingFault, SocketLink,
    SocketOptions, Tap, TapCause, TapError, TapOptions, VhostUserFault, VhostUserLink,
    VhostUserOptions, datagram, hyperkit, seqpacket, stream, vhost_user,
};
pub use portreeve_types::api;
pub use portreeve_types::{
    Addressing, Announce, DnsConfig, DnsName, DnsStrategy, Egress, HostAccess, HostBind,
    HostEndpoint, HostPorts, Ipv4Link, Ipv6Link, Limits, Listen, MacAddr, NameServerAddr,
    PublishId, PublishItem, PublishRequest, PublishSpec, PublishedPort, SourceMode, SpecError,
    StaticRecord, Transport, UdpFiltering,
};
