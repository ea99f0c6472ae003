//! A table that knows which entry has not been used for longest.
//!
//! Every operation is O(1): a keyed hash table of positions into a slab whose nodes form a list.
//! Never decides when to evict; its owner has the limits.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;

/// Entries by key, in order of last use.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    hasher: SeedableRandomState,
    table: HashTable<u32>,
    nodes: Vec<Node<K, V>>,
    /// First of the unused nodes, which are chained by `newer`.
    free: u32,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Node<K, V> {
    entry: Option<(K, V)>,
    newer: u32,
    older: u32,
}

impl<K: Hash + Eq, V> Lru<K, V> {
    pub(crate) fn new(hasher: SeedableRandomState) -> Self {
        Self {
            hasher,
            table: HashTable::new(),
            nodes: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
        }
    }

    /// The entry, which becomes the newest.
    pub(crate) fn touch<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let at = self.find(key)?;
        if at != self.newest {
            self.unlink(at);
            self.link_newest(at);
        }
        self.nodes[at as usize].entry.as_mut().map(|(_, value)| value)
    }

    /// Adds or replaces an entry, which becomes the newest; gives back the replaced value.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(old) = self.touch(&key) {
            return Some(std::mem::replace(old, value));
        }
        let hash = self.hasher.hash_one(&key);
        let node = Node { entry: Some((key, value)), newer: NONE, older: NONE };
        let at = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let at = self.free;
            self.free = self.nodes[at as usize].newer;
            self.nodes[at as usize] = node;
            at
        };
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.table.insert_unique(hash, at, |&at| hash_at(nodes, hasher, at));
        self.link_newest(at);
        None
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let at = self.find(key)?;
        self.take(at)
    }

    /// Removes the entry that has not been used for longest.
    pub(crate) fn pop_oldest(&mut self) -> Option<(K, V)> {
        if self.oldest == NONE {
            return None;
        }
        self.take(self.oldest)
    }

    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.nodes.clear();
        (self.free, self.newest, self.oldest) = (NONE, NONE, NONE);
    }

    /// The entry, without counting as a use.
    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.nodes[self.find(key)? as usize].entry.as_ref().map(|(_, value)| value)
    }

    /// All entries, the one used last first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut next = self.newest;
        std::iter::from_fn(move || {
            // `NONE` is beyond all nodes.
            let node = self.nodes.get(next as usize)?;
            next = node.older;
            node.entry.as_ref().map(|(key, value)| (key, value))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    fn find<Q>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let is_key = |&at: &u32| self.key_at(at).is_some_and(|found| found.borrow() == key);
        self.table.find(self.hasher.hash_one(key), is_key).copied()
    }

    fn key_at(&self, at: u32) -> Option<&K> {
        self.nodes[at as usize].entry.as_ref().map(|(key, _)| key)
    }

    fn take(&mut self, at: u32) -> Option<(K, V)> {
        let hash = hash_at(&self.nodes, &self.hasher, at);
        if let Ok(slot) = self.table.find_entry(hash, |&found| found == at) {
            slot.remove();
        }
        self.unlink(at);
        let node = &mut self.nodes[at as usize];
        node.newer = self.free;
        self.free = at;
        node.entry.take()
    }

    fn unlink(&mut self, at: u32) {
        let Node { newer, older, .. } = self.nodes[at as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        (node.newer, node.older) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest as usize].newer = at,
        }
        self.newest = at;
    }
}

fn hash_at<K: Hash, V>(nodes: &[Node<K, V>], hasher: &SeedableRandomState, at: u32) -> u64 {
    nodes[at as usize].entry.as_ref().map_or(0, |(key, _)| hasher.hash_one(key))
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_oldest_goes_first_and_use_makes_new() {
        let mut lru: Lru<u32, &str> = Lru::new(Random::new([1, 2]).hasher());
        assert_eq!(lru.pop_oldest(), None);
        for (key, value) in [(1, "a"), (2, "b"), (3, "c")] {
            assert_eq!(lru.insert(key, value), None);
        }
        assert_eq!(lru.touch(&1), Some(&mut "a"));
        assert_eq!(lru.insert(2, "B"), Some("b"));
        assert_eq!(lru.peek(&3), Some(&"c"));
        let order: Vec<_> = lru.newest_first().map(|(&key, _)| key).collect();
        assert_eq!(order, [2, 1, 3]);
        assert_eq!(lru.pop_oldest(), Some((3, "c")));
        assert_eq!(lru.remove(&2), Some((2, "B")));
        assert_eq!(lru.remove(&2), None);
        lru.insert(4, "d");
        assert_eq!(lru.pop_oldest(), Some((1, "a")));
        assert_eq!(lru.pop_oldest(), Some((4, "d")));
        assert_eq!((lru.len(), lru.pop_oldest()), (0, None));
        assert_eq!(lru.newest_first().count(), 0);
    }

    #[test]
    fn nodes_are_used_again() {
        let mut lru: Lru<u64, u64> = Lru::new(Random::new([3, 4]).hasher());
        for key in 0..10_000 {
            lru.insert(key, key);
            if lru.len() > 100 {
                assert_eq!(lru.pop_oldest(), Some((key - 100, key - 100)));
            }
        }
        assert_eq!(lru.nodes.len(), 101);
        lru.clear();
        assert_eq!(lru.peek(&9_999), None);
    }
}
