//! A split virtqueue, seen from the device.
//!
//! Owns its indexes, and when the other side is to be told of progress; what is in the buffers is
//! for `from_guest.rs` and `to_guest.rs`. Everything in shared memory is read once, checked, and
//! used as read: it may be another the next moment.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §2.7.

use std::sync::atomic::{Ordering, fence};

use super::fault::RingFault;
use super::memory::{Memory, Window};
use super::message::RingAddresses;

#[derive(Debug)]
pub(crate) struct Ring {
    size: u16,
    descriptors: Window,
    available: Window,
    used: Window,
    /// The next available entry to take.
    next_available: u16,
    /// What the guest had made available when last looked at.
    seen_available: u16,
    /// The next used entry to fill.
    next_used: u16,
    /// Used entries the guest has been shown.
    published: u16,
    event_idx: bool,
    /// The guest is asked by a flag not to kick.
    quiet: bool,
    /// Nothing was published yet: whether the guest waits for it cannot be known.
    fresh: bool,
}

/// An entry of a table of descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

impl Ring {
    /// A ring that goes on at `base`.
    pub(crate) fn new(
        memory: &Memory,
        addresses: &RingAddresses,
        size: u16,
        base: u16,
        event_idx: bool,
    ) -> Result<Self, RingFault> {
        let [descriptors, available, used] = memory.windows(addresses, size)?;
        let next_used = used.load(INDEX, Ordering::Acquire);
        Ok(Self {
            size,
            descriptors,
            available,
            used,
            next_available: base,
            seen_available: base,
            next_used,
            published: next_used,
            event_idx,
            quiet: false,
            fresh: true,
        })
    }

    /// The same ring in a new table of memory.
    pub(crate) fn relocate(
        &mut self,
        memory: &Memory,
        addresses: &RingAddresses,
    ) -> Result<(), RingFault> {
        let parts = memory.windows(addresses, self.size)?;
        [self.descriptors, self.available, self.used] = parts;
        Ok(())
    }

    /// How many chains are there to be taken.
    pub(crate) fn waiting(&mut self) -> Result<u16, RingFault> {
        if self.seen_available == self.next_available {
            self.look()?;
        }
        Ok(self.seen_available.wrapping_sub(self.next_available))
    }

    /// Looks for chains beyond those seen; how many there are now.
    pub(crate) fn look(&mut self) -> Result<u16, RingFault> {
        let index = self.available.load(INDEX, Ordering::Acquire);
        let waiting = index.wrapping_sub(self.next_available);
        if waiting > self.size {
            return Err(RingFault::Index);
        }
        self.seen_available = index;
        Ok(waiting)
    }

    /// The first descriptor of a chain that waits.
    pub(crate) fn head(&self, nth: u16) -> Result<u16, RingFault> {
        let at = usize::from(self.next_available.wrapping_add(nth) & (self.size - 1));
        let head = self.available.load(ENTRIES + 2 * at, Ordering::Relaxed);
        if head < self.size { Ok(head) } else { Err(RingFault::Descriptor) }
    }

    pub(crate) fn descriptor(&self, index: u16) -> Result<Descriptor, RingFault> {
        if index >= self.size {
            return Err(RingFault::Descriptor);
        }
        Ok(Descriptor::parse(&self.descriptors.read(16 * usize::from(index))))
    }

    /// Gives the next chain that waits back, with what was written to it. Not seen by the guest
    /// before [`publish`](Self::publish).
    pub(crate) fn finish(&mut self, head: u16, written: u32) {
        let at = usize::from(self.next_used & (self.size - 1));
        let entry = [u32::from(head), written].map(u32::to_le_bytes);
        self.used.write(ENTRIES + 8 * at, entry.as_flattened());
        self.next_used = self.next_used.wrapping_add(1);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Chains given back that the guest does not see yet.
    pub(crate) fn unpublished(&self) -> u16 {
        self.next_used.wrapping_sub(self.published)
    }

    /// Shows the guest what was given back; whether it wants to be called.
    pub(crate) fn publish(&mut self) -> bool {
        if self.next_used == self.published {
            return false;
        }
        let old = std::mem::replace(&mut self.published, self.next_used);
        self.used.store(INDEX, self.next_used, Ordering::Release);
        // What was published has to be there before the guest's wish is read (§2.7.7.2).
        fence(Ordering::SeqCst);
        let fresh = std::mem::replace(&mut self.fresh, false);
        if !self.event_idx {
            return self.available.load(FLAGS, Ordering::Relaxed) & NO_INTERRUPT == 0;
        }
        let event = self.available.load(ENTRIES + 2 * usize::from(self.size), Ordering::Relaxed);
        let new = self.next_used;
        fresh || new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
    }

    /// Asks for a kick when there is more than was seen; whether there is more already.
    pub(crate) fn ask_for_kicks(&mut self) -> Result<bool, RingFault> {
        if self.event_idx {
            let event = ENTRIES + 8 * usize::from(self.size);
            self.used.store(event, self.seen_available, Ordering::Relaxed);
        } else {
            self.quiet = false;
            self.used.store(FLAGS, 0, Ordering::Relaxed);
        }
        // The wish has to be there before the index is read (§2.7.10.1).
        fence(Ordering::SeqCst);
        let seen = self.seen_available;
        self.look()?;
        Ok(self.seen_available != seen)
    }

    /// No kicks, until asked for. With event indexes none come once they are behind.
    pub(crate) fn refuse_kicks(&mut self) {
        if !self.event_idx && !self.quiet {
            self.quiet = true;
            self.used.store(FLAGS, NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// Where to go on after a stop.
    pub(crate) fn base(&self) -> u16 {
        self.next_available
    }

    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    pub(crate) fn set_event_idx(&mut self, event_idx: bool) {
        self.event_idx = event_idx;
    }
}

impl Descriptor {
    pub(crate) fn parse(bytes: &[u8; 16]) -> Self {
        let [address, rest] = bytes.as_chunks::<8>().0 else { unreachable!("sixteen bytes") };
        let rest = u64::from_le_bytes(*rest);
        Self {
            address: u64::from_le_bytes(*address),
            length: rest as u32,
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        }
    }
}

// Both rings begin with flags and an index; the entries follow, then the other side's event index.
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;

const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;
