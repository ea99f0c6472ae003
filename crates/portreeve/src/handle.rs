//! Orders to a running engine from any thread.
//!
//! Owns the mailbox's sending end and the waiting for answers. Every call returns when the engine's
//! thread has carried it out. What is to be seen is in `handle/sight.rs`, the name server in
//! `handle/names.rs`.

mod names;
mod sight;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use mio::Waker;
use portreeve_core::{FlowId, Unpublish};
use portreeve_types::{Limits, PublishId, PublishItem, PublishRequest, PublishSpec, PublishedPort};

use crate::driver::Driver;
use crate::driver::mailbox::Order;
use crate::error::{KillError, LimitsChangeError, PublishError, UnpublishError};
use crate::event::EventSource;
pub use sight::FlowPage;

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every byte that the guest had sent has been delivered.
    Complete,
    /// Some client took nothing for as long as was allowed; connections are still open.
    Stalled {
        /// How many connections still hold bytes.
        flows: usize,
    },
}

/// Gives orders to an engine. Cheap to clone; works from any thread; outlives the engine, after
/// which calls report that it has stopped.
#[derive(Clone)]
pub struct Handle {
    orders: SyncSender<Order>,
    waker: Arc<Waker>,
    events: EventSource,
    started: SystemTime,
}

impl Handle {
    pub(crate) fn new(
        orders: SyncSender<Order>,
        waker: Arc<Waker>,
        events: EventSource,
        started: SystemTime,
    ) -> Self {
        Self { orders, waker, events, started }
    }

    /// Publishes one port. A request for loopback binds 127.0.0.1 and ::1 and so returns two
    /// ports, unless the host has only one of them.
    ///
    /// # Errors
    /// When an address cannot be bound, naming address, port and cause. Nothing of the request
    /// stays then.
    pub fn publish(&self, request: &PublishRequest) -> Result<Vec<PublishedPort>, PublishError> {
        let request = request.clone();
        self.ask(move |driver| driver.publish(&request)).unwrap_or(Err(PublishError::Stopped))
    }

    /// Publishes everything a specification says.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); ports of the same specification that were published before
    /// the one that failed are unpublished again.
    pub fn publish_spec(&self, spec: &PublishSpec) -> Result<Vec<PublishedPort>, PublishError> {
        let mut published: Vec<PublishedPort> = Vec::new();
        for item in spec.items() {
            let result = match &item {
                PublishItem::Request(request) => self.publish(request),
                PublishItem::Auto | PublishItem::Exclude { .. } => {
                    Err(PublishError::NeedsWatcher(spec.to_string()))
                }
            };
            match result {
                Ok(ports) => published.extend(ports),
                Err(error) => {
                    for port in published {
                        // Only an engine that has stopped fails here, and it has freed the port.
                        let _ = self.unpublish(port.id, Unpublish::Reset);
                    }
                    return Err(error);
                }
            }
        }
        Ok(published)
    }

    /// Closes a port's listener now; its connections drain or are reset, as asked.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn unpublish(&self, id: PublishId, connections: Unpublish) -> Result<(), UnpublishError> {
        self.ask(move |driver| driver.unpublish(id, connections))
            .unwrap_or(Err(UnpublishError::Stopped))
    }

    /// Ends one flow now, with RST to both sides.
    ///
    /// # Errors
    /// When there is no such flow.
    pub fn kill(&self, id: FlowId) -> Result<(), KillError> {
        self.ask(move |driver| driver.kill(id)).unwrap_or(Err(KillError::Stopped))
    }

    /// Limits in force; `None` once the engine has stopped.
    pub fn limits(&self) -> Option<Limits> {
        self.ask(|driver| driver.limits())
    }

    /// Changes limits while the engine runs. What is alive beyond a lower limit goes on; what
    /// would be new waits until there is room. Returns the names of those that differed.
    ///
    /// # Errors
    /// When one is out of its range or sizes something that is made at the start. Nothing is
    /// changed then.
    pub fn set_limits(&self, limits: Limits) -> Result<Vec<&'static str>, LimitsChangeError> {
        let set = |driver: &mut Driver| driver.set_limits(limits);
        self.ask(set).unwrap_or(Err(LimitsChangeError::Stopped))
    }

    /// Takes no more clients and waits until every byte that the guest has sent is delivered, or
    /// until no byte has moved for `patience`.
    pub fn drain(&self, patience: Duration) -> Drained {
        let (reply, answer) = sync_channel(1);
        self.ask(move |driver| driver.begin_drain(patience, reply));
        answer.recv().unwrap_or(Drained::Complete)
    }

    pub(crate) fn order_stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let _ = self.waker.wake();
    }

    /// Has the engine's thread do something between two turns; `None` once it has stopped.
    fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        let task = move |driver: &mut Driver| {
            // Whoever asked may have gone in the meantime; an answer that nobody takes is no fault.
            let _ = reply.send(task(driver));
        };
        self.orders.send(Order::Task(Box::new(task))).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }
}
