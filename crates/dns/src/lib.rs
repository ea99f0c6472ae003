//! The sans-IO name server on the guest's gateway.
//!
//! Owns what a forwarding name server knows: the local zone, the cache, the queries that wait,
//! the health of the upstreams, and the names that addresses were resolved from. It opens no
//! socket, reads no clock and has no thread: messages and the time go in, answers and orders come
//! out. See [`DnsServer`] for the order in which to call it.
//!
//! The guest is hostile, and so may upstreams be. A message of the guest ends in one answer or in
//! a counted drop; whatever upstreams do or leave costs bounded memory and, at worst, a SERVFAIL.
//!
//! Forwarded questions are built anew from name, type and class. OPT records are hop by hop: the
//! guest's EDNS options (cookies, client subnet, padding, keep-alive, NSID and all others) are
//! not passed to upstreams, nor are upstreams' to the guest, except for Extended DNS Errors.
//!
//! Spec: RFC 1034, RFC 1035, RFC 2181, RFC 2308, RFC 5452, RFC 6891, RFC 7766, RFC 8482, RFC 8914.

#![forbid(unsafe_code)]

mod cache;
mod counters;
mod event;
mod framer;
#[doc(hidden)]
pub mod fuzz;
mod key;
mod limits;
mod lru;
mod mnemonics;
mod names;
mod pending;
mod random;
mod rebind;
mod server;
mod upstream;
mod wire;
mod zone;

pub use counters::DnsCounters;
pub use event::{AnswerSource, DnsEvent};
pub use framer::{Framer, frame};
pub use mnemonics::{rcode_name, record_type_name};
pub use names::NameIndex;
pub use server::{CachedAnswer, DnsServer, NamePolicy, NameVerdict, UpstreamStatus};

use std::net::SocketAddr;

/// The caller's name for where an answer goes: a client's datagrams, or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryToken(pub u64);

/// One question to one upstream, over a socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram.
    Udp,
    /// A stream; the two octets of length are the caller's affair ([`Framer`], [`frame`]).
    Tcp,
}

/// A message for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who asked.
    pub token: QueryToken,
    /// And how.
    pub carrier: Carrier,
    /// The message, no longer than the client takes.
    pub message: Vec<u8>,
}

/// An order about upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamOp {
    /// Send a question, from a socket that no other question uses.
    Ask {
        /// Its name, until it is cancelled or has failed.
        exchange: ExchangeId,
        /// Where to.
        server: SocketAddr,
        /// How.
        carrier: Carrier,
        /// The message.
        message: Vec<u8>,
    },
    /// Close the socket: the question is answered, or the answer no longer wanted.
    Cancel {
        /// The question.
        exchange: ExchangeId,
    },
}
