//! Orders from other threads, carried out between two turns.

use std::ops::ControlFlow;
use std::sync::mpsc::TryRecvError;

use portreeve_core::HostNetwork;

use super::Driver;
use crate::event::Event;

/// One order.
pub(crate) enum Order {
    /// Something to do with the loop's state; it answers whoever asked by itself. What it does
    /// must be short: the guest waits meanwhile.
    Task(Box<dyn FnOnce(&mut Driver) + Send>),
    /// The host's network has changed.
    HostNetwork(HostNetwork),
    Stop,
}

/// Orders carried out before frames have their turn.
const ORDERS: usize = 64;

impl Driver {
    /// Carries out waiting orders; breaks when the engine is to stop.
    pub(super) fn carry_out_orders(&mut self) -> ControlFlow<()> {
        for _ in 0..ORDERS {
            match self.mailbox.try_recv() {
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
                Ok(Order::Task(task)) => task(self),
                Ok(Order::HostNetwork(network)) => {
                    self.core.handle_host_network(&network, self.clock.now());
                    self.publish_event(Event::HostNetwork(network));
                }
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
            }
        }
        self.orders_left = true;
        ControlFlow::Continue(())
    }
}
