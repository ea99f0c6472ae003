//! What the user has chosen, is asked, and wants done.

use std::time::Duration;

use portreeve_client::Connections;
use portreeve_types::PublishId;

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
    Kill {
        /// Its name.
        id: String,
        /// The flow in words.
        what: String,
    },
    /// Take back a published port.
    Unpublish {
        /// Its number.
        id: PublishId,
        /// The port in words.
        what: String,
        /// What becomes of its connections.
        connections: Connections,
    },
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

    /// The pane so many places further, round and round.
    pub(super) fn at(self, offset: usize) -> Self {
        let place = Self::ALL.iter().position(|&tab| tab == self).unwrap_or(0);
        Self::ALL[(place + offset) % Self::ALL.len()]
    }
}
