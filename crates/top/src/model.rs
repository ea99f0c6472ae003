//! What is known of the engine, and what the user has chosen to see of it.
//!
//! Sans-IO: snapshots, actions and the time come in, orders go out. Never asks the engine, never
//! reads a clock, never draws.

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

use portreeve_client::Connections;
use portreeve_types::{PublishId, api};

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

use crate::input::Action;

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

/// A pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    /// Flows.
    Flows,
    /// Published ports.
    Ports,
    /// Drops by reason.
    Drops,
    /// The name server.
    Dns,
    /// What has happened.
    Events,
}

/// What keys do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They move, sort and choose.
    Browse,
    /// They write the filter; `before` comes back if the user thinks better of it.
    Filter {
        /// What is written.
        text: String,
        /// The filter before.
        before: String,
    },
    /// They answer a question.
    Confirm(Question),
    /// They close what lies over the panes.
    Overlay(Overlay),
}

/// What lies over the panes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    /// What the keys do.
    Help,
    /// All of one flow.
    Flow(String),
    /// All of one published port.
    Port(PublishId),
    /// All of one event.
    Event(String),
}

/// What must be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// To end a flow.
    Kill {
        /// Its name.
        id: String,
        /// The flow in words.
        what: String,
    },
    /// To take back a published port.
    Unpublish {
        /// Its number.
        id: PublishId,
        /// The port in words.
        what: String,
        /// Connections it has.
        flows: u64,
    },
}

/// What the user wants done to the engine, or to the rounds of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// End a flow.
    Kill(String),
    /// Take back a published port.
    Unpublish(PublishId, Connections),
    /// Ask this often.
    Period(Duration),
    /// Stop asking, or go on.
    Pause(bool),
    /// Give the terminal back for a while, as Ctrl-Z asks for.
    Suspend,
    /// Leave the view.
    Quit,
}

impl Tab {
    /// Every pane, by its number.
    pub(crate) const ALL: [Self; 5] =
        [Self::Flows, Self::Ports, Self::Drops, Self::Dns, Self::Events];

