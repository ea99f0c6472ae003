//! Published ports as the engine knows them: which guest port, which source, how many flows.
//!
//! Owns the table and the choice of ephemeral ports. The listening sockets are the shell's, which
//! binds first and registers afterwards, so that a port that cannot be bound never exists here.

pub(crate) mod proxy;

use std::collections::BTreeMap;

use portreeve_types::{PublishId, SourceMode, Transport};

use crate::limits::{EPHEMERAL_PORTS, EPHEMERAL_PROBES};

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedEntry {
    /// TCP or UDP.
    pub transport: Transport,
    /// The port in the guest.
    pub guest_port: u16,
    /// The source that the guest sees.
    pub source: SourceMode,
    /// Flows it carries now.
    pub flows: usize,
    /// Whether it takes no new clients and ends with its last flow.
    pub draining: bool,
    /// Flows that have reached the guest: connections that it answered, and clients whose
    /// datagrams were taken.
    pub opened: u64,
    /// Connections that were refused, here or by the guest, and datagrams for which there was no
    /// room for a flow.
    pub refused: u64,
    /// Payload bytes for the guest, of flows that have ended.
    pub bytes_to_guest: u64,
    /// Payload bytes from the guest, of flows that have ended.
    pub bytes_from_guest: u64,
}

#[derive(Default)]
pub(crate) struct PublishTable {
    entries: BTreeMap<PublishId, PublishedEntry>,
    next: u32,
}

impl PublishTable {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn add(
        &mut self,
        transport: Transport,
        guest_port: u16,
        source: SourceMode,
    ) -> PublishId {
        let id = PublishId(self.next);
        self.next += 1;
        let entry = PublishedEntry {
            transport,
            guest_port,
            source,
            flows: 0,
            draining: false,
            opened: 0,
            refused: 0,
            bytes_to_guest: 0,
            bytes_from_guest: 0,
        };
        self.entries.insert(id, entry);
        id
    }

    pub(crate) fn get(&self, id: PublishId) -> Option<&PublishedEntry> {
        self.entries.get(&id)
    }

    /// All ports, in the order in which they were published.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PublishId, &PublishedEntry)> {
        self.entries.iter().map(|(&id, entry)| (id, entry))
    }

    /// Stops new flows. The entry goes with its last one, or now when it has none.
    pub(crate) fn drain(&mut self, id: PublishId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.draining = true;
        if entry.flows == 0 {
            self.entries.remove(&id);
        }
        true
    }

    pub(crate) fn flow_added(&mut self, id: PublishId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.flows += 1;
        }
    }

    /// A flow has reached the guest.
    pub(crate) fn opened(&mut self, id: PublishId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.opened += 1;
        }
    }

    /// A client was turned away.
    pub(crate) fn refused(&mut self, id: PublishId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.refused += 1;
        }
    }

    /// A flow has ended that carried so many bytes to the guest and from it.
    pub(crate) fn flow_removed(&mut self, id: PublishId, (to_guest, from_guest): (u64, u64)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.flows = entry.flows.saturating_sub(1);
            entry.bytes_to_guest += to_guest;
            entry.bytes_from_guest += from_guest;
            if entry.draining && entry.flows == 0 {
                self.entries.remove(&id);
            }
        }
    }
}

/// Source ports for what the engine opens towards the guest.
///
/// The client's own number is used where it is free: it reads well in the guest's logs and its own
/// host keeps it from being reused too soon. Otherwise numbers are tried in turn from where the
/// last search ended, so that a number rests as long as possible. RFC 6056 §3.3.4 wants them hard
/// to guess from outside the path; there is nobody but the guest on this one.
pub(crate) struct EphemeralPorts {
    next: u16,
}

impl EphemeralPorts {
    pub(crate) fn new() -> Self {
        Self { next: *EPHEMERAL_PORTS.start() }
    }

    /// A port for which `is_free` holds, `preferred` first; `None` when a bounded search finds
    /// none.
    pub(crate) fn pick(&mut self, preferred: u16, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        if EPHEMERAL_PORTS.contains(&preferred) && is_free(preferred) {
            return Some(preferred);
        }
        for _ in 0..EPHEMERAL_PROBES {
            let port = self.next;
            self.next =
                if port == *EPHEMERAL_PORTS.end() { *EPHEMERAL_PORTS.start() } else { port + 1 };
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_wrap_and_a_taken_one_is_never_given() {
        let mut ports = EphemeralPorts { next: 65_534 };
        let taken = [65_535, 1024, 1025];
        let picked: Vec<_> =
            (0..3).map(|_| ports.pick(0, |port| !taken.contains(&port)).unwrap()).collect();
        assert_eq!(picked, [65_534, 1026, 1027]);
        assert_eq!(ports.pick(4000, |_| true), Some(4000));
        assert_eq!(ports.pick(80, |_| true), Some(1028), "never a privileged number");
        assert_eq!(ports.pick(4000, |_| false), None, "the search ends");
    }

    #[test]
    fn a_draining_port_goes_with_its_last_flow() {
        let mut table = PublishTable::default();
        let id = table.add(Transport::Tcp, 80, SourceMode::Gateway);
        table.flow_added(id);
        table.flow_added(id);
        assert!(table.drain(id));
        assert!(table.get(id).is_some_and(|entry| entry.draining));
        table.flow_removed(id, (3, 4));
        let bytes = table.get(id).map(|entry| (entry.bytes_to_guest, entry.bytes_from_guest));
        assert_eq!((bytes, table.iter().count()), (Some((3, 4)), 1));
        table.flow_removed(id, (5, 7));
        assert!(table.get(id).is_none());
        assert!(!table.drain(id));
    }
}
