//! Published ports' sockets: accepting clients, and never dying of it.
//!
//! Owns the listeners and their readiness. A failed accept is counted and tried again: at once for
//! a client that went away, after a pause (sooner when a descriptor is freed) when the process or
//! the system has run out of something. Each port has its own share of a turn.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::{Interest, Registry, Token};
use portreeve_core::{Accepted, Instant};
use portreeve_host::{HostError, Peer, UdpSocket};
use portreeve_types::{PublishId, PublishedPort};

use super::{Driver, LISTENERS, register};
use crate::event::Event;
use crate::publish::Listener;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Listeners {
    slots: Vec<Option<Entry>>,
    by_id: BTreeMap<PublishId, usize>,
    /// Slots whose listener may have a client.
    ready: Vec<usize>,
    /// Slots of UDP sockets that want a look.
    ready_udp: Vec<usize>,
    /// Where the next turn begins, so that no port is always last.
    turn: usize,
}

struct Entry {
    port: PublishedPort,
    listener: Listener,
    /// In one of the lists of ready slots.
    ready: bool,
    pause: Option<Pause>,
    udp: UdpState,
}

/// What is known of a UDP socket's readiness.
#[derive(Clone, Copy)]
pub(super) struct UdpState {
    /// Datagrams may wait.
    pub(super) readable: bool,
    /// The socket takes datagrams.
    pub(super) writable: bool,
    /// Error reports may wait.
    pub(super) failed: bool,
}

struct Pause {
    until: Instant,
    length: Duration,
    /// What the kernel said.
    cause: String,
}

impl Listeners {
    pub(super) fn insert(
        &mut self,
        registry: &Registry,
        port: PublishedPort,
        listener: Listener,
    ) -> io::Result<()> {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let fd = listener.as_fd().as_raw_fd();
        let interest = match listener {
            Listener::Udp(_) => Interest::READABLE | Interest::WRITABLE,
            Listener::Tcp(_) | Listener::Unix(_) => Interest::READABLE,
        };
        register(registry, fd, Token(LISTENERS + slot), interest)?;
        self.by_id.insert(port.id, slot);
        let udp = UdpState { readable: true, writable: true, failed: false };
        let entry = Entry { port, listener, ready: false, pause: None, udp };
        if slot == self.slots.len() {
            self.slots.push(Some(entry));
        } else {
            self.slots[slot] = Some(entry);
        }
        // An inherited listener may have clients from before.
        self.mark_ready(slot);
        self.mark_udp(slot);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: PublishId) -> Option<PublishedPort> {
        let slot = self.by_id.remove(&id)?;
        let entry = self.slots.get_mut(slot)?.take()?;
        Some(entry.port)
    }

    /// Closes every listener for connections; UDP sockets stay, for what the guest still sends.
    pub(super) fn remove_streams(&mut self) {
        for slot in &mut self.slots {
            if let Some(entry) = slot.take_if(|entry| !matches!(entry.listener, Listener::Udp(_))) {
                self.by_id.remove(&entry.port.id);
            }
        }
    }

    /// Published ports in the order of their names.
    pub(super) fn ports(&self) -> Vec<PublishedPort> {
        let slots = self.by_id.values().filter_map(|&slot| self.slots[slot].as_ref());
        slots.map(|entry| entry.port.clone()).collect()
    }