    /// Its title.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Flows => "Flows",
            Self::Ports => "Ports",
            Self::Drops => "Drops",
            Self::Dns => "DNS",
            Self::Events => "Events",
        }
    }

    fn at(self, offset: usize) -> Self {
        let place = Self::ALL.iter().position(|&tab| tab == self).unwrap_or(0);
        Self::ALL[(place + offset) % Self::ALL.len()]
    }
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

    /// Does what the user asked for; what the engine or the rounds have to do is given back.
    pub(crate) fn act(&mut self, now: Instant, action: Action) -> Option<Order> {
        match action {
            Action::Quit => return Some(Order::Quit),
            Action::Suspend => return Some(Order::Suspend),
            Action::Show(tab) => self.tab = tab,
            Action::Next => self.tab = self.tab.at(1),
            Action::Previous => self.tab = self.tab.at(Tab::ALL.len() - 1),
            Action::Step(step) => self.step(step),
            Action::PageUp => self.step(Step::Up(self.page)),
            Action::PageDown => self.step(Step::Down(self.page)),
            Action::Sort(key) => self.sort(|sort| sort.choose(key)),
            Action::CycleSort => self.sort(Sort::cycle),
            Action::ToggleFlows => {
                self.events.toggle_flows();
                self.events.arrange(&self.filter);
            }
            Action::Help => self.mode = Mode::Overlay(Overlay::Help),
            Action::Details => self.details(now),
            Action::End => self.ask(now),
            Action::Pause => return Some(self.pause()),
            Action::Slower => return Some(self.pace(PERIODS.iter().find(|&&p| p > self.period))),
            Action::Faster => {
                return Some(self.pace(PERIODS.iter().rev().find(|&&p| p < self.period)));
            }
            Action::Filter | Action::Type(_) | Action::Erase | Action::EraseAll => {
                self.write_filter(action);
            }
            Action::Accept(connections) => return self.accept(connections),
            Action::Cancel => self.cancel(),
        }
        None
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

    fn step(&mut self, step: Step) {
        match self.tab {
            Tab::Flows => self.flows.step(step),
            Tab::Ports => self.ports.step(step),
            Tab::Drops => self.drops.step(step),
            Tab::Events => self.events.step(step),
            // Its lists are short, and nothing can be done to their rows.
            Tab::Dns => {}
        }
    }

    fn sort(&mut self, choose: impl FnOnce(&mut Sort)) {
        match self.tab {
            Tab::Flows => choose(self.flows.sort_mut()),
            Tab::Ports => choose(self.ports.sort_mut()),
            Tab::Drops => choose(self.drops.sort_mut()),
            Tab::Dns | Tab::Events => return,
        }
        self.arrange();
    }

    fn details(&mut self, now: Instant) {
        let overlay = match self.tab {
            Tab::Flows => self.flows.selected().map(|row| Overlay::Flow(row.info.id.clone())),
            Tab::Ports => self.ports.selected().map(|row| Overlay::Port(row.id())),
            Tab::Events => self
                .events
                .selected()
                .map(|record| Overlay::Event(format!("{} {}", record.event.time, record.text))),
            Tab::Drops | Tab::Dns => return,
        };
        match overlay {
            Some(overlay) => self.mode = Mode::Overlay(overlay),
            None => self.nothing_selected(now),
        }
    }

    /// Asks whether what is selected shall end.
    fn ask(&mut self, now: Instant) {
        let kill = |row: &FlowRow| Question::Kill {
            id: row.info.id.clone(),
            what: words::ends(&row.info),
        };
        let unpublish = |row: &PortRow| Question::Unpublish {
            id: row.id(),
            what: row.status.port.to_string(),
            flows: row.status.counters.flows,
        };
        // What is looked at may have ended, and the selection have moved on: then there is
        // nothing to ask.
        let question = match (&self.mode, self.tab) {
            (Mode::Overlay(Overlay::Flow(id)), _) => match self.flows.get(id) {
                Some(row) => Some(kill(row)),
                None => return,
            },
            (Mode::Overlay(Overlay::Port(id)), _) => match self.ports.get(*id) {
                Some(row) => Some(unpublish(row)),
                None => return,
            },
            (_, Tab::Flows) => self.flows.selected().map(kill),
            (_, Tab::Ports) => self.ports.selected().map(unpublish),
            (_, Tab::Drops | Tab::Dns | Tab::Events) => return,
        };
        match question {
            Some(question) => self.mode = Mode::Confirm(question),
            None => self.nothing_selected(now),
        }
    }

    fn nothing_selected(&mut self, now: Instant) {
        self.say(now, "nothing is selected: choose a row with the arrow keys", Weight::Notable);
    }

    fn accept(&mut self, connections: Connections) -> Option<Order> {
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Confirm(Question::Kill { id, .. }) => Some(Order::Kill(id)),
            Mode::Confirm(Question::Unpublish { id, .. }) => {
                Some(Order::Unpublish(id, connections))
            }
            Mode::Browse | Mode::Filter { .. } | Mode::Overlay(_) => None,
        }
    }

    fn cancel(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Filter { before, .. } => self.set_filter(&before),
            Mode::Confirm(_) | Mode::Overlay(_) => {}
            // First the selection, then the filter.
            Mode::Browse if self.place().is_some() => self.deselect(),
            Mode::Browse => self.set_filter(""),
        }
    }

    fn write_filter(&mut self, action: Action) {
        let (mut text, before) = match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Filter { text, before } => (text, before),
            Mode::Browse | Mode::Confirm(_) | Mode::Overlay(_) => {
                let text = self.filter.text().to_owned();
                (text.clone(), text)
            }
        };
        match action {
            Action::Type(letter) if text.chars().count() < MAX_FILTER => text.push(letter),
            Action::Erase => drop(text.pop()),
            Action::EraseAll => text.clear(),
            _ => {}
        }
        self.set_filter(&text);
        self.mode = Mode::Filter { text, before };
    }

    fn set_filter(&mut self, text: &str) {
        self.filter = Filter::new(text);
        self.arrange();
    }

    fn pause(&mut self) -> Order {
        self.paused = !self.paused;
        if !self.paused
            && let Some(held) = self.held.take()
        {
            self.take(*held);
        }
        Order::Pause(self.paused)
    }

    fn pace(&mut self, period: Option<&Duration>) -> Order {
        self.period = period.copied().unwrap_or(self.period);
        Order::Period(self.period)
    }

    fn say(&mut self, now: Instant, text: impl Into<String>, weight: Weight) {
        self.message = Some((text.into(), weight, now + MESSAGE_TIME));
    }

    fn deselect(&mut self) {
        match self.tab {
            Tab::Flows => self.flows.deselect(),
            Tab::Ports => self.ports.deselect(),
            Tab::Drops => self.drops.deselect(),
            Tab::Events => self.events.deselect(),
            Tab::Dns => {}
        }
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

/// Times between two rounds that can be chosen.
const PERIODS: [Duration; 8] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// How long something is said.
const MESSAGE_TIME: Duration = Duration::from_secs(6);

/// Letters of a filter; more help nobody.
const MAX_FILTER: usize = 200;
