//! What the targets of `fuzz/` call and the corpus test replays: any bytes as a stream of frames; in
//! `vhost_user`, as messages and rings.
//!
//! Owns a second, simplest reading of the framings, with which the real one is compared, and the
//! cutting of the bytes; panics on a violation. No part of the library's interface.

use crate::event::FramingFault;
use crate::framing::{Deframer, Framing};

mod vhost_user;

pub use vhost_user::{fuzz_vhost_messages, fuzz_vhost_rings};

/// The first byte chooses the framing and how the rest is cut; the frames, and the fault that ends
/// them, must be the same however it is cut.
pub fn fuzz_stream(data: &[u8]) {
    let Some((choice, stream)) = data.split_first() else { return };
    let framing = if choice & 1 == 0 { Framing::Qemu } else { Framing::HyperKit };
    let accepted = choice & 2 == 0;
    let expected = read_at_once(framing, accepted, stream);
    for cut in [usize::from(choice >> 2) + 1, 1, stream.len().max(1)] {
        assert_eq!(read_in_pieces(framing, accepted, stream, cut), expected, "cut at {cut}");
    }
}

type Reading = (Vec<Vec<u8>>, Option<&'static str>);

fn read_in_pieces(framing: Framing, accepted: bool, mut stream: &[u8], cut: usize) -> Reading {
    let mut deframer = Deframer::new(framing, accepted);
    let mut frames = Vec::new();
    loop {
        loop {
            match deframer.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(fault) => return (frames, Some(name(fault))),
            }
        }
        if stream.is_empty() {
            return (frames, None);
        }
        let space = deframer.space();
        let length = cut.min(space.len()).min(stream.len());
        assert!(length > 0, "no space for what is to come");
        space[..length].copy_from_slice(&stream[..length]);
        deframer.filled(length);
        stream = &stream[length..];
    }
}

fn read_at_once(framing: Framing, accepted: bool, mut stream: &[u8]) -> Reading {
    let mut frames = Vec::new();
    if accepted && framing == Framing::HyperKit {
        const REQUEST: &[u8] = b"POST /connect ";
        if !stream.iter().zip(REQUEST).all(|(got, due)| got == due) {
            return (frames, Some("preamble"));
        }
        let end = stream.windows(4).take(4093).position(|bytes| bytes == b"\r\n\r\n");
        match end {
            Some(at) => stream = &stream[at + 4..],
            None if stream.len() >= 4096 => return (frames, Some("endless")),
            None => return (frames, None),
        }
    }
    let width = if framing == Framing::Qemu { 4 } else { 2 };
    while stream.len() >= width {
        let length = stream[..width].iter().enumerate().fold(0usize, |sum, (at, byte)| {
            let shift = if width == 4 { 3 - at } else { at };
            sum | usize::from(*byte) << (8 * shift)
        });
        stream = &stream[width..];
        match length {
            0 => return (frames, Some("empty")),
            65_594.. => return (frames, Some("oversized")),
            _ if stream.len() < length => return (frames, None),
            _ => frames.push(stream[..length].to_vec()),
        }
        stream = &stream[length..];
    }
    (frames, None)
}

fn name(fault: FramingFault) -> &'static str {
    match fault {
        FramingFault::Empty => "empty",
        FramingFault::Oversized { .. } => "oversized",
        FramingFault::NoPreamble => "preamble",
        FramingFault::EndlessPreamble => "endless",
    }
}
