//! The guest's memory, as its front end shares it.
//!
//! Owns the mappings and finding addresses in them. Every access is checked against the mapping's
//! length, copies, and never makes a reference into memory that another process writes to.
//!
//! A file that is made shorter while it is mapped kills whoever touches what is gone (`SIGBUS`). A
//! region beyond the end of its file is therefore refused; that the file keeps its length can be
//! known only if it is sealed (`F_SEAL_SHRINK`), which is asked for where the options say so.
//!
//! Spec: `docs/interop/vhost-user.rst` of QEMU, "Memory region description".

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::fs::{FileType, SealFlags};
use vm_memory::mmap::FromRangesError;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::fault::{MemoryFault, RingFault};
use super::message::{MAX_REGIONS, Region, RingAddresses};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By the guest's addresses.
    regions: Vec<Mapped>,
    /// Where the last address was found: the next one is likely to be there, too.
    recent: Cell<usize>,
}

#[derive(Clone, Debug)]
struct Mapped {
    region: Region,
    /// From the file's beginning on, since an offset need not be one that can be mapped.
    mapping: Arc<MmapRegion>,
    offset: usize,
}

impl Memory {
    pub(crate) fn new(
        regions: &[Region],
        files: Vec<OwnedFd>,
        sealed: bool,
    ) -> Result<Self, MemoryFault> {
        let mut memory = Self::default();
        for (region, file) in regions.iter().zip(files) {
            memory.add(*region, file, sealed)?;
        }
        Ok(memory)
    }

    pub(crate) fn add(
        &mut self,
        region: Region,
        file: OwnedFd,
        sealed: bool,
    ) -> Result<(), MemoryFault> {
        // QEMU 7.2 says it once for each pair of queues.
        if self.regions.iter().any(|known| known.region == region) {
            return Ok(());
        }
        if self.regions.len() >= MAX_REGIONS {
            return Err(MemoryFault::TooMany);
        }
        let ranges = [region.guest, region.user];
        if region.length == 0 || ranges.iter().any(|at| at.checked_add(region.length).is_none()) {
            return Err(MemoryFault::Range);
        }
        // The front end's own addresses may overlap: the same memory may be at two of the guest's.
        if self.regions.iter().any(|Mapped { region: other, .. }| {
            region.guest < other.guest + other.length && other.guest < region.guest + region.length
        }) {
            return Err(MemoryFault::Overlap);
        }
        let mapped = Mapped::new(region, file, sealed)?;
        let at = self.regions.partition_point(|other| other.region.guest < region.guest);
        self.regions.insert(at, mapped);
        Ok(())
    }

    /// Removes a region, if it is there: where the guest and the front end have it, and its length,
    /// say which.
    pub(crate) fn remove(&mut self, gone: &Region) {
        self.regions.retain(|Mapped { region, .. }| {
            (region.guest, region.user, region.length) != (gone.guest, gone.user, gone.length)
        });
    }

    /// Whether all of it is the guest's.
    pub(crate) fn has(&self, address: u64, length: usize) -> bool {
        self.pieces(address, length, |_, _, _| Some(())).is_some()
    }

