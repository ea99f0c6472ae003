//! The simulation in which the engine is tested: link, guest and host, without any I/O.
//!
//! A [`Pair`] joins a real engine and a guest on smoltcp over a link that may lose, double,
//! reorder and stall. On the other side are clients of published ports and a world that the guest
//! can reach, on sockets of memory. Its clock jumps to the next deadline, so hours pass in
//! milliseconds, and the same seed gives the same run. What must hold at every step is asserted at
//! every step: bytes in order and complete, frames that a real card would take, orders that name
//! open sockets, deadlines that pass, no connection shown that is not there.
//!
//! Never shipped.

#![forbid(unsafe_code)]

pub mod app;
pub mod ask;
pub mod content;
pub mod fuzz;
pub mod guest;
pub mod host;
pub mod link;
pub mod packet;
pub mod pair;
pub mod random;
pub mod rings;
pub mod script;
pub mod trace;

pub use app::{App, Finish, Preamble, Reading, Writing};
pub use content::{StreamCheck, StreamId};
pub use guest::port::{Listener, Port};
pub use guest::udp::Service;
pub use guest::{Guest, GuestSpec};
pub use host::outside::Destination;
pub use host::stream::{ClientSpec, End, ServerSpec};
pub use host::world::{Answer, Place};
pub use host::{ClientId, FakeHost};
pub use link::{LinkDirection, LinkSpec};
pub use pair::{Outcome, Pair, PairSpec, client_spec};
pub use random::Random;
pub use rings::RingSpy;
pub use script::Script;
