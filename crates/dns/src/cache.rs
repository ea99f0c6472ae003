//! Answers of upstreams, kept as the octets they came in.
//!
//! Bounded by bytes; the answer not asked for longest goes first. Never keeps an answer longer
//! than its shortest TTL, and never one that says it must not be kept.
//! Spec: RFC 1035 §7.4, RFC 2308 §5 (absence), RFC 9520 (failures).

use std::mem::size_of;
use std::time::Duration;

use foldhash::quality::SeedableRandomState;
use portreeve_types::Instant;

use crate::key::Key;
use crate::lru::Lru;
use crate::wire::Stored;

/// Answers by what was asked.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Lru<Box<[u8]>, Entry>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    stored: Stored,
    since: Instant,
    expires: Instant,
}

impl Cache {
    pub(crate) fn new(limit: usize, hasher: SeedableRandomState) -> Self {
        Self { entries: Lru::new(hasher), bytes: 0, limit }
    }

    /// The answer and its age in seconds, unless it has expired.
    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<(&Stored, u32)> {
        let expired = self.entries.peek(key.as_bytes())?.expires <= now;
        if expired {
            self.remove(key);
            return None;
        }
        let entry = self.entries.touch(key.as_bytes())?;
        // Fits: an entry lives a day at most.
        let age = now.since(entry.since).as_secs() as u32;
        Some((&entry.stored, age))
    }

    /// Keeps an answer for its lifetime; one without any is not kept.
    pub(crate) fn insert(&mut self, key: &[u8], stored: &Stored, now: Instant) {
        let cost = cost(key, stored);
        if stored.lifetime == 0 || cost > self.limit {
            return;
        }
        let entry = Entry {
            stored: stored.clone(),
            since: now,
            expires: now + Duration::from_secs(u64::from(stored.lifetime)),
        };
        self.bytes += cost;
        if let Some(old) = self.entries.insert(key.into(), entry) {
            self.bytes -= self::cost(key, &old.stored);
        }
        self.trim();
    }

    /// So many bytes may be kept from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.trim();
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The answers that are still good, with what was asked and the seconds they have left: at
    /// most `limit` of those that were used last.
    pub(crate) fn latest(&self, limit: usize, now: Instant) -> Vec<(&[u8], &Stored, u64)> {
        let looked_at = self.entries.newest_first().take(limit.saturating_add(EXPIRED_SKIPPED));
        looked_at
            .filter(|(_, entry)| entry.expires > now)
            .map(|(key, entry)| (&key[..], &entry.stored, entry.expires.since(now).as_secs()))
            .take(limit)
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn trim(&mut self) {
        while self.bytes > self.limit {
            let Some((key, old)) = self.entries.pop_oldest() else { break };
            self.bytes -= cost(&key, &old.stored);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some((key, entry)) = self.entries.remove(key.as_bytes()) {
            self.bytes -= cost(&key, &entry.stored);
        }
    }
}

/// What an entry takes, the tables' own memory included.
fn cost(key: &[u8], stored: &Stored) -> usize {
    key.len() + stored.heap_bytes() + OVERHEAD
}

/// Expired answers that a listing passes over before it ends early.
const EXPIRED_SKIPPED: usize = 1_024;

/// The node, its place in the hash table at its emptiest, and what the allocator adds.
const OVERHEAD: usize = size_of::<Entry>() + 96;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::wire::{Builder, WireName, rcode, rtype};

    fn answer(nth: u32, lifetime: u32) -> (Key, Stored) {
        let text = format!("n{nth:06}");
        let question = [&[7][..], text.as_bytes(), b"\0\0\x01\0\x01"].concat();
        let name = WireName::read(&question, 0).unwrap().0;
        let mut builder = Builder::new(&question);
        builder.answer(rtype::A, lifetime, &[192, 0, 2, 1]);
        let mut stored = builder.finish(rcode::NOERROR, None);
        stored.lifetime = lifetime;
        (Key::new(&name, rtype::A, rtype::CLASS_IN, 0), stored)
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn answers_age_and_expire() {
        let mut cache = Cache::new(10_000, Random::new([1, 2]).hasher());
        let (key, stored) = answer(1, 30);
        cache.insert(key.as_bytes(), &stored, at(100));
        assert_eq!(cache.get(&key, at(100)).unwrap().1, 0);
        assert_eq!(cache.get(&key, at(129)).unwrap().1, 29);
        assert!(cache.get(&key, at(130)).is_none());
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
        let (key, stored) = answer(2, 0);
        cache.insert(key.as_bytes(), &stored, at(0));
        assert!(cache.get(&key, at(0)).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_used_answers_stay() {
        let mut cache = Cache::new(20_000, Random::new([1, 2]).hasher());
        let (first, stored) = answer(0, 60);
        cache.insert(first.as_bytes(), &stored, at(0));
        for nth in 1..1_000 {
            let (key, stored) = answer(nth, 60);
            cache.insert(key.as_bytes(), &stored, at(1));
            cache.insert(key.as_bytes(), &stored, at(1));
            assert!(cache.bytes() <= 20_000);
            assert!(cache.get(&first, at(1)).is_some());
        }
        assert!(cache.len() > 30);
        let expected: usize = cache.len() * cost(first.as_bytes(), &stored);
        assert_eq!(cache.bytes(), expected);
        cache.set_limit(expected / 2);
        assert!(cache.bytes() <= expected / 2 && cache.bytes() > expected / 3);
        assert!(cache.get(&first, at(1)).is_some(), "the one used last");
        cache.clear();
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }
}