    /// Every port, and what keeps it from accepting.
    pub(super) fn states(&self) -> impl Iterator<Item = (&PublishedPort, Option<&str>)> {
        let slots = self.by_id.values().filter_map(|&slot| self.slots[slot].as_ref());
        slots.map(|entry| (&entry.port, entry.pause.as_ref().map(|pause| pause.cause.as_str())))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn slot_of(&self, id: PublishId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// A UDP socket with its port and its readiness.
    pub(super) fn udp(
        &mut self,
        slot: usize,
    ) -> Option<(&PublishedPort, &UdpSocket, &mut UdpState)> {
        let entry = self.slots.get_mut(slot)?.as_mut()?;
        match &entry.listener {
            Listener::Udp(socket) => Some((&entry.port, socket, &mut entry.udp)),
            Listener::Tcp(_) | Listener::Unix(_) => None,
        }
    }

    pub(super) fn mark_udp(&mut self, slot: usize) {
        if let Some(Some(entry)) = self.slots.get_mut(slot)
            && matches!(entry.listener, Listener::Udp(_))
            && !std::mem::replace(&mut entry.ready, true)
        {
            self.ready_udp.push(slot);
        }
    }

    /// Slots of UDP sockets to look at now.
    pub(super) fn take_ready_udp(&mut self) -> Vec<usize> {
        let ready = std::mem::take(&mut self.ready_udp);
        for &slot in &ready {
            if let Some(Some(entry)) = self.slots.get_mut(slot) {
                entry.ready = false;
            }
        }
        ready
    }

    pub(super) fn any_ready_udp(&self) -> bool {
        !self.ready_udp.is_empty()
    }

    pub(super) fn note(&mut self, slot: usize, readiness: &Readiness) {
        let Some(Some(entry)) = self.slots.get_mut(slot) else { return };
        if let Listener::Udp(_) = entry.listener {
            entry.udp.readable |= readiness.is_readable();
            entry.udp.writable |= readiness.is_writable();
            entry.udp.failed |= readiness.is_error();
            self.mark_udp(slot);
        } else {
            self.mark_ready(slot);
        }
    }

    /// Whether a listener that does not pause may have a client.
    pub(super) fn any_ready(&self) -> bool {
        self.ready
            .iter()
            .any(|&slot| matches!(self.slots.get(slot), Some(Some(entry)) if entry.pause.is_none()))
    }

    /// When the first pause is over.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let waiting = self.ready.iter().filter_map(|&slot| self.slots[slot].as_ref());
        waiting.filter_map(|entry| entry.pause.as_ref()).map(|pause| pause.until).min()
    }

    /// A descriptor was freed: whoever paused for lack of one may try again.
    pub(super) fn descriptor_freed(&mut self) {
        for &slot in &self.ready {
            if let Some(Some(entry)) = self.slots.get_mut(slot)
                && let Some(pause) = &mut entry.pause
            {
                pause.until = Instant::ZERO;
            }
        }
    }

    fn mark_ready(&mut self, slot: usize) {
        if let Some(Some(entry)) = self.slots.get_mut(slot)
            && !matches!(entry.listener, Listener::Udp(_))
            && !std::mem::replace(&mut entry.ready, true)
        {
            self.ready.push(slot);
        }
    }
}

/// What one accept came to.
enum Step {
    Client(portreeve_host::Accepted),
    Empty,
    /// That client is gone; the next may be there.
    Skip,
    Exhausted(HostError),
}

impl Entry {
    fn accept(&self) -> Step {
        let accepted = match &self.listener {
            Listener::Tcp(listener) => listener.accept(),
            Listener::Unix(listener) => listener.accept(),
            Listener::Udp(_) => return Step::Empty,
        };
        match accepted {
            Ok(Some(client)) => Step::Client(client),
            Ok(None) => Step::Empty,
            Err(error) if error.class() == portreeve_host::ErrorClass::ConnectionAborted => {
                Step::Skip
            }
            Err(error) => Step::Exhausted(error),
        }
    }
}

impl Driver {
    pub(super) fn accept_clients(&mut self, now: Instant) {
        let ready = std::mem::take(&mut self.listeners.ready);
        let start = if ready.is_empty() { 0 } else { self.listeners.turn % ready.len() };
        self.listeners.turn = self.listeners.turn.wrapping_add(1);
        for at in 0..ready.len() {
            self.accept_from(ready[(start + at) % ready.len()], now);
        }
    }

    /// Accepts a port's share of clients. The slot is marked ready again unless it is empty.
    fn accept_from(&mut self, slot: usize, now: Instant) {
        match self.listeners.slots.get_mut(slot) {
            Some(Some(entry)) => entry.ready = false,
            _ => return,
        }
        for _ in 0..self.limits.accept_batch {
            let Some(Some(entry)) = self.listeners.slots.get(slot) else { return };
            if entry.pause.as_ref().is_some_and(|pause| now < pause.until) {
                break;
            }
            let id = entry.port.id;
            match entry.accept() {
                Step::Client(client) => {
                    self.resume(slot);
                    self.counters.accepted += 1;
                    self.open(id, client, now);
                }
                Step::Empty => return self.resume(slot),
                Step::Skip => self.counters.accept_errors += 1,
                Step::Exhausted(error) => {
                    self.counters.accept_errors += 1;
                    self.pause(slot, &error, now);
                    break;
                }
            }
        }
        self.listeners.mark_ready(slot);
    }

    fn open(&mut self, publish: PublishId, client: portreeve_host::Accepted, now: Instant) {
        // The slot of a flow that has just ended may be given to this one.
        self.carry_out_ops(now);
        let peer = match client.peer {
            Peer::Inet(address) => Some(address),
            Peer::Unix(_) => None,
        };
        let accepted = Accepted { publish, client: peer, local: client.local };
        match self.core.handle_accepted(&accepted, now) {
            Ok(id) => {
                let registry = self.poll.registry();
                if let Err(error) = self.streams.insert(registry, id, client.stream) {
                    tracing::warn!(%error, "watching a client's socket");
                    self.core.handle_host_event(portreeve_core::HostEvent::Reset(id), now);
                }
            }
            Err(_) => client.stream.reset(),
        }
    }

    fn pause(&mut self, slot: usize, error: &HostError, now: Instant) {
        let Some(Some(entry)) = self.listeners.slots.get_mut(slot) else { return };
        let length = match &entry.pause {
            Some(pause) => (pause.length * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let first = entry.pause.is_none();
        entry.pause = Some(Pause { until: now + length, length, cause: error.to_string() });
        if first {
            let port = entry.port.id;
            tracing::warn!(%error, port = %entry.port, "cannot accept clients for now");
            self.publish_event(Event::ListenerPaused { port, cause: error.to_string() });
        }
    }

    fn resume(&mut self, slot: usize) {
        let Some(Some(entry)) = self.listeners.slots.get_mut(slot) else { return };
        if entry.pause.take().is_some() {
            let port = entry.port.id;
            self.publish_event(Event::ListenerResumed { port });
        }
    }
}
