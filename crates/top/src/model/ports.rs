//! Published ports: how they are, and how fast.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Instant;

use portreeve_types::{PublishId, api};

use super::flows::Moved;
use super::{Cursor, Filter, History, Rate, Sort, SortKey, Step};

/// The published ports, and the list that is shown of them.
#[derive(Debug)]
pub(crate) struct Ports {
    rows: Vec<PortRow>,
    shown: Vec<usize>,
    sort: Sort,
    cursor: Cursor<PublishId>,
    last: Option<Instant>,
}

/// One published port.
#[derive(Clone, Debug)]
pub(crate) struct PortRow {
    /// As the engine tells it.
    pub(crate) status: api::PortStatus,
    /// Bytes a second in both directions.
    pub(crate) rate: f64,
    /// Bytes in both directions, those of flows that are open included.
    pub(crate) bytes: u64,
    /// New flows.
    pub(crate) opened: Rate,
    /// Clients turned away.
    pub(crate) refused: Rate,
    /// Its rates, before and now.
    pub(crate) history: History,
    /// Bytes of flows that were seen to end, and which the engine has yet to count.
    owed: u64,
    lowercase: String,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            shown: Vec::new(),
            // Youngest first in reverse: the order in which they were published.
            sort: Sort { key: SortKey::Age, reversed: true },
            cursor: Cursor::default(),
            last: None,
        }
    }
}

impl Ports {
    /// Takes in what the engine says, and what its flows have moved.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        ports: Vec<api::PortStatus>,
        moved: &HashMap<PublishId, Moved>,
    ) {
        let mut before: HashMap<PublishId, PortRow> =
            self.rows.drain(..).map(|row| (row.id(), row)).collect();
        let elapsed = self.last.map(|then| now.saturating_duration_since(then).as_secs_f64());
        for status in ports {
            let moved = moved.get(&status.port.id).copied().unwrap_or_default();
            let mut row =
                before.remove(&status.port.id).unwrap_or_else(|| PortRow::new(status.clone()));
            row.read(now, elapsed, status, moved);
            self.rows.push(row);
        }
        self.last = Some(now);
    }

    /// Makes the list anew: after an update, another filter or another order.
    pub(crate) fn arrange(&mut self, filter: &Filter) {
        let (rows, sort) = (&self.rows, self.sort);
        self.shown = (0..rows.len()).filter(|&at| filter.passes(&rows[at].lowercase)).collect();
        self.shown.sort_by(|&a, &b| sort.direct(rows[a].compare(&rows[b], sort.key)));
        let shown = &self.shown;
        self.cursor.follow(shown.len(), |at| rows[shown[at]].id());
    }

    /// Chooses the order; [`Ports::arrange`] makes it so.
    pub(crate) const fn sort_mut(&mut self) -> &mut Sort {
        &mut self.sort
    }

    /// Moves the selection.
    pub(crate) fn step(&mut self, step: Step) {
        let (rows, shown) = (&self.rows, &self.shown);
        self.cursor.step(step, shown.len(), |at| rows[shown[at]].id());
    }

    /// Selects nothing.
    pub(crate) fn deselect(&mut self) {
        self.cursor.clear();
    }

    /// The list: rows from place `first` on.
    pub(crate) fn list(&self, first: usize) -> impl Iterator<Item = &PortRow> {
        self.shown.iter().skip(first).map(|&at| &self.rows[at])
    }

    /// Rows in the list.
    pub(crate) const fn len(&self) -> usize {
        self.shown.len()
    }

    /// Ports that are known, whether the filter lets them pass or not.
    pub(crate) const fn known(&self) -> usize {
        self.rows.len()
    }

    /// Ports that cannot take clients for now.
    pub(crate) fn paused(&self) -> usize {
        self.rows.iter().filter(|row| row.status.state == api::PortState::Paused).count()
    }

    /// The order.
    pub(crate) const fn sort(&self) -> Sort {
        self.sort
    }

    /// The selected row's place.
    pub(crate) fn place(&self) -> Option<usize> {
        self.cursor.place()
    }

    /// The selected row.
    pub(crate) fn selected(&self) -> Option<&PortRow> {
        self.rows.get(*self.shown.get(self.cursor.place()?)?)
    }

    /// A port by its number.
    pub(crate) fn get(&self, id: PublishId) -> Option<&PortRow> {
        self.rows.iter().find(|row| row.id() == id)
    }
}

impl PortRow {
    fn new(status: api::PortStatus) -> Self {
        Self {
            lowercase: status_text(&status),
            rate: 0.0,
            bytes: 0,
            opened: Rate::new(1),
            refused: Rate::new(1),
            history: History::new(HISTORY),
            owed: 0,
            status,
        }
    }

    /// Its number.
    pub(crate) const fn id(&self) -> PublishId {
        self.status.port.id
    }

    /// The engine counts the bytes of a flow to its port when the flow ends. What has moved now
    /// is what open flows have moved, and what was counted beyond what had been seen of those
    /// that ended. A flow that ends between the two readings is owed once: its end shows in the
    /// list of flows first, in the port's counters the next time.
    fn read(&mut self, now: Instant, elapsed: Option<f64>, status: api::PortStatus, moved: Moved) {
        let counted = |counters: &api::PortCounters| {
            counters.bytes_to_guest.saturating_add(counters.bytes_from_guest)
        };
        let newly = counted(&status.counters).saturating_sub(counted(&self.status.counters));
        let seen = self.owed.saturating_add(moved.ended);
        self.owed = moved.ended.saturating_sub(newly.saturating_sub(self.owed.min(newly)));
        let delta = moved.live.saturating_add(newly.saturating_sub(seen));
        if let Some(elapsed) = elapsed.filter(|&elapsed| elapsed > 0.0) {
            self.rate = delta as f64 / elapsed;
            self.history.push(self.rate);
        }
        self.bytes = counted(&status.counters).saturating_add(moved.open);
        self.opened.read(now, status.counters.opened);
        self.refused.read(now, status.counters.refused);
        self.lowercase = status_text(&status);
        self.status = status;
    }

    fn compare(&self, other: &Self, key: SortKey) -> Ordering {
        let port = |row: &Self| (row.status.port.guest_port, row.id());
        match key {
            SortKey::Rate => self.rate.total_cmp(&other.rate),
            SortKey::Total => self.bytes.cmp(&other.bytes),
            SortKey::Age => other.id().cmp(&self.id()),
            SortKey::Name => port(self).cmp(&port(other)),
        }
    }
}

/// Everything that a filter may find the port by.
fn status_text(status: &api::PortStatus) -> String {
    let name = status.port.name.as_deref().unwrap_or_default();
    format!("{} {name} {:?}", status.port, status.state).to_lowercase()
}

/// Rates that each port remembers: as many as its sparkline is wide at most.
const HISTORY: usize = 64;
