//! A source of ring memory that remembers what it was asked.
//!
//! Owns the check that a lease is given back once and not used afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use portreeve_core::{HeapRings, LeaseId, RingLease, RingSource};

/// What a source was asked so far.
#[derive(Clone, Debug, Default)]
pub struct RingLog {
    /// Leases that the engine holds, with how often each was called idle.
    pub held: BTreeMap<LeaseId, u32>,
    /// Leases that were given back.
    pub returned: BTreeSet<LeaseId>,
    /// Most leases held at once.
    pub most: usize,
    /// Leases that may still be made.
    pub budget: Option<usize>,
}

/// The source. Clones share one log.
#[derive(Clone, Debug, Default)]
pub struct RingSpy {
    log: Arc<Mutex<RingLog>>,
}

impl RingSpy {
    /// A source without limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// The log so far.
    pub fn log(&self) -> RingLog {
        self.lock().clone()
    }

    /// Makes memory run out after so many more leases.
    pub fn limit(&self, leases: usize) {
        self.lock().budget = Some(leases);
    }

    /// Forgets how often leases were called idle.
    pub fn forget_idle(&self) {
        self.lock().held.values_mut().for_each(|count| *count = 0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RingLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RingSource for RingSpy {
    fn lease(&mut self, to_guest: usize, from_guest: usize) -> Option<RingLease> {
        let mut log = self.lock();
        if let Some(budget) = &mut log.budget {
            *budget = budget.checked_sub(1)?;
        }
        let mut lease = HeapRings::default().lease(to_guest, from_guest)?;
        let number = log.held.len() + log.returned.len();
        lease.id = LeaseId(u32::try_from(number).ok()?);
        log.held.insert(lease.id, 0);
        log.most = log.most.max(log.held.len());
        Some(lease)
    }

    fn idle(&mut self, id: LeaseId) {
        let mut log = self.lock();
        let Some(count) = log.held.get_mut(&id) else { panic!("{id:?} is not held") };
        *count += 1;
    }

    fn give_back(&mut self, id: LeaseId) {
        let mut log = self.lock();
        assert!(log.held.remove(&id).is_some(), "{id:?} is given back twice");
        log.returned.insert(id);
    }
}
