//! What can be seen of a running engine: ports, flows, counters, events, frames.

use std::time::{Duration, SystemTime};

use portreeve_core::{Counters, FlowId, FlowSummary};
use portreeve_types::api::{PortStatus, Stats};
use portreeve_types::{Instant, PublishedPort};

use super::Handle;
use crate::capture::{Capture, CaptureError, CaptureOptions};
use crate::driver::Driver;
use crate::event::Events;

/// Some of an engine's flows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowPage {
    /// In the order of their slots, which says nothing of their age.
    pub flows: Vec<FlowSummary>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<u32>,
    /// Flows alive now.
    pub total: usize,
}

/// Flows that one look at the table may cover: more would keep the guest waiting.
const PAGE: usize = 1024;

impl Handle {
    /// Ports published now.
    pub fn ports(&self) -> Vec<PublishedPort> {
        self.ask(|driver| driver.ports()).unwrap_or_default()
    }

    /// Published ports with their states and counters, those that drain included; `None` once the
    /// engine has stopped.
    pub fn port_status(&self) -> Option<Vec<PortStatus>> {
        self.ask(|driver| driver.port_status())
    }

    /// Flows alive now, looked at page by page: a flow that comes or goes meanwhile may be in the
    /// list or not.
    pub fn flows(&self) -> Vec<FlowSummary> {
        let mut flows = Vec::new();
        let mut after = None;
        while let Some(page) = self.flows_page(after, PAGE) {
            flows.extend(page.flows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        flows
    }

    /// The flows in the next `limit` slots behind `after`, at most 1,024; `None` once the engine
    /// has stopped. A page may be empty and not the last.
    pub fn flows_page(&self, after: Option<u32>, limit: usize) -> Option<FlowPage> {
        let limit = limit.clamp(1, PAGE);
        self.ask(move |driver| driver.flows_page(after, limit))
    }

    /// One flow, while it lives.
    pub fn flow(&self, id: FlowId) -> Option<FlowSummary> {
        self.ask(move |driver| driver.flow(id)).flatten()
    }

    /// Counters of the engine since its start; `None` once it has stopped.
    pub fn counters(&self) -> Option<Counters> {
        self.ask(|driver| driver.counters())
    }

    /// Whether a guest is at the other end of the link now; `None` once the engine has stopped.
    pub fn has_guest(&self) -> Option<bool> {
        self.ask(|driver| driver.has_guest())
    }

    /// Everything that is counted, as the control API shows it; `None` once the engine has
    /// stopped.
    pub fn stats(&self) -> Option<Stats> {
        self.ask(Driver::stats)
    }

    /// Events from now on.
    pub fn events(&self) -> Events {
        self.events.events(None)
    }

    /// Events behind the one with this number, as far as they are kept; what is not begins with
    /// one [`Lost`](crate::Event::Lost). A number that this engine has not reached is one of an
    /// engine before it: everything that is kept follows.
    pub fn events_since(&self, seq: u64) -> Events {
        self.events.events(Some(seq))
    }

    /// Keeps the last events (`Limits::event_backlog`) from now on although nobody reads, so that
    /// whoever comes later sees what happened.
    pub fn keep_events(&self) {
        self.events.keep();
    }

    /// Copies of the frames on the guest's link, from now on.
    ///
    /// # Errors
    /// When as many captures run as may.
    pub fn capture(&self, options: CaptureOptions) -> Result<Capture, CaptureError> {
        let start = move |driver: &mut Driver| driver.start_capture(options);
        self.ask(start).unwrap_or(Err(CaptureError::Stopped))
    }

    /// When the engine was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// A time on the engine's clock (as in [`FlowSummary::opened`]) as the system's. The engine's
    /// clock stands still while the machine sleeps, and does not follow a system clock that is
    /// set.
    pub fn wall_time(&self, time: Instant) -> SystemTime {
        self.started + Duration::from_micros(time.as_micros())
    }
}
