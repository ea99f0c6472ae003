//! Questions under way: who waits for each, and what upstreams have been asked.
//!
//! Owns the tables and keeps them consistent; what to ask next is `server/exchange.rs`'s. A lookup
//! is taken out while it is worked on, and put back unless it is over.

use std::collections::{BTreeSet, HashMap};

use foldhash::quality::SeedableRandomState;
use portreeve_types::Instant;

use crate::key::Key;
use crate::random::Random;
use crate::wire::{Shape, Stored};
use crate::{Carrier, ExchangeId, QueryToken};

/// Everything that waits. No hash table here is ever iterated.
#[derive(Debug)]
pub(crate) struct Pending {
    lookups: HashMap<u64, Box<Lookup>, SeedableRandomState>,
    by_key: HashMap<Box<[u8]>, u64, SeedableRandomState>,
    by_exchange: HashMap<ExchangeId, u64, SeedableRandomState>,
    /// One entry for each query of the token that waits.
    by_token: HashMap<QueryToken, Vec<u64>, SeedableRandomState>,
    /// When each lookup has something to do.
    wakes: BTreeSet<(Instant, u64)>,
    last_id: u64,
    waiting: usize,
}

/// A question under way.
pub(crate) struct Lookup {
    pub(crate) key: Key,
    pub(crate) qtype: u16,
    /// RD and CD as the clients set them.
    pub(crate) flags: u16,
    pub(crate) dnssec_ok: bool,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) deadline: Instant,
    /// When there is something to do if nothing happens before.
    pub(crate) wake: Instant,
    pub(crate) asks: Vec<Ask>,
    /// How many questions there have been.
    pub(crate) asked: u32,
    /// The upstreams in the order to ask them, and the next one.
    pub(crate) order: Vec<usize>,
    pub(crate) next: usize,
    /// Upstreams asked since the last pause, and how many pauses there have been.
    pub(crate) abreast: u32,
    pub(crate) pauses: u32,
    /// Upstreams not to be asked again, as bits.
    pub(crate) failed: u32,
    /// Upstreams to be asked without EDNS, to find out whether that is what they mind, as bits.
    pub(crate) without_edns: u32,
    /// What to answer when no upstream has anything better to say.
    pub(crate) failure: Option<Stored>,
    /// Whether an upstream could not be reached.
    pub(crate) network_error: bool,
}

/// A query that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) token: QueryToken,
    pub(crate) shape: Shape,
    /// The name as the client spelled it.
    pub(crate) name: Box<[u8]>,
    pub(crate) since: Instant,
}

/// A question to an upstream that is open.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) exchange: ExchangeId,
    /// Position among the upstreams.
    pub(crate) server: usize,
    pub(crate) carrier: Carrier,
    pub(crate) id: u16,
    /// Name, type and class as sent.
    pub(crate) question: Box<[u8]>,
    pub(crate) since: Instant,
    pub(crate) with_edns: bool,
    pub(crate) case: Case,
    /// It has been counted as a failure of the upstream.
    pub(crate) charged: bool,
    pub(crate) mismatches: u32,
}

/// What a question does with the case of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Lower case.
    Plain,
    /// Random, and the answer must repeat it.
    Random,
    /// Random, and an answer in another case has come: another question finds out why.
    Questioned,
    /// Lower case, to find out whether the upstream does not keep the case.
    Probe,
}

