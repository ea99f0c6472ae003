//! What has happened lately: a bounded list of events, and which of them are shown.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use portreeve_types::api;

use super::{Cursor, Filter, Step};

/// The last events, and the list that is shown of them, newest first.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// That flows open and end happens so often that it would push everything else out.
    flows: VecDeque<Arc<Record>>,
    others: VecDeque<Arc<Record>>,
    shown: Vec<Arc<Record>>,
    cursor: Cursor<u64>,
    hide_flows: bool,
    taken: u64,
}

/// One event, in words.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// As the engine tells it.
    pub(crate) event: api::EventRecord,
    /// What happened, in one line.
    pub(crate) text: String,
    /// How much it matters.
    pub(crate) weight: Weight,
    lowercase: String,
    /// The engine's own numbers begin anew when it is restarted; these do not.
    number: u64,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It belongs to the normal course of things.
    Normal,
    /// Something was refused or changed.
    Notable,
    /// Something does not work.
    Trouble,
}

impl Events {
    /// Takes in events, oldest first.
    pub(crate) fn update(&mut self, events: Vec<api::EventRecord>) {
        let flows = events.iter().filter(|event| is_flow(&event.body)).count();
        // Those that would be pushed out at once are not put into words.
        let mut too_many = flows.saturating_sub(KEPT);
        for event in events {
            self.taken += 1;
            let kept = match is_flow(&event.body) {
                true if too_many > 0 => {
                    too_many -= 1;
                    continue;
                }
                true => &mut self.flows,
                false => &mut self.others,
            };
            if kept.len() >= KEPT {
                kept.pop_front();
            }
            kept.push_back(Arc::new(Record::new(event, self.taken)));
        }
    }

    /// Makes the list anew: after an update or another filter.
    pub(crate) fn arrange(&mut self, filter: &Filter) {
        let flows = self.flows.iter().filter(|_| !self.hide_flows);
        let passing = flows.chain(&self.others).filter(|record| record.passes(filter));
        self.shown = passing.map(Arc::clone).collect();
        self.shown.sort_by_key(|record| Reverse(record.number));
        let shown = &self.shown;
        self.cursor.follow(shown.len(), |at| shown[at].number);
    }

    /// Shows or hides that flows open and close; [`Events::arrange`] makes it so.
    pub(crate) const fn toggle_flows(&mut self) {
        self.hide_flows = !self.hide_flows;
    }

    /// Moves the selection.
    pub(crate) fn step(&mut self, step: Step) {
        let shown = &self.shown;
        self.cursor.step(step, shown.len(), |at| shown[at].number);
    }

    /// Selects nothing.
    pub(crate) fn deselect(&mut self) {
        self.cursor.clear();
    }

    /// The list, newest first, from place `first` on.
    pub(crate) fn list(&self, first: usize) -> impl Iterator<Item = &Record> {
        self.shown.iter().skip(first).map(Arc::as_ref)
    }

    /// The events of the name server among the last ones, newest first.
    pub(crate) fn of_names(&self) -> impl Iterator<Item = &Record> {
        self.others.iter().rev().map(Arc::as_ref).filter(|record| {
            matches!(
                record.event.body,
                api::EventBody::DnsAnswered { .. }
                    | api::EventBody::DnsDenied { .. }
                    | api::EventBody::DnsRebindBlocked { .. }
                    | api::EventBody::DnsUpstream { .. }
            )
        })
    }

    /// Rows in the list.
    pub(crate) const fn len(&self) -> usize {
        self.shown.len()
    }

    /// Events that are kept, whether they are shown or not.
    pub(crate) fn known(&self) -> usize {
        self.flows.len() + self.others.len()
    }

    /// Whether it is hidden that flows open and close.
    pub(crate) const fn hides_flows(&self) -> bool {
        self.hide_flows
    }

    /// The selected row's place.
    pub(crate) fn place(&self) -> Option<usize> {
        self.cursor.place()
    }

    /// The selected event.
    pub(crate) fn selected(&self) -> Option<&Record> {
        self.shown.get(self.cursor.place()?).map(Arc::as_ref)
    }
}

impl Record {
    fn new(event: api::EventRecord, number: u64) -> Self {
        let (weight, text) = super::words::event(&event.body);
        let lowercase = format!("{} {text}", event.body.kind()).to_lowercase();
        Self { event, text, weight, lowercase, number }
    }

    /// Whether a filter lets it pass.
    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        filter.passes(&self.lowercase)
    }

    /// The time of day in UTC, to the second.
    pub(crate) fn clock(&self) -> String {
        // RFC 3339: 2023-11-14T22:13:20.000001Z.
        let time = self.event.time.to_string();
        time.get(11..19).unwrap_or(&time).to_owned()
    }
}

const fn is_flow(body: &api::EventBody) -> bool {
    matches!(body, api::EventBody::FlowOpened { .. } | api::EventBody::FlowClosed { .. })
}

/// Events that are kept: of flows that open and end, and of all else.
const KEPT: usize = 500;
