//! What each action does to the model, and what it orders.

use std::time::{Duration, Instant};

use portreeve_client::Connections;

use super::{
    Filter, FlowRow, Mode, Model, Order, Overlay, PortRow, Question, Sort, Step, Tab, Weight, words,
};
use crate::input::Action;

impl Model {
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
            Mode::Confirm(Question::Kill { id, what }) => Some(Order::Kill { id, what }),
            Mode::Confirm(Question::Unpublish { id, what, .. }) => {
                Some(Order::Unpublish { id, what, connections })
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

    fn deselect(&mut self) {
        match self.tab {
            Tab::Flows => self.flows.deselect(),
            Tab::Ports => self.ports.deselect(),
            Tab::Drops => self.drops.deselect(),
            Tab::Events => self.events.deselect(),
            Tab::Dns => {}
        }
    }
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

/// Letters of a filter; more help nobody.
const MAX_FILTER: usize = 200;