impl Pending {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            lookups: HashMap::with_hasher(random.hasher()),
            by_key: HashMap::with_hasher(random.hasher()),
            by_exchange: HashMap::with_hasher(random.hasher()),
            by_token: HashMap::with_hasher(random.hasher()),
            wakes: BTreeSet::new(),
            last_id: 0,
            waiting: 0,
        }
    }

    /// A name for a lookup to be put in.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Lets a new lookup be found by its question, from now until its end.
    pub(crate) fn announce(&mut self, id: u64, lookup: &Lookup) {
        self.by_key.insert(lookup.key.as_bytes().into(), id);
    }

    pub(crate) fn put(&mut self, id: u64, lookup: Box<Lookup>) {
        self.wakes.insert((lookup.wake, id));
        self.lookups.insert(id, lookup);
    }

    /// Takes a lookup out to work on it; [`Pending::put`] or [`Pending::end`] must follow.
    pub(crate) fn take(&mut self, id: u64) -> Option<Box<Lookup>> {
        let lookup = self.lookups.remove(&id)?;
        self.wakes.remove(&(lookup.wake, id));
        Some(lookup)
    }

    /// Forgets a lookup that has been taken out and has no open question any more.
    pub(crate) fn end(&mut self, id: u64, lookup: &Lookup) {
        self.by_key.remove(lookup.key.as_bytes());
        for waiter in &lookup.waiters {
            self.leave(waiter.token, id);
        }
    }

    /// Adds a query to a lookup, wherever that is kept at the moment.
    pub(crate) fn join(&mut self, id: u64, lookup: &mut Lookup, waiter: Waiter) {
        self.by_token.entry(waiter.token).or_default().push(id);
        self.waiting += 1;
        lookup.waiters.push(waiter);
    }

    /// The queries of a token no longer wait; gives the lookups that nobody waits for now.
    pub(crate) fn forget(&mut self, token: QueryToken) -> (usize, Vec<(u64, Box<Lookup>)>) {
        let ids = self.by_token.remove(&token).unwrap_or_default();
        self.waiting -= ids.len();
        let mut unwanted = Vec::new();
        for &id in &ids {
            let Some(mut lookup) = self.take(id) else { continue };
            lookup.waiters.retain(|waiter| waiter.token != token);
            if lookup.waiters.is_empty() {
                unwanted.push((id, lookup));
            } else {
                self.put(id, lookup);
            }
        }
        (ids.len(), unwanted)
    }

    pub(crate) fn open(&mut self, exchange: ExchangeId, id: u64) {
        self.by_exchange.insert(exchange, id);
    }

    pub(crate) fn close(&mut self, exchange: ExchangeId) {
        self.by_exchange.remove(&exchange);
    }

    pub(crate) fn find(&self, key: &Key) -> Option<u64> {
        self.by_key.get(key.as_bytes()).copied()
    }

    /// The lookup a question to an upstream belongs to.
    pub(crate) fn owner(&self, exchange: ExchangeId) -> Option<u64> {
        self.by_exchange.get(&exchange).copied()
    }

    /// The lookup that has something to do first, and when.
    pub(crate) fn first_wake(&self) -> Option<(Instant, u64)> {
        self.wakes.first().copied()
    }

    /// All lookups, in a fixed order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.wakes.iter().map(|&(_, id)| id).collect()
    }

    /// Queries that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queries of a token that wait.
    pub(crate) fn waiting_of(&self, token: QueryToken) -> usize {
        self.by_token.get(&token).map_or(0, Vec::len)
    }

    fn leave(&mut self, token: QueryToken, id: u64) {
        let Some(ids) = self.by_token.get_mut(&token) else { return };
        if let Some(at) = ids.iter().position(|&of| of == id) {
            ids.swap_remove(at);
            self.waiting -= 1;
        }
        if ids.is_empty() {
            self.by_token.remove(&token);
        }
    }
}

impl Lookup {
    /// The next upstream in turn that has not failed.
    pub(crate) fn next_server(&mut self) -> Option<usize> {
        self.next_where(|_, _| true)
    }

    /// The next upstream in turn that has not failed and is not being asked.
    pub(crate) fn next_idle_server(&mut self) -> Option<usize> {
        self.next_where(|lookup, server| lookup.asks.iter().all(|ask| ask.server != server))
    }

    fn next_where(&mut self, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        for _ in 0..self.order.len() {
            let server = self.order[self.next % self.order.len()];
            self.next += 1;
            if self.failed & 1 << server == 0 && wanted(self, server) {
                return Some(server);
            }
        }
        None
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("asks", &self.asks).finish_non_exhaustive()
    }
}
