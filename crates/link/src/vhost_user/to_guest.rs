//! Frames into a ring.
//!
//! Owns spreading one over the buffers the guest has made available: over one chain, or as many as
//! it needs where the guest merges them. Nothing is written before all of it is known to fit.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §5.1.6.4.

use super::chain::Chain;
use super::fault::RingFault;
use super::memory::Memory;
use super::ring::Ring;

/// What became of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Put {
    Taken,
    /// There is no room now.
    Full,
    /// The buffers can never hold it.
    TooLong,
}

/// Room that was found; kept, so that no frame has to ask for memory.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Where, and how much.
    buffers: Vec<(u64, usize)>,
    /// First descriptors, and how much goes there.
    chains: Vec<(u16, u32)>,
}

/// Puts a frame of these pieces, the first of which is its header. `header` says where the number
/// of chains goes, if the header has it.
pub(crate) fn put(
    ring: &mut Ring,
    memory: &Memory,
    mergeable: bool,
    header: &mut [u8],
    pieces: [&[u8]; 3],
    room: &mut Room,
) -> Result<Put, RingFault> {
    let length = header.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
    match find(ring, memory, mergeable, length, room)? {
        Put::Taken => {}
        other => return Ok(other),
    }
    ring.refuse_kicks();
    if let Some(count) = header.get_mut(NUM_BUFFERS) {
        // Not more than the ring has, and so no more than 32,768.
        let chains = u16::try_from(room.chains.len()).unwrap_or(u16::MAX);
        count.copy_from_slice(&chains.to_le_bytes());
    }
    scatter(memory, &room.buffers, [header, pieces[0], pieces[1], pieces[2]])?;
    for (head, written) in &room.chains {
        ring.finish(*head, *written);
    }
    Ok(Put::Taken)
}

/// Finds room for that many bytes.
fn find(
    ring: &mut Ring,
    memory: &Memory,
    mergeable: bool,
    length: usize,
    room: &mut Room,
) -> Result<Put, RingFault> {
    room.buffers.clear();
    room.chains.clear();
    let mut waiting = ring.waiting()?;
    let mut missing = length;
    let mut nth = 0;
    while missing > 0 {
        if nth == waiting {
            waiting = ring.look()?;
            if nth == waiting {
                return Ok(if waiting == ring.size() { Put::TooLong } else { Put::Full });
            }
        }
        let before = missing;
        let head = ring.head(nth)?;
        let mut chain = Chain::new(ring, memory, head);
        while let Some(buffer) = chain.next()? {
            let used = buffer.length.min(missing);
            if !buffer.writable || used == 0 {
                continue;
            }
            if !memory.has(buffer.address, used) {
                return Err(RingFault::Buffer);
            }
            room.buffers.push((buffer.address, used));
            missing -= used;
        }
        if !mergeable && missing > 0 {
            return Ok(Put::TooLong);
        }
        room.chains.push((head, u32::try_from(before - missing).unwrap_or_default()));
        nth += 1;
    }
    Ok(Put::Taken)
}

/// Copies pieces into buffers of the same length in all.
fn scatter(memory: &Memory, buffers: &[(u64, usize)], pieces: [&[u8]; 4]) -> Result<(), RingFault> {
    let mut buffers = buffers.iter().copied();
    let (mut address, mut left) = (0, 0);
    for mut piece in pieces {
        while !piece.is_empty() {
            if left == 0 {
                (address, left) = buffers.next().ok_or(RingFault::Buffer)?;
            }
            let (now, later) = piece.split_at(piece.len().min(left));
            memory.write(address, now)?;
            address += now.len() as u64;
            left -= now.len();
            piece = later;
        }
    }
    Ok(())
}

/// Where in the header, if it is long enough.
const NUM_BUFFERS: std::ops::Range<usize> = 10..12;
