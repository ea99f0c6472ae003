//! The name server: routes what comes in, and hands out what results.
//!
//! Owns every part's state and decides nothing itself: queries are `server/guest.rs`'s, upstreams
//! `server/exchange.rs`'s, and how a lookup ends `server/settle.rs`'s.

mod exchange;
mod guest;
mod settle;
mod view;

pub use view::{CachedAnswer, UpstreamStatus};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use portreeve_types::{Addressing, DnsConfig, DnsName, Instant, Limits, StaticRecord};

use crate::cache::Cache;
use crate::event::Backlog;
use crate::limits::WAITERS_PER_TOKEN;
use crate::pending::Pending;
use crate::random::Random;
use crate::rebind::RebindGuard;
use crate::upstream::Upstreams;
use crate::zone::Zone;
use crate::{Answer, DnsCounters, DnsEvent, NameIndex, QueryToken, UpstreamOp};

/// A forwarding name server without sockets.
///
/// After each `handle_*`, and after [`forget`](Self::forget), [`set_upstreams`](Self::set_upstreams),
/// the caller takes what is there from [`poll_answer`](Self::poll_answer),
/// [`poll_op`](Self::poll_op) and [`poll_event`](Self::poll_event), and calls
/// [`handle_timeout`](Self::handle_timeout) no later than [`poll_timeout`](Self::poll_timeout)
/// says. What is not taken stays.
///
/// An exchange lives from its [`UpstreamOp::Ask`] until its [`UpstreamOp::Cancel`], or until the
/// caller reports that it failed; a response does not end it, since it may be forged. From a TCP
/// stream, messages are taken while [`has_room`](Self::has_room) says so.
///
/// Every message that is not dropped gets exactly one answer, no later than the configured time,
/// unless its token is forgotten before.
pub struct DnsServer {
    random: Random,
    zone: Zone,
    cache: Cache,
    names: NameIndex,
    pending: Pending,
    upstreams: Upstreams,
    search: Vec<String>,
    guard: RebindGuard,
    policy: Option<Box<dyn NamePolicy>>,
    randomise_case: bool,
    log_queries: bool,
    ipv6_upstream: bool,
    most_pending: usize,
    timeout: Duration,
    last_exchange: u64,
    answers: VecDeque<Answer>,
    ops: VecDeque<UpstreamOp>,
    events: Backlog,
    counters: DnsCounters,
}

