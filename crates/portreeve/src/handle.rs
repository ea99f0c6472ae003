//! Orders to a running engine from any thread.
//!
//! Owns the mailbox's sending end and the waiting for answers. Every call returns when the engine's
//! thread has carried it out.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use mio::Waker;
use portreeve_core::{Counters, FlowSummary, Unpublish};
use portreeve_types::{PublishId, PublishItem, PublishRequest, PublishSpec, PublishedPort};

use crate::driver::DriverStats;
use crate::driver::mailbox::Order;
use crate::error::{PublishError, UnpublishError};
use crate::event::Events;

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
}

impl Handle {
    pub(crate) fn new(orders: SyncSender<Order>, waker: Arc<Waker>) -> Self {
        Self { orders, waker }
    }

    /// Publishes one port. A request for loopback binds 127.0.0.1 and ::1 and so returns two
    /// ports, unless the host has only one of them.
    ///
    /// # Errors
    /// When an address cannot be bound, naming address, port and cause. Nothing of the request
    /// stays then.
    pub fn publish(&self, request: &PublishRequest) -> Result<Vec<PublishedPort>, PublishError> {
        let request = request.clone();
        self.ask(|reply| Order::Publish { request, reply }).unwrap_or(Err(PublishError::Stopped))
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
        self.ask(|reply| Order::Unpublish { id, connections, reply })
            .unwrap_or(Err(UnpublishError::Stopped))
    }

    /// Ports published now.
    pub fn ports(&self) -> Vec<PublishedPort> {
        self.ask(|reply| Order::Ports { reply }).unwrap_or_default()
    }

    /// Flows alive now.
    pub fn flows(&self) -> Vec<FlowSummary> {
        self.ask(|reply| Order::Flows { reply }).unwrap_or_default()
    }

    /// Counters of the engine since its start; `None` once it has stopped.
    pub fn counters(&self) -> Option<Counters> {
        self.ask(|reply| Order::Counters { reply })
    }

    /// Counters of the event loop and its sockets since the start; `None` once it has stopped.
    pub fn driver_stats(&self) -> Option<DriverStats> {
        self.ask(|reply| Order::DriverStats { reply })
    }

    /// Events from now on.
    pub fn events(&self) -> Events {
        let asked = self.ask(|reply| Order::Subscribe { reply });
        // A subscription to an engine that has stopped ends at once.
        asked.unwrap_or_else(|| crate::event::Subscriber::new(1).1)
    }

    /// Takes no more clients and waits until every byte that the guest has sent is delivered, or
    /// until no byte has moved for `patience`.
    pub fn drain(&self, patience: Duration) -> Drained {
        self.ask(|reply| Order::Drain { patience, reply }).unwrap_or(Drained::Complete)
    }

    pub(crate) fn order_stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let _ = self.waker.wake();
    }

    fn ask<T>(&self, order: impl FnOnce(SyncSender<T>) -> Order) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.orders.send(order(reply)).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }
}
