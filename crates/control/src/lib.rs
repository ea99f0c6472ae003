//! The control API of a running engine: HTTP/1.1 and JSON over a Unix socket, and a page.
//!
//! A [`Server`] stands beside an engine, on a thread of its own, and answers from the engine's
//! [`Handle`](portreeve::Handle): what the library can do, said over HTTP. It decides nothing about
//! the guest's traffic, and the engine never waits for it or for its clients.
//!
//! Who may ask: the user that the engine runs as and root, from the engine's own network namespace,
//! which its guest is not in; over TCP whoever shows the [`Token`]. What can be asked is described
//! by the OpenAPI document at `/v1/openapi.json` and in `docs/manual/control.md`; the bodies are
//! the types of `portreeve_types::api`.
//!
//! ```
//! use portreeve::{Engine, MemoryOptions, memory_link};
//! use portreeve_control::Server;
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (link, _guest) = memory_link(&MemoryOptions::default())?;
//! let engine = Engine::builder().link(link).start()?;
//! # let runtime = tempfile::tempdir()?;
//! # let path = runtime.path().join("web/control.sock");
//! let server = Server::builder(engine.handle())
//!     .name("web")
//!     .socket(&path) // …/web/control.sock, in a directory that only this user may enter
//!     .start()?;
//! let mut client = UnixStream::connect(&path)?;
//! client.write_all(b"GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.contains(r#""api":["v1"]"#));
//! // Streams end with the engine; whoever wants their last lines to arrive ends it first.
//! engine.stop();
//! drop(server);
//! assert!(!path.exists());
//! # Ok(())
//! # }
//! ```
//!
//! Layers, from the socket inwards: `place` and `peer` (or `guard`, over TCP) keep others out,
//! `connections` and `serve` bound what is left, `endpoints` answer, `state` asks the engine,
//! `convert`, `metrics` and `pcapng` put it into words. `endpoint` and `openapi` describe it all.

#![forbid(unsafe_code)]

mod connections;
mod convert;
mod endpoint;
mod endpoints;
mod error;
mod extract;
mod fault;
mod guard;
mod metrics;
mod openapi;
mod pcapng;
mod peer;
mod place;
mod rest;
mod serve;
mod server;
mod state;
mod token;
mod ui;

pub use error::Error;
pub use place::sweep;
pub use server::{Builder, Server};
pub use state::ConfigProvider;
pub use token::Token;
