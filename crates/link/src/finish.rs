//! What a link without a virtio-net header does in its place.
//!
//! Owns the header put in front of received frames, and finishing what the header of an outgoing
//! frame left open; makes no system call and copies no payload.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §5.1.6.

use std::io;
use std::io::IoSlice;

use portreeve_wire::{GsoType, VIRTIO_NET_HDR_LEN, VirtioNetHdr, checksum};

use crate::link::Capabilities;

/// An outgoing frame without its header, finished: three pieces, of which any may be empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished<'a> {
    before: &'a [u8],
    checksum: [u8; 2],
    checksum_len: usize,
    after: &'a [u8],
}

impl<'a> Finished<'a> {
    /// Strips the header of `frame` and completes its checksum.
    ///
    /// # Errors
    /// `InvalidInput` when the frame is malformed, unfinished in a way that was not offered, or
    /// longer than `longest`.
    pub(crate) fn new(
        frame: &'a [u8],
        capabilities: &Capabilities,
        longest: usize,
    ) -> io::Result<Self> {
        let Some(header) = VirtioNetHdr::parse(frame) else {
            return Err(invalid("a virtio-net header of an unknown kind"));
        };
        let frame = &frame[VIRTIO_NET_HDR_LEN..];
        if frame.is_empty() || frame.len() > longest {
            return Err(invalid("a frame without content or longer than the link carries"));
        }
        let offered = match header.gso {
            GsoType::None => true,
            GsoType::Tcp4 => capabilities.tso4,
            GsoType::Tcp6 => capabilities.tso6,
            GsoType::UdpL4 => capabilities.uso,
        };
        if !offered || (header.needs_csum && !capabilities.checksum_offload) {
            return Err(invalid("an offload the link does not have"));
        }
        if !header.needs_csum {
            return Ok(Self { before: frame, checksum: [0; 2], checksum_len: 0, after: &[] });
        }
        let start = usize::from(header.csum_start);
        let at = start + usize::from(header.csum_offset);
        if at + 2 > frame.len() {
            return Err(invalid("a checksum beyond the end of the frame"));
        }
        // The field holds the pseudo-header's sum and is summed up with the rest.
        let value = match checksum::finish(checksum::sum(&frame[start..])) {
            // RFC 768: zero means "no checksum". All ones sum up to the same, in TCP too.
            0 => u16::MAX,
            value => value,
        };
        Ok(Self {
            before: &frame[..at],
            checksum: value.to_be_bytes(),
            checksum_len: 2,
            after: &frame[at + 2..],
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.checksum_len + self.after.len()
    }

    pub(crate) fn pieces(&self) -> [&[u8]; 3] {
        [self.before, &self.checksum[..self.checksum_len], self.after]
    }

    /// As a system call takes them, with `prefix` in front. The second value is how many of the
    /// slices are worth passing.
    pub(crate) fn slices<'b>(&'b self, prefix: &'b [u8]) -> ([IoSlice<'b>; 4], usize) {
        let [before, checksum, after] = self.pieces();
        let slices = [prefix, before, checksum, after].map(IoSlice::new);
        (slices, if self.checksum_len == 0 { 2 } else { 4 })
    }
}

/// The header in front of received frames.
///
/// `vouched`: the checksums of a frame need not be complete and are not to be verified.
pub(crate) fn received_header(vouched: bool) -> [u8; VIRTIO_NET_HDR_LEN] {
    let mut bytes = [0; VIRTIO_NET_HDR_LEN];
    VirtioNetHdr { data_valid: vouched, ..VirtioNetHdr::default() }.emit(&mut bytes);
    bytes
}

pub(crate) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let capabilities = Capabilities {
            checksum_offload: true,
            tso4: false,
            tso6: false,
            uso: false,
            mtu: 1500,
        };
        let header = VirtioNetHdr { needs_csum: true, csum_offset: 2, ..VirtioNetHdr::default() };
        let mut frame = [0; VIRTIO_NET_HDR_LEN + 6];
        header.emit(&mut frame);
        frame[VIRTIO_NET_HDR_LEN..].copy_from_slice(&[0x12, 0x34, 0, 0, 0xed, 0xcb]);
        let finished = Finished::new(&frame, &capabilities, 1514).unwrap();
        assert_eq!(finished.pieces().concat(), [0x12, 0x34, 0xff, 0xff, 0xed, 0xcb]);
    }
}
