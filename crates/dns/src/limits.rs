//! Bounds of the name server that are the protocol's or its own; what a user may set stands in
//! `portreeve_types::Limits`.

use std::time::Duration;

/// Upstreams that are used; more are left away.
pub(crate) const UPSTREAMS: usize = 16;
/// Questions to upstreams for one lookup, all told.
pub(crate) const ASKS_PER_LOOKUP: u32 = 12;
/// Queries that wait for one lookup.
pub(crate) const WAITERS_PER_LOOKUP: usize = 256;
/// Queries of one token that wait; beyond it the caller should read no more from the stream.
pub(crate) const WAITERS_PER_TOKEN: usize = 64;
/// Names answered locally.
pub(crate) const LOCAL_NAMES: usize = 65_536;
/// Addresses of one local name: so many AAAA records fit into 1,232 octets.
pub(crate) const LOCAL_ADDRESSES: usize = 32;
/// Addresses reported with one event.
pub(crate) const EVENT_ADDRESSES: usize = 16;

/// After so many foreign datagrams for one question it is asked again over TCP, where whoever is
/// not on the path cannot take part in the guessing.
pub(crate) const MISMATCHES_UNTIL_TCP: u32 = 8;

/// A second upstream is asked no sooner than this after the first.
pub(crate) const RACE_LEAST: Duration = Duration::from_millis(40);
/// And no later.
pub(crate) const RACE_MOST: Duration = Duration::from_millis(150);
/// Time without an answer until an upstream is asked again or the next one is; doubled each time.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Failures in a row until an upstream counts as down.
pub(crate) const FAILURES_UNTIL_DOWN: u32 = 3;
/// How long one that is down is asked last, at first and at most.
pub(crate) const BACKOFF_LEAST: Duration = Duration::from_secs(2);
pub(crate) const BACKOFF_MOST: Duration = Duration::from_secs(60);

/// RFC 9520 §3.2: failures are kept for at least a second, so that a client's retries do not
/// become as many questions; RFC 2308 §7.1 allows five minutes, we want sooner recovery.
pub(crate) const SERVFAIL_TTL: u32 = 5;
/// The same, when nobody answered at all.
pub(crate) const UNREACHABLE_TTL: u32 = 1;
/// TTL of what is answered here and has none of its own.
pub(crate) const LOCAL_TTL: u32 = 60;
/// A name is remembered this much longer than its TTL, since programs connect a little later.
pub(crate) const NAME_GRACE: Duration = Duration::from_secs(60);

/// Questions to upstreams for one lookup that are open at once, each with a socket of the caller.
pub(crate) const OPEN_ASKS: usize = 3;
