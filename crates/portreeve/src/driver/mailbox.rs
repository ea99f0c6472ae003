//! Orders from other threads, carried out between two turns.

use std::ops::ControlFlow;
use std::sync::mpsc::{SyncSender, TryRecvError};
use std::time::Duration;

use portreeve_core::{Command, Counters, FlowSummary, HostNetwork, Reply, Unpublish};
use portreeve_types::{PublishId, PublishRequest, PublishedPort};

use super::drain::Drain;
use super::{Driver, DriverStats};
use crate::error::{PublishError, UnpublishError};
use crate::event::{Event, Events, Subscriber};
use crate::handle::Drained;
use crate::publish;

/// One order, with where to send the answer.
pub(crate) enum Order {
    Publish {
        request: PublishRequest,
        reply: SyncSender<Result<Vec<PublishedPort>, PublishError>>,
    },
    Unpublish {
        id: PublishId,
        connections: Unpublish,
        reply: SyncSender<Result<(), UnpublishError>>,
    },
    Ports {
        reply: SyncSender<Vec<PublishedPort>>,
    },
    Flows {
        reply: SyncSender<Vec<FlowSummary>>,
    },
    Counters {
        reply: SyncSender<Counters>,
    },
    DriverStats {
        reply: SyncSender<DriverStats>,
    },
    Subscribe {
        reply: SyncSender<Events>,
    },
    Drain {
        patience: Duration,
        reply: SyncSender<Drained>,
    },
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
                Ok(order) => self.carry_out(order),
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
            }
        }
        self.orders_left = true;
        ControlFlow::Continue(())
    }

    fn carry_out(&mut self, order: Order) {
        // Whoever asked may have gone in the meantime; an answer that nobody takes is no fault.
        match order {
            Order::Publish { request, reply } => {
                let _ = reply.send(self.publish(&request));
            }
            Order::Unpublish { id, connections, reply } => {
                let _ = reply.send(self.unpublish(id, connections));
            }
            Order::Ports { reply } => {
                let _ = reply.send(self.listeners.ports());
            }
            Order::Flows { reply } => {
                let _ = reply.send(self.core.flows().collect());
            }
            Order::Counters { reply } => {
                let _ = reply.send(self.core.counters());
            }
            Order::DriverStats { reply } => {
                let open_sockets = self.streams.open()
                    + self.mappings.open()
                    + self.names.open()
                    + self.lingering.len();
                let link_discarded = self.link.discarded();
                let stats = DriverStats { open_sockets, link_discarded, ..self.stats.clone() };
                let _ = reply.send(stats);
            }
            Order::Subscribe { reply } => {
                let (subscriber, events) = Subscriber::new(self.event_backlog);
                self.subscribers.push(subscriber);
                let _ = reply.send(events);
            }
            Order::Drain { patience, reply } => {
                self.listeners.remove_streams();
                self.drain = Some(Drain::new(patience, reply, self.clock.now()));
                // What came before this order is to be looked at, whoever was told of it.
                self.link_state.readable = true;
            }
            Order::HostNetwork(network) => {
                self.core.handle_host_network(&network, self.clock.now());
                self.publish_event(&Event::HostNetwork(network));
            }
            Order::Stop => {}
        }
    }

    /// Binds everything, registers everything, or leaves nothing behind.
    fn publish(&mut self, request: &PublishRequest) -> Result<Vec<PublishedPort>, PublishError> {
        let what = format!("{}/{}", request.guest_port, request.transport);
        let bound = publish::bind(request)?;
        let mut ports: Vec<PublishedPort> = Vec::new();
        for (listener, host) in bound {
            let command = Command::Publish {
                transport: request.transport,
                guest_port: request.guest_port,
                source: request.source,
                host: host.socket_addr(),
            };
            let result = self.core.handle_command(command, self.clock.now());
            let registered = match result {
                Ok(Reply::Published(id, source)) => {
                    let port = PublishedPort {
                        id,
                        transport: request.transport,
                        guest_port: request.guest_port,
                        host,
                        source,
                        name: request.name.clone(),
                    };
                    let registry = self.poll.registry();
                    let address = port.host.to_string();
                    match self.listeners.insert(registry, port.clone(), listener) {
                        Ok(()) => Ok(port),
                        Err(cause) => {
                            self.withdraw(id, Unpublish::Reset);
                            let what = what.clone();
                            Err(PublishError::Bind { what, address, cause, help: None })
                        }
                    }
                }
                Ok(_) => continue,
                Err(cause) => Err(PublishError::Refused { what: what.clone(), cause }),
            };
            match registered {
                Ok(port) => ports.push(port),
                Err(error) => {
                    for port in ports {
                        self.listeners.remove(port.id);
                        self.withdraw(port.id, Unpublish::Reset);
                    }
                    return Err(error);
                }
            }
        }
        for port in &ports {
            self.publish_event(&Event::Published(port.clone()));
        }
        Ok(ports)
    }

    fn unpublish(&mut self, id: PublishId, connections: Unpublish) -> Result<(), UnpublishError> {
        let port = self.listeners.remove(id).ok_or(UnpublishError::Unknown(id))?;
        self.withdraw(id, connections);
        self.publish_event(&Event::Unpublished(port));
        Ok(())
    }

    fn withdraw(&mut self, publish: PublishId, connections: Unpublish) {
        let command = Command::Unpublish { publish, connections };
        if let Err(error) = self.core.handle_command(command, self.clock.now()) {
            tracing::error!(%error, "the engine did not know a port that was published");
        }
        self.forget_datagrams(publish);
    }
}