/// Decides which names the guest may resolve. Local names are not asked about.
pub trait NamePolicy: Send {
    /// What becomes of a query for `name`, whether its answer is known already or not.
    fn verdict(&mut self, name: &DnsName) -> NameVerdict;
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameVerdict {
    /// It is answered.
    Allow,
    /// It is answered with NXDOMAIN and an Extended DNS Error.
    Deny,
}

impl<F: FnMut(&DnsName) -> NameVerdict + Send> NamePolicy for F {
    fn verdict(&mut self, name: &DnsName) -> NameVerdict {
        self(name)
    }
}

impl DnsServer {
    /// A name server for one guest. What the configuration leaves to the host is empty until
    /// [`set_upstreams`](Self::set_upstreams). The seed must be secret and fresh, except in tests.
    pub fn new(config: &DnsConfig, limits: &Limits, seed: [u64; 2]) -> Self {
        let mut random = Random::new(seed);
        let servers: Vec<_> = config.upstreams.iter().flatten().map(|server| server.0).collect();
        let search = config.search.iter().flatten().map(ToString::to_string).collect();
        Self {
            zone: Zone::new(&config.records, random.hasher(), random.hasher()),
            cache: Cache::new(limits.dns_cache_bytes, random.hasher()),
            names: NameIndex::new(limits.dns_names, random.hasher()),
            pending: Pending::new(&mut random),
            upstreams: Upstreams::new(&servers, config.strategy),
            search,
            guard: RebindGuard::new(config),
            policy: None,
            randomise_case: config.randomise_case,
            log_queries: config.log_queries,
            ipv6_upstream: true,
            most_pending: limits.dns_pending,
            timeout: Duration::from_millis(limits.dns_timeout_ms),
            last_exchange: 0,
            answers: VecDeque::new(),
            ops: VecDeque::new(),
            events: Backlog::new(limits.event_backlog),
            counters: DnsCounters::default(),
            random,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((wake, id)) = self.pending.first_wake() {
            if wake > now {
                return;
            }
            self.wake(id, now);
        }
    }

    /// The stream behind a token is gone: its queries are not answered any more.
    ///
    /// Answers that have not been taken yet still come out; the caller drops them.
    pub fn forget(&mut self, token: QueryToken) {
        let (forgotten, unwanted) = self.pending.forget(token);
        self.counters.forgotten += forgotten as u64;
        for (id, mut lookup) in unwanted {
            self.cancel_all(&mut lookup);
            self.pending.end(id, &lookup);
        }
    }

    /// Takes other upstreams and another search list, as when the host's resolver has changed.
    ///
    /// The cache is flushed, since another network may give other answers; queries that wait are
    /// asked at the new upstreams by the next [`handle_timeout`](Self::handle_timeout), which is
    /// due at once. Not to be called with the host's where the configuration names its own.
    pub fn set_upstreams(&mut self, upstreams: Vec<SocketAddr>, search: Vec<String>) {
        self.upstreams.replace(&upstreams);
        self.search = search;
        self.flush();
        for id in self.pending.ids() {
            self.restart_later(id);
        }
    }

    /// Whether the host reaches IPv6 destinations. When it does not, names other than local ones
    /// have no AAAA records for the guest, so that its programs need not time out to find out.
    pub fn set_ipv6_upstream(&mut self, has: bool) {
        self.ipv6_upstream = has;
    }

    /// Takes the reverse names of the guest's link as local ones.
    pub fn set_addressing(&mut self, addressing: &Addressing) {
        self.zone.set_addressing(addressing);
    }

    /// Takes another policy for names; `None` allows all. It holds for cached answers too.
    pub fn set_policy(&mut self, policy: Option<Box<dyn NamePolicy>>) {
        self.policy = policy;
    }

    /// Takes other limits: `dns_pending`, `dns_timeout_ms`, `dns_cache_bytes`, `dns_names` and
    /// `event_backlog`. What is beyond a lower one goes at once, the oldest first; queries that
    /// wait keep their time and are answered.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.most_pending = limits.dns_pending;
        self.timeout = Duration::from_millis(limits.dns_timeout_ms);
        self.cache.set_limit(limits.dns_cache_bytes);
        self.names.set_limit(limits.dns_names);
        self.counters.events_dropped += self.events.set_limit(limits.event_backlog);
    }

    /// Adds addresses to a local name; says whether there was room for all.
    pub fn add_record(&mut self, record: &StaticRecord) -> bool {
        self.zone.add(record)
    }

    /// Gives a local name these addresses instead of those it has, if it has any. `false` if there
    /// is no room, for the name or for so many addresses; nothing has changed then.
    pub fn set_record(&mut self, record: &StaticRecord) -> bool {
        self.zone.set(record)
    }

    /// Removes a local name with all its addresses; says whether there was one. Names of the
    /// gateway itself stay.
    pub fn remove_record(&mut self, name: &DnsName) -> bool {
        self.zone.remove(name)
    }

    /// Adds addresses to a name that belongs to the gateway itself, as its own and the guest's do;
    /// says whether there was room for all.
    ///
    /// It is answered as other local names are, but it is not listed, cannot be removed, and stands
    /// back behind a record of the same name for as long as there is one.
    pub fn add_own_record(&mut self, record: &StaticRecord) -> bool {
        self.zone.add_own(record)
    }

    /// Forgets every cached answer; says how many there were.
    pub fn flush(&mut self) -> usize {
        let flushed = self.cache.len();
        self.cache.clear();
        flushed
    }

    /// The next message for the guest.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// The next order about upstreams.
    pub fn poll_op(&mut self) -> Option<UpstreamOp> {
        self.ops.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DnsEvent> {
        self.events.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending.first_wake().map(|(wake, _)| wake)
    }

    /// Whether another query of a stream is welcome; if not, its octets should wait in the window
    /// until an answer has come out.
    pub fn has_room(&self, token: QueryToken) -> bool {
        self.pending.waiting() < self.most_pending
            && self.pending.waiting_of(token) < WAITERS_PER_TOKEN
    }

    fn report(&mut self, event: DnsEvent) {
        self.counters.events_dropped += self.events.push(event);
    }
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsServer").field("counters", &self.counters).finish_non_exhaustive()
    }
}
