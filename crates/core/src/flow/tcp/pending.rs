//! Dials that are under way, in order of age: all of them, and those to each destination.
//!
//! Owns the two orders and keeps them in step. Ends nothing by itself: it names the flow that has
//! to give way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::engine::losses::Limit;
use crate::flow::FlowId;

/// Dials by age.
#[derive(Default)]
pub(crate) struct Dials {
    next: u64,
    by_age: BTreeMap<u64, (FlowId, IpAddr)>,
    by_destination: BTreeMap<IpAddr, BTreeSet<u64>>,
    ages: BTreeMap<FlowId, u64>,
}

impl Dials {
    pub(crate) fn add(&mut self, id: FlowId, destination: IpAddr) {
        let age = self.next;
        self.next += 1;
        self.by_age.insert(age, (id, destination));
        self.by_destination.entry(destination).or_default().insert(age);
        self.ages.insert(id, age);
    }

    pub(crate) fn remove(&mut self, id: FlowId) {
        let Some(age) = self.ages.remove(&id) else { return };
        let Some((_, destination)) = self.by_age.remove(&age) else { return };
        if let Some(ages) = self.by_destination.get_mut(&destination) {
            ages.remove(&age);
            if ages.is_empty() {
                self.by_destination.remove(&destination);
            }
        }
    }

    /// The oldest dial that has to end before one more to `destination` may begin, and the limit
    /// that wants it.
    pub(crate) fn excess(
        &self,
        destination: IpAddr,
        most: usize,
        most_to_one: usize,
    ) -> Option<(FlowId, Limit)> {
        let same = self.by_destination.get(&destination).filter(|ages| ages.len() >= most_to_one);
        let (age, limit) = match same {
            Some(ages) => (ages.first(), Limit::MaxDialsPerDestination),
            None if self.by_age.len() >= most => (self.by_age.keys().next(), Limit::MaxDials),
            None => return None,
        };
        self.by_age.get(age?).map(|&(id, _)| (id, limit))
    }

    /// The oldest dials of those that are beyond the limits, and the limit that each is beyond.
    pub(crate) fn beyond(&self, most: usize, most_to_one: usize) -> Vec<(FlowId, Limit)> {
        let over = |ages: &BTreeSet<u64>| ages.len().saturating_sub(most_to_one);
        let mut ended = BTreeMap::new();
        for ages in self.by_destination.values() {
            let oldest = ages.iter().take(over(ages));
            ended.extend(oldest.map(|&age| (age, Limit::MaxDialsPerDestination)));
        }
        let left = self.by_age.keys().filter(|age| !ended.contains_key(age));
        let over = (self.by_age.len() - ended.len()).saturating_sub(most);
        let oldest: Vec<_> = left.take(over).map(|&age| (age, Limit::MaxDials)).collect();
        ended.extend(oldest);
        let flow = |age: u64| self.by_age.get(&age).map(|&(id, _)| id);
        ended.into_iter().filter_map(|(age, limit)| flow(age).zip(Some(limit))).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> FlowId {
        FlowId { index, generation: 0 }
    }

    #[test]
    fn the_oldest_gives_way_first_to_its_own_destination_then_to_all() {
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut dials = Dials::default();
        for (index, destination) in [(0, a), (1, b), (2, b), (3, a)] {
            dials.add(id(index), destination);
        }
        assert_eq!(dials.excess(a, 9, 9), None);
        assert_eq!(dials.beyond(4, 2), []);
        let (one, all) = (Limit::MaxDialsPerDestination, Limit::MaxDials);
        assert_eq!(dials.beyond(1, 1), [(id(0), one), (id(1), one), (id(2), all)]);
        assert_eq!(dials.beyond(2, 9), [(id(0), all), (id(1), all)]);
        assert_eq!(dials.excess(b, 9, 2), Some((id(1), Limit::MaxDialsPerDestination)));
        assert_eq!(dials.excess(b, 4, 9), Some((id(0), Limit::MaxDials)));
        dials.remove(id(0));
        assert_eq!(dials.excess(b, 3, 9), Some((id(1), Limit::MaxDials)));
        for index in 0..4 {
            dials.remove(id(index));
        }
        assert_eq!(dials.len(), 0);
        assert!(dials.by_destination.is_empty() && dials.ages.is_empty());
    }
}
