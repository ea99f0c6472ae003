//! Keyed hashing from the engine's seed: the flow table's hasher and initial sequence numbers.
//!
//! Owns the secret. Same seed and same calls give the same values, so a simulation repeats.

use std::hash::{BuildHasher, Hash};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

use portreeve_types::Instant;

/// The engine's secret, from which every unpredictable number follows.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    table: SeedableRandomState,
    sequence: SeedableRandomState,
}

impl Seed {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        // The shared half of foldhash's seed is leaked memory by design and carries no secret;
        // both per-hasher halves do, and they differ.
        let state = |seed| SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self { table: state(seed[0]), sequence: state(seed[1]) }
    }

    /// Hash for the flow table.
    pub(crate) fn table_hash(&self, key: &impl Hash) -> u64 {
        self.table.hash_one(key)
    }

    /// Initial sequence number of a connection.
    ///
    /// RFC 6528 §3: a clock that ticks every 4 µs plus a keyed hash of the endpoints, so that
    /// numbers cannot be guessed but a reused 4-tuple still moves forward.
    pub(crate) fn initial_sequence(&self, key: &impl Hash, now: Instant) -> u32 {
        let ticks = now.as_micros() / 4;
        // The low 32 bits of both are meant.
        (ticks as u32).wrapping_add(self.sequence.hash_one(key) as u32)
    }
}