    /// Copies from the guest's memory.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), RingFault> {
        let length = bytes.len();
        self.pieces(address, length, |mapped, offset, at| {
            mapped.mapping.get_slice(offset, at.len()).ok()?.copy_to(&mut bytes[at]);
            Some(())
        })
        .ok_or(RingFault::Buffer)
    }

    /// Copies to the guest's memory.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), RingFault> {
        self.pieces(address, bytes.len(), |mapped, offset, at| {
            mapped.mapping.get_slice(offset, at.len()).ok()?.copy_from(&bytes[at]);
            Some(())
        })
        .ok_or(RingFault::Buffer)
    }

    /// The parts of a ring of that size. Each has to be within one region.
    pub(crate) fn windows(
        &self,
        addresses: &RingAddresses,
        size: u16,
    ) -> Result<[Window; 3], RingFault> {
        let size = usize::from(size);
        // VIRTIO 1.2 §2.7: alignment and length, that of the two event indexes included.
        let parts = [
            (addresses.descriptors, 16, 16 * size),
            (addresses.available, 2, 6 + 2 * size),
            (addresses.used, 4, 6 + 8 * size),
        ];
        let [descriptors, available, used] = parts.map(|(address, alignment, length)| {
            let window = self.window(address, length)?;
            (window.start % alignment == 0).then_some(window)
        });
        let all = descriptors.zip(available).zip(used).ok_or(RingFault::Misplaced)?;
        Ok([all.0.0, all.0.1, all.1])
    }

    fn window(&self, address: u64, length: usize) -> Option<Window> {
        let holds = |mapped: &&Mapped| {
            address.checked_sub(mapped.region.user).is_some_and(|at| {
                at.checked_add(length as u64).is_some_and(|end| end <= mapped.region.length)
            })
        };
        let mapped = self.regions.iter().find(holds)?;
        let start = mapped.offset + usize::try_from(address - mapped.region.user).ok()?;
        Some(Window { mapping: Arc::clone(&mapped.mapping), start, length })
    }

    /// Calls for each region's share: with the offset in the mapping, and the place in the whole.
    fn pieces(
        &self,
        mut address: u64,
        length: usize,
        mut each: impl FnMut(&Mapped, usize, std::ops::Range<usize>) -> Option<()>,
    ) -> Option<()> {
        let mut done = 0;
        while done < length {
            let mapped = self.region_of(address)?;
            let within = address - mapped.region.guest;
            let left = usize::try_from(mapped.region.length - within).unwrap_or(usize::MAX);
            let count = left.min(length - done);
            each(mapped, mapped.offset + usize::try_from(within).ok()?, done..done + count)?;
            done += count;
            // A region's end does not wrap around.
            address = address.checked_add(count as u64)?;
        }
        Some(())
    }

    fn region_of(&self, address: u64) -> Option<&Mapped> {
        let holds = |mapped: &Mapped| {
            address.checked_sub(mapped.region.guest).is_some_and(|at| at < mapped.region.length)
        };
        if let Some(mapped) = self.regions.get(self.recent.get()).filter(|mapped| holds(mapped)) {
            return Some(mapped);
        }
        let after = self.regions.partition_point(|mapped| mapped.region.guest <= address);
        let at = after.checked_sub(1)?;
        self.recent.set(at);
        self.regions.get(at).filter(|mapped| holds(mapped))
    }
}

impl Mapped {
    fn new(region: Region, file: OwnedFd, sealed: bool) -> Result<Self, MemoryFault> {
        let unmappable = |error: io::Error| MemoryFault::Unmappable(error.kind());
        let end = region.offset.checked_add(region.length).ok_or(MemoryFault::Range)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| unmappable(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MemoryFault::NoFile);
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size < end {
            return Err(MemoryFault::BeyondFile);
        }
        // Huge pages can be unmapped as a whole only; a file's blocks are as large as they are.
        let page = u64::try_from(stat.st_blksize).unwrap_or(1).max(1);
        let length = end.checked_next_multiple_of(page).filter(|length| *length <= size);
        let length = usize::try_from(length.unwrap_or(end)).map_err(|_| MemoryFault::Range)?;
        let seals = rustix::fs::fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        if sealed && !seals.contains(SealFlags::SHRINK) {
            return Err(MemoryFault::Unsealed);
        }
        let whole = FileOffset::new(File::from(file), 0);
        let mapping = MmapRegion::from_file(whole, length).map_err(|error| {
            unmappable(match FromRangesError::from(error) {
                FromRangesError::MmapRegion(vm_memory::mmap::MmapRegionError::Mmap(error)) => error,
                _ => io::ErrorKind::InvalidInput.into(),
            })
        })?;
        let offset = usize::try_from(region.offset).map_err(|_| MemoryFault::Range)?;
        Ok(Self { region, mapping: Arc::new(mapping), offset })
    }
}

/// A part of the memory that stays mapped, whatever becomes of the table.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    mapping: Arc<MmapRegion>,
    start: usize,
    length: usize,
}

impl Window {
    pub(crate) fn load(&self, at: usize, order: Ordering) -> u16 {
        // Its place was checked when the window was made.
        self.word(at).map_or(0, |word| u16::from_le(word.load(order)))
    }

    pub(crate) fn store(&self, at: usize, value: u16, order: Ordering) {
        if let Some(word) = self.word(at) {
            word.store(value.to_le(), order);
        }
    }

    pub(crate) fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some(slice) = self.slice(at, N) {
            slice.copy_to(&mut bytes);
        }
        bytes
    }

    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        if let Some(slice) = self.slice(at, bytes.len()) {
            slice.copy_from(bytes);
        }
    }

    fn word(&self, at: usize) -> Option<&AtomicU16> {
        (at + 2 <= self.length).then(|| self.mapping.get_atomic_ref(self.start + at).ok())?
    }

    fn slice(&self, at: usize, length: usize) -> Option<vm_memory::VolatileSlice<'_, ()>> {
        let inside = at.checked_add(length).is_some_and(|end| end <= self.length);
        inside.then(|| self.mapping.get_slice(self.start + at, length).ok())?
    }
}
