//! Guest transports: how Ethernet frames reach and leave a guest.
//!
//! Owns the file descriptors or queues of a link and its framing, and shows every link alike:
//! a [`VirtioNetHdr`](portreeve_wire::VirtioNetHdr), then an Ethernet frame. Never blocks, never
//! reads a frame beyond that header, and knows nothing of the engine.
//!
//! One file per transport: [`tap`] (the kernel's TAP devices), [`memory`] (in-process pairs).

mod event;
mod link;
pub mod memory;
mod sys;
pub mod tap;

pub use event::{FramingFault, GoneCause, LinkEvent};
pub use link::{Capabilities, Link, MAX_FRAME_LEN};
pub use memory::{MemoryLink, MemoryOptions, MemoryPeer};
pub use tap::{Tap, TapOptions};
