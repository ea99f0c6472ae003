//! The buffers of a chain of descriptors.
//!
//! Owns following it: the table of the ring, then at most one table of indirect descriptors. A
//! chain ends after a bounded number of steps, whatever it says, or is a fault.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §2.7.5.

use super::fault::RingFault;
use super::memory::Memory;
use super::ring::{Descriptor, Ring};

#[derive(Debug)]
pub(crate) struct Chain<'a> {
    ring: &'a Ring,
    memory: &'a Memory,
    table: Table,
    next: Option<u16>,
    steps: usize,
}

#[derive(Clone, Copy, Debug)]
enum Table {
    Ring,
    Indirect { address: u64, entries: u16 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) address: u64,
    pub(crate) length: usize,
    /// The device writes to it; otherwise it reads from it.
    pub(crate) writable: bool,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(ring: &'a Ring, memory: &'a Memory, head: u16) -> Self {
        let steps = usize::from(ring.size()).min(LONGEST);
        Self { ring, memory, table: Table::Ring, next: Some(head), steps }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Buffer>, RingFault> {
        loop {
            let Some(index) = self.next else { return Ok(None) };
            self.steps = self.steps.checked_sub(1).ok_or(RingFault::Chain)?;
            let descriptor = self.descriptor(index)?;
            if descriptor.flags & INDIRECT != 0 {
                self.enter(&descriptor)?;
                continue;
            }
            self.next = (descriptor.flags & NEXT != 0).then_some(descriptor.next);
            return Ok(Some(Buffer {
                address: descriptor.address,
                length: descriptor.length as usize,
                writable: descriptor.flags & WRITE != 0,
            }));
        }
    }

    fn descriptor(&self, index: u16) -> Result<Descriptor, RingFault> {
        match self.table {
            Table::Ring => self.ring.descriptor(index),
            Table::Indirect { address, entries } => {
                if index >= entries {
                    return Err(RingFault::Descriptor);
                }
                let mut bytes = [0; 16];
                let at = address.checked_add(16 * u64::from(index)).ok_or(RingFault::Buffer)?;
                self.memory.read(at, &mut bytes)?;
                Ok(Descriptor::parse(&bytes))
            }
        }
    }

    fn enter(&mut self, descriptor: &Descriptor) -> Result<(), RingFault> {
        let entries = descriptor.length as usize / 16;
        let whole = descriptor.length.is_multiple_of(16) && (1..=LONGEST).contains(&entries);
        // §2.7.5.3.1: no table within a table, and none that a chain goes on behind.
        let nested = matches!(self.table, Table::Indirect { .. });
        if nested || !whole || descriptor.flags & NEXT != 0 {
            return Err(RingFault::Indirect);
        }
        let entries = u16::try_from(entries).map_err(|_| RingFault::Indirect)?;
        self.table = Table::Indirect { address: descriptor.address, entries };
        self.next = Some(0);
        self.steps = usize::from(entries);
        Ok(())
    }
}

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// More than any driver makes: what Linux takes in one call of `readv` (`UIO_MAXIOV`), which is
/// what other devices bound a chain by.
const LONGEST: usize = 1024;
