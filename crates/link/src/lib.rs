//! Guest transports: how Ethernet frames reach and leave a guest.
//!
//! Owns the file descriptors or queues of a link and its framing, and shows every link alike:
//! a [`VirtioNetHdr`](portreeve_wire::VirtioNetHdr), then an Ethernet frame. Never blocks, never
//! reads a frame beyond that header, and knows nothing of the engine.
//!
//! One file per transport: [`tap`] (the kernel's TAP devices), [`memory`] (in-process pairs),
//! [`stream`], [`hyperkit`], [`seqpacket`] and [`datagram`] (sockets, as virtual machines offer
//! them), [`vhost_user`] (the guest's own memory). What these have in common: `options.rs` how they
//! are made, `source.rs` where connections come from, `socket.rs` who is connected, `connection.rs`
//! one connection, `watch.rs` one descriptor for all of them, `path.rs` sockets at paths,
//! `framing.rs` frames in a stream of bytes, `finish.rs` the header they do not have.

mod connection;
pub mod datagram;
mod error;
mod event;
mod finish;
mod framing;
#[doc(hidden)]
pub mod fuzz;
pub mod hyperkit;
mod link;
pub mod memory;
mod options;
mod path;
pub mod seqpacket;
mod socket;
mod source;
pub mod stream;
mod sys;
pub mod tap;
pub mod vhost_user;
mod watch;

pub use datagram::DatagramLink;
pub use error::{LinkCause, LinkError};
pub use event::{FramingFault, GoneCause, LinkEvent};
pub use link::{Capabilities, Link, MAX_FRAME_LEN};
pub use memory::{MemoryLink, MemoryOptions, MemoryPeer};
pub use options::SocketOptions;
pub use socket::SocketLink;
pub use tap::{Tap, TapCause, TapError, TapOptions};
pub use vhost_user::{MemoryFault, RingFault, VhostUserFault, VhostUserLink, VhostUserOptions};
