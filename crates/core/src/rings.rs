//! Where the memory of a flow's rings comes from.
//!
//! The core forbids `unsafe`, but the memory of thousands of idle rings should be mapped lazily and
//! given back to the system. So the caller may bring a [`RingSource`] that does; [`HeapRings`] is
//! the plain one, and what tests use.

/// The memory of one ring.
#[derive(Debug)]
pub enum Ring {
    /// Memory on the heap.
    Owned(Vec<u8>),
    /// Memory that the source keeps mapped at least until the engine is dropped.
    Mapped(&'static mut [u8]),
}

/// Names a lease to the source that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u32);

/// Two rings for one flow.
#[derive(Debug)]
pub struct RingLease {
    /// Handed back to the source when the rings are idle or no longer used.
    pub id: LeaseId,
    /// Bytes on their way to the guest.
    pub to_guest: Ring,
    /// Bytes that the guest sent.
    pub from_guest: Ring,
}

/// Gives and takes back ring memory.
///
/// The engine keeps the rings of a closed flow for the next one, so a lease is given back only
/// when the engine has no use for it.
pub trait RingSource: Send {
    /// Rings of the given sizes in bytes, their contents unspecified; `None` when there is no
    /// memory left.
    fn lease(&mut self, to_guest: usize, from_guest: usize) -> Option<RingLease>;

    /// Both rings are empty and have been for a while: what they hold may be forgotten.
    fn idle(&mut self, id: LeaseId);

    /// The engine no longer holds the rings of this lease.
    fn give_back(&mut self, id: LeaseId);
}

/// Rings on the heap.
#[derive(Debug, Default)]
pub struct HeapRings {
    next: u32,
}

impl RingSource for HeapRings {
    fn lease(&mut self, to_guest: usize, from_guest: usize) -> Option<RingLease> {
        let id = LeaseId(self.next);
        self.next = self.next.wrapping_add(1);
        Some(RingLease {
            id,
            to_guest: Ring::Owned(vec![0; to_guest]),
            from_guest: Ring::Owned(vec![0; from_guest]),
        })
    }

    fn idle(&mut self, _id: LeaseId) {}

    fn give_back(&mut self, _id: LeaseId) {}
}
