//! The keyed flow table: a slab of records and a hash index over their guest-side keys.
//!
//! Owns the two and keeps them in step. Finding a flow costs the same whether there are ten or a
//! hundred thousand; nothing here walks all flows except [`FlowTable::iter`], which is for
//! listings. Iteration follows slots, never the hash, so that runs repeat.

use hashbrown::HashTable;
use portreeve_wire::FlowKey;

use super::state::Phase;
use super::{Body, Flow, FlowId};
use crate::seed::Seed;

/// All flows of one engine, TIME-WAIT included.
pub(crate) struct FlowTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    seed: Seed,
    active: usize,
    /// TCP flows by phase.
    phases: [u32; Phase::ALL.len()],
}

struct Slot {
    generation: u32,
    flow: Option<Flow>,
}

impl FlowTable {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            seed,
            active: 0,
            phases: [0; Phase::ALL.len()],
        }
    }

    /// Takes a slot, lets `make` build the record for its name, and indexes it.
    ///
    /// The caller has checked that the key is free.
    pub(crate) fn insert(&mut self, key: FlowKey, make: impl FnOnce(FlowId) -> Flow) -> FlowId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, flow: None });
            u32::try_from(self.slots.len() - 1).expect("fewer flows than addresses")
        });
        let slot = &mut self.slots[index as usize];
        let id = FlowId { index, generation: slot.generation };
        let flow = make(id);
        debug_assert_eq!(flow.key, key);
        self.active += usize::from(!matches!(flow.body, Body::TimeWait(_)));
        if let Some(tcp) = flow.tcp() {
            self.phases[tcp.phase as usize] += 1;
        }
        slot.flow = Some(flow);
        let hash = self.seed.table_hash(&key);
        let (slots, seed) = (&self.slots, &self.seed);
        self.by_key.insert_unique(hash, index, |&other| {
            key_of(slots, other).map_or(0, |key| seed.table_hash(key))
        });
        id
    }

    /// Forgets a flow and returns its record.
    pub(crate) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let flow = self.slots.get_mut(id.index()).filter(|s| s.generation == id.generation)?;
        let flow = flow.flow.take()?;
        let hash = self.seed.table_hash(&flow.key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&index| index == id.index) {
            entry.remove();
        }
        let slot = &mut self.slots[id.index()];
        slot.generation = slot.generation.wrapping_add(1) & MAX_GENERATION;
        self.free.push(id.index);
        self.left(&flow.body);
        Some(flow)
    }

    /// Replaces a record's body by TIME-WAIT, which does not count as active.
    pub(crate) fn retire(&mut self, id: FlowId, body: Body) -> Option<Body> {
        let flow = self.get_mut(id)?;
        let old = std::mem::replace(&mut flow.body, body);
        self.left(&old);
        Some(old)
    }

    /// Moves a TCP flow to another phase. Nothing else does, or the counts by phase would go wrong.
    pub(crate) fn set_phase(&mut self, id: FlowId, phase: Phase) {
        let Some(tcp) = self.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let before = std::mem::replace(&mut tcp.phase, phase);
        self.phases[before as usize] -= 1;
        self.phases[phase as usize] += 1;
    }

    /// Moves a flow to another key, which the caller has checked to be free.
    pub(crate) fn rekey(&mut self, id: FlowId, key: FlowKey) {
        let Some(old) = self.get(id).map(|flow| flow.key) else { return };
        let hash = self.seed.table_hash(&old);
        if let Ok(entry) = self.by_key.find_entry(hash, |&index| index == id.index) {
            entry.remove();
        }
        if let Some(flow) = self.get_mut(id) {
            flow.key = key;
        }
        let hash = self.seed.table_hash(&key);
        let (slots, seed) = (&self.slots, &self.seed);
        self.by_key.insert_unique(hash, id.index, |&other| {
            key_of(slots, other).map_or(0, |key| seed.table_hash(key))
        });
    }

    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        let slot = self.slots.get_mut(id.index())?;
        slot.flow.as_mut().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn get(&self, id: FlowId) -> Option<&Flow> {
        let slot = self.slots.get(id.index())?;
        slot.flow.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn find(&self, key: &FlowKey) -> Option<FlowId> {
        let hash = self.seed.table_hash(key);
        let index = self.by_key.find(hash, |&index| key_of(&self.slots, index) == Some(key))?;
        self.slots[*index as usize].flow.as_ref().map(|flow| flow.id)
    }

    /// Flows that count against the limit: all but those in TIME-WAIT.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// TCP flows by phase, in the order of [`Phase::ALL`].
    pub(crate) fn phases(&self) -> [u32; Phase::ALL.len()] {
        self.phases
    }

    /// Flows in TIME-WAIT.
    pub(crate) fn time_wait(&self) -> usize {
        self.by_key.len() - self.active
    }

    /// The flows in the `count` slots behind slot `after`, or in the first ones, and the last slot
    /// looked at; `None` when there are no more slots.
    pub(crate) fn page(
        &self,
        after: Option<u32>,
        count: usize,
    ) -> (impl Iterator<Item = &Flow>, Option<u32>) {
        let start = after.map_or(0, |slot| slot as usize + 1).min(self.slots.len());
        let end = start.saturating_add(count).min(self.slots.len());
        let flows = self.slots[start..end].iter().filter_map(|slot| slot.flow.as_ref());
        // Slots are numbered by 32 bits, so a page that ends before the last has a number.
        let last = (end < self.slots.len()).then(|| end.checked_sub(1)).flatten();
        (flows, last.and_then(|slot| u32::try_from(slot).ok()))
    }

    /// All flows by slot. Walks the table: for listings and shutdown, never per packet.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.slots.iter().filter_map(|slot| slot.flow.as_ref())
    }

    /// A record has this body no longer.
    fn left(&mut self, body: &Body) {
        self.active -= usize::from(!matches!(body, Body::TimeWait(_)));
        if let Body::Tcp(tcp) = body {
            self.phases[tcp.phase as usize] -= 1;
        }
    }
}

fn key_of(slots: &[Slot], index: u32) -> Option<&FlowKey> {
    slots[index as usize].flow.as_ref().map(|flow| &flow.key)
}

/// Names of flows are numbers of 63 bits.
const MAX_GENERATION: u32 = u32::MAX >> 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tcp::time_wait::TimeWait;
    use portreeve_types::Instant;

    fn key(port: u16) -> FlowKey {
        FlowKey::tcp(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], port).into())
    }

    fn flow(id: FlowId, key: FlowKey) -> Flow {
        let body = Body::TimeWait(TimeWait { sequence: 0, acknowledgement: 0 });
        Flow::new(id, key, Instant::ZERO, body)
    }

    #[test]
    fn flows_are_found_by_key_until_removed_and_names_are_not_reused() {
        let mut table = FlowTable::new(Seed::new([1, 2]));
        let ids: Vec<_> =
            (1..2000).map(|port| table.insert(key(port), |id| flow(id, key(port)))).collect();
        for (port, id) in (1..2000).zip(&ids) {
            assert_eq!(table.find(&key(port)), Some(*id));
        }
        for id in ids.iter().step_by(2) {
            assert!(table.remove(*id).is_some());
            assert!(table.remove(*id).is_none(), "a name is good for one flow");
        }
        assert_eq!(table.find(&key(1)), None);
        assert_eq!(table.find(&key(2)), Some(ids[1]));
        let again = table.insert(key(1), |id| flow(id, key(1)));
        assert!(!ids.contains(&again));
        table.rekey(again, key(5000));
        assert_eq!(table.find(&key(1)), None);
        assert_eq!(table.find(&key(5000)), Some(again));
    }
}
