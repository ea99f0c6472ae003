//! A typed client of the control API, and where the sockets of running engines are.
//!
//! Owns the client's half of HTTP and nothing of the engine: what a request means is said by
//! [`portreeve_types::api`], where an engine's socket is by [`instance`]. Blocking, because its
//! users are commands and a terminal view; every wait has a bound, every answer a largest size.
//!
//! ```no_run
//! use portreeve_client::{Address, Client};
//!
//! # fn main() -> Result<(), portreeve_client::Error> {
//! let client = Client::new(&Address::Only)?;
//! for port in client.publish("8080:80")?.ports {
//!     println!("{port}");
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod client;
mod error;
mod exchange;
pub mod instance;
mod options;
mod stream;
mod target;

pub use client::{Address, Client};
pub use error::Error;
pub use instance::InstanceName;
pub use options::{CaptureOptions, Connections, EventFilter, FlowFilter};
pub use stream::{Capture, Events};
