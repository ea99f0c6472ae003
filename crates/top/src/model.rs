//! What is known of the engine, and what the user has chosen to see of it.
//!
//! Sans-IO: snapshots, actions and the time come in, orders go out. Never asks the engine, never
//! reads a clock, never draws.

mod act;
mod choice;
mod cursor;
mod dns;
mod drops;
mod events;
mod filter;
mod flows;
mod ports;
mod rate;
mod sort;
mod totals;
mod words;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant, SystemTime};

use portreeve_types::api;

pub(crate) use choice::{Mode, Order, Overlay, Question, Tab};
pub(crate) use cursor::{Cursor, Step};
pub(crate) use dns::Dns;
pub(crate) use drops::{DropRow, Drops};
pub(crate) use events::{Events, Record, Weight};
pub(crate) use filter::Filter;
pub(crate) use flows::{FlowRow, Flows};
pub(crate) use ports::{PortRow, Ports};
pub(crate) use rate::{History, Rate};
pub(crate) use sort::{Sort, SortKey};
pub(crate) use totals::Totals;
pub(crate) use words::period as period_text;

/// Everything that one round of questions to the engine has brought.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When, by the clock that measures.
    pub(crate) at: Instant,
    /// When, by the clock on the wall.
    pub(crate) wall: SystemTime,
    /// Which engine it is.
    pub(crate) health: api::Health,
    /// Its counters.
    pub(crate) stats: api::Stats,
    /// Its published ports, read before its flows.
    pub(crate) ports: Vec<api::PortStatus>,
    /// Its flows, the first of them where there are very many.
    pub(crate) flows: Vec<api::FlowInfo>,
    /// How many flows it has.
    pub(crate) flows_total: u64,
    /// Its name server.
    pub(crate) dns: Option<api::DnsStatus>,
    /// What has happened since the round before, oldest first.
    pub(crate) events: Vec<api::EventRecord>,
}

/// What is known, and what is shown of it.
#[derive(Debug)]
pub(crate) struct Model {
    /// The engine, once it has answered.
    pub(crate) health: Option<api::Health>,
    /// How long it has been running.
    pub(crate) uptime: Duration,
    /// That it does not answer.
    pub(crate) gone: Option<Gone>,
    /// The whole engine's counters.
    pub(crate) totals: Totals,
    /// Its flows.
    pub(crate) flows: Flows,
    /// Its published ports.
    pub(crate) ports: Ports,
    /// What it dropped.
    pub(crate) drops: Drops,
    /// Its name server.
    pub(crate) dns: Dns,
    /// What has happened.
    pub(crate) events: Events,
    /// The pane that keys are for.
    pub(crate) tab: Tab,
    /// What keys do now.
    pub(crate) mode: Mode,
    /// What rows must contain.
    pub(crate) filter: Filter,
    /// Whether the picture stands still.
    pub(crate) paused: bool,
    /// The time between two rounds.
    pub(crate) period: Duration,
    /// What to say in the last line, until when.
    pub(crate) message: Option<(String, Weight, Instant)>,
    /// Rows that fit on one screen; the view says how many.
    pub(crate) page: usize,
    /// A round that came in while the picture stands still.
    held: Option<Box<Snapshot>>,
    last: Option<Instant>,
}

/// An engine that does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    since: Instant,
    /// For how long.
    pub(crate) duration: Duration,
    /// What was said last.
    pub(crate) cause: String,
}

impl Model {
    /// Nothing is known yet; questions are asked every `period`.
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            health: None,
            uptime: Duration::ZERO,
            gone: None,
            totals: Totals::default(),
            flows: Flows::default(),
            ports: Ports::default(),
            drops: Drops::default(),
            dns: Dns::default(),
            events: Events::default(),
            tab: Tab::Flows,
            mode: Mode::Browse,
            filter: Filter::default(),
            paused: false,
            period,
            message: None,
            page: 10,
            held: None,
            last: None,
        }
    }

    /// Takes in what a round has brought; while the picture stands still it is put aside.
    pub(crate) fn update(&mut self, snapshot: Snapshot) {
        self.gone = None;
        if self.paused {
            let mut snapshot = snapshot;
            if let Some(mut held) = self.held.take() {
                held.events.append(&mut snapshot.events);
                snapshot.events = held.events;
            }
            self.held = Some(Box::new(snapshot));
        } else {
            self.take(snapshot);
        }
    }

    /// Notes that the engine answers.
    pub(crate) fn find(&mut self) {
        self.gone = None;
    }

    /// Notes that the engine does not answer.
    pub(crate) fn lose(&mut self, now: Instant, cause: String) {
        let since = self.gone.take().map_or(now, |gone| gone.since);
        let duration = now.saturating_duration_since(since);
        self.gone = Some(Gone { since, duration, cause });
    }

    /// Says how an order went.
    pub(crate) fn report(&mut self, now: Instant, outcome: Result<String, String>) {
        let (text, weight) = match outcome {
            Ok(text) => (text, Weight::Notable),
            Err(text) => (text, Weight::Trouble),
        };
        self.say(now, text, weight);
    }

    /// Lets the time pass: what was said long enough ago disappears. Whether anything did.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        let over = self.message.as_ref().is_some_and(|&(_, _, until)| until <= now);
        if over {
            self.message = None;
        }
        over
    }

    fn take(&mut self, snapshot: Snapshot) {
        if self.health.as_ref().is_some_and(|known| !is_same(known, &snapshot.health)) {
            self.forget();
        }
        let now = snapshot.at;
        self.uptime = snapshot.wall.duration_since(snapshot.health.started.0).unwrap_or_default();
        self.totals.update(now, &snapshot.stats);
        self.drops.update(now, self.last, &snapshot.stats.drops);
        let moved = self.flows.update(now, snapshot.wall, snapshot.flows, snapshot.flows_total);
        self.ports.update(now, snapshot.ports, &moved);
        self.dns.update(now, snapshot.dns);
        self.events.update(snapshot.events);
        self.health = Some(snapshot.health);
        self.last = Some(now);
        self.arrange();
    }

    /// Another engine answers: what was counted by the one before means nothing any more. What has
    /// happened stays, and so does the order of the lists.
    fn forget(&mut self) {
        let sorts = [*self.flows.sort_mut(), *self.ports.sort_mut(), *self.drops.sort_mut()];
        (self.totals, self.dns) = (Totals::default(), Dns::default());
        self.flows = Flows::default();
        self.ports = Ports::default();
        self.drops = Drops::default();
        [*self.flows.sort_mut(), *self.ports.sort_mut(), *self.drops.sort_mut()] = sorts;
        self.last = None;
    }

    fn arrange(&mut self) {
        self.flows.arrange(&self.filter);
        self.ports.arrange(&self.filter);
        self.drops.arrange(&self.filter);
        self.events.arrange(&self.filter);
    }

    /// Says something in the last line for a while.
    fn say(&mut self, now: Instant, text: impl Into<String>, weight: Weight) {
        self.message = Some((text.into(), weight, now + MESSAGE_TIME));
    }

    /// The place of the selected row of the pane that keys are for.
    pub(crate) fn place(&self) -> Option<usize> {
        match self.tab {
            Tab::Flows => self.flows.place(),
            Tab::Ports => self.ports.place(),
            Tab::Drops => self.drops.place(),
            Tab::Events => self.events.place(),
            Tab::Dns => None,
        }
    }
}

/// Whether the same engine answers as before, and not one that was started since.
fn is_same(before: &api::Health, after: &api::Health) -> bool {
    before.started == after.started && before.pid == after.pid
}

/// How long something is said.
const MESSAGE_TIME: Duration = Duration::from_secs(6);
