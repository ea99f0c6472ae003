//! Letting bytes arrive before the end: what `Handle::drain` waits for.
//!
//! A guest's command may exit right after its last write. Its kernel still holds bytes, so do the
//! rings, so do the host's sockets; all of them must reach the client. The wait ends when nothing
//! is left, or when nothing has moved for as long as the caller allows.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use portreeve_core::{FlowSummary, Instant, Phase};

use super::Driver;
use crate::handle::Drained;

/// How often progress is looked at: the kernel does not report an emptied send queue.
const INTERVAL: Duration = Duration::from_millis(2);
/// The guest's own kernel is given this long without a frame before an open flow without bytes
/// counts as finished: what a command wrote before it exited may not have been sent yet, or may
/// have to be sent again. Linux does so after 200 ms and then after 400 ms (tcp(7), RFC 6298 §5.5).
/// A flow whose process is gone does not wait for it: its end comes by itself.
const QUIET: Duration = Duration::from_secs(1);

pub(super) struct Drain {
    patience: Duration,
    reply: SyncSender<Drained>,
    /// Last time anything moved.
    moved: Instant,
    progress: Progress,
    next: Instant,
}

/// What changes when something moves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    from_guest: u64,
    unsent: usize,
    flows: usize,
}

impl Drain {
    fn new(patience: Duration, reply: SyncSender<Drained>, now: Instant) -> Self {
        let progress = Progress { from_guest: 0, unsent: 0, flows: 0 };
        Self { patience, reply, moved: now, progress, next: now }
    }

    pub(super) fn next_check(&self) -> Instant {
        self.next
    }
}

impl Driver {
    /// Takes no more clients, and answers when nothing is left to deliver.
    pub(crate) fn begin_drain(&mut self, patience: Duration, reply: SyncSender<Drained>) {
        self.listeners.remove_streams();
        self.drain = Some(Drain::new(patience, reply, self.clock.now()));
        // What came before this order is to be looked at, whoever was told of it.
        self.link_state.readable = true;
    }

    pub(super) fn check_drain(&mut self, now: Instant) {
        let Some(drain) = self.drain.as_ref().filter(|drain| now >= drain.next) else { return };
        let (quiet, patience, before) =
            (now.since(drain.moved) >= QUIET.min(drain.patience), drain.patience, drain.progress);
        let mut unfinished = self.lingering.len();
        let mut progress = Progress { from_guest: 0, unsent: self.lingering.unsent(), flows: 0 };
        for flow in self.core.flows() {
            let unsent = self.streams.unsent(flow.id);
            progress.from_guest += flow.bytes_from_guest;
            progress.unsent += unsent;
            progress.flows += 1;
            let waiting = self.core.from_guest_len(flow.id) + unsent != 0;
            unfinished += usize::from(waiting || (is_open(&flow) && !quiet));
        }
        let moved = progress != before;
        let Some(drain) = &mut self.drain else { return };
        drain.progress = progress;
        drain.next = now + INTERVAL;
        if moved {
            drain.moved = now;
        }
        let stalled = now.since(drain.moved) >= patience;
        // A frame that has not been looked at belongs to nobody yet.
        let unread = self.link_state.readable && !self.link_state.gone;
        let empty = unfinished == 0
            && !unread
            && !self.datagrams.any_waiting()
            && !self.mappings.any_waiting();
        if empty || stalled {
            let outcome = if unfinished == 0 {
                Drained::Complete
            } else {
                Drained::Stalled { flows: unfinished }
            };
            // The caller may have gone; there is nothing to tell then.
            let _ = drain.reply.send(outcome);
            self.drain = None;
        }
    }
}

/// Whether the guest may still send on this flow.
fn is_open(flow: &FlowSummary) -> bool {
    matches!(flow.phase, Some(Phase::Relaying | Phase::HostFinished | Phase::GuestGone))
}
