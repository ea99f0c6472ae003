//! The names that addresses were resolved from, so that a connection can be shown by name.
//!
//! Bounded; the address not resolved for longest is forgotten first. An address that several
//! names share has the one resolved last. A hint for people and for policies by name: a guest
//! can resolve a name of its own to any address.

use std::net::IpAddr;
use std::time::Duration;

use foldhash::quality::SeedableRandomState;
use portreeve_types::{DnsName, Instant};

use crate::limits::NAME_GRACE;
use crate::lru::Lru;

/// Names by address.
#[derive(Debug)]
pub struct NameIndex {
    entries: Lru<IpAddr, Named>,
    limit: usize,
}

#[derive(Debug)]
struct Named {
    name: DnsName,
    until: Instant,
}

impl NameIndex {
    pub(crate) fn new(limit: usize, hasher: SeedableRandomState) -> Self {
        Self { entries: Lru::new(hasher), limit }
    }

    /// The name `address` was last resolved from, until a little after the answer's TTL.
    pub fn name_of(&self, address: IpAddr, now: Instant) -> Option<&str> {
        let named = self.entries.peek(&address.to_canonical())?;
        (now < named.until).then(|| named.name.as_str())
    }

    /// How many addresses have a name.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no address has a name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, address: IpAddr, name: &DnsName, ttl: u32, now: Instant) {
        let until = now + Duration::from_secs(u64::from(ttl)) + NAME_GRACE;
        self.entries.insert(address.to_canonical(), Named { name: name.clone(), until });
        self.trim();
    }

    /// So many addresses may have a name from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.trim();
    }

    fn trim(&mut self) {
        while self.entries.len() > self.limit && self.entries.pop_oldest().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn names_last_a_little_longer_than_their_ttl() {
        let mut names = NameIndex::new(2, Random::new([1, 2]).hasher());
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let address = |last| IpAddr::from([192, 0, 2, last]);
        names.insert(address(1), &"a.test".parse().unwrap(), 30, at(0));
        names.insert(address(1), &"b.test".parse().unwrap(), 30, at(0));
        assert_eq!(names.name_of(address(1), at(89)), Some("b.test"));
        assert_eq!(names.name_of("::ffff:192.0.2.1".parse().unwrap(), at(0)), Some("b.test"));
        assert_eq!(names.name_of(address(1), at(90)), None);
        for last in 2..10 {
            names.insert(address(last), &"c.test".parse().unwrap(), 30, at(1));
            assert!(names.len() <= 2);
        }
        assert_eq!(names.name_of(address(1), at(1)), None);
        assert_eq!(names.name_of(address(9), at(1)), Some("c.test"));
        assert!(!names.is_empty());
        names.set_limit(1);
        assert_eq!(names.len(), 1);
        assert_eq!(names.name_of(address(9), at(1)), Some("c.test"));
    }
}
