//! Host sockets: listeners, streams and datagrams, with the options the engine needs.
//!
//! Owns the descriptors of sockets on the host and how the kernel is asked about them. Never
//! blocks (but for `HostWatch::wait`), keeps no queue of its own, decides nothing about flows and
//! knows nothing of the engine. Every descriptor is non-blocking and close-on-exec.
//!
//! One file per kind of socket: `listen` (TCP), `listen_unix`, `dial` and `stream`, `datagram`
//! (UDP), `ping` (echo requests), `icmp` (errors to clients). Beside them: `outbound`, the options
//! of sockets for the guest's own traffic; `report`, what became of it; `interfaces`, `resolver`
//! and `watch`, what the host's network is like and that it has changed.

mod datagram;
mod dial;
mod error;
mod icmp;
mod interfaces;
mod limits;
mod listen;
mod listen_unix;
mod outbound;
mod ping;
mod report;
mod resolver;
mod stream;
mod sys;
mod watch;

pub use datagram::{
    BATCH_DATAGRAMS, Datagram, RecvBatch, SendBatch, SendOptions, UdpExchange, UdpOptions,
    UdpSocket,
};
pub use dial::{DialOptions, dial};
pub use error::{ErrorClass, HostError, Refusal};
pub use icmp::{RawIcmp, RefusedDatagram};
pub use interfaces::{has_default_route, interface_addresses, is_local};
pub use limits::{fd_limit, raise_fd_limit};
pub use listen::{Accepted, ListenOptions, Peer, TcpListener};
pub use listen_unix::{PeerCredentials, UnixListener};
pub use outbound::{Fragmentation, OutboundOptions};
pub use ping::{PingKind, PingOptions, PingSocket, ping_access};
pub use report::{ErrorOrigin, SocketErrorReport};
pub use resolver::{RESOLV_CONF, ResolverConfig, ResolverOptions, resolver_config};
pub use stream::Stream;
pub use watch::{HostChange, HostWaker, HostWatch};
