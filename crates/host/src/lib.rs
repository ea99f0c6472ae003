//! Host sockets: listeners, streams and datagrams, with the options the engine needs.
//!
//! Owns the descriptors of sockets on the host and how the kernel is asked about them. Never
//! blocks, keeps no queue of its own, decides nothing about flows and knows nothing of the
//! engine. Every descriptor is non-blocking and close-on-exec.
//!
//! One file per kind of socket: `listen` (TCP), `listen_unix`, `dial` and `stream`, `datagram`
//! (UDP), `icmp` (errors to clients).

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
mod stream;
mod sys;

pub use datagram::{
    BATCH_DATAGRAMS, Datagram, RecvBatch, SendBatch, SendOptions, UdpExchange, UdpOptions,
    UdpSocket,
};
pub use dial::{DialOptions, dial};
pub use error::{ErrorClass, HostError, Refusal};
pub use icmp::{RawIcmp, RefusedDatagram};
pub use interfaces::interface_addresses;
pub use limits::{fd_limit, raise_fd_limit};
pub use listen::{Accepted, ListenOptions, Peer, TcpListener};
pub use listen_unix::{PeerCredentials, UnixListener};
pub use outbound::{Fragmentation, OutboundOptions};
pub use ping::{PingKind, PingOptions, PingSocket};
pub use report::{ErrorOrigin, SocketErrorReport};
pub use stream::Stream;
