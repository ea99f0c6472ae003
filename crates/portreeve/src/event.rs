//! What happened, for whoever watches an engine.
//!
//! Owns the library's events and their delivery: every watcher has a bounded queue of its own, and
//! one that does not keep up loses events and is told how many. The engine never waits for one.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use portreeve_types::{PublishId, PublishedPort};

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// From the engine itself: flows and refusals.
    Engine(portreeve_core::Event),
    /// A port was published.
    Published(PublishedPort),
    /// A port was unpublished; connections it has may go on.
    Unpublished(PublishedPort),
    /// A listener cannot accept for now and is tried again soon.
    ListenerPaused {
        /// Which.
        port: PublishId,
        /// What the kernel said.
        cause: String,
    },
    /// A listener accepts again.
    ListenerResumed {
        /// Which.
        port: PublishId,
    },
    /// The host's addresses, name servers or routes have changed, and are followed.
    HostNetwork(portreeve_core::HostNetwork),
    /// The guest pings, and this system lets nobody do that who is not privileged. Said once.
    EchoForbidden {
        /// Which setting it is, and what to set it to.
        cause: String,
    },
    /// A guest has come to the link. A link that was made with a guest at its other end does not
    /// announce that one.
    GuestArrived,
    /// The guest is gone: its connections were reset on the host's side, and what it had shown or
    /// been given is forgotten. What is published stays.
    GuestGone {
        /// What the link said.
        cause: String,
        /// The link is gone too: no other guest can come.
        for_good: bool,
    },
    /// This watcher was too slow.
    Lost {
        /// How many events it missed here.
        count: u64,
    },
}

/// Puts decisions about the guest's own traffic into the program's log. Addresses and names stand
/// in it, so it is for whoever asked for that much.
pub(crate) fn log(event: &portreeve_core::Event) {
    match event {
        portreeve_core::Event::EgressRefused { protocol, guest, destination, reason, .. } => {
            let reason = reason.label();
            tracing::debug!(protocol, %guest, %destination, reason, "refused to the guest");
        }
        portreeve_core::Event::Name(event) => tracing::debug!(?event, "name server"),
        portreeve_core::Event::Lease { .. } => tracing::debug!(?event, "address configuration"),
        _ => {}
    }
}

/// Events of one engine from the moment of subscription on.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
}

impl Events {
    /// The next event; `None` when there is none within `timeout` or the engine has stopped.
    pub fn next_timeout(&self, timeout: Duration) -> Option<Event> {
        self.receiver.recv_timeout(timeout).ok()
    }
}

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event; `None` once the engine has stopped.
    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

/// The engine's end of one subscription.
pub(crate) struct Subscriber {
    sender: SyncSender<Event>,
    lost: u64,
}

impl Subscriber {
    pub(crate) fn new(capacity: usize) -> (Self, Events) {
        let (sender, receiver) = sync_channel(capacity.max(1));
        (Self { sender, lost: 0 }, Events { receiver })
    }

    /// Hands an event over; `false` when nobody listens any more.
    pub(crate) fn offer(&mut self, event: &Event) -> bool {
        if self.lost != 0 {
            match self.sender.try_send(Event::Lost { count: self.lost }) {
                Ok(()) => self.lost = 0,
                Err(TrySendError::Full(_)) => {
                    self.lost += 1;
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        match self.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_watcher_is_told_what_it_missed() {
        let (mut subscriber, events) = Subscriber::new(2);
        let event = |id| Event::ListenerResumed { port: PublishId(id) };
        for id in 0..5 {
            assert!(subscriber.offer(&event(id)));
        }
        let soon = Duration::from_millis(1);
        assert_eq!(events.next_timeout(soon), Some(event(0)));
        assert_eq!(events.next_timeout(soon), Some(event(1)));
        assert_eq!(events.next_timeout(soon), None);
        assert!(subscriber.offer(&event(5)));
        assert_eq!(events.next_timeout(soon), Some(Event::Lost { count: 3 }));
        assert_eq!(events.next_timeout(soon), Some(event(5)));
        drop(events);
        assert!(!subscriber.offer(&event(6)));
    }
}
