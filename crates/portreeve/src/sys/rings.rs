//! Ring memory mapped from the system: touched lazily, given back when idle.
//!
//! A connection must be able to have a megabyte under way and must cost next to nothing when it
//! has none. So rings lie in large private mappings that the kernel backs page by page as they are
//! touched, and an idle ring's pages are handed back with `MADV_DONTNEED`.
//!
//! Soundness. [`RingArena`] hands out `&'static mut` slices, because the TCP stack stores them
//! without a lifetime. They are disjoint: a slot is leased to one holder at a time. They stay
//! mapped: the mapping goes with the arena, and [`ArenaEngine`], the only way to get an engine with
//! such rings, drops the arena last (its field order is the proof; an `&mut Engine` taken from it
//! could be swapped for another, so `DerefMut` stays within this crate's driver, which does not). The
//! contents of a slot change behind the slice only in [`RingSource::idle`], which the engine calls
//! when both rings are empty, so no byte in them is anybody's.

use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use portreeve_core::{Config, Engine, LeaseId, Ring, RingLease, RingSource};
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Slots per mapping: large enough to be rare, small enough to waste little address space.
const SLOTS_PER_CHUNK: usize = 64;

/// Owns the mappings.
struct RingArena {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    sizes: Option<(usize, usize)>,
}

struct Chunk {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: a chunk is an address range; the arena touches it by system calls only, under its lock.
unsafe impl Send for Chunk {}

impl RingArena {
    fn new() -> Self {
        Self { inner: Mutex::new(Inner::default()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn slot_len(&self) -> usize {
        self.sizes.map_or(0, |(to_guest, from_guest)| to_guest + from_guest)
    }

    fn grow(&mut self) -> Option<()> {
        let len = NonZeroUsize::new(self.slot_len() * SLOTS_PER_CHUNK)?;
        // SAFETY: a fresh private mapping at an address of the kernel's choice aliases nothing.
        // NORESERVE: most of it is never touched.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len.get(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        let start = NonNull::new(start.ok()?.cast::<u8>())?;
        // SAFETY: the range is the mapping made above. A huge page would make the first byte of a
        // ring cost two megabytes; should the kernel know none, there is nothing to avoid.
        let _ = unsafe {
            rustix::mm::madvise(start.as_ptr().cast(), len.get(), Advice::LinuxNoHugepage)
        };
        let first = u32::try_from(self.chunks.len() * SLOTS_PER_CHUNK).ok()?;
        let slots = u32::try_from(SLOTS_PER_CHUNK).ok()?;
        self.chunks.push(Chunk { start, len });
        self.free.extend((first..first + slots).rev());
        Some(())
    }

    fn slot(&self, id: u32) -> NonNull<u8> {
        let index = id as usize;
        let chunk = &self.chunks[index / SLOTS_PER_CHUNK];
        let offset = index % SLOTS_PER_CHUNK * self.slot_len();
        debug_assert!(offset + self.slot_len() <= chunk.len.get());
        // SAFETY: the offset lies within the chunk, which has SLOTS_PER_CHUNK slots.
        unsafe { chunk.start.add(offset) }
    }

    fn forget(&self, id: u32) {
        // SAFETY: the range is one slot of a live mapping, and the caller's rings in it are empty:
        // what they read next they have written before.
        let _ = unsafe {
            let start = self.slot(id).as_ptr().cast();
            rustix::mm::madvise(start, self.slot_len(), Advice::LinuxDontNeed)
        };
    }
}

impl Drop for RingArena {
    fn drop(&mut self) {
        for chunk in &self.lock().chunks {
            // SAFETY: the mapping was made by `grow` and is unmapped once. No slice into it is left:
            // the arena is dropped after the engine that held the leases.
            let _ = unsafe { rustix::mm::munmap(chunk.start.as_ptr().cast(), chunk.len.get()) };
        }
    }
}

/// An engine whose rings lie in an arena of its own. Field order is drop order: the engine, and with
/// it every lease, goes before the arena.
pub(crate) struct ArenaEngine {
    engine: Engine,
    _arena: Arc<RingArena>,
}

impl ArenaEngine {
    pub(crate) fn new(config: Config) -> Self {
        let arena = Arc::new(RingArena::new());
        let rings = MappedRings { arena: Arc::clone(&arena) };
        Self { engine: Engine::with_rings(config, Box::new(rings)), _arena: arena }
    }
}

impl Deref for ArenaEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for ArenaEngine {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// The engine's access to an arena. Private to this file: only [`ArenaEngine`] makes one, and so
/// every lease ends before the arena does.
struct MappedRings {
    arena: Arc<RingArena>,
}

impl RingSource for MappedRings {
    fn lease(&mut self, to_guest: usize, from_guest: usize) -> Option<RingLease> {
        let mut inner = self.arena.lock();
        let sizes = *inner.sizes.get_or_insert((to_guest, from_guest));
        if sizes != (to_guest, from_guest) {
            // One engine asks for one size; another would need an arena of its own.
            return None;
        }
        if inner.free.is_empty() {
            inner.grow()?;
        }
        let id = inner.free.pop()?;
        let start = inner.slot(id);
        // SAFETY: the slot is leased to nobody else, lies in a mapping that outlives the engine
        // (see `ArenaEngine`), and zeroed or old bytes are both valid `u8`. The two slices do not overlap.
        let (to_guest, from_guest) = unsafe {
            (
                std::slice::from_raw_parts_mut(start.as_ptr(), to_guest),
                std::slice::from_raw_parts_mut(start.add(to_guest).as_ptr(), from_guest),
            )
        };
        Some(RingLease {
            id: LeaseId(id),
            to_guest: Ring::Mapped(to_guest),
            from_guest: Ring::Mapped(from_guest),
        })
    }

    fn idle(&mut self, id: LeaseId) {
        self.arena.lock().forget(id.0);
    }

    fn give_back(&mut self, id: LeaseId) {
        let mut inner = self.arena.lock();
        inner.forget(id.0);
        inner.free.push(id.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(ring: Ring) -> &'static mut [u8] {
        match ring {
            Ring::Mapped(memory) => memory,
            Ring::Owned(_) => panic!("a mapped ring"),
        }
    }

    #[test]
    fn leases_are_disjoint_and_idle_ones_forget() {
        let arena = Arc::new(RingArena::new());
        let mut rings = MappedRings { arena: Arc::clone(&arena) };
        let mut leases = Vec::new();
        for mark in 0..3 * SLOTS_PER_CHUNK {
            let lease = rings.lease(8192, 4096).unwrap();
            let (to_guest, from_guest) = (bytes(lease.to_guest), bytes(lease.from_guest));
            to_guest.fill(mark as u8);
            from_guest.fill(!(mark as u8));
            leases.push((lease.id, to_guest, from_guest));
        }
        for (mark, (_, to_guest, from_guest)) in leases.iter().enumerate() {
            assert!(to_guest.iter().all(|&byte| byte == mark as u8));
            assert!(from_guest.iter().all(|&byte| byte == !(mark as u8)));
        }
        let (id, ..) = leases.remove(1);
        rings.idle(id);
        rings.give_back(id);
        let again = rings.lease(8192, 4096).unwrap();
        assert_eq!(again.id, id);
        assert!(bytes(again.to_guest).iter().all(|&byte| byte == 0));
        assert!(rings.lease(4096, 4096).is_none(), "one size for one engine");
    }
}
