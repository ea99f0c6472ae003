//! Flows: which are alive, how fast each is, in which order they are shown.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portreeve_types::{PublishId, api};

use super::{Cursor, Filter, History, Rate, Sort, SortKey, Step};

/// The flows that are known, and the list that is shown of them.
#[derive(Debug)]
pub(crate) struct Flows {
    rows: HashMap<Arc<str>, FlowRow>,
    shown: Vec<Arc<str>>,
    total: u64,
    sort: Sort,
    cursor: Cursor<Arc<str>>,
    /// When the flows were last read: by the clock that measures, and by the one on the wall.
    last: Option<(Instant, SystemTime)>,
}

/// One flow.
#[derive(Clone, Debug)]
pub(crate) struct FlowRow {
    /// As the engine tells it.
    pub(crate) info: api::FlowInfo,
    /// Whom the guest talks to: by name where there is one.
    pub(crate) peer: String,
    /// How long it has been alive.
    pub(crate) age: Duration,
    to_guest: Rate,
    from_guest: Rate,
    both: History,
    lowercase: String,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            shown: Vec::new(),
            total: 0,
            sort: Sort::by(SortKey::Rate),
            cursor: Cursor::default(),
            last: None,
        }
    }
}

impl Flows {
    /// Takes in what the engine says: `flows` of the `total` it has, all at one time.
    ///
    /// Gives what has moved since the last time in flows that were listed both times or are new,
    /// and what those had moved that are gone: by published port.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        wall: SystemTime,
        flows: Vec<api::FlowInfo>,
        total: u64,
    ) -> HashMap<PublishId, Moved> {
        let mut gone = std::mem::take(&mut self.rows);
        let mut moved: HashMap<PublishId, Moved> = HashMap::new();
        for info in flows {
            let id: Arc<str> = info.id.as_str().into();
            let mut row = gone.remove(&id).unwrap_or_else(|| FlowRow::new(&info, self.last));
            let before = row.bytes_read();
            row.read(now, wall, info);
            if let Some(port) = row.info.port {
                let moved = moved.entry(port).or_default();
                moved.live += row.bytes().saturating_sub(before);
                moved.open += row.bytes();
            }
            self.rows.insert(id, row);
        }
        for row in gone.into_values() {
            if let Some(port) = row.info.port {
                moved.entry(port).or_default().ended += row.bytes();
            }
        }
        self.total = total;
        self.last = Some((now, wall));
        moved
    }

    /// Makes the list anew: after an update, another filter or another order.
    pub(crate) fn arrange(&mut self, filter: &Filter) {
        let rows = &self.rows;
        let sort = self.sort;
        let mut list: Vec<(&Arc<str>, &FlowRow)> =
            rows.iter().filter(|(_, row)| filter.passes(&row.lowercase)).collect();
        // Ties are broken by the name, so that the list stands still and does not follow a hash.
        list.sort_unstable_by(|(a_id, a), (b_id, b)| {
            sort.direct(a.compare(b, sort.key)).then_with(|| by_number(a_id, b_id))
        });
        self.shown = list.into_iter().map(|(id, _)| Arc::clone(id)).collect();
        let shown = &self.shown;
        self.cursor.follow(shown.len(), |at| Arc::clone(&shown[at]));
    }

    /// Chooses the order; [`Flows::arrange`] makes it so.
    pub(crate) const fn sort_mut(&mut self) -> &mut Sort {
        &mut self.sort
    }

    /// Moves the selection.
    pub(crate) fn step(&mut self, step: Step) {
        let shown = &self.shown;
        self.cursor.step(step, shown.len(), |at| Arc::clone(&shown[at]));
    }

    /// Selects nothing.
    pub(crate) fn deselect(&mut self) {
        self.cursor.clear();
    }

    /// The list: rows from place `first` on.
    pub(crate) fn list(&self, first: usize) -> impl Iterator<Item = &FlowRow> {
        self.shown.iter().skip(first).filter_map(|id| self.rows.get(id))
    }

    /// Rows in the list.
    pub(crate) const fn len(&self) -> usize {
        self.shown.len()
    }

    /// Flows that are known, whether the filter lets them pass or not.
    pub(crate) fn known(&self) -> usize {
        self.rows.len()
    }

    /// Flows that the engine has; more than are known where it has very many.
    pub(crate) const fn total(&self) -> u64 {
        self.total
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
    pub(crate) fn selected(&self) -> Option<&FlowRow> {
        self.rows.get(self.shown.get(self.cursor.place()?)?)
    }

    /// A flow by its name.
    pub(crate) fn get(&self, id: &str) -> Option<&FlowRow> {
        self.rows.get(id)
    }
}

