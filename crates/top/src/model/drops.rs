//! What was dropped, why, and how often now.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portreeve_types::api;

use super::{Cursor, Filter, Rate, Sort, SortKey, Step};

/// The reasons that have occurred, and the list that is shown of them.
#[derive(Debug)]
pub(crate) struct Drops {
    rows: BTreeMap<String, DropRow>,
    shown: Vec<String>,
    sort: Sort,
    cursor: Cursor<String>,
    all: Rate,
}

/// One reason.
#[derive(Clone, Debug)]
pub(crate) struct DropRow {
    /// Its stable name.
    pub(crate) reason: String,
    /// How often, ever and now.
    pub(crate) count: Rate,
    rose: Option<Instant>,
    /// How long ago it was last seen to occur; `None` if not since the view was opened.
    pub(crate) since: Option<Duration>,
}

impl Default for Drops {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            shown: Vec::new(),
            sort: Sort::by(SortKey::Rate),
            cursor: Cursor::default(),
            all: Rate::new(HISTORY),
        }
    }
}

impl Drops {
    /// Takes in what the engine has counted.
    pub(crate) fn update(&mut self, now: Instant, last: Option<Instant>, drops: &[api::DropCount]) {
        for drop in drops {
            let row = self.rows.entry(drop.reason.clone()).or_insert_with(|| DropRow {
                reason: drop.reason.clone(),
                // A reason that never occurred is left out: a new one has begun at zero.
                count: last
                    .map_or_else(|| Rate::new(HISTORY), |then| Rate::from_zero(then, HISTORY)),
                rose: None,
                since: None,
            });
            row.count.read(now, drop.count);
            if row.count.per_second() > 0.0 {
                row.rose = Some(now);
            }
            row.since = row.rose.map(|then| now.saturating_duration_since(then));
        }
        self.all.read(now, drops.iter().fold(0, |sum, drop| sum.saturating_add(drop.count)));
    }

    /// Makes the list anew: after an update, another filter or another order.
    pub(crate) fn arrange(&mut self, filter: &Filter) {
        let sort = self.sort;
        let mut list: Vec<&DropRow> =
            self.rows.values().filter(|row| filter.passes(&row.reason)).collect();
        list.sort_by(|a, b| sort.direct(a.compare(b, sort.key)));
        self.shown = list.into_iter().map(|row| row.reason.clone()).collect();
        let shown = &self.shown;
        self.cursor.follow(shown.len(), |at| shown[at].clone());
    }

    /// Chooses the order; [`Drops::arrange`] makes it so.
    pub(crate) const fn sort_mut(&mut self) -> &mut Sort {
        &mut self.sort
    }

    /// Moves the selection.
    pub(crate) fn step(&mut self, step: Step) {
        let shown = &self.shown;
        self.cursor.step(step, shown.len(), |at| shown[at].clone());
    }

    /// Selects nothing.
    pub(crate) fn deselect(&mut self) {
        self.cursor.clear();
    }

    /// The list: rows from place `first` on.
    pub(crate) fn list(&self, first: usize) -> impl Iterator<Item = &DropRow> {
        self.shown.iter().skip(first).filter_map(|reason| self.rows.get(reason))
    }

    /// Rows in the list.
    pub(crate) const fn len(&self) -> usize {
        self.shown.len()
    }

    /// Reasons that have occurred, whether the filter lets them pass or not.
    pub(crate) fn known(&self) -> usize {
        self.rows.len()
    }

    /// All reasons together.
    pub(crate) const fn all(&self) -> &Rate {
        &self.all
    }

    /// The order.
    pub(crate) const fn sort(&self) -> Sort {
        self.sort
    }

    /// The selected row's place.
    pub(crate) fn place(&self) -> Option<usize> {
        self.cursor.place()
    }
}

impl DropRow {
    fn compare(&self, other: &Self, key: SortKey) -> Ordering {
        match key {
            SortKey::Rate => self
                .count
                .per_second()
                .total_cmp(&other.count.per_second())
                .then_with(|| self.count.value().cmp(&other.count.value())),
            SortKey::Total => self.count.value().cmp(&other.count.value()),
            // Those never seen to occur are the oldest.
            SortKey::Age => match (self.since, other.since) {
                (Some(a), Some(b)) => a.cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
            SortKey::Name => self.reason.cmp(&other.reason),
        }
    }
}

/// Rates that each reason remembers: as many as its sparkline is wide at most.
const HISTORY: usize = 64;
