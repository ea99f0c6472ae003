//! Published ports: bound and registered together, and how each of them is.
//!
//! Owns the order of it, so that a port exists whole or not at all. Accepting clients is
//! `listeners.rs`.

use std::collections::BTreeMap;

use portreeve_core::{Command, Reply, Unpublish};
use portreeve_types::api::{PortCounters, PortState, PortStatus};
use portreeve_types::{PublishId, PublishRequest, PublishedPort};

use super::Driver;
use crate::error::{PublishError, UnpublishError};
use crate::event::Event;
use crate::publish;

impl Driver {
    /// Binds everything, registers everything, or leaves nothing behind.
    pub(crate) fn publish(
        &mut self,
        request: &PublishRequest,
    ) -> Result<Vec<PublishedPort>, PublishError> {
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
            self.publish_event(Event::Published(port.clone()));
        }
        Ok(ports)
    }

    pub(crate) fn unpublish(
        &mut self,
        id: PublishId,
        connections: Unpublish,
    ) -> Result<(), UnpublishError> {
        let port = self.listeners.remove(id).ok_or(UnpublishError::Unknown(id))?;
        self.withdraw(id, connections);
        let core = &self.core;
        self.draining.retain(|port| core.published(port.id).is_some());
        if core.published(id).is_some() {
            self.draining.push(port.clone());
        }
        self.publish_event(Event::Unpublished(port));
        Ok(())
    }

    fn withdraw(&mut self, publish: PublishId, connections: Unpublish) {
        let command = Command::Unpublish { publish, connections };
        if let Err(error) = self.core.handle_command(command, self.clock.now()) {
            tracing::error!(%error, "the engine did not know a port that was published");
        }
        self.forget_datagrams(publish);
    }

    pub(crate) fn ports(&self) -> Vec<PublishedPort> {
        self.listeners.ports()
    }

    /// Every port with what it has done, draining ones included. Walks the ports, not the flows.
    pub(crate) fn port_status(&self) -> Vec<PortStatus> {
        let mut ports: BTreeMap<PublishId, PortStatus> = BTreeMap::new();
        let mut add = |port: PublishedPort, state, cause| {
            let counters = self.core.published(port.id).map(|entry| PortCounters {
                flows: entry.flows as u64,
                opened: entry.opened,
                refused: entry.refused,
                bytes_to_guest: entry.bytes_to_guest,
                bytes_from_guest: entry.bytes_from_guest,
            });
            // A draining port that has ended since is no port any more.
            if let Some(counters) = counters {
                ports.insert(port.id, PortStatus { port, state, cause, counters });
            }
        };
        for (port, cause) in self.listeners.states() {
            let state = if cause.is_some() { PortState::Paused } else { PortState::Listening };
            add(port.clone(), state, cause.map(str::to_owned));
        }
        for port in &self.draining {
            add(port.clone(), PortState::Draining, None);
        }
        ports.into_values().collect()
    }
}