/// Bytes of the flows of one published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Moved since the last time in flows that are open.
    pub(crate) live: u64,
    /// Moved ever in flows that are open.
    pub(crate) open: u64,
    /// Moved, as far as was known, in flows that have ended since.
    pub(crate) ended: u64,
}

impl FlowRow {
    /// A flow that was not there at `last`. If it is younger than that, it has begun at zero.
    fn new(info: &api::FlowInfo, last: Option<(Instant, SystemTime)>) -> Self {
        let rate = || match last {
            Some((then, wall)) if info.opened.0 >= wall => Rate::from_zero(then, 1),
            _ => Rate::new(1),
        };
        Self {
            to_guest: rate(),
            from_guest: rate(),
            both: History::new(HISTORY),
            peer: peer(info),
            lowercase: lowercase(info),
            age: Duration::ZERO,
            info: info.clone(),
        }
    }

    fn read(&mut self, now: Instant, wall: SystemTime, info: api::FlowInfo) {
        self.to_guest.read(now, info.bytes_to_guest);
        self.from_guest.read(now, info.bytes_from_guest);
        self.both.push(self.rate());
        self.age = wall.duration_since(info.opened.0).unwrap_or_default();
        let words = |info: &api::FlowInfo| (info.client, info.guest, info.remote, info.target);
        let (name, phase) = (&self.info.name, &self.info.phase);
        if words(&info) != words(&self.info) || info.name != *name || info.phase != *phase {
            self.peer = peer(&info);
            self.lowercase = lowercase(&info);
        }
        self.info = info;
    }

    /// Bytes a second for the guest.
    pub(crate) const fn rate_to_guest(&self) -> f64 {
        self.to_guest.per_second()
    }

    /// Bytes a second from the guest.
    pub(crate) const fn rate_from_guest(&self) -> f64 {
        self.from_guest.per_second()
    }

    /// Bytes a second in both directions.
    pub(crate) const fn rate(&self) -> f64 {
        self.rate_to_guest() + self.rate_from_guest()
    }

    /// Bytes in both directions since it was opened.
    pub(crate) const fn bytes(&self) -> u64 {
        self.info.bytes_to_guest.saturating_add(self.info.bytes_from_guest)
    }

    /// Its rates in both directions together, before and now.
    pub(crate) const fn history(&self) -> &History {
        &self.both
    }

    fn bytes_read(&self) -> u64 {
        self.to_guest.value().saturating_add(self.from_guest.value())
    }

    fn compare(&self, other: &Self, key: SortKey) -> Ordering {
        match key {
            SortKey::Rate => self
                .rate()
                .total_cmp(&other.rate())
                // Most flows are idle: among them, those that have moved the most.
                .then_with(|| self.bytes().cmp(&other.bytes())),
            SortKey::Total => self.bytes().cmp(&other.bytes()),
            SortKey::Age => other.info.opened.cmp(&self.info.opened),
            SortKey::Name => self.peer.cmp(&other.peer),
        }
    }
}

/// Whom the guest talks to.
fn peer(info: &api::FlowInfo) -> String {
    let remote = info.remote.or(info.target);
    match (info.origin, &info.name, remote) {
        (api::FlowOrigin::Host, _, _) => {
            info.client.map_or_else(|| "a local client".to_owned(), |client| client.to_string())
        }
        (api::FlowOrigin::Guest, Some(name), Some(remote)) => format!("{name}:{}", remote.port()),
        (api::FlowOrigin::Guest, None, Some(remote)) if info.protocol == "echo" => {
            remote.ip().to_string()
        }
        (api::FlowOrigin::Guest, None, Some(remote)) => remote.to_string(),
        (api::FlowOrigin::Guest, Some(name), None) => name.clone(),
        (api::FlowOrigin::Guest, None, None) => "any peer".to_owned(),
    }
}

/// Everything that a filter may find the flow by.
fn lowercase(info: &api::FlowInfo) -> String {
    let mut text = format!("{} {} {}", info.id, info.protocol, info.guest);
    let addresses = [info.client, info.remote, info.target];
    for address in addresses.into_iter().flatten() {
        let _ = write!(text, " {address}");
    }
    for word in [&info.name, &info.phase].into_iter().flatten() {
        let _ = write!(text, " {word}");
    }
    text.push_str(match info.origin {
        api::FlowOrigin::Host => " in",
        api::FlowOrigin::Guest => " out",
    });
    text.to_lowercase()
}

/// Names like `12.3` in the order of their numbers; others as text.
fn by_number(a: &str, b: &str) -> Ordering {
    let numbers = |id: &str| {
        let (slot, generation) = id.split_once('.')?;
        Some((slot.parse::<u64>().ok()?, generation.parse::<u64>().ok()?))
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

/// Rates that each flow remembers: as many as its sparkline is wide at most.
const HISTORY: usize = 32;
