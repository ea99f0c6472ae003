//! A guest's TCP endpoint that does what a test says, segment by segment.
//!
//! Owns both sequence numbers and nothing else: it repeats nothing, checks nothing and may be made
//! to lie.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::packet::{Segment, flag, segment_size_option, window_scale_option};
use crate::pair::Pair;

/// One end of a connection, played by a test.
#[derive(Clone, Debug)]
pub struct Script {
    /// The guest's end.
    pub local: SocketAddr,
    /// The other end, as the guest sees it.
    pub remote: SocketAddr,
    /// Next sequence number of the guest.
    pub sequence: u32,
    /// Next sequence number it expects.
    pub expected: u32,
    /// Window it advertises, as it stands in the header.
    pub window: u16,
    /// Segments it got.
    pub received: Vec<Segment>,
}

impl Script {
    /// Waits for the SYN to a scripted port and plays its receiver.
    ///
    /// # Panics
    /// When none comes within a second.
    pub fn answering(pair: &mut Pair, port: u16, sequence: u32) -> Self {
        pair.guest.scripted.insert(port);
        pair.run_until(Duration::from_secs(1), |pair| !pair.guest.segments.is_empty());
        let Some((header, syn)) = pair.guest.segments.pop_front() else {
            panic!("run_until saw a segment")
        };
        assert!(header.syn && !header.ack, "the first segment opens");
        Self {
            local: syn.to,
            remote: syn.from,
            sequence,
            expected: syn.sequence.wrapping_add(1),
            window: 0xffff,
            received: vec![syn],
        }
    }

    /// Completes the handshake of the SYN to a scripted port.
    pub fn accepting(pair: &mut Pair, port: u16, sequence: u32) -> Self {
        let mut script = Self::answering(pair, port, sequence);
        let syn_ack = script.syn_ack();
        script.send(pair, &syn_ack);
        pair.run_for(TURN);
        script.listen(pair);
        script
    }

    /// Opens a connection from a port of the guest.
    ///
    /// # Panics
    /// When the destination does not accept within a second.
    pub fn connecting(pair: &mut Pair, port: u16, remote: SocketAddr, sequence: u32) -> Self {
        pair.guest.scripted.insert(port);
        let local = SocketAddr::new(pair.guest.address(remote.is_ipv6()), port);
        let mut script =
            Self { local, remote, sequence, expected: 0, window: 0xffff, received: Vec::new() };
        let mut syn = script.syn_ack();
        syn.flags = flag::SYN;
        script.send(pair, &syn);
        pair.run_until(Duration::from_secs(1), |pair| !pair.guest.segments.is_empty());
        let Some((header, answer)) = pair.guest.segments.pop_front() else {
            panic!("run_until saw a segment")
        };
        assert!(header.syn && header.ack, "the destination accepts");
        script.expected = answer.sequence.wrapping_add(1);
        script.received.push(answer);
        let acknowledge = script.segment(flag::ACK, &[]);
        script.send(pair, &acknowledge);
        pair.run_for(TURN);
        script.listen(pair);
        script
    }

    /// The answer to the SYN, with the options of a modern stack.
    pub fn syn_ack(&self) -> Segment {
        let mut segment = self.segment(flag::SYN | flag::ACK, &[]);
        segment.options = [segment_size_option(1460), window_scale_option(7)].concat();
        segment
    }

    /// A segment at the present sequence numbers.
    pub fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        Segment {
            sequence: self.sequence,
            acknowledgement: self.expected,
            window: self.window,
            payload: payload.to_vec(),
            ..Segment::new(self.local, self.remote, flags)
        }
    }

    /// Sends a segment and moves on behind it.
    pub fn send(&mut self, pair: &mut Pair, segment: &Segment) {
        let control =
            u32::from(segment.flags & flag::SYN != 0) + u32::from(segment.flags & flag::FIN != 0);
        self.sequence =
            segment.sequence.wrapping_add(segment.payload.len() as u32).wrapping_add(control);
        pair.guest.send_segment(segment);
    }

    /// Sends data.
    pub fn say(&mut self, pair: &mut Pair, payload: &[u8]) {
        let segment = self.segment(flag::ACK | flag::PSH, payload);
        self.send(pair, &segment);
        pair.run_for(TURN);
        self.listen(pair);
    }

    /// Takes what has arrived for this endpoint, moves on behind what is in order, and returns
    /// it.
    pub fn listen(&mut self, pair: &mut Pair) -> Vec<Segment> {
        let mut taken = Vec::new();
        let is_mine = |segment: &Segment| segment.to == self.local && segment.from == self.remote;
        let arrived = std::mem::take(&mut pair.guest.segments);
        let (mine, others): (VecDeque<_>, VecDeque<_>) =
            arrived.into_iter().partition(|(_, segment)| is_mine(segment));
        pair.guest.segments = others;
        for (header, segment) in mine {
            if segment.sequence == self.expected {
                self.expected = segment
                    .sequence
                    .wrapping_add(segment.payload.len() as u32)
                    .wrapping_add(u32::from(header.syn) + u32::from(header.fin));
            }
            self.received.push(segment.clone());
            taken.push(segment);
        }
        taken
    }

    /// Says that `taken` bytes behind what it expects have arrived, and how large its window is,
    /// without moving on itself.
    pub fn acknowledge(&self, pair: &mut Pair, taken: u32, window: u16) {
        let mut segment = self.segment(flag::ACK, &[]);
        segment.acknowledgement = segment.acknowledgement.wrapping_add(taken);
        segment.window = window;
        pair.guest.send_segment(&segment);
        pair.run_for(TURN);
    }

    /// What comes within a while, as offsets from what it expects, lengths and whether it is the
    /// end; it still expects the same afterwards.
    pub fn repeated(&mut self, pair: &mut Pair, time: Duration) -> Vec<(u32, usize, bool)> {
        let first = self.expected;
        self.listen(pair);
        self.expected = first;
        pair.run_for(time);
        let heard = self.listen(pair);
        self.expected = first;
        let place = |segment: &Segment| {
            let fin = segment.flags & flag::FIN != 0;
            (segment.sequence.wrapping_sub(first), segment.payload.len(), fin)
        };
        heard.iter().map(place).filter(|&(_, length, fin)| length != 0 || fin).collect()
    }

    /// The acknowledgement number of the last segment it got.
    pub fn acknowledged(&self) -> Option<u32> {
        self.received.last().map(|segment| segment.acknowledgement)
    }

    /// Whether any segment it got was a reset.
    pub fn was_reset(&self) -> bool {
        self.received.iter().any(|segment| segment.flags & flag::RST != 0)
    }
}

/// There and back on a perfect link.
const TURN: Duration = Duration::from_millis(1);
