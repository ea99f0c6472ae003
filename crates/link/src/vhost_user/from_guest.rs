//! Frames out of a ring.
//!
//! Owns copying one: what the guest may still change is copied first and read afterwards.

use portreeve_wire::VIRTIO_NET_HDR_LEN;

use super::chain::Chain;
use super::fault::RingFault;
use super::memory::Memory;
use super::ring::Ring;

/// What became of a chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Took {
    /// A frame of this length, its header of twelve bytes included.
    Frame(usize),
    /// It held no frame, or one that is too long.
    Discarded,
    /// There is none.
    Nothing,
}

/// Takes one frame whose header in the ring has `header_len` bytes: twelve, or less.
pub(crate) fn take(
    ring: &mut Ring,
    memory: &Memory,
    header_len: usize,
    buf: &mut [u8],
) -> Result<Took, RingFault> {
    if ring.waiting()? == 0 {
        return Ok(Took::Nothing);
    }
    ring.refuse_kicks();
    let head = ring.head(0)?;
    // A shorter header lacks its end.
    let start = VIRTIO_NET_HDR_LEN - header_len;
    let mut end = start;
    let mut fits = true;
    let mut chain = Chain::new(ring, memory, head);
    while let Some(buffer) = chain.next()? {
        if buffer.writable || !fits {
            continue;
        }
        let after = end.saturating_add(buffer.length);
        match buf.get_mut(end..after) {
            Some(space) => memory.read(buffer.address, space)?,
            None => fits = false,
        }
        end = after;
    }
    ring.finish(head, 0);
    if !fits || end <= VIRTIO_NET_HDR_LEN {
        return Ok(Took::Discarded);
    }
    if start > 0 {
        buf.copy_within(start..VIRTIO_NET_HDR_LEN, 0);
        buf[header_len..VIRTIO_NET_HDR_LEN].fill(0);
    }
    Ok(Took::Frame(end))
}
